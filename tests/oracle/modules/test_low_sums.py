"""A gradient in 16 bits that is wrong by 4 %. Outputs are among the bugs of the self-test (oracle/selftest/narrow)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import oracle


def test_a_gradient_of_cross_entropy_that_is_wrong_by_four_percent_is_wrong() -> None:
    """Two percent are within its tolerance, since torch computes it from logarithms that it stored in bfloat16."""

    class Scaled(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, *grads: Tensor) -> Any:
            return grads[0] * 1.04

    real = F.cross_entropy
    torch.manual_seed(0)
    x = torch.randn(64, 256).bfloat16().requires_grad_()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(F, "cross_entropy", lambda x, *args, **options: real(Scaled.apply(x), *args, **options))  # type: ignore[no-untyped-call]
        report = oracle.check_module(nn.Identity(), x, nn.CrossEntropyLoss(), torch.arange(64))
    assert [(own.layer, own.quantity, own.verdict) for own in report.blame] == [("loss", "grad_input", "wrong")]
