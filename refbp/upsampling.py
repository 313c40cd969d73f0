"""Upsampling: each output is a weighted mean of its two nearest inputs, in one dimension after the other."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeAlias, Unpack

import numpy as np

from refbp.arrays import Array, Backward
from refbp.docstring import documented_by
from refbp.layer import Layer, LayerOptions
from refbp.windows import Positions, Sizes, added_back_along, batch_last, sizes

Factor: TypeAlias = float | Sequence[float]
MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}


class _Mix(NamedTuple):
    """Along one dimension: output i is (1 - weight_i) input[low_i] + weight_i input[high_i]; in mode "nearest" weight is None."""

    low: Positions
    high: Positions
    weight: Array | None


def upsample(
    input: Array,
    size: int | Sequence[int] | None = None,
    scale_factor: Factor | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
) -> tuple[Array, Backward]:
    """The input resized: mode "nearest", or "linear", "bilinear", "trilinear" for one, two, three dimensions.

    In each dimension n inputs become m outputs. s = 1 / scale_factor, or n / m if size or recompute_scale_factor is given.
    "nearest" takes input ⌊i s⌋ for output i. The linear modes interpolate at the position (i + 1/2) s - 1/2, clamped to
    [0, n - 1]; with align_corners at i (n - 1) / (m - 1), or at 0 if m = 1. They go through one dimension after the other.

    Args: size or scale_factor are one number, or one per dimension; m = ⌊n scale_factor⌋. align_corners is for the linear modes.
    Shape: (N, C, *sides) -> (N, C, *new sides).
    Gradients: each output's gradient is added to the inputs that it was interpolated from, with the same weights.
    Raises: ValueError for both or neither of size and scale_factor, an unknown mode or one for another number of dimensions,
        align_corners with "nearest", recompute_scale_factor with a size, a side without elements before or after.
    Conventions: if m = n the input is copied, and if m = 2n "nearest" takes s = 1/2, whatever the scale_factor is. "nearest"
        computes i s in single precision, as torch's `nearest_idx` (UpSampleKernel.cpp) and
        `nearest_neighbor_compute_source_index` (UpSample.h) do. So some products round across a whole number. torch uses single
        precision in every backward pass. Its forward passes use it only for two sides of up to 128 elements in sum, or over
        channels-last memory; otherwise they multiply in the input's precision. At some sizes they then read one element, and
        the backward pass sends the gradient to another.
    """
    rank = input.ndim - 2
    if rank not in MODES:
        raise ValueError(f"upsample expects 3 to 5 dimensions, got shape {input.shape}")
    if mode not in ("nearest", MODES[rank]):
        raise ValueError(f"upsample expects mode nearest or {MODES[rank]} for {input.ndim} dimensions, got {mode!r}")
    if (size is None) == (scale_factor is None):
        raise ValueError(f"upsample expects either size or scale_factor, got {size} and {scale_factor}")
    if mode == "nearest" and align_corners is not None:
        raise ValueError("upsample expects align_corners with the linear modes only")
    inner = input.shape[2:]
    outer, scales = _resized(inner, size, scale_factor, bool(recompute_scale_factor))
    mixes = [
        _nearest(n, m, s) if mode == "nearest" else _mix(input, n, m, s, bool(align_corners))
        for n, m, s in zip(inner, outer, scales, strict=True)
    ]
    output = input
    for axis, mix in enumerate(mixes, 2):
        output = _mixed(output, axis, mix)

    def backward(grad_output: Array) -> Array:
        grad = batch_last(grad_output)
        for axis, mix in reversed(list(enumerate(mixes, 2))):
            grad = _unmixed(grad, axis, mix, input.shape[axis])
        return grad

    return output, backward


def _resized(
    inner: Sizes, size: int | Sequence[int] | None, scale_factor: Factor | None, recompute: bool
) -> tuple[Sizes, list[float]]:
    """The new sides, and s for each dimension. Raises: ValueError."""
    rank = len(inner)
    if scale_factor is None:
        if recompute:
            raise ValueError(f"upsample expects recompute_scale_factor with a scale_factor only, got size {size}")
        assert size is not None
        outer = sizes(size, rank, "size of upsample", 1)
    else:
        factors = _factors(scale_factor, rank)
        outer = tuple(math.floor(n * factor) for n, factor in zip(inner, factors, strict=True))
    if min(*inner, *outer) < 1:
        raise ValueError(f"upsample expects at least one element per side, got sides {inner} that become {outer}")
    if scale_factor is None or recompute:
        return outer, [n / m for n, m in zip(inner, outer, strict=True)]
    return outer, [1.0 / factor for factor in factors]


def _factors(value: Factor, rank: int) -> list[float]:
    try:
        result = [float(factor) for factor in value] if isinstance(value, Iterable) else [float(value)] * rank
    except (TypeError, ValueError):
        result = []
    if len(result) != rank or not all(0 < factor < math.inf for factor in result):
        raise ValueError(f"upsample expects one scale_factor above 0 or {rank} of them, got {value!r}")
    return result


def _nearest(n: int, m: int, scale: float) -> _Mix:
    scale = {n: 1.0, 2 * n: 0.5}.get(m, scale)
    index = np.arange(m, dtype=np.float32) * np.float32(scale)
    low = np.minimum(np.floor(index).astype(np.intp), n - 1)
    return _Mix(low, low, None)


def _mix(input: Array, n: int, m: int, scale: float, align_corners: bool) -> _Mix:
    index = np.arange(m)
    # Positions are computed in the input's precision, because their rounding goes into the weights.
    place = index.astype(input.dtype)
    if m == n:
        return _Mix(index, index, np.zeros_like(place))
    if align_corners:
        step = (n - 1) / (m - 1) if m > 1 else 0.0
        exact, position = index * step, place * np.full_like(input, step, shape=())
    else:
        exact = np.maximum((index + 0.5) * scale - 0.5, 0.0)
        position = np.maximum((place + 0.5) * np.full_like(input, scale, shape=()) - 0.5, 0.0)
    low = np.minimum(np.floor(exact).astype(np.intp), n - 1)
    return _Mix(low, np.minimum(low + 1, n - 1), position - low.astype(input.dtype))


def _mixed(x: Array, axis: int, mix: _Mix) -> Array:
    low = np.take(x, mix.low, axis)
    if mix.weight is None:
        return low
    w = mix.weight.reshape([-1 if i == axis else 1 for i in range(x.ndim)])
    mixed: Array = (1.0 - w) * low + w * np.take(x, mix.high, axis)
    return mixed


def _unmixed(grad: Array, axis: int, mix: _Mix, size: int) -> Array:
    if mix.weight is None:
        return added_back_along(axis, grad, size, mix.low)
    w = mix.weight.reshape([-1 if i == axis else 1 for i in range(grad.ndim)])
    result = added_back_along(axis, (1.0 - w) * grad, size, mix.low)
    result += added_back_along(axis, w * grad, size, mix.high)
    return result


@documented_by(upsample)
class Upsample(Layer):
    """torch.nn.Upsample in the modes nearest, linear, bilinear and trilinear: `refbp.functional.upsample`."""

    def __init__(
        self,
        size: int | Sequence[int] | None = None,
        scale_factor: Factor | None = None,
        mode: str = "nearest",
        align_corners: bool | None = None,
        recompute_scale_factor: bool | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        if mode not in ("nearest", *MODES.values()):
            raise ValueError(f"Upsample expects mode nearest, {', '.join(MODES.values())}, got {mode!r}")
        self.arguments = (size, scale_factor, mode, align_corners, recompute_scale_factor)

    def op(self, input: Array, *params: Array) -> tuple[Array, Backward]:
        return upsample(input, *self.arguments)
