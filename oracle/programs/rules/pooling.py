"""Rules of pooling over windows that were drawn, of its inverse, and of dropout's backward pass."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from oracle.case.arrays import Array
from oracle.programs.adjoint import plain
from oracle.programs.geometry import mapped
from oracle.programs.table import rule


def _planes(x: Any, rank: int) -> Any:
    """(…, D, H, W) -> (…, D H W)."""
    return x.reshape(*x.shape[: x.ndim - rank], -1)


def _put(x: Any, indices: Any, size: Any) -> Any:
    """Each element written at its index of a plane of zeros."""
    rank = len(size)
    shape = (*x.shape[: x.ndim - rank], *size)

    def placed(component: Any) -> Any:
        result = np.zeros((*shape[: len(shape) - rank], math.prod(size)), component.dtype)
        np.put_along_axis(result, _planes(indices, rank), _planes(np.broadcast_to(component, x.shape), rank), -1)
        return result.reshape(shape)

    return mapped(x, placed)


def _taken(x: Any, indices: Any, rank: int) -> Any:
    """The elements of planes at indices."""
    return mapped(
        x, lambda own: np.take_along_axis(_planes(own, rank), _planes(indices, rank), -1).reshape(indices.shape)
    )


def _added(g: Any, indices: Any, size: Any) -> Any:
    """Each element added at its index of a plane of zeros."""
    rank = len(size)
    rows = math.prod(g.shape[: g.ndim - rank])
    whole = np.zeros_like(g, shape=(rows, math.prod(size)))
    np.add.at(whole, (np.arange(rows)[:, None], indices.reshape(rows, -1)), g.reshape(rows, -1))
    return whole.reshape(*g.shape[: g.ndim - rank], *size)


@rule("max_unpool2d", moves=True)
def max_unpool2d(input: Any, indices: Any, output_size: Any) -> Any:
    """Each element written at its index of an array of zeros; g at the index."""
    return _put(input, indices, output_size), lambda g: (_taken(g, indices, 2),)


@rule("max_unpool3d", moves=True)
def max_unpool3d(input: Any, indices: Any, output_size: Any, stride: Any, padding: Any) -> Any:
    """Each element written at its index of an array of zeros; g at the index."""
    return _put(input, indices, output_size), lambda g: (_taken(g, indices, 3),)


def _starts(samples: Array, size: int, made: int, kernel: int) -> Array:
    """The first element of each window along a dimension, (N C, windows), from the numbers that were drawn."""
    step = (size - kernel) / (made - 1) if made > 1 else 0.0
    places = np.floor((np.arange(made) + samples[:, None]) * step) - np.floor(samples * step)[:, None]
    places[:, made - 1] = size - kernel
    starts: Array = places.astype(int)
    return starts


def _fractional(input: Any, kernel: Any, output_size: Any, samples: Any, order: Any, shown: Any) -> Any:
    rank, sizes = len(kernel), input.shape[-len(kernel) :]
    lead = input.shape[:-rank]
    rows = math.prod(lead)
    drawn = plain(samples).reshape(rows, rank)
    places = np.zeros((rows, *[1] * (2 * rank)), int)  # (N C, windows of each dimension, elements of each)
    for axis, size in enumerate(sizes):
        starts = _starts(drawn[:, order[axis]], size, output_size[axis], kernel[axis])
        own = starts[:, :, None] + np.arange(kernel[axis])
        shape = [rows, *[1] * (2 * rank)]
        shape[1 + axis], shape[1 + rank + axis] = own.shape[1:]
        places = places * size + own.reshape(shape)
    places = places.reshape(rows, math.prod(output_size), math.prod(kernel))
    windows = mapped(
        input, lambda own: own.reshape(rows, -1)[np.arange(rows)[:, None, None], places]
    )  # (N C, windows, elements)
    y, indices = np.max(windows, axis=-1), shown[1].numbers
    return (y.reshape(*lead, *output_size), indices), lambda g, _: (_added(g, indices, sizes),)


@rule("fractional_max_pool2d", shown=True)
def fractional_max_pool2d(input: Any, kernel_size: Any, output_size: Any, random_samples: Any, *, shown: Any) -> Any:
    """The maximum of each window, where these begin at random; g added to it."""
    return _fractional(input, kernel_size, output_size, random_samples, (1, 0), shown)


@rule("fractional_max_pool3d", shown=True)
def fractional_max_pool3d(input: Any, kernel_size: Any, output_size: Any, random_samples: Any, *, shown: Any) -> Any:
    """The maximum of each window, where these begin at random; g added to it."""
    return _fractional(input, kernel_size, output_size, random_samples, (0, 1, 2), shown)


@rule("native_dropout_backward")
def native_dropout_backward(grad_output: Any, mask: Any, scale: float) -> Any:
    """x times the mask and a factor; g times these."""
    kept = np.asarray(mask).astype(float)

    def scaled(x: Any) -> Any:
        return x * kept if scale == 1 else x * kept * float(scale)

    return scaled(grad_output), lambda g: (scaled(g),)
