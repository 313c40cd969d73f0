"""Programs as courses on neural networks have students write them: none is accused, and a mistake of the same kind is caught."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import oracle
from oracle.report.report import Discrepancy, Report

RANDOM = np.random.default_rng(11)


def verdicts(report: Report) -> set[str]:
    return set(report.table["verdict"])


def stable_sigmoid(x: Any) -> Any:
    """With an exponential of negative numbers only, as in CS231n."""
    positive, negative, z = x >= 0, x < 0, np.zeros_like(x)
    z[positive] = np.exp(-x[positive])
    z[negative] = np.exp(x[negative])
    top = np.ones_like(x)
    top[negative] = z[negative]
    return top / (1 + z)


SIGMOIDS: dict[str, Callable[[Any], Any]] = {
    "textbook": lambda x: 1 / (1 + np.exp(-x)),
    "stable": stable_sigmoid,
    "where": lambda x: np.where(x >= 0, 1 / (1 + np.exp(-np.abs(x))), np.exp(-np.abs(x)) / (1 + np.exp(-np.abs(x)))),
    "reshaped": lambda x: 1 / (1 + np.exp(-x).reshape(-1, 2)).reshape(x.shape),
    "power of e": lambda x: 1 / (1 + np.power(np.e, -x)),
    "power of 2": lambda x: 1 / (np.exp2(-x / np.log(2)) + 1),
    "torch": lambda x: torch.reciprocal(1 + torch.exp(-x)),
}


@pytest.mark.parametrize("name", SIGMOIDS)
@pytest.mark.parametrize("size", [1, 5, 20])
def test_a_sigmoid_is_differentiated_from_its_output(name: str, size: float) -> None:
    """y (1 - y) has few digits where y is close to 1. A program that keeps y alone has no others; a wrong factor is caught."""
    x = size * RANDOM.standard_normal((40, 6))

    def own(factor: float) -> Any:
        def sigmoid(x: Any) -> Any:
            y = stable_sigmoid(x)
            return y, lambda g: g * y * (1 - y) * x.dtype.type(factor)

        return sigmoid

    given = torch.from_numpy(x) if name == "torch" else x
    report = oracle.check_op(SIGMOIDS[name], own(1), x=given)
    assert verdicts(report) == {"pass"}, str(report)
    assert not oracle.check_op(SIGMOIDS[name], own(1 + 1e-5), x=given).passed


@pytest.mark.parametrize("is_used_elsewhere", [False, True])
def test_an_exponential_that_is_used_elsewhere_is_not_taken_back(is_used_elsewhere: bool) -> None:
    """Programs take e^-x back from 1 + e^-x if they keep nothing else. If e^-x itself is in the result, they have it."""
    x = 8 + RANDOM.uniform(0, 1, (30, 4))
    share = 0.25 * is_used_elsewhere

    def meant(x: Any) -> Any:
        e = np.exp(-x)
        return 1 / (1 + e) + share * e if is_used_elsewhere else 1 / (1 + e)

    def own(taken_back: bool) -> Any:
        def run(x: Any) -> Any:
            e = np.exp(-x)
            y = 1 / (1 + e)
            return meant(x), lambda g: g * ((1 + e) - 1 if taken_back else e) * (y * y - share)

        return run

    assert oracle.check_op(meant, own(taken_back=False), x=x).passed
    assert oracle.check_op(meant, own(taken_back=True), x=x).passed == (not is_used_elsewhere)


def network(sizes: tuple[int, ...]) -> tuple[list[Any], list[Any]]:
    pairs = list(itertools.pairwise(sizes))
    return [RANDOM.standard_normal((y, 1)) for _, y in pairs], [RANDOM.standard_normal((y, x)) for x, y in pairs]


@pytest.mark.parametrize("factor", [1.0, 1.001])
def test_a_network_of_sigmoids_that_start_saturated(factor: float) -> None:
    """Columns and quadratic cost as in Nielsen's book, whose first weights are standard normal: most neurons are saturated."""
    sigmoid = SIGMOIDS["textbook"]
    biases, weights = network((784, 30, 10))
    x, y = RANDOM.uniform(0, 1, (784, 1)), np.eye(10)[:, 3:4]

    def cost(*values: Any) -> Any:
        a = x
        for b, w in zip(values[:2], values[2:], strict=True):
            a = sigmoid(np.dot(w, a) + b)
        return 0.5 * np.sum((a - y) ** 2)

    hidden = sigmoid(weights[0] @ x + biases[0])
    a = sigmoid(weights[1] @ hidden + biases[1])
    last = (a - y) * a * (1 - a)
    first = weights[1].T @ last * hidden * (1 - hidden) * factor
    expected = oracle.expect(cost, *biases, *weights, grad_output=1.0)
    oracle.assert_close((last, last @ hidden.T), (expected.grads[1], expected.grads[3]))
    if factor == 1:
        oracle.assert_close((first, first @ x.T), (expected.grads[0], expected.grads[2]))
    else:
        with pytest.raises(Discrepancy, match="beyond their tolerance"):
            oracle.assert_close(first @ x.T, expected.grads[2])


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("factor", [1, 2])
def test_a_loss_of_a_probability_that_rounds_to_one(factor: int) -> None:
    """ln(1 - a) is -∞ where a rounds to 1, though the exact loss is finite. The gradient (a - y) / m is right all the same."""
    z = np.array([[0.5, -1.0, 18.0, 45.0], [2.0, 17.5, -3.0, 1.0]])
    y = np.array([[1, 0, 0, 0], [1, 0, 1, 0]])

    def cost(z: Any) -> Any:
        a = 1 / (1 + np.exp(-z))
        return -np.sum(np.log(a) * y + np.log(1 - a) * (1 - y)) / z.shape[1]

    def own(z: Any) -> Any:
        a = 1 / (1 + np.exp(-z))
        return cost(z), lambda g: (g * factor * (a - y.astype(z.dtype)) / z.dtype.type(z.shape[1])).astype(z.dtype)

    report = oracle.check_op(cost, own, x=z)
    assert report.passed == (factor == 1), str(report)


def affine(changed: Callable[..., Any]) -> Callable[..., Any]:
    """An affine layer whose gradients dx, dw, db are returned as `changed` puts them."""

    def run(x: Any, w: Any, b: Any) -> Any:
        return x @ w + b, lambda d: changed(d @ w.T, x.T @ d, d.sum(0))

    return run


def meant_affine(x: Any, w: Any, b: Any) -> Any:
    return x @ w + b


SHAPES: dict[str, Any] = {"x": (4, 6), "w": (6, 5), "b": (5,), "dtypes": ("float64",)}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (lambda dx, dw, db: {"dx": dx, "dw": dw}, "returned a dict, expected a tuple of gradients in this order: x, w, b"),
        (lambda dx, dw, db: ((dx, dw), db), "the gradient of x: got tuple"),
        (lambda dx, dw, db: (dx, dw, db, db), "backward returns 4 gradients, for 3 arguments: x, w, b"),
    ],
)  # fmt: skip
def test_gradients_in_another_form_are_told_which_is_due(changed: Any, said: str) -> None:
    """Courses return gradients in dicts and nested tuples. The message names the array, and what is expected."""
    (blame,) = oracle.check_op(meant_affine, affine(changed), **SHAPES).blame
    assert blame.verdict == "crashed" and said in blame.diagnosis


def test_a_function_that_takes_other_arguments_is_told_which() -> None:
    """Also a backward that takes one gradient, where the program has two outputs."""
    fewer = lambda x, w: (x @ w, None)  # noqa: E731
    (blame,) = oracle.check_op(meant_affine, fewer, **SHAPES).blame
    assert "is called with x, w, b: too many positional arguments" in blame.diagnosis
    twice = lambda x: ((2 * x, 3 * x), lambda d: 2 * d)  # noqa: E731
    (blame,) = oracle.check_op(lambda x: (2 * x, 3 * x), twice, x=(3,), dtypes=("float64",)).blame
    assert "backward is called with the gradient of output 0, the gradient of output 1: " in blame.diagnosis
    assert oracle.check_op(np.negative, lambda x: (-x, np.negative), x=(3,)).passed  # a function without a signature


def test_gradients_in_each_other_s_place_are_named_though_their_shapes_differ() -> None:
    """dw, dx, db instead of dx, dw, db."""
    report = oracle.check_op(meant_affine, affine(lambda dx, dw, db: (dw, dx, db)), **SHAPES)
    assert {own.quantity: own.cause for own in report.blame} == {
        "grad_input": "it holds the grad.w",
        "grad.w": "it holds the grad_input",
    }
    doubled = oracle.check_op(meant_affine, affine(lambda dx, dw, db: (2 * dw, dx, db)), **SHAPES)
    assert "grad.w" not in str(doubled.blame[0].cause)


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8, bool])
@pytest.mark.parametrize("with_none", [False, True])
def test_indices_that_stand_first_have_no_gradient(dtype: Any, with_none: bool) -> None:
    """As in llm.c's encoder. A backward may leave out gradients of integers, or give None for them."""
    places = np.array([[0, 3, 1, 2], [2, 1, 0, 3]])
    places = (places > 1 if dtype is bool else places).astype(dtype)

    def own(factor: float, forgotten: bool = False) -> Any:
        def embedding(places: Any, words: Any, more: Any) -> Any:
            def backward(d: Any) -> Any:
                grad = np.zeros_like(words)
                np.add.at(grad, places.astype(np.int64), d)
                rest = None if forgotten else d.sum(0)
                return (None, grad * factor, rest) if with_none else (grad * factor, rest)

            return words[places.astype(np.int64)] + more, backward

        return embedding

    arrays: dict[str, Any] = {"places": places, "words": (5, 3), "more": (4, 3), "dtypes": ("float64",)}
    meant = lambda places, words, more: words[places.astype(np.int64)] + more  # noqa: E731
    assert oracle.check_op(meant, own(1), **arrays).passed
    assert [own.quantity for own in oracle.check_op(meant, own(2), **arrays).blame] == ["grad.words"]
    (blame,) = oracle.check_op(meant, own(1, forgotten=True), **arrays).blame
    assert (blame.quantity, blame.verdict) == ("grad.more", "missing")


def test_a_profile_says_which_arrays_are_data() -> None:
    """Without it the gradient of every floating-point array is due, also that of images or of one-hot labels."""
    weights_alone = affine(lambda dx, dw, db: (None, dw, db))
    (blame,) = oracle.check_op(meant_affine, weights_alone, **SHAPES).blame
    assert blame.verdict == "missing" and "a profile's quantities" in blame.cause
    profile = oracle.Profile(quantities=("output", "grad.*"))
    report = oracle.check_op(meant_affine, weights_alone, profile=profile, **SHAPES)
    assert report.passed and "shows only output, grad.*" in str(report)
    wrong = affine(lambda dx, dw, db: (None, 2 * dw, db))
    assert not oracle.check_op(meant_affine, wrong, profile=profile, **SHAPES).passed


@pytest.mark.parametrize("who", ["the function", "the reference"])
def test_chance_is_named_as_the_cause(who: str) -> None:
    """Dropout without a seed draws another mask in each call. With one of its own it is judged like anything else."""

    def dropout(seed: int | None) -> Any:
        def run(x: Any) -> Any:
            kept = (np.random.default_rng(seed).uniform(size=x.shape) < 0.5) / x.dtype.type(0.5)
            return x * kept, lambda d: d * kept

        return run

    def meant(x: Any) -> Any:
        return x * (np.random.default_rng(None if who == "the reference" else 3).uniform(size=x.shape) < 0.5) / 0.5

    report = oracle.check_op(meant, dropout(None if who == "the function" else 3), x=(6, 5), dtypes=("float64",))
    assert {own.cause.partition(" gives")[0] for own in report.blame} == {who}
    if who == "the function":
        assert oracle.check_op(meant, dropout(3), x=(6, 5), dtypes=("float64",)).passed


def test_a_function_of_torch_beside_arrays_of_numpy_says_what_torch_said() -> None:
    """Labels of int32 are refused by torch's cross entropy. Its complaint that the recording is no tensor would not help."""
    labels = np.array([0, 1, 2, 0], np.int32)
    with pytest.raises(ValueError, match="expected target dtype to be Long"):
        oracle.check_op(torch.nn.functional.cross_entropy, affine(lambda *_: None), x=(4, 3), labels=labels)


def test_a_function_of_numpy_that_cannot_be_recorded_says_so() -> None:
    """Not that torch cannot turn its tensors into arrays, though shapes alone say nothing of a library."""
    window = lambda x: np.lib.stride_tricks.as_strided(x, (3, 2), (8, 8)) * 2  # noqa: E731
    with pytest.raises(ValueError, match="turns a recorded array into a plain one"):
        oracle.check_op(window, affine(lambda *_: None), x=(4,))
