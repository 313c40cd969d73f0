"""Rules of sums, means, products and extremes of elements that meet at one place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from oracle.case.arrays import Array
from oracle.programs.adjoint import plain
from oracle.programs.geometry import mapped
from oracle.programs.rules.indexing import _along, _into, _slices
from oracle.programs.table import NoRule, rule
from oracle.running_error import ErrorArray
from oracle.running_error.mask import ErrorMask
from oracle.running_error.stores import stored, with_more

NAMES = {"add": "sum", "multiply": "prod", "max": "amax", "min": "amin"}
# The result of no elements.
OF_NONE = {"sum": 0.0, "mean": np.nan, "prod": 1.0, "amax": -np.inf, "amin": np.inf}


@rule("scatter_reduce")
def scatter_reduce(input: Any, dim: int, index: Any, src: Any, reduce: str, *, include_self: bool = True) -> Any:
    """The sum, mean, product or extreme of x and of all y at an index along a dimension, or of y alone; g times the derivative by
    each, shared evenly by equal extremes."""
    if not input.ndim:
        input_, index, src_ = input.reshape(1), index.reshape(1), src.reshape(1)
        y, back = scatter_reduce(input_, 0, index, src_, reduce, include_self=include_self)
        return y.reshape(()), lambda g: tuple(None if own is None else own.reshape(()) for own in back(g.reshape(1)))
    if not index.size:
        return input, lambda g: (g, None, None, np.zeros_like(src))
    used = tuple(slice(size) for size in index.shape)
    places = np.arange(input.size).reshape(input.shape)[_along(index, dim)].reshape(-1)
    taken = mapped(src, lambda own: own[used]).reshape(-1)
    y, back = _reduced(input.reshape(-1), places, taken, reduce, include_self, include_self)

    def backward(g: Any) -> Any:
        grad_input, grad_taken = back(g.reshape(-1))
        return grad_input.reshape(input.shape), None, None, _into(grad_taken.reshape(index.shape), used, src)

    return y.reshape(input.shape), backward


@rule("scatter.reduce", "scatter.value_reduce")
def scatter_with(input: Any, dim: int, index: Any, src: Any, reduce: str) -> Any:
    """x with y added, or multiplied by it, at an index along a dimension; g times the derivative by each."""
    values = src if hasattr(src, "dtype") else np.full_like(input, float(src), shape=index.shape)
    return scatter_reduce(input, dim, index, values, NAMES[reduce])


@rule("index_reduce")
def index_reduce(input: Any, dim: int, index: Any, source: Any, reduce: str, *, include_self: bool = True) -> Any:
    """The mean, product or extreme of x and of all slices y at an index, or of y alone; g times the derivative by each, shared
    evenly by equal extremes."""
    positions = np.arange(input.size).reshape(input.shape)
    places = positions[_slices(index, dim, input.ndim)] if input.ndim else positions
    given = (places.reshape(-1), source.reshape(-1), reduce, include_self, include_self)
    y, back = _reduced(input.reshape(-1), *given)

    def backward(g: Any) -> Any:
        grad_input, grad_source = back(g.reshape(-1))
        return grad_input.reshape(input.shape), None, None, grad_source.reshape(source.shape)

    return y.reshape(input.shape), backward


@rule("segment_reduce")
def segment_reduce(
    data: Any, reduce: str, *, lengths: Any = None, indices: Any = None, offsets: Any = None, axis: int = 0,
    unsafe: bool = False, initial: Any = None,
) -> Any:  # fmt: skip
    """The sum, mean, product or extreme of each segment along a dimension; g times the derivative by each element, shared evenly
    by equal extremes."""
    if indices is not None:
        raise NoRule("there is no rule for segment_reduce by indices")
    reduce, ends = NAMES.get(reduce, reduce), lengths if offsets is None else offsets
    axis = ends.ndim - 1
    first = np.zeros((*ends.shape[:-1], 1), int) if offsets is None else offsets[..., :1]
    bounds = np.concatenate([first, np.cumsum(lengths, axis=-1)], axis=-1) if offsets is None else offsets
    along = np.arange(data.shape[axis])
    segments = np.stack([np.searchsorted(own, along, "right") - 1 for own in bounds.reshape(-1, bounds.shape[-1])])
    count = bounds.shape[-1] - 1
    shape = (*data.shape[:axis], count, *data.shape[axis + 1 :])
    inside = (segments >= 0) & (segments < count)
    targets = np.arange(int(np.prod(shape))).reshape(len(segments), count, -1)
    rows = np.arange(len(segments))[:, None]
    places = targets[rows, np.clip(segments, 0, max(count - 1, 0))] if count else np.zeros((*segments.shape, 1), int)
    kept = np.flatnonzero(np.broadcast_to(inside[..., None], places.shape).reshape(-1))
    start = np.full_like(data, OF_NONE[reduce] if initial is None else float(initial), shape=(int(np.prod(shape)),))
    given = (places.reshape(-1)[kept], data.reshape(-1)[kept], reduce, initial is not None, False)
    y, back = _reduced(start, *given)

    def backward(g: Any) -> Any:
        _, grad = back(g.reshape(-1))
        whole = np.zeros_like(data, shape=(data.size,))
        whole[kept] = grad
        return (whole.reshape(data.shape),)

    return y.reshape(shape), backward


def _reduced(input: Any, places: Array, values: Any, reduce: str, included: bool, counted: bool) -> Any:
    """Values that are reduced into the places of an array, and the gradients of both, all of them flat.

    Args:
        included: whether the array's own element takes part where a value meets it.
        counted: whether it counts as an element of a mean, and among equal extremes.
    """
    touched = np.zeros(input.shape, bool)
    touched[places] = True
    replaced = touched & (not included)
    count = np.bincount(places, minlength=input.size) + (counted | ~touched)
    if reduce == "prod":
        return _product(input, places, values, replaced)
    if reduce in ("amax", "amin"):
        return _extreme(input, places, values, replaced, touched & (not counted), 1 if reduce == "amax" else -1)
    y = np.where(replaced, 0.0, input).copy()
    np.add.at(y, places, values)
    if reduce == "mean":
        y = _shared(stored(y), count)

    def backward(g: Any) -> Any:
        share = _shared(g, count) if reduce == "mean" else g
        return np.where(replaced, 0.0, share), mapped(share, lambda own: own[places])

    return y, backward


def _shared(x: Any, count: Array) -> Any:
    """x divided by its count, untouched where that is one."""
    return np.where(count == 1, x, x / np.maximum(count, 1).astype(float))


def _rounds(places: Array) -> Iterator[Array]:
    """The values in rounds: the first of each place, the second of each, and so on."""
    order = np.argsort(places, kind="stable")
    own = places[order]
    ranks = np.arange(len(own)) - np.searchsorted(own, own)
    for rank in range(ranks.max(initial=-1) + 1):
        yield order[ranks == rank]


def _product(input: Any, places: Array, values: Any, replaced: Array) -> Any:
    rounds = list(_rounds(places))
    y, before = np.where(replaced, 1.0, input).copy(), np.ones_like(values)
    for own in rounds:
        before[own] = y[places[own]]
        y[places[own]] = y[places[own]] * values[own]

    def backward(g: Any) -> Any:
        behind, others = np.ones_like(input), np.ones_like(values)
        for own in reversed(rounds):
            others[own] = before[own] * behind[places[own]]
            behind[places[own]] = behind[places[own]] * values[own]
        grad_input, grad_values = (
            _divided(g * behind, y, input, g),
            _divided(g[places] * others, y[places], values, g[places]),
        )
        return np.where(replaced, 0.0, grad_input), grad_values

    return y, backward


def _divided(x: Any, whole: Any, element: Any, g: Any) -> Any:
    """A gradient for which torch divides g times the whole product by the element: with the roundings of these."""
    if not isinstance(x, ErrorArray):
        return x
    model, whole, element, g = x.model.of(x.model.stored or x.dtype.name), plain(whole), plain(element), plain(g)
    by = model.raised(1 / np.where(element == 0, 1.0, element))
    each = (model.rounding(whole) * model.raised(g) + model.rounding(g * whole)) * by + model.rounding(x.value)
    return with_more(x, each)


def _extreme(input: Any, places: Array, values: Any, replaced: Array, uncounted: Array, side: int) -> Any:
    """The largest (side 1) or smallest (-1) of each place; g shared by all that are counted and equal to it."""
    n, every = input.size, np.concatenate([input, values])
    of = np.concatenate([np.arange(n), places])
    rank = plain(every) * side
    rank = np.where(np.isnan(rank), np.inf, rank)
    rank[:n][replaced] = -np.inf
    order = np.lexsort((np.concatenate([replaced, np.zeros(len(places), bool)]), -rank, of))
    winner = order[np.searchsorted(of[order], np.arange(n))]
    y = mapped(every, lambda own: own[winner])
    takes_part = np.concatenate([~uncounted, np.ones(len(places), bool)])

    def counted(mask: Any) -> Array:
        return np.bincount(of[mask & takes_part], minlength=n)

    chosen = every == mapped(y, lambda own: own[of])
    equals = counted(plain(chosen))
    if (
        isinstance(chosen, ErrorMask) and chosen.ambiguous is not None
    ):  # an element without rivals is chosen in any case
        rivals = chosen.ambiguous.mapped(lambda own: own & takes_part & (counted(own) > 1)[of])
        chosen = ErrorMask(chosen.value, rivals, chosen.model)
        equals = np.where(counted(rivals.statistical) > 0, 1, equals)  # of rivals each may receive all, or nothing

    def backward(g: Any) -> Any:
        share = g / np.maximum(equals, 1).astype(float)
        back = np.where(chosen & takes_part, mapped(share, lambda own: own[of]), 0.0)
        return back[:n], back[n:]

    return y, backward
