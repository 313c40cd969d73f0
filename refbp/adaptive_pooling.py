"""Adaptive pooling: as many bins as asked for, of uneven size where the input does not divide.

A bin is a range in each dimension, so it is pooled along one dimension after the other: each step costs what its elements cost.
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
from refbp.windows import Positions, evenly

OutputSize: TypeAlias = int | Sequence[int | None] | None


class _Bins(NamedTuple):
    """Of one dimension: bin i of n elements in m bins holds those from ⌊i n / m⌋ up to ⌈(i + 1) n / m⌉; bins may share elements.

    axis: the dimension, counted from the last.
    """

    axis: int
    size: int
    starts: Positions
    lengths: Positions

    def at(self, positions: Positions) -> tuple[Any, ...]:
        """Where an array has these positions of this dimension."""
        return (..., evenly(positions), *(slice(None),) * (-1 - self.axis))

    def resized(self, shape: tuple[int, ...], size: int) -> tuple[int, ...]:
        """The shape of an array of `size` in this dimension."""
        return (*shape[: self.axis], size, *shape[len(shape) + self.axis + 1 :])

    def taps(self) -> range:
        """The places within the largest bin."""
        return range(int(self.lengths.max(initial=1)))

    def sources(self, tap: int) -> Positions:
        """The element at this place of each bin; of a bin without such a place its last."""
        return self.starts + np.minimum(tap, self.lengths - 1)

    def pairs(self) -> Iterator[tuple[Any, Any]]:
        """Every bin and its elements, bin by bin or tap by tap, whichever is fewer."""
        if len(self.starts) > len(self.taps()):
            for tap in self.taps():
                yield from self.distinct(tap)
        else:
            for i, (start, length) in enumerate(zip(self.starts, self.lengths, strict=True)):
                yield self.at(np.arange(i, i + 1)), self.at(np.arange(start, start + length))

    def distinct(self, tap: int) -> Iterator[tuple[Any, Any]]:
        """The bins that have such a place, and their elements there: so many at a time that no element comes twice."""
        at_once = -(-len(self.starts) // self.size)
        for first in range(at_once):
            bins = np.arange(first, len(self.starts), at_once)
            bins = bins[tap < self.lengths[bins]]
            yield self.at(bins), self.at(self.starts[bins] + tap)


def _bins(input: Array, rank: int, output_size: OutputSize, name: str) -> list[_Bins]:
    """Those of each dimension, the last one first."""
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
    for own, elements in bins.pairs():
        part = x[elements]
        result[own] += part if part.shape == result[own].shape else np.sum(part, axis=bins.axis, keepdims=True)
    return result


def _spread(grad: Array, bins: _Bins) -> Array:
    """The adjoint of `_sums`: each element receives from all bins that hold it."""
    result = np.zeros_like(grad, shape=bins.resized(grad.shape, bins.size))
    for own, elements in bins.pairs():
        result[elements] += grad[own]
    return result


def adaptive_avg_pool(rank: int, input: Array, output_size: OutputSize) -> tuple[Array, Backward]:
    """The average of each bin; bin i of m over n elements holds those from ⌊i n / m⌋ up to ⌈(i + 1) n / m⌉, in each dimension.

    Args: output_size is an int, or one per dimension; None for as many as there are.
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
        grad: Array = grad_output / divisors
        for bins in dimensions:
            grad = _spread(grad, bins)
        return grad

    return total / divisors, backward


def _largest(x: Array, bins: _Bins) -> tuple[Array, Callable[[Indices], Indices], Backward]:
    """The largest element of each bin along its dimension, the place of the winner among places of all elements, the backward."""
    sources = [bins.sources(tap) for tap in bins.taps()]
    column = (-1, *(1,) * (-1 - bins.axis))

    def challengers() -> Iterator[tuple[Array, None]]:
        for tap, source in enumerate(sources):
            elements, within = np.take(x, source, bins.axis), tap < bins.lengths
            yield elements if within.all() else where(within.reshape(column), elements, -math.inf), None

    best, rounds = tournament(challengers())

    def winning(places: Indices) -> Indices:
        return winners(rounds, [np.take(places, source, bins.axis) for source in sources])

    def backward(grad: Array) -> Array:
        result = np.zeros_like(grad, shape=bins.resized(grad.shape, bins.size))
        for tap, share in zip(reversed(bins.taps()), shares(rounds, grad), strict=True):
            for own, elements in bins.distinct(tap):
                result[elements] += share[own]
        return result

    return best, winning, backward


def adaptive_max_pool(
    rank: int, input: Array, output_size: OutputSize, return_indices: bool = False
) -> tuple[Any, Backward]:
    """The largest element of each bin; bin i of m over n elements holds those from ⌊i n / m⌋ up to ⌈(i + 1) n / m⌉.

    Args: output_size is an int, or one per dimension; None for as many as there are. With return_indices the result is
        ((output, indices), backward).
    Shape: (N, C, *sides) or (C, *sides) -> the same with output_size for the sides; the indices are flat within the sides of
        one channel.
    Gradients: grad_input is the sum, over all bins that an element wins, of their grad_output.
    Raises: ValueError for another number of dimensions or sizes, or a side without elements.
    Conventions: of equal elements the first in row-major order wins all of the gradient; NaN wins, the last one.
    """
    best, steps = input, []
    for bins in _bins(input, rank, output_size, f"adaptive_max_pool{rank}d"):
        best, *step = _largest(best, bins)
        steps.append(step)

    def backward(grad_output: Array) -> Array:
        grad = grad_output
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
