"""Functions that NumPy lacks, computes more slowly, or defines differently from torch."""

from __future__ import annotations

from typing import Any

import numpy as np

from refbp.arrays import Array


def sign(x: Array) -> Array:
    """1, 0 or -1; as in torch the sign of NaN is 0."""
    return np.where(np.isnan(x), 0.0, np.sign(x)).astype(x.dtype, copy=False)


def erf(x: Array) -> Array:
    """erf(x) = 2/√π ∫₀ˣ e^(-t²) dt: SciPy's function, and a series for long double, which SciPy does not support.

    erf(x) = 2/√π e^(-x²) Σ_n 2ⁿ x^(2n+1) / (1·3·5…(2n+1)). All terms have the same sign, so that nothing cancels.
    Source: Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.6.
    """
    from scipy import special  # here: importing it takes longer than all of refbp

    if x.dtype != np.longdouble or x.dtype == np.float64:
        wide = x.astype(np.promote_types(x.dtype, np.float32), copy=False)  # SciPy has no half precision
        result: Array = special.erf(wide).astype(x.dtype, copy=False)
        return result
    z = np.minimum(np.maximum(x, -7.0), 7.0)  # beyond ±7 erf is ±1 to the last bit
    term = z
    total = z
    for n in range(1, 180):
        term = term * (2.0 * z * z) / (2 * n + 1)
        total = total + term
    series: Array = total * np.exp(-z * z) * (2 / np.sqrt(4 * np.arctan(np.longdouble(1))))
    return series


def masked(x: Array, mask: Any) -> Array:
    """`x` where the mask holds, zero elsewhere.

    Arrays of other types are multiplied by the mask, which rounds nothing, unless they hold infinity or NaN.
    """
    result: Array = x * mask if type(x) is not np.ndarray and np.isfinite(x).all() else where(mask, x, 0.0)
    return result


# Integers as wide as a floating-point number.
BITS = {np.dtype(f"f{size}"): np.dtype(f"i{size}") for size in (2, 4, 8)}


def where(mask: Any, x: Any, y: Any) -> Array:
    """np.where(mask, x, y), bit for bit: `x` where the mask holds, `y` elsewhere.

    np.where branches for each element, and the processor mispredicts the branch of a random mask. y ^ ((x ^ y) & -mask), on the
    bits of the numbers, has no branch and takes a fifth of the time.
    """
    dtype = next((value.dtype for value in (x, y) if type(value) is np.ndarray), None)
    bits = BITS.get(dtype) if type(mask) is np.ndarray and dtype is not None else None
    if bits is None or not all(isinstance(value, float) or getattr(value, "dtype", None) == dtype for value in (x, y)):
        branching: Array = np.where(mask, x, y)
        return branching
    x_bits, y_bits = (np.asarray(value, dtype).view(bits) for value in (x, y))
    picked = (-mask.view(np.int8)).astype(bits)  # all bits set, or none
    if y_bits.ndim == 0 and y_bits == 0:
        result: Array = x_bits & picked
    else:
        result = (x_bits ^ y_bits) & picked
        result ^= y_bits
    return result.view(dtype)
