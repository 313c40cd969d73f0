"""Adaptive pooling: the output size is given, and bins differ in size where it does not divide the input's.

A bin is a product of ranges, so pooling goes along one dimension after the other: the cost of each step is proportional to its
number of elements.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias, Unpack

import numpy as np

from refbp.arrays import Array, Backward
from refbp.docstring import documented_by
from refbp.layer import LayerOptions
from refbp.max_pooling import Indices, PoolWithIndices, shares, tournament, winners
from refbp.ranks import OfRank
from refbp.special import where
from refbp.windows import Positions, as_slice, batch_last

OutputSize: TypeAlias = int | Sequence[int | None] | None


class _Bins(NamedTuple):
    """The bins of one dimension: bin i of m holds the elements ⌊i n / m⌋ ≤ j < ⌈(i + 1) n / m⌉ of n; bins may share elements.

    axis: the dimension, as a negative index.
    size: n.
    starts, lengths: the first element and the number of elements of each bin.
    """

    axis: int
    size: int
    starts: Positions
    lengths: Positions

    def at(self, positions: Positions) -> tuple[Any, ...]:
        """The index that selects these positions of this dimension, and all of the others."""
        return (..., as_slice(positions), *(slice(None),) * (-1 - self.axis))

    def resized(self, shape: tuple[int, ...], size: int) -> tuple[int, ...]:
        """`shape` with `size` elements in this dimension."""
        return (*shape[: self.axis], size, *shape[len(shape) + self.axis + 1 :])

    def taps(self) -> range:
        """The numbers 0, 1, … of the elements within the largest bin."""
        return range(int(self.lengths.max(initial=1)))

    def sources(self, tap: int) -> Positions:
        """Element number `tap` of each bin; the last element of a bin that has fewer."""
        return self.starts + np.minimum(tap, self.lengths - 1)

    def pairs(self) -> Iterator[tuple[Any, Any]]:
        """Indices of bins and of their elements, each pair once. It loops over bins or over taps, whichever are fewer."""
        if len(self.starts) > len(self.taps()):
            for tap in self.taps():
                yield from self.distinct(tap)
        else:
            for i, (start, length) in enumerate(zip(self.starts, self.lengths, strict=True)):
                yield self.at(np.arange(i, i + 1)), self.at(np.arange(start, start + length))

    def distinct(self, tap: int) -> Iterator[tuple[Any, Any]]:
        """Indices of the bins that have an element number `tap`, and of these elements; within one index no element repeats."""
        at_once = -(-len(self.starts) // self.size)
        for first in range(at_once):
            bins = np.arange(first, len(self.starts), at_once)
            bins = bins[tap < self.lengths[bins]]
            yield self.at(bins), self.at(self.starts[bins] + tap)


def _bins(input: Array, rank: int, output_size: OutputSize, name: str) -> list[_Bins]:
    """The bins of each pooled dimension, the last dimension first. Raises: ValueError."""
    if input.ndim not in (rank + 1, rank + 2):
        raise ValueError(f"{name} expects {rank + 1} or {rank + 2} dimensions, got shape {input.shape}")
    inner = input.shape[-rank:]
    asked = tuple(output_size) if isinstance(output_size, Iterable) else (output_size,) * rank
    if len(asked) != rank or any(not (m is None or (isinstance(m, int | np.integer) and m >= 0)) for m in asked):
        raise ValueError(f"{name} expects output_size as an int or None, or {rank} of them, got {output_size!r}")
    if min(inner) < 1:
        raise ValueError(f"{name} expects at least one element in each dimension, got shape {input.shape}")
    found = []
    for axis in range(-1, -1 - rank, -1):
        n, size = inner[axis], asked[axis]
        m = n if size is None else size
        index = np.arange(m)
        starts = index * n // max(m, 1)
        found.append(_Bins(axis, n, starts, -(-(index + 1) * n // max(m, 1)) - starts))
    return found


def _sums(x: Array, bins: _Bins) -> Array:
    """The sum of each bin along its dimension."""
    result = np.zeros_like(x, shape=bins.resized(x.shape, len(bins.starts)))
    for holders, elements in bins.pairs():
        part = x[elements]
        result[holders] += part if part.shape == result[holders].shape else np.sum(part, axis=bins.axis, keepdims=True)
    return result


def _spread(grad: Array, bins: _Bins) -> Array:
    """The adjoint of `_sums`: each element receives the sum over all bins that hold it."""
    result = np.zeros_like(grad, shape=bins.resized(grad.shape, bins.size))
    for holders, elements in bins.pairs():
        result[elements] += grad[holders]
    return result


def adaptive_avg_pool(rank: int, input: Array, output_size: OutputSize) -> tuple[Array, Backward]:
    """The average of each bin; in each dimension bin i of m holds the elements ⌊i n / m⌋ ≤ j < ⌈(i + 1) n / m⌉ of n.

    Args: output_size is an int, or one per dimension; None keeps the input's size.
    Shape: (N, C, *sides) or (C, *sides) -> the same with output_size for the sides.
    Gradients: each bin spreads grad_output, divided by its number of elements, over them; bins that share elements add up.
    Raises: ValueError for another number of dimensions or sizes, or a side without elements.
    """
    dimensions = _bins(input, rank, output_size, f"adaptive_avg_pool{rank}d")
    counts = np.ones((), dtype=np.int64)
    for bins in reversed(dimensions):
        counts = counts[..., np.newaxis] * bins.lengths
    divisors = counts.astype(input.dtype)
    total = input
    for bins in reversed(dimensions):
        total = _sums(total, bins)

    def backward(grad_output: Array) -> Array:
        grad: Array = batch_last(grad_output) / divisors
        for bins in dimensions:
            grad = _spread(grad, bins)
        return grad

    return total / divisors, backward


def _largest(x: Array, bins: _Bins) -> tuple[Array, Callable[[Indices], Indices], Backward]:
    """The largest element of each bin along its dimension, a function that takes these elements' places, and the backward."""
    sources = [bins.sources(tap) for tap in bins.taps()]
    column = (-1, *(1,) * (-1 - bins.axis))

    def challengers() -> Iterator[tuple[Array, None]]:
        for tap, source in enumerate(sources):
            elements, within = x[bins.at(source)], tap < bins.lengths
            yield elements if within.all() else where(within.reshape(column), elements, -math.inf), None

    best, rounds = tournament(challengers())

    def winning(places: Indices) -> Indices:
        return winners(rounds, [np.take(places, source, bins.axis) for source in sources])

    def backward(grad: Array) -> Array:
        result = np.zeros_like(x)
        for tap, share in zip(reversed(bins.taps()), shares(rounds, grad), strict=True):
            for holders, elements in bins.distinct(tap):
                result[elements] += share[holders]
        return result

    return best, winning, backward


def adaptive_max_pool(
    rank: int, input: Array, output_size: OutputSize, return_indices: bool = False
) -> tuple[Any, Backward]:
    """The largest element of each bin; in each dimension bin i of m holds the elements ⌊i n / m⌋ ≤ j < ⌈(i + 1) n / m⌉ of n.

    Args: output_size is an int, or one per dimension; None keeps the input's size. With return_indices the result is
        ((output, indices), backward).
    Shape: (N, C, *sides) or (C, *sides) -> the same with output_size for the sides; the indices are flat within the sides of
        one channel.
    Gradients: grad_input is the sum, over all bins that an element wins, of their grad_output.
    Raises: ValueError for another number of dimensions or sizes, or a side without elements.
    Conventions: of equal elements the first in row-major order receives all of the gradient. NaN exceeds every number; of
        several NaN the last one receives it.
    """
    best, steps = batch_last(input), []
    for bins in _bins(input, rank, output_size, f"adaptive_max_pool{rank}d"):
        best, *step = _largest(best, bins)
        steps.append(step)

    def backward(grad_output: Array) -> Array:
        grad = batch_last(grad_output)
        for _, step_backward in reversed(steps):
            grad = step_backward(grad)
        return grad

    if not return_indices:
        return best, backward
    inner = input.shape[-rank:]
    places = np.broadcast_to(np.arange(math.prod(inner)).reshape(inner), input.shape)
    for winning, _ in steps:
        places = winning(places)
    return (best, places), backward


@documented_by(adaptive_avg_pool)
class _AdaptiveAvgPool(OfRank):
    """torch.nn.{name}: `refbp.functional.adaptive_avg_pool{rank}d` of (N, C, *sides) or (C, *sides)."""

    def __init__(self, output_size: OutputSize, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self.output_size = output_size

    def op(self, input: Array, *params: Array) -> tuple[Array, Backward]:
        return adaptive_avg_pool(self.rank, input, self.output_size)


class AdaptiveAvgPool1d(_AdaptiveAvgPool, rank=1):
    """Averages of output_size ranges."""


class AdaptiveAvgPool2d(_AdaptiveAvgPool, rank=2):
    """Averages of output_size rectangles."""


class AdaptiveAvgPool3d(_AdaptiveAvgPool, rank=3):
    """Averages of output_size boxes."""


@documented_by(adaptive_max_pool)
class _AdaptiveMaxPool(PoolWithIndices):
    """torch.nn.{name}: `refbp.functional.adaptive_max_pool{rank}d` of (N, C, *sides) or (C, *sides).

    With return_indices a call gives (output, indices); `backward` takes the output's gradient alone.
    """

    def __init__(self, output_size: OutputSize, return_indices: bool = False, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self.output_size, self.return_indices = output_size, return_indices

    def pooled(self, input: Array) -> tuple[Any, Backward]:
        return adaptive_max_pool(self.rank, input, self.output_size, self.return_indices)


class AdaptiveMaxPool1d(_AdaptiveMaxPool, rank=1):
    """Maxima of output_size ranges."""


class AdaptiveMaxPool2d(_AdaptiveMaxPool, rank=2):
    """Maxima of output_size rectangles."""


class AdaptiveMaxPool3d(_AdaptiveMaxPool, rank=3):
    """Maxima of output_size boxes."""
