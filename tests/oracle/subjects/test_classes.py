"""Classes with forward and backward as a subject: an adapter of a few lines, and what it finds."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import oracle
import refbp
from oracle.cli import main
from oracle.subjects.classes import Classes
from oracle.subjects.walk import Layer
from oracle.suite.build import network_case

LONGEST_ADAPTER = 30


class Dense:
    """A layer as a homework has it: weights the other way round, gradients as attributes."""

    def __init__(self, W: Any, b: Any) -> None:
        self.W, self.b = W, b

    def forward(self, x: Any) -> Any:
        self.x = x
        return x @ self.W + self.b

    def backward(self, grad: Any) -> Any:
        self.dW, self.db = self.x.T @ grad, grad.sum(axis=0)
        return grad @ self.W.T


class Relu:
    def forward(self, x: Any) -> Any:
        self.positive = x > 0
        return x * self.positive

    def backward(self, grad: Any) -> Any:
        return grad * self.positive


class Squared:
    def forward(self, y: Any, target: Any) -> Any:
        self.difference = y - target
        return np.mean(self.difference**2)

    def backward(self) -> Any:
        return 2 * self.difference / self.difference.size


class Halved(Dense):
    def backward(self, grad: Any) -> Any:
        grad_input = super().backward(grad)
        self.db = grad.mean(axis=0)
        return grad_input


def adapter(dense: type[Dense] = Dense) -> Classes:
    def linear(layer: Layer) -> Dense:
        layer.options.refuse("Dense", bias=True)
        return dense(layer.weight.T, layer.bias)

    def squared(loss: Layer) -> Squared:
        loss.options.refuse("Squared", reduction="mean")
        return Squared()

    return Classes(
        "homework",
        layers={"Linear": linear, "ReLU": lambda layer: Relu()},
        losses={"MSELoss": squared},
        grads=lambda made: {"weight": made.dW.T, "bias": made.db} if isinstance(made, Dense) else {},
    )


def test_an_adapter_is_short_and_its_framework_conforms() -> None:
    """Without an optimizer: no update is asked for, and what it has not is unsupported."""
    assert len(inspect.getsource(adapter).splitlines()) <= LONGEST_ADAPTER
    report = oracle.run(adapter(), cases="mlp/*ReLU*MSELoss*", dtypes=("float32",))
    report.raise_for_discrepancy()
    assert {"output", "grad_input", "grad.weight", "grad.bias"} <= set(report.table["quantity"])
    assert set(oracle.run(adapter(), cases="activation/Tanh", dtypes=("float32",)).cases["verdict"]) == {"unsupported"}


def test_a_mistake_in_it_is_found_and_named() -> None:
    report = oracle.run(adapter(Halved), cases="linear/Linear,in_features=3*batch=5", dtypes=("float64",))
    assert {(own.quantity, own.cause_name) for own in report.blame} == {("grad.bias", "factor")}


class Descent:
    """SGD with a momentum over arrays."""

    def __init__(self, options: Any, state: Any) -> None:
        self.options, self.velocity = options, dict(state.get("momentum", {}))

    def step(self, params: Any, grads: Any) -> Any:
        rate, momentum = self.options["lr"], self.options["momentum"]
        grads = {name: grad + self.options["weight_decay"] * params[name] for name, grad in grads.items()}
        for name, grad in grads.items() if momentum else ():
            known = self.velocity.get(name)
            self.velocity[name] = grad if known is None else momentum * known + grad
        moved = self.velocity if momentum else grads
        return {name: own - rate * moved[name] for name, own in params.items()}

    def state(self) -> Any:
        return {"momentum": self.velocity} if self.velocity else {}


def descent(kind: str, options: Any, state: Any) -> Descent:
    options.refuse(kind, dampening=0, nesterov=False, maximize=False)
    if kind != "SGD":
        raise oracle.Unsupported(f"no {kind} here")
    return Descent(options, state)


def of_refbp(kind: str) -> Any:
    """A class of refbp made as any framework's: parameters, buffers and masks put into it."""

    def make(layer: Layer) -> Any:
        made = getattr(refbp, kind)(**layer.options, dtype=layer.dtype)
        made.load_state_dict({**layer.params, **layer.buffers})
        if not layer.training:
            made.eval()
        if layer.imposed_mask is not None:
            made.imposed_mask = layer.imposed_mask
        return made

    return make


KINDS = (
    "Linear",
    "Sigmoid",
    "ReLU",
    "Tanh",
    "Conv2d",
    "BatchNorm2d",
    "MaxPool2d",
    "AdaptiveAvgPool2d",
    "Flatten",
    "Dropout",
)
LOSSES = {
    "MSELoss": lambda layer: refbp.MSELoss(**layer.options),
    "CrossEntropyLoss": lambda layer: refbp.CrossEntropyLoss(**layer.options),
}
WALKED = Classes("refbp", {kind: of_refbp(kind) for kind in KINDS}, LOSSES, descent)


@pytest.mark.parametrize(
    "cases",
    [
        "worked-example",
        "norm/BatchNorm2d,eps=0.01*",
        "network/inception",
        "network/shared_layer",
    ],
)
def test_steps_buffers_branches_and_skips_are_walked(cases: str) -> None:
    """refbp's own classes through the walk: what passes directly passes here too."""
    report = oracle.run(WALKED, cases=cases, dtypes=("float64",))
    report.raise_for_discrepancy()
    assert set(report.cases["verdict"]) == {"pass"}


def test_what_a_skip_adds_and_a_mask_drops_is_walked() -> None:
    """A residual with and without a shortcut, and a dropout with the case's mask; both sides of each sum get the gradient."""
    body = oracle.Spec("Linear", {"in_features": 3, "out_features": 3}, name="body")
    layers = (
        oracle.Spec("Residual", layers=(body,)),
        oracle.Spec("Residual", layers=(body, oracle.Spec("Tanh", name="shortcut"))),
        oracle.Spec("Dropout", {"p": 0.5}),
    )
    case = network_case("mine/skips", "", layers, (4, 3), masks={"2": np.arange(12).reshape(4, 3) % 2 == 0})
    report = oracle.run(WALKED, cases=[case], dtypes=("float32",))
    report.raise_for_discrepancy()
    assert set(report.table["verdict"]) == {"pass"}


MODULE = """
import numpy as np
import oracle

name = "a module"

def run(case):
    oracle.refuse(case, layers=["Softplus"], options={"Softplus": {"threshold": 20}})
    trace, x, (spec,) = oracle.Trace(), case.inputs[0], case.layers
    beta = spec.options["beta"]  # also where the case leaves it at its default
    with np.errstate(over="ignore"):
        trace.record(0, "0", "output", np.where(x * beta > 20, x, np.log1p(np.exp(x * beta)) / beta))
        grad = np.where(x * beta > 20, 1, 1 / (1 + np.exp(-x * beta)))
    trace.record(0, "0", "grad_input", case.grad_outputs[0] * grad)
    return trace
"""


def test_a_module_is_a_subject_and_is_given_every_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By its name alone, on the command line in another process, where it lies in the current folder."""
    (tmp_path / "pack_of_theirs").mkdir()
    (tmp_path / "pack_of_theirs" / "inner.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    words = ["run", "--subject", "pack_of_theirs.inner", "--cases", "activation/Softplus", "--dtype", "float64"]
    assert main([*words, "--reference", "refbp", "--out", "out"]) == 0, capsys.readouterr()
    assert oracle.load_report(tmp_path / "out").about.subject == "pack_of_theirs.inner"
    assert main(["run", "--subject", "nothing_of_theirs", "--cases", "kink"]) == 2
    assert "unknown subject 'nothing_of_theirs'" in capsys.readouterr().err


def test_what_is_refused_is_named() -> None:
    """The first class or option that is not there; a value of several, and an option that is left at its default, count."""
    case = oracle.Case("mine", layers=(oracle.Spec("GELU"),), loss=oracle.Spec("L1Loss"), optimizer=oracle.Spec("Adam"))
    known: dict[str, Any] = {"layers": ["GELU"], "losses": ["L1Loss"], "optimizers": ["Adam"]}
    oracle.refuse(case, **known, options={"GELU": {"approximate": ["tanh", "none"]}, "Adam": {"amsgrad": False}})
    for more, said in (
        ({"layers": ["ReLU"]}, "no GELU here"),
        ({"losses": []}, "no L1Loss here"),
        ({"optimizers": ["SGD"]}, "no Adam here"),
        ({"options": {"GELU": {"approximate": "tanh"}}}, "no GELU with approximate='none' here"),
    ):
        with pytest.raises(oracle.Unsupported, match=said):
            oracle.refuse(case, **{**known, **more})


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((3,), "refuse expects the case that `run` received, got int"),
        ((oracle.Case("mine"), "LeakyReLU"), r'a list of names as layers, such as \["LeakyReLU"\], got str'),
        ((oracle.Case("mine"), [], 3), r'as losses, such as \["3"\], got int'),
    ],
)
def test_wrong_arguments_of_refuse_are_named(arguments: tuple[Any, ...], said: str) -> None:
    """A text in place of a list would support every class whose name is part of it: ReLU is part of LeakyReLU."""
    with pytest.raises(TypeError, match=said):
        oracle.refuse(*arguments)
