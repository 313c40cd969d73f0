"""Rules of element-wise arithmetic: sums, products, quotients, powers, maxima."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from oracle.programs.adjoint import in_one_kernel, is_floating, is_negative, plain, sign_of, summed_to
from oracle.programs.table import rule
from oracle.running_error import ErrorArray
from oracle.running_error.array import operands
from oracle.running_error.elementwise import is_mask
from oracle.running_error.model import limits


def _times(x: Any, factor: Any) -> Any:
    return x if isinstance(factor, (int, float)) and factor == 1 else x * factor


@rule("add")
def add(input: Any, other: Any, alpha: Any = 1) -> Any:
    """x + α y; g, and α g."""
    return input + _times(other, alpha), lambda g: (summed_to(g, input), summed_to(_times(g, alpha), other))


@rule("sub")
def sub(input: Any, other: Any, alpha: Any = 1) -> Any:
    """x - α y; g, and -α g."""
    return input - _times(other, alpha), lambda g: (summed_to(g, input), summed_to(-_times(g, alpha), other))


@rule("rsub")
def rsub(input: Any, other: Any, alpha: Any = 1) -> Any:
    """y - α x; -α g, and g."""
    return other - _times(input, alpha), lambda g: (summed_to(-_times(g, alpha), input), summed_to(g, other))


@rule("mul")
def mul(input: Any, other: Any) -> Any:
    """x y; g y, and g x."""
    if is_mask(input) and is_mask(other):
        return input & other, lambda g: (None, None)
    if is_mask(input):
        product, back = mul(other, input)
        return product, lambda g: back(g)[::-1]
    if is_mask(other) and not is_floating(input):  # a number
        return np.where(other, input, 0 * input), lambda g: (None, None)
    return input * other, lambda g: (summed_to(g * other, input), summed_to(g * input, other))


@rule("div")
def div(input: Any, other: Any, rounding_mode: str | None = None) -> Any:
    """x / y; g / y, and -g (x/y) / y."""
    if rounding_mode is not None:
        return _whole_quotient(input, other, {"floor": np.floor, "trunc": np.trunc}[rounding_mode]), lambda g: (
            summed_to(np.zeros_like(g), input),
            summed_to(np.zeros_like(g), other),
        )
    quotient = input / other
    return quotient, lambda g: (summed_to(g / other, input), summed_to(-g * (quotient / other), other))


@rule("floor_divide")
def floor_divide(input: Any, other: Any) -> Any:
    """⌊x / y⌋; no gradient."""
    return _whole_quotient(input, other, np.floor), lambda g: (None, None)


def _whole_quotient(input: Any, other: Any, rounded: Any) -> Any:
    """x / y, rounded to a whole number. Where y divides x, and both are exact, the quotient is one already. Of an infinity the
    floor is Python's: NaN of ∞ / y, and -1 of -1 / ∞."""
    whole, x, y = rounded(input / other), plain(input), plain(other)
    certain = np.isinf(x) | np.isinf(y)
    if all(not isinstance(own, ErrorArray) or own.error is None for own in (input, other)):
        certain = certain | (np.fmod(x, y) == 0)
    return np.where(certain, np.floor_divide(x, y) if rounded is np.floor else np.trunc(x / y), whole)


@rule("neg")
def neg(input: Any) -> Any:
    """-x; -g."""
    return -input, lambda g: (-g,)


@rule("square")
def square(input: Any) -> Any:
    """x²; 2 g x."""
    return np.square(input), lambda g: (g * (input * 2.0),)


@rule("sqrt")
def sqrt(input: Any) -> Any:
    """√x; g / (2 √x)."""
    root = np.sqrt(input)
    return root, lambda g: (g / (root * 2.0),)


@rule("rsqrt")
def rsqrt(input: Any) -> Any:
    """1/√x; -g y³ / 2."""
    y = 1.0 / np.sqrt(input)
    return y, lambda g: (g * -0.5 * (y * y * y),)


@rule("reciprocal")
def reciprocal(input: Any) -> Any:
    """1/x; -g y²."""
    y = 1.0 / input
    return y, lambda g: (-g * (y * y),)


@rule("addcmul")
def addcmul(input: Any, tensor1: Any, tensor2: Any, value: Any = 1) -> Any:
    """x + v a b; g, v g b, and v g a."""
    return input + _times(tensor1 * tensor2, value), lambda g: (
        summed_to(g, input),
        summed_to(g * _times(tensor2, value), tensor1),  # in torch's order: the product may be one in 16 bits
        summed_to(g * _times(tensor1, value), tensor2),
    )


@rule("addcdiv")
def addcdiv(input: Any, tensor1: Any, tensor2: Any, value: Any = 1) -> Any:
    """x + v a / b; g, v g / b, and -g (v a / b²), whose square may leave the range."""
    return input + _times(tensor1 / tensor2, value), lambda g: (
        summed_to(g, input),
        summed_to(_times(g / tensor2, value), tensor1),
        summed_to(-g * (_times(tensor1, value) / (tensor2 * tensor2)), tensor2),
    )


@rule("lerp")
def lerp(input: Any, end: Any, weight: Any) -> Any:
    """x + w (y - x); g (1 - w), g w, and g (y - x)."""
    return input + (end - input) * weight, lambda g: (
        summed_to(g - g * weight, input),
        summed_to(g * weight, end),
        summed_to(g * (end - input), weight),
    )


@rule("abs")
def abs(input: Any) -> Any:
    """|x|; g sign x, 0 at 0."""
    return np.abs(input), lambda g: (g * sign_of(input),)


@rule("sign", "sgn")
def sign(input: Any) -> Any:
    """-1, 0 or 1, 0 for NaN; no gradient."""
    return sign_of(input), lambda g: (np.zeros_like(g),)


@rule("floor")
def floor(input: Any) -> Any:
    """⌊x⌋; no gradient."""
    return np.floor(input), lambda g: (np.zeros_like(g),)


@rule("ceil")
def ceil(input: Any) -> Any:
    """⌈x⌉; no gradient."""
    return np.ceil(input), lambda g: (np.zeros_like(g),)


@rule("trunc")
def trunc(input: Any) -> Any:
    """x truncated to a whole number; no gradient."""
    return np.trunc(input), lambda g: (np.zeros_like(g),)


@rule("round")
def round(input: Any, *, decimals: int = 0) -> Any:
    """x rounded to a number of decimals, halves to even; no gradient."""
    if decimals == 0:
        return np.rint(input), lambda g: (np.zeros_like(g),)
    unit = 10.0 ** (decimals if decimals > 0 else -decimals)
    y = np.rint(input * unit) / unit if decimals > 0 else np.rint(input / unit) * unit
    return y, lambda g: (np.zeros_like(g),)


@rule("maximum")
def maximum(input: Any, other: Any) -> Any:
    """The larger of two; g to it, half of g to each if they are equal."""
    return np.maximum(input, other), lambda g: _to_chosen(g, input, other, input > other, input < other)


@rule("minimum")
def minimum(input: Any, other: Any) -> Any:
    """The smaller of two; g to it, half of g to each if they are equal."""
    return np.minimum(input, other), lambda g: _to_chosen(g, input, other, input < other, input > other)


def _to_chosen(g: Any, input: Any, other: Any, first: Any, second: Any) -> Any:
    """g to each where one is NaN, which is neither larger, smaller nor equal."""
    half = np.where(np.isnan(plain(input)) | np.isnan(plain(other)), g, g * 0.5)
    return (
        summed_to(np.where(first, g, np.where(second, 0.0, half)), input),
        summed_to(np.where(second, g, np.where(first, 0.0, half)), other),
    )


@rule("clamp", "clip")
def clamp(input: Any, min: Any = None, max: Any = None) -> Any:
    """min(max(x, low), high); g to x where low <= x <= high, else to the limit, of crossed limits always to the upper one. None
    of g goes to NaN, which is in no range, or to a number whose limit is NaN.

    Where the limits are equal, the lower one gets nothing, as in torch: reports/findings/torch-clamp-equal-limits.md.
    """
    y = input if min is None else np.maximum(input, min)
    y = y if max is None else np.minimum(y, max)

    def backward(g: Any) -> Any:
        unknown = np.isnan(plain(input))
        for limit in (min, max):
            unknown = unknown if limit is None else unknown | np.isnan(plain(limit))
        inside, low, high = np.where(unknown, 0.0, g) if unknown.any() else g, None, None
        crossed = False if min is None or max is None else plain(min) > plain(max)  # the upper limit then counts
        if max is not None:
            above = np.greater(input, max)
            inside, high = np.where(above, 0.0, inside), np.where(crossed, g, np.where(above, g, 0.0))
        if min is not None:
            below = np.less(input, min)
            counts = True if max is None else plain(min) < plain(max)
            inside, low = np.where(below, 0.0, inside), np.where(counts, np.where(below, g, 0.0), 0.0)
        return (
            summed_to(inside, input),
            None if low is None else summed_to(low, min),
            None if high is None else summed_to(high, max),
        )

    return y, backward


@rule("clamp_min")
def clamp_min(input: Any, min: Any) -> Any:
    """max(x, low); g to x where x >= low, else to low."""
    return clamp(input, min)


@rule("clamp_max")
def clamp_max(input: Any, max: Any) -> Any:
    """min(x, high); g to x where x <= high, else to high."""
    y, back = clamp(input, None, max)

    def backward(g: Any) -> Any:
        grad_input, _, grad_max = back(g)
        return grad_input, grad_max

    return y, backward


@rule("remainder")
def remainder(input: Any, other: Any) -> Any:
    """x - y ⌊x/y⌋, which has the sign of y; g, and -g ⌊x/y⌋."""
    return _modulo(input, other, np.remainder, np.floor), lambda g: (
        summed_to(g, input),
        summed_to(-g * _whole_quotient(input, other, np.floor), other),
    )


@rule("fmod")
def fmod(input: Any, other: Any) -> Any:
    """x - y trunc(x/y), which has the sign of x; g, and -g trunc(x/y)."""
    return _modulo(input, other, np.fmod, np.trunc), lambda g: (
        summed_to(g, input),
        summed_to(-g * _whole_quotient(input, other, np.trunc), other),
    )


def _modulo(input: Any, other: Any, function: Any, whole: Any) -> Any:
    """x less a whole number of y. Of exact numbers fmod rounds nothing, and the remainder adds y to it where the signs differ."""
    if not any(isinstance(own, ErrorArray) for own in (input, other)):
        return function(input, other)
    x, y = operands(input, other)
    if x.error is not None or y.error is not None:
        return input - whole(input / other) * other
    value = function(x.value, y.value)
    return ErrorArray(value, x.model, None if function is np.fmod else x.model.rounding(value))


@rule("frac")
def frac(input: Any) -> Any:
    """The fractional part of x; g."""
    return input - np.trunc(plain(input)), lambda g: (g,)


@rule("copysign")
def copysign(input: Any, other: Any) -> Any:
    """|x| with the sign of y; g times the sign of x y, 0 where x is 0, NaN where it is infinite, and nothing to y."""
    negative, size = is_negative(other), np.abs(input)

    def backward(g: Any) -> Any:
        along = g * np.where(np.isinf(plain(input)), np.nan, np.sign(input))
        return summed_to(np.where(negative, -along, along), input), None

    return np.where(negative, -size, size), backward


@rule("fmax")
def fmax(input: Any, other: Any) -> Any:
    """The larger of two, a number before NaN; g to x where x >= y or y is NaN, else to y."""
    return _number_before_nan(input, other, np.maximum, np.greater_equal)


@rule("fmin")
def fmin(input: Any, other: Any) -> Any:
    """The smaller of two, a number before NaN; g to x where x <= y or y is NaN, else to y."""
    return _number_before_nan(input, other, np.minimum, np.less_equal)


def _number_before_nan(input: Any, other: Any, extreme: Any, compare: Any) -> Any:
    alone = np.isnan(plain(other))
    y = np.where(alone, input, np.where(np.isnan(plain(input)), other, extreme(input, other)))

    def backward(g: Any) -> Any:
        first = compare(input, other) | alone
        return summed_to(np.where(first, g, 0.0), input), summed_to(np.where(first, 0.0, g), other)

    return y, backward


@rule("hypot")
def hypot(input: Any, other: Any) -> Any:
    """√(x² + y²); g x / h, and g y / h."""
    h = np.hypot(input, other)
    return h, lambda g: (summed_to(g * input / h, input), summed_to(g * other / h, other))


@rule("ldexp")
def ldexp(input: Any, other: Any) -> Any:
    """x 2^y; g 2^y, and g x 2^y ln 2."""
    power = np.exp2(other if hasattr(other, "dtype") else float(other))
    y = input * power
    return y, lambda g: (summed_to(g * power, input), summed_to(g * y * math.log(2), other))


@rule("frexp", shown=True)
def frexp(input: Any, *, shown: Any) -> Any:
    """x = m 2^e with 1/2 <= |m| < 1; of m, g / 2^e."""
    exponent = shown[1].numbers
    unit = np.exp2(exponent.astype(float))
    return (input / unit, exponent), lambda g, _: (g / unit,)


@rule("nan_to_num", shown=True)
def nan_to_num(input: Any, nan: Any = None, posinf: Any = None, neginf: Any = None, *, shown: Any) -> Any:
    """x with numbers in place of NaN, ∞ and -∞; g where x is finite."""
    largest = float(limits(np.dtype(shown[0].dtype)).max)
    values = plain(input)
    y = np.where(np.isnan(values), 0.0 if nan is None else float(nan), input)
    y = np.where(values == np.inf, largest if posinf is None else float(posinf), y)
    y = np.where(values == -np.inf, -largest if neginf is None else float(neginf), y)
    return y, lambda g: (g * np.isfinite(values),)


@rule("nextafter", shown=True)
def nextafter(input: Any, other: Any, *, shown: Any) -> Any:
    """The number of the dtype that follows x on the way to y; g where they differ."""
    kind = np.dtype(shown[0].dtype)
    value = np.nextafter(plain(input).astype(kind), plain(other).astype(kind)).astype(float)
    y = ErrorArray(value, input.model, input.error) if isinstance(input, ErrorArray) else value
    return y, lambda g: (summed_to(np.where(input != other, g, 0.0), input), None)


@rule("deg2rad")
def deg2rad(input: Any) -> Any:
    """x π / 180; g π / 180."""
    return _in_other_units(input, math.pi / 180)


@rule("rad2deg")
def rad2deg(input: Any) -> Any:
    """x 180 / π; g 180 / π."""
    return _in_other_units(input, 180 / math.pi)


def _in_other_units(input: Any, unit: float) -> Any:
    return in_one_kernel(lambda x: x * unit, input), lambda g: (in_one_kernel(lambda g: g * unit, g),)


@rule("angle")
def angle(input: Any) -> Any:
    """π below 0, else 0, and NaN for NaN; no gradient."""
    turned = np.where(np.less(input, 0.0), np.full_like(input, math.pi), np.zeros_like(input))
    return np.where(np.isnan(plain(input)), input, turned), lambda g: (np.zeros_like(input),)
