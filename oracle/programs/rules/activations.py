"""Activations, from refbp.functional where it has them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from oracle.programs.adjoint import summed_to
from oracle.programs.table import NoRule, rule
from refbp import functional


def _activation(name: str, function: Callable[..., Any]) -> None:
    """A rule that is an op of refbp, whose arguments are those of ATen."""

    def of_refbp(input: Any, *options: Any, **named: Any) -> Any:
        return function(input, *options, **named)

    of_refbp.__doc__ = f"`refbp.functional.{function.__name__}`."
    of_refbp.__module__ = __name__
    rule(name)(of_refbp)


for _name in (
    "relu",
    "relu6",
    "silu",
    "sigmoid",
    "tanh",
    "hardtanh",
    "hardsigmoid",
    "hardswish",
    "leaky_relu",
    "mish",
    "softplus",
):
    _activation(_name, getattr(functional, _name))
for _name in ("hardshrink", "softshrink", "threshold", "glu", "celu", "selu"):
    _activation(_name, getattr(functional, _name))


@rule("gelu")
def gelu(input: Any, approximate: str = "none") -> Any:
    """`refbp.functional.gelu`."""
    return functional.gelu(input, approximate)


@rule("elu")
def elu(input: Any, alpha: Any = 1.0, scale: Any = 1.0, input_scale: Any = 1.0) -> Any:
    """`refbp.functional.elu`; scaled: s x above 0, s α (e^(t x) - 1) below; s g, and s α t e^(t x) g."""
    if scale == 1 and input_scale == 1:
        return functional.elu(input, float(alpha))
    positive, inner = input > 0, input * float(input_scale)
    below = np.expm1(np.where(positive, 0.0, inner)) * float(alpha * scale)

    def backward(g: Any) -> Any:
        slope = np.exp(np.where(positive, 0.0, inner)) * float(alpha * scale * input_scale)
        return (np.where(positive, g * float(scale), g * slope),)

    return np.where(positive, input * float(scale), below), backward


@rule("_prelu_kernel", "prelu")
def prelu(input: Any, weight: Any) -> Any:
    """x above 0, w x elsewhere; g or w g, and Σ x g over where x is not above 0."""
    positive = input > 0
    return np.where(positive, input, input * weight), lambda g: (
        np.where(positive, g, g * weight),
        summed_to(np.where(positive, 0.0, g * input), weight),
    )


@rule("log_sigmoid_forward")
def log_sigmoid(input: Any) -> Any:
    """`refbp.functional.logsigmoid`."""
    y, back = functional.logsigmoid(input)
    return (y, None), lambda g, _: (back(g),)


@rule("_softmax", "_safe_softmax", "softmax")
def softmax(input: Any, dim: int, half_to_float: Any = False, dtype: Any = None) -> Any:
    """`refbp.functional.softmax`."""
    return functional.softmax(input, dim)


@rule("_log_softmax", "log_softmax")
def log_softmax(input: Any, dim: int, half_to_float: Any = False) -> Any:
    """`refbp.functional.log_softmax`."""
    return functional.log_softmax(input, dim)


@rule("rrelu_with_noise")
def rrelu(
    input: Any, noise: Any, lower: Any = 0.125, upper: Any = 1 / 3, training: bool = False, generator: Any = None
) -> Any:
    """x above 0, r x elsewhere, with the slope r that was drawn, in evaluation the mean of its limits; g or r g."""
    if training:
        raise NoRule("there is no rule for rrelu that draws its slopes")
    return functional.leaky_relu(input, float(lower + upper) / 2)
