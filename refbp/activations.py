"""Element-wise activations: n = f(z), and grad_input = f'(z) ⊙ grad_output, the first factor of eq. (4).

Each op shows f and f' side by side. At a kink the derivative is that of the side that torch takes.
"""

from __future__ import annotations

from typing import Unpack

import numpy as np

from refbp.layer import Array, Backward, Layer, LayerOptions


def relu(input: Array) -> tuple[Array, Backward]:
    """f(z) = max(z, 0),  f'(z) = 1 where z > 0, else 0.

    Conventions: f'(0) = 0; NaN passes forward, and stops nothing backward: f'(NaN) = 1.
    """
    passes = (input > 0) | np.isnan(input)
    return np.where(passes, input, 0.0), lambda grad_output: np.where(passes, grad_output, 0.0)


def leaky_relu(input: Array, negative_slope: float = 0.01) -> tuple[Array, Backward]:
    """f(z) = z where z > 0, else negative_slope z;  f'(z) = 1 or negative_slope.

    Conventions: f'(0) = negative_slope.
    """
    positive = input > 0

    def f(z: Array) -> Array:
        return np.where(positive, z, z * negative_slope)

    return f(input), f


def sigmoid(input: Array) -> tuple[Array, Backward]:
    """f(z) = 1 / (1 + e^-z),  f' = f (1 - f). Neither sign of z overflows."""
    decay = np.exp(-abs(input))
    n = np.where(input >= 0, 1.0, decay) / (1.0 + decay)
    return n, lambda grad_output: grad_output * (n * (1.0 - n))


def tanh(input: Array) -> tuple[Array, Backward]:
    """f(z) = tanh z,  f' = 1 - f²."""
    n = np.tanh(input)
    return n, lambda grad_output: grad_output * (1.0 - n * n)


class Sigmoid(Layer):
    """torch.nn.Sigmoid: see `refbp.functional.sigmoid`."""

    def op(self, input: Array, *params: Array) -> tuple[Array, Backward]:
        return sigmoid(input)


class Tanh(Layer):
    """torch.nn.Tanh: see `refbp.functional.tanh`."""

    def op(self, input: Array, *params: Array) -> tuple[Array, Backward]:
        return tanh(input)


class ReLU(Layer):
    """torch.nn.ReLU: see `refbp.functional.relu`. `inplace` has no effect: inputs are never modified."""

    def __init__(self, inplace: bool = False, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)

    def op(self, input: Array, *params: Array) -> tuple[Array, Backward]:
        return relu(input)


class LeakyReLU(Layer):
    """torch.nn.LeakyReLU: see `refbp.functional.leaky_relu`. `inplace` has no effect."""

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self.negative_slope = negative_slope

    def op(self, input: Array, *params: Array) -> tuple[Array, Backward]:
        return leaky_relu(input, self.negative_slope)
