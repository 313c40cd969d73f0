"""Functions that NumPy lacks, or defines otherwise than torch."""

from __future__ import annotations

from typing import Any

import numpy as np

from refbp.arrays import Array


def sign(x: Array) -> Array:
    """1, 0 or -1; torch's, whose sign of NaN is 0."""
    return np.where(np.isnan(x), 0.0, np.sign(x)).astype(x.dtype, copy=False)


def erf(x: Array) -> Array:
    """erf(x) = 2/√π ∫₀ˣ e^(-t²) dt; SciPy's, and for long double, which SciPy does not have, a series of its own.

    erf(x) = 2/√π e^(-x²) Σ_n 2ⁿ x^(2n+1) / (1·3·5…(2n+1)): all terms of one sign, so that nothing cancels.
    Source: Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.6.
    """
    from scipy import special  # here: importing it takes longer than all of refbp

    if x.dtype != np.longdouble or x.dtype == np.float64:
        wide = x.astype(np.promote_types(x.dtype, np.float32), copy=False)  # SciPy has no half precision
        result: Array = special.erf(wide).astype(x.dtype, copy=False)
        return result
    z = np.minimum(np.maximum(x, -7.0), 7.0)  # beyond, it is ±1 to the last bit
    term = z
    total = z
    for n in range(1, 180):
        term = term * (2.0 * z * z) / (2 * n + 1)
        total = total + term
    series: Array = total * np.exp(-z * z) * (2 / np.sqrt(4 * np.arctan(np.longdouble(1))))
    return series


def masked(x: Array, mask: Any) -> Array:
    """`x` where the mask holds, zero elsewhere.

    A product, in a tenth of the time of a choice, whose branches no processor can predict. Only infinity and NaN need the
    choice: times zero they are not zero.
    """
    result: Array = x * mask if np.isfinite(x).all() else np.where(mask, x, 0.0)
    return result
