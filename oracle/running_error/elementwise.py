"""Error rules of arithmetic and element-wise functions: one rule per operation, registered by name.

Errors propagate to first order, and the rounding error of the operation itself is added.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import erf

from oracle.running_error.array import ErrorArray, constant, operands
from oracle.running_error.dispatch import UFUNCS
from oracle.running_error.exact import merged
from oracle.running_error.infinities import in_range, left_open, of_infinities, times_zero
from oracle.running_error.mask import ErrorMask
from oracle.running_error.model import LAMBDA, ErrorModel, Floats, Twofold, added
from oracle.running_error.selection import greater, less, where

# The distance, in units of x or of 1, over which a function counts as straight.
STRAIGHT = 2.0**-4
# An error that many numbers share matters if it exceeds their own error by this factor.
COMMON = 2.0
# From this share of a divisor on, its error is not small.
NEAR_DIVISOR = 2.0**-7


def rounded(
    value: Floats, model: ErrorModel, quantum: float | None, exact: Any = None
) -> tuple[Twofold | None, float | None]:
    """The error of one correctly rounded operation; none if the result is exact."""
    if quantum is not None and (value.size == 0 or np.max(np.abs(value)) <= quantum / model.unit_roundoff):
        return None, quantum
    error = model.rounding(value)
    return error if exact is None else zero_where(exact, error), None


def zero_where(exact: Any, error: Twofold) -> Twofold:
    return error.mapped(lambda own: np.where(exact, 0.0, own)) if exact.any() else error


def add(x: Any, y: Any) -> ErrorArray:
    x, y = map(in_range, operands(x, y))
    error, quantum = added(x.error, y.error), merged(x.quantum, y.quantum)
    value = x.value + y.value
    x.model.branches.has_common_errors |= _changes_many(x, value) or _changes_many(y, value)
    rounding, quantum = rounded(value, x.model, quantum, exact=certainly_zero(x) | certainly_zero(y))
    return ErrorArray(value, x.model, added(error, rounding), scale=x.scale_or_own + y.scale_or_own, quantum=quantum)


def _changes_many(x: ErrorArray, results: Floats) -> bool:
    """Whether each element of x is added to several numbers, and its error exceeds the rounding error of the results."""
    if x.error is None or x.size == results.size or not x.size:
        return False
    rounding = np.square(x.model.unit_roundoff) * np.vdot(results, results) / results.size
    return bool(np.max(x.error.statistical) > COMMON**2 * rounding)


def certainly_zero(x: ErrorArray) -> Any:
    """Where x is zero in every implementation."""
    return x.value == 0 if x.error is None else (x.value == 0) & (x.error.statistical == 0)


def negative(x: ErrorArray) -> ErrorArray:
    x.settle()
    x.release()  # the result shares its components
    return ErrorArray(
        -x.value,
        x.model,
        x.own_error,
        scale=x.scale,
        terms=x.terms,
        count=x.count,
        rounded=x.rounded,
        quantum=x.quantum,
        guide=None if x.guide is None else -x.guide,
    )


def subtract(x: Any, y: Any) -> ErrorArray:
    x, y = operands(x, y)
    return add(x, negative(y))


def scaled_error(error: Twofold | None, factor: Floats, model: ErrorModel) -> Twofold | None:
    return None if error is None else error * model.raised(factor)


def product_error(error: Twofold | None, factor: ErrorArray, model: ErrorModel) -> Twofold | None:
    """The error that one factor's error causes in a product; it includes the second-order term, the product of both errors."""
    if error is None or factor.error is None:
        return scaled_error(error, factor.value, model)
    return error * (model.raised(factor.value) + factor.error)


def divisor_error(y: ErrorArray, value: Floats, model: ErrorModel) -> Twofold | None:
    """The error that a divisor's error causes in a quotient.

    Let r = σ/|y| be the divisor's relative error. To first order the quotient has the relative error r, which covers a divisor
    that is too large. A divisor that is too small causes a larger one, r / (1 - r). This matters where r is not small, as for
    √v + ε with a root that may be zero.
    """
    error = scaled_error(y.error, value / y.value, model)
    if error is None or y.error is None:
        return None
    size, own = np.square(y.value), y.error.statistical
    near = (own > NEAR_DIVISOR**2 * size) & (own < size)
    if near.any():
        grown = np.square(1 - np.sqrt(np.divide(own, size, out=np.zeros_like(own + size), where=near)))
        error.statistical = error.statistical / grown
    return error


def is_power_of_two(x: ErrorArray) -> bool:
    return x.ndim == 0 and x.error is None and math.frexp(float(x.value))[0] in (0.5, -0.5)


def is_mask(x: Any) -> bool:
    return isinstance(x, ErrorMask) or getattr(x, "dtype", None) == np.bool_


def multiply(x: Any, y: Any) -> ErrorArray:
    if x is y:
        return square(x)
    if is_mask(y):  # a choice between x and zero, which rounds nothing
        chosen: ErrorArray = where(y, x, times_zero(in_range(x)) if isinstance(x, ErrorArray) else x * 0.0)
        return chosen
    x, y = map(in_range, operands(x, y))
    model, value = x.model, x.value * y.value
    error = added(product_error(x.error, y, model), scaled_error(y.error, x.value, model))
    quantum = None if x.quantum is None or y.quantum is None else x.quantum * y.quantum
    if is_power_of_two(x) or is_power_of_two(y):
        size = np.abs(value)
        model.notice_overflow(size)
        rounding = model.underflow(size) if quantum is None else None
    else:
        rounding, quantum = rounded(value, model, quantum)
    scale = scale_of_product(x, y, np.multiply)
    error = of_infinities(x, y, added(error, rounding))
    return ErrorArray(value, model, error, scale=scale, quantum=quantum)


def scale_of_product(x: ErrorArray, y: ErrorArray, product: Callable[[Floats, Floats], Floats]) -> Floats | None:
    """The size of a term of x times y, or of one of y times x, in squares; None if it is that of the product.

    One term at a time counts. Terms of both at once would grow from factor to factor, beyond anything that the product has.
    """
    if x.scale is None or y.scale is None:
        return None if x.scale is None and y.scale is None else product(x.scale_or_own, y.scale_or_own)
    of_x, of_y = x.counted(np.square(x.value)), y.counted(np.square(y.value))
    return np.maximum(product(x.scale, of_y), product(of_x, y.scale))


def _of_equal_terms(x: ErrorArray, count: Floats) -> bool:
    """Whether each sum is one of so many equal terms, of which every way to the mean is exact: (Σt)² = n Σt² for these alone."""
    return np.array_equal(np.square(x.value), x.open_terms.statistical * count)


def divide(x: Any, y: Any) -> ErrorArray:
    x, y = map(in_range, operands(x, y))
    is_exact_sum = x.terms is not None and x.quantum is not None
    if is_exact_sum and not (is_power_of_two(y) and (abs(y.value) <= 2 or _of_equal_terms(x, y.value))):
        # A mean of more than two numbers that is kept up to date, or of shares, is rounded on the way.
        x = x.mapped(lambda component: component)
        x.quantum = None
    model, value = x.model, x.value / y.value
    error = added(scaled_error(x.error, 1 / y.value, model), divisor_error(y, value, model))
    error = model.where_nothing_divides(error, y.value, y.error, value)
    scale = None if x.scale is None else x.scale * np.square(1 / y.value)
    if is_power_of_two(y) and (x.quantum is not None or abs(y.value) == 1):
        model.notice_overflow(np.abs(value))
        return ErrorArray(value, model, error, scale=scale, quantum=x.quantum and x.quantum / abs(float(y.value)))
    quotient = ErrorArray(value, model, added(error, zero_where(x.value == 0, model.rounding(value))), scale=scale)
    # By a zero that rounding alone may have made, other implementations divide as by a small number.
    return left_open(quotient, False if y.error is None else (y.value == 0) & (y.error.statistical > 0))


def bent(
    function: Callable[..., Floats], x: Floats, y: Floats, error: Twofold, caused: Twofold, *others: Floats
) -> Twofold:
    """The error that x's error causes in y = f(x, *others).

    Where f is nearly straight over the error of x, the slope at x gives it: that is `caused`. Elsewhere, such as at a maximum of
    the cosine, it is the change of f between x and x ± its error, if that is larger.
    """
    reach = LAMBDA * np.sqrt(error.statistical)
    wide = np.broadcast_to((reach > STRAIGHT * np.minimum(1.0, np.abs(x))) & (reach < np.inf), y.shape)
    if not wide.any():
        return caused

    def changed(own: Floats, distance: Floats, units: Callable[[Floats], Floats]) -> Floats:
        here, middle = np.broadcast_to(distance, y.shape)[wide], np.broadcast_to(x, y.shape)[wide]
        beside = [np.broadcast_to(other, y.shape)[wide] for other in others]
        change = np.fmax(*(np.abs(function(middle + side, *beside) - y[wide]) for side in (here, -here)))
        result = np.array(np.broadcast_to(own, y.shape))
        result[wide] = np.fmax(result[wide], units(change))
        return result

    statistical = changed(caused.statistical, reach, lambda own: np.square(own / LAMBDA))
    if caused.worst is None or error.worst is None:
        return Twofold(statistical)
    return Twofold(statistical, changed(caused.worst, error.worst, lambda own: own))


def elementwise(
    function: Callable[[Floats], Floats],
    derivative: Callable[[Floats, Floats], Any],
    ulps: float,
    terms: Callable[[Floats, Floats], Floats] | None = None,
    to_pole: Callable[[Floats], Floats] | None = None,
) -> Callable[[Any], ErrorArray]:
    """The rule of y = f(x): the error is |f'(x)| times x's error, plus f's own error, given in units in the last place.

    terms: the size, from x and y, of terms that kernels add up to y and that may cancel; they err by as many units of their own.
    to_pole: the distance of x from the edge of f's domain, if f is infinite there. Rounding may take x to that edge and beyond,
        unless it is a sum of smaller terms, which stays positive, and its error is smaller than the distance.
    """

    def rule(x: Any) -> ErrorArray:
        x = in_range(x)
        model, value = x.model, function(x.value)
        error, scale = model.rounding(value, ulps), None
        if terms is not None:
            sizes = terms(x.value, value)
            sizes = np.where(np.isfinite(sizes), sizes, 0.0)
            error = error + model.raised(sizes * (ulps * model.roundoff_of_sums))
            scale = np.maximum(np.square(value), np.square(sizes))
        if x.error is not None or x.scale is not None:
            slope = model.raised(derivative(x.value, value))
            if x.error is not None:
                caused = x.error.mapped(lambda own, slope: np.where(own == 0, 0.0, slope * own), slope)
                error = error + bent(function, x.value, value, x.error, caused)
            if x.scale is not None:
                scale = np.fmax(np.square(value) if scale is None else scale, slope.statistical * x.scale)  # ∞ times 0
        unknown = _outside_by_rounding(function, x, value)
        if to_pole is not None and x.error is not None:
            room, variance = np.square(to_pole(x.value)), x.error.statistical
            may_reach = (room <= LAMBDA**2 * variance) & ((x.scale_or_own >= room) | (variance >= room))
            unknown = unknown | ((to_pole(x.value) > 0) & may_reach)
        return left_open(ErrorArray(value, model, error, scale=scale), unknown)

    return rule


def _outside_by_rounding(function: Callable[[Floats], Floats], x: ErrorArray, y: Floats) -> Any:
    """The mask where y = f(x) is NaN because x is outside of f's domain, but rounding alone may have taken it there."""
    if x.error is None or not math.isnan(y.sum()):
        return False
    outside = np.asarray(np.isnan(y) & np.isfinite(x.value))
    own, reach = x.value[outside], LAMBDA * np.sqrt(np.broadcast_to(x.error.statistical, y.shape)[outside])
    outside[outside] = ~np.isnan(function(own - reach)) | ~np.isnan(function(own + reach))
    return outside


def periodic(
    function: Callable[[Floats], Floats], derivative: Callable[[Floats, Floats], Any]
) -> Callable[[Any], ErrorArray]:
    """The rule of the sine and the cosine: where x may be anywhere in a period, y may be anywhere between -1 and 1."""
    rule = elementwise(function, derivative, 4)

    def covering(x: Any) -> ErrorArray:
        result = rule(x)
        if x.error is not None and result.own_error is not None:
            range_of_y = 2 * (1 + 2.0**-4)  # leaves room for the rounding of what is made of y
            whole = x.model.constant((range_of_y / LAMBDA) ** 2, range_of_y)
            reach = Twofold(LAMBDA * np.sqrt(x.error.statistical), x.error.worst)
            result.own_error = result.own_error.mapped(
                lambda own, reach, whole: np.where(reach > math.pi / 2, own + whole, own), reach, whole
            )
        return result

    return covering


def exponential(x: Any) -> ErrorArray:
    """The rule of exp; a result of zero counts as an underflow, but not of a number that may as well be infinite or NaN."""
    result = elementwise(np.exp, lambda x, y: y, 4)(x)
    lost = (result.value == 0) & (x.value > -np.inf)
    if x.model.branches.left_range:
        lost &= np.isfinite(x.error_or_zero.statistical)
    if lost.any() and result.own_error is not None:
        least, least_worst = x.model.least_lost
        floor = x.model.constant(least * least, least_worst)
        result.own_error = result.own_error.mapped(lambda own, floor: np.where(lost, floor, own), floor)
    return result


def finite(x: ErrorArray) -> Any:
    """The mask where x is a finite number in every implementation."""
    known = np.isfinite(x.value)
    return known & np.isfinite(in_range(x).error_or_zero.statistical) if x.model.branches.left_range else known


def square(x: ErrorArray) -> ErrorArray:
    x = in_range(x)
    model, value = x.model, np.square(x.value)
    rounding, quantum = rounded(value, model, None if x.quantum is None else x.quantum**2)
    scale = None if x.scale is None else np.square(x.scale)
    error = None
    if x.error is not None:
        # Of second order the square of the error itself: λ standard deviations of it are the square of λ of x's.
        error = x.error * (model.raised(2 * x.value) + x.error * model.constant(LAMBDA**2, 1.0))
    return ErrorArray(value, model, added(error, rounding), scale=scale, quantum=quantum)


def square_root(x: Any) -> ErrorArray:
    """The rule of the square root, whose error is at most the root of x's error even if x is close to zero. Where x may be zero,
    its root may be zero as well: the error is then no smaller than the root itself, of which the slope at x gives half. Where
    rounding alone makes x negative, the root may be NaN or a number: its error is infinite."""
    x = in_range(x)
    model, value, below = x.model, np.sqrt(x.value), x.value < 0
    if x.error is not None and below.any():
        below &= model.within(-x.value, x.error).statistical
        model.branches.here().out_of_range += int(np.count_nonzero(below))
        value = np.where(below, 0.0, value)
    error = model.rounding(value)
    if x.error is not None:

        def propagated(own: Floats, slope: Floats, size: Floats, root: Floats) -> Floats:
            near = np.minimum(slope * own, np.sqrt(own))
            return np.where(own == 0, 0.0, np.where(own >= size, np.maximum(near, root), near))

        slope, size, root = model.raised(0.5 / value), model.raised(x.value), model.raised(value)
        error = error + x.error.mapped(propagated, slope, size, root)
        if below.any():
            error = error.mapped(lambda own: np.where(below, np.inf, own))
    scale = None if x.scale is None else np.fmax(np.square(value), 0.25 / x.value * x.scale)
    return ErrorArray(value, model, error, scale=scale)


def absolute(x: ErrorArray) -> ErrorArray:
    x = ErrorArray(x.value, x.model, x.error, scale=x.scale, quantum=x.quantum, guide=x.guide)  # no open sum any more
    result = negative(x)
    result.value, result.guide = np.abs(x.value), None if x.guide is None else np.abs(x.guide)
    return result


def sign(x: ErrorArray) -> ErrorArray:
    zero = constant(0.0, x.model)
    otherwise = -1.0 if x.model.open_ties else 0.0  # of zero, whose choice is then between -1 and 1
    below: ErrorArray = where(less(x, zero), -1.0, absolute(x) * 0.0 + otherwise)
    result: ErrorArray = where(greater(x, zero), 1.0, below)
    return result


TWO_OVER_ROOT_PI = 2 / math.sqrt(math.pi)
# Accuracies in ulp as promised by common vector math libraries; sqrt is correctly rounded.
UFUNCS.update(
    {
        np.add: add,
        np.subtract: subtract,
        np.multiply: multiply,
        np.divide: divide,
        np.negative: negative,
        np.positive: lambda x: x,
        np.square: square,
        np.absolute: absolute,
        np.sign: sign,
        np.exp: exponential,
        np.expm1: elementwise(np.expm1, lambda x, y: y + 1, 4),
        np.log: elementwise(np.log, lambda x, y: 1 / x, 4, to_pole=lambda x: x),
        np.log1p: elementwise(np.log1p, lambda x, y: 1 / (1 + x), 4, to_pole=lambda x: 1 + x),
        np.sqrt: square_root,
        np.tanh: elementwise(np.tanh, lambda x, y: 1 - y * y, 4),
        np.sin: periodic(np.sin, lambda x, y: np.cos(x)),
        np.cos: periodic(np.cos, lambda x, y: np.sin(x)),
        np.tan: elementwise(np.tan, lambda x, y: 1 + y * y, 4),
        np.sinh: elementwise(np.sinh, lambda x, y: np.cosh(x), 4),
        np.cosh: elementwise(np.cosh, lambda x, y: np.sinh(x), 4),
        np.arcsin: elementwise(np.arcsin, lambda x, y: 1 / np.sqrt(1 - x * x), 4),
        np.arccos: elementwise(np.arccos, lambda x, y: 1 / np.sqrt(1 - x * x), 4),
        np.arctan: elementwise(np.arctan, lambda x, y: 1 / (1 + x * x), 4),
        np.arcsinh: elementwise(np.arcsinh, lambda x, y: 1 / np.sqrt(1 + x * x), 4),
        np.arctanh: elementwise(np.arctanh, lambda x, y: 1 / (1 - x * x), 4, to_pole=lambda x: 1 - np.abs(x)),
        np.exp2: elementwise(np.exp2, lambda x, y: y * math.log(2), 4),
        np.log2: elementwise(np.log2, lambda x, y: 1 / (x * math.log(2)), 4, to_pole=lambda x: x),
        np.log10: elementwise(np.log10, lambda x, y: 1 / (x * math.log(10)), 4, to_pole=lambda x: x),
        np.reciprocal: lambda x: divide(1.0, x),
        erf: elementwise(erf, lambda x, y: TWO_OVER_ROOT_PI * np.exp(-x * x), 4),
        np.isnan: lambda x: np.isnan(x.value),
        np.isinf: lambda x: np.isinf(x.value),
        np.isfinite: finite,
    }
)
