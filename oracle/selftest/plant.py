"""Makes wrong implementations, and other right ones, from refbp by changing one kind of layer, loss or update rule.

A change holds while the subject runs and is undone before the judging, so the judge's own refbp never contains it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

import refbp
from oracle.case.arrays import Array
from oracle.case.case import Case, Spec
from oracle.subjects import refbp as honest
from oracle.trace import Trace
from refbp.layer import Layer

Implementation: TypeAlias = Callable[[Case], Trace]


@dataclass
class Call:
    """One call of a layer or loss, as a change sees it.

    Attributes:
        layer: the refbp object, with its params, buffers and mode.
        input: the input of the forward pass.
        output: the right output.
        backward: the right backward.
        number: 0 for this object's first call.
        arguments: a loss's further arguments.
        grad_output: the upstream gradient; set in the backward pass.
    """

    layer: Any
    input: Array
    output: Array
    backward: Callable[..., Any]
    number: int
    arguments: tuple[Array, ...] = ()
    grad_output: Any = None

    @property
    def subtle(self) -> float:
        """A relative error that ordinary tolerances overlook: 1e-3 in float32, 1e-9 in float64."""
        return 1e-9 if self.input.dtype == np.float64 else 1e-3

    @property
    def weight(self) -> Array:
        weight: Array = self.layer.params["weight"]
        return weight

    def rerun(self, grad_output: Any) -> Array:
        """The right input gradient for another upstream gradient. The layer's own gradients stay unchanged."""
        kept = dict(getattr(self.layer, "_grads", {}))
        grads = self.backward(grad_output)
        if kept:
            self.layer._grads.update(kept)
        return grads[0] if isinstance(grads, tuple) else grads  # type: ignore[no-any-return]


Change: TypeAlias = Callable[[Array, Call], Array]
When: TypeAlias = Callable[[Call], bool]


def always(call: Call) -> bool:
    return True


@contextmanager
def attribute(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Replaces an attribute, and restores it at the end."""
    own = vars(owner).get(name, attribute)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if own is attribute:
            delattr(owner, name)
        else:
            setattr(owner, name, own)


def patched(path: str, change: Callable[[Any], Any]) -> Implementation:
    """refbp with the function at "module:name" or "module:Class.name" replaced by change(function)."""
    module, _, dotted = path.partition(":")
    owner: Any = importlib.import_module(module)
    *outer, name = dotted.split(".")
    for part in outer:
        owner = getattr(owner, part)
    wrong = change(getattr(owner, name))
    replacement = staticmethod(wrong) if isinstance(vars(owner).get(name), staticmethod) else wrong

    def run(case: Case) -> Trace:
        with attribute(owner, name, replacement):
            return honest.run(case)

    return run


def changed(
    type: str,
    output: Change | None = None,
    grad_input: Change | None = None,
    when: When = always,
    **grads: Change,
) -> Implementation:
    """refbp with a layer type or loss whose results are changed.

    output, grad_input: the changes of these results.
    when: decides at each call, in the forward and in the backward pass, whether the changes apply.
    grads: changes of the gradients, by the name of the parameter or of the loss's argument.
    """
    of_loss = issubclass(getattr(refbp, type), refbp.Loss)
    return replaced(
        type,
        _changed_loss(output, grad_input, when, grads) if of_loss else _changed_layer(output, grad_input, when, grads),
    )


def _changed_layer(
    output: Change | None, grad_input: Change | None, when: When, grads: Mapping[str, Change]
) -> Callable[[Any], Any]:
    def change(apply: Any) -> Any:
        def wrong(self: Layer, input: Array) -> Any:
            made, backward = apply(self, input)
            call = _call(self, input, made, backward)
            if output is not None and when(call):
                made = fitting(output(made, call), made)

            def wrong_backward(grad_output: Array) -> Array:
                before = dict(self._grads)
                result: Array = backward(grad_output)
                call.grad_output = grad_output
                if not when(call):
                    return result
                for name, change in grads.items():
                    own = self._grads[name] - before[name]
                    wrong = change(own, call).astype(own.dtype)
                    self._grads[name] = before[name] + wrong if wrong.shape == own.shape else wrong
                return result if grad_input is None else fitting(grad_input(result, call), result)

            return made, wrong_backward

        return wrong

    return change


def _changed_loss(
    output: Change | None, grad_input: Change | None, when: When, grads: Mapping[str, Change]
) -> Callable[[Any], Any]:
    def change(apply: Any) -> Any:
        def wrong(self: Any, input: Array, *arguments: Array) -> Any:
            made, backward = apply(self, input, *arguments)
            call = _call(self, input, made, backward, arguments)
            if output is not None and when(call):
                made = fitting(output(made, call), made)

            def wrong_backward(grad_output: Any = 1.0) -> tuple[Any, ...]:
                first, *others = backward(grad_output)
                call.grad_output = grad_output
                if when(call):
                    if grad_input is not None:
                        first = fitting(grad_input(first, call), first)
                    if "target" in grads:
                        others[0] = fitting(grads["target"](others[0], call), others[0])
                return (first, *others)

            return made, wrong_backward

        return wrong

    return change


def _call(owner: Any, input: Array, output: Array, backward: Any, arguments: tuple[Array, ...] = ()) -> Call:
    number = owner.__dict__.get("_calls", 0)
    owner.__dict__["_calls"] = number + 1
    return Call(owner, input, output, backward, number, arguments)


def fitting(wrong: Any, right: Array) -> Array:
    """The wrong value in the dtype of the right one, because a bug may compute in any dtype."""
    return np.asarray(wrong).astype(right.dtype)


def replaced(type: str, change: Callable[[Any], Any]) -> Implementation:
    """refbp with the `apply` of a layer type or loss replaced."""
    owner = getattr(refbp, type)

    def run(case: Case) -> Trace:
        with attribute(owner, "apply", change(owner.apply)):
            return honest.run(case)

    return run


def altered_case(alter: Callable[[Case], Case]) -> Implementation:
    """refbp running another case than it was given, as with an ignored option or a mixed-up batch."""
    return lambda case: honest.run(alter(case))


def altered_trace(alter: Callable[[Trace], None]) -> Implementation:
    """refbp with a trace that is altered afterwards, as by a bug in the harness."""

    def run(case: Case) -> Trace:
        trace = honest.run(case)
        alter(trace)
        return trace

    return run


def twin(call: Call, options: Mapping[str, Any]) -> tuple[Array, Callable[..., Any], Any]:
    """The same layer or loss with other options, run on the same input: its output, its backward, and the object."""
    kind = type(call.layer)
    if not issubclass(kind, Layer):
        weights = {n: np.asarray(v, call.input.dtype) if isinstance(v, tuple) else v for n, v in options.items()}
        loss = kind(**weights)
        return *kind.op(loss, call.input, *call.arguments), loss
    layer = kind(**options)
    layer.train(call.layer.training)
    for name in layer.params.keys() & call.layer.params.keys():
        layer.params[name] = call.layer.params[name]
    layer.imposed_mask = getattr(call.layer, "mask", None)  # type: ignore[attr-defined]
    layer.zero_grad()
    output, backward = Layer.apply(layer, call.input) if not layer.children else layer.apply(call.input)
    return output, backward, layer


def ignoring(spec: Spec, quantity: str = "grad_input", **options: Any) -> Implementation:
    """refbp whose backward uses other options than the layer was given; with quantity "output", its forward does."""
    wrong = {**spec.options, **options}

    def change(right: Array, call: Call) -> Array:
        output, backward, layer = twin(call, wrong)
        if quantity == "output":
            return output
        grads = backward(call.grad_output)
        if quantity == "grad_input":
            first: Array = grads[0] if isinstance(grads, tuple) else grads
            return first
        own: Array = layer.grads[quantity.removeprefix("grad.")]
        return own

    where = quantity if quantity in ("output", "grad_input") else quantity.removeprefix("grad.")
    return changed(spec.type, **{where: change})  # type: ignore[arg-type]
