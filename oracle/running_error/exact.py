"""Numbers that a dtype holds exactly, and the quantum of which all numbers of an array are multiples."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from oracle.running_error.model import Floats


def held_in(dtype: np.dtype[Any], value: Floats) -> Floats:
    """The values as the dtype holds them. A dtype without infinities makes NaN or its largest number of a value that is out of
    its range: such a value stays as it is."""
    with np.errstate(over="ignore", invalid="ignore"):
        held = value.astype(dtype).astype(np.float64)
    return np.where(np.isnan(held), value, held)


def quantum_of(value: Floats) -> float | None:
    """The largest power of two, from 1 down to 2^-12, of which every element is a multiple; infinity for zeros; else None."""
    if value.ndim == 0:
        number = float(value)
        known = math.isfinite(number) and number != 0
        return next((2.0**-own for own in (0, 4, 8, 12) if (number * 2**own).is_integer()), None) if known else math.inf
    if value.size and not float(value.flat[0] * 4096).is_integer():
        return None
    finite = value[np.isfinite(value)] if not np.isfinite(value).all() else value
    if not finite.any():
        return float("inf")
    for exponent in (0, 4, 8, 12):
        scaled = finite * 2.0**exponent
        if np.array_equal(scaled, np.rint(scaled)):
            return 2.0**-exponent
    return None


def merged(first: float | None, second: float | None) -> float | None:
    """The common quantum of two arrays that are joined or added."""
    return None if first is None or second is None else min(first, second)
