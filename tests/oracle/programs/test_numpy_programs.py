"""Programs in NumPy: each call is recorded, and the gradients agree with finite differences."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import special

import oracle
from oracle.programs import numpy_functions
from oracle.programs.numpy_calls import record
from oracle.programs.table import NoRule

X = np.random.default_rng(3).uniform(0.5, 2.0, (4, 6))
Y = np.random.default_rng(4).uniform(0.5, 2.0, (4, 6))
OUTSIDE = np.zeros((4, 6))
MASK = np.arange(24).reshape(4, 6) % 5 < 2


def into_a_view(x: Any, y: Any) -> Any:
    """Writes into a slice of a slice, then reads another slice that overlaps it."""
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
    """Writes twice into overlapping parts of a new array; the later write counts."""
    out, like = np.zeros((4, 6)), np.ones_like(x)
    out[:3] = x[:3]
    out[2:] = y[2:]
    like[:, :4] = y[:, :4]
    like[:, 2:5] = x[:, 2:5]
    return out * like


def given_numbers(x: Any, y: Any) -> Any:
    """Writes constants into a recorded array: numbers and arrays, which have no gradient."""
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


def read_before_overwritten(x: Any, y: Any) -> Any:
    """The product uses the numbers that the array held before they were overwritten."""
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


def chosen_by_integers(x: Any, y: Any) -> Any:
    """Arrays of integers and booleans, made inside the program, choose elements. They have no gradient."""
    places, kept = np.zeros(3, dtype=np.int64), np.ones((4, 6), dtype=bool)
    places[1:] = 2
    kept[1] = False
    return np.where(kept, x * y, y)[places]


def by_reduce(x: Any, y: Any) -> Any:
    return np.add.reduce(x * y, axis=1) + np.maximum.reduce(x, axis=1) * np.minimum.reduce(y, axis=1)


def chosen_by_comparison(x: Any, y: Any) -> Any:
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


def made_inside(x: Any, y: Any) -> Any:
    """Makes arrays from a constant, from a recorded number and from a list of both, and converts an array to float32 and back."""
    shares = [x[0, 0], y[1, 1], 0.5, x[3, 3] * y[2, 2]]
    single = np.asarray(np.array(x, np.float32), np.float64)
    return np.full((4, 6), 2.0) * x + np.full((4, 6), y[0, 0]) * np.average(y, axis=0, weights=shares) + 0 * single


PROGRAMS: dict[str, Callable[[Any, Any], Any]] = {
    program.__name__: program
    for program in (
        into_a_view,
        added_into_slices,
        written_twice,
        given_numbers,
        scattered,
        read_before_overwritten,
        by_methods,
        with_out,
        chosen_by_integers,
        by_reduce,
        chosen_by_comparison,
        joined,
        products,
        elementary,
        of_scipy,
        reduced,
        made_inside,
    )
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_gradients_agree_with_differences(name: str) -> None:
    """The output is that of the program. Both gradients agree with central differences in a random direction."""
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


def test_a_program_may_read_sizes_and_compare_numbers() -> None:
    """A recorded array answers like a plain one when asked for its size, its dtype, or the value of an element."""
    asked: list[Any] = []

    def program(x: Any) -> Any:
        asked.extend([len(x), x.shape, x.ndim, x.size, x.dtype, len(x.T), int(x[2]), bool(x[0] < x[1])])
        return x * 2.0

    record(program, np.array([1.0, 2.5, 3.0]))
    assert asked == [3, (3,), 1, 3, np.dtype("float64"), 3, 3, True]


@pytest.mark.parametrize(
    ("program", "eps"),
    [
        (lambda x: np.float64(0.3) * x, 1e-15),
        (lambda x: x * np.arange(1, 7) / 3, 1e-15),
        (lambda x: np.sum(x, axis=1, dtype=np.float64), 1e-15),
        (lambda x: np.add(x, 0.3), 1e-6),
        (lambda x: np.float32(0.3) * x, 1e-6),
    ],
)
def test_the_tolerance_is_that_of_the_dtype_of_the_result(program: Any, eps: float) -> None:
    """NumPy converts arguments before it computes, so a float32 array times a float64 one has the precision of float64."""
    x = X.astype(np.float32)
    expected = oracle.expect(program, x)
    oracle.assert_close(program(x), expected.output)
    assert np.max(expected.output.tolerance / np.abs(expected.output.value)) < 4 * eps


def test_new_arrays_are_written_to_and_integers_have_no_gradient() -> None:
    def program(x: Any, labels: Any) -> Any:
        out = np.eye(4)
        out[0, 1] = x[0, 0]
        table = [2.0, 3.0, 4.0]
        return np.identity(4) * out + out[labels] * table[labels[0]] + x[range(labels[1], 4), 0] * np.asarray(labels)

    labels = np.array([0, 0, 2, 1])
    expected = oracle.expect(program, X, labels)
    oracle.assert_close(program(X, labels), expected.output)
    assert len(expected.grads) == 1 and np.count_nonzero(expected.grads[0].value) == 3


@pytest.mark.parametrize(
    ("program", "error", "said"),
    [
        (lambda x: x.sin(), AttributeError, "a recorded array has no sin"),
        (lambda x: x.nbytes * x, AttributeError, "a recorded array has no nbytes"),
        (lambda x: special.logsumexp(x) + 1.0, TypeError, "which would lose its gradient"),
        (lambda x: OUTSIDE.__setitem__(0, x[0]), TypeError, "write only into arrays that np.zeros"),
        (lambda x: OUTSIDE.T.dot(x) + 1, TypeError, r"write data @ w for data\.dot\(w\)"),
        (lambda x: np.add(x, 1.0, out=OUTSIDE), NoRule, r"np\.add writes into an array that the program did not make"),
        (lambda x: np.sum(x, 0, out=OUTSIDE[0]), NoRule, r"np\.sum writes into an array that the program did not make"),
        (lambda x: np.add.at(OUTSIDE, 0, x[0]), NoRule, r"np\.add\.at writes into an array"),
        (lambda x: np.copyto(OUTSIDE, x), NoRule, r"np\.copyto writes into an array"),
        (lambda x: x * float(x[0, 0]), NoRule, r"plain numbers by float\(\), which would lose their gradient"),
        (lambda x: x * x[0, 0].item(), NoRule, r"plain numbers by \.item\(\)"),
        (lambda x: x * complex(x[0, 0]), NoRule, r"plain numbers by complex\(\)"),
        (lambda x: x * math.exp(x[0, 0]), NoRule, r"plain numbers by float\(\)"),
        (lambda x: x.tolist(), NoRule, r"plain numbers by \.tolist\(\)"),
        (lambda x: x.astype(np.clongdouble).real, NoRule, "numbers of complex256 are not judged"),
        (np.modf, NoRule, r"^there is no rule for np\.modf$"),
        (lambda x: np.exp(x, where=MASK), NoRule, r"^there is no rule for np\.exp with where$"),
        (lambda x: np.add(x, x, dtype=float), NoRule, r"^there is no rule for np\.add with dtype$"),
        (lambda x: np.add.reduceat(x, [0, 2]), NoRule, r"^there is no rule for np\.add\.reduceat"),
        (np.maximum.accumulate, NoRule, r"^there is no rule for np\.maximum\.accumulate$"),
        (lambda x: np.var(x, where=MASK), NoRule, r"^there is no rule for np\.var with where$"),
        (lambda x: np.var(x, axis=()), NoRule, r"^there is no rule for a reduction over axis=\(\)$"),
        (lambda x: np.einsum(x, [0, 1], [0]), NoRule, "give them as a text"),
        (lambda x: np.pad(x, 1, "mean"), NoRule, r"^there is no rule for np\.pad with mode='mean'$"),
        (lambda x: np.linalg.norm(x, 3), ValueError, "Invalid norm order for matrices"),
        (lambda x: x[0, 0].__setitem__((), 1.0), TypeError, "a number of NumPy does not support item assignment"),
        (lambda x: np.linalg.norm(x, "fro", axis=0), ValueError, "Invalid norm order 'fro' for vectors"),
        (lambda x: np.average(x.reshape(2, 2, 6), (0, 1), np.ones((2, 2))), NoRule, "another shape over several axes"),
        (lambda x: np.pad(x, 1, constant_values=x[0, 0]), NoRule, "with constant_values that the program computes"),
        (lambda x: np.putmask(x.copy(), MASK, np.ones(3)), NoRule, r"np\.putmask with values of another size"),
        (lambda x: np.put(x.copy(), [0, 1, 2], [1.0, 2.0]), NoRule, r"np\.put with fewer values than places"),
        (
            lambda x: np.linalg.solve(x[:2, :4].reshape(2, 2, 2), x[:2, :2]),
            NoRule,
            "with fewer dimensions of the second array",
        ),
        (lambda x: np.add(x, 1.0, out=np.zeros((4, 6), int)), TypeError, "not written into an array of int64"),
        (np.linalg.eigvals, NoRule, r"^there is no rule for np\.linalg\.eigvals$"),
        (np.fft.hfft, NoRule, r"^there is no rule for np\.fft\.hfft$"),
        (lambda x: np.maximum.at(x, np.zeros(200, int), 1.0), NoRule, "changes an element more than 100 times"),
        (lambda x: np.sum(x, axis=5), ValueError, "axis 5 is out of bounds"),
        (lambda x: np.sum(x, axes=0), TypeError, "unexpected keyword argument"),
        (lambda x: "x", ValueError, "the program gives str: it has to give an array, or several"),
    ],
)
def test_a_program_that_cannot_be_recorded_is_refused(program: Any, error: type[Exception], said: str) -> None:
    """The error names the call. Going on without it would give a gradient that lacks a part."""
    with pytest.raises(error, match=said):
        oracle.expect(program, X)


@pytest.mark.parametrize("other", [np.sum, lambda a: np.mean(a) * 1.001, lambda a: np.mean(a, keepdims=True)])
def test_a_composition_with_other_results_than_numpy_is_refused(other: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some functions are recorded as calls of simpler ones. If these give other numbers than NumPy, the gradient is wrong too."""
    monkeypatch.setitem(numpy_functions.COMPOSED, "average", other)
    with pytest.raises(NoRule, match=r"^there is no rule for np\.average with such arguments$"):
        oracle.expect(np.average, X)
