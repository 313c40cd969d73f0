"""Memory: kernels that take a layout for granted, buffers that are never written or written over, gradients that get lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from oracle.case.arrays import Array
from oracle.ops.check_op import Differentiable
from oracle.selftest.corpus.by_torch import differentiated
from oracle.selftest.corpus.entry import Book, Step
from oracle.selftest.corpus.plain import Backward, drawn, softmax

BOOK = Book("layouts")
T = torch.Tensor


def in_memory(a: Array) -> Array:
    """The numbers as they lie in memory, beside each other or not, in the array's shape: a kernel that knows no strides."""
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


@BOOK.op("linear", "NVIDIA/apex#1601", "a view of the upstream gradient raises where it is not contiguous", "")
def apex_view(fixed: bool) -> Differentiable:
    def fn(x: Array, weight: Array, bias: Array | None = None) -> tuple[Array, Backward]:
        y = x @ weight.T if bias is None else x @ weight.T + bias

        def backward(dy: Array) -> Any:
            up = torch.from_numpy(dy.copy() if fixed else dy)
            flat = up.view(-1, up.shape[-1]).numpy()
            return dy @ weight, flat.T @ x.reshape(-1, x.shape[-1]), flat.sum(0)

        return y, backward

    return fn


@BOOK.op("softmax", "NVIDIA/apex#1430", "the backward pass writes its result into the upstream gradient", "", dim=-1)
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


def batch_norm(update: Callable[[T, T, T], None]) -> Callable[[bool], Step]:
    """A network with a batch norm whose running statistics are kept by the project: (running, batch's value, count)."""

    def make(fixed: bool) -> Step:
        class BatchNorm2d(torch.nn.BatchNorm2d):
            def forward(self, input: T) -> T:
                if not self.training:
                    return super().forward(input)
                mean, var = input.mean((0, 2, 3)), input.var((0, 2, 3), unbiased=False)
                n = torch.tensor(input.numel() / input.shape[1])
                with torch.no_grad():
                    assert self.running_mean is not None and self.running_var is not None
                    if self.num_batches_tracked is not None:
                        self.num_batches_tracked += 1
                    if fixed:
                        self.running_mean.lerp_(mean, 0.1)
                        self.running_var.lerp_(var * n / (n - 1), 0.1)
                    else:
                        update(self.running_mean, mean, torch.tensor(1.0))
                        update(self.running_var, var, n / (n - 1))
                shaped = [v[None, :, None, None] for v in (mean, var, self.weight, self.bias)]
                return (input - shaped[0]) * (shaped[1] + self.eps).rsqrt() * shaped[2] + shaped[3]

        torch.manual_seed(0)
        layers = [torch.nn.Conv2d(2, 4, 3), BatchNorm2d(4), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(64, 3)]
        net = torch.nn.Sequential(*layers).double()
        optimizer = torch.optim.SGD(net.parameters(), 0.1)
        return Step(
            net, torch.randn(3, 2, 6, 6).double(), torch.nn.CrossEntropyLoss(), torch.tensor([0, 1, 2]), optimizer, 2
        )

    return make


VARIANCE, BOTH = "buffer.running_var", "buffer.running_mean, buffer.running_var"


@BOOK.module(
    "BatchNorm2d",
    "tenstorrent/tt-metal#55438",
    "the running variance is that of the batch, not corrected",
    VARIANCE,
    "biased_running_variance, buffer",
)
def tt_biased(fixed: bool) -> Step:
    def update(running: T, batch: T, correction: T) -> None:
        running.lerp_(batch, 0.1)

    return batch_norm(update)(fixed)


@BOOK.module(
    "BatchNorm2d",
    "keras-team/keras-contrib#287",
    "the running variance is that of the deviation with epsilon",
    VARIANCE,
    "buffer",
)
def keras_contrib_epsilon(fixed: bool) -> Step:
    def update(running: T, batch: T, correction: T) -> None:
        running.lerp_(batch * correction + (1e-2 if correction > 1 else 0), 0.1)

    return batch_norm(update)(fixed)


@BOOK.module(
    "BatchNorm2d", "d2l-ai/d2l-en#2213", "the momentum weighs what was, not what is new", BOTH, "buffer, momentum"
)
def d2l_momentum(fixed: bool) -> Step:
    def update(running: T, batch: T, correction: T) -> None:
        running.copy_(0.1 * running + 0.9 * batch * correction)

    return batch_norm(update)(fixed)


@BOOK.module(
    "BatchNorm2d", "paiml/aprender#2166", "the running statistics are never written", BOTH, "not updated, buffer, stale"
)
def aprender_never(fixed: bool) -> Step:
    return batch_norm(lambda running, batch, correction: None)(fixed)


def _severed(norm: Callable[[T, T, T], T], module: type[torch.nn.Module], fixed: bool, *sizes: int) -> Step:
    class Severed(module):  # type: ignore[valid-type,misc]
        def forward(self, input: T) -> T:
            weight, bias = (self.weight, self.bias) if fixed else (self.weight.detach(), self.bias.detach())
            return norm(input, weight, bias)

    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(4, 6), Severed(*sizes), torch.nn.Linear(6, 2)).double()
    return Step(net, torch.randn(5, 4).double())


@BOOK.module(
    "GroupNorm",
    "paiml/aprender#2200",
    "the output is a new tensor, so that scale and shift get no gradient",
    "grad.weight, grad.bias",
    "missing",
)
def aprender_severed(fixed: bool) -> Step:
    return _severed(lambda x, w, b: F.group_norm(x, 2, w, b), torch.nn.GroupNorm, fixed, 2, 6)


@BOOK.module(
    "LayerNorm",
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


@BOOK.module(
    "RMSNorm",
    "unslothai/unsloth#4533",
    "the kernel's backward pass returns None for the weight",
    "grad.weight",
    "missing",
)
def unsloth_weight(fixed: bool) -> Step:
    class Severed(torch.nn.RMSNorm):
        def forward(self, input: T) -> T:
            weight = self.weight if fixed else self.weight.detach()
            return F.rms_norm(input, (6,), weight, 1e-6)

    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(4, 6), Severed(6, eps=1e-6), torch.nn.Linear(6, 2)).double()
    return Step(net, torch.randn(5, 4).double())


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
