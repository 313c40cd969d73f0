"""NumPy's products, norms and powers of matrices, written in functions that the recording follows."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from oracle.programs.numpy_composed import as_array
from oracle.programs.table import NoRule

# What the norms of matrices are of their singular values.
SINGULAR: dict[Any, Callable[..., Any]] = {2: partial(np.max, initial=0.0), -2: np.min, "nuc": np.sum}


def dot(a: Any, b: Any) -> Any:
    a, b = as_array(a), as_array(b)
    if not a.ndim or not b.ndim:
        return np.multiply(a, b)
    if b.ndim == 1 or (b.ndim == 2 and a.ndim <= 2) or a.ndim == 1:
        return np.matmul(a, b)
    return tensordot(a, b, (-1, -2))


def vdot(a: Any, b: Any) -> Any:
    return np.matmul(np.conjugate(as_array(a)).reshape(-1), as_array(b).reshape(-1))


def inner(a: Any, b: Any) -> Any:
    a, b = as_array(a), as_array(b)
    return np.multiply(a, b) if not a.ndim or not b.ndim else tensordot(a, b, (-1, -1))


def outer(a: Any, b: Any) -> Any:
    return np.multiply(as_array(a).reshape(-1, 1), as_array(b).reshape(1, -1))


def tensordot(a: Any, b: Any, axes: Any = 2) -> Any:
    a, b = as_array(a), as_array(b)
    of_a, of_b = (range(-axes, 0), range(axes)) if isinstance(axes, int) else axes
    of_a, of_b = (
        [own % max(x.ndim, 1) for own in np.atleast_1d(np.asarray(one, int))] for x, one in ((a, of_a), (b, of_b))
    )
    rows = [axis for axis in range(a.ndim) if axis not in of_a]
    columns = [axis for axis in range(b.ndim) if axis not in of_b]
    inside = int(np.prod([a.shape[axis] for axis in of_a], dtype=np.int64))
    of_rows, of_columns = [a.shape[axis] for axis in rows], [b.shape[axis] for axis in columns]
    left = a.transpose([*rows, *of_a]).reshape(int(np.prod(of_rows, dtype=np.int64)), inside)
    right = b.transpose([*of_b, *columns]).reshape(inside, int(np.prod(of_columns, dtype=np.int64)))
    return np.matmul(left, right).reshape((*of_rows, *of_columns))


def kron(a: Any, b: Any) -> Any:
    a, b = as_array(a), as_array(b)
    ndim = max(a.ndim, b.ndim)
    a, b = (x.reshape((1,) * (ndim - x.ndim) + x.shape) for x in (a, b))
    left = a.reshape(tuple(size for own in a.shape for size in (own, 1)))
    right = b.reshape(tuple(size for own in b.shape for size in (1, own)))
    return np.multiply(left, right).reshape(tuple(p * q for p, q in zip(a.shape, b.shape, strict=True)))


def cross(a: Any, b: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None) -> Any:
    axisa, axisb, axisc = (axisa, axisb, axisc) if axis is None else (axis, axis, axis)
    a, b = np.moveaxis(as_array(a), axisa, -1), np.moveaxis(as_array(b), axisb, -1)
    if a.shape[-1] != 3 or b.shape[-1] != 3:
        raise NoRule("there is no rule for np.cross of vectors in two dimensions")
    parts = [a[..., i] * b[..., j] - a[..., j] * b[..., i] for i, j in ((1, 2), (2, 0), (0, 1))]
    return np.moveaxis(np.stack(parts, axis=-1), -1, axisc)


def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    x = as_array(x)
    if axis is None and (ord is None or x.ndim == 1 or (x.ndim == 2 and ord in ("fro", "f"))):
        ord = None if ord in ("fro", "f") else ord
        flat = np.linalg.vector_norm(x.reshape(-1), ord=2 if ord is None else ord)
        return flat.reshape((1,) * x.ndim) if keepdims else flat
    axes = tuple(range(x.ndim)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    if len(axes) == 1 or ord in (None, "fro", "f"):
        return np.linalg.vector_norm(x, axis=axes, keepdims=keepdims, ord=2 if ord in (None, "fro", "f") else ord)
    rows, columns = (own % x.ndim for own in axes)
    if ord in (2, -2, "nuc"):
        made = SINGULAR[ord](np.linalg.svdvals(np.moveaxis(x, (rows, columns), (-2, -1))), axis=-1)
        return np.expand_dims(made, tuple(sorted((rows, columns)))) if keepdims else made
    if ord not in (1, -1, np.inf, -np.inf):
        raise ValueError("Invalid norm order for matrices.")  # as NumPy says
    summed, kept = (rows, columns) if abs(ord) == 1 else (columns, rows)
    sums = np.sum(np.abs(x), axis=summed, keepdims=True)
    made = (np.max if ord > 0 else np.min)(sums, axis=kept, keepdims=True)
    return made if keepdims else np.squeeze(made, axis=(rows, columns))


def matrix_power(a: Any, n: int) -> Any:
    a = as_array(a)
    if n < 0:
        a, n = np.linalg.inv(a), -n
    made, square = None, a
    while n:
        if n % 2:
            made = square if made is None else np.matmul(made, square)
        n //= 2
        square = np.matmul(square, square) if n else square
    return np.broadcast_to(np.eye(a.shape[-1], dtype=a.dtype), a.shape) if made is None else made


def multi_dot(arrays: Any) -> Any:
    made = as_array(arrays[0])
    for own in arrays[1:]:
        made = dot(made, own)
    return made


FUNCTIONS: dict[str, Callable[..., Any]] = {
    own.__name__: own for own in (dot, vdot, inner, outer, tensordot, kron, cross)
} | {f"linalg.{own.__name__}": own for own in (norm, matrix_power, multi_dot)}
