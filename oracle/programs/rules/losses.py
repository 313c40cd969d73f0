"""Losses, from refbp.functional."""

from __future__ import annotations

from typing import Any

from oracle.programs.table import rule
from refbp import functional

REDUCTIONS = {0: "none", 1: "mean", 2: "sum"}


@rule("nll_loss_forward", "nll_loss2d_forward")
def nll_loss(input: Any, target: Any, weight: Any, reduction: int, ignore_index: int) -> Any:
    """`refbp.functional.nll_loss`."""
    y, back = functional.nll_loss(input, target, weight, ignore_index=ignore_index, reduction=REDUCTIONS[reduction])
    return (y, None), lambda g, _: back(g)[0]
