"""Functions that the backward passes of many operations share."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from oracle.case.arrays import Array
from oracle.running_error import ErrorArray
from oracle.running_error.array import converted


def is_floating(x: Any) -> bool:
    """Whether a value is a floating-point array, which has a gradient."""
    return hasattr(x, "dtype") and x.dtype.kind not in "biu"


def summed_to(g: Any, x: Any) -> Any:
    """The gradient of an argument that was broadcast; None if it is not an array with a gradient."""
    if not is_floating(x):
        return None
    added = g.ndim - x.ndim
    axes = tuple(axis for axis in range(g.ndim) if axis < added or x.shape[axis - added] != g.shape[axis])
    return np.sum(g, axis=axes).reshape(x.shape) if axes else g


def in_dtype_of(g: Any, input: Any) -> Any:
    """A gradient that a kernel converts to the dtype of its input before it adds up."""
    return g.astype(input.dtype) if g.dtype != input.dtype else g


def axes_of(dim: Any, ndim: int) -> tuple[int, ...]:
    """torch's dim as sorted nonnegative axes: all axes for None and for an empty list."""
    if dim is None or (isinstance(dim, (list, tuple)) and not dim):
        return tuple(range(ndim))
    given = dim if isinstance(dim, (list, tuple)) else (dim,)
    return tuple(sorted(axis % max(ndim, 1) for axis in given)) if ndim else ()


def spread(g: Any, shape: tuple[int, ...], axes: tuple[int, ...], keepdim: bool) -> Any:
    """The gradient of a sum over these axes, broadcast to its terms."""
    if not keepdim:
        for axis in axes:
            g = np.expand_dims(g, axis)
    return np.broadcast_to(g, shape)


def matrix_t(x: Any) -> Any:
    """Matrices transposed."""
    return np.swapaxes(x, -1, -2)


def plain(x: Any) -> Array:
    """The values of an array, without their errors."""
    return np.asarray(getattr(x, "value", x))


def sign_of(x: Any) -> Any:
    """-1, 0 or 1; 0 for NaN, as in torch."""
    return np.where(np.isnan(plain(x)), 0.0, np.sign(x))


def is_negative(x: Any) -> Any:
    """The mask of numbers below zero, of -0 and of NaN with a sign. Where rounding decides on which side of zero x lies, it is
    open."""
    return np.less(x, 0.0) | (np.signbit(plain(x)) & ~(np.abs(plain(x)) > 0))


def in_one_kernel(function: Callable[..., Any], *arrays: Any) -> Any:
    """The function as a single kernel computes it: 16-bit numbers in float32, and the result rounded once."""
    models = [x.model for x in arrays if isinstance(x, ErrorArray)]
    if not models or any(model.dtype.itemsize > 2 for model in models):
        return function(*arrays)
    wide = (converted(x, x.model.inside_kernels) if isinstance(x, ErrorArray) else x for x in arrays)
    return converted(function(*wide), models[0])


def gathered_last(x: Any, axes: tuple[int, ...]) -> Any:
    """The array with the reduced axes merged into one, the last."""
    kept = [axis for axis in range(x.ndim) if axis not in axes]
    size = math.prod(x.shape[axis] for axis in axes)
    return x.transpose([*kept, *axes]).reshape((*(x.shape[axis] for axis in kept), size))


def scattered_last(x: Any, shape: tuple[int, ...], axes: tuple[int, ...]) -> Any:
    """The inverse of `gathered_last` for an array of this shape."""
    kept = [axis for axis in range(len(shape)) if axis not in axes]
    order = [*kept, *axes]
    return x.reshape(tuple(shape[axis] for axis in order)).transpose([order.index(axis) for axis in range(len(shape))])


def kept_dims(y: Any, shape: tuple[int, ...], axes: tuple[int, ...]) -> Any:
    """A result of a reduction over these axes, with a dimension of size 1 for each."""
    return y.reshape(tuple(1 if axis in axes else size for axis, size in enumerate(shape)))
