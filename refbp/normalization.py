"""Normalisation of the input by its own statistics.

`standardized` and `affine` hold x̂, y = x̂ w + b and their derivatives. Layer, group and instance normalisation (the last in
batch_norm.py) are made of them, and differ in the axes of their statistics. Batch normalisation (in batch_norm.py) and RMS
normalisation, which leaves out the mean, have their own x̂ and derivative. Local response normalisation divides by a sum over
neighbouring channels, and has neither w nor b.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias, Unpack

import numpy as np

from refbp.arrays import Array, Backward, machine_epsilon
from refbp.docstring import documented_by
from refbp.layer import Layer, LayerOptions
from refbp.special import where
from refbp.windows import sizes

Axes: TypeAlias = tuple[int, ...]
NormalizedShape: TypeAlias = int | Sequence[int]


def mean_over(x: Array, axes: Axes) -> Array:
    """The mean over `axes`, which keep the size 1. A mean of no elements is zero, since it contributes no gradient."""
    total: Array = np.sum(x, axis=axes, keepdims=True)
    return total / float(max(math.prod(x.shape[axis] for axis in axes), 1))


def moments(x: Array, axes: Axes) -> tuple[Array, Array]:
    """Mean and biased variance over `axes`, which keep the size 1. Two passes, so that a large mean causes no cancellation."""
    mean = mean_over(x, axes)
    return mean, mean_over(np.square(x - mean), axes)


def standardized(x: Array, axes: Axes, eps: float, constant: float = math.inf) -> tuple[Array, Backward]:
    """x̂ = (x - μ) / √(σ² + eps), with μ and σ² the moments over `axes`; `constant` is 1/√(σ² + eps) where that divides by zero.

    Gradients, with g = grad_output and s = 1/√(σ² + eps):
        grad_x = s (g - mean(g) - x̂ mean(g x̂)), the second term through μ, the third through σ²
    """
    mean, variance = moments(x, axes)
    s = 1.0 / np.sqrt(variance + eps)
    if eps == 0:
        s = where(np.isinf(s), constant, s)
    # One product and one shift, as in kernels. Where x is close to the mean it rounds differently from (x - mean) s.
    x_hat = x * s - mean * s

    def backward(g: Array) -> Array:
        return s * g - s * mean_over(g, axes) - x_hat * (s * mean_over(g * x_hat, axes))

    return x_hat, backward


def affine(
    x_hat: Array, backward_x: Backward, weight: Array | None, bias: Array | None, shape: tuple[int, ...]
) -> tuple[Array, Backward]:
    """y = x̂ w + b, with w and b brought to `shape`, which broadcasts against x̂.

    Gradients: backward_x(g w) for the input, Σ g x̂ and Σ g over all positions that share an element of w and b.
    """
    lead = x_hat.ndim - len(shape)
    axes = (*range(lead), *(lead + i for i, size in enumerate(shape) if size == 1 and x_hat.shape[lead + i] != 1))
    y = x_hat if weight is None else x_hat * weight.reshape(shape)
    if bias is not None:
        y = y + bias.reshape(shape)

    def backward(grad_output: Array) -> tuple[Array, Array | None, Array | None]:
        g = grad_output
        grad_weight = None if weight is None else np.sum(g * x_hat, axis=axes).reshape(weight.shape)
        grad_bias = None if bias is None else np.sum(g, axis=axes).reshape(bias.shape)
        return backward_x(g if weight is None else g * weight.reshape(shape)), grad_weight, grad_bias

    return y, backward


def channel_shape(input: Array, *per_channel: Array | None, name: str) -> tuple[int, ...]:
    """The shape (C, 1, ...) in which one number per channel broadcasts. Raises: ValueError where there are not C of them."""
    if input.ndim < 2:
        raise ValueError(f"{name} expects input of at least 2 dimensions (N, C, *), got shape {input.shape}")
    channels = input.shape[1]
    for array in per_channel:
        if array is not None and array.shape != (channels,):
            raise ValueError(f"{name} expects input (N, {array.size}, *), got {input.shape}")
    return (channels, *(1,) * (input.ndim - 2))


def require_several(count: int, input: Array, name: str, unit: str) -> None:
    """Raises: ValueError for a count of 1: a single value has no variance."""
    if count == 1:
        raise ValueError(f"{name} expects more than 1 value per {unit} to take statistics of, got shape {input.shape}")


def add_affine(layer: Layer, shape: tuple[int, ...], weight: bool, bias: bool) -> None:
    """Add a weight of ones and a bias of zeros, as far as the layer has them: initially y = x̂."""
    if weight:
        layer.add_param("weight", np.ones(shape))
    if weight and bias:
        layer.add_param("bias", np.zeros(shape))


def weight_and_bias(params: tuple[Array, ...]) -> tuple[Array | None, Array | None]:
    """The parameters that `add_affine` made, None for those that it did not."""
    weight, bias = (*params, None, None)[:2]
    return weight, bias


def _last_axes(input: Array, normalized_shape: NormalizedShape, *params: Array | None, name: str) -> tuple[int, ...]:
    """The axes of `normalized_shape`. Raises: ValueError where the input does not end in it, or a parameter has another shape."""
    shape = _as_shape(normalized_shape, name)
    if input.shape[-len(shape) :] != shape:
        raise ValueError(f"{name} expects input (*, {', '.join(map(str, shape))}), got {input.shape}")
    for param in params:
        if param is not None and param.shape != shape:
            raise ValueError(f"{name} expects weight and bias of shape {shape}, got {param.shape}")
    return shape


def _as_shape(normalized_shape: NormalizedShape, name: str) -> tuple[int, ...]:
    """`normalized_shape` as a tuple of sizes. Raises: ValueError if it is empty or holds anything but whole numbers."""
    rank = len(normalized_shape) if isinstance(normalized_shape, Sequence) else 1
    if rank < 1:
        raise ValueError(f"{name} expects normalized_shape of at least one dimension, got {normalized_shape!r}")
    return sizes(normalized_shape, rank, f"normalized_shape of {name}")


def layer_norm(
    input: Array,
    normalized_shape: NormalizedShape,
    weight: Array | None = None,
    bias: Array | None = None,
    eps: float = 1e-5,
) -> tuple[Array, Backward]:
    """y = (x - μ) / √(σ² + eps) w + b, with μ and σ² over the last dimensions, w and b per element of these.

    σ² is the biased variance. Source: Ba et al., arXiv:1607.06450.

    Shape: input and output (*, *normalized_shape), weight and bias normalized_shape.
    Gradients, with g = grad_output, x̂ = (x - μ) s and s = 1/√(σ² + eps):
        grad_input  = s (g w - mean(g w) - x̂ mean(g w x̂)), the means over the last dimensions
        grad_weight = Σ g x̂ and grad_bias = Σ g over the other dimensions
    Raises: ValueError when the input does not end in normalized_shape, or weight and bias are not of it.
    """
    shape = _last_axes(input, normalized_shape, weight, bias, name="layer_norm")
    x_hat, backward_x = standardized(input, tuple(range(input.ndim - len(shape), input.ndim)), eps)
    return affine(x_hat, backward_x, weight, bias, shape)


def group_norm(
    input: Array, num_groups: int, weight: Array | None = None, bias: Array | None = None, eps: float = 1e-5
) -> tuple[Array, Backward]:
    """y = (x - μ) / √(σ² + eps) w + b, with μ and σ² per sample and group of channels, w and b per channel.

    σ² is the biased variance. Source: Wu and He, arXiv:1803.08494.

    Shape: input and output (N, C, *), weight and bias (C).
    Gradients, with g = grad_output, x̂ = (x - μ) s and s = 1/√(σ² + eps):
        grad_input  = s (g w - mean(g w) - x̂ mean(g w x̂)), the means over sample and group
        grad_weight = Σ g x̂ and grad_bias = Σ g over batch and positions
    Raises: ValueError for groups that do not divide the channels, a single value in each group of a single sample, or
        shapes that do not fit.
    """
    shape = channel_shape(input, weight, bias, name="group_norm")
    samples, channels = input.shape[:2]
    if num_groups < 1 or channels % num_groups:
        raise ValueError(f"group_norm expects groups that divide {channels} channels, got {num_groups}")
    members = channels // num_groups * math.prod(input.shape[2:])
    require_several(samples * members, input, "group_norm", "group")  # as in torch: not the count of each group
    grouped = input.reshape((samples, num_groups, members))  # (N, C, *) -> (N, G, C/G * positions)
    x_hat, backward_x = standardized(grouped, (2,), eps)

    def backward_input(grad: Array) -> Array:
        return backward_x(grad.reshape(grouped.shape)).reshape(input.shape)  # type: ignore[no-any-return]

    return affine(x_hat.reshape(input.shape), backward_input, weight, bias, shape)


def rms_norm(
    input: Array, normalized_shape: NormalizedShape, weight: Array | None = None, eps: float | None = None
) -> tuple[Array, Backward]:
    """y = x / √(mean(x²) + eps) w, the mean over the last dimensions.

    An eps of None is the machine epsilon of the input's dtype; for 16-bit input it is that of float32, in which kernels compute.
    Source: Zhang and Sennrich, arXiv:1910.07467.

    Shape: input and output (*, *normalized_shape), weight normalized_shape.
    Gradients, with g = grad_output, x̂ = x s and s = 1/√(mean(x²) + eps); backward gives (grad_input, grad_weight):
        grad_input  = s (g w - x̂ mean(g w x̂)), the mean over the last dimensions
        grad_weight = Σ g x̂ over the other dimensions
    Raises: ValueError when the input does not end in normalized_shape, or weight is not of it.
    """
    shape = _last_axes(input, normalized_shape, weight, name="rms_norm")
    axes = tuple(range(input.ndim - len(shape), input.ndim))
    if eps is None:
        eps = machine_epsilon(np.dtype(np.float32) if input.dtype.itemsize == 2 else input.dtype)
    s = 1.0 / np.sqrt(mean_over(np.square(input), axes) + eps)
    x_hat = input * s
    y, backward_all = affine(x_hat, lambda g: s * (g - x_hat * mean_over(g * x_hat, axes)), weight, None, shape)
    return y, lambda grad_output: backward_all(grad_output)[:2]


def local_response_norm(
    input: Array, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> tuple[Array, Backward]:
    """y_c = x_c D_c^-β, D_c = k + α/size Σ x², over the `size` channels from c - size//2 on; there are zeros outside.

    Source: Krizhevsky et al., ImageNet Classification with Deep Convolutional Neural Networks, NIPS 2012, with torch's α/size.

    Shape: input and output (N, C, *) of at least 3 dimensions.
    Gradients: grad_x_c = g_c D_c^-β - 2αβ/size x_c Σ g_c' y_c' / D_c', over all c' whose channels include c.
    Raises: ValueError for fewer dimensions or a size below 1.
    """
    if input.ndim < 3 or size < 1:
        raise ValueError(
            f"local_response_norm expects 3 or more dimensions and a size of at least 1, got {input.shape} and {size}"
        )
    before, after = size // 2, (size - 1) // 2
    divisor = k + (alpha / size) * _neighbours(np.square(input), before, after)
    power = divisor**-beta
    y = input * power

    def backward(grad_output: Array) -> Array:
        through = _neighbours(grad_output * y / divisor, after, before)
        return grad_output * power - (2 * alpha * beta / size) * input * through

    return y, backward


def _neighbours(x: Array, before: int, after: int) -> Array:
    """The sum over the channels from c - before to c + after, as far as they exist."""
    channels = x.shape[1]
    total = np.zeros_like(x)
    for offset in range(max(-before, 1 - channels), min(after, channels - 1) + 1):
        total[:, max(0, -offset) : channels - max(0, offset)] += x[:, max(0, offset) : channels + min(0, offset)]
    return total


@documented_by(layer_norm)
class LayerNorm(Layer):
    """torch.nn.LayerNorm: `refbp.functional.layer_norm`.

    Parameters: weight, initially 1, and bias, initially 0, both normalized_shape; neither without elementwise_affine, no bias
        with bias=False.

    >>> layer = refbp.LayerNorm(2, eps=0.0)
    >>> layer(np.array([[1.0, 3.0], [10.0, 50.0]]))
    array([[-1.,  1.],
           [-1.,  1.]])
    >>> layer.backward(np.array([[1.0, 0.0], [0.0, 1.0]]))
    array([[0., 0.],
           [0., 0.]])
    >>> layer.grads["weight"], layer.grads["bias"]
    (array([-1.,  1.]), array([1., 1.]))
    """

    def __init__(
        self,
        normalized_shape: NormalizedShape,
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        self.normalized_shape, self.eps = _as_shape(normalized_shape, "LayerNorm"), eps
        add_affine(self, self.normalized_shape, elementwise_affine, bias)

    def op(self, input: Array, *params: Array) -> tuple[Array, Backward]:
        return layer_norm(input, self.normalized_shape, *weight_and_bias(params), self.eps)


@documented_by(group_norm)
class GroupNorm(Layer):
    """torch.nn.GroupNorm: `refbp.functional.group_norm`.

    Parameters: weight, initially 1, and bias, initially 0, both (num_channels); neither without affine, no bias with bias=False.
    """

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        *,
        bias: bool = True,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        if num_groups < 1 or num_channels % num_groups:
            raise ValueError(f"GroupNorm expects num_groups that divide {num_channels} channels, got {num_groups}")
        self.num_groups, self.num_channels, self.eps = num_groups, num_channels, eps
        add_affine(self, (num_channels,), affine, bias)

    def op(self, input: Array, *params: Array) -> tuple[Array, Backward]:
        return group_norm(input, self.num_groups, *weight_and_bias(params), self.eps)


@documented_by(rms_norm)
class RMSNorm(Layer):
    """torch.nn.RMSNorm: `refbp.functional.rms_norm`.

    Parameters: weight normalized_shape, initially 1; none without elementwise_affine.
    """

    def __init__(
        self,
        normalized_shape: NormalizedShape,
        eps: float | None = None,
        elementwise_affine: bool = True,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        self.normalized_shape, self.eps = _as_shape(normalized_shape, "RMSNorm"), eps
        add_affine(self, self.normalized_shape, elementwise_affine, bias=False)

    def op(self, input: Array, *params: Array) -> tuple[Array, Backward]:
        weight, _ = weight_and_bias(params)
        return rms_norm(input, self.normalized_shape, weight, self.eps)


@documented_by(local_response_norm)
class LocalResponseNorm(Layer):
    """torch.nn.LocalResponseNorm: `refbp.functional.local_response_norm`; it has no parameters."""

    def __init__(
        self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0, **options: Unpack[LayerOptions]
    ) -> None:
        super().__init__(**options)
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def op(self, input: Array, *params: Array) -> tuple[Array, Backward]:
        return local_response_norm(input, self.size, self.alpha, self.beta, self.k)
