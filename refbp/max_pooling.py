"""Max pooling of any rank, over windows that may overlap, leave gaps, or reach beyond the input."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias, Unpack

import numpy as np
import numpy.typing as npt

from refbp.arrays import Array, Backward
from refbp.docstring import documented_by
from refbp.layer import LayerOptions
from refbp.ranks import OfRank
from refbp.special import masked
from refbp.windows import Ints, batch_last, inside, padded, pool_geometry

Indices: TypeAlias = npt.NDArray[np.int64]


def max_pool(
    rank: int,
    input: Array,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> tuple[Any, Backward]:
    """y[o] = max over taps t of x[o * stride + t * dilation - padding]; padding is never the maximum.

    Taps are compared one after the other, for all windows at once.

    Args: kernel_size, stride, padding and dilation are an int, or one per dimension; stride None is kernel_size. padding is a
        number of elements per side. With ceil_mode the last window may reach beyond the padded input as long as it starts
        inside the input or its left padding. With return_indices the result is ((output, indices), backward).
    Shape: (N, C, *sides) or (C, *sides) -> the same with H' = ⌊(H + 2 padding - dilation (kH - 1) - 1) / stride⌋ + 1, with
        ceil_mode ⌈…⌉ + 1; the indices are flat within the sides of one channel.
    Gradients: grad_input is the sum, over all windows that an element wins, of their grad_output.
    Raises: ValueError for padding above half the kernel, an input smaller than its window or without elements in a dimension,
        another number of dimensions.
    Conventions: of equal elements the first in row-major order receives all of the gradient. NaN exceeds every number; of
        several NaN the last one receives it.

    >>> y, backward = refbp.functional.max_pool2d(np.array([[[1.0, 3.0], [3.0, 2.0]]]), 2)
    >>> y, backward(np.array([[[5.0]]]))
    (array([[[3.]]]), array([[[0., 5.],
            [0., 0.]]]))
    """
    g = pool_geometry(input, rank, kernel_size, stride, padding, dilation, ceil_mode, f"max_pool{rank}d")
    x = padded(batch_last(input), g.sides, -math.inf)
    places = padded(np.arange(math.prod(g.inner)).reshape(g.inner), g.sides, -1)
    within = [places[positions] >= 0 if g.reaches_out else None for positions in g.taps()]
    # Copied, because contiguous arrays are compared several times as fast.
    best, rounds = tournament((np.copy(x[positions]), mask) for positions, mask in zip(g.taps(), within, strict=True))

    def backward(grad_output: Array) -> Array:
        result = np.zeros_like(x)
        for positions, share in zip(reversed(g.taps()), shares(rounds, batch_last(grad_output)), strict=True):
            result[positions] += share
        return result[inside(g.inner, g.sides)]

    if not return_indices:
        return best, backward
    return (best, winners(rounds, [np.broadcast_to(places[positions], best.shape) for positions in g.taps()])), backward


def tournament(taps: Iterable[tuple[Array, Any]]) -> tuple[Array, list[Any]]:
    """The element-wise maximum of all taps, and for each tap but the first a mask: where it exceeds all taps before it.

    taps: values, and a mask of where they are elements of the input (None: everywhere).
    Conventions: of equal values the first stays. NaN exceeds every value, and an earlier NaN. Padding is below every value,
        also below -inf.
    """
    (best, seen), *others = taps
    rounds = []
    for challenger, within in others:
        better = (challenger > best) | np.isnan(challenger)
        if within is not None:
            better = better | (within & ~seen)
            seen = seen | within
        best = np.maximum(challenger, best)
        rounds.append(better)
    return best if rounds else best.copy(), rounds  # of a single tap: no view of the input


def winners(rounds: list[Any], places: list[Indices]) -> Indices:
    """The entry of `places` for the winner: the last tap that exceeds all taps before it."""
    winner, *others = places
    for better, place in zip(rounds, others, strict=True):
        winner = np.where(better, place, winner)
    return winner


def shares(rounds: list[Any], grad: Array) -> Iterator[Array]:
    """Each tap's part of the gradient: all of it where the tap is the maximum, else 0; from the last tap to the first."""
    for better in reversed(rounds):
        yield masked(grad, better)
        grad = masked(grad, ~better)
    yield grad


class PoolWithIndices(OfRank):
    """A pooling layer whose forward also returns the indices of the maxima, if return_indices and not in a container."""

    return_indices: bool
    _indices: Indices | None = None

    def pooled(self, input: Array) -> tuple[Any, Backward]:
        """The output, or with return_indices the pair of output and flat indices of the maxima; and the backward."""
        raise TypeError(f"{type(self).__name__} defines no pooling")

    def op(self, input: Array, *params: Array) -> tuple[Array, Backward]:
        result, backward = self.pooled(input)
        output, self._indices = result if self.return_indices else (result, None)
        return output, backward

    def forward(self, input: Array) -> Any:
        """The output, or with return_indices (output, indices); `backward` then belongs to this call."""
        output = super().forward(input)
        return (output, self._indices) if self.return_indices else output


@documented_by(max_pool)
class _MaxPool(PoolWithIndices):
    """torch.nn.{name}: `refbp.functional.max_pool{rank}d` of (N, C, *sides) or (C, *sides).

    With return_indices a call gives (output, indices); `backward` takes the output's gradient alone.
    """

    def __init__(
        self,
        kernel_size: Ints,
        stride: Ints | None = None,
        padding: Ints = 0,
        dilation: Ints = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        self.arguments = (kernel_size, stride, padding, dilation, ceil_mode)
        self.return_indices = return_indices

    def pooled(self, input: Array) -> tuple[Any, Backward]:
        return max_pool(self.rank, input, *self.arguments, self.return_indices)


class MaxPool1d(_MaxPool, rank=1):
    """Windows are of kernel_size elements."""


class MaxPool2d(_MaxPool, rank=2):
    """Windows are kH by kW.

    >>> layer = refbp.MaxPool2d(kernel_size=2)
    >>> layer(np.array([[[1.0, 3.0, 0.0, 0.0], [3.0, 2.0, 0.0, 7.0]]]))
    array([[[3., 7.]]])
    >>> layer.backward(np.array([[[5.0, 6.0]]]))
    array([[[0., 5., 0., 0.],
            [0., 0., 0., 6.]]])
    """


class MaxPool3d(_MaxPool, rank=3):
    """Windows are kD by kH by kW."""
