"""Rules of fake quantization, which rounds numbers to a grid and passes the gradient straight through inside of its range.

Source: Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", CVPR 2018.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from oracle.programs.adjoint import plain
from oracle.programs.table import NoRule, rule

# The smallest scale that torch chooses. It moves the limits of a smaller range apart.
LEAST_SCALE = float(np.float32(6.1e-5))


@rule("fake_quantize_per_tensor_affine_cachemask")
def per_tensor(input: Any, scale: Any, zero_point: Any, quant_min: int, quant_max: int) -> Any:
    """y = (q - z) s for q = round(x / s) + z, held between the limits; g where q was inside of them."""
    return _quantized(input, scale, zero_point, quant_min, quant_max)


@rule("_fake_quantize_per_tensor_affine_cachemask_tensor_qparams")
def per_tensor_by_tensors(
    input: Any, scale: Any, zero_point: Any, fake_quant_enabled: Any, quant_min: int, quant_max: int
) -> Any:
    """The same with a switch: y = x where that is off."""
    if not np.asarray(fake_quant_enabled).all():
        return (input.copy(), None), lambda g, _: (g,)
    return _quantized(input, scale, zero_point, quant_min, quant_max)


@rule("fake_quantize_per_channel_affine_cachemask")
def per_channel(input: Any, scale: Any, zero_point: Any, axis: int, quant_min: int, quant_max: int) -> Any:
    """The same with a scale and a zero point for each channel."""
    shape = [1] * input.ndim
    shape[axis] = -1
    return _quantized(input, scale.reshape(shape), zero_point.reshape(shape), quant_min, quant_max)


@rule("_fused_moving_avg_obs_fq_helper", "_fused_moving_avg_obs_fq_helper_functional")
def observed(
    input: Any,
    observer_on: Any,
    fake_quant_on: Any,
    running_min: Any,
    running_max: Any,
    scale: Any,
    zero_point: Any,
    averaging_const: float,
    quant_min: int,
    quant_max: int,
    ch_axis: int,
    per_row_fake_quant: bool = False,
    symmetric_quant: bool = False,
) -> Any:
    """The same with a scale and a zero point from moving averages of the least and the largest x, of each channel or of all."""
    if not plain(fake_quant_on).all():
        return (input.copy(), None), lambda g, *_: (g,)
    axis = ch_axis % input.ndim if per_row_fake_quant else None
    rows = input.reshape(1, -1) if axis is None else np.moveaxis(input, axis, 0).reshape(input.shape[axis], -1)
    least, most = running_min.reshape(-1), running_max.reshape(-1)
    if plain(observer_on).all():
        least = _averaged(least, np.min(rows, axis=1), averaging_const)
        most = _averaged(most, np.max(rows, axis=1), averaging_const)
    if least.size != rows.shape[0]:
        raise NoRule("there is no rule for a fake quantization of channels whose limits were never observed")
    scale, zero_point = _chosen(least, most, quant_min, quant_max, symmetric_quant)
    shape = [-1 if own == axis else 1 for own in range(input.ndim)]
    (y, _), backward = _quantized(input, scale.reshape(shape), zero_point.reshape(shape), quant_min, quant_max)
    return (y, None), lambda g, *_: backward(g, None)


def _averaged(running: Any, seen: Any, rate: float) -> Any:
    """The moving average after another value. The first value replaces an infinite average, or one without elements."""
    if not running.size:
        return seen
    is_first = np.isinf(plain(running))
    before = np.where(is_first, 0.0, running)
    return np.where(is_first, seen, before + rate * (seen - before))


def _chosen(least: Any, most: Any, quant_min: int, quant_max: int, symmetric: bool) -> tuple[Any, Any]:
    """The scale and the zero point for numbers between these; 0 is among the numbers of the grid. A scale of 0 becomes 0.1."""
    steps = quant_max - quant_min
    is_symmetric = symmetric & (plain(least) < 0) & (plain(most) > 0)
    below, above = -(steps // 2 + 1), steps // 2
    largest = np.maximum(least / below, most / above)
    least = np.where(is_symmetric, largest * below, np.minimum(least, 0.0))
    most = np.where(is_symmetric, largest * above, np.maximum(most, 0.0))
    scale = (most - least) / steps
    is_zero = plain(scale) == 0
    if (plain(scale) < LEAST_SCALE)[~is_zero].any():
        raise NoRule("there is no rule for a fake quantization whose scale would be below the smallest one")
    scale = np.where(is_zero, 0.1, scale)
    s = plain(scale)
    by_least, by_most = quant_min - plain(least) / s, quant_max - plain(most) / s
    is_least = abs(quant_min) - plain(least) / s < abs(quant_max) + plain(most) / s
    middle = np.full(s.shape, (quant_min + quant_max) / 2)
    point = np.where(is_symmetric, middle, np.where(is_least, by_least, by_most))
    return scale, np.rint(np.clip(point, quant_min, quant_max)).astype(np.int64)


def _quantized(x: Any, scale: Any, zero_point: Any, least: int, most: int) -> Any:
    zero = np.asarray(zero_point)
    if zero.dtype.kind not in "biu" and not isinstance(zero_point, int):
        raise NoRule("there is no rule for a fake quantization with a zero point that is not an integer")
    q = np.rint(x * (1.0 / scale)) + zero.astype(np.float64)
    inside = (q >= float(least)) & (q <= float(most))
    y = (np.clip(q, float(least), float(most)) - zero.astype(np.float64)) * scale
    return (y, None), lambda g, _: (np.where(inside, g, 0.0),)
