"""The error function in double and extended precision."""

from __future__ import annotations

from fractions import Fraction
from math import factorial

import numpy as np
import pytest

from refbp.special import erf, where

TWO_OVER_ROOT_PI = Fraction("1.1283791670955125738961589031215451716881012586580")


def exact(x: float) -> Fraction:
    """The alternating series 2/√π Σ (-1)ⁿ x^(2n+1) / (n! (2n+1)), in exact arithmetic: another one than the code's."""
    z = Fraction(x)
    return TWO_OVER_ROOT_PI * sum((-1) ** n * z ** (2 * n + 1) / (factorial(n) * (2 * n + 1)) for n in range(120))


@pytest.mark.parametrize("dtype", [np.float64, np.longdouble])
def test_erf_to_the_last_places(dtype: type) -> None:
    """In its own precision, also where the series is long, and its limits."""
    x = np.array([-4.5, -1.0, -0.25, 0.0, 1e-3, 0.5, 2.0, 3.75])
    got = erf(x.astype(dtype))
    assert got.dtype == dtype
    for place, value in zip(x, got, strict=True):
        mantissa, exponent = np.frexp(value)
        number = Fraction(int(mantissa * dtype(2) ** 64)) * Fraction(2) ** (int(exponent) - 64)
        error = abs(number - exact(float(place)))
        assert error <= 8 * Fraction(float(np.finfo(dtype).eps)) * abs(exact(float(place)))
    limits = erf(np.array([-np.inf, -30.0, 30.0, np.inf], dtype))
    np.testing.assert_allclose(limits, np.array([-1, -1, 1, 1], dtype), rtol=2 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble])
def test_a_choice_is_numpys_to_the_bit(dtype: type) -> None:
    """Infinities, NaN and signed zeros included, of arrays, numbers, strided views and what is broadcast."""
    values = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1.5, -2.5, 0.1], dtype)
    x, y = (grid.copy() for grid in np.meshgrid(values, values))
    mask = np.random.default_rng(0).uniform(size=x.shape) < 0.5
    for pair in ((x, y), (x, 0.0), (-0.0, y), (x[:, :1], y.T), (x[::-1], float("nan")), (values, y)):
        got, expected = where(mask, *pair), np.where(mask, *pair)
        assert got.dtype == expected.dtype == dtype
        np.testing.assert_array_equal(got, expected)
        np.testing.assert_array_equal(np.signbit(got), np.signbit(expected))
    assert where(True, 1.0, 2.0) == 1.0
