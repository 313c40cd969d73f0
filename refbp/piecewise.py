"""Piecewise linear and quadratic activations. At a kink the derivative is the one-sided derivative that torch takes.

For NaN and infinities output and gradient are torch's.
"""

from __future__ import annotations

from typing import Any, Unpack

import numpy as np

from refbp.activations import Activation, InplaceActivation
from refbp.arrays import Array, Backward
from refbp.blocks import in_blocks
from refbp.docstring import documented_by
from refbp.layer import LayerOptions
from refbp.special import masked, where


def piecewise(passes: Any, inside: Array, outside: Any) -> tuple[Array, Backward]:
    """f(z) = `inside` with slope 1 where the mask `passes` holds, else `outside` with slope 0, which gives exact zeros.

    NaN stays NaN; its slope follows the mask.
    """
    output = where(passes | np.isnan(inside), inside, outside)
    return output, lambda grad_output: masked(grad_output, passes)


def relu(input: Array) -> tuple[Array, Backward]:
    """f(z) = max(z, 0),  f'(z) = 1 where z > 0, else 0.

    Conventions: f'(0) = 0, f'(NaN) = 1.

    >>> y, backward = refbp.functional.relu(np.array([-1.0, 0.0, 2.0]))
    >>> y, backward(np.array([5.0, 5.0, 5.0]))
    (array([0., 0., 2.]), array([0., 0., 5.]))
    """
    passes = ~(input <= 0)
    return np.maximum(input, 0.0), lambda grad_output: masked(grad_output, passes)


@documented_by(relu)
class ReLU(InplaceActivation):
    """torch.nn.ReLU, element by element: `refbp.functional.relu`. `inplace` has no effect."""

    function = staticmethod(relu)


def hardtanh(input: Array, min_val: float = -1.0, max_val: float = 1.0) -> tuple[Array, Backward]:
    """f(z) = min(max(z, min_val), max_val),  f'(z) = 1 between them, else 0.

    Raises: ValueError for a min_val above max_val.
    Conventions: f' = 0 at both ends and at NaN.
    """
    if min_val > max_val:
        raise ValueError(f"hardtanh expects min_val <= max_val, got {min_val} and {max_val}")
    passes = (input > min_val) & (input < max_val)
    return np.clip(input, min_val, max_val), lambda grad_output: masked(grad_output, passes)


@documented_by(hardtanh)
class Hardtanh(Activation):
    """torch.nn.Hardtanh, element by element: `refbp.functional.hardtanh`. `inplace` has no effect.

    min_value and max_value are torch's older names of min_val and max_val, and override them.
    """

    function = staticmethod(hardtanh)

    def __init__(
        self,
        min_val: float = -1.0,
        max_val: float = 1.0,
        inplace: bool = False,
        min_value: float | None = None,
        max_value: float | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        low, high = (min_val if min_value is None else min_value), (max_val if max_value is None else max_value)
        super().__init__(**options)
        self.arguments = (low, high)


def relu6(input: Array) -> tuple[Array, Backward]:
    """f(z) = min(max(z, 0), 6): hardtanh from 0 to 6,  f'(z) = 1 between them, else 0.

    Conventions: f' = 0 at both ends and at NaN.
    """
    return hardtanh(input, 0.0, 6.0)


@documented_by(relu6)
class ReLU6(InplaceActivation):
    """torch.nn.ReLU6, element by element: `refbp.functional.relu6`. `inplace` has no effect."""

    function = staticmethod(relu6)


@in_blocks
def leaky_relu(input: Array, negative_slope: float = 0.01) -> tuple[Array, Backward]:
    """f(z) = z where z > 0, else negative_slope z;  f'(z) = 1 or negative_slope.

    Conventions: f'(0) = negative_slope.
    """
    positive = input > 0

    def f(z: Array) -> Array:
        return where(positive, z, z * negative_slope)

    return f(input), f


@documented_by(leaky_relu)
class LeakyReLU(Activation):
    """torch.nn.LeakyReLU, element by element: `refbp.functional.leaky_relu`. `inplace` has no effect."""

    function = staticmethod(leaky_relu)

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self.arguments = (negative_slope,)


def prelu(input: Array, weight: Array) -> tuple[Array, Backward]:
    """f(z) = z where z > 0, else w z, with one w for all or one per channel;  f'(z) = 1 or w.

    Source: He et al., arXiv:1502.01852.

    Shape: input (N, C, *) or, with a single weight, any; weight (C) or (1).
    Gradients: ∂f/∂w = z where z <= 0, else 0; grad_weight sums over everything that shares a weight.
    Raises: ValueError for another number of weights than channels.
    Conventions: f'(0) = w.
    """
    channels = input.shape[1] if input.ndim > 1 else 1
    if weight.shape not in ((1,), (channels,)):
        raise ValueError(
            f"prelu expects a weight of shape (1,) or ({channels},) for input {input.shape}, got {weight.shape}"
        )
    positive = input > 0
    w = weight.reshape([-1 if axis == 1 else 1 for axis in range(input.ndim)]) if input.ndim > 1 else weight.reshape(-1)
    axes = tuple(axis for axis in range(input.ndim) if axis != 1 or weight.size == 1)

    def backward(grad_output: Array) -> tuple[Array, Array]:
        grad_weight = np.sum(where(positive, 0.0, input * grad_output), axis=axes)
        grad_input = where(positive, grad_output, w * grad_output).reshape(input.shape)
        return grad_input, grad_weight.reshape(weight.shape)

    return where(positive, input, w * input).reshape(input.shape), backward


@documented_by(prelu)
class PReLU(Activation):
    """torch.nn.PReLU, element by element: `refbp.functional.prelu`.

    Parameters: weight (num_parameters), initially `init`; num_parameters is 1 or the number of channels.
    """

    function = staticmethod(prelu)

    def __init__(self, num_parameters: int = 1, init: float = 0.25, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self.add_param("weight", np.full(num_parameters, init))


@in_blocks
def hardsigmoid(input: Array) -> tuple[Array, Backward]:
    """f(z) = min(max(z + 3, 0), 6) / 6,  f'(z) = 1/6 between -3 and 3, else 0. Source: Howard et al., arXiv:1905.02244.

    Conventions: f' = 0 at both ends and at NaN.
    """
    ramp, ramp_backward = hardtanh(input + 3.0, 0.0, 6.0)
    return ramp / 6.0, lambda grad_output: ramp_backward(grad_output / 6.0)


@documented_by(hardsigmoid)
class Hardsigmoid(InplaceActivation):
    """torch.nn.Hardsigmoid, element by element: `refbp.functional.hardsigmoid`. `inplace` has no effect."""

    function = staticmethod(hardsigmoid)


@in_blocks
def hardswish(input: Array) -> tuple[Array, Backward]:
    """f(z) = z min(max(z + 3, 0), 6) / 6,  f'(z) = z / 3 + 1/2 between -3 and 3, 0 below, 1 above.

    Source: Howard et al., arXiv:1905.02244.
    Conventions: f'(-3) = 0, f'(3) = 1, f'(NaN) = NaN.
    """
    ramp = np.clip(input + 3.0, 0.0, 6.0)
    low, high = input <= -3.0, input >= 3.0

    def backward(grad_output: Array) -> Array:
        slope = grad_output * (input / 3.0 + 0.5)
        return where(low, 0.0, where(high, grad_output, slope))

    return input * ramp / 6.0, backward


@documented_by(hardswish)
class Hardswish(InplaceActivation):
    """torch.nn.Hardswish, element by element: `refbp.functional.hardswish`. `inplace` has no effect."""

    function = staticmethod(hardswish)


def hardshrink(input: Array, lambd: float = 0.5) -> tuple[Array, Backward]:
    """f(z) = z where |z| > λ, else 0;  f'(z) = 1 or 0. Conventions: f'(±λ) = 0, f'(NaN) = 0."""
    return piecewise((input > lambd) | (input < -lambd), input, 0.0)


@documented_by(hardshrink)
class Hardshrink(Activation):
    """torch.nn.Hardshrink, element by element: `refbp.functional.hardshrink`."""

    function = staticmethod(hardshrink)

    def __init__(self, lambd: float = 0.5, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self.arguments = (lambd,)


@in_blocks
def softshrink(input: Array, lambd: float = 0.5) -> tuple[Array, Backward]:
    """f(z) = z - λ above λ, z + λ below -λ, else 0;  f'(z) = 1 or 0.

    Raises: ValueError for a negative lambd.
    Conventions: f'(±λ) = 0, f'(NaN) = 0.
    """
    if lambd < 0:
        raise ValueError(f"softshrink expects a lambd of at least 0, got {lambd}")
    above = input > lambd
    return piecewise(above | (input < -lambd), where(above, input - lambd, input + lambd), 0.0)


@documented_by(softshrink)
class Softshrink(Activation):
    """torch.nn.Softshrink, element by element: `refbp.functional.softshrink`."""

    function = staticmethod(softshrink)

    def __init__(self, lambd: float = 0.5, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self.arguments = (lambd,)


def threshold(input: Array, threshold: float, value: float) -> tuple[Array, Backward]:
    """f(z) = z where z > threshold, else value;  f'(z) = 1 or 0. Conventions: f'(threshold) = 0; f'(NaN) = 1."""
    return piecewise((input > threshold) | np.isnan(input), input, value)


@documented_by(threshold)
class Threshold(Activation):
    """torch.nn.Threshold, element by element: `refbp.functional.threshold`. `inplace` has no effect."""

    function = staticmethod(threshold)

    def __init__(self, threshold: float, value: float, inplace: bool = False, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self.arguments = (threshold, value)
