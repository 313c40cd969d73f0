"""Rules of special functions: of the gamma function, the error function, the normal distribution and Bessel's."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy import special

from oracle.programs.adjoint import in_one_kernel, plain, sign_of, summed_to
from oracle.programs.table import rule
from oracle.running_error.special import zeta, zeta_of_arrays

TWO_OVER_ROOT_PI = 2 / math.sqrt(math.pi)
ROOT_TWO_PI = math.sqrt(2 * math.pi)


@rule("lgamma")
def lgamma(input: Any) -> Any:
    """ln |Γ(x)|, ∞ at -∞; g ψ(x)."""
    y = np.where(plain(input) == -np.inf, np.inf, special.gammaln(input))
    return y, lambda g: (g * special.psi(input),)


@rule("digamma")
def digamma(input: Any) -> Any:
    """ψ(x), the derivative of ln Γ; g ψ'(x)."""
    return special.psi(input), lambda g: (g * _polygamma(1, input),)


@rule("polygamma")
def polygamma(n: int, input: Any) -> Any:
    """The n-th derivative of ψ; g times the next."""
    return _polygamma(n, input), lambda g: (None, g * _polygamma(n + 1, input))


def _polygamma(n: int, x: Any) -> Any:
    """(-1)^(n+1) n! ζ(n + 1, x), ψ for n = 0."""
    if n == 0:
        return special.psi(x)
    factor = float(math.factorial(n)) * (1 if n % 2 else -1)
    return in_one_kernel(lambda x: zeta(float(n + 1), x) * factor, x)


@rule("special_zeta")
def hurwitz_zeta(input: Any, other: Any) -> Any:
    """Σ (y + k)^(-x), Hurwitz's ζ(x, y); -g x ζ(x + 1, y) to y, and nothing to x."""
    y = in_one_kernel(zeta_of_arrays, input, other)
    return y, lambda g: (
        None,
        summed_to(g * (-input * in_one_kernel(zeta_of_arrays, input + 1.0, other)), other),
    )


@rule("mvlgamma")
def mvlgamma(input: Any, p: int) -> Any:
    """Σ ln Γ(x - i/2) for i < p, plus p (p - 1) / 4 ln π; g Σ ψ(x - i/2)."""
    places = np.expand_dims(input, -1) + np.arange(p - 1, -1, -1) * -0.5
    y = np.sum(special.gammaln(places), axis=-1) + p * (p - 1) / 4 * math.log(math.pi)
    return y, lambda g: (g * np.sum(special.psi(places), axis=-1), None)


@rule("erfc")
def erfc(input: Any) -> Any:
    """1 - erf x; -g 2/√π e^(-x²)."""
    return special.erfc(input), lambda g: (g * -TWO_OVER_ROOT_PI * np.exp(-np.square(input)),)


@rule("erfinv")
def erfinv(input: Any) -> Any:
    """The number whose erf is x; g √π/2 e^(y²)."""
    y = special.erfinv(input)
    return y, lambda g: (g * (1 / TWO_OVER_ROOT_PI) * np.exp(np.square(y)),)


@rule("special_erfcx")
def erfcx(input: Any) -> Any:
    """e^(x²) erfc x; g (2 x y - 2/√π)."""
    y = special.erfcx(input)
    return y, lambda g: (g * (input * 2.0 * y - TWO_OVER_ROOT_PI),)


@rule("special_log_ndtr")
def log_ndtr(input: Any) -> Any:
    """The logarithm of the normal distribution's probability of less than x; g e^(-x²/2 - y) / √(2π)."""
    y = special.log_ndtr(input)
    return y, lambda g: (g / ROOT_TWO_PI * np.exp(-(y + np.square(input) / 2.0)),)


@rule("special_ndtri")
def ndtri(input: Any) -> Any:
    """The number below which the normal distribution has the probability x; g √(2π) e^(y²/2)."""
    y = special.ndtri(input)
    return y, lambda g: (g * ROOT_TWO_PI * np.exp(np.square(y) / 2.0),)


@rule("i0")
def i0(input: Any) -> Any:
    """Bessel's I₀(x); g I₁(x)."""
    return special.i0(input), lambda g: (g * special.i1(input),)


@rule("special_i0e")
def i0e(input: Any) -> Any:
    """e^(-|x|) I₀(x); g (e^(-|x|) I₁(x) - y sign x)."""
    y = special.i0e(input)
    return y, lambda g: (g * (special.i1e(input) - y * sign_of(input)),)


@rule("special_i1")
def i1(input: Any) -> Any:
    """Bessel's I₁(x); g (I₀(x) - y / x), g / 2 at 0 and at NaN."""
    y, zero = special.i1(input), ~(np.abs(plain(input)) > 0)
    x = np.where(zero, 1.0, input)
    return y, lambda g: (g * np.where(zero, 0.5, special.i0(x) - y / x),)


@rule("special_i1e")
def i1e(input: Any) -> Any:
    """e^(-|x|) I₁(x); g (e^(-|x|) I₀(x) - y (sign x + 1 / x)), g / 2 at 0 and at NaN."""
    y, zero = special.i1e(input), ~(np.abs(plain(input)) > 0)
    x = np.where(zero, 1.0, input)
    return y, lambda g: (g * np.where(zero, 0.5, special.i0e(x) - y * (sign_of(x) + 1.0 / x)),)


@rule("special_entr")
def entr(input: Any) -> Any:
    """-x ln x, 0 at 0, -∞ below; -g (1 + ln x)."""
    zero = plain(input) == 0
    x = np.where(zero, 1.0, input)
    y = np.where(zero, 0.0, np.where(plain(x) < 0, -np.inf, -x * np.log(x)))
    return y, lambda g: (g * -(np.log(input) + 1.0),)


@rule("special_xlog1py")
def xlog1py(input: Any, other: Any) -> Any:
    """x ln(1 + y), 0 where x is 0; g ln(1 + y), and g x / (1 + y)."""
    other_array = _array(other, input)
    zero = (plain(input) == 0) & ~np.isnan(plain(other_array))
    y = np.where(zero, 0.0, input * np.log1p(np.where(zero, 0.0, other_array)))
    none = (plain(input) == 0) & (plain(other_array) <= -1)
    return y, lambda g: (
        summed_to(np.where(none, 0.0, g * np.log1p(np.where(none, 0.0, other_array))), input),
        summed_to(g * input / (other + 1.0), other),
    )


def _array(x: Any, like: Any) -> Any:
    """A number as an array of another's kind."""
    return x if hasattr(x, "dtype") else np.full_like(like, float(x), shape=())


@rule("sinc")
def sinc(input: Any) -> Any:
    """sin(πx) / (πx), 1 at 0; g (cos(πx) / x - sin(πx) / (πx²)), 0 at 0."""
    zero = plain(input) == 0

    def function(x: Any) -> Any:
        turned = np.where(zero, 1.0, x * math.pi)
        return np.where(zero, 1.0, np.sin(turned) / turned)

    def backward(g: Any) -> Any:
        turned = input * math.pi
        squared = np.where(zero, 1.0, input * input * math.pi)
        return (np.where(zero, 0.0, g * ((turned * np.cos(turned) - np.sin(turned)) / squared)),)

    return in_one_kernel(function, input), backward


@rule("logit")
def logit(input: Any, eps: Any = None) -> Any:
    """ln(x / (1 - x)), with x clipped to [ε, 1 - ε] if ε is given; g / (x (1 - x)), outside 0, or NaN without ε."""
    x = input if eps is None else np.minimum(np.maximum(input, eps), 1 - eps)

    def backward(g: Any) -> Any:
        low, high = (0.0, 1.0) if eps is None else (eps, 1 - eps)
        edge = (plain(input) == 0) | (plain(input) == 1)
        inside = np.where(edge, g * np.inf, g / np.where(edge, 1.0, input * (1.0 - input)))
        return (np.where((input < low) | (input > high), np.nan if eps is None else 0.0, inside),)

    return np.log(x / (1.0 - x)), backward
