"""Each rule of the error arrays against its formula, derived here in another way: what an error becomes, and what it adds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.special import erf

from oracle.running_error import LAMBDA, ErrorArray, ErrorModel
from oracle.running_error.model import Twofold

MODEL = ErrorModel(np.dtype("float32"), bounds=True)
U = 2.0**-24
X, Y = np.random.default_rng(0).uniform(0.3, 1.7, (2, 40))  # where all of these are smooth


def scattered(x: Any, y: Any) -> Any:
    """Elements of y added to some of x, to one of them twice."""
    into = x.copy()
    np.add.at(into, np.array([3, 0, 3, 39]), y[:4])
    return into


OPERATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "add": lambda x, y: x + y,
    "subtract": lambda x, y: x - y,
    "multiply": lambda x, y: x * y,
    "divide": lambda x, y: x / y,
    "square": lambda x, y: np.square(x),
    "self": lambda x, y: x * x,
    "second power": lambda x, y: x**2,
    "power": lambda x, y: x**3,
    "root": lambda x, y: x**-0.5,
    "power of an array": lambda x, y: x**y,
    "power of a number": lambda x, y: 1.5**y,
    "whole power": lambda x, y: (x - 2.0) ** np.full(x.shape, 3),
    "negative": lambda x, y: -x,
    "absolute": lambda x, y: abs(-x),
    "exp": lambda x, y: np.exp(x),
    "expm1": lambda x, y: np.expm1(x),
    "log": lambda x, y: np.log(x),
    "log1p": lambda x, y: np.log1p(x),
    "sqrt": lambda x, y: np.sqrt(x),
    "tanh": lambda x, y: np.tanh(x),
    "sin": lambda x, y: np.sin(x),
    "cos": lambda x, y: np.cos(x),
    "tan": lambda x, y: np.tan(x * 0.5),
    "sinh": lambda x, y: np.sinh(x),
    "cosh": lambda x, y: np.cosh(x),
    "arcsin": lambda x, y: np.arcsin(x * 0.5),
    "arccos": lambda x, y: np.arccos(x * 0.5),
    "arctan": lambda x, y: np.arctan(x),
    "arctan2": lambda x, y: np.arctan2(x, y - 1.0),
    "arcsinh": lambda x, y: np.arcsinh(x),
    "arctanh": lambda x, y: np.arctanh(x * 0.5),
    "exp2": lambda x, y: np.exp2(x),
    "log2": lambda x, y: np.log2(x),
    "log10": lambda x, y: np.log10(x),
    "erf": lambda x, y: erf(x),
    "reciprocal": lambda x, y: np.reciprocal(x),
    "maximum": np.maximum,
    "minimum": np.minimum,
    "chosen": lambda x, y: np.where(x > y, x, y * 2.0),
    "masked": lambda x, y: x * (x > y),
    "half": lambda x, y: x * 0.5,
    "quarter": lambda x, y: x / 4.0,
    "third": lambda x, y: x / 3.0,
    "sum": lambda x, y: np.sum(x * y, keepdims=True),
    "mean": lambda x, y: np.mean(x, keepdims=True),
    "means": lambda x, y: np.mean(x.reshape(4, 10), axis=0),
    "product": lambda x, y: x.reshape(1, -1) @ y.reshape(-1, 1),
    "dot of vectors": np.dot,
    "dot with a vector": lambda x, y: np.dot(x.reshape(4, 10), y[:10]),
    "dot of three dimensions": lambda x, y: np.dot(x.reshape(2, 4, 5), y[:5]),
    "dot of a vector": lambda x, y: np.dot(x[:4], y.reshape(4, 10)),
    "dot of matrices": lambda x, y: np.dot(x.reshape(4, 10), y.reshape(10, 4)),
    "dot with a number": lambda x, y: np.dot(x, y[0]),
    "labelled": lambda x, y: np.einsum("ij,kj->ik", x.reshape(4, 10), y.reshape(4, 10)),
    "labelled in batches": lambda x, y: np.einsum("bij,bkj->bki", x.reshape(2, 4, 5), y.reshape(2, 4, 5)),
    "labelled in no order": lambda x, y: np.einsum("ba, cb", x.reshape(4, 10), y.reshape(10, 4)),
    "labelled by one alone": lambda x, y: np.einsum("ij,jk->j", x.reshape(4, 10), y.reshape(10, 4)),
    "labelled three": lambda x, y: np.einsum("ij,j,jk->ik", x.reshape(4, 10), Y[:10], y.reshape(10, 4)),
    "diagonal": lambda x, y: np.einsum("iij->j", x[:18].reshape(3, 3, 2)),
    "outer": lambda x, y: np.einsum("i,j->ij", x[:5], y[:4]),
    "scattered": scattered,
    "running": lambda x, y: np.cumsum(x.reshape(4, 10), axis=1),
    "joined": lambda x, y: np.concatenate([x, y]),
    "stacked": lambda x, y: np.stack([x, y], axis=1),
    "repeated": lambda x, y: np.repeat(x.reshape(4, 10), 2, axis=1),
    "first power": lambda x, y: x**1,
    "largest": lambda x, y: np.max(x, axis=0, keepdims=True),
    "smallest": lambda x, y: np.min(x, axis=0),
}


def uncertain(value: Any, error: Any) -> ErrorArray:
    """A value whose error has this standard deviation, and twice it as a bound: far above float32's rounding."""
    return ErrorArray(value, MODEL, Twofold(np.square(error), 2 * error))


@pytest.mark.parametrize("name", OPERATIONS)
def test_errors_go_on_as_the_derivatives_say(name: str) -> None:
    """√Σ(∂f/∂x_i σ_i)² and Σ|∂f/∂x_i| b_i, the derivatives by differences of the same formula in float64."""
    f, step = OPERATIONS[name], 1e-6
    errors = np.random.default_rng(1).uniform(1e-4, 3e-4, (2, X.size))
    got = f(uncertain(X, errors[0]), uncertain(Y, errors[1]))
    variance, bound = np.zeros(got.shape), np.zeros(got.shape)
    for place, error in enumerate(errors):
        for i in range(X.size):
            high, low = [X.copy(), Y.copy()], [X.copy(), Y.copy()]
            high[place][i] += step
            low[place][i] -= step
            derivative = (f(*high) - f(*low)) / (2 * step)
            variance += np.square(derivative * error[i])
            bound += np.abs(derivative) * 2 * error[i]
    assert got.shape == f(X, Y).shape
    np.testing.assert_allclose(got.value, f(X, Y), rtol=1e-13)
    np.testing.assert_allclose(got.sigma, np.sqrt(variance), rtol=1e-3, atol=U)
    np.testing.assert_allclose(got.bound, bound, rtol=7e-3, atol=8 * U)


# Units in the last place of one operation on exact data, as far as its result needs rounding at all.
ULPS = {
    **dict.fromkeys(("add", "subtract", "multiply", "divide", "third", "reciprocal"), 1),
    **dict.fromkeys(("square", "self", "second power", "sqrt"), 1),
    **dict.fromkeys(("power", "root", "exp", "expm1", "log", "log1p", "tanh", "sin", "cos", "erf"), 4),
    **dict.fromkeys(("negative", "absolute", "first power", "maximum", "masked", "half", "joined", "largest"), 0),
}


@pytest.mark.parametrize("name", ULPS)
def test_an_operation_on_exact_data_errs_by_its_own_accuracy(name: str) -> None:
    """That of one rounding, four units for functions of the mathematics library, nothing for what only moves or halves."""
    got = OPERATIONS[name](ErrorArray.exact(X, MODEL), ErrorArray.exact(Y, MODEL))
    np.testing.assert_allclose(got.sigma, ULPS[name] * U * np.abs(got.value), rtol=1e-12)
    np.testing.assert_allclose(got.bound, ULPS[name] * U * np.abs(got.value), rtol=1e-12)


def exact(value: Any) -> ErrorArray:
    return ErrorArray.exact(value, MODEL)


def accumulated() -> ErrorArray:
    result = exact(X) + exact(Y)
    result += exact(Y)
    return result


ONES = np.ones(3)
# What was added up on the way, as the square against which a tolerance is wide or narrow.
SCALES: dict[str, tuple[Callable[[], ErrorArray], Any]] = {
    "plain": (lambda: exact(X), X**2),
    "added": (lambda: exact(X) + exact(-Y), X**2 + Y**2),
    "subtracted": (lambda: exact(X) - exact(Y), X**2 + Y**2),
    "negative": (lambda: -(exact(X) + exact(-Y)), X**2 + Y**2),
    "scaled": (lambda: (exact(X) - exact(Y)) * 3.0, 9 * (X**2 + Y**2)),
    "scaled from the left": (lambda: exact(X) * (exact(X) - exact(Y)), X**2 * (X**2 + Y**2)),
    "divided": (lambda: (exact(X) - exact(Y)) / exact(Y), (X**2 + Y**2) / Y**2),
    "halved": (lambda: (exact(X) - exact(Y)) / 2.0, (X**2 + Y**2) / 4),
    "squared": (lambda: np.square(exact(X) - exact(Y)), (X**2 + Y**2) ** 2),
    "absolute": (lambda: abs(exact(X) - exact(Y)), X**2 + Y**2),
    "exponential": (
        lambda: np.exp(exact(X) - exact(Y)),
        np.exp(X - Y) ** 2 * np.maximum(1, X**2 + Y**2),
    ),
    "chosen": (lambda: np.where(X > Y, exact(X) - exact(Y), exact(Y)), np.where(X > Y, X**2 + Y**2, Y**2)),
    "summed": (lambda: np.sum(exact(X)), np.sum(X**2)),  # type: ignore[arg-type]
    "summed twice": (lambda: np.sum(exact(X) - exact(Y)), np.sum(X**2 + Y**2)),
    "product": (lambda: exact(X[None]) @ exact(Y[:, None]), [[np.sum((X * Y) ** 2)]]),
    "product of sums": (lambda: (exact(X[None]) - 1.0) @ exact(Y[:, None]), [[np.sum((X**2 + 1) * Y**2)]]),
    "accumulated": (accumulated, X**2 + 2 * Y**2),
    "joined": (
        lambda: np.concatenate([exact(X) - exact(Y), exact(Y)]),
        np.concatenate([X**2 + Y**2, Y**2]),
    ),
    "chosen from the right": (
        lambda: np.where(X > Y, exact(X), exact(X) - exact(Y)),
        np.where(X > Y, X**2, X**2 + Y**2),
    ),
    "product with sums": (lambda: exact(X[None]) @ (exact(Y[:, None]) - 1.0), [[np.sum(X**2 * (Y**2 + 1))]]),
    "exponential of a whole sum": (lambda: np.exp(exact(5 * ONES) - exact(3 * ONES)), np.exp(2) ** 2 * 34 * ONES),
    "stacked": (lambda: np.stack([exact(X) - exact(Y)] * 2), [X**2 + Y**2] * 2),
}


@pytest.mark.parametrize("name", SCALES)
def test_the_scale_is_of_all_that_was_added_up(name: str) -> None:
    """Cancellation does not shrink it: what is left of large terms is known no better than they are."""
    make, expected = SCALES[name]
    np.testing.assert_allclose(np.broadcast_to(make().scale_or_own, np.shape(expected)), expected, rtol=1e-12)


def test_what_is_put_together_keeps_what_each_part_knows() -> None:
    """The quantum is that of the finest part, the error and the scale each part's own."""
    whole, halves = ErrorArray.exact(np.array([1.0, 2.0]), MODEL), ErrorArray.exact(np.array([0.0625]), MODEL)
    assert np.concatenate([whole, halves]).quantum == np.concatenate([halves, whole]).quantum == 2.0**-4
    assert np.concatenate([whole, whole * 0.1]).quantum is None
    summed = ErrorArray(np.array([1.0]), MODEL, Twofold(np.array([0.25]), np.array([1.0])), scale=np.array([9.0]))
    joined = np.concatenate([whole, summed])
    np.testing.assert_array_equal(joined.sigma, [0, 0, 0.5])
    np.testing.assert_array_equal(joined.scale_or_own, [1, 4, 9])


def test_arrays_made_like_it_carry_errors_unless_they_count() -> None:
    """Of integers or truth values it is a plain array; a number that the dtype does not hold is rounded."""
    x = ErrorArray.exact(np.ones((2, 3)), MODEL)
    for dtype in (bool, np.int64, np.uint8):
        plain = np.full_like(x, 1, dtype=dtype)
        assert isinstance(plain, np.ndarray) and plain.dtype == dtype and plain.shape == (2, 3) and plain.all()
    for like, value in ((np.zeros_like, 0), (np.ones_like, 1), (np.empty_like, None)):
        assert like(x, shape=(4,)).shape == (4,)
        assert isinstance(like(x, dtype=np.int64), np.ndarray)
        made: Any = like(x, dtype=np.float32)
        assert isinstance(made, ErrorArray) and made.shape == (2, 3) and not made.sigma.any()
        assert value is None or (made.value == value).all()
    tenth = np.full_like(x, 0.1)
    assert isinstance(tenth, ErrorArray) and (tenth.sigma > 0).all() and (tenth.value == 0.1).all()
    whole: Any = np.full_like(x, 2)
    whole[0] = 0.5
    np.testing.assert_array_equal(whole.value, [[0.5] * 3, [2.0] * 3])


@pytest.mark.parametrize("function", [np.cos, np.exp, np.tanh, np.log, np.cosh])
@pytest.mark.parametrize("error", [1e-9, 0.02, 0.2])
def test_a_wide_error_where_a_function_bends(function: Callable[[Any], Any], error: float) -> None:
    """Close to a maximum the slope is zero, and the function changes all the same. The slope tells what a small error causes."""
    x = np.array([0.01, 0.4, 3.1])
    with np.errstate(invalid="ignore"):
        got = function(uncertain(x, np.full(x.shape, error)))
        change = [np.abs(function(x + side * LAMBDA * error) - function(x)) for side in (-1, 1)]
    reached = np.fmax(*change)
    assert (LAMBDA * got.sigma >= reached * (1 - 1e-6)).all()
    may_be_zero = (function is np.log) & (x <= LAMBDA * error)  # where the logarithm is infinite
    assert np.isinf(got.sigma[may_be_zero]).all()
    slope = np.abs(function(x + 1e-6) - function(x - 1e-6)) / 2e-6 * error
    expected = np.sqrt(np.square(np.fmax(slope, reached / LAMBDA)) + np.square(4 * U * function(x)))
    np.testing.assert_allclose(got.sigma[~may_be_zero], expected[~may_be_zero], rtol=1e-3)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda x: np.einsum("...i,i->...", x, x), "takes no ellipsis: write all labels"),
        (lambda x: np.einsum("i,j", x), r"'i,j' describes 2 arrays, got 1"),
        (lambda x: np.dot(x.reshape(2, 4, 5), x.reshape(5, 8)), "takes vectors and matrices: use matmul or einsum"),
    ],
)
def test_contractions_without_a_rule_say_what_to_use(call: Callable[[Any], Any], said: str) -> None:
    with pytest.raises(TypeError, match=said):
        call(ErrorArray.exact(X, MODEL))
