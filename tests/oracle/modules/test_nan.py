"""NaN and infinities in what a module is given: what torch's kernels make of them is not accused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import oracle

LAYERS = (nn.ReLU6, nn.Hardtanh, nn.Hardshrink, nn.Softshrink, nn.Hardswish, nn.ELU, nn.CELU, nn.SELU)
FUNCTIONS = (F.relu6, F.hardtanh, F.hardshrink, F.softshrink, F.hardswish, F.elu, F.celu, F.selu)


class Applied(nn.Module):
    def __init__(self, fn: Callable[..., Tensor]) -> None:
        super().__init__()
        self.fn = fn

    def forward(self, *given: Tensor) -> Tensor:
        return self.fn(*given)


def with_nan(size: int) -> Tensor:
    x = torch.linspace(-8, 8, size)
    x[size // 3] = float("nan")
    return x.requires_grad_()


@pytest.mark.parametrize("size", [3, 64], ids=["by single elements", "by vectors"])
@pytest.mark.parametrize("make", [*LAYERS, *(lambda fn=fn: Applied(fn) for fn in FUNCTIONS)])
def test_activations_whose_kernels_differ_at_nan(make: Callable[[], nn.Module], size: int) -> None:
    """Torch gives 0 or NaN in a full vector register, and the upstream gradient to the last few elements."""
    report = oracle.check_module(make(), with_nan(size))
    grads = report.table[report.table["quantity"] == "grad_input"]
    assert report.passed and set(grads["verdict"]) <= {"pass", "convention"}, report.table
    assert size == 64 or "convention" in set(grads["verdict"])


@pytest.mark.parametrize(
    "fn",
    [
        torch.clamp,
        lambda x, limit: torch.clamp(x, max=limit),
        lambda x, limit: torch.clamp(x, limit, limit + 1),
        torch.clamp_min,
        torch.clamp_max,
    ],
    ids=["clamp from", "clamp to", "clamp between", "clamp_min", "clamp_max"],
)
def test_limits_that_are_nan_take_the_gradient_from_the_number(fn: Any) -> None:
    """It is in no range then, as a NaN is not."""
    for given in [(torch.ones(8, requires_grad=True), with_nan(8)), (with_nan(8), torch.ones(8, requires_grad=True))]:
        report = oracle.check_module(Applied(fn), given)
        assert not report.blame, report.blame


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("make", [nn.GELU, lambda: Applied(F.gelu)], ids=["layer", "function"])
def test_gelu_of_infinity(make: Callable[[], nn.Module], dtype: torch.dtype) -> None:
    """It is NaN where oneDNN computes it. A known error is a convention that names its page."""
    report = oracle.check_module(make(), torch.tensor([float("inf"), 1.0, 2.0], dtype=dtype))
    assert not report.blame, report.blame
    said = set(report.table["diagnosis"][report.table["verdict"] == "convention"])
    assert all("torch-gelu-infinity" in own for own in said)
