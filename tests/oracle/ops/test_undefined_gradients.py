"""References whose gradient, operation by operation, is NaN where that of the kernel is a number."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import oracle


class Root(torch.autograd.Function):
    """The root of positive numbers, 0 of others, whose slope is 0."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, factor: float) -> torch.Tensor:
        ctx.save_for_backward(x)
        ctx.factor = factor
        return torch.where(x > 0, x.sqrt(), 0.0)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:
        (x,) = ctx.saved_tensors
        return torch.where(x > 0, ctx.factor * grad / torch.where(x > 0, x, 1.0).sqrt(), 0.0), None


class Net(torch.nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = Root.apply(x, self.factor)  # type: ignore[no-untyped-call]
        return made


def root(x: torch.Tensor) -> torch.Tensor:
    return torch.where(x > 0, x.sqrt(), 0.0)


def by_operation(factor: float) -> Any:
    return oracle.check_op(root, oracle.from_torch(lambda x: Root.apply(x, factor)), x=(4, 5))


def in_a_module(factor: float) -> Any:
    return oracle.check_module(Net(factor), torch.randn(4, 5, requires_grad=True))


@pytest.mark.parametrize("check", [by_operation, in_a_module])
@pytest.mark.parametrize("factor", [0.5, 1.0])
def test_a_number_in_place_of_nan_is_undecided(check: Callable[[float], Any], factor: float) -> None:
    """The slope of a root of negative numbers is NaN, and so is 0 times it. A Function that avoids this was wrong; now only if
    another element is. Logarithms of probabilities that are 0, in the recursions of CTC, are like this too."""
    torch.manual_seed(0)
    report = check(factor)
    assert {own.verdict for own in report.blame} == (set() if factor == 0.5 else {"wrong"})
    if factor == 0.5:
        assert "first" in report.conclusion and "gradient is NaN at" in report.conclusion


def test_a_result_in_place_of_nan_is_wrong() -> None:
    """A loss over no labels is NaN, and not 0: a difference of the results themselves is no matter of their derivative."""

    def mean(x: torch.Tensor) -> torch.Tensor:
        return (x * 0).sum() / (x * 0).sum().detach()

    report = oracle.check_op(mean, oracle.from_torch(lambda x: (x * 0).sum()), x=(4, 5))
    assert {own.quantity for own in report.blame} == {"output", "grad_input"}
