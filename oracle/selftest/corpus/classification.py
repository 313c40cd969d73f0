"""Published bugs in classification losses: ignored reductions, ignored rows that count, double division."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from oracle.case.arrays import Array
from oracle.ops.check_op import Differentiable
from oracle.selftest.corpus.entry import Book
from oracle.selftest.corpus.plain import Backward, drawn, log_softmax

BOOK = Book("losses")


def _target_rows(x: Array, target: Array) -> Array:
    """One-hot targets over dimension 1; the rows of ignored targets are zero."""
    keep = np.expand_dims(target != -100, 1)
    hot = np.zeros_like(x)
    np.put_along_axis(hot, np.where(keep, np.expand_dims(target, 1), 0), 1, 1)
    masked: Array = hot * keep
    return masked


def cross_entropy(
    reduction: str = "mean",
    gradient: Callable[[Array, Array, int], Array] | None = None,
    value: Callable[[Array], Any] | None = None,
    **arrays: Any,
) -> Differentiable:
    """Cross entropy with class indices or probabilities as targets.

    gradient: replaces the input gradient; it takes (softmax - one-hot, dy, number of rows that count).
    value: replaces the reduction in the forward.
    """

    def fn(x: Array, target: Array) -> tuple[Array, Backward]:
        batch, labels = (x, target) if x.ndim > 1 else (x[None], target[None])
        hot = labels if labels.dtype.kind == "f" else _target_rows(batch, labels)
        log_p = log_softmax(batch, 1)
        losses = -np.where(hot != 0, hot * log_p, 0).sum(1)  # a class may be ruled out by -inf
        rows = losses.size if labels.dtype.kind == "f" else int((labels != -100).sum())
        reduced = {"none": lambda: losses if x.ndim > 1 else losses[0], "sum": losses.sum, "mean": losses.mean}[
            reduction
        ]
        y = reduced() if value is None else value(losses)

        def backward(dy: Array) -> Array:
            d = np.exp(log_p) * hot.sum(1, keepdims=True) - hot
            if gradient is not None:
                dx = gradient(d, np.asarray(dy), rows)
            else:
                dx = d * (np.expand_dims(dy.reshape(losses.shape), 1) if reduction == "none" else dy)
                dx = dx / rows if reduction == "mean" else dx
            return np.asarray(dx, x.dtype).reshape(x.shape)

        return np.asarray(y, x.dtype), backward

    return fn


@BOOK.op(
    "cross_entropy",
    "paiml/aprender#2182",
    "the backward pass divides by the batch whatever the reduction",
    causes="factor, option",
    reduction="sum",
)
def aprender_reduction(fixed: bool) -> Differentiable:
    return cross_entropy("sum", None if fixed else lambda d, dy, rows: d * dy / len(d))


@BOOK.op(
    "cross_entropy",
    "linkedin/Liger-Kernel#968",
    "with reduction='none' all rows get the first one's upstream gradient",
    causes="upstream misread",
    reduction="none",
    x=drawn(6, 5),
    target=np.array([0, 3, 2, 1, 4, 4]),
    grad_output=drawn(6, seed=1),
)
def liger_none(fixed: bool) -> Differentiable:
    return cross_entropy("none", None if fixed else lambda d, dy, rows: d * dy.reshape(-1)[0])


@BOOK.op(
    "cross_entropy",
    "tech-srl/code2seq#9",
    "the loss is divided by the batch twice",
    "output",
    "factor",
    x=drawn(6, 5),
    target=np.array([0, 3, 2, 1, 4, 4]),
)
def code2seq_twice(fixed: bool) -> Differentiable:
    if fixed:
        return cross_entropy()
    return cross_entropy("mean", lambda d, dy, rows: d * dy / rows / len(d), lambda losses: losses.mean() / len(losses))


@BOOK.op(
    "cross_entropy",
    "rinuboney/ladder#5",
    "the sum is divided by 100, the batch size of training",
    "output",
    "factor",
    x=drawn(6, 5),
    target=np.array([0, 3, 2, 1, 4, 4]),
)
def ladder_hundred(fixed: bool) -> Differentiable:
    if fixed:
        return cross_entropy()
    return cross_entropy("mean", lambda d, dy, rows: d * dy / 100, lambda losses: losses.sum() / 100)


@BOOK.op(
    "cross_entropy",
    "Open-Deep-ML/DML-OpenProblem#358",
    "the sum is a mean",
    "output",
    "factor, option",
    reduction="sum",
    x=drawn(6, 5),
    target=np.array([0, 3, 2, 1, 4, 4]),
)
def deep_ml_mean(fixed: bool) -> Differentiable:
    if fixed:
        return cross_entropy("sum")
    return cross_entropy("sum", lambda d, dy, rows: d * dy / rows, lambda losses: losses.mean())


def smoothed(uniform_ignores: bool, count_ignores: bool, smoothing: float = 0.1, ignored: int = 1) -> Differentiable:
    """Cross entropy with label smoothing and ignored rows.

    uniform_ignores: whether the uniform part leaves out ignored rows.
    count_ignores: whether the divisor leaves out ignored rows.
    """

    def fn(x: Array, target: Array) -> tuple[Array, Backward]:
        keep = target != ignored
        log_p = log_softmax(x, 1)
        hot = _target_rows(x, np.where(keep, target, 0)) * keep[:, None]
        uniform = np.full_like(x, 1 / x.shape[1]) * (keep[:, None] if uniform_ignores else 1)
        wanted = (1 - smoothing) * hot + smoothing * uniform
        count = keep.sum() if count_ignores else len(x)
        loss = -(wanted * log_p).sum() / count

        def backward(dy: Array) -> Array:
            return ((np.exp(log_p) * wanted.sum(1, keepdims=True) - wanted) * dy / count).astype(x.dtype)  # type: ignore[no-any-return]

        return np.asarray(loss, x.dtype), backward

    return fn


LABELS = np.array([0, 1, 2, 3, 1, 4])


@BOOK.op(
    "cross_entropy",
    "pytorch/pytorch#73205",
    "ignored rows count in the uniform part of label smoothing",
    "output",
    "ignored rows",
    ignore_index=1,
    label_smoothing=0.1,
    x=drawn(6, 5),
    target=LABELS,
)
def smoothing_counts_ignored(fixed: bool) -> Differentiable:
    return smoothed(fixed, True)


@BOOK.op(
    "cross_entropy",
    "qubvel-org/segmentation_models.pytorch#852",
    "the mean is over all rows, the ignored ones among them",
    "output",
    "ignored rows",
    ignore_index=1,
    label_smoothing=0.1,
    x=drawn(6, 5),
    target=LABELS,
)
def mean_counts_ignored(fixed: bool) -> Differentiable:
    return smoothed(True, fixed)


@BOOK.op(
    "nll_loss",
    "kulinseth/pytorch#289",
    "the backward pass does not look at the upstream gradient",
    causes="upstream ignored",
)
def mps_nll(fixed: bool) -> Differentiable:
    def fn(x: Array, target: Array) -> tuple[Array, Backward]:
        hot = _target_rows(x if x.ndim > 1 else x[None], target if x.ndim > 1 else np.reshape(target, (1,))).reshape(
            x.shape
        )
        rows = (target != -100).sum()
        y = -(hot * x).sum() / rows
        return np.asarray(y, x.dtype), lambda dy: (-hot / max(rows, 1) * (dy if fixed else 1)).astype(x.dtype)

    return fn
