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


@rule("mse_loss")
def mse_loss(input: Any, target: Any, reduction: int = 1) -> Any:
    """`refbp.functional.mse_loss`."""
    return functional.mse_loss(input, target, reduction=REDUCTIONS[reduction])


@rule("smooth_l1_loss")
def smooth_l1_loss(input: Any, target: Any, reduction: int = 1, beta: float = 1.0) -> Any:
    """`refbp.functional.smooth_l1_loss`."""
    return functional.smooth_l1_loss(input, target, reduction=REDUCTIONS[reduction], beta=beta)


@rule("huber_loss")
def huber_loss(input: Any, target: Any, reduction: int = 1, delta: float = 1.0) -> Any:
    """`refbp.functional.huber_loss`."""
    return functional.huber_loss(input, target, reduction=REDUCTIONS[reduction], delta=delta)


@rule("binary_cross_entropy")
def binary_cross_entropy(input: Any, target: Any, weight: Any = None, reduction: int = 1) -> Any:
    """`refbp.functional.binary_cross_entropy`."""
    return functional.binary_cross_entropy(input, target, weight, reduction=REDUCTIONS[reduction])


@rule("binary_cross_entropy_with_logits")
def binary_cross_entropy_with_logits(
    input: Any, target: Any, weight: Any = None, pos_weight: Any = None, reduction: int = 1
) -> Any:
    """`refbp.functional.binary_cross_entropy_with_logits`."""
    return functional.binary_cross_entropy_with_logits(
        input, target, weight, reduction=REDUCTIONS[reduction], pos_weight=pos_weight
    )


@rule("soft_margin_loss")
def soft_margin_loss(input: Any, target: Any, reduction: int = 1) -> Any:
    """`refbp.functional.soft_margin_loss`."""
    return functional.soft_margin_loss(input, target, reduction=REDUCTIONS[reduction])


@rule("multi_margin_loss")
def multi_margin_loss(
    input: Any, target: Any, p: Any = 1, margin: Any = 1, weight: Any = None, reduction: int = 1
) -> Any:
    """`refbp.functional.multi_margin_loss`."""
    shape = input.shape or (1,)
    y, back = functional.multi_margin_loss(
        input.reshape(shape),
        target if input.ndim > 1 else target.reshape(()),
        int(p),
        float(margin),
        weight,
        reduction=REDUCTIONS[reduction],
    )
    return y, lambda g: tuple(None if own is None else own.reshape(input.shape) for own in back(g)[:1])


@rule("multilabel_margin_loss_forward")
def multilabel_margin_loss(input: Any, target: Any, reduction: int) -> Any:
    """`refbp.functional.multilabel_margin_loss`."""
    shape = input.shape or (1,)
    y, back = functional.multilabel_margin_loss(
        input.reshape(shape), target.reshape(shape), reduction=REDUCTIONS[reduction]
    )

    def backward(g: Any, _: Any) -> Any:
        (grad_input, *_rest) = back(g)
        return None if grad_input is None else (grad_input.reshape(input.shape),)

    return (y, None), backward
