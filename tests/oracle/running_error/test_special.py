"""Special functions on error arrays: how errors go on, where terms cancel, and values beside zeros."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import special

from oracle.running_error import ErrorArray, ErrorModel
from oracle.running_error.model import Twofold
from oracle.running_error.special import erfc, hurwitz, log_gamma, log_ndtr, zeta, zeta_of_arrays

mpmath = pytest.importorskip("mpmath")
MODEL = ErrorModel(np.dtype("float32"), bounds=True)
U = 2.0**-24
FUNCTIONS: dict[str, tuple[Callable[[Any], Any], tuple[float, float]]] = {
    "arcosh": (np.arccosh, (1.1, 5)),
    "log gamma": (special.gammaln, (0.2, 5)),
    "log gamma below zero": (special.gammaln, (-2.9, -2.1)),
    "digamma": (special.psi, (0.2, 5)),
    "digamma below zero": (special.psi, (-2.9, -2.1)),
    "trigamma": (lambda x: zeta(2.0, x), (-1.9, 5)),
    "tetragamma": (lambda x: zeta(3.0, x), (0.2, 5)),
    "zeta": (lambda x: zeta_of_arrays(np.array(2.5), x), (0.2, 5)),
    "zeta by its power": (lambda s: zeta_of_arrays(s, np.array(0.7)), (1.5, 5)),
    "erfc": (special.erfc, (-2, 4)),
    "erfinv": (special.erfinv, (-0.9, 0.9)),
    "erfcx": (special.erfcx, (-2, 4)),
    "log_ndtr": (special.log_ndtr, (-4, 3)),
    "ndtri": (special.ndtri, (0.05, 0.95)),
    "i0": (special.i0, (-3, 3)),
    "i0e": (special.i0e, (0.1, 3)),
    "i1": (special.i1, (-3, 3)),
    "i1e": (special.i1e, (0.1, 3)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_errors_go_on_as_the_derivative_says(name: str) -> None:
    """The derivative by differences of the same function in float64."""
    function, (low, high) = FUNCTIONS[name]
    x = np.random.default_rng(0).uniform(low, high, 20)
    x = x[np.abs(x - np.rint(x)) > 0.05]
    error = np.full(x.size, 1e-4)
    got = function(ErrorArray(x, MODEL, Twofold(np.square(error), 2 * error)))
    exact = function(ErrorArray.exact(x, MODEL))
    caused = np.abs(function(x + 1e-6) - function(x - 1e-6)) / 2e-6 * error
    np.testing.assert_allclose(got.value, function(x), rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(got.sigma, np.hypot(caused, exact.sigma), rtol=2e-2)


def test_both_sides_of_a_triangle() -> None:
    """√(x² + y²) has slopes x / h and y / h; at zero each error goes on as it is."""
    x, error = np.array([3.0, 0.0, -5.0]), 1e-4
    y = np.array([4.0, 0.0, 12.0])
    given = [ErrorArray(own, MODEL, Twofold(np.full(3, error**2), np.full(3, error))) for own in (x, y)]
    got = np.hypot(*given)
    np.testing.assert_array_equal(got.value, [5, 0, 13])
    np.testing.assert_allclose(got.sigma, [error, np.sqrt(2) * error, error], rtol=1e-3)


@pytest.mark.parametrize("function", [np.sin, np.cos])
def test_an_angle_that_may_be_anywhere(function: Callable[[Any], Any]) -> None:
    """An error of many periods leaves each value between -1 and 1 possible, whatever the slope."""
    x = np.arange(50) * np.pi / 2
    got = function(ErrorArray(x, MODEL, Twofold(np.full(50, 1e4), np.full(50, 1e3))))
    assert (got.sigma * 6.5 >= 1 + np.abs(got.value) - 1e-6).all() and (got.bound >= 2).all()


@pytest.mark.parametrize(
    ("name", "zero"),
    [
        ("digamma", 1.4616321449683623),
        ("digamma below zero", -0.504083008264455),
        ("log gamma below zero", -2.457024738220),
    ],
)
def test_a_zero_between_terms_that_cancel_has_an_absolute_error(name: str, zero: float) -> None:
    """The terms are as large as 1, so the error does not vanish with the result, and neither does the scale."""
    got = FUNCTIONS[name][0](ErrorArray.exact(np.array([zero]), MODEL))
    assert abs(got.value[0]) < 1e-9
    assert 0.5 * U < got.sigma[0] < 200 * U
    assert got.scale_or_own[0] > 0.1


@pytest.mark.parametrize("zero", [1.0, 2.0])
def test_the_zeros_of_log_gamma_at_whole_numbers_have_a_relative_error(zero: float) -> None:
    got = special.gammaln(ErrorArray.exact(zero + np.array([-1e-3, 1e-5, 0.0, 0.3]), MODEL))
    np.testing.assert_allclose(got.sigma, 4 * U * np.abs(got.value))


@pytest.mark.parametrize(
    ("function", "true", "x"),
    [
        (
            log_gamma,
            mpmath.loggamma,
            [0.4, 0.5, 0.51, 0.9, 1 - 1e-9, 1 + 1e-9, 1.3, 1.5, 1.9, 2 - 1e-9, 2.2, 2.49, 2.5, 9],
        ),
        (erfc, mpmath.erfc, [-3, -0.1, 1e-9, 0.4, 0.51, 1.0, 3.3, 7.7, 15.1, 26.0]),
        *(
            (
                lambda x, s=s: hurwitz(s, x),
                lambda x, s=s: mpmath.zeta(int(s), x),
                [-7.6, -2.001, -1.4, -0.3, 0.2, 1.0, 9.3, 50.0],
            )
            for s in (2.0, 3.0, 4.0)
        ),
        (log_ndtr, lambda x: mpmath.log(mpmath.erfc(-x / mpmath.sqrt(2)) / 2), [-40.0, -3, -0.2, 0.3, 2.0, 9.1, 20.0]),
    ],
)
def test_values(function: Callable[[Any], Any], true: Callable[[Any], Any], x: list[float]) -> None:
    """A few units in the last place of float64, and as many of the argument where an exponential magnifies them."""
    with mpmath.workdps(400):
        due = [float(true(mpmath.mpf(own)).real) for own in x]
    steep = np.square(x) if function is log_ndtr else 0.0
    assert (np.abs(function(np.array(x, float)) / due - 1) <= (8 + steep) * 2.0**-53).all()


def test_poles_and_infinities() -> None:
    assert log_gamma(np.array([np.inf, 0.0, -3.0])).tolist() == [np.inf] * 3
    for s in (2.0, 3.0, 4.0):
        assert np.isnan(zeta(s, np.array([-np.inf]))).all()
    assert zeta(2.0, np.array([-(2.0**60)])) == np.inf  # at once
