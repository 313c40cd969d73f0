"""A function that writes into what it is given is found out, whatever it is compared with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import oracle

GRADIENT = "the backward of {} writes into the gradient it is given, which is read-only"
ARGUMENT = "{} writes into its argument x, which is read-only"


def over_its_input(x: Any) -> Any:
    y = np.maximum(x, 0)
    x[...] = -7
    return y, lambda dy: (dy * (y > 0),)


def over_the_gradient(x: Any) -> Any:
    def backward(dy: Any) -> Any:
        grad = dy * (x > 0)
        dy[...] = 0
        return (grad,)

    return np.maximum(x, 0), backward


class InPlace(torch.autograd.Function):
    """Twice x, with a backward that doubles the upstream gradient itself."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return 2 * x

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
        return grad.mul_(2)


class OverLogits(torch.autograd.Function):
    """A cross-entropy that keeps its gradient in the memory of the logits, as in Liger-Kernel#1251."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        loss = F.cross_entropy(x, target)
        x.copy_((x.softmax(-1) - F.one_hot(target, x.shape[-1])) / len(target))
        ctx.save_for_backward(x.detach())
        return loss

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:
        return ctx.saved_tensors[0] * grad, None


@pytest.mark.parametrize(
    ("reference", "fn", "arrays", "said"),
    [
        (lambda x: np.maximum(x, 0), over_its_input, {"x": np.array([[1.0, -2.0]])}, ARGUMENT),
        (lambda x: np.maximum(x, 0), over_the_gradient, {"x": np.array([[1.0, -2.0]])}, GRADIENT),
        (torch.relu, over_the_gradient, {"x": (3, 4)}, GRADIENT),
        (lambda x: 2 * x, oracle.from_torch(InPlace.apply), {"x": (3, 4)}, GRADIENT),
        (F.cross_entropy, oracle.from_torch(OverLogits.apply), {"x": (3, 4), "target": np.array([0, 1, 2])}, ARGUMENT),
    ],
)
def test_a_function_that_is_compared_with_a_program(
    reference: Callable[..., Any], fn: Any, arrays: dict[str, Any], said: str
) -> None:
    """Its results are right, and other code reads the arrays that it overwrites."""
    report = oracle.check_op(reference, fn, dtypes=("float64", "float32", "bfloat16"), **arrays)
    assert {blame.verdict for blame in report.blame} == {"crashed"} and not report.passed
    assert {blame.diagnosis for blame in report.blame} == {f"ValueError: {said.format(fn.__name__)}"}


def test_a_function_of_torch_that_works_in_place() -> None:
    """Torch itself refuses it for an array that has a gradient; behind another operation it is nobody's concern."""
    refused = oracle.check_op(F.relu, oracle.from_torch(lambda x: F.relu(x, inplace=True)), x=(3, 4))
    assert "is being used in an in-place operation" in refused.blame[0].diagnosis
    assert oracle.check_op(
        lambda x: F.relu(2 * x), oracle.from_torch(lambda x: F.relu(2 * x, inplace=True)), x=(3, 4)
    ).passed


def test_running_statistics_may_be_written_to() -> None:
    """A batch norm in training updates them."""

    def norm(x: torch.Tensor, running_mean: torch.Tensor) -> torch.Tensor:
        return F.batch_norm(x, running_mean.detach(), torch.ones(3, dtype=x.dtype), training=True)

    assert oracle.check_op(norm, oracle.from_torch(norm), x=(6, 3), running_mean=np.zeros(3)).passed
