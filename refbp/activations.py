"""Element-wise activations: n = f(z), and grad_input = f'(z) ⊙ grad_output, the first factor of eq. (4).

Each op holds its formula and its derivative side by side. For NaN and infinities output and gradient are torch's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Unpack

import numpy as np

from refbp.arrays import Array, Backward
from refbp.blocks import in_blocks
from refbp.docstring import documented_by
from refbp.layer import Layer, LayerOptions
from refbp.special import erf, where

SELU_ALPHA = 1.6732632423543772848170429916717
SELU_SCALE = 1.0507009873554804934193349852946


def elementwise(output: Array, derivative: Array) -> tuple[Array, Backward]:
    """An activation from f(z) and f'(z)."""
    return output, lambda grad_output: grad_output * derivative


class Activation(Layer):
    """An element-wise layer: its op, and the options it was built with."""

    function: Callable[..., tuple[Array, Backward]]

    def __init__(self, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self.arguments: tuple[Any, ...] = ()

    def op(self, input: Array, *params: Array) -> tuple[Array, Backward]:
        return type(self).function(input, *params, *self.arguments)


class InplaceActivation(Activation):
    """An activation with torch's argument `inplace`, which has no effect here, and no other."""

    def __init__(self, inplace: bool = False, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)


@in_blocks
def sigmoid(input: Array) -> tuple[Array, Backward]:
    """f(z) = 1 / (1 + e^-z),  f' = f (1 - f). Neither sign of z overflows."""
    decay = np.exp(-abs(input))
    n = where(input >= 0, 1.0, decay) / (1.0 + decay)
    return n, lambda grad_output: grad_output * (n * (1.0 - n))


@documented_by(sigmoid)
class Sigmoid(Activation):
    """torch.nn.Sigmoid, element by element: `refbp.functional.sigmoid`.

    >>> layer = refbp.Sigmoid()
    >>> layer(np.array([0.0, 1000.0, -1000.0]))
    array([0.5, 1. , 0. ])
    >>> layer.backward(np.ones(3))
    array([0.25, 0.  , 0.  ])
    """

    function = staticmethod(sigmoid)


@in_blocks
def logsigmoid(input: Array) -> tuple[Array, Backward]:
    """f(z) = ln σ(z) = min(z, 0) - ln(1 + e^-|z|),  f'(z) = 1 / (1 + e^z)."""
    decay = np.exp(-abs(input))
    output = np.minimum(input, 0.0) - np.log1p(decay)
    return elementwise(output, where(input >= 0, decay, 1.0) / (1.0 + decay))


@documented_by(logsigmoid)
class LogSigmoid(Activation):
    """torch.nn.LogSigmoid, element by element: `refbp.functional.logsigmoid`."""

    function = staticmethod(logsigmoid)


def tanh(input: Array) -> tuple[Array, Backward]:
    """f(z) = tanh z,  f' = 1 - f²."""
    n = np.tanh(input)
    return n, lambda grad_output: grad_output * (1.0 - n * n)


@documented_by(tanh)
class Tanh(Activation):
    """torch.nn.Tanh, element by element: `refbp.functional.tanh`."""

    function = staticmethod(tanh)


def tanhshrink(input: Array) -> tuple[Array, Backward]:
    """f(z) = z - tanh z,  f'(z) = 1 - (1 - tanh² z).

    The derivative is evaluated in torch's order, in which it loses digits by cancellation near zero.
    """
    t = np.tanh(input)
    return elementwise(input - t, 1.0 - (1.0 - t * t))


@documented_by(tanhshrink)
class Tanhshrink(Activation):
    """torch.nn.Tanhshrink, element by element: `refbp.functional.tanhshrink`."""

    function = staticmethod(tanhshrink)


@in_blocks
def silu(input: Array) -> tuple[Array, Backward]:
    """f(z) = z σ(z),  f' = σ (1 + z (1 - σ)). Source: Elfwing et al., arXiv:1702.03118."""
    s, _ = sigmoid(input)
    return elementwise(input * s, s * (1.0 + input * (1.0 - s)))


@documented_by(silu)
class SiLU(InplaceActivation):
    """torch.nn.SiLU, element by element: `refbp.functional.silu`. `inplace` has no effect."""

    function = staticmethod(silu)


@in_blocks
def mish(input: Array) -> tuple[Array, Backward]:
    """f(z) = z t with t = tanh(ln(1 + e^z)),  f' = t + z σ(z) (1 - t²). Source: Misra, arXiv:1908.08681."""
    s, _ = sigmoid(input)
    softplus_z = np.maximum(input, 0.0) + np.log1p(np.exp(-abs(input)))
    t = np.tanh(softplus_z)
    return elementwise(input * t, t + input * s * (1.0 - t * t))


@documented_by(mish)
class Mish(InplaceActivation):
    """torch.nn.Mish, element by element: `refbp.functional.mish`. `inplace` has no effect."""

    function = staticmethod(mish)


@in_blocks
def gelu(input: Array, approximate: str = "none") -> tuple[Array, Backward]:
    """f(z) = z Φ(z), Φ the normal distribution function and φ its density,  f' = Φ + z φ.

    approximate="tanh" takes (1 + tanh u) / 2 for Φ, with u = √(2/π) (z + 0.044715 z³), and the derivative of that for φ.

    Source: Hendrycks and Gimpel, arXiv:1606.08415.
    Raises: ValueError for another `approximate`.
    """
    z = input
    if approximate == "none":
        phi = np.exp(z * z * -0.5) * (1.0 / math.sqrt(2.0 * math.pi))
        distribution = 0.5 * (1.0 + erf(z * math.sqrt(0.5)))
        return elementwise(z * distribution, distribution + z * phi)
    if approximate != "tanh":
        raise ValueError(f"gelu expects approximate 'none' or 'tanh', got {approximate!r}")
    rate = math.sqrt(2.0 / math.pi)
    t = np.tanh(rate * (z + 0.044715 * (z * z * z)))
    half = 0.5 * (1.0 + t)
    return elementwise(z * half, half + 0.5 * z * (1.0 - t * t) * (rate * (1.0 + 3 * 0.044715 * (z * z))))


@documented_by(gelu)
class GELU(Activation):
    """torch.nn.GELU, element by element: `refbp.functional.gelu`."""

    function = staticmethod(gelu)

    def __init__(self, approximate: str = "none", **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self.arguments = (approximate,)


@in_blocks
def softplus(input: Array, beta: float = 1.0, threshold: float = 20.0) -> tuple[Array, Backward]:
    """f(z) = ln(1 + e^(β z)) / β,  f'(z) = σ(β z);  f(z) = z and f'(z) = 1 where β z > threshold.

    Conventions: f'(threshold / β) = σ(threshold).
    """
    scaled = input * beta
    linear = scaled > threshold
    decay = np.exp(-abs(scaled))
    curved = (np.maximum(scaled, 0.0) + np.log1p(decay)) / beta
    slope = where(linear, 1.0, where(scaled >= 0, 1.0, decay) / (1.0 + decay))
    return elementwise(where(linear, input, curved), slope)


@documented_by(softplus)
class Softplus(Activation):
    """torch.nn.Softplus, element by element: `refbp.functional.softplus`."""

    function = staticmethod(softplus)

    def __init__(self, beta: float = 1.0, threshold: float = 20.0, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self.arguments = (beta, threshold)


@in_blocks
def softsign(input: Array) -> tuple[Array, Backward]:
    """f(z) = z / (1 + |z|),  f'(z) = 1 / (1 + |z|) - |z| / (1 + |z|)², evaluated in torch's order.

    Conventions: f'(0) = 1.
    """
    size = 1.0 + abs(input)
    return elementwise(input / size, 1.0 / size - abs(input) / (size * size))


@documented_by(softsign)
class Softsign(Activation):
    """torch.nn.Softsign, element by element: `refbp.functional.softsign`."""

    function = staticmethod(softsign)


def elu(input: Array, alpha: float = 1.0) -> tuple[Array, Backward]:
    """f(z) = z where z > 0, else α (e^z - 1);  f'(z) = 1 or α e^z.

    Source: Clevert et al., arXiv:1511.07289.
    Conventions: f'(0) = α.
    """
    return _exponential_unit(input, alpha, 1.0, 1.0)


def celu(input: Array, alpha: float = 1.0) -> tuple[Array, Backward]:
    """f(z) = z where z > 0, else α (e^(z/α) - 1);  f'(z) = 1 or e^(z/α).

    Source: Barron, arXiv:1704.07483.
    Raises: ValueError for an alpha of zero.
    Conventions: f'(0) = 1.
    """
    if alpha == 0:
        raise ValueError("celu expects an alpha other than 0")
    return _exponential_unit(input, alpha, 1.0, 1.0 / alpha)


def selu(input: Array) -> tuple[Array, Backward]:
    """f(z) = s z where z > 0, else s α (e^z - 1);  f'(z) = s or s α e^z.

    α = 1.6733 and s = 1.0507 keep mean 0 and variance 1. Source: Klambauer et al., arXiv:1706.02515.

    Conventions: f'(0) = s α.
    """
    return _exponential_unit(input, SELU_ALPHA, SELU_SCALE, 1.0)


@in_blocks
def _exponential_unit(input: Array, alpha: float, scale: float, rate: float) -> tuple[Array, Backward]:
    """f(z) = s z where z > 0, else s α (e^(r z) - 1);  f'(z) = s or s α r e^(r z)."""
    positive = input > 0
    below = where(positive, 0.0, input) * rate  # the untaken branch must not overflow
    output = where(positive, input * scale, np.expm1(below) * (alpha * scale))
    slope = np.exp(below) * (alpha * scale * rate)

    def backward(grad_output: Array) -> Array:
        return where(positive, grad_output * scale, grad_output * slope)

    return output, backward


@documented_by(elu)
class ELU(Activation):
    """torch.nn.ELU, element by element: `refbp.functional.elu`. `inplace` has no effect."""

    function = staticmethod(elu)

    def __init__(self, alpha: float = 1.0, inplace: bool = False, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self.arguments = (alpha,)


@documented_by(celu)
class CELU(Activation):
    """torch.nn.CELU, element by element: `refbp.functional.celu`. `inplace` has no effect."""

    function = staticmethod(celu)

    def __init__(self, alpha: float = 1.0, inplace: bool = False, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self.arguments = (alpha,)


@documented_by(selu)
class SELU(InplaceActivation):
    """torch.nn.SELU, element by element: `refbp.functional.selu`. `inplace` has no effect."""

    function = staticmethod(selu)
