"""Error rules for rearranging, joining and allocating arrays. Nothing is rounded there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from oracle.running_error.array import ErrorArray, constant, operands
from oracle.running_error.dispatch import FUNCTIONS
from oracle.running_error.exact import merged
from oracle.running_error.model import Twofold


def rearrangement(function: Callable[..., Any]) -> Callable[..., Any]:
    def rule(x: Any, *args: Any, **kwargs: Any) -> Any:
        return x.mapped(lambda component: function(component, *args, **kwargs))

    return rule


for structural in (
    np.reshape,
    np.transpose,
    np.swapaxes,
    np.moveaxis,
    np.expand_dims,
    np.squeeze,
    np.broadcast_to,
    np.flip,
    np.roll,
    np.repeat,
    np.tile,
    np.take,
    np.take_along_axis,
    np.copy,
    np.ravel,
    np.lib.stride_tricks.sliding_window_view,
):
    FUNCTIONS[structural] = rearrangement(structural)


def hidden_or_not(x: ErrorArray) -> Any:
    return False if x.own_hidden is None else x.own_hidden


def joined(function: Callable[..., Any]) -> Callable[..., ErrorArray]:
    """np.concatenate and np.stack: every component is joined like the values."""

    def rule(arrays: Any, axis: int = 0) -> ErrorArray:
        parts = operands(*arrays)
        errors = [part.error for part in parts]
        quantum = parts[0].quantum
        for part in parts[1:]:
            quantum = merged(quantum, part.quantum)

        def together(get: Callable[[ErrorArray], Any]) -> Any:
            return function([np.broadcast_to(get(part), part.shape) for part in parts], axis=axis)

        def together_both(errors: list[Twofold]) -> Twofold:
            return errors[0].mapped(lambda *own: function(own, axis=axis), *errors[1:])

        return ErrorArray(
            together(lambda part: part.value),
            parts[0].model,
            None if all(error is None for error in errors) else together_both([part.error_or_zero for part in parts]),
            scale=None if all(p.scale is None for p in parts) else together(lambda part: part.scale_or_own),
            quantum=quantum,
            guide=None if all(p.guide is None for p in parts) else together(lambda part: part.branching_value),
            hidden=None if all(p.own_hidden is None for p in parts) else together(hidden_or_not),
        )

    return rule


FUNCTIONS.update({np.concatenate: joined(np.concatenate), np.stack: joined(np.stack)})


def filled_like(x: Any, value: float, dtype: Any = None, shape: Any = None) -> Any:
    """A new array; a plain one if the dtype is not floating-point (masks, indices)."""
    shape = x.shape if shape is None else shape
    if dtype is not None and np.dtype(dtype).kind in "biu":
        return np.full(shape, value, dtype=dtype)
    number = constant(value, x.model)
    # Zeros take no memory before something is written to them.
    filled = np.zeros(shape) if value == 0 else np.full(shape, number.value)
    return ErrorArray(filled, x.model, number.error, quantum=number.quantum)


FUNCTIONS.update(
    {
        np.full_like: filled_like,
        np.zeros_like: lambda x, dtype=None, shape=None: filled_like(x, 0.0, dtype, shape),
        np.empty_like: lambda x, dtype=None, shape=None: filled_like(x, 0.0, dtype, shape),
        np.ones_like: lambda x, dtype=None, shape=None: filled_like(x, 1.0, dtype, shape),
        np.shape: lambda x: x.shape,
        np.ndim: lambda x: x.ndim,
        np.size: lambda x: x.size,
    }
)
