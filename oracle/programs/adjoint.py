"""What the rules of many operations share when a gradient goes back."""

from __future__ import annotations

from typing import Any

import numpy as np


def is_floating(x: Any) -> bool:
    """Whether it is an array that has a gradient."""
    return hasattr(x, "dtype") and x.dtype.kind not in "biu"


def summed_to(g: Any, x: Any) -> Any:
    """The gradient of an argument that was broadcast; None where it is no array that has one."""
    if not is_floating(x):
        return None
    added = g.ndim - x.ndim
    axes = tuple(axis for axis in range(g.ndim) if axis < added or x.shape[axis - added] != g.shape[axis])
    return np.sum(g, axis=axes).reshape(x.shape) if axes else g


def axes_of(dim: Any, ndim: int) -> tuple[int, ...]:
    """torch's dim as axes from the front, in order: all of them for None and for an empty list."""
    if dim is None or (isinstance(dim, (list, tuple)) and not dim):
        return tuple(range(ndim))
    given = dim if isinstance(dim, (list, tuple)) else (dim,)
    return tuple(sorted(axis % max(ndim, 1) for axis in given)) if ndim else ()


def spread(g: Any, shape: tuple[int, ...], axes: tuple[int, ...], keepdim: bool) -> Any:
    """The gradient of what was summed over these axes, for each of its terms."""
    if not keepdim:
        for axis in axes:
            g = np.expand_dims(g, axis)
    return np.broadcast_to(g, shape)


def matrix_t(x: Any) -> Any:
    """Matrices transposed."""
    return np.swapaxes(x, -1, -2)
