"""check_network: what a homework has, objects with forward and backward, is held against its own forward pass."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import oracle
from oracle.ops.differences import MOST_ELEMENTS, by_differences
from oracle.ops.ties import TO_EACH


class Dense:
    """A linear layer as people write it: W is (in, out), parameters in dicts."""

    def __init__(self, inputs: int, outputs: int, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.params = {"W": rng.standard_normal((inputs, outputs)), "b": rng.standard_normal(outputs)}
        self.grads: dict[str, np.ndarray] = {}

    def forward(self, x: np.ndarray) -> Any:
        self.x = x
        return x @ self.params["W"] + self.params["b"]

    def backward(self, grad: np.ndarray) -> np.ndarray:
        self.grads = {"W": self.x.T @ grad, "b": grad.sum(axis=0)}
        return grad @ self.params["W"].T


class Relu:
    def forward(self, x: Any) -> Any:
        self.mask = x > 0
        return np.where(self.mask, x, 0.0)

    def backward(self, grad: np.ndarray) -> np.ndarray:
        return np.where(self.mask, grad, 0.0)


class MaxPool:
    """Loops over overlapping windows; `bug` overwrites where windows overlap, as a student's did."""

    def __init__(self, size: int = 3, stride: int = 2, bug: bool = False) -> None:
        self.size, self.stride, self.bug = size, stride, bug

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.x = x
        n, c, height, width = x.shape
        rows, columns = (height - self.size) // self.stride + 1, (width - self.size) // self.stride + 1
        y = np.zeros((n, c, rows, columns))
        for i in range(rows):
            for j in range(columns):
                top, left = i * self.stride, j * self.stride
                y[:, :, i, j] = x[:, :, top : top + self.size, left : left + self.size].max(axis=(2, 3))
        return y

    def backward(self, grad: np.ndarray) -> np.ndarray:
        back = np.zeros_like(self.x)
        for i in range(grad.shape[2]):
            for j in range(grad.shape[3]):
                top, left = i * self.stride, j * self.stride
                part = self.x[:, :, top : top + self.size, left : left + self.size]
                taken = (part == part.max(axis=(2, 3), keepdims=True)) * grad[:, :, i : i + 1, j : j + 1]
                window = back[:, :, top : top + self.size, left : left + self.size]
                if self.bug:
                    window[taken != 0] = taken[taken != 0]
                else:
                    window += taken
        return back


class Flatten:
    def forward(self, x: Any) -> Any:
        self.shape = x.shape
        return x.reshape(x.shape[0], -1)

    def backward(self, grad: np.ndarray) -> np.ndarray:
        return grad.reshape(self.shape)


class Compiled:
    """A forward pass that goes through Python floats, as compiled code would: it cannot be recorded."""

    def __init__(self, factor: float = 1.0) -> None:
        self.factor = factor

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.y = np.array([[math.tanh(float(v)) for v in row] for row in np.asarray(x, dtype=float)])
        return self.y

    def backward(self, grad: np.ndarray) -> np.ndarray:
        return self.factor * grad * (1 - self.y**2)


class SquaredError:
    def forward(self, y: Any, target: np.ndarray) -> Any:
        self.difference = y - target
        return np.mean(self.difference**2)

    def backward(self) -> np.ndarray:
        return 2 * self.difference / self.difference.size


class Product:
    """A linear layer without a bias."""

    def __init__(self) -> None:
        self.params, self.grads = {"W": np.eye(4, 3)}, {}

    def forward(self, x: Any) -> Any:
        self.x = x
        return x @ self.params["W"]

    def backward(self, grad: np.ndarray) -> np.ndarray:
        self.grads["W"] = self.x.T @ grad
        return grad @ self.params["W"].T


BIASED = oracle.Spec("Linear", {"in_features": 4, "out_features": 3})
X = np.random.default_rng(1).standard_normal((5, 4))
IMAGES = np.random.default_rng(2).standard_normal((2, 3, 9, 9))


def found(report: oracle.Report) -> set[tuple[str, str]]:
    return {(blame.layer, blame.quantity) for blame in report.blame}


def test_a_right_network_passes_in_every_row() -> None:
    report = oracle.check_network(
        {"fc1": Dense(4, 6), "relu": Relu(), "tanh": Compiled(), "fc2": Dense(6, 2, 1)},
        X,
        np.ones((5, 2)),
        SquaredError(),
    )
    assert report.passed and set(report.table["verdict"]) == {"pass"}
    rows = set(zip(report.table["layer"], report.table["quantity"], strict=True))
    assert {
        ("fc1", "grad.W"),
        ("fc1", "grad.b"),
        ("fc2", "output"),
        ("tanh", "grad_input"),
        ("loss", "grad_input"),
    } <= rows
    said = report.environment["reference"]
    assert "by recorded calls (fc1, relu, fc2, loss)" in said and "by differences" in said and "(tanh)" in said


def test_the_students_overlapping_windows_are_found() -> None:
    """The pooling alone: neither the layers behind it nor those in front of it are blamed for what it hands on."""
    conv: list[Any] = [MaxPool(bug=True), Flatten(), Dense(48, 3)]
    report = oracle.check_network(conv, IMAGES, np.ones((2, 3)), SquaredError())
    assert not report.passed and found(report) == {("0", "grad_input")}
    assert oracle.check_network([MaxPool(), Flatten(), Dense(48, 3)], IMAGES, np.ones((2, 3)), SquaredError()).passed


@pytest.mark.parametrize("factor", [1.0 + 1e-6, -1.0, 2.0])
def test_a_factor_is_found_by_differences(factor: float) -> None:
    report = oracle.check_network([Compiled(factor)], X)
    assert found(report) == {("0", "grad_input")}


def test_a_gradient_that_is_not_summed_over_the_batch_is_found() -> None:
    class Unsummed(Dense):
        def backward(self, grad: np.ndarray) -> np.ndarray:
            back = super().backward(grad)
            self.grads["b"] = grad.mean(axis=0)
            return back

    report = oracle.check_network([Unsummed(4, 3), Relu()], X)
    assert found(report) == {("0", "grad.b")}
    assert report.blame[0].cause == "1 / the batch size times the right value"


def test_parameters_may_be_attributes() -> None:
    class Attributes(Dense):
        def __init__(self) -> None:
            super().__init__(4, 3)
            self.W = self.params.pop("W")
            self.b = self.params.pop("b")
            del self.params, self.grads

        def forward(self, x: np.ndarray) -> Any:
            self.x = x
            return x @ self.W + self.b

        def backward(self, grad: np.ndarray) -> np.ndarray:
            self.dW, self.db = self.x.T @ grad * 1.01, grad.sum(axis=0)
            return grad @ self.W.T

    report = oracle.check_network([Attributes()], X, params={"W": "dW", "b": "db"})
    assert found(report) == {("0", "grad.W")}


def test_a_layer_is_held_against_a_class_where_it_is_named() -> None:
    """Also where its weights are stored the other way round; causes are then those of the class."""
    report = oracle.check_network([Dense(4, 4), Relu()], X, types=["Linear", "ReLU"])
    assert report.passed and set(report.cases["case"]) == {"network", "network/0", "network/1"}

    class Leaky(Relu):
        def forward(self, x: Any) -> Any:
            self.mask = x > 0
            return np.where(self.mask, x, x * 0.01)

        def backward(self, grad: np.ndarray) -> np.ndarray:
            return np.where(self.mask, grad, grad * 0.01)

    report = oracle.check_network(
        [Leaky()], X, types=["ReLU"]
    )  # its backward is that of its forward: no ReLU all the same
    assert {(own.case, own.quantity) for own in report.blame} == {("network/0", "output"), ("network/0", "grad_input")}


def test_a_layer_that_draws_is_run_again_as_it_drew() -> None:
    class Dropout:
        def forward(self, x: Any) -> Any:
            self.mask = np.random.rand(*x.shape) > 0.5
            return x * self.mask * 2.0

        def backward(self, grad: np.ndarray) -> np.ndarray:
            return grad * self.mask * 2.0

    assert oracle.check_network([Dropout()], X).passed


def test_the_layers_are_left_as_they_were() -> None:
    layer = Dense(4, 3)
    oracle.check_network([layer], X)
    assert layer.grads == {} and not hasattr(layer, "x")


def test_what_is_raised_is_the_layers() -> None:
    """Parts that were judged before it keep their rows."""

    class Falling(Relu):
        def backward(self, grad: np.ndarray) -> np.ndarray:
            raise IndexError("no mask here")

    report = oracle.check_network({"fc": Dense(4, 3), "relu": Falling(), "end": Relu()}, X)
    (blame,) = report.blame
    assert (blame.layer, blame.verdict) == (
        "relu",
        "crashed",
    ) and "IndexError: no mask here (test_check_network.py:" in blame.diagnosis
    assert (report.table.query("layer == 'end'")["verdict"] == "pass").all()


class Plain:
    """A layer made of two functions."""

    def __init__(self, forward: Any, backward: Any) -> None:
        self.of_input, self.of_gradient = forward, backward

    def forward(self, x: Any) -> Any:
        self.x = x
        return self.of_input(x)

    def backward(self, grad: np.ndarray) -> Any:
        return self.of_gradient(self.x, grad)


def to_first_largest(x: np.ndarray, grad: np.ndarray) -> np.ndarray:
    back = np.zeros_like(x)
    back[np.arange(len(x)), x.argmax(1)] = grad
    return back


def tanh_of_size(x: np.ndarray, grad: np.ndarray, at_zero: float) -> np.ndarray:
    """The gradient of tanh |x|, with a slope of its own at zero."""
    return grad * np.where(x == 0, at_zero, np.sign(x) * (1 - np.tanh(x) ** 2))


@pytest.mark.parametrize(
    ("forward", "backward"),
    [
        (lambda x: np.maximum(0, x), lambda x, g: g * (x > 0)),
        (lambda x: np.maximum(0, x), lambda x, g: g * (x >= 0)),
        (lambda x: x * (x > 0), lambda x, g: g * (x >= 0)),
        (lambda x: np.where(x > 0, x, 0.1 * x), lambda x, g: np.where(x >= 0, g, 0.1 * g)),
        (np.abs, lambda x, g: np.where(x >= 0, g, -g)),
        (lambda x: np.clip(x, -1, 1), lambda x, g: g * ((x > -1) & (x < 1))),
        (lambda x: x.max(1), to_first_largest),
    ],
    ids=["ReLU", "ReLU from 0 on", "by a mask", "leaky", "size", "clip", "maximum"],
)
def test_a_one_sided_derivative_is_a_convention(forward: Any, backward: Any) -> None:
    """Zeros and equal elements are common: of padding, behind dropout, in pictures, behind another ReLU."""
    x = np.array([[0.0, 1.0, 1.0, -1.0], [2.0, 0.0, -3.0, 2.0], [0.0, 0.0, 0.0, 0.0]])
    report = oracle.check_network([Plain(forward, backward)], x)
    assert report.passed and "convention" in set(report.table["verdict"]), report


@pytest.mark.parametrize(
    ("forward", "backward", "is_right"),
    [
        (lambda x: [[max(0.0, float(own)) for own in row] for row in x], lambda x, g: g * (x > 0), True),
        (lambda x: [[max(0.0, float(own)) for own in row] for row in x], lambda x, g: g * (x >= 0), True),
        (lambda x: [[max(0.0, float(own)) for own in row] for row in x], lambda x, g: g * (1.5 * (x >= 0)), False),
        (
            lambda x: [[math.tanh(abs(float(own))) for own in row] for row in x],
            lambda x, g: tanh_of_size(x, g, 1),
            True,
        ),
        (
            lambda x: [[math.tanh(abs(float(own))) for own in row] for row in x],
            lambda x, g: tanh_of_size(x, g, 2),
            False,
        ),
        (lambda x: [max(map(float, row)) for row in x], to_first_largest, True),
        (lambda x: [max(map(float, row)) for row in x], lambda x, g: (x == x.max(1)[:, None]) * g[:, None], False),
    ],
    ids=["ReLU", "from 0 on", "steeper", "size", "too large at 0", "maximum", "all of it to each"],
)
def test_a_one_sided_derivative_by_differences(forward: Any, backward: Any, is_right: bool) -> None:
    x = np.array([[0.0, 1.0, 1.0, -1.0], [2.0, 0.0, -3.0, 2.0], [0.25, 0.0, 0.5, 0.0]])
    report = oracle.check_network([Plain(forward, backward)], x)
    assert report.passed is is_right and "by differences" in report.environment["reference"], report
    if is_right:
        assert "convention" in set(report.table["verdict"])


def test_each_of_several_equal_elements_gets_the_whole_gradient() -> None:
    """This is the derivative of their sum, and not one of their maximum."""
    x = np.array([[0.0, 1.0, 1.0, -1.0]])
    layer = Plain(lambda x: x.max(1), lambda x, g: (x == x.max(1, keepdims=True)) * g[:, None])
    (blame,) = oracle.check_network([layer], x).blame
    assert blame.verdict == "wrong" and blame.diagnosis.endswith(TO_EACH)


def test_weights_of_a_wider_dtype() -> None:
    """NumPy then computes in the wider dtype, and so do the layers; their numbers are judged in it."""
    x = X.astype(np.float32)
    layers = [Dense(4, 3), Relu(), Dense(3, 2, seed=1)]
    report = oracle.check_network(layers, x)
    assert report.passed, report
    assert set(report.table.query("quantity == 'output'")["dtype"]) == {"float64"}

    class Halved(Dense):
        def backward(self, grad: np.ndarray) -> np.ndarray:
            back = super().backward(grad)
            self.grads["W"] *= 1 + 1e-9
            return back

    (blame,) = oracle.check_network([Halved(4, 3)], x).blame
    assert (blame.quantity, blame.verdict, blame.dtype) == ("grad.W", "wrong", "float64")
    scaled = Plain(lambda x: x / np.sqrt(5), lambda x, g: g / np.sqrt(5))
    assert oracle.check_network([scaled], x).passed


def test_an_array_of_another_dtype_than_the_layer_computes_in_is_wrong() -> None:
    layer = Plain(lambda x: 2 * x, lambda x, g: 2 * g.astype(np.float64))
    (blame,) = oracle.check_network([layer], X.astype(np.float32)).blame
    assert (blame.quantity, blame.diagnosis) == ("grad_input", "dtype float64, expected float32")


def test_several_arrays_where_one_is_expected_are_said() -> None:
    """As in courses whose functions return (output, cache), or all gradients."""
    (blame,) = oracle.check_network([Plain(lambda x: (2 * x, x), lambda x, g: 2 * g)], X).blame
    assert blame.verdict == "crashed" and "forward(x) returns a tuple of 2, expected one array" in blame.diagnosis
    (blame,) = oracle.check_network([Plain(lambda x: 2 * x, lambda x, g: (2 * g, g.sum(0)))], X).blame
    assert "gradients of parameters belong into the layer's `grads`" in blame.diagnosis


def test_a_missing_gradient_is_missing() -> None:
    class Forgetful(Dense):
        def backward(self, grad: np.ndarray) -> np.ndarray:
            back = super().backward(grad)
            del self.grads["b"]
            return back

    report = oracle.check_network([Forgetful(4, 3)], X)
    assert {(own.quantity, own.verdict, own.cause) for own in report.blame} == {
        ("grad.b", "missing", "backward puts nothing there")
    }


def test_a_gradient_of_another_shape_is_wrong() -> None:
    """Also where only some of its elements are tried, since a layer's forward cannot be recorded."""

    class Opaque(Dense):
        def forward(self, x: np.ndarray) -> Any:
            self.x = x
            return np.array([[math.tanh(float(own)) for own in row] for row in x @ self.params["W"]]) + self.params["b"]

        def backward(self, grad: np.ndarray) -> np.ndarray:
            z = self.x @ self.params["W"]
            inner = grad * (1 - np.tanh(z) ** 2)
            self.grads = {"W": self.x.T @ inner, "b": grad.sum(axis=0)}
            return inner @ self.params["W"].T

    class Short(Opaque):
        def backward(self, grad: np.ndarray) -> np.ndarray:
            return super().backward(grad)[:-1]

    assert oracle.check_network([Opaque(4, 3)], X).passed
    (blame,) = oracle.check_network([Short(4, 3)], X).blame
    assert (blame.quantity, blame.verdict) == ("grad_input", "wrong") and "expected (" in blame.diagnosis
    (blame,) = oracle.check_network([type("Cut", (Relu,), {"backward": lambda self, g: g[:-1]})()], X).blame
    assert (blame.layer, blame.quantity, blame.verdict) == ("0", "grad_input", "wrong")


def test_behind_a_layer_that_hands_nothing_back_nothing_is_judged() -> None:
    """The layer that gives no gradient is blamed; those before it, which got none, are not."""

    class Forgets(Relu):
        def backward(self, grad: np.ndarray) -> Any:
            return None

    report = oracle.check_network([Dense(4, 3), Forgets(), Dense(3, 2)], X, types=[None, "ReLU", "Linear"])
    assert {(own.layer, own.quantity, own.verdict) for own in report.blame} == {("1", "grad_input", "missing")}
    before = report.table.query("layer == '0' and quantity != 'output'")
    assert not set(before["verdict"]) & {"wrong", "crashed", "imprecise"}


def test_a_forward_pass_that_gives_something_else_each_time_is_unjudged() -> None:
    """Its differences are those of its own changes: the layer would be accused of what the check did."""

    class Counting(Relu):
        calls = 0

        def forward(self, x: Any) -> Any:
            Counting.calls += 1
            self.factor = float(Counting.calls)
            return super().forward(x) * self.factor

        def backward(self, grad: np.ndarray) -> np.ndarray:
            return super().backward(grad) * self.factor

    report = oracle.check_network([Dense(4, 3), Counting()], X)
    assert not report.blame
    (row,) = report.table[report.table["verdict"] == "unjudged"].to_dict("records")
    assert row["layer"] == "1" and row["diagnosis"].endswith("it gives something else each time")
    assert not report.passed and "not everything was judged" in repr(report) and "1 (Counting)" in repr(report)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (([], X), "at least one layer"),
        ((Relu(), X), "check_network expects a list or a mapping of layers, got Relu"),
        (([Relu], X), r"layer 0 is a class, expected an object: Relu\(…\)"),
        (([Relu()], X, X, Relu), r"the loss is a class, expected an object: Relu\(…\)"),
        (([Relu()], X, X), "check_network expects a loss with a target, got none"),
        (([Relu()], X, None, None, {"W": "dW"}), "params names 'W', and no layer has such an attribute"),
        (([Relu()], X, None, None, ["W"]), 'params expects a mapping such as {"W": "dW"}, got list'),
        (([object()], X), r"layer 0 \(of type object\) has no method forward"),
        (([Relu()], np.array([1, 2])), "x expects floating-point numbers, got int64"),
        (([Relu()], X, None, object()), r"the loss \(of type object\) has no method forward"),
        (([Relu()], X, None, None, None, ["ReLU", "ReLU"]), "types has 2 entries, for 1 layer"),
        (([Relu()], X, None, None, None, ["Relu"]), "names 'Relu', which refbp lacks"),
        (([Relu()], X, None, None, None, ["MaxPool2d"]), "MaxPool2d needs options"),
        (
            ([Relu()], X, None, None, None, ["PReLU"]),
            r"PReLU has weight \(1,\), and no array of the layer fits it: none$",
        ),
        (
            ([Product()], X, None, None, None, [BIASED]),
            r"Linear has bias \(3,\), and no array of the layer fits it: W \(4, 3\)$",
        ),
    ],
)
def test_what_cannot_be_checked_is_said(arguments: tuple[Any, ...], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        oracle.check_network(*arguments)


def test_of_a_large_array_some_elements_are_tried() -> None:
    weight = np.random.default_rng(0).standard_normal((40, 40))
    expected = by_differences(lambda: np.tanh(weight), weight, np.ones((40, 40)), "float64")
    assert expected.value.shape == (MOST_ELEMENTS,) and (expected.sigma < 1e-9).all()


class Product:
    """A linear layer. It keeps its input or its gradient, in one of several ways."""

    def __init__(self, way: str) -> None:
        self.way, self.params = way, {"W": np.random.default_rng(0).standard_normal((4, 3))}
        self.grads = {"W": np.zeros((4, 3))} if way == "adds" else {}
        self.kept: Any = None
        self.total = np.zeros((4, 3))

    def forward(self, x: Any) -> Any:
        if self.kept is None or self.way != "first":
            self.kept = x
        return x @ self.params["W"]

    def backward(self, grad: Any) -> Any:
        own = self.kept.T @ grad
        if self.way == "adds":
            self.grads["W"] += own
        elif self.way == "adds elsewhere":
            self.total += own
            self.grads["W"] = self.total.copy()
        else:
            self.grads["W"] = own
        if self.way == "grows":
            self.grads["W"] = own + 0.1 * self.total
            self.total = own
        return grad @ self.params["W"].T


@pytest.mark.parametrize(
    ("way", "is_right"), [("each", True), ("adds", True), ("adds elsewhere", True), ("first", False), ("grows", False)]
)
def test_what_a_layer_keeps_of_an_earlier_call_is_found(way: str, is_right: bool) -> None:
    """Each layer was called once, in which a cache is filled. A layer may add to its gradients, as torch does."""
    report = oracle.check_network([Product(way)], np.random.default_rng(1).standard_normal((5, 4)))
    assert [(own.quantity, own.verdict) for own in report.blame] == ([] if is_right else [("grad.W", "wrong")])
    assert report.passed == is_right
    if not is_right:
        assert report.blame[0].diagnosis.endswith(
            "only in a call after the first: it keeps something of an earlier one"
        )
