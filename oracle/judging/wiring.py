"""The connections between layers: exact copies, and the sums and concatenations that containers compute."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from oracle.case.arrays import Array
from oracle.case.case import Case, Spec, at_step
from oracle.running_error import ErrorArray, ErrorModel
from oracle.trace import Trace

Computed: TypeAlias = Callable[[ErrorModel], ErrorArray]


class Connection(NamedTuple):
    """A quantity of a layer that its neighbours determine.

    Attributes:
        expected: computes its value.
        sources: the arrays from which it is computed; empty if it is passed on unchanged.
        copied: the array that is passed on unchanged; None if it is computed.
    """

    layer: str
    quantity: str
    expected: Computed
    sources: tuple[Array, ...] = ()
    copied: Array | None = None

    def value(self, dtype: np.dtype[Any]) -> Array:
        """Its value in the case's dtype, or in the dtype in which it was passed on."""
        if self.copied is not None and self.copied.dtype.kind not in "biu":
            return self.copied
        return np.asarray(self.expected(ErrorModel(dtype)).value.astype(dtype))


def completed(case: Case, trace: Trace) -> Trace:
    """The trace, completed with quantities that follow from their neighbours: copies and concatenations.

    So an implementation that shows only the outputs of its layers and their gradients is judged layer by layer.
    """
    result = Trace(dict(trace.arrays))
    dtype = np.dtype(case.dtype)
    for step in range(case.steps):
        while True:
            before = len(result)
            for wire in connections(case, result, step):
                if result.get(step, wire.layer, wire.quantity) is None:
                    result.record(step, wire.layer, wire.quantity, wire.value(dtype))
            if len(result) == before:
                break
    return result


def connections(case: Case, trace: Trace, step: int) -> Iterator[Connection]:
    """Every connection whose ends are in the trace or in the case. Each is judged like a layer, on the subject's own values."""
    wires = _Wires(trace, step)
    given = at_step(case.inputs, step) if case.inputs else None
    if case.layers:
        if case.loss is not None:
            end = trace.get(step, "loss", "grad_input")
        else:
            end = at_step(case.grad_outputs, step) if case.grad_outputs else None
        yield from wires.sequence(case.layers, "", given, end)
        given = wires.get(case.layers[-1].name or str(len(case.layers) - 1), "output")
    if case.loss is not None:
        yield from wires.copied("loss", "input", given)
    for name, grad in (at_step(case.grads, step) if case.grads else {}).items():
        layer, _, short = name.rpartition(".")
        yield from wires.copied(layer, f"grad.{short}", grad)


class _Wires:
    def __init__(self, trace: Trace, step: int) -> None:
        self.trace, self.step = trace, step

    def get(self, layer: str, quantity: str) -> Array | None:
        return self.trace.get(self.step, layer, quantity)

    def copied(self, layer: str, quantity: str, source: Array | None) -> Iterator[Connection]:
        if source is not None:
            yield Connection(layer, quantity, lambda model: ErrorArray.exact(source, model), copied=source)

    def computed(
        self, layer: str, quantity: str, sources: list[Array | None], rule: Callable[[list[Any]], Any]
    ) -> Iterator[Connection]:
        shown = [source for source in sources if source is not None]
        if len(shown) == len(sources):
            yield Connection(
                layer, quantity, lambda model: rule([ErrorArray.exact(source, model) for source in shown]), tuple(shown)
            )

    def sequence(
        self, specs: tuple[Spec, ...], prefix: str, start: Array | None, end: Array | None
    ) -> Iterator[Connection]:
        names = [f"{prefix}{spec.name or index}" for index, spec in enumerate(specs)]
        for place, (name, spec) in enumerate(zip(names, specs, strict=True)):
            given = start if place == 0 else self.get(names[place - 1], "output")
            upstream = end if place == len(names) - 1 else self.get(names[place + 1], "grad_input")
            yield from self.copied(name, "input", given)
            yield from self.copied(name, "grad_output", upstream)
            yield from self.inside(spec, name)

    def inside(self, spec: Spec, name: str) -> Iterator[Connection]:
        """The connections inside a container."""
        given, upstream = self.get(name, "input"), self.get(name, "grad_output")
        children = [f"{name}.{child.name or index}" for index, child in enumerate(spec.layers)]
        outputs = [self.get(child, "output") for child in children]
        grads = [self.get(child, "grad_input") for child in children]
        if spec.type == "Sequential" and spec.layers:
            yield from self.sequence(spec.layers, f"{name}.", given, upstream)
            yield from self.copied(name, "output", outputs[-1])
            yield from self.copied(name, "grad_input", grads[0])
        elif spec.type == "Residual":
            for child in spec.layers:
                yield from self.sequence((child,), f"{name}.", given, upstream)
            identity = len(children) == 1
            yield from self.computed(name, "output", [*outputs, given] if identity else outputs, lambda x: x[0] + x[1])
            yield from self.computed(
                name, "grad_input", [*grads, upstream] if identity else grads, lambda x: x[0] + x[1]
            )
        elif spec.type == "Concat":
            dim = int(spec.options.get("dim", 1))
            shares: list[Array | None] = [None] * len(children)
            shown = [output for output in outputs if output is not None]
            if upstream is not None and len(shown) == len(outputs):
                ends = np.cumsum([output.shape[dim] for output in shown])[:-1]
                shares = list(np.split(upstream, ends, axis=dim))
            for child, child_name, share in zip(spec.layers, children, shares, strict=True):
                yield from self.copied(child_name, "input", given)
                yield from self.copied(child_name, "grad_output", share)
                yield from self.inside(child, child_name)
            yield from self.computed(name, "output", outputs, lambda x: np.concatenate(x, axis=dim))
            yield from self.computed(name, "grad_input", grads, lambda x: np.sum(np.stack(x), axis=0))
