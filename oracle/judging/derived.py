"""Converts an error array to an expected value whose error includes the reference's own rounding."""

from __future__ import annotations

import numpy as np

from oracle.judging.figures import Expected
from oracle.running_error import ErrorArray
from oracle.running_error.model import ROUNDOFF


def expected_of(made: ErrorArray) -> Expected:
    """The expected value. The reference rounds in float64 too, as much as a float64 implementation does."""
    ratio = ROUNDOFF["float64"] / ROUNDOFF[made.dtype.name]
    bound = made.bound
    return Expected(
        made.value,
        made.sigma * np.sqrt(1 + ratio * ratio),
        None if bound is None else bound * (1 + ratio),
        np.sqrt(made.spelled_out(made.scale_or_own)),
        None if made.hidden is None else np.broadcast_to(made.hidden, made.shape),
    )
