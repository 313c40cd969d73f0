"""Bugs around the layers: in the results that a harness reports, and in the way an engine runs the layers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from oracle.case.case import Case, Spec
from oracle.selftest.bugs.bug import Bug, in_layer, with_layer
from oracle.selftest.changes import factor, negated, one_element_off
from oracle.selftest.plant import altered_case, altered_trace, patched
from oracle.suite.build import layer, network_case
from oracle.trace import Key, Trace


def bugs() -> Iterator[Bug]:
    yield from of_the_wiring()
    yield from of_the_engine()


def chain(name: str) -> Case:
    """Two linear layers with a tanh between them, for two steps."""
    rng = np.random.default_rng(23)
    return network_case(
        f"selftest/{name}",
        "a planted bug",
        [layer("Linear", 4, 4, name="first"), layer("Tanh", name="middle"), layer("Linear", 4, 4, name="last")],
        inputs=tuple(rng.standard_normal((5, 4)) for _ in range(2)),
        loss=Spec("MSELoss"),
        targets=tuple((rng.standard_normal((5, 4)),) for _ in range(2)),
        optimizer=Spec("SGD", {"lr": 0.1, "momentum": 0.9}),
        steps=2,
    )


def of_the_wiring() -> Iterator[Bug]:
    """Bugs of a harness: it passes on or reports other values than were computed."""

    def reported(name: str, alter: Any, layer_at_fault: str, quantity: str) -> Bug:
        return Bug(name, chain(name), altered_trace(alter), layer_at_fault, quantity)

    def swap(trace: Trace, first: Key, second: Key) -> None:
        trace.arrays[first], trace.arrays[second] = trace.arrays[second], trace.arrays[first]

    def edit(key: Key, change: Any) -> Any:
        return lambda trace: trace.record(*key, change(trace.arrays[key]))

    yield reported(
        "wiring: gradients of weights exchanged between layers",
        lambda t: swap(t, Key(0, "first", "grad.weight"), Key(0, "last", "grad.weight")),
        "last",
        "grad.weight",
    )
    yield reported(
        "wiring: parameter reported before the step",
        lambda t: t.record(1, "first", "param.weight", t.arrays[Key(0, "first", "param.weight")]),
        "first",
        "param.weight",
    )
    yield reported(
        "wiring: upstream gradient doubled on the way",
        edit(Key(0, "middle", "grad_output"), lambda g: 2 * g),
        "middle",
        "grad_output",
    )
    yield reported(
        "wiring: upstream gradient off by one unit in the last place",
        edit(Key(0, "first", "grad_output"), lambda g: np.nextafter(g, g.dtype.type(9))),
        "first",
        "grad_output",
    )
    yield reported(
        "wiring: output reported in another precision",
        edit(Key(0, "middle", "output"), lambda y: y.astype(np.float16)),
        "middle",
        "output",
    )
    yield reported(
        "wiring: output reported transposed", edit(Key(0, "last", "output"), lambda y: y.T), "last", "output"
    )
    yield reported(
        "wiring: a gradient is never written",
        edit(Key(1, "first", "grad.weight"), lambda g: g * np.nan),
        "first",
        "grad.weight",
    )
    yield reported(
        "wiring: a gradient is not delivered",
        lambda t: t.arrays.pop(Key(0, "first", "grad.bias")),
        "first",
        "grad.bias",
    )
    yield reported(
        "wiring: momentum of the step before",
        lambda t: t.record(1, "last", "momentum.weight", t.arrays[Key(0, "last", "momentum.weight")]),
        "last",
        "momentum.weight",
    )
    yield reported(
        "wiring: loss reported as its sum", edit(Key(0, "loss", "output"), lambda v: v * 20), "loss", "output"
    )
    yield reported(
        "wiring: input gradient in place of the upstream",
        lambda t: swap(t, Key(0, "middle", "grad_input"), Key(0, "middle", "grad_output")),
        "middle",
        "grad_output",
    )
    name = "wiring: the first batch is used in every step"
    yield Bug(name, chain(name), altered_case(lambda case: replace(case, inputs=case.inputs[:1])), "first", "input")
    name = "wiring: samples and targets shuffled apart"
    yield Bug(
        name,
        chain(name),
        altered_case(lambda case: replace(case, targets=tuple((t[::-1],) for (t,) in case.targets))),
        "loss",
        "output",
    )
    name = "wiring: the rate changes between steps"
    yield Bug(
        name,
        chain(name),
        altered_case(lambda case: replace(case, optimizer=Spec("SGD", {"lr": 0.1001, "momentum": 0.9}))),
        "first",
        "param.weight",
    )


def of_the_engine() -> Iterator[Bug]:
    linear = layer("Linear", 4, 4)
    name = "engine: gradients not zeroed"
    yield Bug(name, chain(name), patched("refbp.layer:Layer.zero_grad", zeroed_once), "last", "grad.weight")
    yield in_layer(
        "engine: gradients of the last sample overwrite",
        linear,
        (5, 4),
        weight=lambda g, c: np.outer(c.grad_output[-1], c.input[-1]),
    )
    yield in_layer("engine: backward runs twice", linear, (5, 4), weight=factor(2.0))
    yield in_layer("engine: sign lost", layer("Tanh"), (5, 4), grad_input=negated)
    yield in_layer("engine: one element off deep inside", layer("Tanh"), (5, 4), grad_input=one_element_off)
    name = "engine: evaluation instead of training"
    case = with_layer(f"selftest/{name}", layer("BatchNorm1d", 4), (5, 4))
    yield Bug(name, case, altered_case(lambda case: replace(case, training=False)), quantity="output")


def zeroed_once(op: Any) -> Any:
    """Only the first two calls clear the gradients: when the network is loaded, and before its first step."""

    def wrong(self: Any) -> None:
        times = self.__dict__.setdefault("_times_zeroed", 0)
        self.__dict__["_times_zeroed"] = times + 1
        if times < 2:
            op(self)

    return wrong
