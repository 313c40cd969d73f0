"""The error function in double and extended precision."""

from __future__ import annotations

from fractions import Fraction
from math import factorial

import numpy as np
import pytest

from refbp.special import erf

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
