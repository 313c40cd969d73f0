"""Bugs between layers: in containers, in a layer that a network uses twice, and in accumulated gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from oracle.case.arrays import Array
from oracle.case.case import Case, Spec
from oracle.selftest.bugs.bug import Bug, with_layer
from oracle.selftest.plant import Call, Change, Implementation, changed, replaced
from oracle.suite import named
from oracle.suite.build import layer, network_case

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
    """Changes a container's backward: change(self, input, grad_output, right grad_input) -> wrong grad_input."""

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


def bugs() -> Iterator[Bug]:
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
        replaced("Sequential", backward_by(without_the_second)),
        "first",
        "grad_output",
    )
    yield Bug(
        "Sequential: layers run backward in forward order",
        skipping,
        replaced("Sequential", backward_by(in_forward_order)),
        "third",
        "grad_output",
    )
    name = "shared layer: gradients overwritten instead of added"
    yield Bug(name, named("network/shared_layer"), overwriting_gradients(), named_shared(), "grad.weight")
    name = "tied autoencoder: the decoder's share is overwritten"
    yield Bug(name, named("network/tied_autoencoder,transposed"), overwriting_gradients(), "encoder", "grad.weight")
    name = "accumulation: the batch before is overwritten"
    yield Bug(name, named("network/accumulated"), overwriting_gradients(), "2", "grad.weight")
    name = "accumulation: divided by the number of batches"
    case = named("network/accumulated")
    yield Bug(name, case, changed("Linear", weight=halved_at_the_end(case)), "2", "grad.weight")


def named_shared() -> str:
    case = named("network/shared_layer")
    return next(spec.same_as for spec in case.layers if spec.same_as)


def halved_at_the_end(case: Case) -> Change:
    """The accumulated gradient is divided by the number of batches before the update."""
    every = case.update_every

    def change(grad: Array, call: Call) -> Array:
        if (call.number + 1) % every:
            return grad
        total: Array = call.layer.grads["weight"]
        wrong: Array = total / every - (total - grad)
        return wrong

    return change


def shares_rolled(self: Any, input: Array) -> Any:
    """The upstream gradient is shifted by one column, so each branch gets one column of its neighbour's."""
    outputs, backwards = zip(*(branch.apply(input) for branch in self.children.values()), strict=True)
    joined = np.concatenate(outputs, axis=self.dim)

    def backward(grad_output: Array) -> Array:
        rolled = np.roll(grad_output, 1, axis=1)
        ends = np.cumsum([output.shape[1] for output in outputs])[:-1]
        parts = np.split(rolled, ends, axis=1)
        total: Array = sum(back(part) for back, part in zip(backwards, parts, strict=True))
        return total

    return joined, backward


def backward_by(order: Callable[[list[Any], Array], Array]) -> Any:
    """Changes a Sequential: order(backwards of its layers, grad_output) -> wrong grad_input."""

    def wrapped(apply: Any) -> Any:
        def wrong(self: Any, input: Array) -> Any:
            x, backwards = input, []
            for child in self.children.values():
                x, backward = child.apply(x)
                backwards.append(backward)
            return x, lambda grad_output: order(backwards, grad_output)

        return wrong

    return wrapped


def without_the_second(backwards: list[Any], grad_output: Array) -> Array:
    grad = backwards[2](grad_output)
    backwards[1](grad)
    result: Array = backwards[0](grad)
    return result


def in_forward_order(backwards: list[Any], grad_output: Array) -> Array:
    grad = grad_output
    for backward in backwards:
        grad = backward(grad)
    return grad


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
