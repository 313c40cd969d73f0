"""Rules of element-wise functions of one argument, and of two."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.special import erf as error_function

from oracle.programs.adjoint import in_one_kernel, is_floating, is_negative, plain, summed_to
from oracle.programs.table import rule
from oracle.running_error import ErrorArray
from oracle.running_error.ranges import by_its_ends
from oracle.running_error.stores import with_more

TWO_OVER_ROOT_PI = 2 / math.sqrt(math.pi)


@rule("exp")
def exp(input: Any) -> Any:
    """e^x; g y."""
    y = np.exp(input)
    return y, lambda g: (g * y,)


@rule("exp2")
def exp2(input: Any) -> Any:
    """2^x; g y ln 2."""
    y = np.exp2(input)
    return y, lambda g: (g * y * math.log(2),)


@rule("expm1")
def expm1(input: Any) -> Any:
    """e^x - 1; g (y + 1)."""
    y = np.expm1(input)
    return y, lambda g: (g * (y + 1.0),)


@rule("log")
def log(input: Any) -> Any:
    """ln x; g / x."""
    return np.log(input), lambda g: (g / input,)


@rule("log2")
def log2(input: Any) -> Any:
    """log₂ x; g / (x ln 2)."""
    return np.log2(input), lambda g: (g / (input * math.log(2)),)


@rule("log10")
def log10(input: Any) -> Any:
    """log₁₀ x; g / (x ln 10)."""
    return np.log10(input), lambda g: (g / (input * math.log(10)),)


@rule("log1p")
def log1p(input: Any) -> Any:
    """ln(1 + x); g / (1 + x)."""
    return np.log1p(input), lambda g: (g / (input + 1.0),)


@rule("sin")
def sin(input: Any) -> Any:
    """sin x; g cos x."""
    return np.sin(input), lambda g: (g * np.cos(input),)


@rule("cos")
def cos(input: Any) -> Any:
    """cos x; -g sin x."""
    return np.cos(input), lambda g: (-g * np.sin(input),)


@rule("tan")
def tan(input: Any) -> Any:
    """tan x; g (1 + y²)."""
    y = np.tan(input)
    return y, lambda g: (g * (np.square(y) + 1.0),)


@rule("sinh")
def sinh(input: Any) -> Any:
    """sinh x; g cosh x."""
    return np.sinh(input), lambda g: (g * np.cosh(input),)


@rule("cosh")
def cosh(input: Any) -> Any:
    """cosh x; g sinh x."""
    return np.cosh(input), lambda g: (g * np.sinh(input),)


@rule("asin")
def asin(input: Any) -> Any:
    """arcsin x; g / √(1 - x²)."""
    return np.arcsin(input), lambda g: (g / np.sqrt(1.0 - np.square(input)),)


@rule("acos")
def acos(input: Any) -> Any:
    """arccos x; -g / √(1 - x²)."""
    return np.arccos(input), lambda g: (-g / np.sqrt(1.0 - np.square(input)),)


@rule("atan")
def atan(input: Any) -> Any:
    """arctan x; g / (1 + x²)."""
    return np.arctan(input), lambda g: (g / (np.square(input) + 1.0),)


@rule("asinh")
def asinh(input: Any) -> Any:
    """arsinh x; g / √(x² + 1)."""
    return np.arcsinh(input), lambda g: (g / np.sqrt(np.square(input) + 1.0),)


@rule("acosh")
def acosh(input: Any) -> Any:
    """arcosh x; g / √(x² - 1)."""
    return np.arccosh(input), lambda g: (g / np.sqrt(np.square(input) - 1.0),)


@rule("atanh")
def atanh(input: Any) -> Any:
    """artanh x; g / (1 - x²)."""
    return np.arctanh(input), lambda g: (g / (1.0 - np.square(input)),)


@rule("erf")
def erf(input: Any) -> Any:
    """erf x; g 2/√π e^(-x²)."""
    y = error_function(input)
    if (
        isinstance(y, ErrorArray) and y.dtype.itemsize == 2
    ):  # in float32 as 1 - P(|x|) e^(-x²), which errs in relation to 1
        y = with_more(y, y.model.of("float32").rounding(np.ones_like(y.value), ulps=2))
    return y, lambda g: (g * TWO_OVER_ROOT_PI * np.exp(-np.square(input)),)


@rule("logaddexp")
def logaddexp(input: Any, other: Any) -> Any:
    """ln(e^x + e^y); g / (1 + e^(y-x)), and g / (1 + e^(x-y))."""
    return _log_add_exp(input, other, np.exp, np.log)


@rule("logaddexp2")
def logaddexp2(input: Any, other: Any) -> Any:
    """log₂(2^x + 2^y); g / (1 + 2^(y-x)), and g / (1 + 2^(x-y))."""
    return _log_add_exp(input, other, np.exp2, np.log2)


def _log_add_exp(input: Any, other: Any, exp: Any, log: Any) -> Any:
    def part(g: Any, own: Any, beside: Any) -> Any:
        whole = 1.0 + exp(beside - own)
        share = 1.0 / whole
        overflows = isinstance(whole, ErrorArray) and np.isfinite(whole.value) & (whole.value > whole.model.largest)
        limited = by_its_ends(share, lambda x: 1.0 / (1.0 + exp(-x)), own - beside, unless=overflows)
        return summed_to(g / whole if limited is share else g * limited, own)

    return in_one_kernel(lambda x, y: added_logs(x, y, exp, log), input, other), lambda g: (
        part(g, input, other),
        part(g, other, input),
    )


def added_logs(x: Any, y: Any, exp: Any = np.exp, log: Any = np.log) -> Any:
    """The logarithm of the sum of two numbers, given by their logarithms."""
    larger = np.maximum(plain(x), plain(y))
    larger = np.where(np.isfinite(larger), larger, 0.0)
    made = log(exp(x - larger) + exp(y - larger)) + larger
    return by_its_ends(made, np.logaddexp if exp is np.exp else np.logaddexp2, x, y)


@rule("pow")
def pow(input: Any, exponent: Any) -> Any:
    """x^c; g c x^(c-1). For an exponent that is an array x^y; g y x^(y-1), 0 where y is 0, and g x^y ln x, 0 where x is 0 ≤ y."""
    if not hasattr(exponent, "dtype"):
        c = float(exponent)
        if c == 0:
            return np.ones_like(input), lambda g: (np.zeros_like(input),)
        return input**c, lambda g: (g * (input ** (c - 1) * c if c != 1 else 1.0),)
    base = input if hasattr(input, "dtype") else np.full_like(exponent, float(input))
    power = np.power(base, exponent)

    def of_base(g: Any) -> Any:
        none = np.equal(exponent, 0)
        slope = np.power(base, np.where(none, 1.0, exponent) - 1.0) * exponent
        return summed_to(np.where(none, 0.0, g * slope), input)

    def of_exponent(g: Any) -> Any:
        none = np.equal(base, 0) & np.greater_equal(exponent, 0)
        return summed_to(np.where(none, 0.0, power * np.log(np.where(none, 1.0, base))) * g, exponent)

    return power, lambda g: (
        of_base(g) if is_floating(input) else None,
        of_exponent(g) if is_floating(exponent) else None,
    )


@rule("heaviside")
def heaviside(input: Any, values: Any) -> Any:
    """0 below 0, 1 above, v at 0; no gradient."""
    return np.where(np.equal(input, 0.0), values, np.where(np.greater(input, 0.0), 1.0, 0.0)), lambda g: (None, None)


@rule("xlogy")
def xlogy(input: Any, other: Any) -> Any:
    """x ln y, 0 where x is 0 and y a number; g ln y, and g x / y."""
    zero = (plain(input) == 0) & ~np.isnan(plain(other))
    none = (plain(input) == 0) & (plain(other) <= 0)
    y = np.where(zero, 0.0, input * np.log(np.where(zero, 1.0, other)))
    return y, lambda g: (
        summed_to(np.where(none, 0.0, g * np.log(np.where(none, 1.0, other))), input),
        summed_to(g * input / other, other),
    )


@rule("atan2")
def atan2(input: Any, other: Any) -> Any:
    """The angle of (y, x), with the sign of y, even of a zero; g y / (x² + y²), and -g x / (x² + y²), 0 at the origin."""
    angle = np.arctan2(np.abs(input), other)
    negative = is_negative(input)

    def backward(g: Any) -> Any:
        origin = np.equal(input, 0.0) & np.equal(other, 0.0)
        size = np.where(origin, 1.0, np.square(input) + np.square(other))
        by_input, by_other = (np.where(origin, 0.0, g * (own / size)) for own in (other, -input))
        return summed_to(by_input, input), summed_to(by_other, other)

    return np.where(negative, -angle, angle), backward
