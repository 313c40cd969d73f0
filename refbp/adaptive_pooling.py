"""Adaptive pooling: as many bins as asked for, of uneven size where the input does not divide."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import product
from typing import Any, NamedTuple, TypeAlias, Unpack

import numpy as np

from refbp.docstring import documented_by
from refbp.layer import Array, Backward, Layer, LayerOptions
from refbp.op import checked
from refbp.pooling import Indices, PoolWithIndices, shares, tournament, winners, with_indices
from refbp.windows import Positions, Sizes, added_back, taken

OutputSize: TypeAlias = int | Sequence[int | None] | None


class _Bins(NamedTuple):
    """Bin i of n elements in m bins holds the elements from ⌊i n / m⌋ up to ⌈(i + 1) n / m⌉; bins may share elements."""

    inner: Sizes
    starts: list[Positions]
    lengths: list[Positions]

    def taps(self) -> list[tuple[list[Positions], Any]]:
        """For each place within the largest bin: its source in every bin, and in which bins there is such a place."""
        found = []
        for offsets in product(*(range(int(length.max(initial=0))) for length in self.lengths)):
            sources = [
                np.minimum(start + offset, size - 1)
                for start, offset, size in zip(self.starts, offsets, self.inner, strict=True)
            ]
            within: Any = np.ones((), dtype=np.bool_)
            for offset, length in zip(offsets, self.lengths, strict=True):
                within = within[..., np.newaxis] & (offset < length)
            found.append((sources, within))
        return found


def _bins(input: Array, rank: int, output_size: OutputSize, name: str) -> _Bins:
    if input.ndim not in (rank + 1, rank + 2):
        raise ValueError(f"{name} expects {rank + 1} or {rank + 2} dimensions, got shape {input.shape}")
    inner = input.shape[-rank:]
    asked = tuple(output_size) if isinstance(output_size, Iterable) else (output_size,) * rank
    if len(asked) != rank or any(not (m is None or (isinstance(m, int | np.integer) and m >= 0)) for m in asked):
        raise ValueError(f"{name} expects output_size as an int or None, or {rank} of them, got {output_size!r}")
    if min(inner) < 1:
        raise ValueError(f"{name} expects at least one element in each dimension, got shape {input.shape}")
    starts, lengths = [], []
    for n, size in zip(inner, asked, strict=True):
        m = n if size is None else size
        index = np.arange(m)
        start = index * n // max(m, 1)
        starts.append(start)
        lengths.append(-(-(index + 1) * n // max(m, 1)) - start)
    return _Bins(inner, starts, lengths)


def _adaptive_avg_pool(input: Array, rank: int, output_size: OutputSize) -> tuple[Array, Backward]:
    """The average of each bin; bin i of m over n elements holds those from ⌊i n / m⌋ up to ⌈(i + 1) n / m⌉, in each dimension.

    Args: output_size is an int, or one per dimension; None for as many as there are.
    Shape: (N, C, *sides) or (C, *sides) -> the same with output_size for the sides.
    Gradients: each bin spreads grad_output, divided by its number of elements, over them; bins that share elements add up.
    Raises: ValueError for another number of dimensions or sizes, or a side without elements.
    """
    bins = _bins(input, rank, output_size, f"adaptive_avg_pool{rank}d")
    counts = np.ones((), dtype=np.int64)
    for length in bins.lengths:
        counts = counts[..., np.newaxis] * length
    divisors = counts.astype(input.dtype)
    total = np.zeros_like(input, shape=(*input.shape[:-rank], *counts.shape))
    for sources, within in bins.taps():
        total += np.where(within, taken(input, sources), 0.0)

    def backward(grad_output: Array) -> Array:
        share = grad_output / divisors
        result = np.zeros_like(grad_output, shape=input.shape)
        for sources, within in bins.taps():
            result += added_back(np.where(within, share, 0.0), bins.inner, sources)
        return result

    return total / divisors, backward


def _adaptive_max_pool(
    input: Array, rank: int, output_size: OutputSize
) -> tuple[Array, Callable[[], Indices], Backward]:
    """The largest element of each bin; bin i of m over n elements holds those from ⌊i n / m⌋ up to ⌈(i + 1) n / m⌉.

    Args: output_size is an int, or one per dimension; None for as many as there are. With return_indices the result is
        ((output, indices), backward).
    Shape: (N, C, *sides) or (C, *sides) -> the same with output_size for the sides; the indices are flat within the sides of
        one channel.
    Gradients: grad_input is the sum, over all bins that an element wins, of their grad_output.
    Raises: ValueError for another number of dimensions or sizes, or a side without elements.
    Conventions: of equal elements the first in row-major order wins all of the gradient; NaN wins, the last one.
    """
    bins = _bins(input, rank, output_size, f"adaptive_max_pool{rank}d")
    taps = bins.taps()
    places = np.arange(math.prod(bins.inner)).reshape(bins.inner)
    counts = tuple(len(start) for start in bins.starts)
    if not taps:  # no bin at all
        nothing = np.zeros_like(input, shape=(*input.shape[:-rank], *counts))
        return nothing, lambda: np.zeros(nothing.shape, dtype=np.int64), lambda grad_output: np.zeros_like(input)
    shape = (*input.shape[:-rank], *counts)
    best, rounds = tournament((np.where(within, taken(input, sources), -math.inf), None) for sources, within in taps)

    def indices() -> Indices:
        return winners(rounds, [np.broadcast_to(taken(places, sources), shape) for sources, _ in taps])

    def backward(grad_output: Array) -> Array:
        result = np.zeros_like(grad_output, shape=input.shape)
        for (sources, _), share in zip(reversed(taps), shares(rounds, grad_output), strict=True):
            result += added_back(share, bins.inner, sources)
        return result

    return best, indices, backward


@documented_by(_adaptive_avg_pool)
@checked
def adaptive_avg_pool1d(input: Array, output_size: OutputSize) -> tuple[Array, Backward]:
    """Adaptive average pooling of (N, C, L) or (C, L)."""
    return _adaptive_avg_pool(input, 1, output_size)


@documented_by(_adaptive_avg_pool)
@checked
def adaptive_avg_pool2d(input: Array, output_size: OutputSize) -> tuple[Array, Backward]:
    """Adaptive average pooling of (N, C, H, W) or (C, H, W)."""
    return _adaptive_avg_pool(input, 2, output_size)


@documented_by(_adaptive_avg_pool)
@checked
def adaptive_avg_pool3d(input: Array, output_size: OutputSize) -> tuple[Array, Backward]:
    """Adaptive average pooling of (N, C, D, H, W) or (C, D, H, W)."""
    return _adaptive_avg_pool(input, 3, output_size)


@documented_by(_adaptive_max_pool)
@checked
def adaptive_max_pool1d(input: Array, output_size: OutputSize, return_indices: bool = False) -> tuple[Any, Backward]:
    """Adaptive max pooling of (N, C, L) or (C, L)."""
    return with_indices(_adaptive_max_pool(input, 1, output_size), return_indices)


@documented_by(_adaptive_max_pool)
@checked
def adaptive_max_pool2d(input: Array, output_size: OutputSize, return_indices: bool = False) -> tuple[Any, Backward]:
    """Adaptive max pooling of (N, C, H, W) or (C, H, W)."""
    return with_indices(_adaptive_max_pool(input, 2, output_size), return_indices)


@documented_by(_adaptive_max_pool)
@checked
def adaptive_max_pool3d(input: Array, output_size: OutputSize, return_indices: bool = False) -> tuple[Any, Backward]:
    """Adaptive max pooling of (N, C, D, H, W) or (C, D, H, W)."""
    return with_indices(_adaptive_max_pool(input, 3, output_size), return_indices)


class _AdaptiveAvgPool(Layer):
    rank: int

    def __init__(self, output_size: OutputSize, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self.output_size = output_size

    def op(self, input: Array, *params: Array) -> tuple[Array, Backward]:
        return _adaptive_avg_pool(input, self.rank, self.output_size)


@documented_by(_adaptive_avg_pool)
class AdaptiveAvgPool1d(_AdaptiveAvgPool):
    """torch.nn.AdaptiveAvgPool1d: `refbp.functional.adaptive_avg_pool1d` of (N, C, L) or (C, L)."""

    rank = 1


@documented_by(_adaptive_avg_pool)
class AdaptiveAvgPool2d(_AdaptiveAvgPool):
    """torch.nn.AdaptiveAvgPool2d: `refbp.functional.adaptive_avg_pool2d` of (N, C, H, W) or (C, H, W)."""

    rank = 2


@documented_by(_adaptive_avg_pool)
class AdaptiveAvgPool3d(_AdaptiveAvgPool):
    """torch.nn.AdaptiveAvgPool3d: `refbp.functional.adaptive_avg_pool3d` of (N, C, D, H, W) or (C, D, H, W)."""

    rank = 3


class _AdaptiveMaxPool(PoolWithIndices):
    def __init__(self, output_size: OutputSize, return_indices: bool = False, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self.output_size, self.return_indices = output_size, return_indices

    def pooled(self, input: Array) -> tuple[Array, Callable[[], Indices], Backward]:
        return _adaptive_max_pool(input, self.rank, self.output_size)


@documented_by(_adaptive_max_pool)
class AdaptiveMaxPool1d(_AdaptiveMaxPool):
    """torch.nn.AdaptiveMaxPool1d: `refbp.functional.adaptive_max_pool1d` of (N, C, L) or (C, L).

    With return_indices a call gives (output, indices); `backward` takes the output's gradient alone.
    """

    rank = 1


@documented_by(_adaptive_max_pool)
class AdaptiveMaxPool2d(_AdaptiveMaxPool):
    """torch.nn.AdaptiveMaxPool2d: `refbp.functional.adaptive_max_pool2d` of (N, C, H, W) or (C, H, W).

    With return_indices a call gives (output, indices); `backward` takes the output's gradient alone.
    """

    rank = 2


@documented_by(_adaptive_max_pool)
class AdaptiveMaxPool3d(_AdaptiveMaxPool):
    """torch.nn.AdaptiveMaxPool3d: `refbp.functional.adaptive_max_pool3d` of (N, C, D, H, W) or (C, D, H, W).

    With return_indices a call gives (output, indices); `backward` takes the output's gradient alone.
    """

    rank = 3
