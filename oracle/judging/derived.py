"""Converts an error array to an expected value whose error includes the reference's own rounding."""

from __future__ import annotations

import math

import numpy as np

from oracle.judging.figures import Expected
from oracle.running_error import ErrorArray
from oracle.running_error.model import ROUNDOFF


def reference_factors(dtype: str) -> tuple[float, float]:
    """The factors by which the reference's own rounding enlarges an error: of its standard deviation, and of its bound.

    The reference computes in float64. Its error is as large as that of a float64 implementation, and negligible for others.
    """
    ratio = ROUNDOFF["float64"] / ROUNDOFF[dtype]
    return math.sqrt(1 + ratio * ratio), 1 + ratio


def expected_of(made: ErrorArray) -> Expected:
    """The expected value, with an error that includes the reference's."""
    of_sigma, of_bound = reference_factors(made.dtype.name)
    if made.error is None and made.hidden is None:
        zero = np.broadcast_to(0.0, made.shape)
        return Expected(made.value, zero, zero if made.model.bounds else None, np.abs(made.counted(made.value)))
    bound = made.bound
    return Expected(
        made.value,
        made.sigma * of_sigma,
        None if bound is None else bound * of_bound,
        np.sqrt(made.broadcast(made.scale_or_own)),
        None if made.hidden is None else np.broadcast_to(made.hidden, made.shape),
    )
