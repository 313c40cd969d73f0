"""Rules of reading and writing at indices and by masks."""

from __future__ import annotations

from typing import Any

import numpy as np

from oracle.programs.adjoint import plain, summed_to
from oracle.programs.geometry import mapped
from oracle.programs.rules.reductions import put_along
from oracle.programs.table import rule
from refbp.softmax import as_row


@rule("embedding")
def embedding(
    weight: Any, indices: Any, padding_idx: int = -1, scale_grad_by_freq: bool = False, sparse: bool = False
) -> Any:
    """Rows of a table; g added to the rows that were read, none to padding_idx."""

    def backward(g: Any) -> Any:
        rows, grads = indices.reshape(-1), g.reshape(-1, weight.shape[1])
        if scale_grad_by_freq:
            grads = grads / np.bincount(rows)[rows].astype(float).reshape(-1, 1)
        kept = rows != padding_idx
        grad_weight = np.zeros_like(weight)
        np.add.at(grad_weight, rows[kept], mapped(grads, lambda own: own[kept]))
        return (grad_weight,)

    return mapped(weight, lambda own: own[indices]), backward


@rule("where")
def where(condition: Any, input: Any, other: Any) -> Any:
    """x where the condition holds, else y; g where each was taken."""
    return np.where(condition, input, other), lambda g: (
        None,
        summed_to(np.where(condition, g, 0.0), input),
        summed_to(np.where(condition, 0.0, g), other),
    )


@rule("masked_fill")
def masked_fill(input: Any, mask: Any, value: Any) -> Any:
    """A value where the mask holds, else x; g where x was kept, and the sum of the other g."""
    return np.where(mask, value, input), lambda g: (
        summed_to(np.where(mask, 0.0, g), input),
        None,
        summed_to(np.where(mask, g, 0.0), value),
    )


def _added_at(index: Any, g: Any, like: Any) -> Any:
    """Zeros like an array, with each element of g added at its index."""
    grad = np.zeros_like(like)
    np.add.at(grad, index, g)
    return grad


def _index_of(indices: Any) -> tuple[Any, ...]:
    """torch's list of indices, with None for a whole dimension, as NumPy's tuple."""
    return tuple(slice(None) if own is None else own if isinstance(own, slice) else np.asarray(own) for own in indices)


@rule("index", "_unsafe_index", moves=True)
def index(input: Any, indices: Any) -> Any:
    """Elements at indices or under a mask; g added to those that were read."""
    places = _index_of(indices)
    return mapped(input, lambda own: own[places]), lambda g: (_added_at(places, g, input),)


@rule("index_select", moves=True)
def index_select(input: Any, dim: int, index: Any) -> Any:
    """Slices along a dimension; g added to those that were read."""
    if not input.ndim:
        return input.reshape(-1)[np.asarray(index).reshape(-1)].reshape(()), lambda g: (g,)
    places = _slices(index, dim, input.ndim)
    return mapped(input, lambda own: own[places]), lambda g: (_added_at(places, g, input),)


def _slices(index: Any, dim: int, ndim: int) -> tuple[Any, ...]:
    """The full index of slices along one dimension."""
    return (slice(None),) * (dim % ndim) + (np.asarray(index).reshape(-1),)


def _along(index: Any, dim: int) -> tuple[Any, ...]:
    """The full index of the elements that an index along one dimension reads."""
    grid = list(np.indices(index.shape, sparse=True))
    grid[dim % index.ndim] = index
    return tuple(grid)


@rule("gather", moves=True)
def gather(input: Any, dim: int, index: Any, sparse_grad: bool = False) -> Any:
    """x at an index along a dimension; g added to what was read."""
    if not index.size:
        return np.zeros_like(input, shape=index.shape), lambda g: (np.zeros_like(input),)
    if not input.ndim:
        return input.reshape(index.shape), lambda g: (g.reshape(()),)
    places = _along(as_row(index), dim)
    return mapped(input, lambda own: own[places].reshape(index.shape)), lambda g: (_added_at(places, as_row(g), input),)


@rule("scatter_add")
def scatter_add(input: Any, dim: int, index: Any, src: Any) -> Any:
    """x with y added at an index along a dimension; g, and g read there."""
    if not index.size:
        return input, lambda g: (g, None, None, np.zeros_like(src))
    rows, source = as_row(index), as_row(src)
    places, used = _along(rows, dim), tuple(slice(size) for size in rows.shape)
    y = as_row(input).copy()
    np.add.at(y, places, mapped(source, lambda own: own[used]))
    return y.reshape(input.shape), lambda g: (
        g,
        None,
        None,
        _into(mapped(as_row(g), lambda own: own[places]), used, source).reshape(src.shape),
    )


def _into(part: Any, used: Any, like: Any) -> Any:
    """Zeros like an array, with a given part in its place."""

    def placed(component: Any) -> Any:
        result = np.zeros(like.shape, component.dtype)
        result[used] = component
        return result

    return mapped(part, placed)


@rule("scatter", moves=True)
def scatter(input: Any, dim: int, index: Any, src: Any) -> Any:
    """x overwritten at an index along a dimension; g where x was kept, and g read there."""
    is_array = hasattr(src, "dtype")
    if not index.size:
        return input, lambda g: (g, None, None, np.zeros_like(src) if is_array else None)
    rows, whole, source = as_row(index), as_row(input), as_row(src) if is_array else src
    places, used = _along(rows, dim), tuple(slice(size) for size in rows.shape)
    kept = np.ones(whole.shape, bool)
    kept[places] = False
    value = mapped(source, lambda own: own[used]) if is_array else float(src)

    def backward(g: Any) -> Any:
        read = mapped(as_row(g), lambda own: own[places])
        grad_src = _into(read, used, source).reshape(src.shape) if is_array else None
        return np.where(kept.reshape(input.shape), g, 0.0), None, None, grad_src

    return np.where(kept, whole, _written(value, places, whole)).reshape(input.shape), backward


def _written(value: Any, places: Any, like: Any) -> Any:
    """Zeros like an array, with values written at positions."""

    def placed(component: Any) -> Any:
        result = np.zeros(like.shape)
        result[places] = component
        return result

    return mapped(np.asarray(value) if isinstance(value, float) else value, placed)


@rule("index_add")
def index_add(input: Any, dim: int, index: Any, source: Any, alpha: Any = 1) -> Any:
    """x with α y added to slices along a dimension; g, and α g read there."""
    scale = 1.0 if alpha == 1 else float(alpha)
    if not input.ndim:
        return input + source * scale, lambda g: (g, None, None, g * scale)
    places = _slices(index, dim, input.ndim)
    y, addend = input.copy(), source if scale == 1 else source * scale
    np.add.at(y, places, addend.reshape(y[places].shape))

    def backward(g: Any) -> Any:
        read = mapped(g, lambda own: own[places]).reshape(source.shape)
        return g, None, None, read if scale == 1 else read * scale

    return y, backward


@rule("index_put", "_unsafe_index_put")
def index_put(input: Any, indices: Any, values: Any, accumulate: bool = False) -> Any:
    """x with y written or added at indices; g where x was kept, and g read there."""
    places = _index_of(indices)
    read = np.empty(input.shape)[places].shape
    if accumulate:
        y = input.copy()
        np.add.at(y, places, mapped(values, lambda own: np.broadcast_to(own, read)))
        return y, lambda g: (g, None, summed_to(mapped(g, lambda own: own[places]), values))
    kept = np.ones(input.shape, bool)
    kept[places] = False
    return np.where(
        kept, input, _written(mapped(values, lambda own: np.broadcast_to(own, read)), places, input)
    ), lambda g: (
        np.where(kept, g, 0.0),
        None,
        summed_to(mapped(g, lambda own: own[places]), values),
    )


@rule("index_copy", moves=True)
def index_copy(input: Any, dim: int, index: Any, source: Any) -> Any:
    """x with slices along a dimension replaced; g where it was kept, and g read there."""
    places = _slices(index, dim, input.ndim) if input.ndim else ()
    y, backward = index_put(input, places, source.reshape(np.empty(input.shape)[places].shape))

    def back(g: Any) -> Any:
        grad_input, _, grad_source = backward(g)
        return grad_input, None, None, grad_source.reshape(source.shape)

    return y, back


@rule("index_fill", moves=True)
def index_fill(input: Any, dim: int, index: Any, value: Any) -> Any:
    """x with slices along a dimension filled; g where x was kept, and the sum of the other g."""
    filled = np.zeros(input.shape, bool)
    filled[_slices(index, dim, input.ndim) if input.ndim else ...] = True
    return np.where(filled, value, input), lambda g: (
        np.where(filled, 0.0, g),
        None,
        None,
        summed_to(np.where(filled, g, 0.0), value),
    )


@rule("topk", shown=True)
def topk(input: Any, k: int, dim: int = -1, largest: bool = True, sorted: bool = True, *, shown: Any) -> Any:
    """The k largest or smallest, with the recorded choice among equals; g to these."""
    return _ordered(input, dim, k, largest, shown)


@rule("sort", shown=True)
def sort(input: Any, dim: int = -1, descending: bool = False, *, stable: Any = None, shown: Any) -> Any:
    """x sorted, with the recorded order of equals; g to the position of each."""
    return _ordered(input, dim, input.shape[dim] if input.ndim else 1, descending, shown)


def _ordered(input: Any, dim: int, k: int, descending: bool, shown: Any) -> Any:
    """The first k in order. Recorded indices are used where they are right, or where errors leave the order open.

    NaN counts as the largest number.
    """
    if not input.ndim:
        return (input, shown[1].numbers), lambda g, _: (g,)
    axis, places, values = dim % input.ndim, shown[1].numbers, plain(input)
    order = np.lexsort((-values, ~np.isnan(values)), axis) if descending else np.argsort(values, axis, kind="stable")
    own = order.take(range(k), axis)
    is_exact = getattr(input, "error", None) is None
    is_right = np.array_equal(
        np.take_along_axis(values, places, axis), np.take_along_axis(values, own, axis), equal_nan=True
    )
    if is_exact and not is_right:
        places = own
    chosen = mapped(input, lambda component: np.take_along_axis(component, places, axis))
    return (chosen, places), lambda g, _: (put_along(g, places, axis, input.shape),)


@rule("_embedding_bag", "_embedding_bag_forward_only", shown=True)
def embedding_bag(
    weight: Any, indices: Any, offsets: Any, scale_grad_by_freq: bool = False, mode: int = 0, sparse: bool = False,
    per_sample_weights: Any = None, include_last_offset: bool = False, padding_idx: int = -1, *, shown: Any,
) -> Any:  # fmt: skip
    """Sums (mode 0), means (1) or maxima (2) of a table's rows by bag; g to each row that was read, times its weight."""
    starts = offsets[:-1] if include_last_offset else offsets
    bags = np.searchsorted(starts, np.arange(indices.size), side="right") - 1
    kept = indices != padding_idx
    rows, bags, count = indices[kept], bags[kept], len(starts)
    held = np.bincount(bags, minlength=count).reshape(-1, 1)
    results = tuple(own.numbers for own in shown[1:])
    if mode == 2:
        places = (results[2], np.arange(weight.shape[1]))
        largest = np.where(held > 0, mapped(weight, lambda own: own[places]), 0.0)
        return (largest, *results), lambda g, *_: (_added_at(places, np.where(held > 0, g, 0.0), weight),)
    scale = None if per_sample_weights is None else per_sample_weights[kept].reshape(-1, 1)
    sizes = np.maximum(held, 1).astype(float)
    read = mapped(weight, lambda own: own[rows])
    y = np.zeros_like(weight, shape=(count, weight.shape[1]))
    np.add.at(y, bags, read if scale is None else read * scale)
    y = y / sizes if mode == 1 else y

    def backward(g: Any, *_: Any) -> Any:
        each = mapped(g / sizes if mode == 1 else g, lambda own: own[bags])
        grad_scale = None
        if scale is not None:
            grad_scale = np.zeros_like(per_sample_weights)
            np.add.at(grad_scale, np.flatnonzero(kept), np.sum(each * read, axis=1))
        each = each if scale is None else each * scale
        if scale_grad_by_freq:
            each = each / np.bincount(rows)[rows].astype(float).reshape(-1, 1)
        return _added_at(rows, each, weight), None, None, None, None, None, grad_scale

    return (y, *results), backward
