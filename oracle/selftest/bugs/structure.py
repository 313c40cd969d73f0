"""Bugs between layers: containers, shared layers, dropout masks, and what a harness reports under which name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from oracle.arrays import Array
from oracle.case import Case, Spec
from oracle.selftest.bugs.bug import Bug, in_layer, with_layer
from oracle.selftest.changes import factor, negated, one_element_off, passed_through, slightly_scaled
from oracle.selftest.plant import Implementation, patched, replaced, retold, told
from oracle.suite import named
from oracle.suite.build import layer, network_case
from oracle.trace import Key, Trace


def bugs() -> Iterator[Bug]:
    yield from of_containers()
    yield from of_dropout()
    yield from of_the_wiring()
    yield from of_the_engine()


LINEAR = layer("Linear", 4, 4)
RESIDUAL = Spec("Residual", layers=(replace(LINEAR, name="body"),))
PROJECTED = Spec("Residual", layers=(replace(LINEAR, name="body"), replace(LINEAR, name="shortcut")))
CONCAT = Spec(
    "Concat", layers=(layer("Linear", 4, 3, name="a"), layer("Linear", 4, 2, name="b"), layer("Tanh", name="c"))
)


def container(name: str, spec: Spec, change: Any, quantity: str = "grad_input", layer_at_fault: str = "target") -> Bug:
    return Bug(
        name, with_layer(f"selftest/{name}", spec, (5, 4)), replaced(spec.type, change), layer_at_fault, quantity
    )


def backward_of(change: Any) -> Any:
    """A change of a container's own backward: change(self, input, grad_output, right)."""

    def wrapped(apply: Any) -> Any:
        def wrong(self: Any, input: Array) -> Any:
            output, backward = apply(self, input)
            return output, lambda grad_output: change(self, input, grad_output, backward(grad_output))

        return wrong

    return wrapped


def output_of(change: Any) -> Any:
    def wrapped(apply: Any) -> Any:
        def wrong(self: Any, input: Array) -> Any:
            output, backward = apply(self, input)
            return change(input, output), backward

        return wrong

    return wrapped


def of_containers() -> Iterator[Bug]:
    yield container("Residual: shortcut's gradient lost", RESIDUAL, backward_of(lambda self, x, g, right: right - g))
    yield container("Residual: body's gradient lost", RESIDUAL, backward_of(lambda self, x, g, right: g))
    yield container("Residual: gradients averaged", RESIDUAL, backward_of(lambda self, x, g, right: right / 2))
    yield container("Residual: shortcut subtracted", RESIDUAL, output_of(lambda x, y: y - 2 * x), "output")
    yield container("Residual: shortcut left out", RESIDUAL, output_of(lambda x, y: y - x), "output")
    yield container(
        "Residual: projected shortcut's gradient doubled", PROJECTED, backward_of(lambda self, x, g, right: right * 1.5)
    )
    yield container(
        "Residual: sum slightly scaled", RESIDUAL, output_of(lambda x, y: y * y.dtype.type(1 + 2e-6)), "output"
    )
    yield container(
        "Concat: gradient of the last branch only", CONCAT, backward_of(lambda self, x, g, right: right / 3)
    )
    yield container("Concat: branches' outputs reversed", CONCAT, output_of(lambda x, y: y[:, ::-1]), "output")
    yield container(
        "Concat: a column lost",
        CONCAT,
        output_of(lambda x, y: np.where(np.arange(y.shape[1]) == 3, 0, y).astype(y.dtype)),
        "output",
    )
    yield container(
        "Concat: branches get each other's share", CONCAT, lambda apply: shares_rolled, "grad_output", "target.a"
    )
    skipping = network_case(
        "selftest/Sequential: a layer is skipped backward",
        "",
        [layer("Tanh", name="first"), layer("Sigmoid", name="second"), layer("Tanh", name="third")],
        (4, 3),
    )
    yield Bug(
        "Sequential: a layer is skipped backward",
        skipping,
        replaced("Sequential", skipped_backward),
        "first",
        "grad_output",
    )
    yield Bug(
        "Sequential: layers run backward in forward order",
        skipping,
        replaced("Sequential", forward_order),
        "third",
        "grad_output",
    )
    name = "shared layer: gradients overwritten instead of added"
    yield Bug(name, named("network/shared_layer"), overwriting_gradients(), named_shared(), "grad.weight")


def named_shared() -> str:
    case = named("network/shared_layer")
    return next(spec.same_as for spec in case.layers if spec.same_as)


def of_dropout() -> Iterator[Bug]:
    drop = layer("Dropout", 0.3)
    mask = np.random.default_rng(17).random((5, 8)) > 0.3
    masked = {"masks": {"target": mask}}
    yield in_layer("Dropout: scale lost backward", drop, (5, 8), fields=masked, grad_input=factor(0.7))
    yield in_layer("Dropout: mask lost backward", drop, (5, 8), fields=masked, grad_input=passed_through)
    yield in_layer(
        "Dropout: another mask backward",
        drop,
        (5, 8),
        fields=masked,
        grad_input=lambda g, c: np.where(mask[::-1], c.grad_output / 0.7, 0),
    )
    yield in_layer("Dropout: scaled by p", drop, (5, 8), fields=masked, output=lambda y, c: y * 0.7 / 0.3)
    yield in_layer("Dropout: not scaled", drop, (5, 8), fields=masked, output=factor(0.7))
    yield in_layer(
        "Dropout: still drops in evaluation",
        drop,
        (5, 8),
        fields={"training": False},
        output=lambda y, c: np.where(mask, y, 0),
    )
    yield in_layer(
        "Dropout: slightly wrong in evaluation only",
        drop,
        (5, 8),
        when=lambda c: not c.layer.training,
        fields={"training": False},
        grad_input=slightly_scaled,
    )
    alpha = layer("AlphaDropout", 0.3)
    yield in_layer(
        "AlphaDropout: gain lost backward",
        alpha,
        (5, 8),
        fields=masked,
        grad_input=lambda g, c: np.where(mask, c.grad_output, 0),
    )
    yield in_layer("AlphaDropout: shift lost", alpha, (5, 8), fields=masked, output=lambda y, c: np.where(mask, y, 0))
    for name, wrong in (
        ("keeps a share p", lambda op: lambda shape, p, rng: op(shape, 1 - p, rng)),
        ("drops nothing", lambda op: lambda shape, p, rng: op(shape, 0.0, rng)),
    ):
        full = f"Dropout: {name}"
        case = with_layer(f"selftest/{full}", drop, (40, 50))
        yield Bug(full, case, patched("refbp.dropout:kept", wrong), quantity="mask")
    name = "Dropout2d: drops positions instead of channels"
    case = with_layer(f"selftest/{name}", layer("Dropout2d", 0.5), (4, 5, 6, 6))
    yield Bug(
        name,
        case,
        patched("refbp.dropout:_by_channel", lambda op: lambda input, rank, name: input.shape),
        quantity="mask",
    )


def chain(name: str, steps: int = 2) -> Case:
    rng = np.random.default_rng(23)
    return network_case(
        f"selftest/{name}",
        "a planted bug",
        [layer("Linear", 4, 4, name="first"), layer("Tanh", name="middle"), layer("Linear", 4, 4, name="last")],
        inputs=tuple(rng.standard_normal((5, 4)) for _ in range(steps)),
        loss=Spec("MSELoss"),
        targets=tuple((rng.standard_normal((5, 4)),) for _ in range(steps)),
        optimizer=Spec("SGD", {"lr": 0.1, "momentum": 0.9}),
        steps=steps,
    )


def of_the_wiring() -> Iterator[Bug]:
    """What a harness does wrong: it hands over or reports something else than was computed."""

    def reported(name: str, alter: Any, layer_at_fault: str, quantity: str) -> Bug:
        return Bug(name, chain(name), retold(alter), layer_at_fault, quantity)

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
    yield Bug(name, chain(name), told(lambda case: replace(case, inputs=case.inputs[:1])), "first", "input")
    name = "wiring: samples and targets shuffled apart"
    yield Bug(
        name,
        chain(name),
        told(lambda case: replace(case, targets=tuple((t[::-1],) for (t,) in case.targets))),
        "loss",
        "output",
    )
    name = "wiring: the rate changes between steps"
    yield Bug(
        name,
        chain(name),
        told(lambda case: replace(case, optimizer=Spec("SGD", {"lr": 0.1001, "momentum": 0.9}))),
        "first",
        "param.weight",
    )


def of_the_engine() -> Iterator[Bug]:
    name = "engine: gradients not zeroed"
    yield Bug(name, chain(name), patched("refbp.layer:Layer.zero_grad", zeroed_once), "last", "grad.weight")
    yield in_layer(
        "engine: gradients of the last sample overwrite",
        LINEAR,
        (5, 4),
        weight=lambda g, c: np.outer(c.grad_output[-1], c.input[-1]),
    )
    yield in_layer("engine: backward runs twice", LINEAR, (5, 4), weight=factor(2.0))
    yield in_layer("engine: sign lost", layer("Tanh"), (5, 4), grad_input=negated)
    yield in_layer("engine: one element off deep inside", layer("Tanh"), (5, 4), grad_input=one_element_off)
    name = "engine: evaluation instead of training"
    case = with_layer(f"selftest/{name}", layer("BatchNorm1d", 4), (5, 4))
    yield Bug(name, case, told(lambda case: replace(case, training=False)), quantity="output")


def shares_rolled(self: Any, input: Array) -> Any:
    """Each branch gets the gradient of the next one's columns."""
    outputs, backwards = zip(*(branch.apply(input) for branch in self.children.values()), strict=True)
    joined = np.concatenate(outputs, axis=self.dim)

    def backward(grad_output: Array) -> Array:
        rolled = np.roll(grad_output, 1, axis=1)
        ends = np.cumsum([output.shape[1] for output in outputs])[:-1]
        parts = np.split(rolled, ends, axis=1)
        total: Array = sum(back(part) for back, part in zip(backwards, parts, strict=True))
        return total

    return joined, backward


def skipped_backward(apply: Any) -> Any:
    def wrong(self: Any, input: Array) -> Any:
        x, backwards = input, []
        for child in self.children.values():
            x, backward = child.apply(x)
            backwards.append(backward)

        def backward_all(grad_output: Array) -> Array:
            grad = backwards[2](grad_output)
            backwards[1](grad)
            result: Array = backwards[0](grad)
            return result

        return x, backward_all

    return wrong


def forward_order(apply: Any) -> Any:
    def wrong(self: Any, input: Array) -> Any:
        x, backwards = input, []
        for child in self.children.values():
            x, backward = child.apply(x)
            backwards.append(backward)

        def backward_all(grad_output: Array) -> Array:
            grad = grad_output
            for backward in backwards:
                grad = backward(grad)
            return grad

        return x, backward_all

    return wrong


def overwriting_gradients() -> Implementation:
    def change(apply: Any) -> Any:
        def wrong(self: Any, input: Array) -> Any:
            output, backward = apply(self, input)

            def wrong_backward(grad_output: Array) -> Array:
                self.zero_grad()
                result: Array = backward(grad_output)
                return result

            return output, wrong_backward

        return wrong

    return replaced("Linear", change)


def zeroed_once(op: Any) -> Any:
    """When a network is loaded, and before its first step; not before the next."""

    def wrong(self: Any) -> None:
        times = self.__dict__.setdefault("_times_zeroed", 0)
        self.__dict__["_times_zeroed"] = times + 1
        if times < 2:
            op(self)

    return wrong
