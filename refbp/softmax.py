"""Softmax and its logarithm: activations whose derivative couples all elements along a dimension."""

from __future__ import annotations

from typing import Unpack

import numpy as np

from refbp.layer import Array, Backward, Layer, LayerOptions


def _dimension(input: Array, dim: int | None, name: str) -> int:
    """torch's rule for dim=None: 0 for one or three dimensions (and none), else 1."""
    if dim is None:
        dim = 0 if input.ndim in (0, 1, 3) else 1
    if not -max(input.ndim, 1) <= dim < max(input.ndim, 1):
        raise ValueError(f"{name} expects dim within the {input.ndim} dimensions of its input, got {dim}")
    return dim


def shifted(input: Array, dim: int) -> Array:
    """z - max z along `dim`: changes no softmax, and no exponential overflows."""
    return input - np.max(input, axis=dim, keepdims=True) if input.size else input


def log_softmax(input: Array, dim: int | None = None) -> tuple[Array, Backward]:
    """f(z)_i = z_i - log Σ_j e^{z_j} along `dim`.

    Gradients: grad_input_i = g_i - e^{f_i} Σ_j g_j, with g = grad_output.
    Conventions: dim None is torch's rule, 0 for inputs of one or three dimensions, else 1.
    """
    axis = _dimension(input, dim, "log_softmax")
    if input.ndim == 0:
        return input - input, lambda grad_output: grad_output - grad_output
    z = shifted(input, axis)
    output = z - np.log(np.sum(np.exp(z), axis=axis, keepdims=True))

    def backward(grad_output: Array) -> Array:
        return grad_output - np.exp(output) * np.sum(grad_output, axis=axis, keepdims=True)

    return output, backward


def softmax(input: Array, dim: int | None = None) -> tuple[Array, Backward]:
    """f(z)_i = e^{z_i} / Σ_j e^{z_j} along `dim`.

    Gradients: grad_input_i = f_i (g_i - Σ_j f_j g_j), with g = grad_output.
    Conventions: dim None as in log_softmax.
    """
    axis = _dimension(input, dim, "softmax")
    if input.ndim == 0:
        return np.ones_like(input), lambda grad_output: grad_output - grad_output
    powers = np.exp(shifted(input, axis))
    output = powers / np.sum(powers, axis=axis, keepdims=True)

    def backward(grad_output: Array) -> Array:
        return output * (grad_output - np.sum(output * grad_output, axis=axis, keepdims=True))

    return output, backward


class Softmax(Layer):
    """torch.nn.Softmax: see `refbp.functional.softmax`."""

    def __init__(self, dim: int | None = None, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self.dim = dim

    def op(self, input: Array, *params: Array) -> tuple[Array, Backward]:
        return softmax(input, self.dim)


class LogSoftmax(Layer):
    """torch.nn.LogSoftmax: see `refbp.functional.log_softmax`."""

    def __init__(self, dim: int | None = None, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self.dim = dim

    def op(self, input: Array, *params: Array) -> tuple[Array, Backward]:
        return log_softmax(input, self.dim)
