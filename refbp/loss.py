"""The base of every loss: the reduction of its terms, the gradient of the reduction, and the checks of its arguments."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

import numpy as np

from refbp.arrays import Array, is_array
from refbp.checks import require_floating, silence

Gradients: TypeAlias = tuple[Array | None, ...]


class LossBackward(Protocol):
    """Takes ∂L/∂value (1 by default) and returns the gradient of every array argument of a loss, in their order.

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
    """The value of a loss and its backward, from the loss's terms. All losses are built on it.

    Args:
        gradients: takes delta, the upstream gradient of every term, and returns the gradients of `arguments`. The gradient
            of an argument that was broadcast may have the full shape.
        divisor: the divisor of the mean; by default the number of terms. The mean of no terms is NaN.
    Raises: ValueError for an unknown reduction, or a grad_output that is neither a number nor of the value's shape.
    """
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"a loss expects reduction 'none', 'mean' or 'sum', got {reduction!r}")
    count = terms.size if divisor is None else divisor
    if reduction == "none":
        value = shaped(terms, terms.shape)
    else:
        total = np.sum(terms.reshape(-1), keepdims=True)
        value = shaped(total / count if reduction == "mean" else total, ())

    def backward(grad_output: Array | float = 1.0) -> Gradients:
        if isinstance(grad_output, int | float):
            delta = np.full_like(value, float(grad_output))
        elif is_array(grad_output) and grad_output.shape in ((), value.shape):
            delta = grad_output.astype(value.dtype, copy=False)
        else:
            received = grad_output.shape if is_array(grad_output) else type(grad_output).__name__
            raise ValueError(
                f"a loss's backward expects grad_output of the value's shape {value.shape}, got {received}"
            )
        grads = gradients(np.broadcast_to(delta / count if reduction == "mean" else delta, terms.shape))
        return tuple(
            None if grad is None or argument is None or is_integer(argument) else summed_to(grad, argument.shape)
            for grad, argument in zip(grads, arguments, strict=True)
        )

    return value, backward


def summed_to(grad: Array, shape: tuple[int, ...]) -> Array:
    """The gradient of an argument of this shape that was broadcast: summed over the broadcast dimensions."""
    added = grad.ndim - len(shape)
    axes = [axis for axis in range(grad.ndim) if axis < added or shape[axis - added] != grad.shape[axis]]
    return shaped(np.sum(grad, axis=tuple(axes)) if axes else grad, shape)


def shaped(x: Array, shape: tuple[int, ...]) -> Array:
    """x as an array of this shape; with shape () an array as well, even if x is a NumPy scalar."""
    result: Array = x.reshape(-1).reshape(shape)
    return result


def is_integer(x: Array) -> bool:
    return x.dtype.kind in "biu"


def legacy_reduction(size_average: bool | None, reduce: bool | None, reduction: str) -> str:
    """The reduction that torch's two deprecated arguments stand for; they override `reduction`, with torch's warning."""
    if size_average is None and reduce is None:
        return reduction
    averaged = "mean" if size_average is None or size_average else "sum"
    reduction = averaged if reduce is None or reduce else "none"
    warnings.warn(f"size_average and reduce are deprecated, use reduction={reduction!r} instead", stacklevel=3)
    return reduction


class Loss:
    """A loss: its options and the backward of its last call. It is the base of all losses; their other arguments are torch.nn's.

    `value = loss(input, target)` is the forward pass, and `loss.backward()` the gradient of value with respect to input.

    Args: reduction is "mean" (over the terms, unless the loss says otherwise), "sum", or "none" (a value per term). size_average
        and reduce are torch's deprecated arguments; they override reduction, with a warning.
    Gradients: those of the reduced value: after "mean" they contain the factor 1/N. `backward` returns the input's, or for a loss
        of several inputs a tuple in their order. The gradients of targets come from `refbp.functional` only.
    Raises: ValueError for an input that is not a floating-point array, an unknown reduction, or a grad_output that is neither a
        number nor of the value's shape; RuntimeError for a backward without a forward.
    Conventions: the value has the input's dtype; logarithms are natural. A mean of no terms is NaN. Where torch's loss is
        infinite or NaN this one is as well, without a warning.

    A subclass defines `op(*arguments)`, which returns the value and its backward.
    """

    # The positions of the arguments whose gradients `backward` returns.
    predictions: tuple[int, ...] = (0,)

    def __init__(self, size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean") -> None:
        """reduction is "mean" (of all terms, unless the loss says otherwise), "sum", or "none" (a value per term).

        size_average and reduce are torch's deprecated arguments for the same.
        """
        self.reduction = legacy_reduction(size_average, reduce, reduction)
        self._backward: LossBackward | None = None

    def __getstate__(self) -> dict[str, Any]:
        """The state that is copied or pickled: all but the last forward."""
        return {**self.__dict__, "_backward": None}

    def require_array(self, argument: Any) -> None:
        """Raises: ValueError for anything but an array or None."""
        if argument is not None and not is_array(argument):
            raise ValueError(f"{type(self).__name__} expects arrays beside its input, got {type(argument).__name__}")

    def op(self, *args: Any, **kwargs: Any) -> tuple[Array, LossBackward]:
        """The mathematics: the value for these arguments, and the backward of this call."""
        raise TypeError(f"{type(self).__name__} defines no op")

    def apply(self, input: Array, *arguments: Array) -> tuple[Array, LossBackward]:
        """The value of one call and the backward of that call, which returns the gradients of all arguments."""
        require_floating(input, type(self).__name__)
        for argument in arguments:
            self.require_array(argument)
        with silence():
            value, backward = self.op(input, *arguments)
        return value, silence()(backward)

    def forward(self, input: Array, *arguments: Array) -> Array:
        """The value for these arguments; `backward` then belongs to this call. The same as calling the loss."""
        value, self._backward = self.apply(input, *arguments)
        return value

    def __call__(self, input: Array, *arguments: Array) -> Array:
        """The same as `forward`."""
        return self.forward(input, *arguments)

    def backward(self, grad_output: Array | float = 1.0) -> Any:
        """Gradient with respect to the last forward's input; a tuple for a loss of several inputs.

        Args: grad_output is the gradient with respect to the value, a number or an array of the value's shape; 1 by default.
        Raises: RuntimeError without a forward before it, ValueError for a grad_output of another shape.
        """
        if self._backward is None:
            raise RuntimeError(f"{type(self).__name__}.backward needs a forward before it")
        grads = self._backward(grad_output)
        predicted = tuple(grads[position] for position in self.predictions)
        return predicted if len(predicted) > 1 else predicted[0]


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
        self.require_array(weight)
        self.weight = weight
