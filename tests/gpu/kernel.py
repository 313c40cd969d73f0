"""RMSNorm as two Triton kernels with a program per row, and a planted mistake in the backward one.

y = x s w with s = 1/√(mean(x²) + eps), and for g = grad_output
    grad_x = s (g w - x s² mean(g w x)),   grad_w = Σ g x s over the rows.
"""

from __future__ import annotations

from typing import Any

import torch
import triton  # type: ignore[import-not-found]
import triton.language as tl  # type: ignore[import-not-found]
from torch import Tensor

EPS = 1e-6


@triton.jit
def _forward(x, w, y, scale, width, eps, block: tl.constexpr):  # type: ignore[no-untyped-def]
    row, columns = tl.program_id(0), tl.arange(0, block)
    inside = columns < width
    own = tl.load(x + row * width + columns, mask=inside, other=0.0).to(tl.float32)
    s = 1.0 / tl.sqrt(tl.sum(own * own, axis=0) / width + eps)
    tl.store(scale + row, s)
    weight = tl.load(w + columns, mask=inside, other=0.0).to(tl.float32)
    tl.store(y + row * width + columns, own * s * weight, mask=inside)


@triton.jit
def _backward(x, w, g, scale, grad_x, terms, width, spoilt: tl.constexpr, block: tl.constexpr):  # type: ignore[no-untyped-def]
    row, columns = tl.program_id(0), tl.arange(0, block)
    inside = columns < width
    own = tl.load(x + row * width + columns, mask=inside, other=0.0).to(tl.float32)
    upstream = tl.load(g + row * width + columns, mask=inside, other=0.0).to(tl.float32)
    weighted = upstream * tl.load(w + columns, mask=inside, other=0.0).to(tl.float32)
    s = tl.load(scale + row)
    mean = tl.sum(weighted * own, axis=0) / width
    power = s if spoilt else s * s  # the mistake: a factor of s is forgotten
    tl.store(grad_x + row * width + columns, s * (weighted - own * power * mean), mask=inside)
    tl.store(terms + row * width + columns, upstream * own * s, mask=inside)


class RmsNorm(torch.autograd.Function):
    spoilt = False

    @classmethod
    def forward(cls, ctx: Any, x: Tensor, w: Tensor) -> Tensor:
        rows, width = x.shape
        y, scale = torch.empty_like(x), torch.empty(rows, device=x.device)
        _forward[(rows,)](x, w, y, scale, width, EPS, block=triton.next_power_of_2(width))
        ctx.save_for_backward(x, w, scale)
        return y

    @classmethod
    def backward(cls, ctx: Any, grad_output: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        x, w, scale = ctx.saved_tensors
        rows, width = x.shape
        grad_x, terms = torch.empty_like(x), torch.empty_like(x, dtype=torch.float32)
        _backward[(rows,)](
            x, w, grad_output.contiguous(), scale, grad_x, terms, width, cls.spoilt, block=triton.next_power_of_2(width)
        )
        return grad_x, terms.sum(0).to(w.dtype)


class SpoiltRmsNorm(RmsNorm):
    spoilt = True
