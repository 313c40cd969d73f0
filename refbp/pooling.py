"""Max and average pooling of any rank, over windows that may overlap, leave gaps, or reach beyond the input."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias, Unpack

import numpy as np
import numpy.typing as npt

from refbp.docstring import documented_by
from refbp.layer import Array, Backward, Layer, LayerOptions
from refbp.masks import masked
from refbp.op import checked
from refbp.windows import Index, Sides, Sizes, inside, padded, sizes, taps

Ints: TypeAlias = int | Sequence[int]
Indices: TypeAlias = npt.NDArray[np.int64]


class Geometry(NamedTuple):
    """Windows of a pooling: `sides` is the padding that they need, ceil_mode's included."""

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


def geometry(
    input: Array,
    rank: int,
    kernel_size: Ints,
    stride: Ints | None,
    padding: Ints,
    dilation: Ints,
    ceil_mode: bool,
    name: str,
) -> Geometry:
    if input.ndim not in (rank + 1, rank + 2):
        raise ValueError(f"{name} expects {rank + 1} or {rank + 2} dimensions, got shape {input.shape}")
    kernel = sizes(kernel_size, rank, f"kernel_size of {name}", 1)
    strides = kernel if stride is None else sizes(stride, rank, f"stride of {name}", 1)
    pads = sizes(padding, rank, f"padding of {name}")
    dilations = sizes(dilation, rank, f"dilation of {name}", 1)
    inner = input.shape[-rank:]
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
    return Geometry(inner, kernel, strides, pads, dilations, tuple(counts), sides)


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
    Raises: ValueError for padding above half the kernel, an input smaller than its window, another number of dimensions.
    Conventions: of equal elements the first in row-major order wins all of the gradient; NaN wins, the last one.
    """
    g = geometry(input, rank, kernel_size, stride, padding, dilation, ceil_mode, f"max_pool{rank}d")
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


def _divisors(g: Geometry, count_include_pad: bool, divisor_override: int | None) -> Indices:
    """Per window, what its sum is divided by: how many of its elements count."""
    if divisor_override is not None:
        return np.full(g.counts, divisor_override, dtype=np.int64)
    result = np.ones(g.counts, dtype=np.int64)
    for axis, (n, k, s, p, count) in enumerate(zip(g.inner, g.kernel, g.stride, g.padding, g.counts, strict=True)):
        starts = np.arange(count) * s - p
        # What ceil_mode adds beyond the padding never counts.
        ends = np.minimum(starts + k, n + p if count_include_pad else n)
        own = ends - (starts if count_include_pad else np.maximum(starts, 0))
        result = result * own.reshape([count if i == axis else 1 for i in range(len(g.counts))])
    return result


def avg_pool(
    input: Array,
    rank: int,
    kernel_size: Ints,
    stride: Ints | None,
    padding: Ints,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
) -> tuple[Array, Backward]:
    """y[o] = 1/d Σ_t x[o * stride + t - padding], with zeros outside.

    The divisor d is the number of the window's elements inside the padded input, or, without count_include_pad, inside
    the input; divisor_override replaces it.

    Args: kernel_size, stride and padding are an int, or one per dimension; stride None is kernel_size. padding is a number of
        elements per side. With ceil_mode the last window may reach beyond the padded input as long as it starts inside the
        input or its left padding.
    Shape: (N, C, *sides) or (C, *sides) -> the same with H' = ⌊(H + 2 padding - kH) / stride⌋ + 1, with ceil_mode ⌈…⌉ + 1.
    Gradients: each window spreads grad_output / d over its elements, and windows that overlap add up.
    Raises: ValueError for padding above half the kernel, an input smaller than its window, another number of dimensions, a
        divisor_override of zero.
    """
    name = f"avg_pool{rank}d"
    if divisor_override == 0:
        raise ValueError(f"{name} expects a divisor_override other than zero, got 0")
    g = geometry(input, rank, kernel_size, stride, padding, 1, ceil_mode, name)
    divisors = _divisors(g, count_include_pad, divisor_override)
    # One number serves all windows unless some of them reach beyond the input.
    divisor: Any = int(divisors.flat[0]) if (divisors == divisors.flat[0]).all() else divisors.astype(input.dtype)
    x = padded(input, g.sides)
    total = np.zeros_like(x, shape=(*x.shape[:-rank], *g.counts))
    for positions in g.taps():
        total += x[positions]

    def backward(grad_output: Array) -> Array:
        result = np.zeros_like(grad_output, shape=x.shape)
        share = grad_output / divisor
        for positions in g.taps():
            result[positions] += share
        return result[inside(g.inner, g.sides)]

    return total / divisor, backward


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


@documented_by(avg_pool)
@checked
def avg_pool1d(
    input: Array,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> tuple[Array, Backward]:
    """Average pooling of (N, C, L) or (C, L)."""
    return avg_pool(input, 1, kernel_size, stride, padding, ceil_mode, count_include_pad, None)


@documented_by(avg_pool)
@checked
def avg_pool2d(
    input: Array,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> tuple[Array, Backward]:
    """Average pooling of (N, C, H, W) or (C, H, W)."""
    return avg_pool(input, 2, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


@documented_by(avg_pool)
@checked
def avg_pool3d(
    input: Array,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> tuple[Array, Backward]:
    """Average pooling of (N, C, D, H, W) or (C, D, H, W)."""
    return avg_pool(input, 3, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


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


@documented_by(avg_pool)
class AvgPool1d(Layer):
    """torch.nn.AvgPool1d: `refbp.functional.avg_pool1d` of (N, C, L) or (C, L)."""

    def __init__(
        self,
        kernel_size: Ints,
        stride: Ints | None = None,
        padding: Ints = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        self.arguments = (kernel_size, stride, padding, ceil_mode, count_include_pad)

    def op(self, input: Array, *params: Array) -> tuple[Array, Backward]:
        return avg_pool1d(input, *self.arguments)


class _AvgPool(Layer):
    rank: int

    def __init__(
        self,
        kernel_size: Ints,
        stride: Ints | None = None,
        padding: Ints = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        self.arguments = (kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)

    def op(self, input: Array, *params: Array) -> tuple[Array, Backward]:
        return avg_pool(input, self.rank, *self.arguments)


@documented_by(avg_pool)
class AvgPool2d(_AvgPool):
    """torch.nn.AvgPool2d: `refbp.functional.avg_pool2d` of (N, C, H, W) or (C, H, W)."""

    rank = 2


@documented_by(avg_pool)
class AvgPool3d(_AvgPool):
    """torch.nn.AvgPool3d: `refbp.functional.avg_pool3d` of (N, C, D, H, W) or (C, D, H, W)."""

    rank = 3
