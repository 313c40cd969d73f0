"""NumPy programs as people write them are followed call by call: their gradients are those of the differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import special

import oracle
from oracle.programs.numpy_calls import record

X = np.random.default_rng(3).uniform(0.5, 2.0, (4, 6))
Y = np.random.default_rng(4).uniform(0.5, 2.0, (4, 6))
MASK = np.arange(24).reshape(4, 6) % 5 < 2


def into_a_view(x: Any, y: Any) -> Any:
    """A slice of a slice is written into, and read through another slice that overlaps it."""
    out = x.copy()
    inner = out[1:, 2:]
    inner[1:, 1:3] = y[2:, :2] * 3.0
    return out[:, 1:5] * y[:, 1:5]


def added_into_slices(x: Any, y: Any) -> Any:
    out = np.zeros((5, 7))
    out[:4, :6] += x
    out[1:, 1:] -= y
    out[2] *= 2.0
    return out


def written_twice(x: Any, y: Any) -> Any:
    """Parts of new arrays that overlap: the later one counts."""
    out, like = np.zeros((4, 6)), np.ones_like(x)
    out[:3] = x[:3]
    out[2:] = y[2:]
    like[:, :4] = y[:, :4]
    like[:, 2:5] = x[:, 2:5]
    return out * like


def given_numbers(x: Any, y: Any) -> Any:
    """Plain numbers, an array and a list's row take the place of what was there."""
    out = x * y
    out[0] = 1.5
    out[1, 2:4] = np.array([0.25, 0.5])
    out[MASK] = 0.0
    out[np.array([3, 3]), np.array([0, 1])] = 7.0
    return out * x


def scattered(x: Any, y: Any) -> Any:
    out = x.copy()
    out[np.array([0, 2])] = y[:2]
    np.add.at(out, np.array([1, 1, 3]), y[1:])
    np.add.at(out, np.array([0]), 2.0)
    return out * out


def overwritten(x: Any, y: Any) -> Any:
    """The product needs the numbers that were there before."""
    out = x * 1.0
    before = out * y
    out[:, 0] = y[:, 1]
    out[:, 1] = y[:, 0] * 2.0
    return before + out


def by_methods(x: Any, y: Any) -> Any:
    rows = x.sum(axis=1, keepdims=True) / x.mean() + x.max(axis=0) - y.min(axis=0)
    return rows.swapaxes(0, 1).T.reshape((2, 12)).transpose().astype(np.float64).reshape(-1, 6)


def with_out(x: Any, y: Any) -> Any:
    out = np.zeros_like(x)
    np.multiply(x, y, out=out)
    return out + np.ones_like(y) * 2.0 + np.full_like(x, 0.5) * y + np.empty_like(x) * 0.0


def by_counts(x: Any, y: Any) -> Any:
    """New arrays of integers and truth values choose, and carry no gradient."""
    places, kept = np.zeros(3, dtype=np.int64), np.ones((4, 6), dtype=bool)
    places[1:] = 2
    kept[1] = False
    return np.where(kept, x * y, y)[places]


def by_reduce(x: Any, y: Any) -> Any:
    return np.add.reduce(x * y, axis=1) + np.maximum.reduce(x, axis=1) * np.minimum.reduce(y, axis=1)


def chosen(x: Any, y: Any) -> Any:
    larger = np.where(x > y, x, y * y)
    return np.clip(larger, 0.7, 1.9) + np.sort(x, axis=0) + np.take_along_axis(y, np.argsort(x, axis=1), 1)


def joined(x: Any, y: Any) -> Any:
    both = np.concatenate([x, y], axis=1)
    return np.stack([both, both[:, ::-1]]).cumsum(axis=0) * len(x)


def products(x: Any, y: Any) -> Any:
    return np.dot(x, y.T) + np.einsum("ij,kj->ik", x, y) + x @ y.T + np.dot(x[0], y[0])


def elementary(x: Any, y: Any) -> Any:
    share = x / 4.0
    turned = np.arcsin(share) + np.arccos(share) * y + np.arctanh(share) + np.arcsinh(y) + np.arccosh(y + 1.0)
    powers = np.exp2(x) + np.log10(y) + np.logaddexp2(x, y) + np.hypot(x, y) + np.arctan2(x, y)
    signs = np.copysign(x, -y) + np.fmax(x, y) - np.fmin(x, y) + np.trunc(x) * y + np.rint(x) * y
    return turned + powers + signs + np.fmod(x, 0.7) + np.remainder(x, 0.7) + np.radians(x) + np.degrees(y) + np.sinc(x)


def of_scipy(x: Any, y: Any) -> Any:
    share = special.expit(x)
    gamma = special.gammaln(x) + special.psi(y) + special.entr(x) + special.xlogy(x, y) + special.xlog1py(y, x)
    normal = special.erfinv(share) + special.ndtri(share) + special.log_ndtr(x) + special.erfc(y) + special.erfcx(x)
    return gamma + normal + special.logit(share) + special.i0(x) + special.i0e(x) + special.i1(y) + special.i1e(y)


def reduced(x: Any, y: Any) -> Any:
    return np.cumprod(x, axis=1)[:, 2] * np.prod(y, axis=1) + np.nansum(x, axis=1) * np.trace(y) + np.prod(x)


PROGRAMS: dict[str, Callable[[Any, Any], Any]] = {
    own.__name__: own
    for own in (
        into_a_view,
        added_into_slices,
        written_twice,
        given_numbers,
        scattered,
        overwritten,
        by_methods,
        with_out,
        by_counts,
        by_reduce,
        chosen,
        joined,
        products,
        elementary,
        of_scipy,
        reduced,
    )
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_its_gradients_are_those_of_its_differences(name: str) -> None:
    """Of both inputs, in a random direction; the program's own output is what is expected."""
    program = PROGRAMS[name]
    expected = oracle.expect(program, X, Y)
    oracle.assert_close(program(X.copy(), Y.copy()), expected.output)
    for place, given in enumerate((X, Y)):
        step = 1e-6 * np.random.default_rng(5).standard_normal(given.shape)
        high, low = [X.copy(), Y.copy()], [X.copy(), Y.copy()]
        high[place] += step
        low[place] -= step
        change = np.sum((program(*high) - program(*low)) * expected.grad_output) / 2
        assert np.sum(expected.grads[place].value * step) == pytest.approx(change, rel=1e-6)


def test_a_program_may_ask_for_numbers() -> None:
    """Its size, and whether and how large a number is: as of a plain array."""
    asked: list[Any] = []

    def program(x: Any) -> Any:
        asked.extend([len(x), x.shape, x.ndim, x.size, x.dtype, float(x[1]), int(x[2]), bool(x[0] < x[1])])
        return x * 2.0

    record(program, np.array([1.0, 2.5, 3.0]))
    assert asked == [3, (3,), 1, 3, np.dtype("float64"), 2.5, 3, True]


@pytest.mark.parametrize(
    ("program", "error", "said"),
    [
        (lambda x: x.sin(), AttributeError, "a recorded array has no sin"),
        (lambda x: x.nbytes * x, AttributeError, "a recorded array has no nbytes"),
        (lambda x: np.asarray(x) + 1.0, TypeError, "which would lose its gradient"),
        (np.add.accumulate, Exception, r"no rule for np\.add\.accumulate"),
        (
            np.linalg.norm,
            Exception,
            r"no rule for np\.norm|no rule for np\.linalg\.norm|lose its gradient",
        ),
        (lambda x: "x", ValueError, "the program gives str: it has to give an array, or several"),
    ],
)
def test_what_cannot_be_followed_is_refused(program: Any, error: type[Exception], said: str) -> None:
    """Nothing is left out of a gradient in silence."""
    with pytest.raises(error, match=said):
        oracle.expect(program, X)
