"""Average pooling of any rank, over windows that may overlap, leave gaps, or reach beyond the input."""

from __future__ import annotations

from typing import Any, Unpack

import numpy as np

from refbp.arrays import Array, Backward
from refbp.docstring import documented_by
from refbp.layer import Layer, LayerOptions
from refbp.ranks import OfRank
from refbp.windows import Ints, PoolGeometry, Positions, batch_last, empty_batch_last, inside, padded, pool_geometry


def _divisors(g: PoolGeometry, count_include_pad: bool, divisor_override: int | None) -> Positions:
    """The divisor of each window's sum: divisor_override, or the number of its elements that count."""
    if divisor_override is not None:
        return np.full(g.counts, divisor_override, dtype=np.int64)
    result = np.ones(g.counts, dtype=np.int64)
    for axis, (n, k, s, p, count) in enumerate(zip(g.inner, g.kernel, g.stride, g.padding, g.counts, strict=True)):
        starts = np.arange(count) * s - p
        # Elements that ceil_mode adds beyond the padding never count.
        ends = np.minimum(starts + k, n + p if count_include_pad else n)
        lengths = ends - (starts if count_include_pad else np.maximum(starts, 0))
        result = result * lengths.reshape([count if i == axis else 1 for i in range(len(g.counts))])
    return result


def avg_pool(
    rank: int,
    input: Array,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> tuple[Array, Backward]:
    """y[o] = 1/d Σ_t x[o * stride + t - padding], with zeros outside.

    The divisor d is the number of the window's elements inside the padded input, or, without count_include_pad, inside
    the input; divisor_override replaces it.

    Args: kernel_size, stride and padding are an int, or one per dimension; stride None is kernel_size. padding is a number of
        elements per side. With ceil_mode the last window may reach beyond the padded input as long as it starts inside the
        input or its left padding.
    Shape: (N, C, *sides) or (C, *sides) -> the same with H' = ⌊(H + 2 padding - kH) / stride⌋ + 1, with ceil_mode ⌈…⌉ + 1.
    Gradients: each window spreads grad_output / d over its elements, and windows that overlap add up.
    Raises: ValueError for padding above half the kernel, an input smaller than its window or without elements in a dimension,
        another number of dimensions, a divisor_override of zero.
    """
    name = f"avg_pool{rank}d"
    if divisor_override == 0:
        raise ValueError(f"{name} expects a divisor_override other than zero, got 0")
    g = pool_geometry(input, rank, kernel_size, stride, padding, 1, ceil_mode, name)
    divisors = _divisors(g, count_include_pad, divisor_override)
    # One number serves all windows unless some of them reach beyond the input.
    divisor: Any = int(divisors.flat[0]) if (divisors == divisors.flat[0]).all() else divisors.astype(input.dtype)
    x = padded(batch_last(input), g.sides)
    total = empty_batch_last(x, (*x.shape[:-rank], *g.counts))
    total[...] = 0.0
    for positions in g.taps():
        total += x[positions]

    def backward(grad_output: Array) -> Array:
        result = np.zeros_like(x)
        grad_output = batch_last(grad_output)
        share = grad_output / divisor
        for positions in g.taps():
            result[positions] += share
        return result[inside(g.inner, g.sides)]

    return total / divisor, backward


@documented_by(avg_pool)
def avg_pool1d(
    input: Array,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> tuple[Array, Backward]:
    """`avg_pool2d` in one dimension; as in torch it has no divisor_override."""
    return avg_pool(1, input, kernel_size, stride, padding, ceil_mode, count_include_pad)


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


@documented_by(avg_pool)
class _AvgPool(OfRank):
    """torch.nn.{name}: `refbp.functional.avg_pool{rank}d` of (N, C, *sides) or (C, *sides)."""

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
        return avg_pool(self.rank, input, *self.arguments)


class AvgPool2d(_AvgPool, rank=2):
    """Windows are kH by kW."""


class AvgPool3d(_AvgPool, rank=3):
    """Windows are kD by kH by kW."""
