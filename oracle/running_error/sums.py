"""Error rules of sums and matrix products."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from oracle.running_error import orders
from oracle.running_error.array import ErrorArray, operands
from oracle.running_error.dispatch import AT, FUNCTIONS, UFUNCS
from oracle.running_error.elementwise import scale_of_product
from oracle.running_error.exact import merged
from oracle.running_error.infinities import in_range
from oracle.running_error.model import Floats, Twofold, added
from oracle.running_error.squares import of_products

# With fewer equal terms, their equal errors add up to little more than independent errors would.
FEWEST = 4
# Zeros are not counted as terms of products where they are more than all but one in so many; elsewhere it is not worth a product.
FEW_OF = 8
# The largest array whose equal terms are counted; in a larger one they are looked for in a selection.
SORTED = 2**14


def total(x: ErrorArray, axis: Any = None, keepdims: bool = False) -> ErrorArray:
    """An open sum of all terms; a sum of open sums has all terms of these."""
    x = in_range(x)
    x.settle()

    def reduced(component: Any) -> Any:
        return np.asarray(np.sum(np.broadcast_to(component, x.shape), axis=axis, keepdims=keepdims))

    terms, count = x.open_terms.mapped(reduced), reduced(x.open_count)
    axes = tuple(range(x.ndim)) if axis is None else tuple(np.atleast_1d(axis) % x.ndim)
    error = None if x.own_error is None else with_repeated(x, with_noise(x, x.own_error, reduced), axes)
    few = x.size < orders.FEW * terms.statistical.size or not x.size
    if few or (x.quantum is not None and x.model.sum_is_exact(x.quantum, terms, count)):
        value = reduced(x.value)
    else:
        column, beyond = orders.total(x.value, axes, terms.statistical, count, x.model)
        value = column.reshape(count.shape)
        error = added(error, orders.in_order(beyond, value, x.model))
    return ErrorArray(
        value,
        x.model,
        error,
        scale=None if x.scale is None else reduced(x.scale),
        terms=terms,
        count=count,
        rounded=x.rounded,
        quantum=x.quantum,
        hidden=None if x.own_hidden is None or x.size > value.size else x.own_hidden.reshape(value.shape),
    )


def with_noise(x: ErrorArray, error: Twofold, reduced: Callable[[Any], Any]) -> Twofold:
    """The sum of the terms' own errors: of variances, or, for terms that are smaller than their errors, of absolute values.

    Such terms are rounding noise. Their errors are not independent: they share a cause, such as the error of a subtracted mean,
    or they have one sign, as the errors of squares do.
    """
    together = error.mapped(reduced)
    noise = error.statistical > np.square(x.value)
    if noise.any():
        alike = np.square(reduced(np.where(noise, np.sqrt(error.statistical), 0.0)))
        together.statistical = np.maximum(together.statistical, alike)
    return together


def with_repeated(x: ErrorArray, together: Twofold, axes: tuple[int, ...]) -> Twofold:
    """The sum of the terms' own errors, where equal terms have equal errors: the same numbers are rounded the same way.

    `together` is the sum of the variances. It is returned unchanged where terms are few, or repeat too rarely to matter.
    """
    if x.own_error is None or x.size < FEWEST:
        return together
    n = math.prod(x.shape[axis] for axis in axes)
    if n < FEWEST:
        return together

    def rows(component: Any) -> Any:
        return np.moveaxis(x.broadcast(component), axes, range(-len(axes), 0)).reshape(-1, n)

    values = rows(x.value)
    alike = np.flatnonzero(_repeating(values))
    if not alike.size:
        return together
    places = np.argsort(values[alike], axis=-1, kind="stable")
    terms = np.take_along_axis(values[alike], places, -1)
    errors = np.sqrt(np.take_along_axis(rows(x.own_error.statistical)[alike], places, -1))
    begins = np.ones(terms.shape, bool)
    begins[:, 1:] = terms[:, 1:] != terms[:, :-1]
    of_group = np.square(np.add.reduceat(errors.ravel(), np.flatnonzero(begins)))
    first = np.concatenate([[0], np.cumsum(np.count_nonzero(begins, axis=-1))[:-1]])
    statistical = np.array(together.statistical, dtype=float, order="C")
    flat = statistical.reshape(-1)
    flat[alike] = np.maximum(flat[alike], np.add.reduceat(of_group, first))
    return Twofold(statistical, together.worst)


def _repeating(values: Floats) -> Any:
    """The mask of rows with many equal terms, whose equal errors together may exceed those of all other terms."""
    if values.size > SORTED:
        return orders.repeating(values, 1)
    ordered = np.sort(values, axis=-1)
    equal = np.count_nonzero((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] != 0), axis=-1)
    return np.square(equal) > values.shape[-1]


def mean(x: ErrorArray, axis: Any = None, keepdims: bool = False) -> ErrorArray:
    result = total(x, axis, keepdims)
    mean: ErrorArray = result / (x.size / result.size if result.size else 1.0)
    return mean


def cumsum(x: ErrorArray, axis: int) -> ErrorArray:
    """Cumulative sums: the error of each is that of the sum before it, plus its term's error and its own rounding. Of equal
    terms each rounds the same way in a plain loop."""
    model, value = x.model, np.cumsum(x.value, axis=axis)
    first = np.zeros(x.shape, bool)
    first[(slice(None),) * (axis % x.ndim) + (slice(0, 1),)] = True
    own = model.rounding(value).mapped(lambda error: np.where(first, 0.0, error))
    error = added(x.error, own)
    assert error is not None
    scale = np.cumsum(x.scale_or_own, axis=axis)
    error = error.mapped(lambda component: np.cumsum(component, axis=axis))
    dtype, unit = np.dtype(model.accumulate or model.dtype), model.roundoff_of_sums**2
    low = np.cumsum(x.value.astype(dtype), axis=axis, dtype=dtype).astype(np.float64)
    sequential = np.square(low - value)
    usual = np.broadcast_to(error.statistical, value.shape)
    more = orders.repeated(np.where(np.isfinite(sequential), sequential, 0.0), usual) / unit
    error = added(error, orders.in_order(more if more.any() else None, value, model))
    return ErrorArray(value, model, error, scale=scale)


def matmul(x: Any, y: Any) -> ErrorArray:
    """The matrix product as an open sum of products, each of them rounded."""
    x, y = map(in_range, operands(x, y))
    model = x.model
    sizes_x, sizes_y = model.raised(x.value), model.raised(y.value)
    terms = sizes_x @ sizes_y
    count: Floats | int = x.shape[-1]
    terms.statistical = of_products(terms.statistical, x.value, y.value)
    quantum = None if x.quantum is None or y.quantum is None else x.quantum * y.quantum
    error: Twofold | None = None
    own: orders.Orders | None = None
    rounded = 0.0
    if quantum is not None and model.sum_is_exact(quantum, terms, count):
        value = x.value @ y.value
    else:
        samples = model.branches.samples if x.of_samples and y.of_samples else 0
        value, repeated, own = orders.product(x.value, y.value, terms.statistical, model, samples, x.inner)
        error = orders.in_order(repeated, value, model)
        if _has_few_terms(x) or _has_few_terms(y):  # adding zero does not round
            count = (x.value != 0).astype(np.float64) @ (y.value != 0).astype(np.float64)
            own = own and own.of_fewer(count / x.shape[-1])
        quantum, rounded = None, model.unit_roundoff if x.shape[-1] == 1 else model.roundoff_of_sums
    if x.error is not None:
        error = added(error, x.error_or_zero @ sizes_y)
    if y.error is not None:
        error = added(error, sizes_x @ y.error_or_zero)
    scale = scale_of_product(x, y, np.matmul)
    return ErrorArray(
        value, model, error, scale=scale, terms=terms, count=count, rounded=rounded, quantum=quantum, orders=own
    )


def _has_few_terms(x: ErrorArray) -> bool:
    """Whether most elements are exact zeros, as in the matrix of a graph's neighbours."""
    return x.error is None and x.ndim > 1 and int(np.count_nonzero(x.value)) * FEW_OF < x.size


def add_at(x: ErrorArray, index: Any, other: Any) -> None:
    """np.add.at: each addend joins the open sum of the element to which it is added; an element may receive several."""
    _, addend = operands(x, other)
    model, shape = x.model, x.shape
    where = np.empty(shape)[index].shape

    def gathered(start: Any, parts: Any) -> Any:
        into = np.array(np.broadcast_to(start, shape), float)
        np.add.at(into, index, np.broadcast_to(parts, where))
        return into

    x.settle()
    addend.settle()
    if x.rounded != addend.rounded:
        x.error, addend.error  # noqa: B018 - closes both sums
    errors = x.own_error, addend.own_error
    zero = model.constant(0.0, 0.0)
    x.scale = None if x.scale is None and addend.scale is None else gathered(x.scale_or_own, addend.scale_or_own)
    x.count, x.terms = gathered(x.open_count, addend.open_count), x.open_terms.mapped(gathered, addend.open_terms)
    if any(error is not None for error in errors):
        x.own_error = (errors[0] or zero).mapped(gathered, errors[1] or zero)
    to = np.broadcast_to(np.arange(x.size).reshape(shape)[index], where)
    x.value, beyond = orders.scattered(
        np.broadcast_to(x.value, shape), to, np.broadcast_to(addend.value, where), x.terms.statistical, model
    )
    x.own_error = added(x.own_error, orders.in_order(beyond, x.value, model))
    x.quantum, x.guide = merged(x.quantum, addend.quantum), None


AT[np.add] = add_at
UFUNCS[np.matmul] = matmul
FUNCTIONS.update({np.sum: total, np.mean: mean, np.cumsum: cumsum})
