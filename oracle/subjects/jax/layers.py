"""Layers as jax.numpy, jax.nn and jax.lax have them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp

from oracle.subjects import composed
from oracle.subjects.shapes import (
    batched,
    channelwise,
    conv_sides,
    pad_sides,
    pool_sides,
    softmax_dim,
    strides,
    trailing,
)
from oracle.subjects.walk import Layer, Op, Tensor
from oracle.trace import Unsupported


def conv(layer: Layer, x: Tensor) -> Tensor:
    def op(x: Tensor) -> Tensor:
        sides, mode = conv_sides(layer), layer.options["padding_mode"]
        if mode != "zeros":
            x = jnp.pad(x, [(0, 0), (0, 0), *sides], mode=PAD_MODES[mode])
            sides = [(0, 0)] * layer.rank
        z = lax.conv_general_dilated(
            x,
            layer.weight,
            layer.each("stride"),
            sides,
            rhs_dilation=layer.each("dilation"),
            feature_group_count=layer.options["groups"],
        )
        return z if layer.bias is None else z + channelwise(layer.bias, z)

    return batched(layer, x, op)


def conv_transpose(layer: Layer, x: Tensor) -> Tensor:
    layer.options.refuse("jax.lax.conv_transpose", groups=1, padding_mode="zeros")
    each = (layer.each(option) for option in ("kernel_size", "dilation", "padding", "output_padding"))
    sides = [(d * (k - 1) - p, d * (k - 1) - p + o) for k, d, p, o in zip(*each, strict=True)]
    letters = "DHW"[-layer.rank :]

    def op(x: Tensor) -> Tensor:
        z = lax.conv_transpose(
            x,
            layer.weight,
            layer.each("stride"),
            sides,
            rhs_dilation=layer.each("dilation"),
            dimension_numbers=(f"NC{letters}", f"OI{letters}", f"NC{letters}"),
            transpose_kernel=True,
        )
        return z if layer.bias is None else z + channelwise(layer.bias, z)

    return batched(layer, x, op)


def max_pool(layer: Layer, x: Tensor) -> Tensor:
    layer.options.refuse("JAX's max pooling", return_indices=False)
    return batched(layer, x, lambda x: windows(layer, x, -jnp.inf, lax.max, pool_sides(layer, x)))


def avg_pool(layer: Layer, x: Tensor) -> Tensor:
    def op(x: Tensor) -> Tensor:
        sides = pool_sides(layer, x)
        total = windows(layer, x, 0.0, lax.add, sides)
        if layer.options.get("divisor_override") is not None:
            return total / layer.options["divisor_override"]
        padding = layer.each("padding") if layer.options["count_include_pad"] else (0,) * layer.rank
        counted = jnp.ones([n + 2 * p for n, p in zip(x.shape[2:], padding, strict=True)], x.dtype)[None, None]
        left = [(low - p, high - p) for (low, high), p in zip(sides, padding, strict=True)]
        return total / windows(layer, counted, 0.0, lax.add, left)

    return batched(layer, x, op)


def windows(layer: Layer, x: Tensor, start: float, combine: Op, sides: list[tuple[int, int]]) -> Tensor:
    dilation = layer.each("dilation") if "dilation" in layer.options else (1,) * layer.rank
    return lax.reduce_window(
        x,
        np.array(start, x.dtype),
        combine,
        (1, 1, *layer.each("kernel_size")),
        (1, 1, *strides(layer)),
        [(0, 0), (0, 0), *sides],
        window_dilation=(1, 1, *dilation),
    )


def batch_norm(layer: Layer, x: Tensor) -> Tensor:
    axes = (0, *range(2, x.ndim))
    mean, var = layer.buffers.get("running_mean"), layer.buffers.get("running_var")
    if layer.training and mean is not None:
        layer.buffers["num_batches_tracked"] = count = layer.buffers["num_batches_tracked"] + 1
        momentum = 1 / count if layer.options["momentum"] is None else layer.options["momentum"]
        if x.size:  # of no samples there are no statistics
            layer.buffers |= {
                "running_mean": ((1 - momentum) * mean + momentum * jnp.mean(x, axes)).astype(x.dtype),
                "running_var": ((1 - momentum) * var + momentum * jnp.var(x, axes, ddof=1)).astype(x.dtype),
            }
    if layer.training or mean is None:
        mean = var = None
    return scaled(layer, standardized(layer, x, axes, channelwise(mean, x), channelwise(var, x)), x)


def instance_norm(layer: Layer, x: Tensor) -> Tensor:
    layer.options.refuse("a composition of jax.nn.standardize", track_running_stats=False)
    return scaled(layer, standardized(layer, x, tuple(range(-layer.rank, 0))), x, x.ndim - layer.rank - 1)


def group_norm(layer: Layer, x: Tensor) -> Tensor:
    groups = x.reshape(x.shape[0], layer.options["num_groups"], math.prod(x.shape[1:]) // layer.options["num_groups"])
    return scaled(layer, standardized(layer, groups, -1).reshape(x.shape), x)


def layer_norm(layer: Layer, x: Tensor) -> Tensor:
    y = standardized(layer, x, trailing(layer, x))
    y = y if layer.weight is None else y * layer.weight
    return y if layer.bias is None else y + layer.bias


def standardized(
    layer: Layer, x: Tensor, axes: int | tuple[int, ...], mean: Tensor | None = None, var: Tensor | None = None
) -> Tensor:
    return jax.nn.standardize(x, axes, mean, var, layer.options["eps"], algorithm="stable")  # type: ignore[call-arg]  # missing in its stub


def scaled(layer: Layer, y: Tensor, x: Tensor, dim: int = 1) -> Tensor:
    y = y if layer.weight is None else y * channelwise(layer.weight, x, dim)
    return y if layer.bias is None else y + channelwise(layer.bias, x, dim)


def pad(mode: str) -> Op:
    def op(layer: Layer, x: Tensor) -> Tensor:
        sides = pad_sides(layer, x)
        if mode == "constant":
            return lax.pad(x, np.array(layer.options.get("value", 0.0), x.dtype), [(*side, 0) for side in sides])
        return jnp.pad(x, sides, mode=mode)

    return op


PAD_MODES = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def upsample(layer: Layer, x: Tensor) -> Tensor:
    """Resizes by scale_and_translate, which samples at (i + 0.5) / scale - 0.5, as torch does without align_corners."""
    if layer.options["align_corners"]:
        raise Unsupported("jax.image.scale_and_translate has no align_corners=True")
    spatial = x.shape[2:]
    factors, size = layer.options["scale_factor"], layer.options["size"]
    if size is None:
        factors = (factors,) * len(spatial) if isinstance(factors, float) else tuple(factors)
        size = [int(n * f) for n, f in zip(spatial, factors, strict=True)]
    else:
        size = (size,) * len(spatial) if isinstance(size, int) else size
        factors = [m / n for n, m in zip(spatial, size, strict=True)]
    shape = (*x.shape[:2], *size)
    if layer.options["mode"] == "nearest":
        if any(m % n for n, m in zip(spatial, size, strict=True)):
            raise Unsupported(
                "jax.image.resize takes the pixel nearest to the centre, torch's nearest the one before it"
            )
        return jax.image.resize(x, shape, "nearest")
    if layer.options["mode"] == "bicubic":
        raise Unsupported("jax.image has cubic interpolation with another coefficient than torch")
    if tuple(size) == spatial:  # torch then copies, whatever the factors are
        return x
    scale = jnp.array(factors, x.dtype)
    dims = tuple(range(2, x.ndim))
    return jax.image.scale_and_translate(x, shape, dims, scale, jnp.zeros_like(scale), "linear", antialias=False)


def softplus(layer: Layer, x: Tensor) -> Tensor:
    layer.options.refuse("jax.nn.softplus, which is nowhere cut off,", threshold=20.0)
    return jax.nn.softplus(layer.options["beta"] * x) / layer.options["beta"]


def plain(function: Callable[[Tensor], Tensor], **accepted: Any) -> Op:
    def op(layer: Layer, x: Tensor) -> Tensor:
        layer.options.refuse(f"jax.nn's {layer.type}", **accepted)
        return function(x)

    return op


LAYERS: dict[str, Op] = {
    **composed.layers(jnp, jax.lax.stop_gradient),
    **{f"Conv{rank}d": conv for rank in (1, 2, 3)},
    **{f"ConvTranspose{rank}d": conv_transpose for rank in (1, 2, 3)},
    **{f"MaxPool{rank}d": max_pool for rank in (1, 2, 3)},
    **{f"AvgPool{rank}d": avg_pool for rank in (1, 2, 3)},
    **{f"BatchNorm{rank}d": batch_norm for rank in (1, 2, 3)},
    **{f"InstanceNorm{rank}d": instance_norm for rank in (1, 2, 3)},
    "GroupNorm": group_norm,
    "LayerNorm": layer_norm,
    **{f"{kind}Pad{rank}d": pad("constant") for kind in ("Zero", "Constant") for rank in (1, 2, 3)},
    **{f"ReflectionPad{rank}d": pad("reflect") for rank in (1, 2, 3)},
    **{f"ReplicationPad{rank}d": pad("edge") for rank in (1, 2, 3)},
    **{f"CircularPad{rank}d": pad("wrap") for rank in (1, 2, 3)},
    "Upsample": upsample,
    "CELU": lambda layer, x: jax.nn.celu(x, layer.options["alpha"]),
    "ELU": lambda layer, x: jax.nn.elu(x, layer.options["alpha"]),
    "GELU": lambda layer, x: jax.nn.gelu(x, approximate=layer.options["approximate"] == "tanh"),
    "GLU": lambda layer, x: jax.nn.glu(x, layer.options["dim"]),
    "Hardsigmoid": plain(jax.nn.hard_sigmoid),
    "Hardswish": plain(jax.nn.hard_silu),
    "Hardtanh": plain(jax.nn.hard_tanh, min_val=-1.0, max_val=1.0),
    "LeakyReLU": lambda layer, x: jax.nn.leaky_relu(x, layer.options["negative_slope"]),
    "LogSigmoid": plain(jax.nn.log_sigmoid),
    "LogSoftmax": lambda layer, x: jax.nn.log_softmax(x, softmax_dim(layer, x)),
    "Mish": plain(jax.nn.mish),
    "PReLU": lambda layer, x: jax.nn.leaky_relu(x, channelwise(layer.weight, x, min(x.ndim - 1, 1))),
    "ReLU": plain(jax.nn.relu),
    "ReLU6": plain(jax.nn.relu6),
    "SELU": plain(jax.nn.selu),
    "SiLU": plain(jax.nn.silu),
    "Sigmoid": plain(jax.nn.sigmoid),
    "Softmax": lambda layer, x: jax.nn.softmax(x, softmax_dim(layer, x)),
    "Softmax2d": lambda layer, x: jax.nn.softmax(x, -3),
    "Softmin": lambda layer, x: jax.nn.softmax(-x, softmax_dim(layer, x)),
    "Softplus": softplus,
    "Softsign": plain(jax.nn.soft_sign),
    "Tanh": plain(jnp.tanh),
}
