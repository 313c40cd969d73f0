"""Layers that only rearrange elements; the backward rearranges them back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Unpack

import numpy as np

from refbp.arrays import Array, Backward
from refbp.docstring import documented_by
from refbp.layer import Layer, LayerOptions
from refbp.windows import batch_last


def identity(input: Array) -> tuple[Array, Backward]:
    """y = x, grad_input = grad_output. Shape: any, kept."""
    return input, lambda grad_output: grad_output


def flatten(input: Array, start_dim: int = 0, end_dim: int = -1) -> tuple[Array, Backward]:
    """The dimensions from start_dim to end_dim merged into one, in row-major order.

    Shape: (*before, *flattened, *after) -> (*before, product of flattened, *after).
    Gradients: grad_output in the input's shape.
    Raises: ValueError for dimensions that the input does not have, or an end before the start.
    """
    rank = max(input.ndim, 1)
    start, end = (dim + rank if dim < 0 else dim for dim in (start_dim, end_dim))
    if not 0 <= start <= end < rank:
        raise ValueError(
            f"flatten expects start_dim <= end_dim within {input.ndim} dimensions, got {start_dim}, {end_dim}"
        )
    shape = (*input.shape[:start], math.prod(input.shape[start : end + 1]), *input.shape[end + 1 :])
    images = start == 1 and end > 1

    def backward(grad_output: Array) -> Array:
        grad_input = grad_output.reshape(input.shape)
        return batch_last(grad_input) if images else grad_input  # the memory order of convolution and pooling

    return input.reshape(shape), backward


def unflatten(input: Array, dim: int, unflattened_size: Sequence[int]) -> tuple[Array, Backward]:
    """The dimension `dim` split into several, in row-major order; one of their sizes may be -1, and is then inferred.

    Shape: (*before, size, *after) -> (*before, *unflattened_size, *after).
    Gradients: grad_output in the input's shape.
    Raises: ValueError for a dimension that the input does not have, or sizes whose product is not its size.
    """
    axis = dim + input.ndim if dim < 0 else dim
    if not 0 <= axis < input.ndim:
        raise ValueError(f"unflatten expects dim within {input.ndim} dimensions, got {dim}")
    sizes, size = list(unflattened_size), input.shape[axis]
    known = math.prod(n for n in sizes if n != -1)
    if sizes.count(-1) == 1 and known and size % known == 0:
        sizes[sizes.index(-1)] = size // known
    if -1 in sizes or math.prod(sizes) != size:
        raise ValueError(f"unflatten expects sizes that make up {size}, got {tuple(unflattened_size)}")
    shape = (*input.shape[:axis], *sizes, *input.shape[axis + 1 :])
    return input.reshape(shape), lambda grad_output: grad_output.reshape(input.shape)


def pixel_shuffle(input: Array, upscale_factor: int) -> tuple[Array, Backward]:
    """Moves channels to pixels: y[c, h r + i, w r + j] = x[c r² + i r + j, h, w]. Source: Shi et al., arXiv:1609.05158.

    Shape: (*, C r², H, W) -> (*, C, H r, W r), with r the upscale_factor.
    Gradients: grad_input = pixel_unshuffle(grad_output).
    Raises: ValueError for fewer than 3 dimensions, or channels that r² does not divide.
    """
    r = upscale_factor
    if input.ndim < 3 or r < 1 or input.shape[-3] % (r * r):
        raise ValueError(f"pixel_shuffle expects (*, C, H, W) with C divisible by {r}², got {input.shape}")
    return _shuffled(input, r), lambda grad_output: _unshuffled(grad_output, r)


def pixel_unshuffle(input: Array, downscale_factor: int) -> tuple[Array, Backward]:
    """Moves pixels to channels: y[c r² + i r + j, h, w] = x[c, h r + i, w r + j], the inverse of pixel_shuffle.

    Shape: (*, C, H r, W r) -> (*, C r², H, W), with r the downscale_factor.
    Gradients: grad_input = pixel_shuffle(grad_output).
    Raises: ValueError for fewer than 3 dimensions, or sides that r does not divide.
    """
    r = downscale_factor
    if input.ndim < 3 or r < 1 or input.shape[-2] % r or input.shape[-1] % r:
        raise ValueError(f"pixel_unshuffle expects (*, C, H, W) with H and W divisible by {r}, got {input.shape}")
    return _unshuffled(input, r), lambda grad_output: _shuffled(grad_output, r)


def _shuffled(x: Array, r: int) -> Array:
    *lead, channels, height, width = x.shape
    split = x.reshape((*lead, channels // (r * r), r, r, height, width))
    n = len(lead)
    moved = np.moveaxis(split, (n + 3, n + 1, n + 4, n + 2), (n + 1, n + 2, n + 3, n + 4))  # (*, C, H, r, W, r)
    return moved.reshape((*lead, channels // (r * r), height * r, width * r))


def _unshuffled(x: Array, r: int) -> Array:
    *lead, channels, height, width = x.shape
    split = x.reshape((*lead, channels, height // r, r, width // r, r))
    n = len(lead)
    moved = np.moveaxis(split, (n + 2, n + 4, n + 1, n + 3), (n + 1, n + 2, n + 3, n + 4))  # (*, C, r, r, H, W)
    return moved.reshape((*lead, channels * r * r, height // r, width // r))


@documented_by(identity)
class Identity(Layer):
    """torch.nn.Identity: `refbp.functional.identity`; its constructor takes any arguments and ignores them."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(**{key: options[key] for key in ("dtype", "rng") if key in options})

    def op(self, input: Array, *params: Array) -> tuple[Array, Backward]:
        return identity(input)


@documented_by(flatten)
class Flatten(Layer):
    """torch.nn.Flatten: `refbp.functional.flatten`; by default it merges all dimensions after the batch.

    >>> refbp.Flatten()(np.ones((5, 3, 8, 8))).shape
    (5, 192)
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self.start_dim, self.end_dim = start_dim, end_dim

    def op(self, input: Array, *params: Array) -> tuple[Array, Backward]:
        return flatten(input, self.start_dim, self.end_dim)


@documented_by(unflatten)
class Unflatten(Layer):
    """torch.nn.Unflatten: `refbp.functional.unflatten`."""

    def __init__(self, dim: int, unflattened_size: Sequence[int], **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self.dim, self.unflattened_size = dim, tuple(unflattened_size)

    def op(self, input: Array, *params: Array) -> tuple[Array, Backward]:
        return unflatten(input, self.dim, self.unflattened_size)


@documented_by(pixel_shuffle)
class PixelShuffle(Layer):
    """torch.nn.PixelShuffle: `refbp.functional.pixel_shuffle`."""

    def __init__(self, upscale_factor: int, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self.upscale_factor = upscale_factor

    def op(self, input: Array, *params: Array) -> tuple[Array, Backward]:
        return pixel_shuffle(input, self.upscale_factor)


@documented_by(pixel_unshuffle)
class PixelUnshuffle(Layer):
    """torch.nn.PixelUnshuffle: `refbp.functional.pixel_unshuffle`."""

    def __init__(self, downscale_factor: int, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self.downscale_factor = downscale_factor

    def op(self, input: Array, *params: Array) -> tuple[Array, Backward]:
        return pixel_unshuffle(input, self.downscale_factor)
