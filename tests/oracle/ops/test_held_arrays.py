"""Layers as homeworks write them keep their parameters anywhere: what check_network finds of them, and what it says."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import oracle
from oracle.report.report import Report

RANDOM = np.random.default_rng(5)
X = RANDOM.standard_normal((6, 4))


class Attributes:
    """As in most homeworks: W and dW."""

    def __init__(self) -> None:
        self.W, self.b = RANDOM.standard_normal((4, 3)), np.zeros(3)
        self.factor = 1.0

    def forward(self, x: Any) -> Any:
        self.x = x
        return x @ self.W + self.b

    def backward(self, grad: Any) -> Any:
        self.dW, self.db = self.x.T @ grad * self.factor, grad.sum(0)
        return grad @ self.W.T


class Dicts:
    """As numpy-ml has it, whose gradients add up and start at zero."""

    def __init__(self) -> None:
        self.parameters = {"W": RANDOM.standard_normal((4, 3)), "b": np.zeros((1, 3))}
        self.gradients = {name: np.zeros_like(own) for name, own in self.parameters.items()}
        self.factor = 1.0

    def forward(self, x: Any) -> Any:
        self.x = x
        return x @ self.parameters["W"] + self.parameters["b"]

    def backward(self, grad: Any) -> Any:
        self.gradients["W"] += self.x.T @ grad * self.factor
        self.gradients["b"] += grad.sum(0, keepdims=True)
        return grad @ self.parameters["W"].T


class Objects:
    """As small copies of torch have it."""

    def __init__(self) -> None:
        self.W = SimpleNamespace(data=RANDOM.standard_normal((4, 3)), grad=None)
        self.biases = [SimpleNamespace(data=np.zeros(3), grad=None)]
        self.factor = 1.0

    def forward(self, x: Any) -> Any:
        self.x = x
        return x @ self.W.data + self.biases[0].data

    def backward(self, grad: Any) -> Any:
        self.W.grad, self.biases[0].grad = self.x.T @ grad * self.factor, grad.sum(0)
        return grad @ self.W.data.T


HELD: list[tuple[Any, dict[str, str]]] = [
    (Attributes, {"W": "dW", "b": "db"}),
    (Dicts, {"parameters.W": "gradients.W", "parameters.b": "gradients.b"}),
    (Objects, {"W.data": "W.grad", "biases.0.data": "biases.0.grad"}),
]


def unjudged(report: Report) -> dict[str, str]:
    rows = report.table[report.table["verdict"] == "unjudged"]
    return dict(zip(rows["quantity"], rows["diagnosis"], strict=True))


@pytest.mark.parametrize(("kind", "places"), HELD)
def test_parameters_that_are_not_named_are_unjudged(kind: Any, places: dict[str, str]) -> None:
    """A wrong dW passed without a word where nothing said that W is a parameter. The message names it, and its gradient."""
    layer = kind()
    layer.factor = 2.0
    report = oracle.check_network([layer], X)
    assert not report.passed and not report.blame
    found = unjudged(report)
    assert set(found) == {f"grad.{path}" for path in places}
    for path, gradient in places.items():
        assert f'params={{"{path}": "{gradient}"}} says where it is' in found[f"grad.{path}"]


@pytest.mark.parametrize(("kind", "places"), HELD)
@pytest.mark.parametrize("factor", [1.0, 2.0])
def test_parameters_in_any_place_are_judged(kind: Any, places: dict[str, str], factor: float) -> None:
    layer = kind()
    layer.factor = factor
    report = oracle.check_network([layer], X, params=places)
    assert [own.quantity for own in report.blame] == ([f"grad.{next(iter(places))}"] if factor != 1 else [])
    assert report.passed == (factor == 1) and not unjudged(report)


def test_arrays_that_change_nothing_or_are_declared_constant_are_no_parameters() -> None:
    """Such as running statistics during training, and the table of a positional encoding."""

    class Shifted:
        def __init__(self) -> None:
            self.table, self.mean = RANDOM.standard_normal((6, 4)), np.zeros(4)

        def forward(self, x: Any) -> Any:
            self.mean = 0.9 * self.mean + 0.1 * x.mean(0)
            return x + self.table

        def backward(self, grad: Any) -> Any:
            return grad

    assert set(unjudged(oracle.check_network([Shifted()], X))) == {"grad.table"}
    assert oracle.check_network([Shifted()], X, params={}).passed


def test_a_layer_with_params_has_no_others() -> None:
    """Arrays beside them, such as running statistics in evaluation, are its own business."""

    class Named(Attributes):
        def __init__(self) -> None:
            super().__init__()
            self.params = {"W": self.W, "b": self.b}
            self.shift = np.ones(4)

        def forward(self, x: Any) -> Any:
            self.x = x - self.shift
            return self.x @ self.params["W"] + self.params["b"]

        def backward(self, grad: Any) -> Any:
            self.grads = {"W": self.x.T @ grad, "b": grad.sum(0)}
            return grad @ self.params["W"].T

    assert oracle.check_network([Named()], X).passed


@pytest.mark.parametrize(("made", "said"), [(None, "None"), ({}, "dict"), (object(), "object")])
def test_a_forward_that_returns_no_array_is_told_so(made: Any, said: str) -> None:
    """As in Neural Networks from Scratch, whose layers keep `output` and return nothing."""

    class Keeps(Attributes):
        def forward(self, x: Any) -> Any:
            self.output = super().forward(x)
            return made

    (blame,) = oracle.check_network([Keeps()], X, params={}).blame
    assert blame.verdict == "crashed" and f"forward(x) returns {said}, expected an array" in blame.diagnosis


class Norm:
    """A batch norm whose arrays have the names of the paper."""

    swapped = False

    def __init__(self, *names: str) -> None:
        values = {"gamma": RANDOM.standard_normal(4), "beta": RANDOM.standard_normal(4)}
        self.params = {name: values[name] for name in names or ("beta", "gamma")}
        self.grads: dict[str, Any] = {}

    def forward(self, x: Any) -> Any:
        self.deviation = np.sqrt(x.var(0) + 1e-5)
        self.normal = (x - x.mean(0)) / self.deviation
        return self.normal * self.params["gamma"] + self.params.get("beta", 0)

    def backward(self, grad: Any) -> Any:
        first, second = ("gamma", "beta") if not self.swapped else ("beta", "gamma")
        self.grads = {first: (grad * self.normal).sum(0), second: grad.sum(0)}
        g = grad * self.params["gamma"]
        return (g - g.mean(0) - self.normal * (g * self.normal).mean(0)) / self.deviation


NORM = oracle.Spec("BatchNorm1d", {"num_features": 4})


def test_a_norm_is_held_against_its_class() -> None:
    """gamma and beta are weight and bias in any order. Its buffers are not asked for."""
    assert oracle.check_network([Norm()], X, types=[NORM]).passed
    with pytest.raises(ValueError, match=r"layer 0: BatchNorm1d has bias \(4,\), and no array of the layer fits it"):
        oracle.check_network([Norm("gamma")], X, types=[NORM])


def test_gradients_in_each_other_s_place_are_named() -> None:
    """Of equal shapes, as those of gamma and beta, and of different ones, as those of W and b."""
    norm = Norm()
    norm.swapped = True
    blame = oracle.check_network([norm], X).blame
    assert {own.quantity: own.cause for own in blame} == {
        "grad.gamma": "it holds the grad.beta",
        "grad.beta": "it holds the grad.gamma",
    }
    blame = oracle.check_network([Attributes()], X, params={"W": "db", "b": "dW"}).blame
    assert {own.cause for own in blame} == {"it holds the grad.b", "it holds the grad.W"}
