"""Layers as mlx.nn has them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import mlx.core as mx
import numpy as np
from mlx import nn

from oracle.subjects import composed
from oracle.subjects.shapes import (
    batched,
    channelwise,
    conv_sides,
    pad_sides,
    softmax_dim,
    strides,
    trailing,
)
from oracle.subjects.walk import Layer, Op, Tensor
from oracle.trace import Unsupported


def last(x: Tensor) -> Tensor:
    return mx.moveaxis(x, 1, -1)


def first(x: Tensor) -> Tensor:
    return mx.moveaxis(x, -1, 1)


def conv(layer: Layer, x: Tensor) -> Tensor:
    layer.options.refuse("mlx.core.conv_general", padding_mode="zeros")
    low, high = (list(side) for side in zip(*conv_sides(layer), strict=True))

    def op(x: Tensor) -> Tensor:
        z = mx.conv_general(
            last(x),
            last(layer.weight),
            layer.each("stride"),
            (low, high),
            layer.each("dilation"),
            groups=layer.options["groups"],
        )
        return first(z if layer.bias is None else z + layer.bias)

    return batched(layer, x, op)


def conv_transpose(layer: Layer, x: Tensor) -> Tensor:
    """MLX's weight is (C_out, ..., C_in / groups), torch's (C_in, C_out / groups, ...)."""
    layer.options.refuse("mlx.core.conv_transpose", padding_mode="zeros")
    groups = layer.options["groups"]
    kernel = tuple(layer.weight.shape[2:])
    weight = layer.weight.reshape(groups, -1, layer.weight.shape[1], *kernel)
    weight = mx.moveaxis(weight, 1, -1).reshape(-1, *kernel, layer.weight.shape[0] // groups)
    function: Any = {1: mx.conv_transpose1d, 2: mx.conv_transpose2d, 3: mx.conv_transpose3d}[layer.rank]
    each = [layer.each(option) for option in ("stride", "padding", "dilation", "output_padding")]
    arguments = [values[0] for values in each] if layer.rank == 1 else each

    def op(x: Tensor) -> Tensor:
        z = function(last(x), weight, *arguments, groups)
        return first(z if layer.bias is None else z + layer.bias)

    return batched(layer, x, op)


def pool(kind: str) -> Op:
    def op(layer: Layer, x: Tensor) -> Tensor:
        layer.options.refuse(f"mlx.nn's {kind}", ceil_mode=False, return_indices=False, divisor_override=None)
        if "dilation" in layer.options and layer.each("dilation") != (1,) * layer.rank:
            raise Unsupported(f"mlx.nn's {kind} has no dilation")
        if not layer.options.get("count_include_pad", True) and any(layer.each("padding")):
            raise Unsupported(f"mlx.nn's {kind} counts the padding in")
        module = getattr(nn, layer.type)(layer.each("kernel_size"), strides(layer), layer.each("padding"))
        return batched(layer, x, lambda x: first(module(last(x))))

    return op


def with_parameters(module: Any, layer: Layer) -> Any:
    for name, value in layer.params.items():
        setattr(module, name, value)
    return module.train(layer.training)


def positive_eps(layer: Layer) -> float:
    if layer.options["eps"] <= 0:
        raise Unsupported(f"mlx.nn's {layer.type.rstrip('123d')} wants a positive eps")
    return float(layer.options["eps"])


def batch_norm(layer: Layer, x: Tensor) -> Tensor:
    if x.ndim > 4:
        raise Unsupported("mlx.nn.BatchNorm takes inputs of at most four dimensions")
    momentum, tracks = layer.options["momentum"], "running_mean" in layer.buffers
    if momentum is None:
        raise Unsupported("mlx.nn.BatchNorm has no momentum=None")
    affine = layer.weight is not None
    module = with_parameters(nn.BatchNorm(x.shape[1], positive_eps(layer), momentum, affine, tracks), layer)
    if tracks:
        module.running_mean, module.running_var = layer.buffers["running_mean"], layer.buffers["running_var"]
    y = first(module(last(x)))
    if tracks:
        layer.buffers |= {"running_mean": module.running_mean, "running_var": module.running_var}
    return y


def instance_norm(layer: Layer, x: Tensor) -> Tensor:
    layer.options.refuse("mlx.nn.InstanceNorm", track_running_stats=False)
    module = nn.InstanceNorm(layer.options["num_features"], positive_eps(layer), layer.weight is not None)
    return batched(layer, x, lambda x: first(with_parameters(module, layer)(last(x))))


def group_norm(layer: Layer, x: Tensor) -> Tensor:
    groups, affine = layer.options["num_groups"], layer.weight is not None
    module = nn.GroupNorm(groups, x.shape[1], positive_eps(layer), affine, pytorch_compatible=True)
    return first(with_parameters(module, layer)(last(x)))


def over_trailing(layer: Layer, x: Tensor, op: Callable[[Tensor], Tensor]) -> Tensor:
    """MLX normalises over one dimension."""
    shape = tuple(x.shape)
    kept = shape[: trailing(layer, x)[0]]
    size = int(np.prod(shape[len(kept) :]))
    return op(x.reshape(*kept, size)).reshape(shape)


def flat(value: Tensor | None) -> Tensor | None:
    return None if value is None else value.reshape(-1)


def layer_norm(layer: Layer, x: Tensor) -> Tensor:
    eps = positive_eps(layer)
    return over_trailing(layer, x, lambda x: mx.fast.layer_norm(x, flat(layer.weight), flat(layer.bias), eps))


def rms_norm(layer: Layer, x: Tensor) -> Tensor:
    eps = float(mx.finfo(x.dtype).eps) if layer.options["eps"] is None else positive_eps(layer)
    return over_trailing(layer, x, lambda x: mx.fast.rms_norm(x, flat(layer.weight), eps))


def pad(mode: Literal["constant", "edge", "reflect"]) -> Op:
    def op(layer: Layer, x: Tensor) -> Tensor:
        sides = pad_sides(layer, x)
        if any(min(side) < 0 for side in sides):
            raise Unsupported("mlx.core.pad has no negative widths")
        return mx.pad(x, sides, mode, layer.options.get("value", 0.0))

    return op


MODES = {"bilinear": "linear", "trilinear": "linear", "bicubic": "cubic"}


def upsample(layer: Layer, x: Tensor) -> Tensor:
    options, spatial = layer.options, tuple(x.shape[2:])
    mode, factors, size = options["mode"], options["scale_factor"], options["size"]
    if size is not None:
        size = (size,) * len(spatial) if isinstance(size, int) else size
        factors = [m / n for n, m in zip(spatial, size, strict=True)]
        if any(int(n * f) != m for n, m, f in zip(spatial, size, factors, strict=True)):
            raise Unsupported("mlx.nn.Upsample takes a scale, which does not make that size here")
    factors = tuple(factors) if isinstance(factors, (list, tuple)) else (factors,) * len(spatial)
    if size is None and not options["align_corners"] and any(n * f % 1 for n, f in zip(spatial, factors, strict=True)):
        raise Unsupported(
            "mlx.nn.Upsample centres the pixels of a size that it has truncated, torch keeps to the scale"
        )
    if mode == "nearest" and any(factor % 1 for factor in factors):
        raise Unsupported("mlx.nn.Upsample takes the pixel nearest to the centre, torch's nearest the one before it")
    return first(nn.Upsample(factors, MODES.get(mode, mode), bool(options["align_corners"]))(last(x)))


def dropout(layer: Layer, x: Tensor) -> Tensor:
    """MLX does not expose its mask; dropout of ones with the same random numbers shows it."""
    if not layer.training:
        return x
    p = layer.options["p"]
    if layer.imposed_mask is not None:
        raise Unsupported("mlx.nn's dropout draws its own mask")
    if p >= 1:
        raise Unsupported("mlx.nn's dropout keeps something")
    module = getattr(nn, layer.type)(p).train()
    drawn: Any = mx.random.randint(0, 2**31 - 1, ()).item()

    def op(x: Tensor) -> Tensor:
        mx.random.seed(drawn)
        return module(x) if layer.type == "Dropout" else first(module(last(x)))

    layer.mask = op(mx.ones_like(x)) != 0
    return op(x)


def gelu(layer: Layer, x: Tensor) -> Tensor:
    return nn.gelu(x) if layer.options["approximate"] == "none" else nn.gelu_approx(x)


def leaky_relu(layer: Layer, x: Tensor) -> Tensor:
    if layer.options["negative_slope"] > 1:
        raise Unsupported("mlx.nn.leaky_relu is max(slope x, x), which wants a slope of at most 1")
    return nn.leaky_relu(x, layer.options["negative_slope"])


def softplus(layer: Layer, x: Tensor) -> Tensor:
    layer.options.refuse("mlx.nn.softplus, which is nowhere cut off,", threshold=20.0)
    return nn.softplus(layer.options["beta"] * x) / layer.options["beta"]


def of(function: Callable[..., Tensor], *arguments: str) -> Op:
    """A function of mlx.nn, given the input and some of the layer's options."""
    return lambda layer, x: function(x, *(layer.options[argument] for argument in arguments))


LAYERS: dict[str, Op] = {
    **composed.layers(mx, mx.stop_gradient),
    **{f"Conv{rank}d": conv for rank in (1, 2, 3)},
    **{f"ConvTranspose{rank}d": conv_transpose for rank in (1, 2, 3)},
    **{f"{kind}Pool{rank}d": pool(f"{kind}Pool") for kind in ("Max", "Avg") for rank in (1, 2, 3)},
    **{f"BatchNorm{rank}d": batch_norm for rank in (1, 2, 3)},
    **{f"InstanceNorm{rank}d": instance_norm for rank in (1, 2, 3)},
    **{f"{kind}Pad{rank}d": pad("constant") for kind in ("Zero", "Constant") for rank in (1, 2, 3)},
    **{f"ReflectionPad{rank}d": pad("reflect") for rank in (1, 2, 3)},
    **{f"ReplicationPad{rank}d": pad("edge") for rank in (1, 2, 3)},
    **dict.fromkeys(("Dropout", "Dropout2d", "Dropout3d"), dropout),
    "GroupNorm": group_norm,
    "LayerNorm": layer_norm,
    "RMSNorm": rms_norm,
    "Upsample": upsample,
    "CELU": of(nn.celu, "alpha"),
    "ELU": of(nn.elu, "alpha"),
    "GELU": gelu,
    "GLU": of(nn.glu, "dim"),
    "Hardshrink": of(nn.hard_shrink, "lambd"),
    "Hardswish": of(nn.hardswish),
    "Hardtanh": of(nn.hard_tanh, "min_val", "max_val"),
    "LeakyReLU": leaky_relu,
    "LogSigmoid": of(nn.log_sigmoid),
    "LogSoftmax": lambda layer, x: nn.log_softmax(x, softmax_dim(layer, x)),
    "Mish": of(nn.mish),
    "PReLU": lambda layer, x: nn.prelu(x, channelwise(layer.weight, x, min(x.ndim - 1, 1))),
    "ReLU": of(nn.relu),
    "ReLU6": of(nn.relu6),
    "SELU": of(nn.selu),
    "SiLU": of(nn.silu),
    "Sigmoid": of(nn.sigmoid),
    "Softmax": lambda layer, x: nn.softmax(x, softmax_dim(layer, x)),
    "Softmax2d": lambda layer, x: nn.softmax(x, -3),
    "Softmin": lambda layer, x: nn.softmin(x, softmax_dim(layer, x)),
    "Softplus": softplus,
    "Softshrink": of(nn.softshrink, "lambd"),
    "Softsign": of(nn.softsign),
    "Tanh": of(nn.tanh),
}
