"""A wrong formula in a custom Function's backward is `wrong`, and not a lower precision; a lower precision is `imprecise`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import oracle

RATE, CUBE = math.sqrt(2 / math.pi), 0.044715


def gate(x: torch.Tensor, cube: float) -> torch.Tensor:
    """The derivative of GELU's approximation by tanh; `cube` is 3 where it is right."""
    t = torch.tanh(RATE * (x + CUBE * x**3))
    return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * RATE * (1 + cube * CUBE * x * x)


def norm_gradient(x: torch.Tensor, grad: torch.Tensor, n: int) -> torch.Tensor:
    """The gradient of x / rms(x); n is the length of a row where it is right."""
    r = torch.rsqrt(x.square().mean(-1, keepdim=True))
    return r * grad - r**3 * x * (grad * x).sum(-1, keepdim=True) / n


class Gelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, factor: torch.Tensor, backward: Callable[..., Any]) -> torch.Tensor:
        ctx.save_for_backward(x, factor)
        ctx.own = backward
        return nn.functional.gelu(x, approximate="tanh") * factor

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:
        x, factor = ctx.saved_tensors
        return ctx.own(x, grad * factor), grad * nn.functional.gelu(x, approximate="tanh"), None


class Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, factor: torch.Tensor, backward: Callable[..., Any]) -> torch.Tensor:
        ctx.save_for_backward(x, factor)
        ctx.own = backward
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True)) * factor

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:
        x, factor = ctx.saved_tensors
        return ctx.own(x, grad * factor), grad * x * torch.rsqrt(x.square().mean(-1, keepdim=True)), None


class Net(nn.Module):
    def __init__(self, function: Any, backward: Callable[..., Any]) -> None:
        super().__init__()
        self.first, self.second, self.function, self.backward = nn.Linear(10, 24), nn.Linear(10, 24), function, backward

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = self.function.apply(self.first(x), self.second(x), self.backward)
        return made


def low(backward: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    return lambda x, grad: backward(x.bfloat16(), grad.bfloat16()).to(x.dtype)


def gelu(cube: float) -> Callable[..., torch.Tensor]:
    return lambda x, grad: (grad.float() * gate(x.float(), cube)).to(x.dtype)


def norm(n: int) -> Callable[..., torch.Tensor]:
    return lambda x, grad: norm_gradient(x, grad, n)


@pytest.mark.parametrize(
    ("function", "backward", "verdict"),
    [
        (Gelu, gelu(3), None),
        (Gelu, gelu(1), "wrong"),
        (Gelu, low(gelu(3)), "imprecise"),
        (Norm, norm(24), None),
        (Norm, norm(23), "wrong"),
        (Norm, low(norm(24)), "imprecise"),
    ],
    ids=["gelu", "gelu, wrong", "gelu, low", "norm", "norm, wrong", "norm, low"],
)
def test_a_wrong_formula_is_no_lower_precision(function: Any, backward: Any, verdict: str | None) -> None:
    """Errors of a few per cent that follow the input, element by element or along its rows, were called "like bfloat16"."""
    torch.manual_seed(0)
    report = oracle.check_module(Net(function, backward), torch.randn(4, 3, 10))
    assert [own.verdict for own in report.blame] == ([] if verdict is None else [verdict]), str(report)


@pytest.mark.parametrize("cube", [3, 1])
def test_a_wrong_formula_is_no_sum_in_16_bits(cube: int) -> None:
    """The same in bfloat16, where such errors were called those of sums in bfloat16."""
    torch.manual_seed(0)
    report = oracle.check_module(Net(Gelu, gelu(cube)).bfloat16(), torch.randn(4, 3, 10).bfloat16())
    assert [own.verdict for own in report.blame] == ([] if cube == 3 else ["wrong"]), str(report)
