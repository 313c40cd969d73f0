"""A quantity with the errors of two formulas."""

from __future__ import annotations

from typing import Any

import numpy as np

from oracle.running_error import ErrorArray
from oracle.running_error.infinities import left_open


def covering(plain: ErrorArray, other: ErrorArray) -> ErrorArray:
    """`plain` with the larger error of the two formulas; where the other's is not finite, with its own. A number that is not
    finite is open where the other formula leaves it open."""

    def larger(own: Any, else_: Any) -> Any:
        finite, most = np.isfinite(else_), np.maximum(own, else_)
        return most if finite.all() else np.where(finite, most, own)

    error = plain.error_or_zero.mapped(larger, other.error_or_zero)
    scale = larger(plain.scale_or_own, other.scale_or_own)
    made = ErrorArray(plain.value, plain.model, error, scale=scale, guide=plain.guide, hidden=plain.hidden)
    if np.isfinite(plain.value).all():
        return made
    return left_open(made, ~np.isfinite(plain.value) & np.isfinite(other.value) & np.isinf(other.sigma))
