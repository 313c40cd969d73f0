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
