"""Results that are known to lie in a range, whatever the errors of the numbers from which they are computed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from oracle.running_error.array import ErrorArray
from oracle.running_error.infinities import in_range
from oracle.running_error.model import LAMBDA, Floats, Twofold

# The range of a share, which is between 0 and 1, and room for the rounding of what is made of it.
OF_A_SHARE = 1 + 2.0**-4


def is_finite(x: Any) -> Any:
    """The mask where x is below infinity in every implementation: finite, or -∞."""
    if not isinstance(x, ErrorArray):
        return np.asarray(x) < np.inf
    return (x.value < np.inf) & np.isfinite(in_range(x).error_or_zero.statistical)


def as_share(y: Any, known: Callable[[], Any]) -> Any:
    """A result between 0 and 1, such as that of a softmax, whose error is at most 1.

    known: gives the mask where that is so. An infinite number may make it NaN.
    """
    if not isinstance(y, ErrorArray) or y.error is None:
        return y
    whole = y.model.constant((OF_A_SHARE / LAMBDA) ** 2, OF_A_SHARE)
    if not (np.isnan(y.error.statistical) | (y.error.statistical > whole.statistical)).any():
        return y
    certain = known() & np.isfinite(y.value)
    error = y.error.mapped(lambda own, whole: np.where(certain, np.fmin(own, whole), own), whole)
    return ErrorArray(y.value, y.model, error, scale=y.scale)


def by_its_ends(y: Any, function: Callable[..., Floats], *operands: Any, unless: Any = False) -> Any:
    """A result of a function that grows with each of its operands. Where its error is not finite, it is at most as large as if
    all operands err upwards, or all of them downwards.

    unless: the mask where an intermediate number may overflow, which makes it another one.
    """
    if not isinstance(y, ErrorArray) or y.error is None or np.isfinite(y.error.statistical).all():
        return y
    errors = [in_range(own).error_or_zero if isinstance(own, ErrorArray) else None for own in operands]
    values = [own.value if isinstance(own, ErrorArray) else np.asarray(own) for own in operands]

    def widest(distances: list[Any]) -> Floats:
        ends = (
            function(*(own + sign * by for own, by in zip(values, distances, strict=True))).reshape(y.shape)
            for sign in (1, -1)
        )
        found: Floats = np.maximum(*(np.abs(end - y.value) for end in ends))
        return found

    reach = widest([0.0 if own is None else LAMBDA * np.sqrt(own.statistical) for own in errors])
    found = Twofold(np.square(reach / LAMBDA))
    if y.error.worst is not None:
        found.worst = widest([0.0 if own is None else own.worst for own in errors])

    def known(own: Floats, limit: Floats) -> Floats:
        return np.where(np.isfinite(own) | ~np.isfinite(limit) | unless, own, limit)

    return ErrorArray(y.value, y.model, y.error.mapped(known, found), scale=y.scale)
