"""Element by element: sums, products, quotients, powers."""

from __future__ import annotations

from typing import Any

import numpy as np

from oracle.programs.adjoint import summed_to
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
        raise_to = {"floor": np.floor, "trunc": np.trunc}[rounding_mode]
        return raise_to(input / other), lambda g: (summed_to(g * 0.0, input), summed_to(g * 0.0, other))
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


@rule("exp")
def exp(input: Any) -> Any:
    """e^x; g y."""
    y = np.exp(input)
    return y, lambda g: (g * y,)


@rule("log")
def log(input: Any) -> Any:
    """ln x; g / x."""
    return np.log(input), lambda g: (g / input,)


@rule("sin")
def sin(input: Any) -> Any:
    """sin x; g cos x."""
    return np.sin(input), lambda g: (g * np.cos(input),)


@rule("cos")
def cos(input: Any) -> Any:
    """cos x; -g sin x."""
    return np.cos(input), lambda g: (-g * np.sin(input),)
