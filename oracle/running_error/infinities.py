"""Numbers that the dtype cannot hold, and what they and infinities make of a product: zero times infinity is NaN."""

from __future__ import annotations

from typing import Any

import numpy as np

from oracle.running_error.array import ErrorArray
from oracle.running_error.model import LAMBDA, ErrorModel, Twofold


def in_range(x: ErrorArray) -> ErrorArray:
    """The array as an operand: with an infinite error where the dtype cannot hold the value."""
    log = x.model.branches
    if not log.overflown:
        return x
    beyond = np.isfinite(x.value) & (np.abs(x.value) > x.model.largest)
    if not beyond.any():
        return x
    return ErrorArray(x.value, x.model, _infinite(x.error_or_zero, beyond, x.model), scale=x.scale, guide=x.guide)


def left_open(x: ErrorArray, unknown: Any) -> ErrorArray:
    """The array, with an infinite error where implementations may have any number, an infinity or NaN."""
    if not np.any(unknown):
        return x
    error = _infinite(x.error_or_zero, unknown, x.model)
    return ErrorArray(np.where(unknown, 0.0, x.value), x.model, error, scale=x.scale)


def _infinite(error: Twofold, unknown: Any, model: ErrorModel) -> Twofold:
    """The error, infinite at these elements, which the log counts."""
    model.branches.here().out_of_range += int(np.count_nonzero(unknown))
    return error.mapped(lambda own: np.where(unknown, np.inf, own))


def times_zero(x: ErrorArray) -> Any:
    """The product of x and zero: NaN where x is infinite, and of infinite error where x may be."""
    may_be_infinite = x.error is not None and not np.isfinite(x.error.statistical).all()
    if np.isfinite(x.value).all() and not may_be_infinite:
        return 0.0
    error = x.error_or_zero.mapped(lambda own: np.where(np.isfinite(own), 0.0, np.inf)) if may_be_infinite else None
    return ErrorArray(x.value * 0.0, x.model, error)


def of_infinities(x: ErrorArray, y: ErrorArray, error: Twofold | None) -> Twofold | None:
    """The error of a product: none where an infinity meets a number that is not zero, infinite where that number may be zero."""
    if not x.model.rounds or (np.isfinite(x.value.sum()) and np.isfinite(y.value.sum())):
        return error
    infinite, zero = np.isinf(x.value) | np.isinf(y.value), _may_be_zero(x) | _may_be_zero(y)
    lost, certain = infinite & zero, infinite & _is_certain(x) & _is_certain(y) & ~zero
    given = error if error is not None else x.model.constant(0.0, 0.0)
    return _infinite(given.mapped(lambda own: np.where(certain, 0.0, own)), lost, x.model)


def _is_certain(x: ErrorArray) -> Any:
    """The mask where x is known up to an error that is finite."""
    return True if x.error is None else np.isfinite(x.error.statistical)


def _may_be_zero(x: ErrorArray) -> Any:
    """The mask where x is zero in one implementation and not in another: by its error, or because it underflows."""
    size = np.abs(x.value)
    underflows = (size > 0) & (size < 2 * x.model.smallest_normal[1])
    if x.error is None:
        return underflows
    return underflows | ((x.error.statistical > 0) & (np.square(size) <= LAMBDA**2 * x.error.statistical))
