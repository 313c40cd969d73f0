"""Custom autograd.Functions whose results are found by comparing numbers that depend on the input."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import oracle


class Root(torch.autograd.Function):
    """The root of y³ + y = x by bisection; its gradient is that of the implicit function."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        low, step = torch.full_like(x, -4.0), 4.0
        for _ in range(40):
            y = low + step
            low, step = torch.where(y**3 + y <= x, y, low), step / 2
        ctx.save_for_backward(low)
        return low

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        return g / (3 * y**2 + 1)


class Rectified(torch.autograd.Function):
    """ReLU with the upstream gradient itself as gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return torch.where(x > 0, x, 0 * x)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return g


class Behind(nn.Module):
    def __init__(self, function: Any) -> None:
        super().__init__()
        self.a, self.function = nn.Linear(4, 4), function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.a(x))  # type: ignore[no-any-return]


def test_a_search_for_a_root_is_unjudged() -> None:
    """The derivative of the recorded choices is 0, and that of the root is not."""
    torch.manual_seed(0)
    report = oracle.check_module(Behind(Root.apply), torch.randn(5, 4))
    ((place, _, reason),) = report.coverage.unjudged
    assert place == "Root" and "through comparisons alone" in reason and not report.blame and not report.passed


def test_a_comparison_beside_a_differentiable_way_excuses_nothing() -> None:
    """Not even where every element is on the side whose derivative is 0."""
    torch.manual_seed(0)
    for shift in (0, -9):
        module = Behind(Rectified.apply)
        module.a.bias.data += shift
        assert [own.layer for own in oracle.check_module(module, torch.randn(5, 4)).blame] == ["Rectified"]


class Simplex(torch.autograd.Function):
    """The nearest point whose coordinates are not negative and add up to 1, by bisection of the threshold."""

    factor = 1.0

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        low, step = x.amax(-1, keepdim=True) - 1, 1.0
        for _ in range(30):
            step = step / 2
            too_much = (x - low - step).clamp(min=0).sum(-1) >= 1
            low = torch.where(too_much.unsqueeze(-1), low + step, low)
        y = (x - low).clamp(min=0)
        ctx.save_for_backward(y)
        return y / y.sum(-1, keepdim=True)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        inside = (y > 0).to(g.dtype)
        return Simplex.factor * inside * (g - (g * inside).sum(-1, keepdim=True) / inside.sum(-1, keepdim=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_search_beside_a_differentiable_way_is_unjudged_if_differences_agree(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The threshold was chosen, and depends on the input; a gradient that is not the slope of the result stays wrong."""
    torch.manual_seed(0)
    module, x = Behind(Simplex.apply).to(dtype), torch.randn(5, 4, dtype=dtype)
    report = oracle.check_module(module, x)
    ((place, _, reason),) = report.coverage.unjudged
    assert place == "Simplex" and "differences" in reason and not report.blame and not report.passed
    monkeypatch.setattr(Simplex, "factor", 1.1)
    assert [own.layer for own in oracle.check_module(module, x).blame] == ["Simplex"]
