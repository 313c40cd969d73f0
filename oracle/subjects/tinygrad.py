"""tinygrad as a subject: methods of its tensors and tinygrad.nn, differentiated by Tensor.gradient; its optimizers.

It compiles a kernel for every computation. With clang that is machine code; without it tinygrad's emulator in Python runs the
same graphs, slowly. The search for faster kernels is switched off, because it takes longer than a case.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from oracle.case.arrays import Array
from oracle.case.case import Case
from oracle.judging.profile import Profile
from oracle.subjects.shapes import (
    batched,
    channelwise,
    conv_sides,
    flattened,
    pad_sides,
    reduced,
    softmax_dim,
    strides,
    times_weight,
    trailing,
    unflattened,
)
from oracle.subjects.walk import Framework, Layer, Op, Options, Tensor
from oracle.trace import Trace, Unsupported

# Read by tinygrad when it is imported.
os.environ.setdefault("DEV", "CPU" if shutil.which("clang") else "PYTHON")
os.environ.setdefault("NOOPT", "1")
os.environ.setdefault(
    "PARALLEL", "0"
)  # its processes that compile are replaced after 16 kernels each, which takes longer

import tinygrad
from tinygrad import nn
from tinygrad.helpers import Context

name = "tinygrad"
accumulates = True
SHOWN = ("output", "grad*", "param.*", "buffer.*", "momentum.*", "exp_avg*", "step.*")
profile = Profile(
    quantities=SHOWN, conventions=("anything_at_nan", "hardswish_as_product", "selu_in_six_digits", "softplus_uncut")
)


def flat_sides(sides: Sequence[tuple[int, int]]) -> tuple[int, ...]:
    """The sides of a padding as a flat list; like torch, tinygrad lists the last dimension first."""
    return tuple(side for both in reversed(sides) for side in both)


def conv(layer: Layer, x: Tensor) -> Tensor:
    layer.options.refuse("tinygrad's conv2d", padding_mode="zeros")
    groups, stride, dilation = layer.options["groups"], layer.each("stride"), layer.each("dilation")
    sides = flat_sides(conv_sides(layer))
    return batched(layer, x, lambda x: x.conv2d(layer.weight, layer.bias, groups, stride, dilation, sides))


def conv_transpose(layer: Layer, x: Tensor) -> Tensor:
    layer.options.refuse("tinygrad's conv_transpose2d", padding_mode="zeros")
    each = [layer.each(option) for option in ("stride", "dilation", "padding", "output_padding")]
    groups = layer.options["groups"]
    return batched(layer, x, lambda x: x.conv_transpose2d(layer.weight, layer.bias, groups, *each))


def max_pool(layer: Layer, x: Tensor) -> Tensor:
    layer.options.refuse("a max pooling whose indices go on", return_indices=False)
    each = (layer.each("kernel_size"), strides(layer), layer.each("dilation"), layer.each("padding"))
    return batched(layer, x, lambda x: x.max_pool2d(*each, ceil_mode=layer.options["ceil_mode"]))


def avg_pool(layer: Layer, x: Tensor) -> Tensor:
    layer.options.refuse("tinygrad's avg_pool2d", divisor_override=None)
    each = (layer.each("kernel_size"), strides(layer), 1, layer.each("padding"))
    how = (layer.options["ceil_mode"], layer.options["count_include_pad"])
    return batched(layer, x, lambda x: x.avg_pool2d(*each, *how))


def fresh(value: Tensor) -> Tensor:
    """A tensor with its own memory, since tinygrad assigns to running statistics and parameters in place."""
    return value.clone().realize()


def with_parameters(module: Any, layer: Layer) -> Any:
    for name in ("weight", "bias"):
        setattr(module, name, layer.params.get(name))
    return module


def batch_norm(layer: Layer, x: Tensor) -> Tensor:
    momentum, tracks = layer.options["momentum"], "running_mean" in layer.buffers
    if momentum is None:
        raise Unsupported("tinygrad.nn.BatchNorm has no momentum=None")
    module = with_parameters(nn.BatchNorm(x.shape[1], layer.options["eps"], False, tracks, momentum), layer)
    if tracks:
        for name, value in layer.buffers.items():
            setattr(module, name, fresh(value).is_param_(False))
    y = module(x)
    layer.buffers |= {name: getattr(module, name) for name in layer.buffers}
    return y


def instance_norm(layer: Layer, x: Tensor) -> Tensor:
    layer.options.refuse("tinygrad.nn.InstanceNorm", track_running_stats=False)
    module = nn.InstanceNorm(layer.options["num_features"], layer.options["eps"], affine=False)
    return batched(layer, x, with_parameters(module, layer))


def group_norm(layer: Layer, x: Tensor) -> Tensor:
    return with_parameters(nn.GroupNorm(layer.options["num_groups"], x.shape[1], layer.options["eps"], False), layer)(x)


def layer_norm(layer: Layer, x: Tensor) -> Tensor:
    """Layer normalisation. tinygrad's module has weight and bias or neither; a weight alone is multiplied here."""
    shape = tuple(x.shape[d] for d in trailing(layer, x))
    y = nn.LayerNorm(shape, layer.options["eps"], elementwise_affine=False)(x)
    y = y if layer.weight is None else y * layer.weight
    return y if layer.bias is None else y + layer.bias


def rms_norm(layer: Layer, x: Tensor) -> Tensor:
    if len(trailing(layer, x)) != 1:
        raise Unsupported("tinygrad.nn.RMSNorm normalises over one dimension")
    eps = float(np.finfo(layer.dtype).eps) if layer.options["eps"] is None else layer.options["eps"]
    module = nn.RMSNorm(x.shape[-1], eps, elementwise_affine=False)
    module.weight = layer.weight
    return module(x)


def pad(mode: str) -> Op:
    return lambda layer, x: x.pad(tuple(pad_sides(layer, x)), mode, layer.options.get("value", 0.0))


def upsample(layer: Layer, x: Tensor) -> Tensor:
    options, spatial = layer.options, tuple(x.shape[2:])
    mode, size, factors = options["mode"], options["size"], options["scale_factor"]
    if mode == "bicubic":
        raise Unsupported("tinygrad's interpolate has no cubic mode")
    if size is None:
        factors = (factors,) * len(spatial) if isinstance(factors, float) else factors
        size = [int(n * f) for n, f in zip(spatial, factors, strict=True)]
        if any(n * f != m for n, f, m in zip(spatial, factors, size, strict=True)):
            raise Unsupported("tinygrad's interpolate takes a size, and no scale beside it")
    size = (size,) * len(spatial) if isinstance(size, int) else tuple(size)
    return x.interpolate(size, "nearest" if mode == "nearest" else "linear", bool(options["align_corners"]))


def dropout(layer: Layer, x: Tensor) -> Tensor:
    """Dropout. tinygrad does not expose its mask, but the gradient shows it."""
    if layer.imposed_mask is not None:
        raise Unsupported("tinygrad's dropout draws its own mask")
    y = x.dropout(layer.options["p"])
    if layer.training:
        (through,) = y.gradient(x, gradient=x.const_like(1.0)) if y is not x else (x.const_like(1.0),)
        layer.mask = through != 0
    return y


def glu(layer: Layer, x: Tensor) -> Tensor:
    a, b = x.chunk(2, layer.options["dim"])
    return a * b.sigmoid()


def prelu(layer: Layer, x: Tensor) -> Tensor:
    return (x > 0).where(x, channelwise(layer.weight, x, min(x.ndim - 1, 1)) * x)


def softplus(layer: Layer, x: Tensor) -> Tensor:
    layer.options.refuse("tinygrad's softplus, which is nowhere cut off,", threshold=20.0)
    return x.softplus(layer.options["beta"])


def of(method: str, *arguments: str) -> Op:
    """A method of the tensor, given some of the layer's options."""
    return lambda layer, x: getattr(x, method)(*(layer.options[argument] for argument in arguments))


LAYERS: dict[str, Op] = {
    **{f"Conv{rank}d": conv for rank in (1, 2, 3)},
    **{f"ConvTranspose{rank}d": conv_transpose for rank in (1, 2, 3)},
    **{f"MaxPool{rank}d": max_pool for rank in (1, 2, 3)},
    **{f"AvgPool{rank}d": avg_pool for rank in (1, 2, 3)},
    **{f"BatchNorm{rank}d": batch_norm for rank in (1, 2, 3)},
    **{f"InstanceNorm{rank}d": instance_norm for rank in (1, 2, 3)},
    **{f"{kind}Pad{rank}d": pad("constant") for kind in ("Zero", "Constant") for rank in (1, 2, 3)},
    **{f"ReflectionPad{rank}d": pad("reflect") for rank in (1, 2, 3)},
    **{f"ReplicationPad{rank}d": pad("replicate") for rank in (1, 2, 3)},
    **{f"CircularPad{rank}d": pad("circular") for rank in (1, 2, 3)},
    "Linear": lambda layer, x: x.linear(layer.weight.transpose(), layer.bias),
    "GroupNorm": group_norm,
    "LayerNorm": layer_norm,
    "RMSNorm": rms_norm,
    "Upsample": upsample,
    "Dropout": dropout,
    "Flatten": lambda layer, x: x.reshape(flattened(layer, x)),
    "Unflatten": lambda layer, x: x.reshape(unflattened(layer, x)),
    "Identity": lambda layer, x: x,
    "CELU": of("celu", "alpha"),
    "ELU": of("elu", "alpha"),
    "GELU": of("gelu", "approximate"),
    "GLU": glu,
    "Hardshrink": lambda layer, x: (x.abs() <= layer.options["lambd"]).where(0.0, x),
    "Hardsigmoid": of("hardsigmoid"),
    "Hardswish": of("hardswish"),
    "Hardtanh": of("hardtanh", "min_val", "max_val"),
    "LeakyReLU": of("leaky_relu", "negative_slope"),
    "LogSigmoid": of("logsigmoid"),
    "LogSoftmax": lambda layer, x: x.log_softmax(softmax_dim(layer, x)),
    "Mish": of("mish"),
    "PReLU": prelu,
    "ReLU": of("relu"),
    "ReLU6": of("relu6"),
    "SELU": of("selu"),
    "SiLU": of("silu"),
    "Sigmoid": of("sigmoid"),
    "Softmax": lambda layer, x: x.softmax(softmax_dim(layer, x)),
    "Softmax2d": lambda layer, x: x.softmax(-3),
    "Softmin": lambda layer, x: x.softmin(softmax_dim(layer, x)),
    "Softplus": softplus,
    "Softsign": of("softsign"),
    "Tanh": of("tanh"),
    "Tanhshrink": lambda layer, x: x - x.tanh(),
    "Threshold": lambda layer, x: (x <= layer.options["threshold"]).where(layer.options["value"], x),
}


def cross_entropy(layer: Layer, x: Tensor, target: Tensor) -> Tensor:
    options, how = layer.options, layer.options["reduction"]
    if not target.is_floating_point() and not options["label_smoothing"]:
        if x.ndim < 2:
            raise Unsupported("tinygrad's nll_loss takes scores (N, C, ...)")
        return x.log_softmax(1).nll_loss(target, layer.tensor("weight"), options["ignore_index"], how)
    options.refuse("tinygrad's cross_entropy", weight=None, ignore_index=-100)
    if how == "mean" and x.ndim > 2:
        return reduced(layer, x.cross_entropy(target, "none", options["label_smoothing"]))
    return x.cross_entropy(target, how, options["label_smoothing"])


def nll(layer: Layer, x: Tensor, target: Tensor) -> Tensor:
    if x.ndim < 2:
        raise Unsupported("tinygrad's nll_loss takes scores (N, C, ...)")
    return x.nll_loss(target, layer.tensor("weight"), layer.options["ignore_index"], layer.options["reduction"])


def binary_cross_entropy(layer: Layer, x: Tensor, target: Tensor) -> Tensor:
    return reduced(layer, times_weight(layer, x.binary_crossentropy(target, "none")))


def binary_cross_entropy_with_logits(layer: Layer, x: Tensor, target: Tensor) -> Tensor:
    terms = x.binary_crossentropy_logits(target, "none", layer.tensor("pos_weight"))
    return reduced(layer, times_weight(layer, terms))


def huber(error: Tensor, delta: float) -> Tensor:
    size = error.abs()
    return (size < delta).where(0.5 * error * error, delta * (size - 0.5 * delta))


def smooth_l1(layer: Layer, x: Tensor, target: Tensor) -> Tensor:
    beta = layer.options["beta"]
    return reduced(layer, huber(x - target, beta) / beta if beta else (x - target).abs())


LOSSES: dict[str, Op] = {
    "MSELoss": lambda layer, x, target: reduced(layer, (x - target).square()),
    "L1Loss": lambda layer, x, target: reduced(layer, (x - target).abs()),
    "HuberLoss": lambda layer, x, target: reduced(layer, huber(x - target, layer.options["delta"])),
    "SmoothL1Loss": smooth_l1,
    "CrossEntropyLoss": cross_entropy,
    "NLLLoss": nll,
    "BCELoss": binary_cross_entropy,
    "BCEWithLogitsLoss": binary_cross_entropy_with_logits,
    "SoftMarginLoss": lambda layer, x, target: reduced(layer, (-target * x).softplus()),
    "MarginRankingLoss": lambda layer, x, input2, target: reduced(
        layer, (-target * (x - input2) + layer.options["margin"]).relu()
    ),
}

# Attributes of the optimizers, with the quantities that they are.
STATE = {
    "SGD": {"b": "momentum"},
    "Adam": {"m": "exp_avg", "v": "exp_avg_sq"},
    "AdamW": {"m": "exp_avg", "v": "exp_avg_sq"},
}


class Optimizer:
    """An optimizer of tinygrad, whose state has the parameters' dtype, as OPTIM_DTYPE allows."""

    def __init__(self, type: str, options: Options, state: Mapping[str, Mapping[str, Tensor]]) -> None:
        if type not in STATE:
            raise Unsupported(f"tinygrad has no {type}")
        options.refuse(f"tinygrad's {type}", maximize=False, dampening=0, amsgrad=False)
        if type == "Adam":
            options.refuse("tinygrad's Adam", weight_decay=0)
        self.type, self.options, self.given = type, options, state
        self.names: list[str] = []
        self.optimizer: Any = None
        # tinygrad keeps β^t, and not t.
        self.steps = max((int(value.item()) for value in state.get("step", {}).values()), default=0)

    def step(self, params: dict[str, Tensor], grads: dict[str, Tensor]) -> dict[str, Tensor]:
        own = {name: fresh(value).is_param_(True) for name, value in params.items()}
        if self.optimizer is None:
            self.names, self.optimizer = list(params), self._made(list(own.values()))
            self._resume(own)
        self.optimizer.params = list(own.values())
        for name, value in own.items():
            value.grad = grads[name]
        with Context(TRAINING=1):  # type: ignore[no-untyped-call]  # a network in evaluation is updated all the same
            self.optimizer.step()
        self.steps += 1
        return own

    def _made(self, params: list[Tensor]) -> Any:
        options, lr = self.options, self.options["lr"]
        if self.type == "SGD":
            return nn.optim.SGD(params, lr, options["momentum"], options["weight_decay"], options["nesterov"])
        b1, b2 = options["betas"]
        if self.type == "Adam":
            return nn.optim.Adam(params, lr, b1, b2, options["eps"])
        return nn.optim.AdamW(params, lr, b1, b2, options["eps"], options["weight_decay"])

    def _resume(self, params: dict[str, Tensor]) -> None:
        for kept, quantity in self._kept():
            given = self.given.get(quantity, {})
            values = [fresh(given.get(name, value.zeros_like())) for name, value in params.items()]
            setattr(self.optimizer, kept, [value.is_param_(False) for value in values])
        for power, beta in zip(("b1_t", "b2_t"), self.options.get("betas", ()), strict=False):
            getattr(self.optimizer, power).assign(tinygrad.Tensor([beta**self.steps], dtype="float32")).realize()

    def _kept(self) -> list[tuple[str, str]]:
        return [] if self.options.get("momentum", 1) == 0 else list(STATE[self.type].items())

    def state(self) -> dict[str, dict[str, Tensor]]:
        shown = {
            quantity: {n: fresh(v) for n, v in zip(self.names, getattr(self.optimizer, kept), strict=True)}
            for kept, quantity in self._kept()
        }
        counted = {"step": dict.fromkeys(self.names, tinygrad.Tensor(self.steps))} if "betas" in self.options else {}
        return shown | counted


def gradient(
    function: Callable[[dict[str, Tensor]], Tensor], leaves: dict[str, Tensor]
) -> Callable[[Tensor | None], dict[str, Tensor]]:
    value = function(leaves)

    def of(upstream: Tensor | None) -> dict[str, Tensor]:
        return dict(zip(leaves, value.gradient(*leaves.values(), gradient=upstream), strict=True))

    return of


def tensor(array: Array) -> Tensor:
    """A tensor with a buffer, also for a single number, of which tinygrad would make a constant."""
    return tinygrad.Tensor(np.array(array.reshape(-1), order="C")).reshape(array.shape)


FRAMEWORK = Framework(
    name,
    array=tensor,
    numpy=lambda value: value.numpy(),
    gradient=gradient,
    concatenate=lambda parts, dim: parts[0].cat(*parts[1:], dim=dim),
    layers=LAYERS,
    losses=LOSSES,
    optimizer=Optimizer,
    evaluate=lambda values: tinygrad.Tensor.realize(*values),
    seed=lambda: tinygrad.Tensor.manual_seed(0),
)


device = tinygrad.Device.DEFAULT


def run(case: Case) -> Trace:
    """The trace of a case, with its dtype as tinygrad's default, in which optimizers keep the learning rate."""
    with Context(TRAINING=int(case.training), DEFAULT_FLOAT=case.dtype):  # type: ignore[no-untyped-call]
        return FRAMEWORK.run(case)
