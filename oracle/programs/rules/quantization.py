"""Rules of fake quantization, which rounds numbers to a grid and passes the gradient straight through inside of its range.

Source: Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", CVPR 2018.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from oracle.programs.table import NoRule, rule


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


def _quantized(x: Any, scale: Any, zero_point: Any, least: int, most: int) -> Any:
    zero = np.asarray(zero_point)
    if zero.dtype.kind not in "biu" and not isinstance(zero_point, int):
        raise NoRule("there is no rule for a fake quantization with a zero point that is not an integer")
    q = np.rint(x * (1.0 / scale)) + zero.astype(np.float64)
    inside = (q >= float(least)) & (q <= float(most))
    y = (np.clip(q, float(least), float(most)) - zero.astype(np.float64)) * scale
    return (y, None), lambda g, _: (np.where(inside, g, 0.0),)
