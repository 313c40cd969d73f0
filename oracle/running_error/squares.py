"""Sums of the squares of terms, positive wherever a term is not zero, although the square of a small one is zero in float64.

A sum of squares of zero says that there is no term, so nothing rounds. Terms whose squares underflow may cancel all the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from oracle.running_error.model import ErrorModel, Floats, Twofold

SMALLEST = math.ulp(0.0)


def of_terms(x: Floats, model: ErrorModel) -> Twofold:
    """x² and |x|, for terms that are added up."""
    sizes = model.raised(x)
    return Twofold(_positive(sizes.statistical, lambda: x != 0), sizes.worst)


def of_products(squares: Floats, x: Floats, y: Floats) -> Floats:
    """The sums of squares of the matrix product of x and y, computed from the squares of x and of y."""

    def has_terms() -> Any:
        if _smallest(x) * _smallest(y) > math.sqrt(SMALLEST):
            return False
        return (x != 0).astype(np.float64) @ (y != 0).astype(np.float64) > 0

    return _positive(squares, has_terms)


def _positive(squares: Floats, has_terms: Callable[[], Any]) -> Floats:
    zero = squares == 0
    lost = zero & has_terms() if zero.any() else zero
    return np.where(lost, SMALLEST, squares) if lost.any() else squares


def _smallest(x: Floats) -> float:
    """The smallest absolute value other than zero, at most 1."""
    size = np.abs(x)
    return float(size.min(initial=1.0, where=size > 0))
