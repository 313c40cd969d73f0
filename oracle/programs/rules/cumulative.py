"""Rules of cumulative products, sums of powers and extremes along a dimension."""

from __future__ import annotations

from typing import Any

import numpy as np

from oracle.programs.adjoint import in_one_kernel, plain
from oracle.programs.geometry import mapped
from oracle.programs.rules.functions import added_logs
from oracle.programs.table import rule
from oracle.running_error import ErrorArray


def _turned(x: Any, axis: int) -> Any:
    return mapped(x, lambda own: np.flip(own, axis))


def _scanned(x: Any, axis: int, function: Any, before: float | None = None) -> Any:
    """The results of a function of the result before and each element, along an axis of at least one element.

    before: the result before the first element; the first is taken as it is if there is none.
    """
    rows = np.moveaxis(x, axis, 0)
    found = [rows[0] if before is None else function(before, rows[0])]
    for own in range(1, rows.shape[0]):
        found.append(function(found[-1], rows[own]))
    return np.moveaxis(np.stack(found), 0, axis)


@rule("cumprod")
def cumprod(input: Any, dim: int) -> Any:
    """The product y of elements up to each; the sum of g y from each on, over x. Where x is 0, the same without dividing."""
    if not input.ndim or not input.size:
        return input, lambda g: (g,)
    axis = dim % input.ndim
    y = in_one_kernel(lambda x: _scanned(x, axis, lambda before, own: before * own), input)

    def backward(g: Any) -> Any:
        zero = plain(input) == 0
        sums = _turned(in_one_kernel(lambda own: np.cumsum(own, axis=axis), _turned(g * y, axis)), axis)
        back = sums / np.where(zero, 1.0, input)
        if zero.any():
            one = np.ones_like(input, shape=tuple(1 if own == axis else size for own, size in enumerate(input.shape)))
            last = input.shape[axis] - 1
            before = np.concatenate([one, np.take(y, range(last), axis)], axis=axis)
            after = np.concatenate([np.take(input, range(1, last + 1), axis), one * 0.0], axis=axis)
            back = np.where(zero, before * _from_behind(g, after, axis), back)
        return (back,)

    return y, backward


def _from_behind(g: Any, factors: Any, axis: int) -> Any:
    """s with s_j = g_j + f_j s_(j+1)."""
    g, factors = np.moveaxis(g, axis, 0), np.moveaxis(factors, axis, 0)
    found = [g[-1]]
    for place in range(g.shape[0] - 2, -1, -1):
        found.append(g[place] + factors[place] * found[-1])
    return np.moveaxis(np.stack(found[::-1]), 0, axis)


@rule("logcumsumexp")
def logcumsumexp(input: Any, dim: int) -> Any:
    """ln Σ e^x of the elements up to each, y; e^x times Σ g e^(-y) from each on, through the logarithms of g and of -g."""
    if not input.size:
        return input, lambda g: (g,)
    axis = dim % max(input.ndim, 1)
    x = input.reshape(input.shape or (1,))
    # The logarithm of the first power is not always the first element itself.
    y = in_one_kernel(lambda x: _scanned(x, axis, added_logs, before=-np.inf), x)

    def part(g: Any) -> Any:
        """The gradient from the positive elements of g."""
        positive = plain(g) > 0
        logs = np.where(positive, np.log(np.where(positive, g, 1.0)) - y, -np.inf)
        return np.exp(
            _turned(in_one_kernel(lambda own: _scanned(own, axis, added_logs), _turned(logs, axis)), axis) + x
        )

    def backward(g: Any) -> Any:
        g = g.reshape(x.shape)
        return ((part(g) - part(-g)).reshape(input.shape),)

    return y.reshape(input.shape), backward


@rule("cummax", shown=True)
def cummax(input: Any, dim: int, *, shown: Any) -> Any:
    """The maximum of elements up to each, and its index, the last of equals; g added to it."""
    return _running(input, dim, shown, np.maximum)


@rule("cummin", shown=True)
def cummin(input: Any, dim: int, *, shown: Any) -> Any:
    """The minimum of elements up to each, and its index, the last of equals; g added to it."""
    return _running(input, dim, shown, np.minimum)


def _running(input: Any, dim: int, shown: Any, extreme: Any) -> Any:
    """Recorded indices are used where they are right, or where errors leave the choice open."""
    index = shown[1].numbers
    if not input.ndim or not input.size:
        return (input, index), lambda g, _: (g,)
    axis, values = dim % input.ndim, plain(input)
    found = extreme.accumulate(values, axis=axis)
    place = np.arange(values.shape[axis]).reshape([-1 if own == axis else 1 for own in range(values.ndim)])
    is_new = (values == found) | np.isnan(values)
    own = np.maximum.accumulate(np.where(is_new, place, 0), axis=axis)
    is_exact = not isinstance(input, ErrorArray) or input.error is None
    if is_exact and not np.array_equal(np.take_along_axis(values, index, axis), found, equal_nan=True):
        index = own

    def backward(g: Any, _: Any) -> Any:
        grad = np.zeros_like(input)
        grid: list[Any] = list(np.indices(values.shape, sparse=True))
        grid[axis] = index
        np.add.at(grad, tuple(grid), g)
        return (grad,)

    return (mapped(input, lambda component: np.take_along_axis(component, own, axis)), index), backward
