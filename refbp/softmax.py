"""Activations along a dimension, which couple its elements: softmax, its logarithm, and gated linear units."""

from __future__ import annotations

from collections.abc import Callable
from typing import Unpack

import numpy as np

from refbp.activations import sigmoid
from refbp.arrays import Array, Backward
from refbp.docstring import documented_by
from refbp.layer import Layer, LayerOptions


def _dimension(input: Array, dim: int | None, name: str) -> int:
    """`dim`, or for None torch's rule: 0 for inputs of no, one or three dimensions, else 1. Raises: ValueError."""
    if dim is None:
        dim = 0 if input.ndim in (0, 1, 3) else 1
    if not -max(input.ndim, 1) <= dim < max(input.ndim, 1):
        raise ValueError(f"{name} expects dim within the {input.ndim} dimensions of its input, got {dim}")
    return dim


def as_row(x: Array) -> Array:
    """The input; an array without dimensions becomes a row of one element, as in torch."""
    return x.reshape(x.shape or (1,))


def shifted(input: Array, dim: int) -> Array:
    """z - max z along `dim`: the softmax stays the same, and no exponential overflows."""
    return input - np.max(input, axis=dim, keepdims=True) if input.size else input


def log_softmax(input: Array, dim: int | None = None) -> tuple[Array, Backward]:
    """f(z)_i = z_i - ln Σ_j e^{z_j} along `dim`, computed from z - max z, so that nothing overflows.

    Shape: any, kept.
    Gradients: grad_input_i = g_i - e^{f_i} Σ_j g_j, with g = grad_output.
    Raises: ValueError for a dim that the input does not have.
    Conventions: dim None is torch's rule, 0 for inputs of no, one or three dimensions, else 1.
    """
    axis = _dimension(input, dim, "log_softmax")
    z = shifted(as_row(input), axis)
    output = z - np.log(np.sum(np.exp(z), axis=axis, keepdims=True))

    def backward(grad_output: Array) -> Array:
        g = as_row(grad_output)
        grad_input: Array = g - np.exp(output) * np.sum(g, axis=axis, keepdims=True)
        return grad_input.reshape(input.shape)

    return output.reshape(input.shape), backward


def softmax(input: Array, dim: int | None = None) -> tuple[Array, Backward]:
    """f(z)_i = e^{z_i} / Σ_j e^{z_j} along `dim`, computed from z - max z, so that nothing overflows.

    Shape: any, kept.
    Gradients: grad_input_i = f_i (g_i - Σ_j f_j g_j), with g = grad_output.
    Raises: ValueError for a dim that the input does not have.
    Conventions: dim None is torch's rule, 0 for inputs of no, one or three dimensions, else 1.
    """
    axis = _dimension(input, dim, "softmax")
    powers = np.exp(shifted(as_row(input), axis))
    output = powers / np.sum(powers, axis=axis, keepdims=True)

    def backward(grad_output: Array) -> Array:
        g = as_row(grad_output)
        grad_input: Array = output * (g - np.sum(output * g, axis=axis, keepdims=True))
        return grad_input.reshape(input.shape)

    return output.reshape(input.shape), backward


@documented_by(softmax)
def softmin(input: Array, dim: int | None = None) -> tuple[Array, Backward]:
    """softmax(-z); grad_input is minus the gradient of softmax at -z."""
    output, backward = softmax(-input, dim)
    return output, lambda grad_output: -backward(grad_output)


def glu(input: Array, dim: int = -1) -> tuple[Array, Backward]:
    """a σ(b), with a and b the first and second half of the input along `dim`. Source: Dauphin et al., arXiv:1612.08083.

    Shape: (*, 2 n, *) -> (*, n, *).
    Gradients: σ(b) g for a, and a σ(b) (1 - σ(b)) g for b, with g = grad_output.
    Raises: ValueError for a dim that the input does not have, or that cannot be halved.
    """
    axis = _dimension(input, dim, "glu")
    if input.ndim == 0 or input.shape[axis] % 2:
        raise ValueError(f"glu expects an even size along dimension {dim}, got shape {input.shape}")
    half = input.shape[axis] // 2
    a, b = (np.moveaxis(np.moveaxis(input, axis, 0)[part], 0, axis) for part in (slice(0, half), slice(half, None)))
    gate, gate_backward = sigmoid(b)

    def backward(grad_output: Array) -> Array:
        return np.concatenate([grad_output * gate, gate_backward(grad_output * a)], axis=axis)

    return a * gate, backward


class _AlongDimension(Layer):
    """An activation along a dimension: its op, and the dimension."""

    function: Callable[[Array, int | None], tuple[Array, Backward]]

    def __init__(self, dim: int | None = None, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self.dim = dim

    def op(self, input: Array, *params: Array) -> tuple[Array, Backward]:
        return type(self).function(input, self.dim)


@documented_by(softmax)
class Softmax(_AlongDimension):
    """torch.nn.Softmax: `refbp.functional.softmax`."""

    function = staticmethod(softmax)


@documented_by(log_softmax)
class LogSoftmax(_AlongDimension):
    """torch.nn.LogSoftmax: `refbp.functional.log_softmax`."""

    function = staticmethod(log_softmax)


@documented_by(softmin)
class Softmin(_AlongDimension):
    """torch.nn.Softmin: `refbp.functional.softmin`."""

    function = staticmethod(softmin)


@documented_by(softmax)
class Softmax2d(Layer):
    """torch.nn.Softmax2d: `refbp.functional.softmax` over the channels of (N, C, H, W) or (C, H, W).

    Raises: ValueError for an input of another number of dimensions.
    """

    def op(self, input: Array, *params: Array) -> tuple[Array, Backward]:
        if input.ndim not in (3, 4):
            raise ValueError(f"Softmax2d expects input (N, C, H, W) or (C, H, W), got shape {input.shape}")
        return softmax(input, -3)


@documented_by(glu)
class GLU(Layer):
    """torch.nn.GLU: `refbp.functional.glu`."""

    def __init__(self, dim: int = -1, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self.dim = dim

    def op(self, input: Array, *params: Array) -> tuple[Array, Backward]:
        return glu(input, self.dim)
