"""Rules of copies that are read like views, and of copies with a part overwritten that a view would show."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np

from oracle.case.arrays import Array
from oracle.programs.adjoint import is_floating
from oracle.programs.geometry import mapped
from oracle.programs.table import NoRule, rule

View: TypeAlias = Callable[[Array], Array]


def _read(input: Any, view: View) -> Any:
    """A part of x as a view would show it; g added to the elements that were read."""
    places = view(np.arange(input.size).reshape(input.shape))

    def backward(g: Any) -> Any:
        whole = np.zeros_like(g, shape=(input.size,))
        np.add.at(whole, places.reshape(-1), g.reshape(-1))
        return (whole.reshape(input.shape),)

    return mapped(input, view), backward


def _parts(input: Any, views: list[View]) -> Any:
    """Several parts; the sum of what each gives."""
    made = [_read(input, view) for view in views]

    def backward(*grads: Any) -> Any:
        total = None
        for (_, back), g in zip(made, grads, strict=True):
            if g is not None:
                total = back(g)[0] if total is None else total + back(g)[0]
        return (total,)

    return tuple(y for y, _ in made), backward


def _written(input: Any, src: Any, view: View) -> Any:
    """x with the elements that a view would show overwritten; g where it was kept, and g as the view shows it."""
    places = view(np.arange(input.size).reshape(input.shape))
    y = mapped(input, np.copy).reshape(-1)
    y[places] = src

    def without(component: Array) -> Array:
        kept = component.copy().reshape(-1)
        kept[places] = 0
        return kept.reshape(input.shape)

    return y.reshape(input.shape), lambda g: (mapped(g, without), mapped(g, view))


def _part_of(dim: int, part: Any) -> View:
    """The view of a part along one dimension."""
    return lambda own: own[(*(slice(None),) * (dim % own.ndim), part)]


@rule("alias_copy", moves=True)
def alias_copy(input: Any) -> Any:
    """A copy of x; g."""
    return _read(input, lambda own: own)


@rule("view_copy", moves=True)
def view_copy(input: Any, size: Any) -> Any:
    """A copy of x in another shape; g in x's."""
    if not isinstance(size, (list, tuple)):
        raise NoRule("it reads memory that was written in another form")
    return _read(input, lambda own: own.reshape(size))


@rule("expand_copy", moves=True)
def expand_copy(input: Any, size: Any, implicit: bool = False) -> Any:
    """x repeated along dimensions of size 1; the sum of g over the copies."""
    before = (1,) * (len(size) - input.ndim)
    shape = tuple(own if asked == -1 else asked for asked, own in zip(size, (*before, *input.shape), strict=True))
    axes = tuple(axis for axis, own in enumerate((*before, *input.shape)) if own == 1)
    y = mapped(input, lambda own: np.broadcast_to(own, shape).copy())
    return y, lambda g: (np.sum(g, axis=axes).reshape(input.shape) if axes else g,)


@rule("permute_copy", moves=True)
def permute_copy(input: Any, dims: Any) -> Any:
    """A copy of x with its dimensions in another order; g in x's."""
    return _read(input, lambda own: own.transpose(dims))


@rule("t_copy", moves=True)
def t_copy(input: Any) -> Any:
    """A copy of the transpose; the transpose of g."""
    return _read(input, np.transpose)


@rule("transpose_copy", moves=True)
def transpose_copy(input: Any, dim0: int, dim1: int) -> Any:
    """A copy of x with two dimensions exchanged; g with these exchanged."""
    return _read(input, lambda own: own.swapaxes(dim0, dim1) if own.ndim else own)


@rule("squeeze_copy", moves=True)
def squeeze_copy(input: Any, dim: Any = None) -> Any:
    """A copy of x without dimensions of size 1; g in x's shape."""
    asked = range(input.ndim) if dim is None else dim if isinstance(dim, (list, tuple)) else (dim,)
    axes = {axis % max(input.ndim, 1) for axis in asked}
    return _read(
        input, lambda own: own.reshape([size for axis, size in enumerate(own.shape) if size != 1 or axis not in axes])
    )


@rule("unsqueeze_copy", moves=True)
def unsqueeze_copy(input: Any, dim: int) -> Any:
    """A copy of x with another dimension of size 1; g in x's shape."""
    return _read(input, lambda own: np.expand_dims(own, dim))


@rule("narrow_copy", moves=True)
def narrow_copy(input: Any, dim: int, start: int, length: int) -> Any:
    """A copy of some slices along a dimension; g at these, zeros elsewhere."""
    first = start % input.shape[dim] if start < 0 else start
    return _read(input, _part_of(dim, slice(first, first + length)))


@rule("slice_copy", moves=True)
def slice_copy(input: Any, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Any:
    """A copy of some slices along a dimension; g at these, zeros elsewhere."""
    return _read(input, _part_of(dim, slice(start, end, step)))


@rule("select_copy", moves=True)
def select_copy(input: Any, dim: int, index: int) -> Any:
    """A copy of one slice along a dimension; g at it, zeros elsewhere."""
    return _read(input, _part_of(dim, index))


@rule("unbind_copy", moves=True)
def unbind_copy(input: Any, dim: int = 0) -> Any:
    """Copies of all slices along a dimension; g at each."""
    return _parts(input, [_part_of(dim, place) for place in range(input.shape[dim])])


@rule("split_with_sizes_copy", moves=True)
def split_with_sizes_copy(input: Any, split_sizes: Any, dim: int = 0) -> Any:
    """Copies of parts of these sizes along a dimension; g at each."""
    ends = np.cumsum([0, *split_sizes])
    return _parts(input, [_part_of(dim, slice(*pair)) for pair in pairwise(ends)])


@rule("split_copy", moves=True)
def split_copy(input: Any, split_size: int, dim: int = 0) -> Any:
    """Copies of parts of one size along a dimension; g at each."""
    size = input.shape[dim]
    sizes = [min(split_size, size - first) for first in range(0, size, split_size)] if size else [0]
    return split_with_sizes_copy(input, sizes, dim)


@rule("diagonal_copy", moves=True)
def diagonal_copy(input: Any, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Any:
    """A copy of a diagonal; g on it, zeros elsewhere."""
    return _read(input, lambda own: np.diagonal(own, offset, dim1, dim2))


@rule("unfold_copy", moves=True)
def unfold_copy(input: Any, dimension: int, size: int, step: int) -> Any:
    """Copies of windows along a dimension; g added to the elements that were read."""

    def windows(own: Array) -> Array:
        if not own.ndim:
            return own.reshape(1)[:size]
        found: Array = np.lib.stride_tricks.sliding_window_view(own, size, dimension)
        return found[(*(slice(None),) * (dimension % own.ndim), slice(None, None, step))]

    return _read(input, windows)


def _strided(size: Any, stride: Any, offset: int | None) -> View:
    """The view of a contiguous array by strides."""

    def view(own: Array) -> Array:
        row = np.ascontiguousarray(own).reshape(-1)[offset or 0 :]
        if np.prod(size) and 1 + sum((count - 1) * step for count, step in zip(size, stride, strict=True)) > row.size:
            raise NoRule("it reads memory beyond the array")
        return np.lib.stride_tricks.as_strided(row, size, [row.itemsize * step for step in stride], writeable=False)

    return view


@rule("as_strided_copy", moves=True)
def as_strided_copy(input: Any, size: Any, stride: Any, storage_offset: Any = None) -> Any:
    """A copy of a contiguous array's memory by strides; g added to the elements that were read."""
    return _read(input, _strided(size, stride, storage_offset))


@rule("as_strided_scatter", moves=True)
def as_strided_scatter(input: Any, src: Any, size: Any, stride: Any, storage_offset: Any = None) -> Any:
    """A contiguous array with a part of its memory, by strides, overwritten; g where it was kept, and g of the part."""
    return _written(input, src, _strided(size, stride, storage_offset))


@rule("diagonal_scatter", moves=True)
def diagonal_scatter(input: Any, src: Any, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Any:
    """x with a diagonal overwritten; g without it, and g on it."""
    return _written(input, src, lambda own: np.diagonal(own, offset, dim1, dim2))


@rule("select_scatter", moves=True)
def select_scatter(input: Any, src: Any, dim: int, index: int) -> Any:
    """x with one slice along a dimension overwritten; g without it, and g of it."""
    return _written(input, src, _part_of(dim, index))


@rule("slice_scatter", moves=True)
def slice_scatter(input: Any, src: Any, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Any:
    """x with some slices along a dimension overwritten; g without them, and g of them."""
    return _written(input, src, _part_of(dim, slice(start, end, step)))


@rule("diag_embed", moves=True)
def diag_embed(input: Any, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Any:
    """Zeros with x on a diagonal; g on it."""
    ndim, side = input.ndim + 1, input.shape[-1] + abs(offset)
    sizes = iter(input.shape[:-1])
    shape = tuple(side if axis in (dim1 % ndim, dim2 % ndim) else next(sizes) for axis in range(ndim))
    y, backward = _written(
        np.zeros_like(input, shape=shape), input, lambda own: np.diagonal(own, offset, dim1 % ndim, dim2 % ndim)
    )
    return y, lambda g: (backward(g)[1],)


@rule("rot90", moves=True)
def rot90(input: Any, k: int = 1, dims: Any = (0, 1)) -> Any:
    """x turned by right angles; g turned back."""
    return _read(input, lambda own: np.rot90(own, k, tuple(dims)))


@rule("block_diag", moves=True)
def block_diag(tensors: Any) -> Any:
    """Matrices along the diagonal of a matrix of zeros; g of each."""
    sides = [(1, 1) if own.ndim == 0 else (1, *own.shape) if own.ndim == 1 else own.shape for own in tensors]
    ends = np.cumsum([(0, 0), *sides], axis=0)
    like = next((own for own in tensors if is_floating(own)), tensors[0])
    y = np.zeros_like(like, shape=tuple(ends[-1]))
    parts = [tuple(map(slice, first, last)) for first, last in pairwise(ends)]
    for part, own, side in zip(parts, tensors, sides, strict=True):
        y[part] = own.reshape(side)
    return y, lambda g: ([g[part].reshape(own.shape) for part, own in zip(parts, tensors, strict=True)],)
