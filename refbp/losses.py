"""Losses: where backpropagation starts. Each op states the loss per element with its partial derivatives beside it."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Literal, Protocol, TypeAlias

import numpy as np

from refbp.layer import Array

Reduction: TypeAlias = Literal["none", "mean", "sum"]
Gradients: TypeAlias = tuple[Array | None, ...]

# Losses are infinite or undefined where torch's are, and as silently.
silently = np.errstate(all="ignore")


class LossBackward(Protocol):
    """From ∂/∂value (1 unless given) to the gradient of every array argument of a loss, in their order.

    None stands for an argument that was None or integer, or that torch does not differentiate.
    """

    def __call__(self, grad_output: Array | float = 1.0) -> Gradients: ...


def reduced(
    terms: Array,
    gradients: Callable[[Array], Gradients],
    arguments: tuple[Array | None, ...],
    reduction: str,
    divisor: Array | int | None = None,
) -> tuple[Array, LossBackward]:
    """The value of a loss from its terms, and its backward: the scheme of all losses.

    Args:
        gradients: from delta, the upstream gradient of every term, to the gradients of `arguments`; of an argument that was
            broadcast, in the full shape.
        divisor: what the mean divides by, unless the number of terms. The mean of nothing is NaN.
    Raises: ValueError for an unknown reduction, or a grad_output that has not the value's shape.
    """
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"a loss expects reduction 'none', 'mean' or 'sum', got {reduction!r}")
    if divisor is None:
        divisor = terms.size
    if isinstance(divisor, int) and divisor == 0:
        divisor = math.nan  # type: ignore[assignment]
    if reduction == "none":
        value = shaped(terms, terms.shape)
    else:
        total = np.sum(terms.reshape(-1), keepdims=True)
        value = shaped(total / divisor if reduction == "mean" else total, ())

    @silently
    def backward(grad_output: Array | float = 1.0) -> Gradients:
        if isinstance(grad_output, int | float):
            delta = np.full_like(terms, float(grad_output))
        elif grad_output.shape in ((), value.shape):
            delta = np.broadcast_to(grad_output.astype(value.dtype, copy=False), terms.shape)
        else:
            raise ValueError(
                f"a loss's backward expects grad_output of the value's shape {value.shape}, got {grad_output.shape}"
            )
        grads = gradients(delta / divisor if reduction == "mean" else delta)
        return tuple(
            None
            if grad is None or argument is None or argument.dtype.kind in "biu"
            else summed_to(grad, argument.shape)
            for grad, argument in zip(grads, arguments, strict=True)
        )

    return value, backward


def summed_to(grad: Array, shape: tuple[int, ...]) -> Array:
    """The gradient of an argument of this shape that was broadcast."""
    added = grad.ndim - len(shape)
    axes = [axis for axis in range(grad.ndim) if axis < added or shape[axis - added] != grad.shape[axis]]
    return shaped(np.sum(grad, axis=tuple(axes)) if axes else grad, shape)


def shaped(x: Array, shape: tuple[int, ...]) -> Array:
    """An array, where NumPy has made a scalar of 0 dimensions."""
    return x.reshape(-1).reshape(shape)


def as_target(op: str, input: Array, target: Array, name: str = "target") -> Array:
    """`target` in the input's dtype. Raises: ValueError unless it has the input's shape: nothing is broadcast."""
    if target.shape != input.shape:
        raise ValueError(f"{op} expects {name} of the input's shape {input.shape}, got {target.shape}")
    return target.astype(input.dtype, copy=False)


def as_weight(op: str, input: Array, weight: Array, shape: tuple[int, ...], name: str = "weight") -> Array:
    """A constant weight as an array of the input's kind and dtype, so that sums of weights round as sums of inputs do.

    Raises: ValueError unless it can be broadcast to `shape`.
    """
    fits = weight.ndim <= len(shape) and all(
        n in (1, full) for n, full in zip(weight.shape[::-1], shape[::-1], strict=False)
    )
    if not fits:
        raise ValueError(f"{op} expects {name} that broadcasts to {shape}, got {weight.shape}")
    return np.zeros_like(input, shape=weight.shape) + weight.astype(input.dtype, copy=False)


def legacy_reduction(size_average: bool | None, reduce: bool | None, reduction: str) -> str:
    """torch's mapping of the two deprecated arguments, which win over `reduction`, with torch's warning."""
    if size_average is None and reduce is None:
        return reduction
    if reduce is not None and not reduce:
        reduction = "none"
    else:
        reduction = "mean" if size_average is None or size_average else "sum"
    warnings.warn(f"size_average and reduce are deprecated, use reduction={reduction!r} instead", stacklevel=4)
    return reduction


class Loss:
    """A loss: its options, and the backward of its last call.

    A subclass defines `op(*arguments)`, which returns the value and its backward.

    Raises: ValueError for an input that is no floating-point array; RuntimeError for a backward without a forward.
    """

    # Which arguments are predictions, whose gradients `backward` returns.
    predictions: tuple[int, ...] = (0,)

    def __init__(self, size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean") -> None:
        self.reduction = legacy_reduction(size_average, reduce, reduction)
        self._backward: LossBackward | None = None

    def op(self, *arguments: Array) -> tuple[Array, LossBackward]:
        raise TypeError(f"{type(self).__name__} defines no op")

    def apply(self, *arguments: Array) -> tuple[Array, LossBackward]:
        """The value of one call and the backward of that very call, which returns the gradients of all arguments."""
        dtype = getattr(arguments[0], "dtype", None)
        if dtype is None or dtype.kind in "biucOSUMm":
            received = type(arguments[0]).__name__ if dtype is None else f"an array of {dtype}"
            raise ValueError(f"{type(self).__name__} expects a floating-point array, got {received}")
        return self.op(*arguments)

    def forward(self, *arguments: Array) -> Array:
        value, self._backward = self.apply(*arguments)
        return value

    def __call__(self, *arguments: Array) -> Array:
        return self.forward(*arguments)

    def backward(self, grad_output: Array | float = 1.0) -> Array | Gradients | None:
        """Gradient with respect to the last forward's input, or a tuple for a loss of several inputs."""
        if self._backward is None:
            raise RuntimeError(f"{type(self).__name__}.backward needs a forward before it")
        grads = self._backward(grad_output)
        if len(self.predictions) == 1:
            return grads[0]
        return tuple(grads[position] for position in self.predictions)


class WeightedLoss(Loss):
    """A loss with a constant `weight`."""

    def __init__(
        self,
        weight: Array | None = None,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.weight = weight


@silently
def mse_loss(input: Array, target: Array, *, reduction: str = "mean") -> tuple[Array, LossBackward]:
    """(x - t)².

    Shape: target as input, any.
    Gradients: grad_input = 2 (x - t) delta, grad_target = -grad_input.
    """
    difference = input - as_target("mse_loss", input, target)

    def gradients(delta: Array) -> Gradients:
        grad_input = 2 * difference * delta
        return grad_input, -grad_input

    return reduced(np.square(difference), gradients, (input, target), reduction)


class MSELoss(Loss):
    """torch.nn.MSELoss."""

    def op(self, *arguments: Array) -> tuple[Array, LossBackward]:
        return mse_loss(*arguments, reduction=self.reduction)


# torch's kernel holds its floor of 1e-12 in single precision.
BCE_FLOOR = float(np.float32(1e-12))


@silently
def binary_cross_entropy(
    input: Array, target: Array, weight: Array | None = None, *, reduction: str = "mean"
) -> tuple[Array, LossBackward]:
    """-w (t ln x + (1 - t) ln(1 - x)), for probabilities x.

    Shape: target as input, any; weight broadcasts to it. The mean divides by the number of elements.
    Gradients: grad_input = w (x - t) / (x (1 - x)) delta, grad_target = w (ln(1 - x) - ln x) delta, none for weight.
    Raises: ValueError for an input or target outside [0, 1].
    Conventions: logarithms in the value end at -100, the denominator in grad_input at 1e-12; grad_target has no such
        ends.
    """
    t = as_target("binary_cross_entropy", input, target)
    for name, probability in (("input", input), ("target", t)):
        if np.where((probability >= 0) & (probability <= 1), 0, 1).any():
            raise ValueError(f"binary_cross_entropy expects {name} between 0 and 1, got values outside")
    w = 1.0 if weight is None else as_weight("binary_cross_entropy", input, weight, input.shape)
    terms = ((t - 1) * np.maximum(np.log1p(-input), -100.0) - t * np.maximum(np.log(input), -100.0)) * w

    def gradients(delta: Array) -> Gradients:
        grad_input = delta * w * (input - t) / np.maximum((1 - input) * input, BCE_FLOOR)
        return grad_input, delta * w * (np.log1p(-input) - np.log(input)), None

    return reduced(terms, gradients, (input, target, weight), reduction)


class BCELoss(WeightedLoss):
    """torch.nn.BCELoss."""

    def op(self, *arguments: Array) -> tuple[Array, LossBackward]:
        return binary_cross_entropy(*arguments, weight=self.weight, reduction=self.reduction)


@silently
def binary_cross_entropy_with_logits(
    input: Array,
    target: Array,
    weight: Array | None = None,
    *,
    reduction: str = "mean",
    pos_weight: Array | None = None,
) -> tuple[Array, LossBackward]:
    """-w (p t ln σ(x) + (1 - t) ln(1 - σ(x))), for logits x and p = pos_weight.

    It is computed as w ((1 - t) x - (1 + (p - 1) t) ln σ(x)), which cannot overflow.

    Shape: target as input, any; weight and pos_weight broadcast to it. The mean divides by the number of elements.
    Gradients: grad_input = w ((p t + 1 - t) σ(x) - p t) delta, grad_target = w (ln σ(-x) - p ln σ(x)) delta, none for
        the weights.
    """
    op = "binary_cross_entropy_with_logits"
    t = as_target(op, input, target)
    w = 1.0 if weight is None else as_weight(op, input, weight, input.shape)
    p = 1.0 if pos_weight is None else as_weight(op, input, pos_weight, input.shape, "pos_weight")
    log_sigmoid = _log_sigmoid(input)
    terms = ((1 - t) * input - (1 + (p - 1) * t) * log_sigmoid) * w

    def gradients(delta: Array) -> Gradients:
        sigmoid = np.exp(log_sigmoid)
        if pos_weight is None:
            return delta * w * (sigmoid - t), delta * w * -input, None, None
        grad_input = (p * t + 1 - t) * sigmoid - p * t
        grad_target = _log_sigmoid(-input) - p * log_sigmoid
        return delta * w * grad_input, delta * w * grad_target, None, None

    return reduced(terms, gradients, (input, target, weight, pos_weight), reduction)


def _log_sigmoid(z: Array) -> Array:
    return np.minimum(z, 0.0) - np.log1p(np.exp(-np.abs(z)))


class BCEWithLogitsLoss(WeightedLoss):
    """torch.nn.BCEWithLogitsLoss."""

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

    def op(self, *arguments: Array) -> tuple[Array, LossBackward]:
        return binary_cross_entropy_with_logits(
            *arguments, weight=self.weight, reduction=self.reduction, pos_weight=self.pos_weight
        )


def nll_loss(
    input: Array, target: Array, weight: Array | None = None, *, ignore_index: int = -100, reduction: str = "mean"
) -> tuple[Array, LossBackward]:
    """-w_t x_t, for log-probabilities x and class indices t; the mean divides by the sum of the weights w_t.

    Shape: input (C), (N, C) or (N, C, d1, …), target the same without C, weight (C).
    Gradients: grad_input = -w_t delta at the target's class, 0 elsewhere; none for target and weight.
    Raises: ValueError for a class index outside 0 … C-1 that is not ignore_index.
    Conventions: positions whose target is ignore_index count nowhere; where all are ignored the mean is NaN, its
        gradient zero.
    """
    return _indexed_loss("nll_loss", input, target, weight, ignore_index, reduction, 0.0)


@silently
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

    Label smoothing s replaces q by (1 - s) q + s / C. The mean divides by the sum of the target classes'
    weights, but for probabilities by the number of positions.

    Shape: input (C), (N, C) or (N, C, d1, …), target without C (integers) or as input (probabilities), weight (C).
    Gradients: grad_input = (softmax(x) Σ_c w_c q_c - w q) delta; for probabilities also
        grad_target = -(1 - s) w ln softmax(x) delta and grad_weight = -Σ q ln softmax(x) delta.
    Raises: ValueError as nll_loss; for label_smoothing outside [0, 1]; for an ignore_index given with probabilities.
    """
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"cross_entropy expects label_smoothing between 0 and 1, got {label_smoothing}")
    log_softmax, softmax_backward = _log_softmax(input, _class_axis("cross_entropy", input))
    if target.dtype.kind in "biu":
        value, loss_backward = _indexed_loss(
            "cross_entropy", log_softmax, target, weight, ignore_index, reduction, label_smoothing
        )
    elif ignore_index >= 0:
        raise ValueError(f"cross_entropy expects class indices as target with an ignore_index, got {target.dtype}")
    else:
        value, loss_backward = _expected_loss(log_softmax, target, weight, reduction, label_smoothing)

    @silently
    def backward(grad_output: Array | float = 1.0) -> Gradients:
        grad_log_softmax, *others = loss_backward(grad_output)
        assert grad_log_softmax is not None
        return softmax_backward(grad_log_softmax), *others

    return value, backward


def _class_axis(op: str, input: Array) -> int:
    axis = 0 if input.ndim == 1 else 1
    if input.ndim == 0 or input.shape[axis] == 0:
        raise ValueError(f"{op} expects input (C), (N, C) or (N, C, d1, …) with C > 0, got {input.shape}")
    return axis


def _class_weight(op: str, input: Array, weight: Array | None, classes: int) -> Array:
    if weight is None:
        return np.ones_like(input, shape=(classes,))
    if weight.shape != (classes,):
        raise ValueError(f"{op} expects weight ({classes},), one per class, got {weight.shape}")
    return as_weight(op, input, weight, (classes,))


@silently
def _indexed_loss(
    op: str,
    input: Array,
    target: Array,
    weight: Array | None,
    ignore_index: int,
    reduction: str,
    smoothing: float,
) -> tuple[Array, LossBackward]:
    """(1 - s) of the target class's -w x, and s / C of every class's."""
    axis = _class_axis(op, input)
    classes = input.shape[axis]
    if target.dtype.kind not in "iu":
        raise ValueError(f"{op} expects class indices (integers) as target, got an array of {target.dtype}")
    positions = input.shape[:axis] + input.shape[axis + 1 :]
    if target.shape != positions:
        raise ValueError(f"{op} expects target {positions} for input {input.shape}, got {target.shape}")
    ignored = target == ignore_index
    outside = ~ignored & ((target < 0) | (target >= classes))
    if outside.any():
        raise ValueError(f"{op} expects class indices from 0 to {classes - 1}, got {target[outside].flat[0]}")
    index = np.where(ignored, 0, target)
    along = (classes,) + (1,) * (input.ndim - axis - 1)
    chosen = np.expand_dims(index, axis) == np.arange(classes).reshape(along)  # (N, C, d1, …)
    w = _class_weight(op, input, weight, classes)
    w_target = np.where(ignored, 0.0, w[index])
    picked = np.squeeze(np.take_along_axis(input, np.expand_dims(index, axis), axis), axis)
    terms = -w_target * picked
    if smoothing > 0:
        terms = (1 - smoothing) * terms - smoothing * np.sum(w.reshape(along) * input, axis=axis) / classes
    terms = np.where(ignored, 0.0, terms)

    def gradients(delta: Array) -> Gradients:
        counted = np.expand_dims(np.where(ignored, 0.0, delta), axis)
        grad_input = np.where(chosen, -(1 - smoothing) * counted * np.expand_dims(w_target, axis), 0.0)
        if smoothing > 0:
            grad_input = grad_input - smoothing * counted * w.reshape(along) / classes
        return grad_input, None, None

    return reduced(terms, gradients, (input, target, weight), reduction, np.sum(w_target))


def _expected_loss(
    input: Array, target: Array, weight: Array | None, reduction: str, smoothing: float
) -> tuple[Array, LossBackward]:
    """-Σ_c w_c q_c x_c for log-probabilities x."""
    axis = _class_axis("cross_entropy", input)
    classes = input.shape[axis]
    along = (classes,) + (1,) * (input.ndim - axis - 1)
    q = as_target("cross_entropy", input, target)
    if smoothing > 0:
        q = (1 - smoothing) * q + smoothing / classes
    w = _class_weight("cross_entropy", input, weight, classes).reshape(along)

    def gradients(delta: Array) -> Gradients:
        minus_delta = np.expand_dims(-delta, axis)
        grad_weight = np.moveaxis(minus_delta * q * input, axis, -1)  # (N, C, d1, …) -> (N, d1, …, C)
        return minus_delta * w * q, (1 - smoothing) * minus_delta * w * input, grad_weight

    return reduced(-np.sum(w * q * input, axis=axis), gradients, (input, target, weight), reduction)


def _log_softmax(input: Array, axis: int) -> tuple[Array, Callable[[Array], Array]]:
    shifted = input - np.max(input, axis=axis, keepdims=True)
    output = shifted - np.log(np.sum(np.exp(shifted), axis=axis, keepdims=True))

    def backward(grad_output: Array) -> Array:
        grad_input: Array = grad_output - np.exp(output) * np.sum(grad_output, axis=axis, keepdims=True)
        return grad_input

    return output, backward


class NLLLoss(WeightedLoss):
    """torch.nn.NLLLoss."""

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

    def op(self, *arguments: Array) -> tuple[Array, LossBackward]:
        return nll_loss(*arguments, weight=self.weight, ignore_index=self.ignore_index, reduction=self.reduction)


class CrossEntropyLoss(NLLLoss):
    """torch.nn.CrossEntropyLoss."""

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

    def op(self, *arguments: Array) -> tuple[Array, LossBackward]:
        return cross_entropy(
            *arguments,
            weight=self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )
