"""Rules of element-wise arithmetic: sums, products, quotients, powers, maxima."""

from __future__ import annotations

from typing import Any

import numpy as np

from oracle.programs.adjoint import plain, summed_to
from oracle.programs.table import rule


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
    if getattr(input, "dtype", None) == np.bool_:
        return other * input, lambda g: (None, summed_to(g * input, other))
    return input * other, lambda g: (summed_to(g * other, input), summed_to(g * input, other))


@rule("div")
def div(input: Any, other: Any, rounding_mode: str | None = None) -> Any:
    """x / y; g / y, and -g (x/y) / y."""
    if rounding_mode is not None:
        rounded = {"floor": np.floor, "trunc": np.trunc}[rounding_mode]
        return rounded(input / other), lambda g: (summed_to(g * 0.0, input), summed_to(g * 0.0, other))
    quotient = input / other
    return quotient, lambda g: (summed_to(g / other, input), summed_to(-g * (quotient / other), other))


@rule("neg")
def neg(input: Any) -> Any:
    """-x; -g."""
    return -input, lambda g: (-g,)


@rule("pow")
def pow(input: Any, exponent: Any) -> Any:
    """x^c; g c x^(c-1). For an exponent that is an array x^y; g y x^(y-1), and g x^y ln x."""
    if not hasattr(exponent, "dtype"):
        c = float(exponent)
        if c == 0:
            return np.ones_like(input), lambda g: (np.zeros_like(input),)
        return input**c, lambda g: (g * (input ** (c - 1) * c if c != 1 else 1.0),)
    base = input if hasattr(input, "dtype") else np.full_like(exponent, float(input))
    power = np.exp(exponent * np.log(base))
    return power, lambda g: (
        summed_to(g * exponent * (power / base), input),
        summed_to(g * power * np.log(base), exponent),
    )


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
    """x + v a / b; g, v g / b, and -v g (a/b) / b."""
    quotient = tensor1 / tensor2
    return input + _times(quotient, value), lambda g: (
        summed_to(g, input),
        summed_to(_times(g / tensor2, value), tensor1),
        summed_to(_times(-g * (quotient / tensor2), value), tensor2),
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
    return np.abs(input), lambda g: (g * np.sign(input),)


@rule("sign", "sgn")
def sign(input: Any) -> Any:
    """-1, 0 or 1; no gradient."""
    return np.sign(input), lambda g: (g * 0.0,)


@rule("floor")
def floor(input: Any) -> Any:
    """⌊x⌋; no gradient."""
    return np.floor(input), lambda g: (g * 0.0,)


@rule("ceil")
def ceil(input: Any) -> Any:
    """⌈x⌉; no gradient."""
    return np.ceil(input), lambda g: (g * 0.0,)


@rule("trunc")
def trunc(input: Any) -> Any:
    """x truncated to a whole number; no gradient."""
    return np.trunc(input), lambda g: (g * 0.0,)


@rule("round")
def round(input: Any, *, decimals: int = 0) -> Any:
    """x rounded to a number of decimals, halves to even; no gradient."""
    if decimals == 0:
        return np.rint(input), lambda g: (g * 0.0,)
    unit = 10.0 ** (decimals if decimals > 0 else -decimals)
    y = np.rint(input * unit) / unit if decimals > 0 else np.rint(input / unit) * unit
    return y, lambda g: (g * 0.0,)


@rule("maximum")
def maximum(input: Any, other: Any) -> Any:
    """The larger of two; g to it, half of g to each if they are equal."""
    return np.maximum(input, other), lambda g: _to_chosen(g, input, other, input > other, input < other)


@rule("minimum")
def minimum(input: Any, other: Any) -> Any:
    """The smaller of two; g to it, half of g to each if they are equal."""
    return np.minimum(input, other), lambda g: _to_chosen(g, input, other, input < other, input > other)


def _to_chosen(g: Any, input: Any, other: Any, first: Any, second: Any) -> Any:
    half = g * 0.5
    return (
        summed_to(np.where(first, g, np.where(second, 0.0, half)), input),
        summed_to(np.where(second, g, np.where(first, 0.0, half)), other),
    )


@rule("clamp", "clip")
def clamp(input: Any, min: Any = None, max: Any = None) -> Any:
    """min(max(x, low), high); g to x where low <= x <= high, else to the limit."""
    y = input if min is None else np.maximum(input, min)
    y = y if max is None else np.minimum(y, max)

    def backward(g: Any) -> Any:
        inside, low, high = g, None, None
        crossed = False if min is None or max is None else plain(min) > plain(max)  # the upper limit then counts
        if max is not None:
            above = np.greater(input, max)
            inside, high = np.where(above, 0.0, inside), np.where(crossed, g, np.where(above, g, 0.0))
        if min is not None:
            below = np.less(input, min)
            inside, low = np.where(below, 0.0, inside), np.where(crossed, 0.0, np.where(below, g, 0.0))
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
    """x - y ⌊x/y⌋ (remainder); g, and -g ⌊x/y⌋."""
    whole = np.floor(plain(input) / plain(other))
    return input - other * whole, lambda g: (summed_to(g, input), summed_to(-g * whole, other))


@rule("frac")
def frac(input: Any) -> Any:
    """The fractional part of x; g."""
    return input - np.trunc(plain(input)), lambda g: (g,)
