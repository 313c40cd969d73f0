"""Losses: a value, and its exact derivative.

An op returns `(value, backward)`; `backward(grad_output=1.0)` returns a gradient per tensor argument, in argument order, None
for class indices and absent arguments. `value` is a 0-d array for the reductions "mean" and "sum", the shape of the
elements' losses for "none".
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from refbp.layer import Array
from refbp.softmax import log_softmax

Gradients: TypeAlias = tuple[Array | None, ...]
LossBackward: TypeAlias = Callable[..., Gradients]

REDUCTIONS = ("none", "mean", "sum")


def _reduced(losses: Array, reduction: str, denominator: Any = None) -> tuple[Array, Callable[[Any], Array]]:
    """The value of these elements' losses, and the map from its gradient to theirs.

    denominator: what a mean divides by; the number of elements unless given. A mean over nothing is NaN.
    """
    if reduction not in REDUCTIONS:
        raise ValueError(f"reduction expects one of {', '.join(REDUCTIONS)}, got {reduction!r}")
    if reduction == "none":
        return losses, lambda grad_output: np.broadcast_to(_array(grad_output, losses), losses.shape)
    total = np.sum(losses)
    if reduction == "sum":
        return _array(total, losses), lambda grad_output: np.broadcast_to(_array(grad_output, losses), losses.shape)
    count = losses.size if denominator is None else denominator
    with np.errstate(divide="ignore", invalid="ignore"):
        value = total / count if not isinstance(count, int) or count else total * math.nan

    def backward(grad_output: Any) -> Array:
        with np.errstate(divide="ignore", invalid="ignore"):
            share = _array(grad_output, losses) / count if not isinstance(count, int) or count else math.nan
        return np.broadcast_to(_array(share, losses), losses.shape)

    return _array(value, losses), backward


def _array(value: Any, like: Array) -> Array:
    """A number as a 0-d array of this dtype; an array as it is."""
    if getattr(value, "shape", ()) == () and not hasattr(value, "model"):
        return np.full_like(like, value, shape=())
    return value  # type: ignore[no-any-return]


def _same_shape(name: str, input: Array, target: Array) -> None:
    if input.shape != target.shape:
        raise ValueError(f"{name} expects a target of the input's shape {input.shape}, got {target.shape}")


def mse_loss(input: Array, target: Array, reduction: str = "mean") -> tuple[Array, LossBackward]:
    """l = (x - y)²,  ∂l/∂x = 2 (x - y) = -∂l/∂y.

    Shape: input and target (*).
    Raises: ValueError for a target of another shape.
    Conventions: the mean over nothing is NaN.
    """
    _same_shape("mse_loss", input, target)
    difference = input - target
    value, spread = _reduced(difference * difference, reduction)

    def backward(grad_output: Any = 1.0) -> Gradients:
        grad = spread(grad_output) * (2.0 * difference)
        return grad, -grad

    return value, backward


def binary_cross_entropy(
    input: Array, target: Array, weight: Array | None = None, reduction: str = "mean"
) -> tuple[Array, LossBackward]:
    """l = -w (y log x + (1 - y) log(1 - x)) for probabilities x,  ∂l/∂x = w (x - y) / (x (1 - x)).

    Shape: input and target (*), weight broadcast to it.
    Raises: ValueError for a target of another shape or an input outside [0, 1].
    Conventions: as torch, each logarithm is at least -100, and the derivative's denominator at least 1e-12.
    """
    _same_shape("binary_cross_entropy", input, target)
    low, high = log_at_least_minus_100(input), log_at_least_minus_100(1.0 - input)
    losses = _weighted(-(target * low + (1.0 - target) * high), weight)
    value, spread = _reduced(losses, reduction)

    def backward(grad_output: Any = 1.0) -> Gradients:
        grad = _weighted(spread(grad_output), weight)
        denominator = np.maximum(input * (1.0 - input), 1e-12)
        return grad * (input - target) / denominator, grad * (high - low), None

    return value, backward


def log_at_least_minus_100(x: Array) -> Array:
    with np.errstate(divide="ignore"):
        return np.maximum(np.log(x), -100.0)


def _weighted(x: Array, weight: Array | None) -> Array:
    return x if weight is None else x * weight.astype(x.dtype)


def binary_cross_entropy_with_logits(
    input: Array,
    target: Array,
    weight: Array | None = None,
    pos_weight: Array | None = None,
    reduction: str = "mean",
) -> tuple[Array, LossBackward]:
    """l = -w (p y log σ(x) + (1 - y) log σ(-x)),  ∂l/∂x = w (σ(x) (p y + 1 - y) - p y).

    Computed as w ((1 - y) x + (1 + (p - 1) y) log(1 + e^-x)), without overflow for either sign of x.

    Shape: input and target (*); weight and pos_weight (p, one per class) broadcast to it.
    Raises: ValueError for a target of another shape.
    """
    _same_shape("binary_cross_entropy_with_logits", input, target)
    decay = np.exp(-abs(input))
    softplus = np.log1p(decay) + np.maximum(-input, 0.0)  # log(1 + e^-x)
    sigmoid = np.where(input >= 0, 1.0, decay) / (1.0 + decay)
    positive = target if pos_weight is None else target * pos_weight.astype(input.dtype)
    factor = 1.0 - target + positive
    value, spread = _reduced(_weighted((1.0 - target) * input + factor * softplus, weight), reduction)

    def backward(grad_output: Any = 1.0) -> Gradients:
        grad = _weighted(spread(grad_output), weight)
        log_odds = -input if pos_weight is None else (pos_weight.astype(input.dtype) - 1.0) * softplus - input
        return grad * (sigmoid * factor - positive), grad * log_odds, None, None

    return value, backward


def _classes(input: Array, name: str) -> int:
    """The dimension of the classes: the only one, else the second. Raises: ValueError for an input without one."""
    if input.ndim == 0:
        raise ValueError(f"{name} expects input (N, C, ...) or (C), got shape {input.shape}")
    return 0 if input.ndim == 1 else 1


def _one_hot(name: str, input: Array, target: Array, ignore_index: int) -> tuple[Array, Array]:
    """Which class each position has, along the class dimension, and which positions count; both plain bool arrays.

    Raises: ValueError for a target of another shape, or a class that there is not.
    """
    axis = _classes(input, name)
    shape = (*input.shape[:axis], *input.shape[axis + 1 :])
    if target.shape != shape:
        raise ValueError(f"{name} expects class indices of shape {shape} for input {input.shape}, got {target.shape}")
    counts = target != ignore_index
    outside = counts & ((target < 0) | (target >= input.shape[axis]))
    if outside.any():
        wrong = int(target[outside].flat[0])
        raise ValueError(
            f"{name} expects classes from 0 to {input.shape[axis] - 1} or ignore_index {ignore_index}, got {wrong}"
        )
    numbers = np.arange(input.shape[axis]).reshape([-1 if i == axis else 1 for i in range(input.ndim)])
    return (np.expand_dims(target, axis) == numbers) & np.expand_dims(counts, axis), counts


def _class_weights(input: Array, weight: Array | None, axis: int, name: str) -> Array:
    """A weight per class, shaped to broadcast along the class dimension; ones unless given."""
    shape = [-1 if i == axis else 1 for i in range(input.ndim)]
    if weight is None:
        return np.ones_like(input, shape=tuple(input.shape[axis] if i == axis else 1 for i in range(input.ndim)))
    if weight.shape != (input.shape[axis],):
        raise ValueError(f"{name} expects one weight per class, shape ({input.shape[axis]},), got {weight.shape}")
    return weight.astype(input.dtype).reshape(shape)


def nll_loss(
    input: Array, target: Array, weight: Array | None = None, ignore_index: int = -100, reduction: str = "mean"
) -> tuple[Array, LossBackward]:
    """l = -w_y x_y for log-probabilities x and class indices y; the mean divides by Σ w_y.

    Shape: input (N, C, *) or (C), target (N, *) or () of integers, weight (C).
    Gradients: ∂l/∂x_c = -w_y where c = y, else 0.
    Raises: ValueError for shapes that do not fit or classes out of range.
    Conventions: positions of class ignore_index count neither in the sum nor in the mean's denominator; the mean over
        nothing is NaN.
    """
    chosen, _ = _one_hot("nll_loss", input, target, ignore_index)
    axis = _classes(input, "nll_loss")
    weights = np.where(
        chosen, _class_weights(input, weight, axis, "nll_loss"), 0.0
    )  # (N, C, *), w_y at class y, else 0
    losses = -np.sum(np.where(chosen, input * weights, 0.0), axis=axis)
    value, spread = _reduced(losses, reduction, np.sum(weights))

    def backward(grad_output: Any = 1.0) -> Gradients:
        grad = np.expand_dims(spread(grad_output), axis)
        return np.where(chosen, -weights * grad, 0.0), None, None

    return value, backward


def cross_entropy(
    input: Array,
    target: Array,
    weight: Array | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> tuple[Array, LossBackward]:
    """l = -Σ_c w_c q_c log softmax(x)_c, with q the target's distribution, smoothed to (1 - ε) q + ε / C.

    Shape: input (N, C, *) or (C); target (N, *) or () of class indices, or the input's shape of probabilities; weight (C).
    Gradients: ∂l/∂x_c = softmax(x)_c Σ_k w_k q_k - w_c q_c; of probabilities, ∂l/∂target_c = -w_c (1 - ε) log softmax(x)_c.
    Raises: ValueError for shapes that do not fit, classes out of range, or a label_smoothing outside [0, 1].
    Conventions: for class indices the mean divides by Σ w_y, without positions of class ignore_index; for probabilities by
        the number of positions. The mean over nothing is NaN.
    """
    name = "cross_entropy"
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"{name} expects label_smoothing from 0 to 1, got {label_smoothing}")
    axis = _classes(input, name)
    class_count = input.shape[axis]
    weights = _class_weights(input, weight, axis, name)
    log_p, log_p_backward = log_softmax(input, axis)
    if target.dtype.kind in "iu":
        chosen, counts = _one_hot(name, input, target, ignore_index)
        hard = np.where(chosen, np.ones_like(input), 0.0)
        keeps = np.expand_dims(counts, axis)
        denominator: Any = np.sum(np.where(chosen, weights, 0.0))
    else:
        _same_shape(name, input, target)
        hard, keeps = target, np.ones_like(input, dtype=np.bool_)
        denominator = math.prod(input.shape) // max(class_count, 1)
    smoothed = hard * (1.0 - label_smoothing) + label_smoothing / class_count if label_smoothing else hard
    wq = np.where(keeps, weights * smoothed, 0.0)
    losses = -np.sum(np.where(wq != 0, wq * log_p, 0.0), axis=axis)
    value, spread = _reduced(losses, reduction, denominator)

    def backward(grad_output: Any = 1.0) -> Gradients:
        grad = np.expand_dims(spread(grad_output), axis)
        grad_input = log_p_backward(-wq * grad)
        if target.dtype.kind in "iu":
            return grad_input, None, None
        return grad_input, weights * log_p * (label_smoothing - 1.0) * grad, None

    return value, backward


class Loss:
    """A loss with its arguments; `backward` is the exact derivative of the last value.

    Raises: ValueError for an unknown reduction; RuntimeError for a backward without a forward.
    """

    inputs: tuple[int, ...] = (0,)
    """Positions, among the arguments of a call, of what a network predicts: `backward` returns their gradients."""

    def __init__(self, size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean") -> None:
        if size_average is not None or reduce is not None:  # torch's older spelling of a reduction
            averaged = "mean" if size_average is None or size_average else "sum"
            reduction = averaged if reduce is None or reduce else "none"
        if reduction not in REDUCTIONS:
            raise ValueError(f"{type(self).__name__} expects a reduction of {', '.join(REDUCTIONS)}, got {reduction!r}")
        self.reduction = reduction
        self._backward: LossBackward | None = None

    def apply(self, *arguments: Array) -> tuple[Array, LossBackward]:
        """The value of one call, and that call's backward: a gradient per tensor argument."""
        raise TypeError(f"{type(self).__name__} defines no apply")

    def forward(self, *arguments: Array) -> Array:
        value, self._backward = self.apply(*arguments)
        return value

    def __call__(self, *arguments: Array) -> Array:
        return self.forward(*arguments)

    def backward(self, grad_output: Any = 1.0) -> Any:
        """The gradient of the last value with respect to its input; a tuple for a loss of several inputs."""
        if self._backward is None:
            raise RuntimeError(f"{type(self).__name__}.backward needs a forward before it")
        grads = self._backward(grad_output)
        own = tuple(grads[position] for position in self.inputs)
        return own if len(own) > 1 else own[0]


class MSELoss(Loss):
    """torch.nn.MSELoss: see `refbp.functional.mse_loss`."""

    def apply(self, *arguments: Array) -> tuple[Array, LossBackward]:
        return mse_loss(*arguments, reduction=self.reduction)


class _WeightedLoss(Loss):
    def __init__(
        self,
        weight: Array | None = None,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.weight = weight


class BCELoss(_WeightedLoss):
    """torch.nn.BCELoss: see `refbp.functional.binary_cross_entropy`."""

    def apply(self, *arguments: Array) -> tuple[Array, LossBackward]:
        return binary_cross_entropy(*arguments, weight=self.weight, reduction=self.reduction)


class BCEWithLogitsLoss(_WeightedLoss):
    """torch.nn.BCEWithLogitsLoss: see `refbp.functional.binary_cross_entropy_with_logits`."""

    def __init__(
        self,
        weight: Array | None = None,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
        pos_weight: Array | None = None,
    ) -> None:
        super().__init__(weight, size_average, reduce, reduction)
        self.pos_weight = pos_weight

    def apply(self, *arguments: Array) -> tuple[Array, LossBackward]:
        return binary_cross_entropy_with_logits(
            *arguments, weight=self.weight, pos_weight=self.pos_weight, reduction=self.reduction
        )


class NLLLoss(_WeightedLoss):
    """torch.nn.NLLLoss: see `refbp.functional.nll_loss`."""

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

    def apply(self, *arguments: Array) -> tuple[Array, LossBackward]:
        return nll_loss(*arguments, weight=self.weight, ignore_index=self.ignore_index, reduction=self.reduction)


class CrossEntropyLoss(_WeightedLoss):
    """torch.nn.CrossEntropyLoss: see `refbp.functional.cross_entropy`."""

    def __init__(
        self,
        weight: Array | None = None,
        size_average: bool | None = None,
        ignore_index: int = -100,
        reduce: bool | None = None,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(weight, size_average, reduce, reduction)
        self.ignore_index, self.label_smoothing = ignore_index, label_smoothing

    def apply(self, *arguments: Array) -> tuple[Array, LossBackward]:
        return cross_entropy(
            *arguments,
            weight=self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )
