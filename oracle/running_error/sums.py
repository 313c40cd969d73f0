"""Error rules of sums and matrix products."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from oracle.running_error import orders
from oracle.running_error.array import ErrorArray, in_range, operands
from oracle.running_error.dispatch import AT, FUNCTIONS, UFUNCS
from oracle.running_error.exact import merged
from oracle.running_error.model import Twofold, added


def total(x: ErrorArray, axis: Any = None, keepdims: bool = False) -> ErrorArray:
    """An open sum of all terms; a sum of open sums has all terms of these."""
    x = in_range(x)
    x.settle()

    def reduced(component: Any) -> Any:
        return np.asarray(np.sum(np.broadcast_to(component, x.shape), axis=axis, keepdims=keepdims))

    terms, count = x.open_terms.mapped(reduced), reduced(x.open_count)
    error = None if x.own_error is None else with_noise(x, x.own_error, reduced)
    axes = tuple(range(x.ndim)) if axis is None else tuple(np.atleast_1d(axis) % x.ndim)
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
    """The sum of the terms' own errors: as variances, but as absolute values for terms that are smaller than their errors.

    Such terms are rounding noise. Their errors share a cause, such as the error of a subtracted mean, or a sign, as squares do.
    """
    together = error.mapped(reduced)
    noise = error.statistical > np.square(x.value)
    if noise.any():
        alike = np.square(reduced(np.where(noise, np.sqrt(error.statistical), 0.0)))
        together.statistical = np.maximum(together.statistical, alike)
    return together


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
    terms, count = sizes_x @ sizes_y, x.shape[-1]
    quantum = None if x.quantum is None or y.quantum is None else x.quantum * y.quantum
    error: Twofold | None = None
    own: orders.Orders | None = None
    rounded = 0.0
    if quantum is not None and model.sum_is_exact(quantum, terms, count):
        value = x.value @ y.value
    else:
        samples = model.branches.samples if x.of_samples and y.of_samples else 0
        value, repeated, own = orders.product(x.value, y.value, terms.statistical, model, samples)
        error = orders.in_order(repeated, value, model)
        quantum, rounded = None, model.unit_roundoff if count == 1 else model.roundoff_of_sums
    if x.error is not None:
        error = added(error, x.error_or_zero @ sizes_y)
    if y.error is not None:
        error = added(error, sizes_x @ y.error_or_zero)
    scale = None if x.scale is None and y.scale is None else x.scale_or_own @ y.scale_or_own
    return ErrorArray(
        value, model, error, scale=scale, terms=terms, count=count, rounded=rounded, quantum=quantum, orders=own
    )


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
