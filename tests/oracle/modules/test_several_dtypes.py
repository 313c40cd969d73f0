"""Operations whose arrays have several dtypes: each call is judged in the dtype in which torch computes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import oracle

PAIRS = (
    (torch.bfloat16, torch.float32),
    (torch.float16, torch.float32),
    (torch.float32, torch.float64),
    (torch.bfloat16, torch.float16),
    (torch.float64, torch.float32),
)
LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": F.mse_loss,
    "smooth_l1": lambda x, t: F.smooth_l1_loss(x, t, beta=0.5),
    "kl": lambda x, t: F.kl_div(x.log_softmax(-1), t.softmax(-1), reduction="batchmean"),
    "with_logits": lambda x, t: F.binary_cross_entropy_with_logits(x, t.sigmoid()),
    "weighted": lambda x, t: F.binary_cross_entropy_with_logits(
        x, t.sigmoid(), t[0].exp().detach(), pos_weight=t[1].exp().detach()
    ),
}


class Pair(nn.Module):
    """A function of two arrays, of which each has a factor with a gradient."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.function, self.left, self.right = function, nn.Parameter(torch.ones(())), nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.function(x * self.left.to(x.dtype), t * self.right.to(t.dtype))


def near(dtypes: tuple[torch.dtype, torch.dtype]) -> tuple[Tensor, Tensor]:
    """Predictions, and targets so near to them that rounding a target shows."""
    torch.manual_seed(1)
    x = torch.randn(5, 3, dtype=torch.float64).to(dtypes[0])
    return x, (x.double() + 1e-4 * torch.randn(5, 3, dtype=torch.float64)).to(dtypes[1])


@pytest.mark.parametrize("dtypes", PAIRS, ids=str)
@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_a_loss_of_two_dtypes_is_not_accused(
    loss: Callable[[Tensor, Tensor], Tensor], dtypes: tuple[torch.dtype, torch.dtype]
) -> None:
    """Such as that of a network in bfloat16 and targets in float32: neither may be rounded to the other's dtype."""
    report = oracle.check_module(Pair(loss), near(dtypes))
    report.raise_for_discrepancy()
    assert report.coverage.operations == 1


@pytest.mark.parametrize("loss", [nn.MSELoss(), nn.KLDivLoss(reduction="batchmean"), nn.MultiLabelSoftMarginLoss()])
@pytest.mark.parametrize("dtypes", PAIRS[:1] + PAIRS[2:3] + ((torch.float32, torch.bfloat16),), ids=str)
def test_a_loss_of_torch_nn_takes_targets_of_another_dtype(
    loss: Callable[..., Tensor], dtypes: tuple[torch.dtype, torch.dtype]
) -> None:
    """The calls of which torch composes it are then judged one by one."""
    x, target = near(dtypes)
    report = oracle.check_module(nn.Linear(3, 3).to(x.dtype), x, loss, target.sigmoid())
    report.raise_for_discrepancy()
    assert report.coverage.gradients == 1


def test_a_target_that_was_rounded_to_the_predictions_dtype_is_wrong() -> None:
    """The mistake that the judge itself made."""

    class Rounded(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor, t: Tensor) -> Tensor:
            ctx.save_for_backward(x, t)
            return F.mse_loss(x.float(), t.to(x.dtype).float())

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> Any:
            x, t = ctx.saved_tensors
            return (g * 2 * (x.float() - t.to(x.dtype).float()) / x.numel()).to(x.dtype), None

    x, target = near((torch.bfloat16, torch.float32))
    module = nn.Linear(3, 3, dtype=torch.bfloat16)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = module

        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            made: Tensor = Rounded.apply(self.layer(x), t)
            return made

    with torch.no_grad():
        target = module(x).float() + (target - x.float())
    report = oracle.check_module(Net(), (x, target), references={Rounded: F.mse_loss})
    assert {own.quantity for own in report.blame} >= {"output", "grad_input"}


@pytest.mark.parametrize(
    "function",
    [
        lambda x, t: x / t[0, 0],
        lambda x, t: x * t.mean(),
        lambda x, t: x.masked_fill(x > 0, t[0, 0]),
        lambda x, t: x.sum(dtype=t.dtype) * t.sum(),
        lambda x, t: x.abs().prod(0, dtype=t.dtype) * t,
        lambda x, t: x.cumsum(0, dtype=t.dtype) * t,
    ],
)
@pytest.mark.parametrize("dtypes", PAIRS, ids=str)
@pytest.mark.parametrize("size", [5, 60])
def test_a_number_or_an_argument_of_another_dtype_is_not_accused(
    function: Callable[[Tensor, Tensor], Tensor], dtypes: tuple[torch.dtype, torch.dtype], size: int
) -> None:
    """Beside a number without dimensions the tensor's dtype holds, in the gradients too; `dtype=` converts before adding up."""
    torch.manual_seed(0)
    x, t = torch.randn(size, 3, dtype=torch.float64).to(dtypes[0]), torch.randn(size, 3, dtype=torch.float64)
    report = oracle.check_module(Pair(function), (x, t.to(dtypes[1])))
    report.raise_for_discrepancy()
    assert report.coverage.operations == 1
