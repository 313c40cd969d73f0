"""A subject to start from: replace the formulas by your own code. Saved as mine.py, it runs with

oracle run --subject mine:subject --cases mlp
oracle run --subject mine:subject --cases mlp --shrink  # also finds the smallest case of each kind of failure
"""

from __future__ import annotations

from typing import Any

import numpy as np

import oracle

# Each activation is its value, and its derivative as a function of that value.
ACTIVATIONS: dict[str, Any] = {
    "ReLU": (lambda x: np.maximum(x, 0), lambda y: y > 0),
    "Sigmoid": (lambda x: 1 / (1 + np.exp(-x)), lambda y: y * (1 - y)),
    "Tanh": (np.tanh, lambda y: 1 - y * y),
}


class Subject:
    """An object with a `name` and a `run`. A `profile` declares deliberate differences from torch; see help(oracle.Profile)."""

    name = "mine"

    def run(self, case: oracle.Case) -> oracle.Trace:
        """Compute the case's training steps, and record each array under its step, layer and quantity."""
        refuse(case)
        trace = oracle.Trace()
        params = dict(case.params)  # by torch's names, in torch's shapes: "0.weight" is (out_features, in_features)
        velocity: dict[str, Any] = {}
        for step in range(case.steps):
            x = case.inputs[step % len(case.inputs)]  # steps take the entries in turn
            passed = []
            for place, spec in enumerate(case.layers):
                layer = spec.name or str(place)
                y = forward(spec.type, layer, params, x)
                trace.record(step, layer, "output", y)
                passed.append((spec.type, layer, x, y))
                x = y
            if case.loss:
                (target,) = case.targets[step % len(case.targets)]
                trace.record(step, "loss", "output", np.mean((x - target) ** 2))
                grad = 2 * (x - target) / x.size
                trace.record(step, "loss", "grad_input", grad)
                trace.record(step, "loss", "grad.target", -grad)
            else:
                grad = case.grad_outputs[step % len(case.grad_outputs)]
            grads: dict[str, Any] = {}
            for kind, layer, x, y in reversed(passed):
                trace.record(step, layer, "grad_output", grad)
                grad = backward(kind, layer, params, x, y, grad, grads)
                trace.record(step, layer, "grad_input", grad)
            for name, gradient in grads.items():
                trace.record(step, *placed("grad", name), gradient)
            if case.optimizer:
                update(case.optimizer.options, params, grads, velocity)
                for name in grads:
                    trace.record(step, *placed("param", name), params[name])
                for name, state in velocity.items():
                    trace.record(step, *placed("momentum", name), state)
        return trace


def refuse(case: oracle.Case) -> None:
    """Raise Unsupported for cases that this code cannot run yet; they are then not counted as discrepancies."""
    for spec in case.layers:
        if spec.type not in ("Linear", *ACTIVATIONS) or spec.same_as:
            raise oracle.Unsupported(f"no {spec.type} here")
    if not case.inputs or not (case.loss or case.grad_outputs):
        raise oracle.Unsupported("no forward pass, loss or optimizer alone")
    if case.loss and (case.loss.type != "MSELoss" or case.loss.options.get("reduction", "mean") != "mean"):
        raise oracle.Unsupported("no loss but the mean squared error")
    if case.optimizer:
        asked = {name for name, value in case.optimizer.options.items() if value} - {"lr", "momentum"}
        if case.optimizer.type != "SGD" or asked or case.optimizer.groups or case.optimizer_state:
            raise oracle.Unsupported("no optimizer but SGD with a momentum")


def forward(kind: str, layer: str, params: dict[str, Any], x: Any) -> Any:
    if kind == "Linear":
        return x @ params[f"{layer}.weight"].T + params.get(f"{layer}.bias", 0)
    return ACTIVATIONS[kind][0](x)


def backward(kind: str, layer: str, params: dict[str, Any], x: Any, y: Any, grad: Any, grads: dict[str, Any]) -> Any:
    """The gradient of a layer's input; the gradients of its parameters are put into `grads`."""
    if kind != "Linear":
        return grad * ACTIVATIONS[kind][1](y)
    rows = grad.reshape(-1, grad.shape[-1])  # (*, out) -> (N, out)
    grads[f"{layer}.weight"] = rows.T @ x.reshape(-1, x.shape[-1])
    if f"{layer}.bias" in params:
        grads[f"{layer}.bias"] = rows.sum(axis=0)
    return grad @ params[f"{layer}.weight"]


def update(options: Any, params: dict[str, Any], grads: dict[str, Any], velocity: dict[str, Any]) -> None:
    """A step of SGD, as torch.optim.SGD makes it: the first velocity is the gradient."""
    for name, grad in grads.items():
        step = grad
        if options.get("momentum"):
            step = velocity[name] = options["momentum"] * velocity[name] + grad if name in velocity else grad
        params[name] = params[name] - options["lr"] * step


def placed(quantity: str, name: str) -> tuple[str, str]:
    """("grad", "hidden.weight") -> the layer "hidden" and the quantity "grad.weight"."""
    layer, _, param = name.rpartition(".")
    return layer, f"{quantity}.{param}"


subject = Subject()
