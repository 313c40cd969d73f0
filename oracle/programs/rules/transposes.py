"""Rules of the backward passes of linear operations, and of those that choose: their own gradients are the operations again."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from oracle.programs.geometry import mapped
from oracle.programs.rules import images, indexing
from oracle.programs.table import rule

Linear = Callable[[Any], tuple[Any, Callable[..., Any]]]


def _transposed(g: Any, shape: Any, operation: Linear) -> Any:
    """The backward pass of a linear operation on arrays of this shape; its gradient is the operation itself."""
    _, back = operation(np.zeros_like(g, shape=tuple(shape)))
    return back(g)[0], lambda G: (operation(G)[0],)


@rule("avg_pool2d_backward")
def avg_pool2d_backward(grad_output: Any, input: Any, *options: Any) -> Any:
    """The gradient of avg_pool2d; avg_pool2d of G."""
    return _transposed(grad_output, input.shape, lambda x: images.avg_pool2d(x, *options))


@rule("avg_pool3d_backward")
def avg_pool3d_backward(grad_output: Any, input: Any, *options: Any) -> Any:
    """The gradient of avg_pool3d; avg_pool3d of G."""
    return _transposed(grad_output, input.shape, lambda x: images.avg_pool3d(x, *options))


@rule("_adaptive_avg_pool2d_backward")
def adaptive_avg_pool2d_backward(grad_output: Any, input: Any) -> Any:
    """The gradient of adaptive_avg_pool2d; adaptive_avg_pool2d of G."""
    size = grad_output.shape[-2:]
    return _transposed(grad_output, input.shape, lambda x: images.adaptive_avg_pool2d(x, size))


@rule("upsample_nearest1d_backward", "upsample_nearest2d_backward", "upsample_nearest3d_backward")
def upsample_nearest_backward(grad_output: Any, output_size: Any, input_size: Any, *scales: Any) -> Any:
    """The gradient of upsample in mode nearest; upsample of G."""
    return _transposed(grad_output, input_size, lambda x: images.upsample_nearest(x, output_size, *scales))


@rule("upsample_linear1d_backward", "upsample_bilinear2d_backward", "upsample_trilinear3d_backward")
def upsample_linear_backward(
    grad_output: Any, output_size: Any, input_size: Any, align_corners: bool, *scales: Any
) -> Any:
    """The gradient of upsample in the modes linear, bilinear and trilinear; upsample of G."""
    return _transposed(
        grad_output, input_size, lambda x: images.upsample_linear(x, output_size, align_corners, *scales)
    )


@rule(*(f"reflection_pad{rank}d_backward" for rank in (1, 2, 3)))
def reflection_pad_backward(grad_output: Any, input: Any, padding: Any) -> Any:
    """The gradient of reflection padding; G padded."""
    return _transposed(grad_output, input.shape, lambda x: images.reflection_pad(x, padding))


@rule(*(f"replication_pad{rank}d_backward" for rank in (1, 2, 3)))
def replication_pad_backward(grad_output: Any, input: Any, padding: Any) -> Any:
    """The gradient of replication padding; G padded."""
    return _transposed(grad_output, input.shape, lambda x: images.replication_pad(x, padding))


@rule("embedding_dense_backward")
def embedding_backward(
    grad_output: Any, indices: Any, num_weights: int, padding_idx: int, scale_grad_by_freq: bool
) -> Any:
    """g added to the rows that were read; the rows of G, none of padding_idx."""
    shape = (num_weights, grad_output.shape[-1])
    y, _ = _transposed(grad_output, shape, lambda x: indexing.embedding(x, indices, padding_idx, scale_grad_by_freq))

    def backward(G: Any) -> Any:
        read = mapped(G, lambda own: own[indices])
        if scale_grad_by_freq:
            read = read / np.bincount(indices.reshape(-1))[indices].astype(float)[..., None]
        return (np.where((indices == padding_idx)[..., None], 0.0, read),)

    return y, backward


@rule("unfold_backward")
def unfold_backward(grad_in: Any, input_sizes: Any, dim: int, size: int, step: int) -> Any:
    """Windows along a dimension added up; the windows of G."""
    shape = tuple(input_sizes)
    axis = dim % len(shape)
    windows = np.arange(grad_in.shape[axis])[:, None] * step + np.arange(size)  # (windows, size)

    def opened(x: Any) -> Any:
        return mapped(x, lambda own: np.moveaxis(np.take(own, windows, axis=axis), axis + 1, -1))

    y = np.zeros_like(grad_in, shape=shape)
    ordered = mapped(grad_in, lambda own: np.moveaxis(own, -1, axis + 1))
    index: Any = (*(slice(None),) * axis, windows)
    np.add.at(y, index, ordered)
    return y, lambda G: (opened(G),)


@rule("slice_backward", moves=True)
def slice_backward(grad_output: Any, input_sizes: Any, dim: int, start: int, end: int, step: int) -> Any:
    """g in its place among zeros; its place of G."""
    shape = tuple(input_sizes)
    index = (slice(None),) * (dim % len(shape)) + (slice(start, min(end, shape[dim]), step),)
    return _placed(grad_output, shape, index)


@rule("select_backward", moves=True)
def select_backward(grad_output: Any, input_sizes: Any, dim: int, index: int) -> Any:
    """g in its place among zeros; its place of G."""
    shape = tuple(input_sizes)
    return _placed(grad_output, shape, (slice(None),) * (dim % len(shape)) + (index,))


def _placed(g: Any, shape: tuple[int, ...], index: Any) -> Any:
    def among_zeros(component: Any) -> Any:
        result = np.zeros(shape, component.dtype)
        result[index] = component
        return result

    return mapped(g, among_zeros), lambda G: (mapped(G, lambda own: own[index]),)


@rule("max_pool2d_with_indices_backward")
def max_pool2d_backward(
    grad_output: Any, input: Any, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool, indices: Any
) -> Any:  # fmt: skip
    """g added to the elements that were chosen; G at these."""
    return _to_chosen(grad_output, input.shape, indices, 2)


@rule("max_pool3d_with_indices_backward")
def max_pool3d_backward(
    grad_output: Any, input: Any, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool, indices: Any
) -> Any:  # fmt: skip
    """g added to the elements that were chosen; G at these."""
    return _to_chosen(grad_output, input.shape, indices, 3)


@rule("adaptive_max_pool2d_backward")
def adaptive_max_pool2d_backward(grad_output: Any, input: Any, indices: Any) -> Any:
    """g added to the elements that were chosen; G at these."""
    return _to_chosen(grad_output, input.shape, indices, 2)


def _to_chosen(g: Any, shape: tuple[int, ...], indices: Any, rank: int) -> Any:
    """indices: in each plane, the flat position of the chosen element."""
    planes = math.prod(shape[:-rank])
    flat = indices.reshape(planes, -1)
    places = (np.arange(planes)[:, None], flat)
    y = np.zeros_like(g, shape=(planes, math.prod(shape[-rank:])))
    np.add.at(y, places, g.reshape(flat.shape))

    def backward(G: Any) -> Any:
        return (mapped(G.reshape(y.shape), lambda own: own[places]).reshape(indices.shape),)

    return y.reshape(shape), backward
