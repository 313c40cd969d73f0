"""Rules of functions of a complex number z = a + ib, whose parts lie in the last dimension.

The derivative of an analytic function multiplies g by its conjugate.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from oracle.programs.adjoint import is_negative, plain
from oracle.programs.rules.complex_numbers import conjugate, divided, joined, parts, times
from oracle.programs.rules.functions import atan2
from oracle.programs.rules.reductions import vector_norm
from oracle.programs.table import rule


@rule("complex::abs")
def absolute(input: Any) -> Any:
    """|z| = √(a² + b²); g z / |z|, 0 at 0."""
    size = np.hypot(*parts(input))
    return size, lambda g: (joined(g, g) * unit(input, size),)


def unit(x: Any, size: Any) -> Any:
    """z / |z|, and 0 at 0."""
    is_zero = plain(size) == 0
    a, b = (np.where(is_zero, 0.0, own / np.where(is_zero, 1.0, size)) for own in parts(x))
    return joined(a, b)


@rule("complex::angle")
def angle(input: Any) -> Any:
    """atan2(b, a); g (-b + ia) / |z|², 0 at 0."""
    a, b = parts(input)
    made, of_parts = atan2(b, a)
    return made, lambda g: (joined(*of_parts(g)[::-1]),)


@rule("complex::sgn")
def sgn(input: Any) -> Any:
    """s = z / |z|, 0 at 0; (g - s Re(s̄ g)) / |z|."""
    size = np.hypot(*parts(input))
    s = unit(input, size)

    def backward(g: Any) -> Any:
        (a, b), (c, d) = parts(s), parts(g)
        along, is_zero = a * c + b * d, plain(size) == 0
        of_a, of_b = (
            np.where(is_zero, 0.0, (own - part * along) / np.where(is_zero, 1.0, size))
            for own, part in ((c, a), (d, b))
        )
        return (joined(of_a, of_b),)

    return s, backward


def analytic(made: Any, slope: Any) -> Any:
    """The value of an analytic function with its backward: g times the conjugate of the derivative."""
    return made, lambda g: (times(g, conjugate(slope)),)


@rule("complex::exp")
def exp(input: Any) -> Any:
    """e^a (cos b + i sin b); g times the conjugate of it."""
    a, b = parts(input)
    size = np.exp(a)
    made = joined(size * np.cos(b), size * np.sin(b))
    return analytic(made, made)


@rule("complex::log")
def log(input: Any) -> Any:
    """ln |z| + i atan2(b, a); g / z̄."""
    a, b = parts(input)
    made = joined(np.log(np.hypot(a, b)), atan2(b, a)[0])
    return made, lambda g: (divided(g, conjugate(input)),)


@rule("complex::sqrt")
def sqrt(input: Any) -> Any:
    """The root y with a part a ≥ 0; g / (2 ȳ)."""
    a, b = parts(input)
    larger = np.sqrt((np.abs(a) + np.hypot(a, b)) * 0.5)
    is_zero = plain(larger) == 0
    smaller = np.where(is_zero, 0.0, np.abs(b) / np.where(is_zero, 1.0, larger * 2.0))
    is_right = plain(a) >= 0
    imaginary = np.where(is_right, smaller, larger)
    made = joined(np.where(is_right, larger, smaller), np.where(is_negative(b), -imaginary, imaginary))
    return made, lambda g: (divided(g, conjugate(made) * 2.0),)


def _sines(x: Any) -> tuple[Any, Any]:
    """sin z and cos z."""
    a, b = parts(x)
    sin, cos, sinh, cosh = np.sin(a), np.cos(a), np.sinh(b), np.cosh(b)
    return joined(sin * cosh, cos * sinh), joined(cos * cosh, -(sin * sinh))


def _hyperbolic(x: Any) -> tuple[Any, Any]:
    """sinh z and cosh z."""
    a, b = parts(x)
    sin, cos, sinh, cosh = np.sin(b), np.cos(b), np.sinh(a), np.cosh(a)
    return joined(sinh * cos, cosh * sin), joined(cosh * cos, sinh * sin)


@rule("complex::sin")
def sin(input: Any) -> Any:
    """sin a cosh b + i cos a sinh b; g times the conjugate of the cosine."""
    made, slope = _sines(input)
    return analytic(made, slope)


@rule("complex::cos")
def cos(input: Any) -> Any:
    """cos a cosh b - i sin a sinh b; -g times the conjugate of the sine."""
    sine, made = _sines(input)
    return analytic(made, -sine)


@rule("complex::sinh")
def sinh(input: Any) -> Any:
    """sinh a cos b + i cosh a sin b; g times the conjugate of cosh."""
    made, slope = _hyperbolic(input)
    return analytic(made, slope)


@rule("complex::cosh")
def cosh(input: Any) -> Any:
    """cosh a cos b + i sinh a sin b; g times the conjugate of sinh."""
    slope, made = _hyperbolic(input)
    return analytic(made, slope)


@rule("complex::tanh")
def tanh(input: Any) -> Any:
    """y = (sinh 2a + i sin 2b) / (cosh 2a + cos 2b); g times the conjugate of 1 - y²."""
    a, b = (own * 2.0 for own in parts(input))
    below = np.cosh(a) + np.cos(b)
    made = joined(np.sinh(a) / below, np.sin(b) / below)
    return analytic(made, _one_minus(times(made, made)))


@rule("complex::sigmoid")
def sigmoid(input: Any) -> Any:
    """y = 1 / (1 + e^-z); g times the conjugate of y (1 - y)."""
    made = divided(1.0, _one_minus(-exp(-input)[0]))
    return analytic(made, times(made, _one_minus(made)))


def _one_minus(x: Any) -> Any:
    a, b = parts(x)
    return joined(1.0 - a, -b)


@rule("complex::linalg_vector_norm", "complex::norm")
def norm(input: Any, *args: Any, **kwargs: Any) -> Any:
    """The norm of the absolute values; its gradients, times z / |z|."""
    size, to_parts = absolute(input)
    made, to_size = vector_norm(size, *args, **kwargs)
    return made, lambda g: to_parts(to_size(g)[0])
