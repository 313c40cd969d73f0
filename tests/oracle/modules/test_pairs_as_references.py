"""References that return (output, backward), written in functions of NumPy or of torch that error arrays lack."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import oracle


class Rounded(torch.autograd.Function):
    """A weight in 4 bits with a scale for each row, whose gradient goes straight through inside of the largest number."""

    @staticmethod
    def forward(ctx: Any, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        scale = weight.abs().amax(-1, keepdim=True) / 7
        ctx.save_for_backward(weight, scale)
        return torch.clamp((weight / scale).round(), -7, 7) * scale, scale

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor, grad_scale: torch.Tensor) -> torch.Tensor:
        weight, scale = ctx.saved_tensors
        return grad * (weight.abs() < 6.5 * scale)


class Quantized(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(6, 8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight, _ = Rounded.apply(self.weight)  # type: ignore[no-untyped-call]
        return x @ weight.T  # type: ignore[no-any-return]


def in_numpy(weight: Any, factor: float = 1.0) -> Any:
    scale = np.abs(weight).max(-1, keepdims=True) / 7
    inside = np.abs(weight) < 6.5 * scale
    rounded = np.round(weight / scale).clip(-7, 7) * scale
    return (rounded, scale), lambda g, _: np.where(inside, g, 0.0 * g) * factor


def in_torch(weight: Any, factor: float = 1.0) -> Any:
    scale = weight.abs().amax(-1, keepdim=True) / 7
    inside = weight.abs() < 6.5 * scale
    return ((weight / scale).round().clamp(-7, 7) * scale, scale), lambda g, _: g * inside * factor


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("reference", [in_numpy, in_torch])
def test_a_pair_may_use_all_functions_that_are_recorded(reference: Callable[..., Any], dtype: torch.dtype) -> None:
    """Only a few functions of NumPy, and no pair in torch, could be used: max, clip and round were refused with a message about
    tensors that require a gradient. And a second output without a gradient left the Function unjudged."""
    torch.manual_seed(0)
    net, x = Quantized().to(dtype), torch.randn(3, 8).to(dtype)
    report = oracle.check_module(net, x, references={Rounded: reference})
    assert report.passed and report.coverage.gradients == 1, str(report)
    other = oracle.check_module(net, x, references={Rounded: lambda weight: reference(weight, 2.0)})
    assert [own.quantity for own in other.blame] == ["grad.weight"]
