"""Undecided rows: in 16 bits at most a fiftieth of a step, where the tolerance would hide a term; never a view of zeros."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import oracle
from oracle.selftest.models.architectures import architecture
from oracle.selftest.models.language import language_model, tokens

MOST = {"LeNet-5": 0.02, "GPT": 0.02, "ResNet-18": 0.0024}  # 0.02 of a ResNet-18 with sums ten times as long
# As people train in float16: gradients of a mean over a batch would be below its normal range.
LOSS_SCALE = {"float16": 1024.0}


def lenet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2),
        nn.Sigmoid(),
        nn.AvgPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.Sigmoid(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(400, 120),
        nn.Sigmoid(),
        nn.Linear(120, 84),
        nn.Sigmoid(),
        nn.Linear(84, 10),
    )


def made(name: str) -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(0)
    if name == "GPT":
        words = tokens(8, 2)
        return language_model("GPT-2"), words, words.roll(-1, 1).reshape(-1)
    if name == "LeNet-5":
        return lenet(), torch.rand(8, 1, 28, 28), torch.arange(8)
    return architecture("resnet18", num_classes=10), torch.randn(2, 3, 40, 40), torch.arange(2)


class Autocast(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return self.inner(x)  # type: ignore[no-any-return]


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bfloat16", "float16", "autocast"])
@pytest.mark.parametrize("name", ["LeNet-5", "GPT", "ResNet-18"])
def test_nearly_everything_is_decided(name: str, precision: str) -> None:
    module, x, target = made(name)
    if precision == "autocast":
        module = Autocast(module)
    else:
        dtype = getattr(torch, precision)
        module, x = module.to(dtype), x.to(dtype) if x.is_floating_point() else x

    def loss(output: Tensor, target: Tensor) -> Tensor:
        scores = output.reshape(-1, output.shape[-1]).float()
        return nn.functional.cross_entropy(scores, target) * LOSS_SCALE.get(precision, 1.0)

    report = oracle.check_module(module, x, loss, target)
    assert not report.blame, report.blame
    judged = report.table[report.table["n"] > 0]
    undecided = ((1 - judged["decided"]) * judged["n"]).sum() / judged["n"].sum()
    assert undecided <= MOST[name]


class Rows(torch.nn.Module):
    """Views of a bias that starts at zero."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = torch.nn.Parameter(torch.zeros(3, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.bias[0] + self.bias[1:2] + self.bias.t()[:, 2].expand(5, 4) + self.bias.sum(0)


def test_a_view_of_zeros_adds_nothing_up() -> None:
    """It has no row, as no view that is right has one; a sum of zeros tests nothing."""
    report = oracle.check_module(Rows(), torch.randn(5, 4, generator=torch.Generator().manual_seed(0)))
    undecided = report.table[report.table["verdict"] == "undecided"]
    assert report.passed and undecided["layer_type"].tolist() == ["aten.sum"]
    assert not set(report.table.loc[report.table["quantity"] == "output", "layer_type"]) - {"aten.add", "aten.sum"}


class In8Bits(torch.autograd.Function):
    """A linear layer whose input is scaled and stored in 8 bits."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        scale = 448 / x.abs().amax()
        stored = (x * scale).to(torch.float8_e4m3fn).float() / scale
        ctx.save_for_backward(stored, weight)
        return stored @ weight.T

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:
        stored, weight = ctx.saved_tensors
        return grad @ weight, grad.T @ stored


def test_numbers_that_are_stored_in_a_narrower_dtype_are_named() -> None:
    """Every row was undecided, "ill-conditioned", and the conclusion did not say why."""

    class Net(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            made: torch.Tensor = In8Bits.apply(x, self.weight)  # type: ignore[no-untyped-call]
            return made

    torch.manual_seed(0)
    report = oracle.check_module(Net(8, 4, bias=False), torch.randn(5, 8))
    assert not report.blame and report.outcome in ("no gradient was decided", "nothing was decided")
    assert report.conclusion.endswith("it stores numbers in float8_e4m3fn on the way")
