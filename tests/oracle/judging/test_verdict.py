"""`compare` gives each verdict where it belongs, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from oracle.judging.figures import Expected, Figures
from oracle.judging.rows import (
    DISCREPANCIES,
    END_TO_END,
    IMPRECISE,
    LOCAL,
    LOOSE,
    PASS,
    UNDECIDED,
    VERDICTS,
    WRONG,
    Row,
)
from oracle.judging.verdict import adds_up_in_16_bits, compare
from oracle.running_error import LAMBDA, ErrorArray, ErrorModel
from oracle.running_error.conditioning import digits_left, relative_error

Array = npt.NDArray[Any]
# The largest float32, as a float64.
LARGEST = float(np.finfo(np.float32).max)


def judged(got: Array, expected: Expected, *, structured: bool = False, no_terms: bool = False) -> Row:
    """The row of `got`, judged in its own dtype."""
    row = Row("case", got.dtype.name, 0, "0", "Linear", "output", "local", "")
    return compare(row, got, expected, structured=structured, no_terms=no_terms)


def known(value: Array, sigma: float = 1e-8, bound: float | None = 1e-7, scale: float = 1.0) -> Expected:
    """An expectation with the same error everywhere."""
    full: Callable[[float], Array] = lambda number: np.full(value.shape, number)  # noqa: E731
    return Expected(value, full(sigma), None if bound is None else full(bound), full(scale))


def exact(value: Array) -> Expected:
    """An expectation that nothing rounds: a copy, a mask, sums of small integers."""
    return known(value, sigma=0.0, bound=0.0)


def product(a: Array, b: Array, dtype: str = "float32") -> Expected:
    """The expected product of two matrices, with the errors that error arrays predict for it."""
    model = ErrorModel(np.dtype(dtype), bounds=True)
    result = ErrorArray.exact(a, model) @ ErrorArray.exact(b, model)
    return Expected(result.value, result.sigma, result.bound, np.sqrt(result.scale_or_own))


def kept_bits(array: Array, bits: int) -> Array:
    """The array rounded to so many significant bits, as a multiplier of lower precision rounds its operands."""
    mantissa, exponent = np.frexp(array.astype(np.float64))
    return np.asarray(np.ldexp(np.rint(mantissa * 2.0**bits), exponent - bits).astype(np.float32))


@pytest.fixture
def matrices() -> tuple[Array, Array]:
    """Random float32 operands of a product with 64 terms in each sum."""
    rng = np.random.default_rng(7)
    return rng.standard_normal((40, 64)).astype(np.float32), rng.standard_normal((64, 30)).astype(np.float32)


def test_an_honest_product_passes(matrices: tuple[Array, Array]) -> None:
    """A float32 product of BLAS passes, with about as many effective bits as float32 has."""
    a, b = matrices
    row = judged(a @ b, product(a, b))
    assert (row.verdict, row.n_outside, row.decided) == (PASS, 0, 1.0)
    assert 0 < row.z_max < LAMBDA and row.bound_ratio <= 1
    assert row.effective_bits > 23


@pytest.mark.parametrize("bits, name", [(11, "TF32 or float16"), (8, "bfloat16")])
def test_a_product_of_rounded_operands_is_named_by_its_precision(
    matrices: tuple[Array, Array], bits: int, name: str
) -> None:
    """A product silently computed in TF32 or bf16 is `imprecise`, not `wrong`, and the row says which of the two it was."""
    a, b = matrices
    row = judged(kept_bits(a, bits) @ kept_bits(b, bits), product(a, b))
    assert row.verdict == IMPRECISE
    assert f"behaves like {name} inside float32 (" in row.diagnosis
    assert row.effective_bits == pytest.approx(bits, abs=1.5)


@pytest.mark.parametrize("terms", [4, 256, 4096, 16384])
@pytest.mark.parametrize("bits, name", [(11, "TF32 or float16"), (8, "bfloat16")])
def test_products_of_rounded_operands_are_imprecise_at_any_length(terms: int, bits: int, name: str) -> None:
    """Over thousands of terms, as in a wide convolution, such an error grows more slowly than a sum's; it stays `imprecise`."""
    rng = np.random.default_rng(7)
    a, b = rng.standard_normal((16, terms)).astype(np.float32), rng.standard_normal((terms, 16)).astype(np.float32)
    row = judged(kept_bits(a, bits) @ kept_bits(b, bits), product(a, b))
    assert (row.verdict, f"behaves like {name} inside float32 (" in row.diagnosis) == (IMPRECISE, True), row
    assert row.effective_bits == pytest.approx(bits, abs=1.5)


def test_an_outlier_among_rounded_operands_is_wrong() -> None:
    """Rounding to TF32 spreads over all elements. An error of TF32's size in one element alone is a bug."""
    rng = np.random.default_rng(7)
    a, b = rng.standard_normal((100, 64)).astype(np.float32), rng.standard_normal((64, 100)).astype(np.float32)
    got, expected = kept_bits(a, 11) @ kept_bits(b, 11), product(a, b)
    assert judged(got, expected).verdict == IMPRECISE
    rms = np.sqrt(np.mean(((got - expected.value) / expected.scale) ** 2))
    got[3, 5] += np.float32(100 * rms * expected.scale[3, 5])
    row = judged(got, expected)
    assert (row.verdict, row.worst_index) == (WRONG, (3, 5))


@pytest.mark.parametrize(
    "pattern", ["scaled, with an offset for each channel", "two errors for all", "one half is right"]
)
def test_an_error_with_a_pattern_is_no_lower_precision(pattern: str) -> None:
    """A wrong formula of the size of bfloat16's rounding goes along with the value, repeats itself, or is right in a part."""
    rng = np.random.default_rng(7)
    value, size = rng.standard_normal((20, 6)) + np.arange(6), 2.0**-9
    offset = np.arange(6.0)
    error = {
        "scaled, with an offset for each channel": size * (value - offset),
        "two errors for all": np.where(rng.uniform(size=value.shape) < 0.2, 5, -1) * size / 4,
        "one half is right": np.where(rng.uniform(size=value.shape) < 0.5, size * rng.standard_normal(value.shape), 0),
    }[pattern]
    expected = known(value, sigma=2.0**-24, bound=2.0**-23)
    assert judged((value + size * rng.uniform(-1, 1, value.shape)).astype(np.float32), expected).verdict == IMPRECISE
    assert judged((value + error).astype(np.float32), expected).verdict == WRONG


@pytest.mark.parametrize("n", [80, 1000, 100_000])
def test_an_approximation_is_not_a_lower_precision(n: int) -> None:
    """Its error follows the value, from one element to the next in order; that of rounded operands or results does not."""
    for seed in range(20):
        x = np.random.default_rng(seed).standard_normal(n)
        value = np.tanh(x)
        expected = known(value, sigma=2.0**-24, bound=2.0**-22)
        nearly = value * (1 + 2.0**-11 * np.cos(2 * x))  # of one sign, and of the other where |x| is large
        assert judged(nearly.astype(np.float32), expected).verdict == WRONG
        operand = np.tanh(kept_bits(x.astype(np.float32), 11).astype(np.float64)).astype(np.float32)
        result = kept_bits(value.astype(np.float32), 11)
        assert judged(operand, expected).verdict == judged(result, expected).verdict == IMPRECISE


def test_what_nothing_rounds_is_not_imprecise() -> None:
    """Sums of small integers are exact even in TF32, so an error of TF32's size in them is `wrong`."""
    rng = np.random.default_rng(7)
    value = rng.integers(-40, 41, (20, 30)).astype(np.float64)
    got = (value + 2.0**-11 * rng.standard_normal(value.shape)).astype(np.float32)
    assert judged(got, known(value, sigma=2.0**-22)).verdict == IMPRECISE
    assert judged(got, exact(value)).verdict == WRONG
    some = known(value, sigma=2.0**-22)
    some.sigma[0] = 0.0
    assert judged(got, some).verdict == WRONG


def test_a_float64_product_computed_in_float32_is_named_by_its_precision(matrices: tuple[Array, Array]) -> None:
    """An intermediate float32 inside a float64 kernel is `imprecise`, not `wrong`."""
    a, b = matrices
    wide = product(a.astype(np.float64), b.astype(np.float64), "float64")
    row = judged((a @ b).astype(np.float64), wide)
    assert row.verdict == IMPRECISE and "float32 inside float64" in row.diagnosis


def test_one_element_off_by_a_thousandth_is_wrong(matrices: tuple[Array, Array]) -> None:
    """A single bad element among 1,200 is found, and the row gives its index."""
    a, b = matrices
    got, expected = a @ b, product(a, b)
    got[3, 5] *= np.float32(1.001)
    row = judged(got, expected)
    assert (row.verdict, row.n_outside, row.worst_index) == (WRONG, 1, (3, 5))
    assert row.got == float(got[3, 5]) and row.expected == expected.value[3, 5]
    assert row.tolerance == LAMBDA * expected.sigma[3, 5]


@pytest.mark.parametrize("factor", [1.001, 0.999, 1.00001, -1.0, 2.0, 0.0])
@pytest.mark.parametrize("structured", [False, True])
def test_a_constant_factor_is_wrong(matrices: tuple[Array, Array], factor: float, structured: bool) -> None:
    """An error proportional to the value is not rounding, however small it is: it is `wrong`, never `imprecise` or `loose`."""
    a, b = matrices
    row = judged((a @ b) * np.float32(factor), product(a, b), structured=structured)
    assert row.verdict == WRONG


@pytest.mark.parametrize("size", [2.0**-30, 1.0, 2.0**30])
def test_a_constant_factor_is_wrong_at_any_size(size: float) -> None:
    """An error follows the value if the angle between the two is small. With all values zero there is no such angle."""
    value = size * np.random.default_rng(9).standard_normal(50)
    expected = known(value, sigma=2.0**-24 * size, bound=None, scale=size)
    assert judged((value * (1 + 2.0**-14)).astype(np.float32), expected).verdict == WRONG
    noise = 2.0**-15 * size * np.random.default_rng(10).standard_normal(50)
    for around in (value, np.zeros(50)):
        assert judged((around + noise).astype(np.float32), replace(expected, value=around)).verdict == IMPRECISE


@pytest.mark.parametrize("n, verdict", [(3, IMPRECISE), (4, WRONG)])
def test_few_numbers_cannot_tell_a_factor_from_rounding(n: int, verdict: str) -> None:
    """The error of a single number is always proportional to it; only from four elements on does that count as evidence."""
    value = np.ones(n)
    got = (value * (1 + 2.0**-14)).astype(np.float32)
    assert judged(got, known(value, sigma=2.0**-24, bound=None)).verdict == verdict


def test_nothing_behaves_like_its_own_precision() -> None:
    """Where almost every sum is exact, errors as large as those of a float32 product are not float32 rounding."""
    value = np.random.default_rng(9).uniform(0.5, 1, 50).astype(np.float32)
    got = value + 2.0**-24 * np.random.default_rng(10).choice([-4, 4], 50)
    row = judged(got.astype(np.float32), known(value.astype(np.float64), sigma=2.0**-28, bound=None, scale=8.0))
    assert (row.verdict, row.n_outside, row.z_rms) == (WRONG, 50, 64.0)


def test_loose_is_for_structured_data_only() -> None:
    """An error beyond lambda sigma but within the bound is honest on constant data, and imprecise on random data."""
    expected = known(np.array([0.5, -0.25]), sigma=1e-8, bound=1e-6)
    got = (expected.value + np.array([3e-7, 0.0])).astype(np.float32)
    loose, imprecise = judged(got, expected, structured=True), judged(got, expected)
    assert (loose.verdict, imprecise.verdict) == (LOOSE, IMPRECISE)
    assert loose.verdict not in DISCREPANCIES and imprecise.verdict in DISCREPANCIES
    assert "within the worst-case bound" in loose.diagnosis and "within the worst-case bound" in imprecise.diagnosis


def test_structured_data_beyond_the_bound_is_no_longer_loose() -> None:
    """On constant data roundings may all point one way; no order of summation makes an error beyond the bound."""
    expected = known(np.array([0.5, -0.25]), sigma=1e-8, bound=1e-6)
    got = (expected.value + np.array([0.1, 0.0])).astype(np.float32)
    assert judged(got, expected, structured=True).verdict == WRONG


def test_without_a_bound_nothing_is_loose() -> None:
    """End to end no worst-case bound is computed, so none can excuse an error."""
    expected = known(np.array([0.5, -0.25]), bound=None)
    got = (expected.value + np.array([0.1, 0.0])).astype(np.float32)
    row = judged(got, expected, structured=True)
    assert row.verdict == WRONG and np.isnan(row.bound_ratio)


def test_zero_terms_test_nothing() -> None:
    """A zero where every term is zero is `undecided`: any kernel gets it right, so it is not counted as a pass."""
    zeros = np.zeros((3, 4), np.float32)
    row = judged(zeros, known(zeros.astype(np.float64), sigma=0.0, bound=0.0, scale=0.0))
    assert row.verdict == UNDECIDED and "every term that was added up is zero" in row.diagnosis


def test_zero_terms_of_an_empty_batch_are_the_whole_truth() -> None:
    """The gradient of a parameter over no samples is zero, and that is a pass."""
    zeros = np.zeros((3, 4), np.float32)
    nothing = known(zeros.astype(np.float64), sigma=0.0, bound=0.0, scale=0.0)
    assert judged(zeros, nothing, no_terms=True).verdict == PASS
    assert judged(zeros + np.float32(1e-30), nothing, no_terms=True).verdict == WRONG


def test_a_value_where_every_term_is_zero_is_wrong() -> None:
    """A number where every term is zero does not match, so it is a discrepancy and not `undecided`."""
    zeros = np.zeros(3)
    assert judged(np.float32([0, 1, 0]), known(zeros, sigma=0.0, bound=0.0, scale=0.0)).verdict == WRONG


def test_an_infinity_out_of_zeros_was_tested() -> None:
    """log 0 is -inf although its terms are zero. Not every kernel gets that right, so it counts as a pass."""
    expected = known(np.array([-np.inf, 0.0]), sigma=0.0, bound=0.0, scale=0.0)
    assert judged(np.float32([-np.inf, 0]), expected).verdict == PASS
    many = np.zeros(100_000)
    many[0] = -np.inf
    assert judged(many, known(many, sigma=0.0, bound=0.0, scale=0.0)).verdict == PASS


def test_a_tolerance_that_hides_wrong_values_is_undecided() -> None:
    """Where the tolerance is too wide at most of the elements, a match proves nothing."""
    value = np.ones(4)
    wide = replace(known(value), sigma=np.array([1.0, 1.0, 1.0, 1e-9]))
    row = judged(value.astype(np.float32), wide)
    assert (row.verdict, row.decided) == (UNDECIDED, 0.25)
    assert "too wide at 75%" in row.diagnosis
    assert row.diagnosis.startswith("ill-conditioned: rounding is amplified 1.5e+07 times, 0.0 digits are left")


def test_a_row_says_how_many_digits_rounding_leaves() -> None:
    """As many as `oracle explain` shows; none are said of what is exact."""
    value = np.linspace(1.0, 2.0, 50)
    row = judged(value, known(value, sigma=1e-4))
    relative = relative_error(value, np.full(50, 1e-4))
    assert relative is not None
    assert row.digits_left == pytest.approx(digits_left(relative))
    assert np.isnan(judged(value, known(value, sigma=0.0, bound=0.0)).digits_left)


def test_few_wide_elements_do_not_hide_the_others() -> None:
    """The row states the share of elements that were decided, and the verdict is theirs."""
    value = np.ones(4)
    some = replace(known(value), sigma=np.array([1.0, 1e-9, 1e-9, 1e-9]))
    assert (judged(value.astype(np.float32), some).verdict, judged(value.astype(np.float32), some).decided) == (
        PASS,
        0.75,
    )
    assert judged(np.float32([1, 1, 1, 1.1]), some).verdict == WRONG


def test_half_of_the_elements_decided_are_enough() -> None:
    """A row is `undecided` only if most of its elements have a tolerance that is too wide."""
    value = np.ones(4)
    half = replace(known(value), sigma=np.array([1.0, 1.0, 1e-9, 1e-9]))
    assert (judged(value.astype(np.float32), half).verdict, judged(value.astype(np.float32), half).decided) == (
        PASS,
        0.5,
    )


def test_what_must_be_exact_is_decided() -> None:
    """With a tolerance of 0 an element is decided, even if nothing is known about its terms."""
    value = np.ones(2)
    row = judged(value.astype(np.float32), known(value, sigma=0.0, bound=0.0, scale=np.nan))
    assert row.decided == 1.0


def test_a_wide_tolerance_does_not_excuse_what_lies_beyond_it() -> None:
    """Only a value within its tolerance can be `undecided`; one beyond it is wrong."""
    assert judged(np.float32([100.0]), known(np.ones(1), sigma=1.0, bound=None)).verdict == WRONG


def test_cancellation_is_decided_by_its_terms() -> None:
    """A result near zero is decided where its tolerance is small beside its terms, so another value there is wrong."""
    expected = known(np.zeros(3), sigma=1e-8, bound=1e-7, scale=1.0)
    assert judged(np.float32([1e-9, 0, -1e-9]), expected).verdict == PASS
    assert judged(np.float32([0.01, 0, 0]), expected).verdict == WRONG


SPECIAL_VALUES = [
    (np.nan, np.nan, PASS),
    (np.inf, np.inf, PASS),
    (-np.inf, -np.inf, PASS),
    (np.inf, -np.inf, WRONG),
    (-np.inf, np.inf, WRONG),
    (np.nan, np.inf, WRONG),
    (np.inf, np.nan, WRONG),
    (np.nan, 1.0, WRONG),
    (1.0, np.nan, WRONG),
    (np.inf, 1.0, WRONG),
    (-np.inf, 1.0, WRONG),
    (1.0, np.inf, WRONG),
    (LARGEST, np.inf, WRONG),
]


@pytest.mark.parametrize("got, value, verdict", SPECIAL_VALUES)
@pytest.mark.parametrize("sigma", [0.0, 1e-8])
def test_nan_and_infinities_match_only_themselves(got: float, value: float, verdict: str, sigma: float) -> None:
    """NaN matches NaN, an infinity matches one of the same sign, and neither matches anything else."""
    expected = known(np.array([value, 0.5]), sigma=sigma, bound=None)
    row = judged(np.float32([got, 0.5]), expected)
    assert row.verdict == verdict
    if verdict == WRONG:
        assert (row.n_outside, row.worst_index) == (1, (0,))


@pytest.mark.parametrize("got, value, verdict", [entry for entry in SPECIAL_VALUES if not np.isfinite(entry[1])])
@pytest.mark.parametrize("sigma", [np.inf, np.nan])
def test_an_unbounded_error_does_not_excuse_a_number_for_an_infinity(
    got: float, value: float, verdict: str, sigma: float
) -> None:
    """An error propagated through an infinity is infinite or NaN. It must not serve as a tolerance for other values."""
    row = judged(np.float32([got, 0.5]), replace(known(np.array([value, 0.5])), sigma=np.array([sigma, 1e-8])))
    assert (row.verdict, row.decided) == (verdict, 1.0)
    if verdict == WRONG:
        assert (row.n_outside, row.worst_index, row.z_max) == (1, (0,), np.inf)


def test_where_nothing_is_known_about_an_error_it_may_be_anything() -> None:
    """A predicted error of NaN counts as infinite: no value is outside of it, and none is decided."""
    expected = replace(known(np.ones(3)), sigma=np.full(3, np.nan), bound=np.full(3, np.nan))
    row = judged(np.float32([1, 5, 2]), expected)
    assert (row.verdict, row.decided, row.n_outside) == (UNDECIDED, 0.0, 0)
    assert (row.z_max, row.bound_ratio, row.tolerance) == (0.0, 0.0, np.inf)


def test_a_value_that_is_not_finite_is_not_accepted_for_want_of_a_tolerance() -> None:
    """Where the predicted error itself is NaN, a NaN in place of a number never passes."""
    expected = replace(known(np.array([1.0])), sigma=np.array([np.nan]))
    row = judged(np.float32([np.nan]), expected)
    assert row.verdict in (WRONG, UNDECIDED)
    assert row.verdict != PASS


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_what_float32_cannot_hold_it_holds_as_infinity(sign: float) -> None:
    """Beyond the largest float32 the right answer is the infinity of that sign; a finite number is wrong."""
    expected = known(np.array([sign * 1e39]), sigma=1e31, bound=1e32, scale=1e39)
    assert judged(np.float32([sign * np.inf]), expected).verdict == PASS
    assert judged(np.float32([-sign * np.inf]), expected).verdict == WRONG
    assert judged(np.float32([sign * LARGEST]), expected).verdict == WRONG
    assert judged(np.float32([np.nan]), expected).verdict == WRONG


def test_what_is_expected_is_what_the_dtype_holds() -> None:
    """Where a number is too large for float32, the row gives infinity as expected, and how far off another value is."""
    row = judged(np.float32([LARGEST]), known(np.array([4e38]), sigma=1e31, bound=1e32, scale=1e39))
    assert judged(np.float32([LARGEST]), exact(np.array([LARGEST]))).verdict == PASS
    assert (row.got, row.expected, row.max_abs, row.max_ulp) == (LARGEST, np.inf, np.inf, np.inf)


def test_near_the_largest_number_both_sides_of_overflow_are_honest() -> None:
    """Near the largest float32 rounding may overflow: the finite value and infinity both pass. Farther away they do not."""
    edge = known(np.array([LARGEST * (1 - 1e-7)]), sigma=LARGEST * 1e-7, bound=LARGEST * 1e-6, scale=LARGEST)
    assert judged(np.float32([np.inf]), edge).verdict == PASS
    assert judged(np.float32([LARGEST]), edge).verdict == PASS
    assert judged(np.float32([-np.inf]), edge).verdict == WRONG
    above = replace(edge, value=np.array([LARGEST * (1 + 1e-7)]))
    assert judged(np.float32([np.inf]), above).verdict == PASS
    assert judged(np.float32([LARGEST]), above).verdict == PASS
    assert judged(np.float32([-np.inf]), above).verdict == WRONG
    assert judged(np.float32([LARGEST / 2]), above).verdict == WRONG
    below = known(np.array([LARGEST / 2]), sigma=LARGEST * 1e-7, bound=LARGEST * 1e-6, scale=LARGEST)
    assert judged(np.float32([np.inf]), below).verdict == WRONG


def test_an_error_that_reaches_beyond_the_largest_number_allows_infinity() -> None:
    """Whatever the sign of the value, such as that of a variance whose deviations are rounding errors of large numbers."""
    wide = known(np.zeros(1), sigma=LARGEST, bound=10 * LARGEST, scale=LARGEST)
    for due in (wide, replace(wide, value=np.array([-1.0]))):
        for came in (np.inf, -np.inf):
            assert judged(np.float32([came]), due).verdict == UNDECIDED
        assert judged(np.float32([np.nan]), due).verdict == WRONG


def test_a_wrong_shape_is_wrong_and_says_so() -> None:
    """A wrong shape is wrong even where NumPy would broadcast it."""
    row = judged(np.zeros((3, 1), np.float32), known(np.zeros(3)))
    assert (row.verdict, row.diagnosis) == (WRONG, "shape (3, 1), expected (3,)")
    assert (row.shape, row.n) == ((3, 1), 3)
    assert judged(np.zeros(1, np.float32), known(np.zeros(()))).verdict == WRONG


def test_a_wrong_dtype_is_wrong_and_says_so() -> None:
    """Right numbers in another dtype are wrong: that dtype was not asked for."""
    row = Row("case", "float64", 0, "0", "Linear", "output", "local", "")
    row = compare(row, np.ones(2, np.float32), known(np.ones(2)), structured=False, no_terms=False)
    assert (row.verdict, row.diagnosis) == (WRONG, "dtype float32, expected float64")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_exact_data_must_match_to_the_bit(dtype: type[np.floating[Any]]) -> None:
    """Where nothing rounds, one unit in the last place is wrong."""
    value = np.array([3.0, -7.0, 12.0])
    assert judged(value.astype(dtype), exact(value)).verdict == PASS
    got = value.astype(dtype)
    got[1] = np.nextafter(got[1], dtype(0))
    row = judged(got, exact(value))
    assert (row.verdict, row.n_outside, row.worst_index, row.tolerance) == (WRONG, 1, (1,), 0.0)
    assert row.max_ulp == 1.0


def test_the_error_arrays_know_exact_sums() -> None:
    """A product of small integers has no tolerance at all: one bit off is wrong."""
    rng = np.random.default_rng(3)
    a, b = (rng.integers(-4, 5, shape).astype(np.float32) for shape in ((5, 8), (8, 6)))
    expected, got = product(a, b), a @ b
    assert not expected.sigma.any() and judged(got, expected).verdict == PASS
    place = np.unravel_index(np.argmax(np.abs(got)), got.shape)
    got[place] = np.nextafter(got[place], np.float32(np.inf))
    assert judged(got, expected).verdict == WRONG


def test_the_sign_of_zero_is_no_discrepancy() -> None:
    """-0.0 and 0.0 are the same number."""
    value = np.array([0.0, 1.0])
    assert judged(np.float32([-0.0, 1.0]), exact(value)).verdict == PASS


@pytest.mark.parametrize("shape", [(0,), (0, 3), (2, 0, 4)])
def test_empty_arrays_pass_if_their_shape_and_dtype_are_right(shape: tuple[int, ...]) -> None:
    """Of an empty batch only shape and dtype can be compared."""
    empty = known(np.zeros(shape))
    row = judged(np.zeros(shape, np.float32), empty)
    assert (row.verdict, row.n, row.shape) == (PASS, 0, shape)
    assert row.max_abs == row.max_rel == row.max_ulp == row.z_max == row.z_rms == 0.0
    assert judged(np.zeros((*shape, 2), np.float32), empty).verdict == WRONG


def test_scalars_are_compared() -> None:
    """A loss has shape ()."""
    assert judged(np.array(0.5, np.float32), known(np.array(0.5))).verdict == PASS
    row = judged(np.array(0.6, np.float32), known(np.array(0.5)))
    assert (row.verdict, row.worst_index) == (WRONG, ())


def test_figures_are_what_they_are_called() -> None:
    """The row has the largest absolute and relative error, z, the ratio to the bound, and the units in the last place."""
    expected = known(np.array([1.0, 4.0]), sigma=0.25, bound=1.0, scale=100.0)
    row = judged(np.array([1.5, 4.25]), expected)
    assert (row.max_abs, row.max_rel) == (0.5, 0.5)
    assert (row.z_max, row.bound_ratio) == (2.0, 0.5)
    assert row.z_rms == pytest.approx(np.sqrt((2.0**2 + 1.0**2) / 2))
    assert row.max_ulp == 0.5 / 2.0**-52
    assert row.cosine == pytest.approx((1.5 + 17.0) / np.sqrt((1.5**2 + 4.25**2) * 17.0))


def test_relative_errors_are_those_of_numbers_that_have_one() -> None:
    """The relative error is of finite values. Where zero was expected it is infinite, unless within the tolerance. It is of the
    elements outside their tolerance alone, if there are any: one that rounding explains, here of 25 %, says nothing of them."""
    expected = known(np.array([0.0, 2.0, np.inf, 4.0]), sigma=0.25, bound=None)
    assert judged(np.array([0.5, 2.5, np.inf, 4.0]), expected).max_rel == 0.25
    assert judged(np.array([0.5, 2.5, 0.0, 4.0]), expected).max_ulp == np.inf
    for wrong in (np.nan, np.inf):
        for got in ([0.5, 2.5, np.inf, wrong], [wrong, 2.5, np.inf, 4.0]):
            assert np.isnan(judged(np.array(got), expected).max_rel)
        assert judged(np.array([wrong, 2.5, np.inf, 8.0]), expected).max_rel == 1
    assert np.isnan(judged(np.array([0.5, 2.5, np.nan, 4.0]), expected).max_rel)
    assert judged(np.array([0.5, 2.5, np.inf, wrong]), expected).max_abs == np.inf
    assert judged(np.array([2.5, 2.5, np.inf, 4.0]), expected).max_rel == np.inf


def test_z_is_of_what_rounding_can_touch() -> None:
    """Elements with a tolerance of zero, infinity or NaN are left out of the mean z. If all are, there are no effective bits."""
    value, sigma = np.array([1.0, 4.0, 8.0, 2.0, np.inf]), np.array([0.25, 0.25, 0.0, np.inf, 0.25])
    row = judged(np.array([1.5, 4.25, 9.0, 3.0, np.inf]), replace(known(value), sigma=sigma))
    assert row.z_rms == pytest.approx(np.sqrt((2.0**2 + 1.0**2) / 2)) and row.z_max == np.inf
    row = judged(np.array([1.0, 4.0]), exact(np.array([1.0, 4.0])))
    assert (row.z_max, row.z_rms) == (0.0, 0.0) and np.isnan(row.effective_bits)


@pytest.mark.parametrize(
    "error, scale, bits",
    [
        ([2.0**-12, 2.0**-12, 0.0, 0.0], [0.25, 0.25, 0.25, 0.25], 10),  # infinities and exact numbers do not count
        ([2.0**-12, 2.0**-9, 0.0, 0.0], [0.25, 0.0, 0.25, 0.25], 10),  # nor what has no terms
        ([2.0**-12, 2.0**-9, 0.0, 0.0], [0.25, 2.0, 0.25, 0.25], 10),  # each of its own
        ([4.0, 4.0, 0.0, 0.0], [0.25, 0.25, 0.25, 0.25], 0),  # further off than all that was added up
        ([1e200, 1e200, 0.0, 0.0], [1e-9, 1e-9, 1e-9, 1e-9], 0),
        ([4.0, 4.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0], np.nan),
    ],
)
def test_bits_of_what_is_outside_are_relative_to_its_terms(error: list[float], scale: list[float], bits: float) -> None:
    """Effective bits are -log2 of the rms of error over terms."""
    value, sigma = np.array([0.5, -0.25, np.inf, 3.0]), np.array([1e-16, 1e-16, 1e-16, 0.0])
    row = judged(value + np.array(error), Expected(value, sigma, None, np.array(scale)))
    assert row.n_outside and row.effective_bits == pytest.approx(bits, nan_ok=True)


def test_the_worst_element_is_outside_if_any_is() -> None:
    """The worst element has the largest z, whatever its sigma. Among elements that must be exact it has the largest error."""
    expected = known(np.array([1.0, 2.0, 3.0]), sigma=2.0**-20, bound=None)
    assert judged(expected.value + 2.0**-20 * np.array([7, 9, 0]), expected).worst_index == (1,)
    uneven = replace(expected, sigma=2.0 ** np.array([-10, -20, -20]))
    for z in ([7, 9, 0], [10, 12, 0]):
        assert judged(expected.value + uneven.sigma * z, uneven).worst_index == (1,)
    assert judged(np.array([6.0, 52.0, 4.0]), exact(expected.value)).worst_index == (1,)
    assert judged(np.array([6.0, 52.0, np.nan]), exact(expected.value)).worst_index == (2,)


def test_of_elements_that_are_equally_bad_the_first_is_named() -> None:
    """Of equal errors the first in reading order is the worst."""
    value = np.zeros((3, 4))
    got = value.copy()
    got[0, 2] = got[1, 0] = 1.0
    assert judged(got, exact(value)).worst_index == (0, 2)


def test_nothing_measured_is_no_figure() -> None:
    """A row without figures counts no elements, and its figures are NaN, not 0."""
    row = Row("case", "float32", 0, "0", "Linear", "output", LOCAL, PASS)
    assert (row.n, row.n_outside, row.n_ambiguous, row.n_adopted) == (0, 0, 0, 0)
    assert row.diagnosis == row.cause == row.cause_name == ""
    figures = [value for value in vars(row).values() if isinstance(value, float)]
    assert sum(np.isnan(value) for value in figures) == len(figures) - 1 and row.decided == 1


def test_the_words_of_a_report_stay() -> None:
    """Saved reports hold these words, and programs that read them rely on their order of gravity."""
    assert " ".join(VERDICTS) == (
        "pass undecided convention loose unsupported unjudged imprecise missing wrong crashed failed"
    )
    assert (LOCAL, END_TO_END) == ("local", "end to end")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_single_wrong_element_is_found_at_any_size(dtype: str) -> None:
    """One bad element is a discrepancy in an array of any size."""
    rng = np.random.default_rng(11)
    value = rng.standard_normal(100_000).astype(dtype).astype(np.float64)
    expected = known(value, sigma=1e-8, bound=1e-7)
    got = value.astype(dtype)
    got[12_345] += 1e-3
    row = judged(got, expected)
    assert (row.verdict, row.n_outside, row.worst_index) == (WRONG, 1, (12_345,))
    got[67_890] -= 1e-2
    row = judged(got, expected)
    assert (row.verdict, row.n_outside, row.worst_index) == (WRONG, 2, (67_890,))


def test_a_share_that_underflows_is_none() -> None:
    """An error that is nothing beside the values leaves no number of digits to state."""
    assert Figures(sigma_squares=1e-320, expected_squares=1e10).relative_error is None


def test_a_difference_where_none_is_allowed_is_not_a_sum_in_16_bits() -> None:
    """Without a tolerance nothing is divided by it, so that no warning comes of a wrong result."""
    value = np.ones((40, 30))
    row = Row("case", "bfloat16", 0, "0", "Linear", "output", "local", WRONG)
    assert not adds_up_in_16_bits(row, value * 1.5, exact(value))


def test_errors_within_the_bound_are_wrong_together_only_by_a_factor() -> None:
    """Elements beyond their tolerance, all within the worst case: errors at random are `imprecise`, those of a factor `wrong`."""
    rng = np.random.default_rng(0)
    value = rng.standard_normal((16, 32))
    due = known(value, sigma=1e-6, bound=1e-4)
    for error, verdict in ((rng.standard_normal(value.shape) * 4e-6, IMPRECISE), (value * 4e-6, WRONG)):
        row = judged((value + error).astype(np.float32), due)
        assert row.n_outside > 0 and row.bound_ratio < 1
        assert (row.verdict, row.diagnosis[:31]) == (verdict, "less precise than it should be:")


def test_errors_along_a_given_array_in_each_row_are_no_lower_precision() -> None:
    """As where a norm's projection is wrong; the same errors at random would be those of a lower precision."""
    rng = np.random.default_rng(0)
    value, given = rng.standard_normal((2, 16, 32))
    got = (value + given * rng.uniform(0.5, 2, (16, 1)) * 1e-4).astype(np.float32)
    row = Row("case", "float32", 0, "0", "LayerNorm", "grad_input", LOCAL, "")
    for arrays, verdict in (((given,), WRONG), ((), IMPRECISE)):
        found = compare(row, got, known(value), structured=False, no_terms=False, given=arrays)
        assert found.verdict == verdict
