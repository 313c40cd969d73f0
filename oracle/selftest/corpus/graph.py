"""A small engine for residual networks. Each project has its own way to join the gradients of two paths."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import oracle
from oracle.case.arrays import Array
from oracle.case.case import Case, Spec
from oracle.selftest.corpus.plain import Backward
from oracle.trace import Trace


class Graph:
    """A subject for residual blocks.

    meet: joins two gradients into one; it takes (name of the block, the body's, the shortcut's).
    twice: whether the body receives twice its upstream gradient.
    """

    profile = oracle.Profile(quantities=("output", "grad_input", "grad.*"))

    def __init__(self, name: str, meet: Callable[[str, Array, Array], Array], twice: bool = False) -> None:
        self.name, self.meet, self.twice = name, meet, twice

    def run(self, case: Case) -> Trace:
        trace = Trace()
        _, backward = self._chain(case.layers, "", case.inputs[0], case, trace)
        backward(case.grad_outputs[0])
        return trace

    def _chain(
        self, specs: tuple[Spec, ...], prefix: str, x: Array, case: Case, trace: Trace
    ) -> tuple[Array, Backward]:
        backwards = []
        for number, spec in enumerate(specs):
            x, own = self._layer(spec, prefix + (spec.name or str(number)), x, case, trace)
            backwards.append(own)

        def backward(g: Array) -> Array:
            for own in reversed(backwards):
                g = own(g)
            return g

        return x, backward

    def _layer(self, spec: Spec, name: str, x: Array, case: Case, trace: Trace) -> tuple[Array, Backward]:
        if spec.type == "Linear":
            weight = case.params[f"{name}.weight"]
            y = x @ weight.T + case.params[f"{name}.bias"]

            def back(g: Array) -> Any:
                trace.record(0, name, "grad.weight", g.T @ x)
                trace.record(0, name, "grad.bias", g.sum(0))
                return g @ weight
        elif spec.type == "Tanh":
            y = np.tanh(x)

            def back(g: Array) -> Any:
                return g * (1 - y * y)
        elif spec.type == "Sequential":
            y, through = self._chain(spec.layers, f"{name}.", x, case, trace)

            def back(g: Array) -> Any:
                return through(g)
        elif spec.type == "Residual":
            inner, body = self._layer(spec.layers[0], f"{name}.{spec.layers[0].name}", x, case, trace)
            y = inner + x

            def back(g: Array) -> Any:
                return self.meet(name, body(2 * g if self.twice else g), g)
        else:
            raise oracle.Unsupported(spec.type)
        trace.record(0, name, "output", y)

        def recorded(g: Array) -> Array:
            result: Array = back(g)
            trace.record(0, name, "grad_input", result)
            return result

        return y, recorded


def two_blocks() -> Case:
    rng = np.random.default_rng(0)
    sizes = {"inp": (6, 4), "out": (2, 6)} | {
        f"b{k}.body.{n}": s for k in (1, 2) for n, s in (("up", (12, 6)), ("down", (6, 12)))
    }
    params = {
        f"{n}.{own}": rng.standard_normal(s if own == "weight" else s[:1])
        for n, s in sizes.items()
        for own in ("weight", "bias")
    }

    def dense(name: str, full: str) -> Spec:
        outer, inner = sizes[full]
        return Spec("Linear", {"in_features": inner, "out_features": outer}, name)

    def block(k: int) -> Spec:
        body = (dense("up", f"b{k}.body.up"), Spec("Tanh", {}, "act"), dense("down", f"b{k}.body.down"))
        return Spec("Residual", {}, f"b{k}", (Spec("Sequential", {}, "body", body),))

    layers = (dense("inp", "inp"), block(1), block(2), dense("out", "out"))
    return Case(
        "two blocks",
        layers=layers,
        params=params,
        inputs=(rng.standard_normal((5, 4)),),
        grad_outputs=(rng.standard_normal((5, 2)),),
    )
