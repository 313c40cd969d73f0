"""The zeros around the input of a convolution: some kernels multiply with them, and others leave them out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np

from oracle.case.case import Spec
from oracle.execution.network import LAYERS
from oracle.running_error import ErrorArray
from oracle.running_error.infinities import left_open
from oracle.running_error.model import Floats

# The weight's gradient of a convolution, from its input and the gradient of its output.
WeightGradient: TypeAlias = Callable[[Floats, Floats], Floats]


def open_at_padding(
    found: ErrorArray, x: ErrorArray, delta: ErrorArray, rank: int, transposed: bool, of: WeightGradient
) -> ErrorArray:
    """The weight's gradient, open where an infinity or NaN meets a zero of the padding.

    Their product is NaN. A kernel that reads only what is inside the input has the sum of the other terms instead.
    """
    around, inside = (delta, x) if transposed else (x, delta)  # padded, and read as a whole
    if np.isfinite(inside.value.sum()):
        return found
    unknown = (~np.isfinite(inside.value)).astype(np.float64)
    channel = inside.ndim - rank - 1
    every = unknown.sum(tuple(axis for axis in range(inside.ndim) if axis != channel))
    ones = np.ones(around.shape)
    met = of(unknown, ones) if transposed else of(ones, unknown)
    return left_open(found, met < every.reshape(-1, *(1,) * (met.ndim - 1)))


def of_layer(quantity: str, found: Any, spec: Spec, known: Mapping[str, Any]) -> Any:
    """A quantity of any layer; the weight's gradient of a convolution is left open like that.

    known: the layer's input and upstream gradient, by name. The latter is missing at the first use of a layer that is used twice.
    """
    if quantity != "grad.weight" or not spec.type.startswith("Conv") or "grad_output" not in known:
        return found
    layer = LAYERS[spec.type](**spec.options)

    def weight_gradient(x: Floats, delta: Floats) -> Floats:
        _, backward = layer.apply(x)
        backward(delta)
        made: Floats = layer.grads["weight"]
        return made

    rank, transposed = int(spec.type[-2]), spec.type.startswith("ConvTranspose")
    return open_at_padding(found, known["input"], known["grad_output"], rank, transposed, weight_gradient)
