"""A row of the report's table, and the verdicts that it can have."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

PASS, LOOSE, IMPRECISE, WRONG, CONVENTION = "pass", "loose", "imprecise", "wrong", "convention"
UNDECIDED, MISSING, UNSUPPORTED, CRASHED = "undecided", "missing", "unsupported", "crashed"
UNJUDGED = "unjudged"  # nothing could be held against it
FAILED = "failed"  # the harness itself: nothing is known about the subject
# From the best to the gravest; the verdict of a case is the gravest of its rows.
VERDICTS = (PASS, UNDECIDED, CONVENTION, LOOSE, UNSUPPORTED, UNJUDGED, IMPRECISE, MISSING, WRONG, CRASHED, FAILED)
GRAVITY = {verdict: rank for rank, verdict in enumerate(VERDICTS)}
LOCAL, END_TO_END = "local", "end to end"
DISCREPANCIES = frozenset({IMPRECISE, MISSING, WRONG, CRASHED})
FAILURES = DISCREPANCIES | {FAILED}


@dataclass(frozen=True)
class Row:
    """A row of the report's table: one quantity of one step, judged in one mode.

    A figure for which nothing was measured is NaN, never a 0 that reads like a result.

    Attributes:
        mode: LOCAL, from what the subject itself had there, or END_TO_END, from the case's input.
        n: number of elements; shape, worst_index: in the table as text.
        max_abs, max_rel, max_ulp: the largest error, absolute, relative to the expected value, in units in its last place.
            max_rel is of finite values on both sides; infinite where zero was due and what came is beyond its tolerance.
        cosine: of the angle between what came and what was expected.
        z_max, z_rms: the error in derived standard deviations.
        bound_ratio: the largest error in worst-case bounds, NaN where none was computed.
        effective_bits: -log2 of the error's rms, relative to what the sums' terms allow; about 24 for honest float32.
        n_outside: elements beyond the tolerance.
        n_ambiguous, n_adopted: of branches, those that rounding can flip, and those taken over from the subject.
        decided: share of the elements in whose tolerance no term of the usual size hides, before they are stored in 16 bits.
        got, expected, tolerance: at worst_index.
    """

    case: str
    dtype: str
    step: int
    layer: str
    layer_type: str
    quantity: str
    mode: str
    verdict: str
    diagnosis: str = ""
    cause: str = ""
    cause_name: str = ""
    shape: tuple[int, ...] = ()
    n: int = 0
    max_abs: float = math.nan
    max_rel: float = math.nan
    max_ulp: float = math.nan
    cosine: float = math.nan
    z_max: float = math.nan
    z_rms: float = math.nan
    bound_ratio: float = math.nan
    effective_bits: float = math.nan
    n_outside: int = 0
    n_ambiguous: int = 0
    n_adopted: int = 0
    decided: float = 1.0
    worst_index: tuple[int, ...] = ()
    got: float = math.nan
    expected: float = math.nan
    tolerance: float = math.nan

    def found(self, verdict: str, diagnosis: str = "", **figures: Any) -> Row:
        """The same quantity with another verdict and, where they are given, other figures."""
        return replace(self, verdict=verdict, diagnosis=diagnosis, **figures)
