"""check_module judges torch's optimizers with their options, and finds a kernel that leaves parameters as they are."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import oracle

OPTIONS: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.2, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "maximize": True, "foreach": True}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "fused": True}),
    ("Adam", {"lr": 0.01, "amsgrad": True, "weight_decay": 0.1}),
    ("Adam", {"lr": 0.01, "decoupled_weight_decay": True, "weight_decay": 0.1, "foreach": True}),
    ("Adam", {"lr": 0.01, "fused": True, "maximize": True}),
    ("AdamW", {"lr": 0.01, "weight_decay": 0.2, "betas": (0.5, 0.6), "eps": 1e-3}),
    ("NAdam", {"lr": 0.01, "momentum_decay": 0.01, "decoupled_weight_decay": True, "weight_decay": 0.1}),
    ("RAdam", {"lr": 0.01, "weight_decay": 0.1}),
    ("Adamax", {"lr": 0.01, "weight_decay": 0.1}),
    ("Adagrad", {"lr": 0.01, "lr_decay": 0.1, "initial_accumulator_value": 0.3}),
    ("Adagrad", {"lr": 0.01, "fused": True}),
    ("Adadelta", {"lr": 0.9, "rho": 0.8, "weight_decay": 0.1}),
    ("RMSprop", {"lr": 0.01, "centered": True, "momentum": 0.5}),
    ("Rprop", {"lr": 0.01, "etas": (0.4, 1.3)}),
    ("ASGD", {"lr": 0.01, "weight_decay": 0.1}),
    ("Adafactor", {"lr": 0.01, "weight_decay": 0.1}),
]


def judged(optimizer: str, options: dict[str, Any], dtype: torch.dtype) -> oracle.Report:
    """Three steps of a small net, whose first parameter has a rate of its own."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).to(dtype)
    first, *rest = net.parameters()
    groups = [{"params": [first], "lr": 0.03}, {"params": rest}]
    made = getattr(torch.optim, optimizer)(groups, **options)
    x, target = torch.randn(5, 4, dtype=dtype), torch.randn(5, 3, dtype=dtype)
    return oracle.check_module(net, x, nn.MSELoss(), target, made, steps=3)


@pytest.mark.parametrize(("optimizer", "options"), OPTIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_torch_s_optimizers_conform_with_their_options(
    optimizer: str, options: dict[str, Any], dtype: torch.dtype
) -> None:
    judged(optimizer, options, dtype).raise_for_discrepancy()


def test_a_fused_update_that_does_nothing_is_wrong() -> None:
    """torch 2.13 leaves 16-bit parameters as they are, which no tolerance hides."""
    if not torch.__version__.startswith("2.13."):
        pytest.skip("later versions of torch have mended it")
    table = judged("SGD", {"lr": 0.1, "fused": True}, torch.bfloat16).table
    wrong = table[table.verdict == "wrong"]
    assert set(wrong.quantity) == {"param.weight"} and set(wrong.layer) == {"0", "2"}
