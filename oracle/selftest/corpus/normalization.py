"""Published bugs in normalisation: missing terms and parameters in the backward, wrong and running statistics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from oracle.case.arrays import Array
from oracle.ops.check_op import Differentiable
from oracle.selftest.corpus.entry import Book, Step
from oracle.selftest.corpus.plain import Backward, all_but, normalized, per_channel, through_norm

BOOK = Book("normalization")


def batch_norm(
    grad_input: Callable[[Array, Array, Array, Array | None, tuple[int, ...]], Array] | None = None,
    scale: Callable[[Array], Array] | None = None,
) -> Differentiable:
    """Batch norm in training.

    grad_input: replaces the input gradient; it takes (dy, x_hat, inverse, weight, axes).
    scale: maps the weight to the factor that takes its place, such as its absolute value.
    """

    def fn(x: Array, mean: Array, var: Array, weight: Array | None = None, bias: Array | None = None) -> Any:
        axes = all_but(1, x.ndim)
        x_hat, inverse = normalized(x, axes)
        n = x.size / x.shape[1]
        for running, batch in ((mean, x.mean(axes)), (var, x.var(axes) * (n / (n - 1) if n > 1 else np.nan))):
            if running is not None:
                running[...] = 0.9 * running + 0.1 * batch
        gamma = None if weight is None else per_channel(weight if scale is None else scale(weight), x.ndim)
        y = x_hat if gamma is None else x_hat * gamma
        y = y if bias is None else y + per_channel(bias, x.ndim)

        def backward(dy: Array) -> tuple[Any, ...]:
            through = dy if gamma is None else dy * gamma
            dx = through_norm(through, x_hat, inverse, axes)
            if grad_input is not None:
                dx = grad_input(dy, x_hat, inverse, weight, axes)
            sign = 1 if scale is None or weight is None else np.sign(weight)
            dw = None if weight is None else (dy * x_hat).sum(axes) * sign
            return dx, None, None, dw, None if bias is None else dy.sum(axes)

        return y, backward

    return fn


@BOOK.op(
    "batch_norm",
    "denizyuret/Knet.jl#288",
    "the input's gradient does not know the scale",
    causes="parameter lost",
    training=True,
)
def knet_scale(fixed: bool) -> Differentiable:
    def wrong(dy: Array, x_hat: Array, inverse: Array, weight: Array | None, axes: tuple[int, ...]) -> Array:
        return through_norm(dy, x_hat, inverse, axes)

    return batch_norm(None if fixed else wrong)


@BOOK.op(
    "batch_norm",
    "facebookresearch/CrypTen#143",
    "in training the statistics are taken for constants",
    causes="statistics",
    training=True,
)
def crypten_constant(fixed: bool) -> Differentiable:
    def wrong(dy: Array, x_hat: Array, inverse: Array, weight: Array | None, axes: tuple[int, ...]) -> Array:
        return inverse * (dy if weight is None else dy * per_channel(weight, dy.ndim))

    return batch_norm(None if fixed else wrong)


@BOOK.op(
    "batch_norm",
    "mapillary/inplace_abn#92",
    "the scale is the absolute value of the weight",
    "output",
    "sign",
    training=True,
)
def inplace_abn_absolute(fixed: bool) -> Differentiable:
    return batch_norm(scale=None if fixed else np.abs)


def batch_norm_eval(batch: bool) -> Differentiable:
    """Batch norm in evaluation. If `batch`, the backward uses the batch's statistics instead of the running ones."""

    def fn(x: Array, mean: Array, var: Array, weight: Array | None = None, bias: Array | None = None) -> Any:
        axes = all_but(1, x.ndim)
        inverse = 1 / np.sqrt(per_channel(var, x.ndim) + x.dtype.type(1e-5))
        x_hat = (x - per_channel(mean, x.ndim)) * inverse
        y = x_hat if weight is None else x_hat * per_channel(weight, x.ndim)
        y = y if bias is None else y + per_channel(bias, x.ndim)

        def backward(dy: Array) -> tuple[Any, ...]:
            through = dy if weight is None else dy * per_channel(weight, x.ndim)
            own_hat, own_inverse = normalized(x, axes) if batch else (x_hat, inverse)
            dx = through_norm(through, own_hat, own_inverse, axes) if batch else through * inverse
            dw = None if weight is None else (dy * own_hat).sum(axes)
            return dx, None, None, dw, None if bias is None else dy.sum(axes)

        return y, backward

    return fn


@BOOK.op(
    "batch_norm",
    "pytorch/xla#913",
    "in evaluation the gradient is that of training",
    "grad_input, grad.weight",
    causes="statistics, mode",
    training=False,
)
def xla_eval(fixed: bool) -> Differentiable:
    return batch_norm_eval(not fixed)


@BOOK.op(
    "batch_norm",
    "torch/nn#768",
    "in evaluation the backward pass takes the batch's mean and deviation",
    "grad_input, grad.weight",
    causes="statistics, mode",
    training=False,
)
def torch7_eval(fixed: bool) -> Differentiable:
    def fn(x: Array, mean: Array, var: Array, weight: Array | None = None, bias: Array | None = None) -> Any:
        y, backward = batch_norm_eval(False)(x, mean, var, weight, bias)

        def wrong(dy: Array) -> Any:
            axes = all_but(1, x.ndim)
            x_hat, inverse = normalized(x, axes)
            through = dy if weight is None else dy * per_channel(weight, x.ndim)
            dw = None if weight is None else (dy * x_hat).sum(axes)
            return through * inverse, None, None, dw, None if bias is None else dy.sum(axes)

        return y, backward if fixed else wrong

    return fn


def layer_norm(
    change: Callable[[Array, Array, Array, Array, Array], tuple[Array, Array, Array]] | None = None, last: int = 1
) -> Differentiable:
    """Layer norm. `change` maps (dy, x, x_hat, inverse, weight) to the gradients of input, weight and bias."""

    def fn(x: Array, weight: Array, bias: Array) -> tuple[Array, Backward]:
        axes = tuple(range(x.ndim - weight.ndim, x.ndim))
        lead = tuple(range(x.ndim - weight.ndim))
        x_hat, inverse = normalized(x, axes)

        def backward(dy: Array) -> tuple[Array, Array, Array]:
            if change is not None:
                return change(dy, x, x_hat, inverse, weight)
            return through_norm(dy * weight, x_hat, inverse, axes), (dy * x_hat).sum(lead), dy.sum(lead)

        return x_hat * weight + bias, backward

    return fn


def _leading(x: Array, weight: Array) -> tuple[int, ...]:
    return tuple(range(x.ndim - weight.ndim))


@BOOK.op(
    "layer_norm",
    "tenstorrent/tt-metal#53215",
    "the mean of dy * weight is subtracted twice",
    causes="statistics",
    normalized_shape=(6,),
)
def tt_train_twice(fixed: bool) -> Differentiable:
    def wrong(dy: Array, x: Array, x_hat: Array, inverse: Array, weight: Array) -> tuple[Array, Array, Array]:
        g, lead = dy * weight, _leading(x, weight)
        dx = inverse * (g - 2 * g.mean(-1, keepdims=True) - x_hat * (g * x_hat).mean(-1, keepdims=True))
        return dx, (dy * x_hat).sum(lead), dy.sum(lead)

    return layer_norm(None if fixed else wrong)


@BOOK.op(
    "layer_norm",
    "tenstorrent/tt-metal#53204",
    "of the mean of dy * weight * x_hat only the last block's contribution is left",
    causes="statistics",
    normalized_shape=(6,),
)
def tt_train_last_block(fixed: bool) -> Differentiable:
    def wrong(dy: Array, x: Array, x_hat: Array, inverse: Array, weight: Array) -> tuple[Array, Array, Array]:
        g, lead = dy * weight, _leading(x, weight)
        last = (g * x_hat)[..., -2:].sum(-1, keepdims=True) / x.shape[-1]
        return inverse * (g - g.mean(-1, keepdims=True) - x_hat * last), (dy * x_hat).sum(lead), dy.sum(lead)

    return layer_norm(None if fixed else wrong)


@BOOK.op(
    "layer_norm",
    "deepspeedai/DeepSpeed#692",
    "x_hat comes from the output, by another feature's scale and shift",
    "grad.weight",
    normalized_shape=(6,),
)
def deepspeed_index(fixed: bool) -> Differentiable:
    def fn(x: Array, weight: Array, bias: Array) -> tuple[Array, Backward]:
        x_hat, inverse = normalized(x, (-1,))
        y = x_hat * weight + bias

        def backward(dy: Array) -> tuple[Array, Array, Array]:
            lead = _leading(x, weight)
            own = x_hat if fixed else (y - np.roll(bias, 1)) / np.roll(weight, 1)
            return through_norm(dy * weight, x_hat, inverse, (-1,)), (dy * own).sum(lead), dy.sum(lead)

        return y, backward

    return fn


@BOOK.op(
    "layer_norm",
    "flagos-ai/FlagGems#5392",
    "everything behind the first dimension is taken for the normalized shape",
    "grad_input, grad.weight, grad.bias",
    "not summed",
    normalized_shape=(6,),
)
def flaggems_rank(fixed: bool) -> Differentiable:
    def wrong(dy: Array, x: Array, x_hat: Array, inverse: Array, weight: Array) -> tuple[Array, Array, Array]:
        rows = max(x.shape[0], 1) if x.ndim > 1 else 1

        def flat(a: Array) -> Array:
            return np.broadcast_to(a, x.shape).reshape(rows, -1)

        g, hat = flat(dy * weight), flat(x_hat)
        dx = flat(inverse) * (g - g.mean(1, keepdims=True) - hat * (g * hat).mean(1, keepdims=True))
        return dx.reshape(x.shape), (flat(dy) * hat).sum(0)[:6], flat(dy).sum(0)[:6]

    return layer_norm(None if fixed else wrong)


@BOOK.op(
    "layer_norm",
    "Oneflow-Inc/oneflow#6149",
    "the gradients of weight and bias are exchanged",
    "grad.weight",
    "another quantity",
    normalized_shape=(6,),
)
def oneflow_exchanged(fixed: bool) -> Differentiable:
    def wrong(dy: Array, x: Array, x_hat: Array, inverse: Array, weight: Array) -> tuple[Array, Array, Array]:
        lead = _leading(x, weight)
        return through_norm(dy * weight, x_hat, inverse, (-1,)), dy.sum(lead), (dy * x_hat).sum(lead)

    return layer_norm(None if fixed else wrong)


@BOOK.op(
    "layer_norm",
    "ml-explore/mlx#941",
    "the bias's gradient is summed after the upstream gradient's memory was given to the input's",
    "grad.bias",
    "in place",
    normalized_shape=(6,),
)
def mlx_donated(fixed: bool) -> Differentiable:
    def wrong(dy: Array, x: Array, x_hat: Array, inverse: Array, weight: Array) -> tuple[Array, Array, Array]:
        lead = _leading(x, weight)
        dx = through_norm(dy * weight, x_hat, inverse, (-1,))
        return dx, (dy * x_hat).sum(lead), dx.sum(lead)

    return layer_norm(None if fixed else wrong)


@BOOK.op(
    "rms_norm",
    "karpathy/llm.c#763",
    "the backward pass forgets to multiply by the weight",
    causes="parameter lost",
    normalized_shape=(6,),
    eps=1e-5,
)
def rms_without_weight(fixed: bool) -> Differentiable:
    def fn(x: Array, weight: Array) -> tuple[Array, Backward]:
        inverse = 1 / np.sqrt((x * x).mean(-1, keepdims=True) + x.dtype.type(1e-5))
        x_hat = x * inverse

        def backward(dy: Array) -> tuple[Array, Array]:
            g = dy * weight if fixed else dy
            return inverse * (g - x_hat * (g * x_hat).mean(-1, keepdims=True)), (dy * x_hat).sum(_leading(x, weight))

        return x_hat * weight, backward

    return fn


@BOOK.op(
    "rms_norm",
    "flagos-ai/FlagGems#5771",
    "what is kept for the backward pass is the mean square, not its inverse root",
    "grad_input, grad.weight",
    "statistics",
    normalized_shape=(6,),
    eps=1e-5,
)
def rms_kept_variance(fixed: bool) -> Differentiable:
    def fn(x: Array, weight: Array) -> tuple[Array, Backward]:
        mean_square = (x * x).mean(-1, keepdims=True)
        inverse = 1 / np.sqrt(mean_square + x.dtype.type(1e-5))

        def backward(dy: Array) -> tuple[Array, Array]:
            kept = inverse if fixed else mean_square
            hat, g = x * kept, dy * weight
            return kept * (g - hat * (g * hat).mean(-1, keepdims=True)), (dy * hat).sum(_leading(x, weight))

        return x * inverse * weight, backward

    return fn


class GroupNorm(torch.autograd.Function):
    """Group norm with affine parameters. Unless fixed, the weight's gradient is zero if the input needs no gradient."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, w: torch.Tensor, b: torch.Tensor, fixed: bool) -> torch.Tensor:
        grouped = x.reshape(x.shape[0], 2, -1)
        inverse = (grouped.var(2, unbiased=False, keepdim=True) + 1e-5).rsqrt()
        x_hat = ((grouped - grouped.mean(2, keepdim=True)) * inverse).view_as(x)
        ctx.save_for_backward(x_hat, w, inverse)
        ctx.fixed = fixed
        return x_hat * w[:, None, None] + b[:, None, None]

    @staticmethod
    def backward(ctx: Any, dy: torch.Tensor) -> Any:
        x_hat, w, inverse = ctx.saved_tensors
        dw, db = (dy * x_hat).sum((0, 2, 3)), dy.sum((0, 2, 3))
        if not ctx.needs_input_grad[0]:
            return None, dw if ctx.fixed else torch.zeros_like(dw), db, None
        g = (dy * w[:, None, None]).reshape(dy.shape[0], 2, -1)
        hat = x_hat.reshape(g.shape)
        dx = inverse * (g - g.mean(2, keepdim=True) - hat * (g * hat).mean(2, keepdim=True))
        return dx.view_as(dy), dw, db, None


@BOOK.module(
    "GroupNorm",
    "PaddlePaddle/Paddle#54244",
    "where the input needs no gradient, the weight gets none either",
    "grad.weight",
    "zero",
)
def paddle_frozen(fixed: bool) -> Step:
    class PaddleGroupNorm(torch.nn.GroupNorm):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            result: torch.Tensor = GroupNorm.apply(input, self.weight, self.bias, fixed)  # type: ignore[no-untyped-call]
            return result

    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(6, 6, 3), PaddleGroupNorm(2, 6), torch.nn.Conv2d(6, 2, 3)).double()
    net[0].requires_grad_(False)
    return Step(net, torch.randn(4, 6, 5, 5).double())
