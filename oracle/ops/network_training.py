"""One forward and backward pass of a user's layers, with what each of them receives and returns."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from oracle.case.arrays import Array
from oracle.judging.rows import CRASHED, LOCAL, Row
from oracle.ops.held_arrays import NOWHERE, at, put, remove
from oracle.wording.errors import in_a_line

CASE = "network"


@dataclass
class LayerPass:
    """A layer, or the loss, in a step: its inputs and results.

    Attributes:
        before: a copy of the object from before the step.
        made: its results, by quantity.
    """

    name: str
    layer: Any
    before: Any
    input: Array
    target: Any = None
    output: Array | None = None
    upstream: Array | None = None
    made: dict[str, Any] = field(default_factory=dict)


class NetworkPass:
    """One forward and backward pass, with the inputs and results of each part."""

    def __init__(
        self, layers: Mapping[str, Any], x: Array, target: Any, loss: Any, names: Mapping[str, str] | None
    ) -> None:
        """`names`: the places of parameters and of their gradients; None if the user did not say."""
        self.names, self.asks, self.dtype = names or {}, names is None, x.dtype.name
        self.parts: list[LayerPass] = []
        self.crash: Row | None = None
        self.random = np.random.get_state()
        try:
            self._run(layers, x, target, loss)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a finding about the layer, even if it would end the process
            at = self.at
            kind = type(self.layers[at]).__name__ if at in self.layers else ""
            self.crash = Row(CASE, self.dtype, 0, at, kind, "", LOCAL, CRASHED, in_a_line(error))

    def _run(self, layers: Mapping[str, Any], x: Array, target: Any, loss: Any) -> None:
        self.layers = {name: copy.deepcopy(own) for name, own in layers.items()}
        for name, own in self.layers.items():
            self.at, part = name, LayerPass(name, own, copy.deepcopy(own), x.copy())
            part.output = x = np.array(_one_array(own.forward(x), "forward(x)"))
            self.parts.append(part)
        if loss is not None:
            self.at, own = "loss", copy.deepcopy(loss)
            self.layers["loss"] = own
            part = LayerPass("loss", own, copy.deepcopy(own), x.copy(), target)
            part.output = np.array(_one_array(own.forward(x, target), "forward(y, target)"))
            self.parts.append(part)
            part.upstream = np.ones(part.output.shape, part.output.dtype)
            part.made["grad_input"] = _one_array(own.backward(), "backward()")
            grad = part.made["grad_input"]
        else:
            grad = np.random.default_rng(0).standard_normal(x.shape).astype(x.dtype)
        for part in reversed(self.parts[: len(layers)]):
            self.at = part.name
            if grad is None:
                return
            part.upstream = np.array(grad)
            grad = part.layer.backward(np.array(grad))
            grad = part.made["grad_input"] = _one_array(grad, "backward(grad_output)")
            for name in self.parameters(part.layer):
                part.made[f"grad.{name}"] = self.gradient(part.layer, name)

    def parameters(self, layer: Any) -> dict[str, Array]:
        found = {name: own for name, own in getattr(layer, "params", {}).items() if isinstance(own, np.ndarray)}
        by_name = {name: at(layer, name) for name in self.names}
        return {**found, **{name: own for name, own in by_name.items() if isinstance(own, np.ndarray)}}

    def has(self, name: str) -> bool:
        """Whether some layer has an attribute of this name after the step."""
        return any(at(own, name) is not NOWHERE for own in self.layers.values())

    def gradient(self, layer: Any, name: str) -> Any:
        if name in self.names and at(layer, self.names[name]) is not NOWHERE:
            return at(layer, self.names[name])
        return getattr(layer, "grads", {}).get(name)

    def put(self, layer: Any, name: str, value: Any) -> None:
        """Set a parameter of a layer, in its dict or as its attribute."""
        if name in getattr(layer, "params", {}):
            layer.params[name] = value
        else:
            put(layer, name, value)


def reset_gradients(used: Any, original: Any, names: Mapping[str, str]) -> None:
    """Give a layer that was called the gradients that it had before, since it may add to them. Arrays stay the same objects."""
    if callable(getattr(used, "zero_grad", None)):
        used.zero_grad()
    grads, before = getattr(used, "grads", {}), getattr(original, "grads", {})
    for name in list(grads):
        if name in before:
            grads[name] = _restored(grads[name], before[name])
        else:
            del grads[name]
    for name in names.values():
        now, before = at(used, name), at(original, name)
        if before is not NOWHERE:
            put(used, name, _restored(now, before))
        elif now is not NOWHERE:
            remove(used, name)


def _restored(now: Any, before: Any) -> Any:
    if isinstance(now, np.ndarray) and isinstance(before, np.ndarray) and now.shape == before.shape:
        now[...] = before
        return now
    return copy.deepcopy(before)


def _one_array(value: Any, call: str) -> Any:
    """A result that has to be one array. Raises: TypeError for a tuple of arrays or other objects."""
    if isinstance(value, tuple) and not all(isinstance(own, (int, float, np.generic)) for own in value):
        more = "; gradients of parameters belong into the layer's `grads`" if call.startswith("backward") else ""
        raise TypeError(f"{call} returns a tuple of {len(value)}, expected one array{more}")
    if np.asarray(value).dtype == object and not (value is None and call.startswith("backward")):
        said = "None" if value is None else type(value).__name__
        raise TypeError(f"{call} returns {said}, expected an array")
    return value
