"""Padding and window views over the last dimensions, each with its adjoint. Convolution and pooling are built on them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import product
from operator import index
from types import EllipsisType
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from refbp.arrays import Array

Sizes: TypeAlias = tuple[int, ...]
Sides: TypeAlias = Sequence[tuple[int, int]]
Positions: TypeAlias = npt.NDArray[np.intp]
Ints: TypeAlias = int | Sequence[int]
Index: TypeAlias = tuple[EllipsisType | slice | int, ...]


def sizes(value: int | Sequence[int], rank: int, name: str, least: int | None = 0) -> Sizes:
    """One int per dimension; as in torch a single int, or a sequence of one, stands for all dimensions.

    Raises: ValueError for another number of them, for anything but ints, or for one below `least`.
    """
    try:
        result = tuple(map(index, value)) if isinstance(value, Iterable) else (index(value),)
    except TypeError:
        result = ()
    result = result * rank if len(result) == 1 else result
    if len(result) != rank or (least is not None and min(result) < least):
        bound = "" if least is None else f" of at least {least}"
        raise ValueError(f"{name} expects an int{bound}, or {rank} of them, got {value!r}")
    return result


def batch_last(x: Array) -> Array:
    """`x` with its first dimension, the batch, innermost in memory; `x` itself if it is so already.

    The shape stays the same. Windows and taps over the other dimensions are then long contiguous runs of memory even for small
    images, and a sum over batch and positions is one run per channel.
    """
    moved = np.moveaxis(x, 0, -1)
    return np.moveaxis(moved.reshape(-1).reshape(moved.shape), -1, 0)  # flattening copies unless memory has this order


def empty_batch_last(x: Array, shape: Sizes) -> Array:
    """An uninitialised array of this shape and of `x`'s class and dtype, in the memory layout of `batch_last`."""
    flat = x[:0].reshape(-1)  # empty_like would keep the order of x's dimensions
    return np.moveaxis(np.empty_like(flat, shape=(*shape[1:], shape[0])), -1, 0)


def padded(x: Array, sides: Sides, value: float = 0.0) -> Array:
    """`x` with (before, after) elements of `value` added to each of its last dimensions."""
    if not any(before or after for before, after in sides):
        return x
    lead = x.ndim - len(sides)
    inner = x.shape[lead:]
    shape = (*x.shape[:lead], *(size + sum(side) for size, side in zip(inner, sides, strict=True)))
    result = np.zeros_like(x, shape=shape) if value == 0 else np.full_like(x, value, shape=shape)
    result[inside(inner, sides)] = x
    return result


def inside(inner: Sizes, sides: Sides) -> Index:
    """The index of the unpadded array in the padded one; indexing with it is the adjoint of padding with a constant."""
    return (..., *(slice(before, before + size) for size, (before, _) in zip(inner, sides, strict=True)))


# Source position of each position of a padded dimension of `size`, by mode.
PADDING_SOURCES: dict[str, Callable[[Positions, int], Positions]] = {
    "reflect": lambda position, size: size - 1 - np.abs(size - 1 - np.abs(position)),
    "replicate": lambda position, size: np.minimum(np.maximum(position, 0), size - 1),
    "circular": lambda position, size: position % size,
}


def taken(x: Array, sources: Sequence[Positions]) -> Array:
    """The elements at these positions of the last dimensions, one list per dimension; a position may repeat."""
    lead = x.ndim - len(sources)
    for axis, source in enumerate(sources):
        x = np.take(x, source, axis=lead + axis)
    return x


def added_back(grad: Array, inner: Sizes, sources: Sequence[Positions]) -> Array:
    """The adjoint of `taken`: the gradient of each element that was taken is added to its position."""
    for axis, (size, source) in enumerate(zip(inner, sources, strict=True), grad.ndim - len(sources)):
        grad = added_back_along(axis, grad, size, source)
    return grad


def added_back_along(axis: int, grad: Array, size: int, source: Positions) -> Array:
    """The adjoint of `np.take(x, source, axis)`, for an x of this size along the axis."""
    before: Index = (slice(None),) * axis
    result = np.zeros_like(grad, shape=(*grad.shape[:axis], size, *grad.shape[axis + 1 :]))
    # Positions that were taken one after the other are added as one run.
    for run in np.split(np.arange(len(source)), np.flatnonzero(np.diff(source) != 1) + 1):
        if len(run):
            origin = int(source[run[0]])
            there, here = (*before, slice(origin, origin + len(run))), (*before, slice(int(run[0]), int(run[-1]) + 1))
            result[there] += grad[here]
    return result


def as_slice(positions: Positions) -> slice | Positions:
    """The positions as a slice if they ascend in equal steps, so that indexing gives a view; else the positions themselves."""
    if len(positions) == 0:
        return slice(0, 0)
    first, last = int(positions[0]), int(positions[-1])
    step = max((last - first) // max(len(positions) - 1, 1), 1)
    even = slice(first, last + 1, step)
    return even if np.array_equal(positions, np.arange(first, last + 1, step)) else positions


def padding_sources(inner: Sizes, sides: Sides, mode: str) -> list[Positions]:
    """For each dimension the positions that the padded array copies: mode "reflect", "replicate" or "circular".

    Raises: ValueError if the input has too few elements, or if every side would be empty. As in torch one side may be empty if
        another is not; in mode "circular" all sides may be empty.
    Conventions: negative numbers crop. As in torch "reflect" pads before it crops, "circular" crops before it pads.
    """
    least = 0 if mode == "circular" else 1
    if max(size + sum(side) for size, side in zip(inner, sides, strict=True)) < least:
        raise ValueError(f"{mode} padding expects sides that leave something of {tuple(inner)}, got {list(sides)}")
    sources = []
    for size, (before, after) in zip(inner, sides, strict=True):
        first, last = (max(-before, 0), size - max(-after, 0)) if mode == "circular" else (0, size)
        most = {"reflect": size - 1, "circular": last - first}.get(mode, max(before, after))
        if size < least or max(before, after) > most or size + before + after < 0:
            raise ValueError(f"{mode} padding expects sides that a size of {size} can fill, got {(before, after)}")
        positions = np.arange(-before - first, size + after - first)
        sources.append(first + PADDING_SOURCES[mode](positions, last - first))
    return sources


def window_counts(size: Sizes, kernel: Sizes, stride: Sizes, dilation: Sizes) -> Sizes:
    """The number of windows that fit into each dimension."""
    return tuple((n - d * (k - 1) - 1) // s + 1 for n, k, s, d in zip(size, kernel, stride, dilation, strict=True))


def windows(x: Array, kernel: Sizes, stride: Sizes, dilation: Sizes) -> Array:
    """Every window as a view: (*lead, *size) -> (*lead, *counts, *kernel).

    Tap t of window o is the element o * stride + t * dilation.
    """
    rank = len(kernel)
    reach = tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True))
    view = np.lib.stride_tricks.sliding_window_view(x, reach, axis=tuple(range(x.ndim - rank, x.ndim)))
    steps: Index = (..., *(slice(None, None, s) for s in stride), *(slice(None, None, d) for d in dilation))
    return view[steps]


def taps(kernel: Sizes, stride: Sizes, dilation: Sizes, counts: Sizes, first: int = 0) -> Iterator[tuple[Sizes, Index]]:
    """Each tap of the kernel, in row-major order, with the index of the elements that it reads in all windows.

    first: the number, in the first dimension, of the first of these windows.
    """
    begins = [first * stride[0], *(0 for _ in kernel[1:])]
    slices = [
        [slice(begin + t * d, begin + t * d + n * s, s) for t in range(k)]
        for k, s, d, n, begin in zip(kernel, stride, dilation, counts, begins, strict=True)
    ]
    for tap, positions in zip(product(*map(range, kernel)), product(*slices), strict=True):
        yield tap, (..., *positions)


def add_windows(result: Array, grads: Array, kernel: Sizes, stride: Sizes, dilation: Sizes, first: int = 0) -> None:
    """Adds the adjoint of `windows` to `result`: each element receives the gradients of all windows and taps that read it.

    Shape: grads (*lead, *counts, *kernel), for windows from number `first` on in the first dimension; result (*lead, *size).
    """
    rank = len(kernel)
    for tap, positions in taps(kernel, stride, dilation, grads.shape[-2 * rank : -rank], first):
        at_tap: Index = (..., *tap)
        result[positions] += grads[at_tap]


class PoolGeometry(NamedTuple):
    """The windows of a pooling; `sides` is the padding that they need, including that of ceil_mode."""

    inner: Sizes
    kernel: Sizes
    stride: Sizes
    padding: Sizes
    dilation: Sizes
    counts: Sizes
    sides: Sides

    @property
    def reaches_out(self) -> bool:
        return any(map(any, self.sides))

    def taps(self) -> list[Index]:
        return [positions for _, positions in taps(self.kernel, self.stride, self.dilation, self.counts)]


def pool_geometry(
    input: Array,
    rank: int,
    kernel_size: Ints,
    stride: Ints | None,
    padding: Ints,
    dilation: Ints,
    ceil_mode: bool,
    name: str,
) -> PoolGeometry:
    if input.ndim not in (rank + 1, rank + 2):
        raise ValueError(f"{name} expects {rank + 1} or {rank + 2} dimensions, got shape {input.shape}")
    kernel = sizes(kernel_size, rank, f"kernel_size of {name}", 1)
    strides = kernel if stride is None else sizes(stride, rank, f"stride of {name}", 1)
    pads = sizes(padding, rank, f"padding of {name}")
    dilations = sizes(dilation, rank, f"dilation of {name}", 1)
    inner = input.shape[-rank:]
    if min(inner) < 1:
        raise ValueError(f"{name} expects at least one element in each dimension, got shape {input.shape}")
    counts, sides = [], []
    for n, k, s, p, d in zip(inner, kernel, strides, pads, dilations, strict=True):
        if 2 * p > k:
            raise ValueError(f"{name} expects padding of at most half the kernel {k}, got {p}")
        reach = d * (k - 1) + 1
        room = n + 2 * p - reach
        count = (-(-room // s) if ceil_mode else room // s) + 1
        if ceil_mode and (count - 1) * s >= n + p:  # the last window has to start inside the input or its left padding
            count -= 1
        if count < 1:
            raise ValueError(f"{name} expects an input that holds its window of {reach}, got size {n} with padding {p}")
        counts.append(count)
        sides.append((p, max(p, (count - 1) * s + reach - n - p)))
    return PoolGeometry(inner, kernel, strides, pads, dilations, tuple(counts), sides)
