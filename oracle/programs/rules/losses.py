"""Losses, from refbp.functional."""

from __future__ import annotations

from typing import Any

import numpy as np

from oracle.programs.adjoint import in_one_kernel, is_floating, summed_to
from oracle.programs.table import rule
from refbp import functional

REDUCTIONS = {0: "none", 1: "mean", 2: "sum"}


def _dtypes(*arrays: Any) -> set[Any]:
    return {own.dtype for own in arrays if is_floating(own)}


def promoted(*arrays: Any) -> tuple[Any, ...]:
    """Arrays in the dtype to which torch promotes them, in which a kernel computes with them all; None stays None."""
    dtypes = _dtypes(*arrays)
    if len(dtypes) < 2:
        return arrays
    widest = max(dtypes, key=lambda own: own.itemsize)
    if widest.itemsize == 2:  # bfloat16 beside float16
        widest = np.dtype("float32")
    return tuple(own.astype(widest) if is_floating(own) else own for own in arrays)


@rule("nll_loss_forward", "nll_loss2d_forward")
def nll_loss(input: Any, target: Any, weight: Any, reduction: int, ignore_index: int) -> Any:
    """`refbp.functional.nll_loss`."""
    y, back = functional.nll_loss(input, target, weight, ignore_index=ignore_index, reduction=REDUCTIONS[reduction])
    return (y, None), lambda g, _: back(g)[0]


@rule("mse_loss")
def mse_loss(input: Any, target: Any, reduction: int = 1) -> Any:
    """`refbp.functional.mse_loss`."""
    return functional.mse_loss(*promoted(input, target), reduction=REDUCTIONS[reduction])


@rule("smooth_l1_loss")
def smooth_l1_loss(input: Any, target: Any, reduction: int = 1, beta: float = 1.0) -> Any:
    """`refbp.functional.smooth_l1_loss`."""
    return functional.smooth_l1_loss(*promoted(input, target), reduction=REDUCTIONS[reduction], beta=beta)


@rule("huber_loss")
def huber_loss(input: Any, target: Any, reduction: int = 1, delta: float = 1.0) -> Any:
    """`refbp.functional.huber_loss`."""
    return functional.huber_loss(*promoted(input, target), reduction=REDUCTIONS[reduction], delta=delta)


@rule("binary_cross_entropy")
def binary_cross_entropy(input: Any, target: Any, weight: Any = None, reduction: int = 1) -> Any:
    """`refbp.functional.binary_cross_entropy`."""
    return functional.binary_cross_entropy(*promoted(input, target, weight), reduction=REDUCTIONS[reduction])


@rule("binary_cross_entropy_with_logits")
def binary_cross_entropy_with_logits(
    input: Any, target: Any, weight: Any = None, pos_weight: Any = None, reduction: int = 1
) -> Any:
    """`refbp.functional.binary_cross_entropy_with_logits`."""
    if len(_dtypes(input, target, weight, pos_weight)) > 1:
        return _with_logits_by_calls(input, target, weight, pos_weight, reduction)
    return functional.binary_cross_entropy_with_logits(
        input, target, weight, reduction=REDUCTIONS[reduction], pos_weight=pos_weight
    )


def _with_logits_by_calls(input: Any, target: Any, weight: Any, pos_weight: Any, reduction: int) -> Any:
    """Binary cross entropy as torch composes it of calls, of which each stores its result in the dtype of its own arrays."""
    logs = log_sigmoid(input)
    if pos_weight is not None:
        logs = (logs * ((pos_weight - 1.0) * target + 1.0)).astype(input.dtype)
    terms = ((1.0 - target) * input).astype(target.dtype) - logs
    terms = terms.astype(target.dtype)
    terms = terms if weight is None else terms * weight
    count = float(terms.size) if reduction == 1 else 1.0

    def backward(g: Any) -> Any:
        twice = target if pos_weight is None else pos_weight * target
        factor = 1.0 if pos_weight is None else twice + 1.0 - target
        slope = (in_one_kernel(lambda x: functional.sigmoid(x)[0], input) * factor - twice) * g
        of_target = -input if pos_weight is None else log_sigmoid(-input) - pos_weight * log_sigmoid(input)
        of_target = of_target * g
        if pos_weight is not None or reduction != 0:  # in place, or by a number without dimensions
            of_target = of_target.astype(input.dtype)
        if weight is not None:
            slope, of_target = slope * weight, (of_target * weight).astype(of_target.dtype)
        return slope / count, summed_to(of_target / count, target)

    return (terms if reduction == 0 else np.sum(terms) / count), backward


def log_sigmoid(x: Any) -> Any:
    return in_one_kernel(lambda x: functional.logsigmoid(x)[0], x)


@rule("soft_margin_loss")
def soft_margin_loss(input: Any, target: Any, reduction: int = 1) -> Any:
    """`refbp.functional.soft_margin_loss`."""
    return functional.soft_margin_loss(*promoted(input, target), reduction=REDUCTIONS[reduction])


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
