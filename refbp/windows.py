"""Padding and window views over the last dimensions, each with its adjoint: what convolution and pooling are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from types import EllipsisType
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from refbp.layer import Array

Sizes: TypeAlias = tuple[int, ...]
Sides: TypeAlias = Sequence[tuple[int, int]]
Index: TypeAlias = tuple[EllipsisType | slice | int, ...]


def sizes(value: int | Sequence[int], rank: int, name: str, least: int = 0) -> Sizes:
    """One int per dimension. Raises: ValueError for another number of them, or one below `least`."""
    result = (value,) * rank if isinstance(value, int) else tuple(value)
    if len(result) != rank or any(not isinstance(size, int) or size < least for size in result):
        raise ValueError(f"{name} expects an int of at least {least}, or {rank} of them, got {value!r}")
    return result


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
    """Where the unpadded array lies in the padded one: reading it there is the adjoint of padding with a constant."""
    return (..., *(slice(before, before + size) for size, (before, _) in zip(inner, sides, strict=True)))


# Source position of each position of a padded dimension of `size`, by mode.
PADDING_SOURCES: dict[str, Callable[[npt.NDArray[np.intp], int], npt.NDArray[np.intp]]] = {
    "reflect": lambda position, size: size - 1 - np.abs(size - 1 - np.abs(position)),
    "replicate": lambda position, size: np.minimum(np.maximum(position, 0), size - 1),
    "circular": lambda position, size: position % size,
}


def padded_from_inside(x: Array, sides: Sides, mode: str) -> Array:
    """`x` padded with its own elements: mode "reflect", "replicate" or "circular".

    Raises: ValueError when there are not enough of them.
    """
    lead = x.ndim - len(sides)
    for axis, source in _sources(x.shape[lead:], sides, mode):
        x = np.take(x, source, axis=lead + axis)
    return x


def added_inside(grad: Array, inner: Sizes, sides: Sides, mode: str) -> Array:
    """The adjoint of `padded_from_inside`: every copy's gradient is added to its source."""
    lead = grad.ndim - len(sides)
    for axis, source in _sources(inner, sides, mode):
        place = (slice(None),) * (lead + axis)
        shape = (*grad.shape[: lead + axis], inner[axis], *grad.shape[lead + axis + 1 :])
        result = np.zeros_like(grad, shape=shape)
        for position, origin in enumerate(source.tolist()):
            result[(*place, origin)] += grad[(*place, position)]
        grad = result
    return grad


def _sources(inner: Sizes, sides: Sides, mode: str) -> Iterator[tuple[int, npt.NDArray[np.intp]]]:
    spare = {"reflect": 1, "circular": 0}
    for axis, (size, (before, after)) in enumerate(zip(inner, sides, strict=True)):
        if mode in spare and max(before, after) > size - spare[mode]:
            raise ValueError(
                f"{mode} padding {(before, after)} expects at most {size - spare[mode]} on a side of size {size}"
            )
        if before or after:
            yield axis, PADDING_SOURCES[mode](np.arange(-before, size + after), size)


def window_counts(size: Sizes, kernel: Sizes, stride: Sizes, dilation: Sizes) -> Sizes:
    """Number of windows that fit into each dimension."""
    return tuple((n - d * (k - 1) - 1) // s + 1 for n, k, s, d in zip(size, kernel, stride, dilation, strict=True))


def windows(x: Array, kernel: Sizes, stride: Sizes, dilation: Sizes) -> Array:
    """Every window as a view: (*lead, *size) -> (*lead, *counts, *kernel); a window's tap t is at window * stride + t * dilation."""
    rank = len(kernel)
    reach = tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True))
    view = np.lib.stride_tricks.sliding_window_view(x, reach, axis=tuple(range(x.ndim - rank, x.ndim)))
    return view[(..., *(slice(None, None, s) for s in stride), *(slice(None, None, d) for d in dilation))]


def taps(kernel: Sizes, stride: Sizes, dilation: Sizes, counts: Sizes) -> Iterator[tuple[Sizes, Index]]:
    """Each tap of the kernel, in row-major order, with the positions that it takes in all windows."""
    for tap in product(*map(range, kernel)):
        starts = [t * d for t, d in zip(tap, dilation, strict=True)]
        yield tap, (..., *(slice(a, a + n * s, s) for a, s, n in zip(starts, stride, counts, strict=True)))


def windows_added(grads: Array, size: Sizes, kernel: Sizes, stride: Sizes, dilation: Sizes) -> Array:
    """The adjoint of `windows`: each element's gradient is the sum over all windows and taps that read it.

    Shape: (*lead, *counts, *kernel) -> (*lead, *size).
    """
    rank = len(kernel)
    lead, counts = grads.shape[: grads.ndim - 2 * rank], grads.shape[grads.ndim - 2 * rank : grads.ndim - rank]
    result = np.zeros_like(grads, shape=(*lead, *size))
    for tap, positions in taps(kernel, stride, dilation, counts):
        result[positions] += grads[(..., *tap)]
    return result
