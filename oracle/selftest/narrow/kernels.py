"""Kernels of torch written anew: added up in 16 bits, or wrong by 2 %, or in float32 and stored once, as they should be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from oracle.subjects.torch import array, tensor

Kernel = Callable[..., Tensor]
# "mixed" is a module in float32 whose activations are stored in bfloat16.
PRECISIONS = ("bfloat16", "float16", "mixed")
FACTOR = 1.02


def added_up(terms: Tensor) -> Tensor:
    """The sum over the last axis by a loop in the dtype of the terms."""
    return tensor(np.add.accumulate(array(terms), axis=-1)[..., -1])


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return added_up(x[:, None] * weight) + bias


def convolution(x: Tensor, weight: Tensor, bias: Tensor, *_: Any) -> Tensor:
    side = x.shape[-1] - weight.shape[-1] + 1
    windows = F.unfold(x.float(), weight.shape[-1]).to(x.dtype).mT
    made = added_up(windows[:, None] * weight.flatten(1)[:, None]) + bias[:, None]
    return made.reshape(*made.shape[:-1], side, side)


def layer_norm(x: Tensor, shape: Any, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    off = x - (added_up(x) / x.shape[-1])[..., None]
    variance = added_up(off * off) / x.shape[-1]
    return off / (variance + eps).sqrt()[..., None] * weight + bias


def softmax(x: Tensor, *_: Any, **__: Any) -> Tensor:
    powers = (x - x.amax(-1, keepdim=True)).exp()
    return powers / added_up(powers)[..., None]


def cross_entropy(x: Tensor, target: Tensor, **_: Any) -> Tensor:
    off = x - x.amax(-1, keepdim=True)
    return added_up(off.exp()).log() - off.gather(-1, target[:, None])[:, 0]


class Labelled(nn.Module):
    """The loss of each row, so that there are many of them."""

    def __init__(self, rows: int, classes: int) -> None:
        super().__init__()
        self.register_buffer("target", torch.arange(rows) % classes)

    def forward(self, x: Tensor) -> Tensor:
        return F.cross_entropy(x, self.target, reduction="none")  # type: ignore[arg-type]


@dataclass(frozen=True)
class Op:
    """An operation of torch.nn.functional.

    Attributes:
        real: torch's own function.
        low: the same, added up in the dtype of its arguments.
        make: makes the module that calls it by its name.
        shape: the shape of the module's input.
        precisions: those in which its sums in 16 bits change more than storing the result does, and still follow the values.
    """

    real: Kernel
    low: Kernel
    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    precisions: tuple[str, ...] = PRECISIONS


OPS: dict[str, Op] = {
    "Linear": Op(F.linear, linear, lambda: nn.Linear(256, 32), (16, 256)),
    "Linear of 4,096": Op(F.linear, linear, lambda: nn.Linear(4096, 8), (8, 4096)),
    "Conv2d": Op(F.conv2d, convolution, lambda: nn.Conv2d(8, 16, 3), (4, 8, 10, 10)),
    "LayerNorm": Op(F.layer_norm, layer_norm, lambda: nn.LayerNorm(256), (16, 256)),
    "Softmax": Op(F.softmax, softmax, lambda: nn.Softmax(-1), (16, 256)),
    "cross_entropy": Op(F.cross_entropy, cross_entropy, lambda: Labelled(64, 512), (64, 512), ("bfloat16", "mixed")),
    "cross_entropy of 2,048": Op(F.cross_entropy, cross_entropy, lambda: Labelled(32, 2048), (32, 2048), ("float16",)),
}


def in_float32(op: Op, factor: float = 1.0) -> Kernel:
    """Computed in float32, times a factor, and stored once, in the dtype of the first argument."""

    def kernel(*args: Any, **options: Any) -> Tensor:
        wide = (own.float() if isinstance(own, Tensor) and own.is_floating_point() else own for own in args)
        return (op.real(*wide, **options) * factor).to(args[0].dtype)

    return kernel


def wrong_by_2_percent(op: Op) -> Kernel:
    return in_float32(op, FACTOR)


def with_forward(op: Op, forward: Kernel, stored: torch.dtype) -> tuple[Kernel, dict[Any, Kernel]]:
    """The kernel with another forward and a right backward, and the reference that it stands for: torch's own kernel.

    stored: the 16-bit dtype to which arguments in float32 are converted, as under autocast.
    """

    class Replaced(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, options: Any, *args: Any) -> Tensor:
            ctx.options, ctx.args = options, args
            return forward(*args, **options)

        @staticmethod
        def backward(ctx: Any, *grads: Tensor) -> Any:
            with torch.enable_grad():
                fresh = [_learning(own) for own in ctx.args]
                made = in_float32(op)(*fresh, **ctx.options)
                learnt = [own for own in fresh if isinstance(own, Tensor) and own.requires_grad]
                found = iter(torch.autograd.grad(made, learnt, grads[0]))
            return None, *(next(found) if isinstance(own, Tensor) and own.requires_grad else None for own in fresh)

    def kernel(*args: Any, **options: Any) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            given = (own.to(stored) if isinstance(own, Tensor) and own.is_floating_point() else own for own in args)
            return Replaced.apply(options, *given)  # type: ignore[no-untyped-call,no-any-return]

    def meant(options: Any, *args: Any) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            return op.real(*args, **options)

    return kernel, {Replaced: meant}


def _learning(own: Any) -> Any:
    if not isinstance(own, Tensor):
        return own
    return own.detach().requires_grad_(own.is_floating_point())
