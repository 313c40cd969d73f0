"""How much of a quantity rounding leaves."""

from __future__ import annotations

import math

import numpy as np

from oracle.running_error.model import LAMBDA, ROUNDOFF, Floats


def relative_error(value: Floats, sigma: Floats) -> float | None:
    """The rms of the standard deviations, relative to that of the values; None where nothing is rounded, or all is zero."""
    value, sigma = np.broadcast_arrays(value, sigma)
    known = np.isfinite(value) & np.isfinite(sigma)
    size = np.sqrt(np.mean(np.square(value[known]))) if known.any() else 0.0
    error = np.sqrt(np.mean(np.square(sigma[known]))) if known.any() else 0.0
    return float(error / size) if error > 0 and size > 0 else None


# The decimal digits of a number that is rounded once, by dtype.
MOST_DIGITS = {dtype: -math.log10(LAMBDA * u) for dtype, u in ROUNDOFF.items()}


def digits_left(relative: float) -> float:
    """The decimal digits that a tolerance of λ standard deviations leaves."""
    return max(0.0, -math.log10(LAMBDA * relative))
