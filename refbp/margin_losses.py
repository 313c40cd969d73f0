"""Losses that ask for a margin: between two inputs, from a label, or between classes."""

from __future__ import annotations

import numpy as np

from refbp.activations import logsigmoid
from refbp.arrays import Array
from refbp.checks import as_target, as_weight, check_classes, class_axis, class_weight
from refbp.docstring import documented_by
from refbp.loss import Gradients, Loss, LossBackward, WeightedLoss, reduced, shaped
from refbp.special import where
from refbp.windows import batch_last


def margin_ranking_loss(
    input1: Array, input2: Array, target: Array, margin: float = 0.0, *, reduction: str = "mean"
) -> tuple[Array, LossBackward]:
    """max(0, -y (x₁ - x₂) + margin), for y = 1 (x₁ should be larger) or -1.

    Shape: input1, input2 and target the same, any.
    Gradients: ∂/∂x₁ = -y = -∂/∂x₂ and ∂/∂y = -(x₁ - x₂) where -y (x₁ - x₂) + margin >= 0, else 0.
    Raises: ValueError for arrays of different shapes.
    Conventions: where that expression is exactly zero, the gradient is the one for positive values.
    """
    x2 = as_target("margin_ranking_loss", input1, input2, "input2")
    y = as_target("margin_ranking_loss", input1, target)
    raw = -y * (input1 - x2) + margin
    active = raw >= 0

    def gradients(delta: Array) -> Gradients:
        passed = where(active, delta, 0.0)
        return -y * passed, y * passed, (x2 - input1) * passed

    return reduced(np.maximum(raw, 0.0), gradients, (input1, input2, target), reduction)


def hinge_embedding_loss(
    input: Array, target: Array, margin: float = 1.0, *, reduction: str = "mean"
) -> tuple[Array, LossBackward]:
    """x where y = 1, max(0, margin - x) where y = -1.

    Shape: target as input, any.
    Gradients: ∂/∂x = 1, or -1 where margin - x >= 0, else 0; none for the target.
    Raises: ValueError for another shape.
    Conventions: at exactly the margin the gradient is -1. A target that is neither 1 nor -1 has the sum of both terms.
    """
    y = as_target("hinge_embedding_loss", input, target)
    short = margin - input
    near, far = y != -1, y != 1

    def gradients(delta: Array) -> Gradients:
        pull = where(near, delta, 0.0)
        push = where(far & (short >= 0), delta, 0.0)
        return pull - push, None

    terms = where(near, input, 0.0) + where(far, np.maximum(short, 0.0), 0.0)
    return reduced(terms, gradients, (input, target), reduction)


# torch adds this to both squared lengths.
COSINE_EPS = 1e-12


def cosine_embedding_loss(
    input1: Array, input2: Array, target: Array, margin: float = 0.0, *, reduction: str = "mean"
) -> tuple[Array, LossBackward]:
    """1 - cos(x₁, x₂) where y = 1, max(0, cos(x₁, x₂) - margin) where y = -1.

    Shape: input1 and input2 (N, D) or (D), target (N) or ().
    Gradients: ∂cos/∂x₁ = x₂ / (|x₁| |x₂|) - cos x₁ / |x₁|², and with 1 and 2 exchanged; none for the target.
    Raises: ValueError for shapes that do not fit.
    Conventions: at exactly the margin the gradient is the one for a cosine above it. 1e-12 is added to both squared lengths. A
        target that is neither 1 nor -1 has the loss 0.
    """
    name = "cosine_embedding_loss"
    x1, x2 = input1, as_target(name, input1, input2, "input2")
    if input1.ndim not in (1, 2) or target.shape != input1.shape[:-1]:
        raise ValueError(
            f"{name} expects inputs (N, D) or (D) and a target without D, got {input1.shape} and {target.shape}"
        )
    rows1, rows2 = (x.reshape((-1, x.shape[-1])) if x.size else x for x in (x1, x2))
    y = target.reshape(-1)
    square1 = np.sum(rows1 * rows1, axis=-1) + COSINE_EPS
    square2 = np.sum(rows2 * rows2, axis=-1) + COSINE_EPS
    lengths = np.sqrt(square1 * square2)
    cosine = np.sum(rows1 * rows2, axis=-1) / lengths
    beyond = cosine - margin
    terms = where(y == 1, 1.0 - cosine, where(y == -1, np.maximum(beyond, 0.0), 0.0))

    def gradients(delta: Array) -> Gradients:
        d = delta.reshape(-1)
        grad_cosine = where(y == 1, -d, where((y == -1) & (beyond >= 0), d, 0.0))

        def toward(own: Array, other: Array, square: Array) -> Array:
            share, loss = grad_cosine / lengths, grad_cosine * cosine / square
            result: Array = share.reshape((-1, 1)) * other - loss.reshape((-1, 1)) * own
            return result

        grad1, grad2 = toward(rows1, rows2, square1), toward(rows2, rows1, square2)
        return grad1.reshape(input1.shape), grad2.reshape(input2.shape), None

    return reduced(shaped(terms, target.shape), gradients, (input1, input2, target), reduction)


def soft_margin_loss(input: Array, target: Array, *, reduction: str = "mean") -> tuple[Array, LossBackward]:
    """ln(1 + e^(-y x)) for y = 1 or -1,  ∂/∂x = -y z / (1 + z) with z = e^(-y x).

    Shape: target as input, any.
    Gradients: none for the target.
    Raises: ValueError for another shape.
    Conventions: the value overflows where torch's does.
    """
    y = as_target("soft_margin_loss", input, target)
    z = np.exp(-y * input)

    def gradients(delta: Array) -> Gradients:
        return -y * z * delta / (z + 1.0), None

    return reduced(np.log1p(z), gradients, (input, target), reduction)


def multi_margin_loss(
    input: Array,
    target: Array,
    p: int = 1,
    margin: float = 1.0,
    weight: Array | None = None,
    *,
    reduction: str = "mean",
) -> tuple[Array, LossBackward]:
    """w_t / C Σ_{i ≠ t} max(0, margin - x_t + x_i)^p for the class t. Source: Crammer and Singer, JMLR 2, 2001, for p = 1.

    Shape: input (N, C) or (C), target (N) or () of class indices, weight (C).
    Gradients: each i whose maximum is above zero adds p w_t / C max(…)^(p-1) to x_i's gradient, and subtracts it from x_t's.
    Raises: ValueError for a p other than 1 or 2, shapes that do not fit, or a class out of range.
    Conventions: where margin - x_t + x_i is exactly zero the gradient is 0.
    """
    name = "multi_margin_loss"
    if p not in (1, 2):
        raise ValueError(f"{name} expects p of 1 or 2, got {p}")
    if input.ndim not in (1, 2):
        raise ValueError(f"{name} expects input (N, C) or (C), got {input.shape}")
    classes = input.shape[class_axis(name, input)]
    check_classes(name, target, input.shape[:-1], classes)
    x = batch_last(input)
    chosen = np.moveaxis(np.equal.outer(np.arange(classes), target), 0, -1)  # (N, C), the batch innermost in memory
    weights = class_weight(name, input, weight, classes)
    w_t = np.sum(where(chosen, weights, 0.0), axis=-1, keepdims=True)
    x_t = np.sum(where(chosen, x, 0.0), axis=-1, keepdims=True)
    z = margin - x_t + x
    active = (z > 0) & ~chosen
    hinge = where(active, z if p == 1 else z * z, 0.0)
    terms = np.sum(hinge * w_t, axis=-1) / classes

    def gradients(delta: Array) -> Gradients:
        share = np.expand_dims(delta, -1) * w_t / classes
        pushed = where(active, share if p == 1 else 2.0 * z * share, 0.0)
        pulled = where(chosen, np.sum(pushed, axis=-1, keepdims=True), 0.0)
        return pushed - pulled, None, None

    return reduced(shaped(terms, target.shape), gradients, (input, target, weight), reduction)


def multilabel_margin_loss(input: Array, target: Array, *, reduction: str = "mean") -> tuple[Array, LossBackward]:
    """1 / C Σ_{t in labels} Σ_{i not in labels} max(0, 1 - x_t + x_i).

    Shape: input and target (N, C) or (C); a row's labels are its target's class indices before the first -1.
    Gradients: each pair whose maximum is above zero adds 1 / C to x_i's gradient, and subtracts it from x_t's; none for the
        target.
    Raises: ValueError for shapes that do not fit or labels out of range.
    Conventions: where 1 - x_t + x_i is exactly zero the gradient is 0.
    """
    name = "multilabel_margin_loss"
    if input.ndim not in (1, 2):
        raise ValueError(f"{name} expects input (N, C) or (C), got {input.shape}")
    classes = input.shape[class_axis(name, input)]
    check_classes(name, target, input.shape, classes, besides=-1)
    x, t = batch_last(input), batch_last(target)
    is_label = np.logical_and.accumulate(t >= 0, axis=-1)  # (*, T)
    labels = np.where(is_label, t, -1)
    places = np.moveaxis(np.equal.outer(np.arange(classes), labels), 0, -1)  # (*, T, C)
    others = ~np.any(places, axis=-2)  # (*, C)
    x_t = batch_last(np.take_along_axis(input, np.where(is_label, t, 0), -1))
    z = 1.0 - np.expand_dims(x_t, -1) + np.expand_dims(x, -2)  # (*, T, C)
    active = (z > 0) & (np.expand_dims(is_label, -1) & np.expand_dims(others, -2))
    terms = np.sum(where(active, z, 0.0), axis=(-2, -1)) / classes

    def gradients(delta: Array) -> Gradients:
        share = where(active, np.expand_dims(np.expand_dims(delta, -1), -1) / classes, 0.0)
        taken = where(places, np.sum(share, axis=-1, keepdims=True), 0.0)
        return np.sum(share, axis=-2) - np.sum(taken, axis=-2), None

    return reduced(shaped(terms, input.shape[:-1]), gradients, (input, target), reduction)


def multilabel_soft_margin_loss(
    input: Array, target: Array, weight: Array | None = None, *, reduction: str = "mean"
) -> tuple[Array, LossBackward]:
    """-1 / C Σ_c w_c (y_c ln σ(x_c) + (1 - y_c) ln σ(-x_c)).

    Shape: input and target (*, C), weight broadcasts to it; the value of each term (*).
    Gradients: ∂/∂x_c = w_c (σ(x_c) - y_c) / C, ∂/∂y_c = -w_c x_c / C.
    Raises: ValueError for shapes that do not fit.
    """
    name = "multilabel_soft_margin_loss"
    y = as_target(name, input, target)
    if input.ndim == 0:
        raise ValueError(f"{name} expects input (N, C) or (C), got {input.shape}")
    classes = input.shape[-1]
    w = 1.0 if weight is None else as_weight(name, input, weight, input.shape)
    (log_yes, yes_backward), (log_no, no_backward) = logsigmoid(input), logsigmoid(-input)
    terms = np.sum(-(y * log_yes + (1.0 - y) * log_no) * w, axis=-1) / classes

    def gradients(delta: Array) -> Gradients:
        share = np.expand_dims(delta, -1) * w / classes
        grad_input = no_backward((1.0 - y) * share) - yes_backward(y * share)
        return grad_input, (log_no - log_yes) * share, None

    return reduced(shaped(terms, input.shape[:-1]), gradients, (input, target, weight), reduction)


@documented_by(margin_ranking_loss)
class MarginRankingLoss(Loss):
    """torch.nn.MarginRankingLoss: `refbp.functional.margin_ranking_loss`. `backward` returns both inputs' gradients."""

    predictions = (0, 1)

    def __init__(
        self,
        margin: float = 0.0,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.margin = margin

    def op(self, input1: Array, input2: Array, target: Array) -> tuple[Array, LossBackward]:
        return margin_ranking_loss(input1, input2, target, margin=self.margin, reduction=self.reduction)


@documented_by(hinge_embedding_loss)
class HingeEmbeddingLoss(Loss):
    """torch.nn.HingeEmbeddingLoss: `refbp.functional.hinge_embedding_loss`."""

    def __init__(
        self,
        margin: float = 1.0,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.margin = margin

    def op(self, input: Array, target: Array) -> tuple[Array, LossBackward]:
        return hinge_embedding_loss(input, target, margin=self.margin, reduction=self.reduction)


@documented_by(cosine_embedding_loss)
class CosineEmbeddingLoss(Loss):
    """torch.nn.CosineEmbeddingLoss: `refbp.functional.cosine_embedding_loss`. `backward` returns both inputs' gradients."""

    predictions = (0, 1)

    def __init__(
        self,
        margin: float = 0.0,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.margin = margin

    def op(self, input1: Array, input2: Array, target: Array) -> tuple[Array, LossBackward]:
        return cosine_embedding_loss(input1, input2, target, margin=self.margin, reduction=self.reduction)


@documented_by(soft_margin_loss)
class SoftMarginLoss(Loss):
    """torch.nn.SoftMarginLoss: `refbp.functional.soft_margin_loss`."""

    def op(self, input: Array, target: Array) -> tuple[Array, LossBackward]:
        return soft_margin_loss(input, target, reduction=self.reduction)


@documented_by(multi_margin_loss)
class MultiMarginLoss(WeightedLoss):
    """torch.nn.MultiMarginLoss: `refbp.functional.multi_margin_loss`.

    Args: weight is fixed when the loss is made.
    """

    def __init__(
        self,
        p: int = 1,
        margin: float = 1.0,
        weight: Array | None = None,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight, size_average, reduce, reduction)
        self.p, self.margin = p, margin

    def op(self, input: Array, target: Array) -> tuple[Array, LossBackward]:
        return multi_margin_loss(input, target, self.p, self.margin, self.weight, reduction=self.reduction)


@documented_by(multilabel_margin_loss)
class MultiLabelMarginLoss(Loss):
    """torch.nn.MultiLabelMarginLoss: `refbp.functional.multilabel_margin_loss`."""

    def op(self, input: Array, target: Array) -> tuple[Array, LossBackward]:
        return multilabel_margin_loss(input, target, reduction=self.reduction)


@documented_by(multilabel_soft_margin_loss)
class MultiLabelSoftMarginLoss(WeightedLoss):
    """torch.nn.MultiLabelSoftMarginLoss: `refbp.functional.multilabel_soft_margin_loss`.

    Args: weight is fixed when the loss is made.
    """

    def op(self, input: Array, target: Array) -> tuple[Array, LossBackward]:
        return multilabel_soft_margin_loss(input, target, weight=self.weight, reduction=self.reduction)
