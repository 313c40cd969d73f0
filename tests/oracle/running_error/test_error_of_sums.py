"""The error of a sum and of a product of matrices, each against its formula, derived here in another way."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from oracle.running_error import UNIT_ROUNDOFF, ErrorArray, ErrorModel
from oracle.running_error.model import Twofold

MODEL = ErrorModel(np.dtype("float32"), bounds=True)
U = 2.0**-24


def exact(value: Any, model: ErrorModel = MODEL) -> ErrorArray:
    return ErrorArray.exact(value, model)


def summed(terms: Any, axis: int | None = None) -> ErrorArray:
    result: ErrorArray = np.sum(exact(terms), axis=axis)  # type: ignore[call-overload]
    return result


@pytest.mark.parametrize("n", [2, 3, 50])
@pytest.mark.parametrize("shift", [0.0, 3.0])
def test_the_variance_of_a_sum_is_that_of_random_orders(n: int, shift: float) -> None:
    """u² times the squares of the partial sums, averaged over orders; the bound is that of the worst of them, γ Σ|t|."""
    rng = np.random.default_rng(n)
    terms = rng.standard_normal(n) + shift
    total = summed(terms)
    partial = np.cumsum(rng.permuted(np.broadcast_to(terms, (20_000, n)), axis=1), axis=1)[:, 1:]
    simulated = U * np.sqrt(np.mean(np.sum(np.square(partial), axis=1)))
    assert simulated <= total.sigma * 1.01
    assert total.sigma < simulated * (2.5 if n < 10 else 1.15)
    gamma = (n - 1) * U / (1 - (n - 1) * U)
    np.testing.assert_allclose(total.bound, gamma * np.sum(np.abs(terms)), rtol=1e-12)


@pytest.mark.parametrize("shift", [0.0, 1.0, 1000.0])
def test_of_a_long_sum_the_variance_is_that_of_all_orders_or_its_own(shift: float) -> None:
    """A bridge where all cancels, a line where nothing does, and both: k of n terms, drawn without putting them back, have
    the mean square (k (k - 1) y² + k (n - k) Q) / (n (n - 1)). The order in which they stand may have more."""
    n = 1000
    terms = np.random.default_rng(0).standard_normal(n)
    terms += shift - np.mean(terms)
    k = np.arange(2, n + 1)
    squares = (k * (k - 1) * np.sum(terms) ** 2 + k * (n - k) * np.sum(terms**2)) / (n * (n - 1))
    own = np.sum(np.square(np.cumsum(terms))) + np.sum(terms**2)
    variance, loop = U**2 * max(np.sum(squares), own), np.cumsum(terms, dtype=np.float32)[-1] - np.sum(terms)
    sigma = summed(terms).sigma
    assert np.sqrt(variance) * (1 - 4e-3) <= sigma <= np.hypot(np.sqrt(variance), 2 * loop) * (1 + 4e-3)


@pytest.mark.parametrize("n", [1, 2, 40])
def test_a_product_of_matrices_rounds_its_terms_too(n: int) -> None:
    """Each of n products once and then their sum; a single product once and no more."""
    x, y = np.random.default_rng(0).uniform(0.3, 1.7, (2, n))
    got = exact(x[None]) @ exact(y[:, None])
    own = U * np.sqrt(np.sum(np.square(x * y)))
    np.testing.assert_allclose(got.sigma, np.hypot(summed(x * y).sigma, own).reshape(1, 1), rtol=1e-12)
    np.testing.assert_allclose(got.bound, (summed(x * y).bound + U * np.sum(x * y)).reshape(1, 1), rtol=1e-12)


@pytest.mark.parametrize("n", [1, 2, 40])
def test_a_sum_in_a_wider_type_is_rounded_once_more(n: int) -> None:
    """bfloat16 added up in float32: products and sum err as float32's, the result is rounded to bfloat16, once."""
    wide, narrow = UNIT_ROUNDOFF["float32"], UNIT_ROUNDOFF["bfloat16"]
    model = ErrorModel(np.dtype("bfloat16"), bounds=True, accumulate="float32")
    x, y = np.random.default_rng(0).uniform(0.3, 1.7, (2, n))
    got = exact(x[None], model) @ exact(y[:, None], model)
    inside = exact(x[None]) @ exact(y[:, None])
    rounding = narrow * got.value
    if n > 1:
        assert wide == U
        np.testing.assert_allclose(got.sigma, np.hypot(inside.sigma, rounding), rtol=1e-12)
        np.testing.assert_allclose(got.bound, inside.bound + rounding, rtol=1e-12)
    else:
        np.testing.assert_allclose(got.sigma, rounding, rtol=1e-12)
        np.testing.assert_allclose(got.bound, rounding, rtol=1e-12)


def test_a_product_of_halves_may_be_lost_below_the_normal_range() -> None:
    """float16's numbers end at 2^-24: each product is off by up to half of that, whatever its size; one with zero is not."""
    n, lost = 7, 2.0**-25
    rng = np.random.default_rng(0)
    x, y = rng.uniform(1, 2, (2, n)) * 2.0**-6
    model = ErrorModel(np.dtype("float16"), bounds=True)
    got = exact(np.stack([x, np.zeros(n)]), model) @ exact(y[:, None], model)
    u, terms, gamma = 2.0**-11, x * y, (n - 1) * 2.0**-11 / (1 - (n - 1) * 2.0**-11)
    variance = u**2 * (n / 3 * np.sum(terms) ** 2 + (2 + n / 6) * np.sum(terms**2)) + n * lost**2
    np.testing.assert_allclose(got.sigma, [[np.sqrt(variance)], [0]], rtol=1e-12)
    np.testing.assert_allclose(got.bound, [[(gamma + u) * np.sum(terms) + n * lost], [0]], rtol=1e-12)


def test_a_bound_ends_where_there_are_more_terms_than_a_unit_has_parts() -> None:
    """γ_{n-1} = (n - 1) u / (1 - (n - 1) u), whose denominator is zero for 257 numbers in bfloat16."""
    model = ErrorModel(np.dtype("bfloat16"), bounds=True)
    for n, gamma in ((129, 1.0), (256, 255.0), (257, np.inf), (300, np.inf)):
        total: Any = np.sum(exact(np.full(n, 0.1), model))  # type: ignore[arg-type]
        np.testing.assert_allclose(total.bound, gamma * 0.1 * n, rtol=1e-12)


def test_a_sum_of_nothing_is_zero() -> None:
    """An empty batch passes through all of them."""
    nothing = exact(np.zeros((0, 3)))
    assert nothing.sum(axis=1).sigma.shape == (0,)
    for zero in (nothing.sum(axis=0), np.swapaxes(nothing, 0, 1) @ nothing, (nothing * nothing + nothing).sum()):
        np.testing.assert_array_equal(zero.value, 0)
        np.testing.assert_array_equal(zero.sigma, 0)


def test_a_sum_is_exact_up_to_what_the_type_holds() -> None:
    """2^24 of the quantum, of a product that of both; and what follows an inexact sum is rounded."""
    assert (exact([[4096.0]]) @ exact([[4096.0]])).error is None
    assert (exact([[4096.0, 1.0]]) @ exact([[4096.0], [1.0]])).error is not None
    sixteenths = exact([[1024 + 1 / 16]])
    product = sixteenths @ sixteenths  # a multiple of 1/256, beyond 2^24 of them
    assert product.error is not None
    assert (exact([[64 + 1 / 16]]) @ exact([[64 + 1 / 16]])).error is None
    close = exact([2.0**23 + 5, 2.0**23 - 4, -8.0]).sum()  # below 2^24, but 2^24 + 1 may have been rounded on the way
    assert close.error is not None
    np.testing.assert_allclose((close + 1.0).sigma, np.hypot(close.sigma, 1 - 6 * U), rtol=1e-12)
    further = product + 1.0
    np.testing.assert_allclose(further.sigma, np.hypot(product.sigma, U * further.value), rtol=1e-12)


@pytest.mark.parametrize("whole", ["x", "y", "both"])
def test_terms_that_were_exact_join_a_sum_unrounded(whole: str) -> None:
    """A product of whole numbers; where one of the two is not, each is rounded."""
    x, y = (np.arange(2.0, 8) if whole in (name, "both") else np.linspace(0.3, 1.7, 6) for name in "xy")
    z = np.linspace(0.1, 1.2, 6)
    total = (exact(x[None]) @ exact(y[:, None])).reshape(())
    total += summed(z)
    rounding = 0.0 if whole == "both" else U * np.sqrt(np.sum(np.square(x * y)))
    expected = np.hypot(summed(np.concatenate([x * y, z])).sigma, rounding)
    np.testing.assert_allclose(total.sigma, expected, rtol=1e-12)


@pytest.mark.parametrize("axis", [0, 1])
def test_equal_terms_have_equal_errors(axis: int) -> None:
    """Those of a group add up, and those of different terms add in squares."""
    grouped, different = np.repeat([0.3, 0.7, 0.9], 4), np.linspace(0.3, 0.9, 12)
    for numbers, variance in ((grouped, 3 * 16e-6), (different, 12e-6)):
        terms = np.stack([numbers, numbers + 1, numbers + 2], axis=1 - axis)
        rounded = ErrorArray(terms, MODEL, Twofold(np.full(terms.shape, 1e-6), np.full(terms.shape, 1e-3)))
        total = np.sum(rounded, axis=axis)
        np.testing.assert_allclose(total.sigma, np.full(3, np.sqrt(variance)), rtol=1e-6)
        np.testing.assert_allclose(total.bound, np.full(3, 12e-3), rtol=1e-2)


def test_a_number_is_its_own_sum() -> None:
    """Along its only dimension, which a number without dimensions lacks: a softmax of one names it all the same."""
    number = ErrorArray(np.array(0.5), MODEL, Twofold(np.array(1e-6), np.array(1e-3)))
    assert np.sum(number, axis=0, keepdims=True).sigma == np.sqrt(1e-6)
