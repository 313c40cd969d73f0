"""Subjects of one layer with a state or random numbers: batch norm with running statistics, dropout with its mask."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import oracle
from oracle.case.arrays import Array
from oracle.case.case import Case
from oracle.selftest.corpus.plain import all_but, normalized, per_channel
from oracle.trace import Trace

STATISTICS = ("running_mean", "running_var")


class Norm:
    """Batch norm in training, which shows its output and its running statistics.

    updated: takes (running statistic, the batch's, factor, momentum) and returns the new one. The factor is n / (n - 1)
        for the variance, and 1 for the mean.
    """

    profile = oracle.Profile(quantities=("output", "buffer.running_mean", "buffer.running_var"))

    def __init__(self, name: str, updated: Callable[[Array, Array, float, float], Any]) -> None:
        self.name, self.updated = name, updated

    def run(self, case: Case) -> Trace:
        spec = case.layers[0]
        momentum = spec.options.get("momentum", 0.1)
        if len(case.layers) > 1 or not case.training or momentum is None or "0.running_var" not in case.params:
            raise oracle.Unsupported("one batch norm in training, with a momentum")
        trace, running = Trace(), {name: case.params[f"0.{name}"] for name in STATISTICS}
        for step in range(case.steps):
            x = case.inputs[step % len(case.inputs)]
            axes = all_but(1, x.ndim)
            y, _ = normalized(x, axes, spec.options.get("eps", 1e-5))
            if "0.weight" in case.params:
                y = y * per_channel(case.params["0.weight"], x.ndim) + per_channel(case.params["0.bias"], x.ndim)
            trace.record(step, "0", "output", y)
            n = x.size // x.shape[1]
            for name, batch, factor in zip(STATISTICS, (x.mean(axes), x.var(axes)), (1, n / (n - 1)), strict=True):
                running[name] = np.asarray(self.updated(running[name], batch, factor, momentum), case.dtype)
                trace.record(step, "0", f"buffer.{name}", running[name])
        return trace


class Dropout:
    """Dropout in training; drop(x, mask, p) returns the output and its backward."""

    profile = oracle.Profile(quantities=("output", "grad_input", "mask"))

    def __init__(
        self, name: str, drop: Callable[[Array, Array, float], tuple[Array, Callable[[Array], Array]]]
    ) -> None:
        self.name, self.drop = name, drop

    def run(self, case: Case) -> Trace:
        x, trace = case.inputs[0], Trace()
        p = case.layers[0].options.get("p", 0.5)
        if len(case.layers) > 1 or not case.training or case.layers[0].type != "Dropout":
            raise oracle.Unsupported("one dropout in training")
        keep = case.masks.get("0", np.random.default_rng(0).uniform(size=x.shape) >= p)
        y, backward = self.drop(x, keep, p)
        trace.record(0, "0", "mask", keep)
        trace.record(0, "0", "output", np.asarray(y, case.dtype))
        trace.record(0, "0", "grad_input", np.asarray(backward(case.grad_outputs[0]), case.dtype))
        return trace
