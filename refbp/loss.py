"""What every loss shares: the reduction of its terms, the way back through it, and the checks of its arguments."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

import numpy as np

from refbp.arrays import Array, is_array
from refbp.checks import require_floating, silence

Gradients: TypeAlias = tuple[Array | None, ...]


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
        gradients: from delta, the upstream gradient of every term, to the gradients of `arguments`. Those of an argument
            that was broadcast may have the full shape.
        divisor: what the mean divides by, unless the number of terms. The mean of nothing is NaN.
    Raises: ValueError for an unknown reduction, or a grad_output that has not the value's shape.
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
            delta = np.full_like(terms, float(grad_output))
        elif is_array(grad_output) and grad_output.shape in ((), value.shape):
            delta = np.broadcast_to(grad_output.astype(value.dtype, copy=False), terms.shape)
        else:
            received = grad_output.shape if is_array(grad_output) else type(grad_output).__name__
            raise ValueError(
                f"a loss's backward expects grad_output of the value's shape {value.shape}, got {received}"
            )
        grads = gradients(delta / count if reduction == "mean" else delta)
        return tuple(
            None if grad is None or argument is None or is_integer(argument) else summed_to(grad, argument.shape)
            for grad, argument in zip(grads, arguments, strict=True)
        )

    return value, backward


def summed_to(grad: Array, shape: tuple[int, ...]) -> Array:
    """The gradient of an argument of this shape that was broadcast."""
    added = grad.ndim - len(shape)
    axes = [axis for axis in range(grad.ndim) if axis < added or shape[axis - added] != grad.shape[axis]]
    return shaped(np.sum(grad, axis=tuple(axes)) if axes else grad, shape)


def shaped(x: Array, shape: tuple[int, ...]) -> Array:
    """An array of this shape, also of none, where NumPy has made a scalar."""
    result: Array = x.reshape(-1).reshape(shape)
    return result


def is_integer(x: Array) -> bool:
    return x.dtype.kind in "biu"


def legacy_reduction(size_average: bool | None, reduce: bool | None, reduction: str) -> str:
    """torch's mapping of its two deprecated arguments, which win over `reduction`, with torch's warning."""
    if size_average is None and reduce is None:
        return reduction
    averaged = "mean" if size_average is None or size_average else "sum"
    reduction = averaged if reduce is None or reduce else "none"
    warnings.warn(f"size_average and reduce are deprecated, use reduction={reduction!r} instead", stacklevel=3)
    return reduction


class Loss:
    """A loss: its options, and the backward of its last call; what all losses share, whose other arguments are torch.nn's.

    `value = loss(input, target)` is the forward pass, and `loss.backward()` the gradient of value with respect to input.

    Args: reduction is "mean", over the terms unless the loss says otherwise, "sum", or "none", a value per term; size_average
        and reduce are torch's deprecated words for it, which win, with a warning.
    Gradients: of the value as it stands: after "mean" they hold its 1/N. `backward` returns that of the input, or for a loss of
        several inputs a tuple in their order; targets' gradients are `refbp.functional`'s.
    Raises: ValueError for an input that is no floating-point array, an unknown reduction or a grad_output that has not the
        value's shape; RuntimeError for a backward without a forward.
    Conventions: the value has the input's dtype; logarithms are natural. A mean over nothing is NaN. Where torch's loss is
        infinite or NaN so is this one, without a warning.

    A subclass defines `op(*arguments)`, which returns the value and its backward.
    """

    # Which arguments are predictions: `backward` returns their gradients.
    predictions: tuple[int, ...] = (0,)

    def __init__(self, size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean") -> None:
        """reduction is "mean" (of all terms, unless the loss says otherwise), "sum", or "none", a value per term.

        size_average and reduce are torch's deprecated words for it.
        """
        self.reduction = legacy_reduction(size_average, reduce, reduction)
        self._backward: LossBackward | None = None

    def __getstate__(self) -> dict[str, Any]:
        """What a copy has: all but the last forward."""
        return {**self.__dict__, "_backward": None}

    def require_array(self, argument: Any) -> None:
        """Raises: ValueError for what is neither an array nor None."""
        if argument is not None and not is_array(argument):
            raise ValueError(f"{type(self).__name__} expects arrays beside its input, got {type(argument).__name__}")

    def op(self, *args: Any, **kwargs: Any) -> tuple[Array, LossBackward]:
        """The mathematics: the value of these arguments, and the backward of this very call."""
        raise TypeError(f"{type(self).__name__} defines no op")

    def apply(self, input: Array, *arguments: Array) -> tuple[Array, LossBackward]:
        """The value of one call and the backward of that very call, which returns the gradients of all arguments."""
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

        Args: grad_output is the gradient with respect to the value: 1 unless given, a number or an array of the value's shape.
        Raises: RuntimeError when there was no forward, ValueError for another shape.
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
