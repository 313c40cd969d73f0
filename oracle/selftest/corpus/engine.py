"""A small engine as tutorials write it, for an MLP with mean squared error and SGD. A bug replaces a method."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np

import oracle
from oracle.case.arrays import Array
from oracle.case.case import Case, Spec
from oracle.selftest.corpus.plain import sigmoid
from oracle.trace import Trace

ACTIVATIONS: dict[str, tuple[Callable[[Array], Array], Callable[[Array, Array], Array]]] = {
    "Sigmoid": (sigmoid, lambda x, y: y * (1 - y)),
    "Tanh": (np.tanh, lambda x, y: 1 - y * y),
    "ReLU": (lambda x: np.maximum(x, 0), lambda x, y: (x > 0).astype(x.dtype)),
}


class Engine:
    """The engine as a subject. A subclass overrides one method as the project wrote it."""

    profile = oracle.Profile(quantities=("output", "param.*", "grad_input", "grad.weight", "grad.bias"))
    updates_early = False

    def __init__(self, name: str) -> None:
        self.name = name

    def linear(self, x: Array, weight: Array, bias: Array, g: Array) -> tuple[Array, Array]:
        """The gradients of a linear layer's weight and bias."""
        return g.T @ x, g.sum(0)

    def passed_on(self, g: Array, weight: Array) -> Array:
        """The gradient of a linear layer's input."""
        return g @ weight

    def derivative(self, kinds: list[str], number: int, x: Array, y: Array) -> Array:
        """The derivative of the layer with this number, an activation."""
        return ACTIVATIONS[kinds[number]][1](x, y)

    def run(self, case: Case) -> Trace:
        kinds = [spec.type for spec in case.layers]
        self._refuse(case, kinds)
        assert case.optimizer is not None
        names = [spec.name or str(i) for i, spec in enumerate(case.layers)]
        rate, momentum = case.optimizer.options["lr"], case.optimizer.options.get("momentum", 0)
        params = {name: value.copy() for name, value in case.params.items()}
        velocity: dict[str, Array] = {}
        trace = Trace()
        for step in range(case.steps):
            x = case.inputs[step % len(case.inputs)]
            target = case.targets[step % len(case.targets)][0]
            kept = [x]
            for name, kind in zip(names, kinds, strict=True):
                dense = kind == "Linear"
                x = x @ params[f"{name}.weight"].T + params[f"{name}.bias"] if dense else ACTIVATIONS[kind][0](x)
                kept.append(x)
                trace.record(step, name, "output", x)
            d = x - target
            trace.record(step, "loss", "output", np.mean(d * d))
            g = d * x.dtype.type(2 / d.size)
            trace.record(step, "loss", "grad_input", g)

            def update(name: str, grads: dict[str, Array]) -> None:
                for own, grad in grads.items():
                    full = f"{name}.{own}"
                    velocity[full] = momentum * velocity[full] + grad if full in velocity else grad
                    params[full] = (params[full] - rate * velocity[full]).astype(case.dtype)

            late: list[tuple[str, dict[str, Array]]] = []
            for i in reversed(range(len(kinds))):
                name = names[i]
                if kinds[i] == "Linear":
                    dw, db = self.linear(kept[i], params[f"{name}.weight"], params[f"{name}.bias"], g)
                    grads = {"weight": dw.astype(case.dtype), "bias": np.asarray(db, case.dtype)}
                    for own, grad in grads.items():
                        trace.record(step, name, f"grad.{own}", grad)
                    if self.updates_early:
                        update(name, grads)
                    else:
                        late.append((name, grads))
                    g = self.passed_on(g, params[f"{name}.weight"])
                else:
                    g = g * self.derivative(kinds, i, kept[i], kept[i + 1])
                g = g.astype(case.dtype)
                trace.record(step, name, "grad_input", g)
            for name, grads in late:
                update(name, grads)
            for full, value in params.items():
                name, _, own = full.rpartition(".")
                trace.record(step, name, f"param.{own}", value)
        return trace

    @staticmethod
    def _refuse(case: Case, kinds: list[str]) -> None:
        loss, optimizer = case.loss, case.optimizer
        fits = bool(kinds) and set(kinds) <= {"Linear", *ACTIVATIONS} and loss is not None and loss.type == "MSELoss"
        if (
            not fits
            or loss is None
            or loss.options.get("reduction", "mean") != "mean"
            or any(s.same_as for s in case.layers)
        ):
            raise oracle.Unsupported("an MLP with the mean square error")
        if (
            optimizer is None
            or optimizer.type != "SGD"
            or optimizer.groups
            or set(optimizer.options) - {"lr", "momentum"}
        ):
            raise oracle.Unsupported("SGD with momentum alone")
        if any(
            f"{spec.name or i}.bias" not in case.params for i, spec in enumerate(case.layers) if spec.type == "Linear"
        ):
            raise oracle.Unsupported("linear layers have a bias")


def mlp_case(name: str, rows: int, sizes: tuple[int, ...], activation: str) -> Case:
    """An MLP with random data, mean squared error and two steps of SGD, as a reporter would set it up."""
    rng = np.random.default_rng(0)
    layers: list[Spec] = []
    params: dict[str, Array] = {}
    for inner, outer in pairwise(sizes):
        params[f"{len(layers)}.weight"] = rng.standard_normal((outer, inner))
        params[f"{len(layers)}.bias"] = rng.standard_normal(outer)
        layers.append(Spec("Linear", {"in_features": inner, "out_features": outer}))
        layers.append(Spec(activation))
    return Case(
        name,
        layers=tuple(layers),
        params=params,
        inputs=(rng.standard_normal((rows, sizes[0])),),
        loss=Spec("MSELoss"),
        targets=((rng.uniform(size=(rows, sizes[-1])),),),
        optimizer=Spec("SGD", {"lr": 0.1}),
        steps=2,
    )
