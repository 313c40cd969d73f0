"""Power-average pooling: the p-norm of every window."""

from __future__ import annotations

import math
from typing import Unpack

import numpy as np

from refbp.arrays import Array, Backward
from refbp.avg_pooling import avg_pool
from refbp.docstring import documented_by
from refbp.layer import LayerOptions
from refbp.max_pooling import max_pool
from refbp.ranks import OfRank
from refbp.special import sign, where
from refbp.windows import Ints, batch_last, sizes


def lp_pool(
    rank: int,
    input: Array,
    norm_type: float,
    kernel_size: Ints,
    stride: Ints | None = None,
    ceil_mode: bool = False,
) -> tuple[Array, Backward]:
    """y = (Σ_t x_t^p)^(1/p) over each window. As in torch, the sum is the window's size times its average.

    Args: norm_type is p; kernel_size and stride are an int, or one per dimension; stride None is kernel_size. ceil_mode is that
        of average pooling; the sum of a window that it clips is scaled up to the full size.
    Shape: (N, C, *sides) or (C, *sides) -> the same with H' = ⌊(H - kH) / stride⌋ + 1, with ceil_mode ⌈…⌉ + 1.
    Gradients: ∂y/∂x_t = x_t^(p-1) y^(1-p), and windows that overlap add up.
    Raises: ValueError for a norm_type of 0, an input smaller than its window, another number of dimensions.
    Conventions: absolute values are not taken: an odd power of a negative element is negative, and the root of a negative sum is
        NaN. A window whose sum is zero has the gradient 0; for p = 1 also one whose sum is NaN. p = ±inf gives the largest or
        smallest |x|, with the gradient 0 at NaN.
    """
    p, x = float(norm_type), batch_last(input)
    if math.isinf(p):
        way = math.copysign(1.0, p)
        extreme, extreme_backward = max_pool(rank, way * abs(x), kernel_size, stride, 0, 1, ceil_mode)
        return way * extreme, lambda grad_output: extreme_backward(grad_output) * sign(x)
    if p == 0:
        raise ValueError(f"lp_pool{rank}d expects a norm_type other than 0")
    window = float(math.prod(sizes(kernel_size, rank, f"kernel_size of lp_pool{rank}d", 1)))
    average, average_backward = avg_pool(rank, x**p, kernel_size, stride, 0, ceil_mode)
    total = average * window
    output = total if p == 1 else total ** (1.0 / p)

    def backward(grad_output: Array) -> Array:
        empty = (total == 0) | np.isnan(total) if p == 1 else total == 0
        slope = 1.0 if p == 1 else where(empty, 1.0, total) ** (1.0 / p - 1.0) / p
        grad_powers: Array = average_backward(where(empty, 0.0, batch_last(grad_output) * slope) * window)
        return grad_powers if p == 1 else grad_powers * (x ** (p - 1.0) * p)

    return output, backward


@documented_by(lp_pool)
class _LPPool(OfRank):
    """torch.nn.{name}: `refbp.functional.lp_pool{rank}d` of (N, C, *sides) or (C, *sides)."""

    def __init__(
        self,
        norm_type: float,
        kernel_size: Ints,
        stride: Ints | None = None,
        ceil_mode: bool = False,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        self.arguments = (norm_type, kernel_size, stride, ceil_mode)

    def op(self, input: Array, *params: Array) -> tuple[Array, Backward]:
        return lp_pool(self.rank, input, *self.arguments)


class LPPool1d(_LPPool, rank=1):
    """Windows are of kernel_size elements."""


class LPPool2d(_LPPool, rank=2):
    """Windows are kH by kW."""


class LPPool3d(_LPPool, rank=3):
    """Windows are kD by kH by kW."""
