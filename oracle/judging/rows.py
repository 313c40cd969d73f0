"""The row of the report's table, and the verdicts that it can have."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

PASS, LOOSE, IMPRECISE, WRONG, CONVENTION = "pass", "loose", "imprecise", "wrong", "convention"
UNDECIDED, MISSING, UNSUPPORTED, CRASHED = "undecided", "missing", "unsupported", "crashed"
UNJUDGED = "unjudged"  # there was nothing to compare it with
FAILED = "failed"  # the harness itself: nothing is known about the subject
# The verdicts from the best to the gravest. A case has the gravest verdict of its rows.
VERDICTS = (PASS, UNDECIDED, CONVENTION, LOOSE, UNSUPPORTED, UNJUDGED, IMPRECISE, MISSING, WRONG, CRASHED, FAILED)
GRAVITY = {verdict: rank for rank, verdict in enumerate(VERDICTS)}
LOCAL, END_TO_END = "local", "end to end"
DISCREPANCIES = frozenset({IMPRECISE, MISSING, WRONG, CRASHED})
FAILURES = DISCREPANCIES | {FAILED}
# The diagnosis of a convention that needs no name.
AT_KINK = "another one-sided derivative at a kink or tie"


@dataclass(frozen=True)
class Row:
    """A row of the report's table: one quantity of one step, judged in one mode.

    A figure that was not measured is NaN, never 0, which would look like a result.

    Attributes:
        mode: LOCAL, computed from the subject's own inputs, or END_TO_END, from the case's input.
        n: the number of elements.
        shape, worst_index: text in the table.
        max_abs, max_rel, max_ulp: the largest error: absolute, relative to the expected value, and in units in its last place.
            max_rel covers values that are finite on both sides. If elements are outside their tolerance, it covers only these: it
            is infinite if 0 was expected of one of them, and NaN if none of them is finite.
        cosine: the cosine of the angle between the received and the expected array.
        z_max, z_rms: the largest error, and its rms, in derived standard deviations.
        bound_ratio: the largest error relative to its worst-case bound; NaN where nothing is outside its tolerance,
            and end to end, where no bound is computed.
        effective_bits: -log2 of the error's rms relative to the size that the terms of the sums allow; about 24 for a correct
            float32 implementation.
        digits_left: the decimal digits that a tolerance of λ standard deviations leaves; NaN where nothing is rounded.
        n_outside: the number of elements beyond their tolerance.
        n_ambiguous, n_adopted: the number of branches that rounding can flip, and of those taken from the subject.
        decided: the share of elements with a tolerance narrower than a typical term, before they are stored in 16 bits.
        got, expected, tolerance: the values at worst_index.
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
    digits_left: float = math.nan
    n_outside: int = 0
    n_ambiguous: int = 0
    n_adopted: int = 0
    decided: float = 1.0
    worst_index: tuple[int, ...] = ()
    got: float = math.nan
    expected: float = math.nan
    tolerance: float = math.nan

    def found(self, verdict: str, diagnosis: str = "", **figures: Any) -> Row:
        """The same row with another verdict and other figures, if they are given."""
        return self.having(verdict=verdict, diagnosis=diagnosis, **figures)

    def having(self, **figures: Any) -> Row:
        """The same row with other figures: a fast `dataclasses.replace`, for every quantity needs several.

        Raises: TypeError for a figure that a row does not have.
        """
        values = vars(self) | figures
        if len(values) != len(vars(self)):
            raise TypeError(f"a row has no {', '.join(figures.keys() - vars(self).keys())}")
        made = object.__new__(Row)
        object.__setattr__(made, "__dict__", values)
        return made
