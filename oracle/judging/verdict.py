"""One quantity judged: what came, what was expected, and how far honest rounding may have taken it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from oracle.case.arrays import Array
from oracle.judging.figures import Errors, Expected, cosine, infinite_for_nan, measured
from oracle.judging.misshapen import looks_like
from oracle.judging.rows import IMPRECISE, LOOSE, PASS, UNDECIDED, WRONG, Row
from oracle.running_error import LAMBDA, UNIT_ROUNDOFF
from oracle.running_error.model import Floats

# Precisions that a kernel may fall back to, by unit roundoff; TF32 keeps fp16's 11 bits.
LOWER_PRECISIONS = (
    ("float32", UNIT_ROUNDOFF["float32"]),
    ("TF32 or float16", UNIT_ROUNDOFF["float16"]),
    ("bfloat16", UNIT_ROUNDOFF["bfloat16"]),
)
# Root mean square of the error of a product whose two factors were rounded, in units of roundoff: uniform in the last place.
ROUNDED_OPERANDS = 0.6


def compare(
    row: Row, got: Array, expected: Expected, *, structured: bool, no_terms: bool, given: Iterable[Array] = ()
) -> Row:
    """The row with its figures and verdict.

    Args:
        row: its identity; `dtype` is what the subject computes in.
        structured: data that is not random, where `loose` is honest.
        no_terms: the quantity is a sum over an empty batch: a zero is then the whole truth.
        given: what it was computed from; where that is of a wider dtype, so may the result be: whoever widened it is to blame.
    """
    row = replace(row, shape=tuple(got.shape), n=int(got.size))
    if got.shape != expected.value.shape:
        like = looks_like(got.shape, expected.value.shape)
        return row.found(WRONG, f"shape {got.shape}, expected {expected.value.shape}", cause_name="shape", cause=like)
    if got.dtype.name != row.dtype and not _is_handed_on(got.dtype.name, row.dtype, given):
        return row.found(WRONG, f"dtype {got.dtype.name}, expected {row.dtype}")
    if not got.size:
        return row.found(PASS, max_abs=0.0, max_rel=0.0, max_ulp=0.0, z_max=0.0, z_rms=0.0)
    with np.errstate(all="ignore"):
        return _measured(row, got, expected, structured=structured, no_terms=no_terms)


def _is_handed_on(dtype: str, due: str, given: Iterable[Array]) -> bool:
    wider = dtype in UNIT_ROUNDOFF and UNIT_ROUNDOFF[dtype] < UNIT_ROUNDOFF[due]
    return wider and any(array.dtype.name == dtype for array in given)


def _measured(row: Row, got: Array, expected: Expected, *, structured: bool, no_terms: bool) -> Row:
    u, figures = UNIT_ROUNDOFF[row.dtype], measured(got, expected)

    def errors() -> Errors:
        return Errors.of(got, expected.value, infinite_for_nan(expected.sigma))

    row = replace(
        row,
        max_abs=figures.max_abs,
        max_rel=figures.max_rel,
        max_ulp=figures.max_ulp,
        cosine=cosine(figures, errors),
        z_max=figures.z_max,
        z_rms=figures.z_rms,
        bound_ratio=figures.bound_ratio,
        effective_bits=_bits(u * figures.z_rms),
        n_outside=figures.n_outside,
        decided=figures.n_decided / got.size,
        worst_index=figures.index,
        got=figures.got,
        expected=figures.expected,
        tolerance=figures.tolerance,
    )
    if row.n_outside:
        return _outside(row, errors(), expected, u, figures.beyond, structured)
    if not no_terms and not figures.has_terms and figures.is_finite:
        return row.found(UNDECIDED, "every term that was added up is zero: nothing was tested")
    if row.decided < 0.5:
        return row.found(UNDECIDED, f"the tolerance is too wide at {1 - row.decided:.0%} of the elements")
    return row.found(PASS)


def _outside(row: Row, errors: Errors, expected: Expected, u: float, beyond_bound: bool, structured: bool) -> Row:
    """The row of a quantity with elements outside their tolerance."""
    error, sigma = errors.size, infinite_for_nan(expected.sigma)
    known = (sigma > 0) & np.isfinite(sigma) & np.isfinite(error)
    rounds = known & np.isfinite(errors.value)
    # Not the rounding of this dtype's sums: how far the terms themselves can be trusted.
    row = replace(row, effective_bits=_bits(_relative_to_terms(error[rounds], expected.scale[rounds])))
    if known.all() and not _systematic(error, expected.value, row):
        precision = _precision_it_behaves_like(error, expected.scale, sigma, u)
        if precision is not None:
            said = f"behaves like {precision} inside {row.dtype} ({row.effective_bits:.1f} effective bits)"
            return row.found(IMPRECISE, said)
    if not beyond_bound and row.bound_ratio == row.bound_ratio:
        if structured:
            return row.found(LOOSE, f"beyond {LAMBDA:g} sigma, within the worst-case bound")
        return row.found(
            IMPRECISE,
            f"less precise than {row.dtype}: beyond {LAMBDA:g} sigma on random data, within the worst-case bound",
        )
    return row.found(WRONG)


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
