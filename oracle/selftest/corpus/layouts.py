"""Published bugs in memory: assumed layouts, buffers that are never written or are overwritten, and lost gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

import oracle
from oracle.case.arrays import Array
from oracle.ops.check_op import Differentiable
from oracle.selftest.corpus.by_torch import differentiated
from oracle.selftest.corpus.entry import Book, Step
from oracle.selftest.corpus.layers import Norm
from oracle.selftest.corpus.plain import Backward, drawn, softmax

BOOK = Book("layouts")
T = torch.Tensor


def in_memory(a: Array) -> Array:
    """The elements in memory from the array's start on, in its shape, as a kernel reads them that ignores strides."""
    base = a
    while isinstance(base.base, np.ndarray):
        base = base.base
    start = (a.__array_interface__["data"][0] - base.__array_interface__["data"][0]) // a.itemsize
    if a.flags.c_contiguous or base.size < start + a.size or start < 0:
        return a
    return np.resize(base.ravel("K")[start : start + a.size], a.shape)


@BOOK.op(
    "adaptive_avg_pool2d",
    "torch/nn#345",
    "the mean's backward pass takes its upstream gradient to be contiguous",
    causes="layout, permuted, upstream ignored",
    x=drawn(2, 3, 4, 4),
    grad_output=drawn(3, 2, 1, 1).transpose(1, 0, 2, 3),
    output_size=1,
)
def torch7_mean(fixed: bool) -> Differentiable:
    def fn(x: Array) -> tuple[Array, Backward]:
        n = x.shape[-1] * x.shape[-2]

        def backward(dy: Array) -> Array:
            return np.broadcast_to((dy if fixed else in_memory(dy)) / n, x.shape).astype(x.dtype)

        return x.mean((-2, -1), keepdims=True), backward

    return fn


@BOOK.op(
    "max_pool2d",
    "torch/cunn#68",
    "max pooling takes its upstream gradient to be contiguous",
    causes="layout, permuted",
    kernel_size=2,
)
def cunn_contiguous(fixed: bool) -> Differentiable:
    right = differentiated(lambda x: F.max_pool2d(x, 2))

    def fn(x: Array) -> tuple[Array, Backward]:
        y, backward = right(x)
        return y, backward if fixed else lambda dy: backward(in_memory(dy))

    return fn


@BOOK.op(
    "conv2d",
    "huggingface/candle#3735",
    "the backward pass takes the kernel to be contiguous",
    causes="layout, permuted",
    x=drawn(2, 3, 6, 6),
    weight=drawn(3, 4, 3, 3).transpose(1, 0, 2, 3),
    bias=None,
)
def candle_kernel(fixed: bool) -> Differentiable:
    def fn(x: Array, weight: Array, bias: Array | None = None) -> tuple[Array, Backward]:
        y, backward = differentiated(lambda x, w, b=None: F.conv2d(x, w, b))(x, weight, bias)
        _, seen = differentiated(lambda x, w, b=None: F.conv2d(x, w, b))(x, in_memory(weight), bias)

        def wrong(dy: Array) -> Any:
            _, *others = backward(dy)
            return (seen(dy)[0], *others)

        return y, backward if fixed else wrong

    return fn


@BOOK.op(
    "avg_pool2d",
    "pytorch/pytorch#188344",
    "in channels_last the backward pass does not know the padding",
    causes="layout, option, shifted",
    kernel_size=2,
    stride=1,
    padding=1,
)
def channels_last_padding(fixed: bool) -> Differentiable:
    right = differentiated(lambda x: F.avg_pool2d(x, 2, 1, 1))

    def fn(x: Array) -> tuple[Array, Backward]:
        y, backward = right(x)
        if fixed or x.flags.c_contiguous or x.ndim != 4:
            return y, backward

        def wrong(dy: Array) -> Array:
            dx = np.zeros((*x.shape[:-2], x.shape[-2] + 2, x.shape[-1] + 2), x.dtype)
            for i, j in np.ndindex(2, 2):
                dx[..., i : i + dy.shape[-2], j : j + dy.shape[-1]] += dy / 4
            return dx[..., : x.shape[-2], : x.shape[-1]]

        return y, wrong

    return fn


@BOOK.op(
    "linear", "NVIDIA/apex#1601", "a view of the upstream gradient raises where it is not contiguous", "", "layout"
)
def apex_view(fixed: bool) -> Differentiable:
    def fn(x: Array, weight: Array, bias: Array | None = None) -> tuple[Array, Backward]:
        y = x @ weight.T if bias is None else x @ weight.T + bias

        def backward(dy: Array) -> Any:
            up = torch.from_numpy(dy.copy() if fixed else dy)
            flat = up.view(-1, up.shape[-1]).numpy()
            return dy @ weight, flat.T @ x.reshape(-1, x.shape[-1]), flat.sum(0)

        return y, backward

    return fn


@BOOK.op(
    "softmax",
    "NVIDIA/apex#1430",
    "the backward pass writes its result into the upstream gradient",
    "",
    "in place",
    dim=-1,
)
def apex_in_place(fixed: bool) -> Differentiable:
    def fn(x: Array) -> tuple[Array, Backward]:
        y = softmax(x)

        def backward(dy: Array) -> Array:
            out = np.empty_like(dy) if fixed else dy
            out[...] = y * (dy - (dy * y).sum(-1, keepdims=True))
            return out

        return y, backward

    return fn


@BOOK.module(
    "Softmax",
    "linkedin/Liger-Kernel#1251",
    "the loss writes its gradient into its input, which the softmax before it has kept",
    "grad_input, output",
    "in place, overwritten",
)
def liger_overwrites(fixed: bool) -> Step:
    class CrossEntropy(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: T, target: T) -> T:
            loss = F.cross_entropy(x, target)
            d = (torch.softmax(x, 1) - F.one_hot(target, x.shape[1])) / len(x)
            if not fixed:
                torch.from_numpy(x.detach().numpy()).copy_(d)  # behind autograd's back, as a kernel writes
            ctx.save_for_backward(d)
            return loss

        @staticmethod
        def backward(ctx: Any, dy: T) -> Any:
            (d,) = ctx.saved_tensors
            return d * dy, None

    def loss(output: T, target: T) -> T:
        result: T = CrossEntropy.apply(output, target)  # type: ignore[no-untyped-call]
        return result

    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.Softmax(1)).double()
    return Step(net, torch.randn(6, 4).double(), loss, torch.tensor([0, 1, 2, 3, 4, 0]))


STATISTICS = "norm/BatchNorm2d"
VARIANCE, BOTH = "buffer.running_var", "buffer.running_mean, buffer.running_var"


def right(running: Array, batch: Array, factor: float, momentum: float) -> Array:
    """The right update of a running statistic."""
    return (1 - momentum) * running + momentum * batch * factor


@BOOK.run(
    "BatchNorm2d",
    "tenstorrent/tt-metal#55438",
    "the running variance is that of the batch, not corrected",
    VARIANCE,
    "biased_running_variance, buffer",
    STATISTICS,
)
def tt_biased(fixed: bool) -> Norm:
    return Norm("tt-metal", right if fixed else lambda running, batch, factor, m: right(running, batch, 1, m))


@BOOK.run(
    "BatchNorm2d",
    "keras-team/keras-contrib#287",
    "the running variance is that of the deviation with epsilon",
    VARIANCE,
    "buffer",
    STATISTICS,
)
def keras_contrib_epsilon(fixed: bool) -> Norm:
    def updated(running: Array, batch: Array, factor: float, momentum: float) -> Array:
        return right(running, batch + (1e-5 if factor > 1 else 0), factor, momentum)

    return Norm("keras-contrib", right if fixed else updated)


@BOOK.run(
    "BatchNorm2d",
    "d2l-ai/d2l-en#2213",
    "the momentum weighs what was, not what is new",
    BOTH,
    "buffer, momentum, option",
    STATISTICS,
)
def d2l_momentum(fixed: bool) -> Norm:
    return Norm("d2l", right if fixed else lambda running, batch, factor, m: right(running, batch, factor, 1 - m))


@BOOK.run(
    "BatchNorm2d",
    "paiml/aprender#2166",
    "the running statistics are never written",
    BOTH,
    "not updated, buffer, stale",
    STATISTICS,
)
def aprender_never(fixed: bool) -> Norm:
    return Norm("aprender", right if fixed else lambda running, batch, factor, m: running)


@BOOK.op(
    "group_norm",
    "paiml/aprender#2200",
    "the output is a new tensor, so that scale and shift get no gradient",
    "grad.weight, grad.bias",
    "missing, zero",
    num_groups=2,
)
def aprender_severed(fixed: bool) -> Differentiable:
    def norm(x: T, weight: T | None = None, bias: T | None = None) -> T:
        scale, shift = (own if fixed or own is None else own.detach() for own in (weight, bias))
        return F.group_norm(x, 2, scale, shift)

    return oracle.from_torch(norm)


@BOOK.module(
    "detach",
    "huggingface/candle#3613",
    "the fused norm has no backward pass, and parameters before it get nothing",
    "grad_input, grad.weight, grad.bias",
    "missing, zero",
)
def candle_fused(fixed: bool) -> Step:
    class Fused(torch.nn.LayerNorm):
        def forward(self, input: T) -> T:
            y = super().forward(input)
            return y if fixed else y.detach()

    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(4, 6), Fused(6), torch.nn.Linear(6, 2)).double()
    return Step(net, torch.randn(5, 4).double())


@BOOK.op(
    "rms_norm",
    "unslothai/unsloth#4533",
    "the kernel's backward pass returns None for the weight",
    "grad.weight",
    "missing, zero",
    x=drawn(4, 3, 6),
    weight=drawn(6, seed=1),
    normalized_shape=6,
)
def unsloth_weight(fixed: bool) -> Differentiable:
    def norm(x: T, weight: T) -> T:
        return F.rms_norm(x, weight.shape, weight if fixed else weight.detach())

    return oracle.from_torch(norm)


@BOOK.module(
    "LayerNorm",
    "harvard-edge/cs249r_book#1504",
    "scale and shift are made without requires_grad",
    "grad.weight, grad.bias",
    "missing",
)
def tinytorch_flag(fixed: bool) -> Step:
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.LayerNorm(6), torch.nn.Linear(6, 2)).double()
    net[1].requires_grad_(fixed)
    return Step(net, torch.randn(5, 4).double())
