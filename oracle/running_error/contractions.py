"""np.einsum and np.dot: sums of products over labelled dimensions, brought to products of matrices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from oracle.running_error.array import ErrorArray, operands
from oracle.running_error.dispatch import FUNCTIONS
from oracle.running_error.elementwise import multiply


def labels_of(equation: str, count: int) -> tuple[list[str], str]:
    """The labels of each array and of the result. Raises: TypeError for an ellipsis, or another number of arrays."""
    left, arrow, result = equation.replace(" ", "").partition("->")
    if "." in equation:
        raise TypeError("einsum of error arrays takes no ellipsis: write all labels")
    inputs = left.split(",")
    if len(inputs) != count:
        raise TypeError(f"einsum {equation!r} describes {len(inputs)} arrays, got {count}")
    every = "".join(inputs)
    return inputs, result if arrow else "".join(sorted(own for own in set(every) if every.count(own) == 1))


def einsum(equation: str, *arrays: Any) -> Any:
    inputs, result = labels_of(equation, len(arrays))
    made, labels = _single(arrays[0], inputs[0], result + "".join(inputs[1:]))
    for place, (array, own) in enumerate(zip(arrays[1:], inputs[1:], strict=True), 2):
        later = result + "".join(inputs[place:])
        other, others = _single(array, own, labels + later)
        made, labels = _pair(made, labels, other, others, later)
    return np.transpose(_summed(made, labels, result), [_kept(labels, result).index(own) for own in result])


def _kept(labels: str, wanted: str) -> str:
    return "".join(own for own in labels if own in wanted)


def _summed(x: Any, labels: str, wanted: str) -> Any:
    axes = tuple(axis for axis, own in enumerate(labels) if own not in wanted)
    return np.sum(x, axis=axes) if axes else x


def _single(x: Any, labels: str, wanted: str) -> tuple[Any, str]:
    """An array with each label once, summed over the labels that nothing else uses."""
    once = "".join(dict.fromkeys(labels))
    if once != labels:
        diagonal = f"{labels}->{once}"
        x = x.mapped(lambda own: np.einsum(diagonal, own)) if isinstance(x, ErrorArray) else np.einsum(diagonal, x)
    return _summed(x, once, wanted), _kept(once, wanted)


def _pair(x: Any, of_x: str, y: Any, of_y: str, wanted: str) -> tuple[Any, str]:
    """The two arrays contracted over the shared labels that are not wanted afterwards."""
    batch = [own for own in of_x if own in of_y and own in wanted]
    inner = [own for own in of_x if own in of_y and own not in wanted]
    rows, columns = [own for own in of_x if own not in of_y], [own for own in of_y if own not in of_x]
    sizes = dict(zip(of_x + of_y, (*x.shape, *y.shape), strict=True))

    def size(labels: Sequence[str]) -> int:
        return int(np.prod([sizes[own] for own in labels], dtype=np.int64))

    left = np.transpose(x, [of_x.index(own) for own in (*batch, *rows, *inner)])
    right = np.transpose(y, [of_y.index(own) for own in (*batch, *inner, *columns)])
    made = left.reshape(size(batch), size(rows), size(inner)) @ right.reshape(size(batch), size(inner), size(columns))
    labels = [*batch, *rows, *columns]
    return made.reshape(tuple(sizes[own] for own in labels)), "".join(labels)


def dot(x: Any, y: Any) -> Any:
    """np.dot: the matrix product for vectors and matrices, an ordinary product for numbers."""
    x, y = operands(x, y)
    if not x.ndim or not y.ndim:
        return multiply(x, y)
    if x.ndim == 1 and y.ndim == 1:
        return einsum("i,i->", x, y)
    if y.ndim == 1:
        return (x @ y.reshape(-1, 1)).squeeze(-1)
    if x.ndim == 1:
        return (x.reshape(1, -1) @ y).squeeze(-2)
    if x.ndim == y.ndim == 2:
        return x @ y
    raise TypeError("dot of error arrays takes vectors and matrices: use matmul or einsum")


FUNCTIONS.update({np.einsum: einsum, np.dot: dot})
