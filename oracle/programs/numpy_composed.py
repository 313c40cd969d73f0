"""Functions of NumPy that are written here as calls of simpler ones, such as np.trace by np.diagonal and np.sum.

A program that is recorded calls these in place of NumPy's own. So the recording meets only functions that it knows.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from oracle.programs.table import NoRule

REPEATING = ("edge", "reflect", "symmetric", "wrap")


def without_ellipsis(equation: str, ranks: Sequence[int]) -> str:
    """An equation of einsum with letters for "..." and with its result: "...ij,jk" of ranks 3 and 2 is "aij,jk->aik"."""
    left, arrow, result = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    free = [letter for letter in string.ascii_letters if letter not in equation]
    counts = [
        rank - len(term.replace("...", "")) if "..." in term else 0 for term, rank in zip(terms, ranks, strict=True)
    ]
    letters = "".join(free[: max(counts, default=0)])
    if not arrow:
        labels = left.replace(",", "").replace(".", "")
        once = sorted(label for label in set(labels) if labels.count(label) == 1)
        result = ("..." if "." in left else "") + "".join(once)
    terms = [term.replace("...", letters[len(letters) - count :]) for term, count in zip(terms, counts, strict=True)]
    return f"{','.join(terms)}->{result.replace('...', letters)}"


def trace(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None) -> Any:
    return np.sum(np.diagonal(as_array(a), offset, axis1, axis2), axis=-1, dtype=dtype)


def diag(v: Any, k: int = 0) -> Any:
    v = as_array(v)
    return np.diagonal(v, k) if v.ndim == 2 else _diagonal_matrix(v, k)


def diagflat(v: Any, k: int = 0) -> Any:
    return _diagonal_matrix(np.ravel(as_array(v)), k)


def _diagonal_matrix(v: Any, k: int) -> Any:
    """A square matrix of zeros with v on its k-th diagonal."""
    size = v.shape[0] + abs(k)
    made, rows = np.zeros_like(v, shape=(size, size)), np.arange(v.shape[0])
    made[rows + max(-k, 0), rows + max(k, 0)] = v
    return made


def tril(m: Any, k: int = 0) -> Any:
    return np.where(_below(m, k), m, np.zeros(1, m.dtype))


def triu(m: Any, k: int = 0) -> Any:
    return np.where(_below(m, k - 1), np.zeros(1, m.dtype), m)


def _below(m: Any, k: int) -> Any:
    """A mask of the places on the k-th diagonal of m and below it."""
    return np.tri(m.shape[-2:][0], m.shape[-1], k, dtype=bool)


def diff(a: Any, n: int = 1, axis: int = -1, prepend: Any = None, append: Any = None) -> Any:
    """The differences of neighbours along an axis, taken n times; of booleans, whether neighbours differ."""
    x = as_array(a)
    parts = [None if own is None else as_array(own) for own in (prepend, append)]
    row = tuple(1 if place == axis % x.ndim else size for place, size in enumerate(x.shape))
    before, after = (own if own is None or own.ndim else np.broadcast_to(own, row) for own in parts)
    x = np.concatenate([own for own in (before, x, after) if own is not None], axis=axis) if n else x
    for _ in range(n):
        later, earlier = np.moveaxis(x, axis, 0)[1:], np.moveaxis(x, axis, 0)[:-1]
        x = np.moveaxis(later - earlier if x.dtype != bool else later != earlier, 0, axis)
    return x


def trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Any:
    """The integral by the trapezoidal rule: each step times the mean of its two ends."""
    y = np.moveaxis(as_array(y), axis, -1)
    steps = dx if x is None else diff(x) if as_array(x).ndim == 1 else np.moveaxis(diff(x, axis=axis), axis, -1)
    return np.sum(steps * (y[..., 1:] + y[..., :-1]) / 2.0, axis=-1)


def polyval(p: Any, x: Any) -> Any:
    """The polynomial with coefficients p, highest power first, by Horner's rule."""
    made = np.zeros_like(as_array(x))
    for coefficient in p:
        made = made * x + coefficient
    return made


def apply_along_axis(func1d: Callable[..., Any], axis: int, arr: Any, *args: Any) -> Any:
    rows = np.moveaxis(as_array(arr), axis, -1)
    made = np.stack([as_array(func1d(rows[place], *args)) for place in np.ndindex(rows.shape[:-1])])
    made = made.reshape(rows.shape[:-1] + made.shape[1:])
    return np.moveaxis(made, -1, axis) if made.ndim == rows.ndim else made


def pad(array: Any, pad_width: Any, mode: Any = "constant", constant_values: Any = 0, **options: Any) -> Any:
    """Constant padding by writing x into a larger array; other modes by taking elements of x at padded indices."""
    x = as_array(array)
    if options.pop("reflect_type", "even") != "even" or options or mode not in ("constant", *REPEATING):
        raise NoRule(f"there is no rule for np.pad with mode={mode!r}" + "".join(f" and {own}" for own in options))
    if not x.ndim:
        return x.copy()
    if mode != "constant":
        return np.take(x, np.pad(np.arange(x.size).reshape(x.shape), pad_width, mode))
    if hasattr(constant_values, "recording"):
        raise NoRule("there is no rule for np.pad with constant_values that the program computes")
    zeros = np.zeros(x.shape, x.dtype)
    made = np.zeros_like(x, shape=np.pad(zeros, pad_width).shape)
    made[...] = np.pad(zeros, pad_width, constant_values=constant_values)
    made[np.nonzero(np.pad(np.ones(x.shape, bool), pad_width))] = x.reshape(-1)
    return made


def atleast_1d(*arys: Any) -> Any:
    return _each(lambda x: x.reshape(1) if not x.ndim else x, arys)


def atleast_2d(*arys: Any) -> Any:
    return _each(lambda x: x.reshape((1,) * (2 - x.ndim) + x.shape) if x.ndim < 2 else x, arys)


def atleast_3d(*arys: Any) -> Any:
    return _each(lambda x: x[:, :, None] if x.ndim == 2 else atleast_2d(x)[..., None] if x.ndim < 2 else x, arys)


def _each(function: Callable[[Any], Any], arrays: Sequence[Any]) -> Any:
    """The function applied to each array; a single result is not wrapped in a tuple."""
    found = tuple(function(as_array(own)) for own in arrays)
    return found if len(found) != 1 else found[0]


def hstack(tup: Any, dtype: Any = None) -> Any:
    parts = [atleast_1d(own) for own in tup]
    return np.concatenate(parts, axis=0 if parts[0].ndim == 1 else 1, dtype=dtype)


def vstack(tup: Any, dtype: Any = None) -> Any:
    return np.concatenate([atleast_2d(own) for own in tup], axis=0, dtype=dtype)


def dstack(tup: Any) -> Any:
    return np.concatenate([atleast_3d(own) for own in tup], axis=2)


def column_stack(tup: Any) -> Any:
    return np.concatenate([x if x.ndim > 1 else x.reshape(-1, 1) for x in map(as_array, tup)], axis=1)


def block(arrays: Any) -> Any:
    """Nested lists joined: the innermost along the last axis, each outer level along the axis before."""

    def depth(own: Any) -> int:
        return 1 + max(map(depth, own)) if isinstance(own, list) else 0

    def rank(own: Any) -> int:
        return max(map(rank, own)) if isinstance(own, list) else int(np.ndim(as_plain(own)))

    whole, ndim = depth(arrays), max(depth(arrays), rank(arrays))

    def joined(own: Any, level: int) -> Any:
        if isinstance(own, list):
            return np.concatenate([joined(part, level + 1) for part in own], axis=level - whole)
        x = as_array(own)
        return x.reshape((1,) * (ndim - x.ndim) + x.shape)

    return joined(arrays, 0)


def append(arr: Any, values: Any, axis: int | None = None) -> Any:
    return np.concatenate([as_array(arr), as_array(values)], axis=axis)


def array_split(ary: Any, indices_or_sections: Any, axis: int = 0) -> Any:
    """Slices along an axis, at the places where NumPy's own function splits the indices of that axis."""
    x = np.moveaxis(as_array(ary), axis, 0)
    places = np.array_split(np.arange(x.shape[0]), indices_or_sections)
    ends = np.cumsum([0, *map(len, places)])
    starts = [int(own[0]) if len(own) else int(end) for own, end in zip(places, ends, strict=False)]
    return [np.moveaxis(x[start : start + len(own)], 0, axis) for start, own in zip(starts, places, strict=True)]


def hsplit(ary: Any, indices_or_sections: Any) -> Any:
    return array_split(ary, indices_or_sections, 1 if ary.ndim > 1 else 0)


def unstack(x: Any, axis: int = 0) -> Any:
    return tuple(np.moveaxis(x, axis, 0))


def broadcast_arrays(*args: Any) -> Any:
    arrays = [as_array(own) for own in args]
    shape = np.broadcast_shapes(*(own.shape for own in arrays))
    return tuple(own if own.shape == shape else np.broadcast_to(own, shape) for own in arrays)


def meshgrid(*xi: Any, copy: bool = True, sparse: bool = False, indexing: str = "xy") -> Any:
    count = len(xi)
    own = [as_array(x).reshape((1,) * i + (-1,) + (1,) * (count - 1 - i)) for i, x in enumerate(xi)]
    if indexing == "xy" and count > 1:
        own = [np.swapaxes(x, 0, 1) for x in own]
    found = own if sparse else broadcast_arrays(*own)
    return tuple(x.copy() for x in found) if copy else tuple(found)


def compress(condition: Any, a: Any, axis: int | None = None) -> Any:
    x = np.ravel(as_array(a)) if axis is None else as_array(a)
    return np.take(x, np.flatnonzero(as_plain(condition)), axis=0 if axis is None else axis)


def extract(condition: Any, arr: Any) -> Any:
    return np.take(np.ravel(as_array(arr)), np.flatnonzero(as_plain(condition)))


def select(condlist: Any, choicelist: Any, default: Any = 0) -> Any:
    """The choice of the first condition that holds: later choices are written first, earlier ones over them."""
    kind = np.result_type(*(getattr(own, "dtype", own) for own in (*choicelist, default)))
    made = as_array(default)
    for condition, own in reversed(list(zip(condlist, choicelist, strict=True))):
        made = np.where(condition, own, made)
    return made if made.dtype == kind else made.astype(kind)


def convolve(a: Any, v: Any, mode: Any = "full") -> Any:
    """Each output is the product of a window of the padded a with v in reverse order."""
    a, v = atleast_1d(a, v)
    a, v = (v, a) if v.shape[0] > a.shape[0] else (a, v)
    size = v.shape[0]
    before, after = {"full": (size - 1, size - 1), "same": (size // 2, size - 1 - size // 2), "valid": (0, 0)}[mode]
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(a, (before, after)), size)
    return np.matmul(windows, v[::-1])


def copyto(dst: Any, src: Any, where: Any = True) -> None:
    if where is True:
        dst[...] = src
    else:
        mask = np.broadcast_to(as_plain(where), dst.shape)
        dst[mask] = np.broadcast_to(as_array(src), dst.shape)[mask]


def put(a: Any, ind: Any, v: Any) -> None:
    places = np.asarray(as_plain(ind)).reshape(-1)
    _put_in_order(a, np.where(places < 0, places + a.size, places), v, "put")


def putmask(a: Any, mask: Any, values: Any) -> None:
    mask, values = as_plain(mask), as_array(values)
    if values.size not in (1, a.size):
        raise NoRule("there is no rule for np.putmask with values of another size")
    a[mask] = values.reshape(()) if values.size == 1 else values.reshape(a.shape)[mask]


def place(arr: Any, mask: Any, vals: Any) -> None:
    _put_in_order(arr, np.flatnonzero(as_plain(mask)), vals, "place")


def _put_in_order(a: Any, places: Any, values: Any, function: str) -> None:
    """Write the values, in their order, to flat places of `a`. A single value goes to all of them."""
    values = np.ravel(as_array(values))
    if values.shape[0] < places.size:
        if values.shape[0] != 1:
            raise NoRule(f"there is no rule for np.{function} with fewer values than places")
        values = np.broadcast_to(values, places.shape)
    if a.ndim:
        a[np.unravel_index(places, a.shape)] = values[: places.size]
    elif places.size:
        a[...] = values[0]


def put_along_axis(arr: Any, indices: Any, values: Any, axis: int | None = None) -> None:
    """Writes the values to the elements that np.take_along_axis would read."""
    indices = np.asarray(as_plain(indices))
    every = np.arange(arr.size).reshape(arr.shape)
    places = np.take_along_axis(every, indices, axis)
    arr[np.unravel_index(places, arr.shape)] = values


def fill_diagonal(a: Any, val: Any, wrap: bool = False) -> None:
    mask = np.zeros(a.shape, bool)
    np.fill_diagonal(mask, True, wrap)
    _put_in_order(a, np.flatnonzero(mask), val, "fill_diagonal")


def as_array(value: Any) -> Any:
    """A list or a number as an array; lists of recorded arrays are stacked."""
    if hasattr(value, "recording") or isinstance(value, np.ndarray):
        return value
    if isinstance(value, (list, tuple)) and any(
        hasattr(own, "recording") or isinstance(own, (list, tuple)) for own in value
    ):
        return np.stack([as_array(own) for own in value])
    return np.asarray(value)


def as_plain(value: Any) -> Any:
    """The numbers of a recorded array, or any other value as an array."""
    return np.asarray(getattr(value, "value", value))


IN_PLACE: dict[str, Callable[..., Any]] = {
    own.__name__: own for own in (copyto, put, putmask, place, put_along_axis, fill_diagonal)
}
FUNCTIONS: dict[str, Callable[..., Any]] = {
    own.__name__: own
    for own in (
        trace, diag, diagflat, tril, triu, diff, trapezoid, polyval, apply_along_axis, pad,
        atleast_1d, atleast_2d, atleast_3d, hstack, vstack, dstack, column_stack, block, append, array_split, hsplit, unstack,
        broadcast_arrays, meshgrid, compress, extract, select, convolve,
    )
} | {"split": array_split, "vsplit": array_split} | IN_PLACE  # fmt: skip
