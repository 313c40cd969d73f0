"""Where an operation rounds nothing, and where numbers end: exact data, zeros, infinities, what is too small or too fine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from oracle.running_error import UNIT_ROUNDOFF, ErrorArray, ErrorModel
from oracle.running_error.exact import quantum_of
from oracle.running_error.model import ROUNDOFF, Twofold

MODEL = ErrorModel(np.dtype("float32"), bounds=True)
U = 2.0**-24


def exact(value: Any) -> ErrorArray:
    return ErrorArray.exact(value, MODEL)


@pytest.mark.parametrize(
    ("values", "quantum"),
    [
        ([1.0, -3.0], 1.0),
        ([0.5, 2.0], 2.0**-4),
        ([3 * 2.0**-8], 2.0**-8),
        ([1.0, 2.0**-12], 2.0**-12),
        ([2.0**-13], None),
        ([1.0, 0.1], None),
        ([0.0, 0.0], np.inf),
        ([1.0, np.inf, np.nan], 1.0),
    ],
)
def test_the_quantum_of_numbers(values: list[float], quantum: float | None) -> None:
    """What all of them are a multiple of, in steps of four binary places; what is finer is taken for inexact."""
    assert quantum_of(np.array(values)) == quantum


@pytest.mark.parametrize("dtype", ROUNDOFF)
def test_the_unit_roundoff_is_half_a_unit_in_the_last_place(dtype: str) -> None:
    """Of 1, as the type's own limits have it."""
    assert ROUNDOFF[dtype] == float(ml_dtypes.finfo(dtype).eps) / 2  # type: ignore[no-untyped-call]


def test_what_is_below_the_normal_range_may_be_lost() -> None:
    """All of it in float32, whose subnormals some processors flush; above the range a halving is exact."""
    tiny = float(np.finfo(np.float32).tiny)
    halved = exact(np.array([3 * tiny * 1.1, 1.5 * tiny * 1.1, 0.0])) * 0.5
    assert halved.bound is not None
    np.testing.assert_array_equal(halved.bound, [tiny, tiny, 0.0])
    np.testing.assert_array_equal((exact(np.array([1.1])) * 0.5).sigma, [0.0])
    for quotient in (exact(np.array([3 * tiny * 1.1, 0.0])) / 2.0, exact(np.array([3 * tiny * 1.1, 0.0])) / 1.75):
        np.testing.assert_array_equal(quotient.bound, [tiny, 0.0])
    np.testing.assert_array_equal((exact(np.array([3.0])) / 2.0**127).sigma, [0.0])  # 3 of its quantum


def test_half_a_last_place_of_float16_may_be_lost() -> None:
    """Whose small numbers nobody flushes, and whose range is small: a halving is exact above it."""
    model = ErrorModel(np.dtype("float16"), bounds=True)
    halved = ErrorArray.exact(np.array([1.1, 1.1 * 2.0**-14]), model) * 0.5
    np.testing.assert_array_equal(halved.sigma, [0, 2.0**-25])
    np.testing.assert_array_equal(halved.bound, [0, 2.0**-25])


def test_what_is_too_small_to_be_squared_has_a_deviation() -> None:
    """In float64, below the root of its smallest number: no smaller one than that. The bound is not squared."""
    model = ErrorModel(np.dtype("float64"), bounds=True)
    result = ErrorArray.exact(np.array([1.1 * 2.0**-600, 1.1]), model) * 1.3
    np.testing.assert_allclose(result.sigma, [2.0**-457, 2.0**-53 * 1.43], rtol=1e-12)
    np.testing.assert_allclose(result.bound, 2.0**-53 * result.value, rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_functions_of_short_numbers_are_rounded_once(dtype: str) -> None:
    """They are computed in a wider type."""
    model = ErrorModel(np.dtype(dtype), bounds=True)
    result = np.exp(ErrorArray.exact(np.array([0.5, 1.5]), model))
    np.testing.assert_allclose(result.sigma, UNIT_ROUNDOFF[dtype] * result.value, rtol=1e-12)


def test_zero_divided_is_zero() -> None:
    """Without rounding; -1 divided is not."""
    np.testing.assert_allclose((exact([0.0, -1.0]) / exact([0.3, 0.3])).sigma, [0, U / 0.3], rtol=1e-12)


def test_adding_zero_rounds_nothing() -> None:
    """On either side; adding anything else does."""
    zero, x = exact(np.zeros(3)), exact(np.array([0.1, 0.3, -1.0]))
    for total in (x + zero, zero + x, x - zero, zero - x):
        np.testing.assert_array_equal(total.sigma, 0)
        np.testing.assert_array_equal(total.bound, 0)
    np.testing.assert_array_equal((x * np.array([True, False, True])).sigma, 0)  # nor does a choice
    ones = exact(np.array([0.1, -1.0, 0.1])) + exact(np.array([-1.0, 0.1, 0.0]))
    np.testing.assert_allclose(ones.sigma, [0.9 * U, 0.9 * U, 0], rtol=1e-12)


WHOLE = np.array([3.0, -5.0, 0.0, 8.0])
EXACT: dict[str, Callable[[ErrorArray], ErrorArray]] = {
    "negative": lambda x: -x,
    "absolute": abs,
    "difference": lambda x: x - 2.0,
    "half": lambda x: x / 2.0,
    "minus an eighth": lambda x: x / -8.0,
    "square": np.square,
    "self": lambda x: x * x,
    "product": lambda x: x * 3.0,
    "sum": lambda x: x.sum(),
    "negative sum": lambda x: -x.sum(),
    "matrix product": lambda x: x.reshape(2, 2) @ x.reshape(2, 2),
    "joined": lambda x: np.concatenate([x, x / 4.0]),
    "moved": np.flip,
    "more ones": lambda x: np.ones_like(x) + x,
    "beside zeros": lambda x: np.zeros_like(x) + x,
    "a fraction": lambda x: x / 2.0 * 0.5,
    "fractions": lambda x: np.square(x / 2.0),
    "chosen": lambda x: np.where(x > 0, x, 1.0),
}


@pytest.mark.parametrize("name", EXACT)
def test_integers_and_their_binary_parts_stay_exact(name: str) -> None:
    """Through one operation and the next: what the dtype holds is added without rounding, and must match to the bit."""
    result = EXACT[name](exact(WHOLE))
    assert not result.sigma.any()
    further = result + 0.0625
    assert not further.sigma.any()
    assert further.bound is not None and not further.bound.any()
    assert (result + 0.3).sigma.any()


def test_whole_numbers_are_exact_up_to_what_the_type_holds() -> None:
    """2^24 of the quantum: of a product that of both, of a quotient a part of it."""
    big, sixteenths = exact([2.0**24 - 1]), exact([512 + 1 / 16])
    assert not (big + 1.0).sigma.any() and (big + 2.0).sigma.any()
    for product in (sixteenths * sixteenths, np.square(sixteenths), sixteenths * exact([512 + 1 / 16])):
        assert product.sigma.any()  # a multiple of 1/256, beyond 2^24 of them
    for product in (exact([64 + 1 / 16]) * exact([64 + 1 / 16]), np.square(exact([64 + 1 / 16]))):
        assert not product.sigma.any()
    assert not (big / 2.0).sigma.any() and (big / 2.0 + 2.0**23).sigma.any()


def test_infinities_and_nan_have_no_error_and_no_scale() -> None:
    """They are judged as such; the numbers beside them keep their own error, and a sum the scale of its finite terms."""
    x = exact(np.array([1.3, np.inf, 2.7, np.nan]))
    for result, ulps in ((np.exp(x), 4), (x * 1.5, 1), (1.0 / x, 1)):
        own = ulps * U * np.abs(result.value[[0, 2]])
        np.testing.assert_allclose(result.sigma[[0, 2]], own, rtol=1e-12)
        np.testing.assert_array_equal(result.sigma[[1, 3]], 0)
        assert result.bound is not None
        np.testing.assert_allclose(result.bound[[0, 2]], own, rtol=1e-12)
        np.testing.assert_array_equal(result.bound[[1, 3]], 0)
    np.testing.assert_array_equal(x.scale_or_own, [1.3**2, 0, 2.7**2, 0])
    summed: Any = np.sum(x)  # type: ignore[arg-type]
    np.testing.assert_allclose(summed.scale_or_own, 1.3**2 + 2.7**2, rtol=1e-12)


def test_infinities_come_about_without_warnings() -> None:
    """They are the subject's to explain; float32 does not hold the last of these constants."""
    x = exact(np.array([1.3, np.inf, 2.7, np.nan]))
    x += -np.inf
    np.testing.assert_array_equal(x.value, [-np.inf, np.nan, -np.inf, np.nan])
    np.testing.assert_array_equal((x * 1e300).value, x.value)
    x += 1e300
    assert np.isnan(exact([np.inf, -np.inf]).sum().value)


def test_an_exact_number_stays_exact_where_the_slope_is_infinite() -> None:
    """The root of zero, beside numbers that are not exact."""
    x = ErrorArray(np.array([0.0, 4.0]), MODEL, Twofold(np.array([0.0, 1e-6]), np.array([0.0, 2e-3])))
    np.testing.assert_allclose(np.sqrt(x).sigma, [0, 1e-3 / 4], rtol=1e-6)
    np.testing.assert_allclose(np.sqrt(x).bound, [0, 2e-3 / 4], rtol=1e-3)


def test_a_constant_that_the_dtype_does_not_hold_is_rounded_once() -> None:
    """0.1 is off by at most a unit, a half is itself."""
    x = exact(np.array([0.75]))
    np.testing.assert_allclose((x * 0.1).sigma, 0.075 * U * np.sqrt(2), rtol=1e-12)
    np.testing.assert_allclose((x * 1.5).sigma, 0.0)
    both = x + np.array([0.5, 0.1])  # 1.25, which need not be rounded, and 0.85
    np.testing.assert_allclose(both.sigma, U * np.hypot([0, 0.1], [1.25, 0.85]), rtol=1e-12)
