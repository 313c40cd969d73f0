"""Error rules of special functions, with scipy's functions as keys. ζ, which scipy has no key for, takes arrays of either kind.

`ulps` is the accuracy of torch's kernels in float32 and float64, measured against mpmath over each function's range. Where a
kernel adds up terms that cancel, its error is one of those terms instead of the result: `terms` gives their size, from the
formula of the kernel (aten/src/ATen/native/Math.h). scipy's own values are replaced where they err by more than that.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy import special

from oracle.running_error.array import ErrorArray, operands
from oracle.running_error.dispatch import UFUNCS
from oracle.running_error.elementwise import STRAIGHT, TWO_OVER_ROOT_PI, elementwise, scaled_error
from oracle.running_error.infinities import in_range
from oracle.running_error.model import LAMBDA, Floats, Twofold, added

ROOT_TWO_PI = math.sqrt(2 * math.pi)


def hypot(x: Any, y: Any) -> ErrorArray:
    """The rule of √(x² + y²), whose slopes are at most 1; both count as 1 at zero."""
    x, y = map(in_range, operands(x, y))
    model, value = x.model, np.hypot(x.value, y.value)
    error: Twofold | None = model.rounding(value, 4)
    for own in (x, y):
        error = added(error, scaled_error(own.error, np.where(value == 0, 1.0, own.value / value), model))
    return ErrorArray(value, model, error)


def arctan2(y: Any, x: Any) -> ErrorArray:
    """The rule of the angle of (x, y), whose slopes are x / (x² + y²) and -y / (x² + y²).

    A point within the reach t r of the errors, where r is its distance from the origin, lies at most arcsin t ≤ t π/2 beside its
    angle. Where the origin is within reach, it may lie at any between 0 and π, to which y has to give the sign.
    """
    y, x = map(in_range, operands(y, x))
    model, value = y.model, np.arctan2(y.value, x.value)
    radius = np.hypot(x.value, y.value)
    error = model.rounding(value, 4)
    reached = added(y.error, x.error)
    if reached is not None:
        by_y, by_x = (np.divide(own.value, radius**2, out=np.zeros_like(radius), where=radius > 0) for own in (x, y))
        caused = added(scaled_error(y.error, by_y, model), scaled_error(x.error, by_x, model))
        assert caused is not None
        reach = Twofold(LAMBDA * np.sqrt(reached.statistical), reached.worst)
        any_angle = model.constant((math.pi / LAMBDA) ** 2, math.pi)
        grown = model.constant((math.pi / 2) ** 2, math.pi / 2)

        def bent(own: Floats, reach: Floats, grown: Floats, whole: Floats) -> Floats:
            near = np.where(reach > STRAIGHT * radius, own * grown, own)
            return np.where((reach > 0) & (reach >= radius), whole, near)

        error = error + caused.mapped(bent, reach, grown, any_angle)
    return ErrorArray(value, model, error)


# Σ (ζ(k) - 1) (-x)^k / k from k = 2 on, whose terms fall at least like 4^(-k) for |x| <= 1/2.
POWERS = np.arange(2, 32)
COEFFICIENTS = special.zetac(POWERS) * np.where(POWERS % 2, -1.0, 1.0) / POWERS


def log_gamma(x: Floats) -> Floats:
    """ln |Γ(x)|, with a small relative error beside its zeros 1 and 2 too."""
    offset = np.where((x > 0.5) & (x < 2.5), x - np.where(x < 1.5, 1.0, 2.0), 0.0)
    beside_two = offset * (1 - np.euler_gamma + offset * np.polyval(COEFFICIENTS[::-1], offset))
    beside = np.where(x < 1.5, beside_two - np.log1p(offset), beside_two)
    return np.where((x > 0.5) & (x < 2.5), beside, special.gammaln(x))


def erfc(x: Floats) -> Floats:
    """1 - erf x, with e^(-x²) from the exact square of the first half of x's digits."""
    coarse = np.clip(x, 0.0, 40.0).astype(np.float32).astype(np.float64)
    power = np.exp(-np.square(coarse)) * np.exp(-(np.clip(x, 0.0, 40.0) - coarse) * (np.clip(x, 0.0, 40.0) + coarse))
    return np.where(x > 0.5, special.erfcx(np.maximum(x, 0.0)) * power, special.erfc(x))


def log_ndtr(x: Floats) -> Floats:
    """The logarithm of the normal distribution's probability of less than x."""
    return np.where(x > 0, np.log1p(-0.5 * erfc(np.maximum(x, 0.0) / math.sqrt(2))), special.log_ndtr(x))


def lgamma_terms(x: Floats, y: Floats) -> Floats:
    """Below zero ln|Γ(x)| is ln(π / |sin πx|) - ln Γ(1 - x), which cancel near its zeros."""
    return np.where(x < 0, special.gammaln(1 - x), 0.0)


def digamma_terms(x: Floats, y: Floats) -> Floats:
    """Up to 10 the kernel adds -1/x - 1/(x+1) … to ψ of a number of at least 10, which is 2.25 or more. Below zero it subtracts
    π / tan πr from ψ(1 - x), where r is the fractional part of x and πr is rounded."""
    part = x - np.trunc(x)
    reflected = special.psi(1 - x) + np.abs(part) * np.square(np.pi / np.sin(np.pi * part))
    return np.where(x < 0, reflected, 0.0) + np.where(x < 10, 2.3, 0.0)


def hurwitz(s: float, x: Floats) -> Floats:
    """ζ(s, x) = Σ (x + k)^(-s) for a whole s; for 2 and 3 by reflection, which takes no longer far below zero. NaN at -∞."""
    if s > 3:
        return np.where(x == -np.inf, np.nan, special.zeta(s, x))
    above = special.zeta(s, np.where(x < 0, 1 - x, x))
    with np.errstate(all="ignore"):
        turn = np.pi * (x - np.rint(x))
        inverse = np.pi / np.sin(turn)
        below = np.square(inverse) - above if s == 2 else above + inverse**3 * np.cos(turn)
    return np.where(x < 0, below, above)


def zeta(s: float, x: Any) -> Any:
    """Hurwitz's ζ for a whole s. Below zero its first terms may have either sign; and for s = 2 torch has π² / sin² πx in
    their place, where πx is rounded."""
    if not isinstance(x, ErrorArray):
        return hurwitz(s, x)

    def terms(x: Floats, y: Floats) -> Floats:
        part = x - np.floor(x)
        sizes = special.zeta(s, part) + special.zeta(s, 1 - part)
        return np.where(x < 0, sizes + (np.abs(x * slope(x, y)) if s == 2 else 0.0), 0.0)

    def slope(x: Floats, _: Floats) -> Floats:
        return -s * hurwitz(s + 1, x)

    return elementwise(lambda x: hurwitz(s, x), slope, 8, terms)(x)


# The distance of two powers s, relative to the larger of |s| and 1, between which the slope of ζ by s is measured.
STEP = 1e-5


def zeta_of_arrays(s: Any, x: Any) -> Any:
    """Hurwitz's ζ(s, x), of which the slope by x is -s ζ(s + 1, x). Below zero its first terms may have either sign."""
    if not isinstance(s, ErrorArray) and not isinstance(x, ErrorArray):
        return special.zeta(s, x)
    s, x = map(in_range, operands(s, x))
    model, value = x.model, special.zeta(s.value, x.value)
    error = model.rounding(value, 8)
    below = x.value < 0
    if below.any():
        part = x.value - np.floor(x.value)
        sizes = np.where(below, special.zeta(s.value, part) + special.zeta(s.value, 1 - part), 0.0)
        error = error + model.raised(np.where(np.isfinite(sizes), sizes, 0.0) * (8 * model.unit_roundoff))
    step = STEP * np.maximum(np.abs(s.value), 1.0)
    by_s = (special.zeta(s.value + step, x.value) - special.zeta(s.value - step, x.value)) / (2 * step)
    by_x = -s.value * special.zeta(s.value + 1, x.value)
    for own, slope in ((s, by_s), (x, by_x)):
        if own.error is not None:
            caused = own.error.mapped(lambda own, slope: np.where(own == 0, 0.0, own * slope), model.raised(slope))
            error = error + caused
    return ErrorArray(value, model, error)


def at_zero(x: Floats, value: float, elsewhere: Floats) -> Floats:
    return np.where(x == 0, value, elsewhere)


UFUNCS.update(
    {
        np.hypot: hypot,
        np.arctan2: arctan2,
        np.arccosh: elementwise(np.arccosh, lambda x, y: 1 / np.sqrt(x * x - 1), 4),
        special.gammaln: elementwise(log_gamma, lambda x, y: special.psi(x), 4, lgamma_terms),
        special.psi: elementwise(special.psi, lambda x, y: hurwitz(2.0, x), 4, digamma_terms),
        special.erfc: elementwise(erfc, lambda x, y: TWO_OVER_ROOT_PI * np.exp(-x * x), 4),
        special.erfinv: elementwise(special.erfinv, lambda x, y: np.exp(y * y) / TWO_OVER_ROOT_PI, 4),
        # e^(x²) and the tail of the normal distribution read a square or a quotient that has been rounded.
        special.erfcx: elementwise(
            special.erfcx,
            lambda x, y: 2 * x * y - TWO_OVER_ROOT_PI,
            8,
            lambda x, y: np.where(x < 0, 2 * x * x * y, 0.0),
        ),
        special.log_ndtr: elementwise(
            log_ndtr,
            lambda x, y: np.exp(-x * x / 2 - y) / ROOT_TWO_PI,
            4,
            lambda x, y: np.where(x > 0, x * np.exp(-x * x / 2 - y) / ROOT_TWO_PI, 0.0),
        ),
        special.ndtri: elementwise(special.ndtri, lambda x, y: ROOT_TWO_PI * np.exp(y * y / 2), 8),
        special.i0: elementwise(special.i0, lambda x, y: special.i1(x), 8),
        special.i0e: elementwise(special.i0e, lambda x, y: special.i1e(x) - np.sign(x) * y, 8),
        special.i1: elementwise(special.i1, lambda x, y: at_zero(x, 0.5, special.i0(x) - y / x), 16),
        special.i1e: elementwise(
            special.i1e, lambda x, y: at_zero(x, 0.5, special.i0e(x) - y * (np.sign(x) + 1 / x)), 16
        ),
    }
)
