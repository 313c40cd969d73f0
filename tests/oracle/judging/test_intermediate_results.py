"""16 bits on the way, where float32 is due, are told in words that are true without a sum as well."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import oracle


class SwiGLU(torch.autograd.Function):
    """Its backward stores the result of each call in 16 bits, and has no sum."""

    @staticmethod
    def forward(ctx: Any, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(a, b)
        return F.silu(a) * b

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> Any:
        a, b = ctx.saved_tensors
        s = torch.sigmoid(a)
        return g * b * s * (1 + a * (1 - s)), g * F.silu(a)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Linear(8, 64)

    def forward(self, x: torch.Tensor) -> Any:
        return SwiGLU.apply(*self.w(x).chunk(2, -1))  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_a_backward_without_a_sum(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    report = oracle.check_module(Block().to(dtype), torch.randn(64, 8).to(dtype))
    (blame,) = report.blame
    assert (blame.quantity, blame.verdict) == ("grad_input#0", "imprecise")
    due = f"behaves like sums or other intermediate results in {str(dtype)[6:]}, where float32 is due"
    assert due in blame.diagnosis
