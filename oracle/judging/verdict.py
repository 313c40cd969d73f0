"""Judges one quantity: the received array, the expected one, and the rounding error allowed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from oracle.case.arrays import Array
from oracle.judging.figures import (
    Errors,
    Expected,
    Figures,
    cosine,
    differs_where,
    direct_cosine,
    infinite_for_nan,
    measured,
)
from oracle.judging.misshapen import looks_like
from oracle.judging.patterns import FEWEST, MANY, is_proportional, patterned
from oracle.judging.rows import IMPRECISE, LOCAL, LOOSE, PASS, UNDECIDED, WRONG, Row
from oracle.running_error import LAMBDA, UNIT_ROUNDOFF
from oracle.running_error.conditioning import digits_left
from oracle.running_error.model import ROUNDOFF, Floats

# Precisions that a kernel may fall back to, by unit roundoff; TF32 keeps fp16's 11 bits.
LOWER_PRECISIONS = (
    ("float32", UNIT_ROUNDOFF["float32"]),
    ("TF32 or float16", UNIT_ROUNDOFF["float16"]),
    ("bfloat16", UNIT_ROUNDOFF["bfloat16"]),
)
# The rms of the error of a product whose two factors were rounded, in units of roundoff: it is uniform in the last place.
ROUNDED_OPERANDS = 0.6
# The largest rms of errors, relative to the terms, that a lower precision causes if they exceed its standard deviations. Sums in
# 16 bits gave 0.6 roundoffs, wrong formulas from 5 on.
MOST_ROUNDOFFS = 3.0
# The largest rms and mean of z over all elements of a local row. TOLERANCES.md has the measurements.
MOST_RMS, MOST_MEAN = 2.5, 2.0
BEHAVES_LIKE = "behaves like"
INTERMEDIATE = "sums or other intermediate results in"
UNDERFLOW = "underflow:"
# The least rms of z, in units of the error of sums in 16 bits, at which errors can come from such sums.
LEAST_RMS = 0.02
# The largest share of nonzero numbers that a lower precision leaves within a standard deviation.
MOST_RIGHT = 0.25


def compare(
    row: Row,
    got: Array,
    expected: Expected,
    *,
    structured: bool,
    no_terms: bool,
    given: Iterable[Array] = (),
    before: Array | None = None,
    together: bool = True,
) -> Row:
    """The row with its figures and verdict.

    Args:
        row: identifies the quantity; `dtype` is the dtype in which the subject computes.
        structured: whether the data is not random, so that `loose` is acceptable.
        no_terms: whether the quantity is a sum over an empty batch, or everything was dropped, so that zero is fully tested.
        given: the arrays from which it was computed. If one has a wider dtype, so may the result: the layer that widened it is
            to blame.
        before: for an update, the value before it. The error is compared with the step, which is small beside the value.
        together: whether elements have errors of their own, by which a local array can be judged as a whole too.
    """
    row, given = row.having(shape=tuple(got.shape), n=int(got.size)), tuple(given)
    if got.shape != expected.value.shape:
        like = looks_like(got.shape, expected.value.shape)
        return row.found(WRONG, f"shape {got.shape}, expected {expected.value.shape}", cause_name="shape", cause=like)
    if got.dtype.name != row.dtype and not _is_handed_on(got.dtype.name, row.dtype, given):
        return row.found(WRONG, f"dtype {got.dtype.name}, expected {row.dtype}")
    if not got.size:
        return row.found(PASS, max_abs=0.0, max_rel=0.0, max_ulp=0.0, z_max=0.0, z_rms=0.0)
    with np.errstate(all="ignore"):
        return _measured(row, got, expected, structured, no_terms, given, before, together)


def _is_handed_on(dtype: str, due: str, given: Iterable[Array]) -> bool:
    wider = dtype in UNIT_ROUNDOFF and UNIT_ROUNDOFF[dtype] < UNIT_ROUNDOFF[due]
    return wider and any(array.dtype.name == dtype for array in given)


def _measured(
    row: Row,
    got: Array,
    expected: Expected,
    structured: bool,
    no_terms: bool,
    given: Sequence[Array],
    before: Array | None,
    together: bool,
) -> Row:
    figures = measured(got, expected)

    def errors() -> Errors:
        return Errors.of(got, expected.value, infinite_for_nan(expected.sigma))

    has_numbers = bool(figures.squares or figures.expected_squares or got.any() or expected.value.any())
    row = _with_figures(row, got, figures, cosine(figures, errors) if has_numbers else math.nan)
    if row.n_outside:
        step = None if before is None else expected.value - before.astype(np.float64)
        return _outside(row, errors(), expected, figures, structured=structured, given=given, step=step)
    if together and row.mode == LOCAL and (why := _together(figures)):
        is_factor = is_proportional(errors().size, expected.value)
        return row.found(WRONG if is_factor else IMPRECISE, why)
    return _within(row, figures, no_terms)


def _within(row: Row, figures: Figures, no_terms: bool) -> Row:
    """The row of elements that are all within their tolerance."""
    if not no_terms and not figures.has_terms and figures.is_finite:
        return row.found(UNDECIDED, "every term that was added up is zero: nothing was tested")
    if row.decided < 0.5:
        return row.found(UNDECIDED, _too_wide(row, figures, ROUNDOFF[row.dtype]))
    return row.found(PASS, _hidden_by_storing(row, figures))


def _with_figures(row: Row, got: Array, figures: Figures, angle: float) -> Row:
    return row.having(
        max_abs=figures.max_abs,
        max_rel=figures.max_rel,
        max_ulp=figures.max_ulp,
        cosine=angle,
        z_max=figures.z_max,
        z_rms=figures.z_rms,
        bound_ratio=figures.bound_ratio,
        effective_bits=_bits(ROUNDOFF[row.dtype] * figures.z_rms),
        digits_left=math.nan if figures.relative_error is None else digits_left(figures.relative_error),
        n_outside=figures.n_outside,
        decided=figures.n_decided / got.size,
        worst_index=figures.index,
        got=figures.got,
        expected=figures.expected,
        tolerance=figures.tolerance,
    )


def within(row: Row, got: Array, figures: Figures) -> Row | None:
    """The row of an array whose figures were gathered part by part, if all of it is within its tolerance; None if it takes the
    whole array to tell."""
    if got.dtype.name != row.dtype or figures.n != got.size or figures.n_outside:
        return None
    if row.mode == LOCAL and _together(figures):
        return None
    if not figures.has_cosine and figures.has_terms:
        return None
    row = row.having(shape=tuple(got.shape), n=int(got.size))
    row = _with_figures(row, got, figures, direct_cosine(figures) if figures.has_cosine else math.nan)
    return _within(row, figures, no_terms=False)


def with_nothing_known(row: Row, got: Array) -> Row:
    """The row of a quantity that passed; undecided if all of it is NaN, with which nothing was tested."""
    if row.verdict != PASS or not got.size or got.dtype.kind in "biu" or got.flat[0] == got.flat[0]:
        return row
    return row.found(UNDECIDED, "every number is NaN: nothing was tested") if np.isnan(got).all() else row


def unless_undefined(row: Row, got: Array, expected: Expected, numbers: Iterable[Array]) -> Row:
    """The row of a gradient. It is undecided if it differs only where the reference's gradient is NaN and this one is a number,
    although neither the numbers from which they are computed nor the results are NaN.

    The reference has then no gradient operation by operation: a root's slope at 0 is infinite, and 0 times that is NaN.
    """
    value = expected.value
    if got.shape != value.shape or not (undefined := np.isnan(value) & np.isfinite(got)).any():
        return row
    if any(np.isnan(own).any() for own in numbers) or differs_where(~undefined, got, expected):
        return row
    share = f"{np.mean(undefined):.0%} of the elements"
    return row.found(
        UNDECIDED, f"the reference's own gradient is NaN at {share}, as of 0 times infinity; the others are right"
    )


def _too_wide(row: Row, figures: Figures, u: float) -> str:
    if 2 * figures.n_hidden > row.n:
        said = "the sum has so many terms that its tolerance exceeds a typical one"
        return f"{said}, at {figures.n_hidden / row.n:.0%} of the elements"
    if figures.n_decided + figures.n_underflown == figures.n:
        return f"{UNDERFLOW} {row.dtype} holds no number so small, at {1 - row.decided:.0%} of the elements"
    said = f"the tolerance is too wide at {1 - row.decided:.0%} of the elements"
    relative = figures.relative_error
    if relative is None or relative < u:
        return said
    return f"ill-conditioned: rounding is amplified {relative / u:.2g} times, {row.digits_left:.1f} digits are left; {said}"


def _hidden_by_storing(row: Row, figures: Figures) -> str:
    """A sentence on the terms that storing a result in 16 bits hides, however well it was computed; "" if there are none."""
    if not figures.n_stored:
        return ""
    share = figures.n_stored / row.n
    return f"storing in {row.dtype} alone rounds by a tenth of the terms or more, at {share:.0%} of the elements"


def _together(figures: Figures) -> str:
    """Why rounding cannot explain the errors of an array together, although it explains each element; "" if it can.

    A few elements cannot show it. Neither can those whose tolerance is wide: an open choice has one error, not one for each.
    """
    if figures.n_rounding < MANY or 2 * (figures.n_decided + figures.n_hidden) < figures.n:
        return ""
    if figures.z_rms > MOST_RMS:
        return f"less precise than it should be: the rms of z is {figures.z_rms:.3g}, with correct rounding at most {MOST_RMS:g}"
    if abs(figures.z_mean) > MOST_MEAN:
        return (
            f"its errors are biased: the mean of z is {figures.z_mean:.3g}, with correct rounding at most {MOST_MEAN:g}"
        )
    return ""


def _outside(
    row: Row,
    errors: Errors,
    expected: Expected,
    figures: Figures,
    *,
    structured: bool,
    given: Sequence[Array],
    step: Floats | None,
) -> Row:
    """The row of a quantity with elements outside their tolerance."""
    u, error, sigma = ROUNDOFF[row.dtype], errors.size, infinite_for_nan(expected.sigma)
    known = (sigma > 0) & np.isfinite(sigma) & np.isfinite(error)
    rounds = known & np.isfinite(errors.value)
    # These bits say how far the terms can be trusted, not how the sums of this dtype are rounded.
    bits = _bits(_relative_to_terms(error[rounds], expected.scale[rounds]))
    row = row.having(effective_bits=bits, max_rel=_largest_relative(errors, LAMBDA * sigma))
    counted = errors.value != 0
    is_spread = np.count_nonzero(counted & (error <= sigma)) <= MOST_RIGHT * np.count_nonzero(counted)
    if known.all() and is_spread and not patterned(errors, step, given):
        precision = _precision_it_behaves_like(error, expected.scale, sigma, u)
        if precision is not None:
            said = f"{BEHAVES_LIKE} {precision} inside {row.dtype} ({row.effective_bits:.1f} effective bits)"
            return row.found(IMPRECISE, said)
    if not figures.beyond and row.bound_ratio == row.bound_ratio and _is_of_a_precision(figures, u):
        if _together(figures):
            return row.found(WRONG if is_proportional(error, expected.value) else IMPRECISE, _together(figures))
        if structured:
            return row.found(LOOSE, f"beyond {LAMBDA:g} sigma, within the worst-case bound")
        return row.found(
            IMPRECISE,
            f"less precise than {row.dtype}: beyond {LAMBDA:g} sigma on random data, within the worst-case bound",
        )
    return row.found(WRONG)


def _is_of_a_precision(figures: Figures, u: float) -> bool:
    """Whether the errors are at most those of the lowest precision. After many steps the worst-case bound is far larger."""
    lowest = LOWER_PRECISIONS[-1][1]
    return u >= lowest or figures.z_rms * u <= lowest


def _largest_relative(errors: Errors, tolerance: Floats) -> float:
    """The largest relative error of the finite elements outside their tolerance; NaN if there are none.

    Beside them a tiny number may have a large relative error that rounding explains.
    """
    finite = np.isfinite(errors.size) if errors.regular is None else errors.regular
    outside = finite & (errors.size > tolerance)
    if not outside.any():
        return math.nan
    return float(np.max(errors.size[outside] / np.abs(errors.value[outside])))


def adds_up_in_16_bits(row: Row, got: Array, expected: Expected, given: Iterable[Array] = ()) -> bool:
    """Whether errors of what is due in float32 are ordinary ones of the same in 16 bits, which is expected here: of a sum that is
    added up so, or of other intermediate results that are stored so."""
    if got.size < MANY or got.shape != expected.value.shape:
        return False
    with np.errstate(all="ignore"):
        figures, errors = measured(got, expected), Errors.of(got, expected.value, expected.sigma)
    return not figures.n_outside and figures.z_rms > LEAST_RMS and not patterned(errors, given=given)


def in_16_bits(row: Row) -> Row:
    """The row of what was computed in 16 bits on the way."""
    return row.found(IMPRECISE, f"{BEHAVES_LIKE} {INTERMEDIATE} {row.dtype}, where float32 is due")


def _bits(relative: float) -> float:
    return max(0.0, -math.log2(relative)) if relative > 0 else math.nan


def _relative_to_terms(error: Floats, scale: Floats) -> float:
    """The root mean square of the error in units of the terms that were added up."""
    counted = scale > 0
    return float(np.sqrt(np.mean(np.square(error[counted] / scale[counted])))) if counted.any() else 0.0


def _precision_it_behaves_like(error: Floats, scale: Floats, sigma: Floats, u: float) -> str | None:
    """The lower precision in which this would be an ordinary error: that of rounded operands, else that of rounded sums.

    Rounded operands (TF32, bfloat16 products with wide accumulation) cause an error that is a fixed share of the terms, however
    many there are. It is no larger than rounding all of the computation in that precision. An ordinary error is spread over all
    elements and has no outliers.
    """
    lower = [(name, roundoff) for name, roundoff in LOWER_PRECISIONS if roundoff > u]
    z = error / sigma
    rms_of_z = float(np.sqrt(np.mean(np.square(z))))
    relative = error / scale  # infinite, and so without a spread, where there are no terms
    rms = float(np.sqrt(np.mean(np.square(relative))))
    spread = float(np.median(relative)) > 0.1 * rms and float(np.max(relative)) < LAMBDA * rms
    for name, roundoff in lower:
        if spread and abs(math.log2(rms / (ROUNDED_OPERANDS * roundoff))) <= 1.5 and rms_of_z * u <= LAMBDA * roundoff:
            return name
    for name, roundoff in lower:
        if np.max(z) * u / roundoff <= LAMBDA:
            is_ordinary = rms_of_z * u <= roundoff or rms <= MOST_ROUNDOFFS * roundoff
            return name if is_ordinary and float(np.median(z)) * u / roundoff > 0.02 else None
    return None


def by_company(rows: Iterable[Row]) -> list[Row]:
    """The rows. A few elements alone cannot show a lower precision; they are `imprecise` only if a larger array is as well, or if
    another dtype has shown it."""
    rows = list(rows)
    if any(row.verdict == IMPRECISE and row.n >= MANY for row in rows):
        return rows
    return [
        _wrong_after_all(row) if row.diagnosis.startswith(BEHAVES_LIKE) and row.cause_name != "precision" else row
        for row in rows
    ]


def _wrong_after_all(row: Row) -> Row:
    """The row without the precision that it resembles; the rest of its diagnosis stays."""
    return row.found(WRONG, row.diagnosis.partition("; ")[2])


def resembled(row: Row) -> float | None:
    """The roundoff of the 16-bit precision, or TF32, that an `imprecise` row resembles; None if it resembles none."""
    alike = (roundoff for name, roundoff in LOWER_PRECISIONS[1:] if row.diagnosis.startswith(f"{BEHAVES_LIKE} {name} "))
    return next(alike, None) if row.verdict == IMPRECISE else None


def beside_a_factor(rows: Iterable[Row], factors: Sequence[Row]) -> list[Row]:
    """The rows of an operation. If a quantity is wrong by a factor, an `imprecise` one beside it becomes `wrong`.

    A lower precision would not cause a factor. So the error of the other quantity has the same cause: some terms of its sum are
    wrong by that factor.
    """
    if not factors:
        return list(rows)
    why = f"some of its terms are wrong, as {factors[0].quantity} is, by a factor"
    return [row.found(WRONG, why) if row.diagnosis.startswith(BEHAVES_LIKE) else row for row in rows]


def is_off_by_a_factor(row: Row, got: Array, expected: Expected) -> bool:
    """Whether a wrong quantity is proportional to the expected one."""
    if row.verdict != WRONG or row.n < FEWEST or got.shape != expected.value.shape:
        return False
    with np.errstate(all="ignore"):
        errors = Errors.of(got, expected.value, expected.sigma)
        return errors.regular is None and is_proportional(errors.size, errors.value)
