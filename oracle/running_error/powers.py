"""Error rules of powers x^n, for an exponent that is a number or an array."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from oracle.running_error.array import ErrorArray, operands
from oracle.running_error.dispatch import UFUNCS
from oracle.running_error.elementwise import bent, certainly_zero, elementwise, square, zero_where
from oracle.running_error.infinities import in_range, left_open
from oracle.running_error.model import Floats, Twofold, added


def power(x: Any, exponent: Any) -> ErrorArray:
    if not isinstance(exponent, ErrorArray) and not np.ndim(exponent):
        return _number_as_exponent(x, float(exponent))
    x, n = map(in_range, operands(x, exponent))
    model, value = x.model, np.power(x.value, n.value)
    log = np.where((x.value != 0) & np.isfinite(x.value), np.log(np.abs(x.value)), 0.0)
    by_exponent = np.where(np.isfinite(value), value * log, 0.0)
    # As e^(n ln x): the logarithm errs by 4 units in the last place, its product with n by one, and the exponential by 4.
    unit = by_exponent * n.value * model.unit_roundoff
    error = model.rounding(value, 4) + model.raised(unit * 4) + model.raised(unit)
    error = zero_where(np.broadcast_to(certainly_zero(n), value.shape), error)
    slope = np.where(n.value == 0, 0.0, n.value * np.power(x.value, n.value - 1))
    for own, its_slope, function, other in (
        (x, slope, np.power, n),
        (n, by_exponent, lambda n, x: np.power(x, n), x),
    ):
        error = _with_caused(error, own, its_slope, function, value, other)
    scale = None if x.scale is None else np.fmax(np.square(value), np.square(slope) * x.scale)
    return left_open(ErrorArray(value, model, error, scale=scale), _without_a_side(x, n))


def _with_caused(
    error: Twofold, x: ErrorArray, slope: Floats, function: Callable[..., Floats], y: Floats, other: ErrorArray
) -> Twofold:
    """The error, with that which x's error causes in y = f(x, other)."""
    if x.error is None:
        return error
    caused = x.error.mapped(lambda own, slope: np.where(own == 0, 0.0, slope * own), x.model.raised(slope))
    return error + bent(function, x.value, y, x.error, caused, other.value)


def _without_a_side(x: ErrorArray, n: ErrorArray) -> Any:
    """The mask where rounding decides whether the power is a number, or on which side of a jump it lies.

    A base that may be negative has a power only for a whole exponent, which gives that of -0 its sign. 0^n jumps from infinity to
    1 and to 0 at n = 0.
    """

    def near(own: ErrorArray, distance: Floats) -> Any:
        return False if own.error is None else own.model.within(distance, own.error).statistical

    may_be_whole = near(n, np.abs(n.value - np.rint(n.value)))
    is_whole = n.value == np.rint(n.value)
    negative = np.signbit(x.value) & ~np.isnan(x.value) & may_be_whole
    below_zero = (x.value < 0) & ~is_whole & near(x, np.abs(x.value))
    return negative | below_zero | ((x.value == 0) & near(n, np.abs(n.value)))


def _number_as_exponent(x: ErrorArray, c: float) -> ErrorArray:
    if c == 1:
        return x
    if c == 2:
        return square(x)
    rule = elementwise(lambda v: v**c, lambda v, _: c * v ** (c - 1), 4)
    result = rule(x)
    if abs(c) == 0.5:  # a root of -0 is -0, and of -infinity NaN, but IEEE's power of these is 0 and infinity
        unlike = (x.value == 0) if c < 0 else np.zeros(x.shape, bool)
        result = left_open(result, np.signbit(x.value) & (unlike | np.isinf(x.value)))
    if float(np.asarray(c).astype(x.model.dtype)) == c:
        return result
    # The exponent is rounded like any number: x^(c + e) is x^c (1 + e log x).
    size = np.abs(x.value)
    change = result.value * np.log(np.where(size > 0, size, 1.0)) * (c * x.model.unit_roundoff)
    error = added(result.error, x.model.raised(np.where(np.isfinite(change), change, 0.0)))
    return ErrorArray(result.value, x.model, error, scale=result.scale)


UFUNCS[np.power] = power
