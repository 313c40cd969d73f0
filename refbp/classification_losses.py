"""The losses of classification: binary, over class indices, over class probabilities; each term beside its gradients."""

from __future__ import annotations

import math

import numpy as np

from refbp.activations import logsigmoid, sigmoid
from refbp.arrays import Array
from refbp.checks import as_target, as_weight, check_classes, check_elements, class_axis, class_weight
from refbp.docstring import documented_by
from refbp.loss import Gradients, LossBackward, WeightedLoss, is_integer, reduced
from refbp.softmax import log_softmax
from refbp.special import where

# torch's kernel holds its floor of 1e-12 in single precision.
BCE_FLOOR = float(np.float32(1e-12))


def binary_cross_entropy(
    input: Array, target: Array, weight: Array | None = None, *, reduction: str = "mean"
) -> tuple[Array, LossBackward]:
    """-w (t ln x + (1 - t) ln(1 - x)), for probabilities x.

    Shape: target as input, any; weight broadcasts to it. The mean divides by the number of elements.
    Gradients, with delta the gradient of each term: grad_input = w (x - t) / (x (1 - x)) delta,
        grad_target = w (ln(1 - x) - ln x) delta, none for weight.
    Raises: ValueError for an input or target outside [0, 1], a target of another shape, a weight that does not broadcast.
    Conventions: the value clamps its logarithms at -100 from below, grad_input its denominator at 1e-12; grad_target clamps
        nothing.
    """
    t = as_target("binary_cross_entropy", input, target)
    for name, probability in (("input", input), ("target", t)):
        check_elements("binary_cross_entropy", name, (probability >= 0) & (probability <= 1), "between 0 and 1")
    w = 1.0 if weight is None else as_weight("binary_cross_entropy", input, weight, input.shape)
    terms = ((t - 1) * np.maximum(np.log1p(-input), -100.0) - t * np.maximum(np.log(input), -100.0)) * w

    def gradients(delta: Array) -> Gradients:
        grad_input = delta * w * (input - t) / np.maximum((1 - input) * input, BCE_FLOOR)
        return grad_input, delta * w * (np.log1p(-input) - np.log(input)), None

    return reduced(terms, gradients, (input, target, weight), reduction)


@documented_by(binary_cross_entropy)
class BCELoss(WeightedLoss):
    """torch.nn.BCELoss: `refbp.functional.binary_cross_entropy`.

    Args: weight is fixed when the loss is made.
    """

    def op(self, input: Array, target: Array) -> tuple[Array, LossBackward]:
        return binary_cross_entropy(input, target, self.weight, reduction=self.reduction)


def binary_cross_entropy_with_logits(
    input: Array,
    target: Array,
    weight: Array | None = None,
    *,
    reduction: str = "mean",
    pos_weight: Array | None = None,
) -> tuple[Array, LossBackward]:
    """-w (p t ln σ(x) + (1 - t) ln(1 - σ(x))), for logits x and p = pos_weight.

    It is computed as w ((1 - t) x - (1 + (p - 1) t) ln σ(x)), in which nothing overflows.

    Shape: target as input, any; weight and pos_weight broadcast to it. The mean divides by the number of elements.
    Gradients, with delta the gradient of each term: grad_input = w ((p t + 1 - t) σ(x) - p t) delta,
        grad_target = w (ln σ(-x) - p ln σ(x)) delta, none for the weights.
    Raises: ValueError for a target of another shape, or weights that do not broadcast.
    """
    op = "binary_cross_entropy_with_logits"
    t = as_target(op, input, target)
    w = 1.0 if weight is None else as_weight(op, input, weight, input.shape)
    p = 1.0 if pos_weight is None else as_weight(op, input, pos_weight, input.shape, "pos_weight")
    terms = ((1 - t) * input - (1 + (p - 1) * t) * logsigmoid(input)[0]) * w

    def gradients(delta: Array) -> Gradients:
        probability, _ = sigmoid(input)
        if pos_weight is None:
            return delta * w * (probability - t), delta * w * -input, None, None
        grad_input = delta * w * ((p * t + 1 - t) * probability - p * t)
        return grad_input, delta * w * (logsigmoid(-input)[0] - p * logsigmoid(input)[0]), None, None

    return reduced(terms, gradients, (input, target, weight, pos_weight), reduction)


@documented_by(binary_cross_entropy_with_logits)
class BCEWithLogitsLoss(WeightedLoss):
    """torch.nn.BCEWithLogitsLoss: `refbp.functional.binary_cross_entropy_with_logits`.

    Args: weight and pos_weight are fixed when the loss is made.
    """

    def __init__(
        self,
        weight: Array | None = None,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
        pos_weight: Array | None = None,
    ) -> None:
        super().__init__(weight, size_average, reduce, reduction)
        self.require_array(pos_weight)
        self.pos_weight = pos_weight

    def op(self, input: Array, target: Array) -> tuple[Array, LossBackward]:
        return binary_cross_entropy_with_logits(
            input, target, self.weight, reduction=self.reduction, pos_weight=self.pos_weight
        )


def nll_loss(
    input: Array, target: Array, weight: Array | None = None, *, ignore_index: int = -100, reduction: str = "mean"
) -> tuple[Array, LossBackward]:
    """-w_t x_t, for log-probabilities x and class indices t; the mean divides by the sum of the weights w_t.

    Shape: input (C), (N, C) or (N, C, d1, …), target the same without C, weight (C).
    Gradients, with delta the gradient of each term: grad_input = -w_t delta at the target's class, 0 elsewhere; none for
        target and weight.
    Raises: ValueError for shapes that do not fit, or a class index outside 0 … C-1 that is not ignore_index.
    Conventions: positions whose target is ignore_index enter neither sum nor divisor. If all are ignored, the mean is NaN and
        its gradient zero.
    """
    return _indexed_loss("nll_loss", input, target, weight, ignore_index, reduction, 0.0)


@documented_by(nll_loss)
class NLLLoss(WeightedLoss):
    """torch.nn.NLLLoss: `refbp.functional.nll_loss`.

    Args: weight is fixed when the loss is made.
    """

    def __init__(
        self,
        weight: Array | None = None,
        size_average: bool | None = None,
        ignore_index: int = -100,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight, size_average, reduce, reduction)
        self.ignore_index = ignore_index

    def op(self, input: Array, target: Array) -> tuple[Array, LossBackward]:
        return nll_loss(input, target, self.weight, ignore_index=self.ignore_index, reduction=self.reduction)


def cross_entropy(
    input: Array,
    target: Array,
    weight: Array | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> tuple[Array, LossBackward]:
    """-Σ_c w_c q_c ln softmax(x)_c, where q is the target: a class index as one-hot, or class probabilities.

    Label smoothing s replaces q by (1 - s) q + s / C. The mean divides by the sum of the target classes' weights, but for
    probabilities by the number of positions.

    Shape: input (C), (N, C) or (N, C, d1, …), target without C (integers) or as input (probabilities), weight (C).
    Gradients, with delta the gradient of each term: grad_input = (softmax(x) Σ_c w_c q_c - w q) delta; for probabilities also
        grad_target = -(1 - s) w ln softmax(x) delta and grad_weight = -Σ q ln softmax(x) delta.
    Raises: ValueError for shapes that do not fit, a class index outside 0 … C-1 that is not ignore_index, a label_smoothing
        outside [0, 1], an ignore_index of 0 or more given with probabilities.
    Conventions: positions whose target is ignore_index enter neither sum nor divisor. If all are ignored, the mean is NaN and
        its gradient zero.
    """
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"cross_entropy expects label_smoothing between 0 and 1, got {label_smoothing}")
    log_probability, softmax_backward = log_softmax(input, class_axis("cross_entropy", input))
    if is_integer(target):
        value, loss_backward = _indexed_loss(
            "cross_entropy", log_probability, target, weight, ignore_index, reduction, label_smoothing
        )
    elif ignore_index >= 0:
        raise ValueError(f"cross_entropy expects class indices as target with an ignore_index, got {target.dtype}")
    else:
        value, loss_backward = _expected_loss(log_probability, target, weight, reduction, label_smoothing)

    def backward(grad_output: Array | float = 1.0) -> Gradients:
        grad_log_probability, *others = loss_backward(grad_output)
        assert grad_log_probability is not None
        return softmax_backward(grad_log_probability), *others

    return value, backward


@documented_by(cross_entropy)
class CrossEntropyLoss(NLLLoss):
    """torch.nn.CrossEntropyLoss: `refbp.functional.cross_entropy`.

    Args: weight is fixed when the loss is made.

    >>> loss = refbp.CrossEntropyLoss()
    >>> logits = np.log([[0.25, 0.75], [0.5, 0.5]])
    >>> loss(logits, np.array([1, 0])).round(4)  # -(ln 0.75 + ln 0.5) / 2
    np.float64(0.4904)
    >>> loss.backward()
    array([[ 0.125, -0.125],
           [-0.25 ,  0.25 ]])
    """

    def __init__(
        self,
        weight: Array | None = None,
        size_average: bool | None = None,
        ignore_index: int = -100,
        reduce: bool | None = None,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(weight, size_average, ignore_index, reduce, reduction)
        self.label_smoothing = label_smoothing

    def op(self, input: Array, target: Array) -> tuple[Array, LossBackward]:
        return cross_entropy(
            input,
            target,
            self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )


def _indexed_loss(
    op: str,
    input: Array,
    target: Array,
    weight: Array | None,
    ignore_index: int,
    reduction: str,
    smoothing: float,
) -> tuple[Array, LossBackward]:
    """-(1 - s) w_t x_t - s / C Σ_c w_c x_c, for log-probabilities x."""
    axis = class_axis(op, input)
    classes = input.shape[axis]
    check_classes(op, target, input.shape[:axis] + input.shape[axis + 1 :], classes, besides=ignore_index)
    ignored = target == ignore_index
    index = np.where(ignored, 0, target)
    along = (classes,) + (1,) * (input.ndim - axis - 1)
    chosen = np.moveaxis(np.equal.outer(np.arange(classes), index), 0, axis)  # (N, C, d1, …), C outermost in memory
    w = class_weight(op, input, weight, classes)
    w_target = where(ignored, 0.0, w[index])
    terms = -w_target * np.squeeze(np.take_along_axis(input, np.expand_dims(index, axis), axis), axis)
    if smoothing > 0:
        terms = (1 - smoothing) * terms - smoothing * np.sum(w.reshape(along) * input, axis=axis) / classes
    terms = where(ignored, 0.0, terms)

    def gradients(delta: Array) -> Gradients:
        counted = np.expand_dims(where(ignored, 0.0, delta), axis)
        grad_input = where(chosen, -(1 - smoothing) * counted * np.expand_dims(w_target, axis), 0.0)
        if smoothing > 0:
            grad_input = grad_input - smoothing * counted * w.reshape(along) / classes
        return grad_input, None, None

    total = np.sum(w_target)
    if smoothing > 0:  # a mean over no weights is NaN, although the smoothed terms are not all zero
        total = where(np.isnan(total / total), math.nan, total)
    return reduced(terms, gradients, (input, target, weight), reduction, total)


def _expected_loss(
    input: Array, target: Array, weight: Array | None, reduction: str, smoothing: float
) -> tuple[Array, LossBackward]:
    """-Σ_c w_c q_c x_c, for log-probabilities x."""
    axis = class_axis("cross_entropy", input)
    classes = input.shape[axis]
    along = (classes,) + (1,) * (input.ndim - axis - 1)
    q = as_target("cross_entropy", input, target)
    if smoothing > 0:
        q = (1 - smoothing) * q + smoothing / classes
    w = class_weight("cross_entropy", input, weight, classes).reshape(along)

    def gradients(delta: Array) -> Gradients:
        minus_delta = np.expand_dims(-delta, axis)
        grad_weight = np.moveaxis(minus_delta * q * input, axis, -1)  # (N, C, d1, …) -> (N, d1, …, C)
        return minus_delta * w * q, (1 - smoothing) * minus_delta * w * input, grad_weight

    return reduced(-np.sum(w * q * input, axis=axis), gradients, (input, target, weight), reduction)
