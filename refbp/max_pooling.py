"""Max pooling of any rank, over windows that may overlap, leave gaps, or reach beyond the input."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias, Unpack

import numpy as np
import numpy.typing as npt

from refbp.arrays import Array, Backward
from refbp.checks import checked
from refbp.docstring import documented_by
from refbp.layer import Layer, LayerOptions
from refbp.special import masked
from refbp.windows import Ints, inside, padded, pool_geometry

Indices: TypeAlias = npt.NDArray[np.int64]


def max_pool(
    input: Array,
    rank: int,
    kernel_size: Ints,
    stride: Ints | None,
    padding: Ints,
    dilation: Ints,
    ceil_mode: bool,
) -> tuple[Array, Callable[[], Indices], Backward]:
    """y[o] = max over taps t of x[o * stride + t * dilation - padding]; what lies outside never wins.

    Computed as a tournament over the taps, without a scatter.

    Args: kernel_size, stride, padding and dilation are an int, or one per dimension; stride None is kernel_size. padding is a
        number of elements per side. With ceil_mode the last window may reach beyond the padded input as long as it starts
        inside the input or its left padding. With return_indices the result is ((output, indices), backward).
    Shape: (N, C, *sides) or (C, *sides) -> the same with H' = ⌊(H + 2 padding - dilation (kH - 1) - 1) / stride⌋ + 1, with
        ceil_mode ⌈…⌉ + 1; the indices are flat within the sides of one channel.
    Gradients: grad_input is the sum, over all windows that an element wins, of their grad_output.
    Raises: ValueError for padding above half the kernel, an input smaller than its window or without elements in a dimension,
        another number of dimensions.
    Conventions: of equal elements the first in row-major order wins all of the gradient; NaN wins, the last one.
    """
    g = pool_geometry(input, rank, kernel_size, stride, padding, dilation, ceil_mode, f"max_pool{rank}d")
    x = padded(input, g.sides, -math.inf)
    places = padded(np.arange(math.prod(g.inner)).reshape(g.inner), g.sides, -1)
    within = [places[positions] >= 0 if g.reaches_out else None for positions in g.taps()]
    # Copied: what lies in one piece is compared several times as fast.
    best, rounds = tournament((np.copy(x[positions]), own) for positions, own in zip(g.taps(), within, strict=True))

    def indices() -> Indices:
        return winners(rounds, [np.broadcast_to(places[positions], best.shape) for positions in g.taps()])

    def backward(grad_output: Array) -> Array:
        result = np.zeros_like(x)
        for positions, share in zip(reversed(g.taps()), shares(rounds, grad_output), strict=True):
            result[positions] += share
        return result[inside(g.inner, g.sides)]

    return best, indices, backward


def tournament(taps: Iterable[tuple[Array, Any]]) -> tuple[Array, list[Any]]:
    """The largest of all taps, element by element, and for each tap but the first where it beat those before it.

    taps: values, and a mask of where they are elements of the input (None: everywhere).
    Conventions: of equal values the first stays; a NaN beats everything, also an earlier NaN; what lies outside loses to
        everything, also to -inf.
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
    """The place of the last tap that beat those before it."""
    winner, *others = places
    for better, place in zip(rounds, others, strict=True):
        winner = np.where(better, place, winner)
    return winner


def shares(rounds: list[Any], grad: Array) -> Iterator[Array]:
    """What each tap gets of the winner's gradient, from the last tap to the first."""
    for better in reversed(rounds):
        yield masked(grad, better)
        grad = masked(grad, ~better)
    yield grad


@documented_by(max_pool)
@checked
def max_pool1d(
    input: Array,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> tuple[Any, Backward]:
    """Max pooling of (N, C, L) or (C, L)."""
    return with_indices(max_pool(input, 1, kernel_size, stride, padding, dilation, ceil_mode), return_indices)


@documented_by(max_pool)
@checked
def max_pool2d(
    input: Array,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> tuple[Any, Backward]:
    """Max pooling of (N, C, H, W) or (C, H, W).

    >>> y, backward = refbp.functional.max_pool2d(np.array([[[1.0, 3.0], [3.0, 2.0]]]), 2)
    >>> y, backward(np.array([[[5.0]]]))
    (array([[[3.]]]), array([[[0., 5.],
            [0., 0.]]]))
    """
    return with_indices(max_pool(input, 2, kernel_size, stride, padding, dilation, ceil_mode), return_indices)


@documented_by(max_pool)
@checked
def max_pool3d(
    input: Array,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> tuple[Any, Backward]:
    """Max pooling of (N, C, D, H, W) or (C, D, H, W)."""
    return with_indices(max_pool(input, 3, kernel_size, stride, padding, dilation, ceil_mode), return_indices)


def with_indices(pooled: tuple[Array, Callable[[], Indices], Backward], return_indices: bool) -> tuple[Any, Backward]:
    output, indices, backward = pooled
    return ((output, indices()) if return_indices else output), backward


class PoolWithIndices(Layer):
    """A pooling whose forward also hands out the winners, when asked to; within a container it passes its output alone."""

    rank: int
    return_indices: bool
    _indices: Callable[[], Indices]

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__getstate__().items() if name != "_indices"}

    def pooled(self, input: Array) -> tuple[Array, Callable[[], Indices], Backward]:
        """Output, flat indices of the winners, and the backward."""
        raise TypeError(f"{type(self).__name__} defines no pooling")

    def op(self, input: Array, *params: Array) -> tuple[Array, Backward]:
        output, self._indices, backward = self.pooled(input)
        return output, backward

    def forward(self, input: Array) -> Any:
        """The output, with return_indices (output, indices); `backward` then belongs to this call."""
        output = super().forward(input)
        return (output, self._indices()) if self.return_indices else output


class _MaxPool(PoolWithIndices):
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

    def pooled(self, input: Array) -> tuple[Array, Callable[[], Indices], Backward]:
        return max_pool(input, self.rank, *self.arguments)


@documented_by(max_pool)
class MaxPool1d(_MaxPool):
    """torch.nn.MaxPool1d: `refbp.functional.max_pool1d` of (N, C, L) or (C, L).

    With return_indices a call gives (output, indices); `backward` takes the output's gradient alone.
    """

    rank = 1


@documented_by(max_pool)
class MaxPool2d(_MaxPool):
    """torch.nn.MaxPool2d: `refbp.functional.max_pool2d` of (N, C, H, W) or (C, H, W).

    With return_indices a call gives (output, indices); `backward` takes the output's gradient alone.

    >>> layer = refbp.MaxPool2d(kernel_size=2)
    >>> layer(np.array([[[1.0, 3.0, 0.0, 0.0], [3.0, 2.0, 0.0, 7.0]]]))
    array([[[3., 7.]]])
    >>> layer.backward(np.array([[[5.0, 6.0]]]))
    array([[[0., 5., 0., 0.],
            [0., 0., 0., 6.]]])
    """

    rank = 2


@documented_by(max_pool)
class MaxPool3d(_MaxPool):
    """torch.nn.MaxPool3d: `refbp.functional.max_pool3d` of (N, C, D, H, W) or (C, D, H, W).

    With return_indices a call gives (output, indices); `backward` takes the output's gradient alone.
    """

    rank = 3
