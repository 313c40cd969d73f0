"""One quantity judged: what came, what was expected, and how far honest rounding may have taken it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from oracle.case.arrays import Array
from oracle.judging.figures import Errors, Expected, cosine, infinite_for_nan, measured
from oracle.judging.misshapen import looks_like
from oracle.running_error import LAMBDA, UNIT_ROUNDOFF
from oracle.running_error.model import Floats

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

# Precisions that a kernel may fall back to, by unit roundoff; TF32 keeps fp16's 11 bits.
LOWER_PRECISIONS = (
    ("float32", UNIT_ROUNDOFF["float32"]),
    ("TF32 or float16", UNIT_ROUNDOFF["float16"]),
    ("bfloat16", UNIT_ROUNDOFF["bfloat16"]),
)
# Root mean square of the error of a product whose two factors were rounded, in units of roundoff: uniform in the last place.
ROUNDED_OPERANDS = 0.6


@dataclass
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
        decided: share of the elements whose tolerance is too narrow for a wrong value to hide in.
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


def compare(
    row: Row, got: Array, expected: Expected, *, structured: bool, no_terms: bool, given: Iterable[Array] = ()
) -> Row:
    """Fill in a row's figures and verdict.

    Args:
        row: its identity; `dtype` is what the subject computes in.
        structured: data that is not random, where `loose` is honest.
        no_terms: the quantity is a sum over an empty batch: a zero is then the whole truth.
        given: what it was computed from; where that is of a wider dtype, so may the result be: whoever widened it is to blame.
    """
    row.shape, row.n = tuple(got.shape), int(got.size)
    if got.shape != expected.value.shape:
        row.verdict = WRONG
        row.diagnosis = f"shape {got.shape}, expected {expected.value.shape}"
        row.cause_name, row.cause = "shape", looks_like(got.shape, expected.value.shape)
        return row
    if got.dtype.name != row.dtype and not _is_handed_on(got.dtype.name, row.dtype, given):
        row.verdict = WRONG
        row.diagnosis = f"dtype {got.dtype.name}, expected {row.dtype}"
        return row
    if not got.size:
        row.verdict = PASS
        row.max_abs = row.max_rel = row.max_ulp = row.z_max = row.z_rms = 0.0
        return row
    with np.errstate(all="ignore"):
        _measure(row, got, expected, structured=structured, no_terms=no_terms)
    return row


def _is_handed_on(dtype: str, due: str, given: Iterable[Array]) -> bool:
    wider = dtype in UNIT_ROUNDOFF and UNIT_ROUNDOFF[dtype] < UNIT_ROUNDOFF[due]
    return wider and any(array.dtype.name == dtype for array in given)


def _measure(row: Row, got: Array, expected: Expected, *, structured: bool, no_terms: bool) -> None:
    u, figures = UNIT_ROUNDOFF[row.dtype], measured(got, expected)

    def errors() -> Errors:
        return Errors.of(got, expected.value, infinite_for_nan(expected.sigma))

    row.max_abs, row.max_rel, row.max_ulp = figures.max_abs, figures.max_rel, figures.max_ulp
    row.z_max, row.z_rms, row.bound_ratio = figures.z_max, figures.z_rms, figures.bound_ratio
    row.n_outside, row.decided = figures.n_outside, figures.n_decided / got.size
    row.cosine = cosine(figures, errors)
    row.worst_index = figures.index
    row.got, row.expected, row.tolerance = figures.got, figures.expected, figures.tolerance
    row.effective_bits = _bits(u * row.z_rms)
    if row.n_outside:
        row.verdict = _verdict_outside(row, errors(), expected, u, figures.beyond, structured)
    elif not no_terms and not figures.has_terms and figures.is_finite:
        row.verdict, row.diagnosis = UNDECIDED, "every term that was added up is zero: nothing was tested"
    elif row.decided < 0.5:
        row.verdict, row.diagnosis = UNDECIDED, f"the tolerance is too wide at {1 - row.decided:.0%} of the elements"
    else:
        row.verdict = PASS


def _verdict_outside(
    row: Row, errors: Errors, expected: Expected, u: float, beyond_bound: bool, structured: bool
) -> str:
    error, sigma = errors.size, infinite_for_nan(expected.sigma)
    known = (sigma > 0) & np.isfinite(sigma) & np.isfinite(error)
    rounds = known & np.isfinite(errors.value)
    # Not the rounding of this dtype's sums: how far the terms themselves can be trusted.
    row.effective_bits = _bits(_relative_to_terms(error[rounds], expected.scale[rounds]))
    if known.all() and not _systematic(error, expected.value, row):
        precision = _precision_it_behaves_like(error, expected.scale, sigma, u)
        if precision is not None:
            row.diagnosis = f"behaves like {precision} inside {row.dtype} ({row.effective_bits:.1f} effective bits)"
            return IMPRECISE
    if not beyond_bound and row.bound_ratio == row.bound_ratio:
        if structured:
            row.diagnosis = f"beyond {LAMBDA:g} sigma, within the worst-case bound"
            return LOOSE
        row.diagnosis = (
            f"less precise than {row.dtype}: beyond {LAMBDA:g} sigma on random data, within the worst-case bound"
        )
        return IMPRECISE
    return WRONG


def _bits(relative: float) -> float:
    return max(0.0, -math.log2(relative)) if relative > 0 else math.nan


def _relative_to_terms(error: Floats, scale: Floats) -> float:
    """Root mean square of the error in units of the terms that were added up."""
    counted = scale > 0
    return float(np.sqrt(np.mean(np.square(error[counted] / scale[counted])))) if counted.any() else 0.0


def _precision_it_behaves_like(error: Floats, scale: Floats, sigma: Floats, u: float) -> str | None:
    """The lower precision at which this would be an ordinary error: that of rounded operands, else that of rounded sums.

    Rounded operands (TF32, bfloat16 products with wide accumulation) err by a fixed share of the terms, however many there
    are; an ordinary error is spread over all elements and has no outliers.
    """
    lower = [(name, roundoff) for name, roundoff in LOWER_PRECISIONS if roundoff > u]
    relative = error / scale  # infinite, and so without a spread, where there are no terms
    rms = float(np.sqrt(np.mean(np.square(relative))))
    spread = float(np.median(relative)) > 0.1 * rms and float(np.max(relative)) < LAMBDA * rms
    for name, roundoff in lower:
        if spread and abs(math.log2(rms / (ROUNDED_OPERANDS * roundoff))) <= 1.5:
            return name
    z = error / sigma
    for name, roundoff in lower:
        if np.max(z) * u / roundoff <= LAMBDA:
            return name if float(np.median(z)) * u / roundoff > 0.02 else None
    return None


def _systematic(error: Floats, value: Floats, row: Row) -> bool:
    """Rounding does not follow the value: an error that is proportional to it is a wrong factor."""
    if row.n < 4:
        return False
    sizes = np.abs(value)
    norms = math.sqrt(float(np.sum(error * error)) * float(np.sum(sizes * sizes)))
    return norms > 0 and float(np.sum(error * sizes)) / norms > 0.99
