"""Checks of arguments, each of which raises a ValueError of one sentence: of kind, of shape, of range."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np

from refbp.arrays import OTHER_KINDS, Array, Backward, as_array, is_array

P = ParamSpec("P")
Output = TypeVar("Output")
BackwardT = TypeVar("BackwardT", bound=Callable[..., Any])


def silence() -> np.errstate:
    """A context or decorator without NumPy's warnings about NaN and infinities, which are results like any other."""
    return np.errstate(all="ignore")


def require_floating(input: Any, name: str) -> None:
    """Raises: ValueError for anything but a floating-point array."""
    if not is_array(input) or input.dtype.kind in OTHER_KINDS:
        received = f"an array of {input.dtype}" if is_array(input) else type(input).__name__
        raise ValueError(f"{name} expects a floating-point array, got {received}")


def upstream(grad_output: Any, output: Array, name: str) -> Array:
    """grad_output in the output's dtype. Raises: ValueError unless it is a floating-point array of its shape."""
    received = grad_output.shape if is_array(grad_output) else type(grad_output).__name__
    if received != output.shape:
        raise ValueError(f"{name}.backward expects grad_output of the output's shape {output.shape}, got {received}")
    require_floating(grad_output, f"{name}.backward")
    converted: Array = grad_output.astype(output.dtype, copy=False)
    return converted


def require_counts(name: str, least: int = 0, /, **counts: Any) -> None:
    """Raises: ValueError for a number of channels or features that is not a whole number, or is below `least`."""
    for what, count in counts.items():
        if not isinstance(count, int | np.integer) or count < least:
            raise ValueError(f"{name} expects {what} as a whole number of at least {least}, got {count!r}")


def checked(op: Callable[P, tuple[Output, Backward]]) -> Callable[P, tuple[Output, Backward]]:
    """A decorator that checks the input and the grad_output of an op, a function from (input, ...) to (output, backward).

    Raises: ValueError for an input that is not a floating-point array, or a grad_output whose shape is not the output's.
    Conventions: results without dimensions are arrays, not NumPy scalars. grad_output is cast to the output's dtype. NaN and
        infinities cause no warning.
    """

    @wraps(op)
    def with_checks(*args: P.args, **kwargs: P.kwargs) -> tuple[Output, Backward]:
        name = op.__name__
        require_floating(args[0] if args else kwargs.get("input"), name)
        with silence():
            made: Any
            made, op_backward = op(*args, **kwargs)
        output: Array
        output, *indices = made if isinstance(made, tuple) else (made,)
        output = as_array(output)

        def backward(grad_output: Array) -> Any:
            delta = upstream(grad_output, output, name)
            with silence():
                grads = op_backward(delta)
            return tuple(map(as_array, grads)) if isinstance(grads, tuple) else as_array(grads)

        result: Any = (output, *indices) if indices else output
        return result, backward

    return with_checks


def checked_loss(op: Callable[P, tuple[Output, BackwardT]]) -> Callable[P, tuple[Output, BackwardT]]:
    """A decorator that checks the arguments of a loss, a function from (input, ...) to (value, backward).

    The loss itself checks the shapes of its arrays.

    Raises: ValueError for an input that is not a floating-point array, or a list or tuple in place of an array.
    """

    @wraps(op)
    def with_checks(*args: P.args, **kwargs: P.kwargs) -> tuple[Output, BackwardT]:
        for argument in (*args, *kwargs.values()):
            if isinstance(argument, list | tuple):
                raise ValueError(f"{op.__name__} expects arrays, got {type(argument).__name__}")
        require_floating(args[0] if args else kwargs.get("input", kwargs.get("input1")), op.__name__)
        with silence():
            value, backward = op(*args, **kwargs)
        return value, silence()(backward)

    return with_checks


def as_target(op: str, input: Array, target: Array, name: str = "target") -> Array:
    """`target` in the input's dtype. Raises: ValueError unless it has the input's shape: nothing is broadcast."""
    if target.shape != input.shape:
        raise ValueError(f"{op} expects {name} of the input's shape {input.shape}, got {target.shape}")
    return target.astype(input.dtype, copy=False)


def as_weight(op: str, input: Array, weight: Array, shape: tuple[int, ...], name: str = "weight") -> Array:
    """A constant weight as an array of the input's class and dtype, so that sums of weights round as sums of inputs do.

    Raises: ValueError unless it can be broadcast to `shape`.
    """
    if not broadcasts_to(weight.shape, shape):
        raise ValueError(f"{op} expects {name} that broadcasts to {shape}, got {weight.shape}")
    result: Array = np.zeros_like(input, shape=weight.shape) + weight.astype(input.dtype, copy=False)
    return result


def broadcasts_to(shape: tuple[int, ...], full: tuple[int, ...]) -> bool:
    """Whether an array of the first shape can be broadcast to the second."""
    sizes = zip(shape[::-1], full[::-1], strict=False)
    return len(shape) <= len(full) and all(size in (1, wanted) for size, wanted in sizes)


def check_elements(op: str, name: str, valid: Any, expected: str) -> None:
    """Raises: ValueError that names the first element where the mask `valid` does not hold."""
    outside = np.where(valid, 0, 1)
    if outside.any():
        index = tuple(np.argwhere(outside)[0].tolist())
        raise ValueError(f"{op} expects {name} {expected}, got another value at index {index}")


def class_axis(op: str, input: Array) -> int:
    """The dimension of the classes. Raises: ValueError for an input without one, or without classes."""
    axis = 0 if input.ndim == 1 else 1
    if input.ndim == 0 or input.shape[axis] == 0:
        raise ValueError(f"{op} expects input (C), (N, C) or (N, C, d1, …) with C > 0, got {input.shape}")
    return axis


def class_weight(op: str, input: Array, weight: Array | None, classes: int) -> Array:
    """One weight per class, 1 for a weight of None. Raises: ValueError for another number of weights."""
    if weight is None:
        return np.ones_like(input, shape=(classes,))
    if weight.shape != (classes,):
        raise ValueError(f"{op} expects weight ({classes},), one per class, got {weight.shape}")
    return as_weight(op, input, weight, (classes,))


def check_classes(op: str, target: Array, shape: tuple[int, ...], classes: int, besides: int | None = None) -> None:
    """Raises: ValueError unless `target` has this shape and holds class indices or `besides`; it names the first other value."""
    if target.dtype.kind not in "iu":
        raise ValueError(f"{op} expects class indices (integers) as target, got an array of {target.dtype}")
    if target.shape != shape:
        raise ValueError(f"{op} expects target {shape}, got {target.shape}")
    outside = (target < 0) | (target >= classes)
    if besides is not None:
        outside &= target != besides
    if outside.any():
        raise ValueError(f"{op} expects class indices from 0 to {classes - 1}, got {target[outside].flat[0]}")
