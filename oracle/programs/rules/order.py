"""Rules of order statistics: medians, the k-th smallest element, the most frequent one."""

from __future__ import annotations

from typing import Any

import numpy as np

from oracle.programs.adjoint import plain
from oracle.programs.geometry import mapped
from oracle.programs.rules.reductions import put_along, to_equals
from oracle.programs.table import rule
from oracle.running_error import ErrorArray


@rule("median")
def median(input: Any) -> Any:
    """The lower median, NaN if an element is; g shared evenly by all elements equal to it, and by all NaN."""
    return _of_all(input, False)


@rule("nanmedian")
def nanmedian(input: Any) -> Any:
    """The lower median without NaN; g shared evenly by all elements equal to it."""
    return _of_all(input, True)


def _of_all(input: Any, skip: bool) -> Any:
    row = input.reshape(-1)
    if not input.size:
        return np.full_like(input, np.nan, shape=()), lambda g: (np.zeros_like(input),)
    y = _at(row, _median_place(plain(row), skip), -1).reshape(())

    def backward(g: Any) -> Any:
        return (to_equals(g.reshape(()), row, y, with_nan=True).reshape(input.shape),)

    return y, backward


def _median_place(rows: Any, skip: bool) -> Any:
    """The place of the lower median in each row, as an axis of size 1; that of a NaN if there is one and none are skipped."""
    order = np.argsort(rows, axis=-1, kind="stable")  # NaN last
    count, unknown = rows.shape[-1], np.count_nonzero(np.isnan(rows), axis=-1, keepdims=True)
    rank = np.maximum(count - unknown - 1, 0) // 2 if skip else np.where(unknown > 0, count - 1, (count - 1) // 2)
    return np.take_along_axis(order, rank, -1)


@rule("median.dim", shown=True)
def median_dim(input: Any, dim: int, keepdim: bool = False, *, shown: Any) -> Any:
    """The lower median along a dimension, NaN if an element is, and the recorded index among equals; g to it."""
    return _selected(input, dim, keepdim, shown, lambda rows: _median_place(rows, False))


@rule("nanmedian.dim", shown=True)
def nanmedian_dim(input: Any, dim: int, keepdim: bool = False, *, shown: Any) -> Any:
    """The lower median along a dimension without NaN, and the recorded index among equals; g to it."""
    return _selected(input, dim, keepdim, shown, lambda rows: _median_place(rows, True))


@rule("kthvalue", shown=True)
def kthvalue(input: Any, k: int, dim: int = -1, keepdim: bool = False, *, shown: Any) -> Any:
    """The k-th smallest element along a dimension, and the recorded index among equals; g to it."""
    return _selected(input, dim, keepdim, shown, lambda rows: np.argsort(rows, axis=-1, kind="stable")[..., k - 1 : k])


@rule("mode", shown=True)
def mode(input: Any, dim: int = -1, keepdim: bool = False, *, shown: Any) -> Any:
    """The most frequent element along a dimension, the smallest of several, and the recorded index among equals; g to it."""

    def place(row: Any) -> Any:
        _, first, counts = np.unique(row, return_index=True, return_counts=True)
        return first[[np.argmax(counts)]]

    return _selected(input, dim, keepdim, shown, lambda rows: np.apply_along_axis(place, -1, rows))


def _selected(input: Any, dim: int, keepdim: bool, shown: Any, place_in: Any) -> Any:
    """The element at a place in each row. The recorded one is used if it holds the same, or if errors leave the choice open."""
    index = shown[1].numbers
    if not input.ndim:
        return (input, index), lambda g, _: (g,)
    axis = dim % input.ndim
    if not input.size:
        return (np.zeros_like(input, shape=index.shape), index), lambda g, _: (np.zeros_like(input),)
    own = np.moveaxis(place_in(np.moveaxis(plain(input), axis, -1)), -1, axis)
    y, places = _at(input, own, axis), index if keepdim else np.expand_dims(index, axis)
    is_exact = not isinstance(input, ErrorArray) or input.error is None
    if is_exact and not np.array_equal(plain(_at(input, places, axis)), plain(y), equal_nan=True):
        places = own

    def backward(g: Any, _: Any) -> Any:
        return (put_along(g if keepdim else np.expand_dims(g, axis), places, axis, input.shape),)

    return (y if keepdim else y.squeeze(axis), places if keepdim else places.squeeze(axis)), backward


def _at(x: Any, places: Any, axis: int) -> Any:
    return mapped(x, lambda component: np.take_along_axis(component, places, axis))
