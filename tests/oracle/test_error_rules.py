"""Each rule of the error arrays against its formula, derived here in another way: what an error becomes, and what it adds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from scipy.special import erf

from oracle.running_error import UNIT_ROUNDOFF, ErrorArray, ErrorModel
from oracle.running_error.model import Twofold, quantum_of

MODEL = ErrorModel(np.dtype("float32"), bounds=True)
U = 2.0**-24
X, Y = np.random.default_rng(0).uniform(0.3, 1.7, (2, 40))  # where all of these are smooth

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
    "product": lambda x, y: x.reshape(1, -1) @ y.reshape(-1, 1),
    "joined": lambda x, y: np.concatenate([x, y]),
    "stacked": lambda x, y: np.stack([x, y]),
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
    **dict.fromkeys(("negative", "absolute", "maximum", "masked", "half", "quarter", "joined", "largest"), 0),
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
    "stacked": (lambda: np.stack([exact(X) - exact(Y)] * 2), [X**2 + Y**2] * 2),
}


@pytest.mark.parametrize("name", SCALES)
def test_the_scale_is_of_all_that_was_added_up(name: str) -> None:
    """Cancellation does not shrink it: what is left of large terms is known no better than they are."""
    make, expected = SCALES[name]
    np.testing.assert_allclose(np.broadcast_to(make().scale_or_own, np.shape(expected)), expected, rtol=1e-12)


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


@pytest.mark.parametrize("dtype", UNIT_ROUNDOFF)
def test_the_unit_roundoff_is_half_a_unit_in_the_last_place(dtype: str) -> None:
    """Of 1, as the type's own limits have it."""
    assert UNIT_ROUNDOFF[dtype] == float(ml_dtypes.finfo(dtype).eps) / 2  # type: ignore[no-untyped-call]


def test_what_is_below_the_normal_range_may_be_lost() -> None:
    """All of it in float32, whose subnormals some processors flush; above the range a halving is exact."""
    tiny = float(np.finfo(np.float32).tiny)
    halved = exact(np.array([3 * tiny * 1.1, 1.5 * tiny * 1.1, 0.0])) * 0.5
    assert halved.bound is not None
    np.testing.assert_array_equal(halved.bound, [tiny, tiny, 0.0])
    np.testing.assert_array_equal((exact(np.array([1.1])) * 0.5).sigma, [0.0])


def test_adding_zero_rounds_nothing() -> None:
    """On either side; adding anything else does."""
    zero, x = exact(np.zeros(3)), exact(np.array([0.1, 0.3, -1.0]))
    for total in (x + zero, zero + x, x - zero, zero - x):
        np.testing.assert_array_equal(total.sigma, 0)
        np.testing.assert_array_equal(total.bound, 0)
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


def test_what_is_put_together_keeps_what_each_part_knows() -> None:
    """The quantum is that of the finest part, the error and the scale each part's own."""
    whole, halves = ErrorArray.exact(np.array([1.0, 2.0]), MODEL), ErrorArray.exact(np.array([0.0625]), MODEL)
    assert np.concatenate([whole, halves]).quantum == 2.0**-4
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
    assert np.zeros_like(x, shape=(4,)).shape == (4,) and not np.zeros_like(x).sigma.any()
    tenth = np.full_like(x, 0.1)
    assert isinstance(tenth, ErrorArray) and (tenth.sigma > 0).all() and (tenth.value == 0.1).all()
    whole: Any = np.full_like(x, 2)
    whole[0] = 0.5
    np.testing.assert_array_equal(whole.value, [[0.5] * 3, [2.0] * 3])
