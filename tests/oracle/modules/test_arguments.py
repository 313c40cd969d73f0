"""Arguments of `check_module` in the forms in which people have them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import oracle


def contrast(views: Tensor) -> Tensor:
    """InfoNCE of two views, the halves of the output."""
    one, other = F.normalize(views, dim=1).chunk(2)
    return F.cross_entropy(one @ other.T / 0.5, torch.arange(len(one)))


def test_a_loss_without_a_target_is_called_with_the_output_alone() -> None:
    torch.manual_seed(0)
    report = oracle.check_module(nn.Linear(4, 3), torch.randn(6, 4), contrast)
    report.raise_for_discrepancy()
    assert report.coverage.gradients == report.coverage.operations == 1


@pytest.mark.parametrize("target", [1.5, True, [1.0, 2.0, 3.0, 4.0, 5.0]])
def test_a_target_of_a_function_may_hold_no_tensor(target: Any) -> None:
    """Such as whether a discriminator's input is real."""

    def hinge(y: Tensor, target: Any) -> Tensor:
        return F.relu(1 - y * torch.tensor(target).unsqueeze(-1)).mean()

    torch.manual_seed(0)
    oracle.check_module(nn.Linear(4, 1), torch.randn(5, 4), hinge, target).raise_for_discrepancy()


class Picture(nn.Module):
    """An image whose numbers are parameters, as in style transfer; a number picks one of several."""

    def __init__(self, wrong: bool = False) -> None:
        super().__init__()
        self.images, self.wrong = nn.Parameter(torch.randn(3, 4)), wrong

    def forward(self, which: int = 0) -> Tensor:
        made = Halved.apply(self.images[which]) if self.wrong else self.images[which] * 0.5
        return made.sigmoid()  # type: ignore[no-any-return]


class Halved(torch.autograd.Function):
    """Half of its input, with another gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x * 0.5

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad


@pytest.mark.parametrize("x", [(), (1,), 2])
def test_a_module_may_take_no_tensor(x: Any) -> None:
    torch.manual_seed(0)
    report = oracle.check_module(Picture(), x, nn.MSELoss(), torch.rand(4))
    report.raise_for_discrepancy()
    assert report.passed and report.coverage.parameters == 1
    assert [own.layer for own in oracle.check_module(Picture(wrong=True), x).blame] == ["Halved"]


def test_an_array_in_place_of_a_tensor_is_refused() -> None:
    with pytest.raises(ValueError, match=r"x is a torch\.Tensor, .* got ndarray"):
        oracle.check_module(Picture(), np.ones(3))


@pytest.mark.parametrize(
    ("loss", "shape"), [(nn.L1Loss(), (5, 1)), (nn.HuberLoss(), (3,)), (nn.SmoothL1Loss(), (1, 3)), (nn.MSELoss(), ())]
)
@pytest.mark.filterwarnings("ignore:Using a target size")
def test_a_loss_that_broadcasts_its_target_is_judged(loss: Callable[..., Tensor], shape: tuple[int, ...]) -> None:
    """refbp broadcasts none; the calls of which torch composes the loss are judged instead."""
    torch.manual_seed(0)
    report = oracle.check_module(nn.Linear(4, 3), torch.randn(5, 4), loss, torch.randn(shape))
    report.raise_for_discrepancy()
    assert report.passed and report.coverage.gradients == report.coverage.operations == 1
