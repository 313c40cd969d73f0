"""From an error array to what a quantity should be, the reference's own rounding included."""

from __future__ import annotations

import numpy as np

from oracle.judging.figures import Expected
from oracle.running_error import UNIT_ROUNDOFF, ErrorArray


def expected_of(made: ErrorArray) -> Expected:
    """The reference rounds too: in float64, against a float64 implementation, as much as that one."""
    ratio = UNIT_ROUNDOFF["float64"] / UNIT_ROUNDOFF[made.dtype.name]
    bound = made.bound
    return Expected(
        made.value,
        made.sigma * np.sqrt(1 + ratio * ratio),
        None if bound is None else bound * (1 + ratio),
        np.broadcast_to(np.sqrt(made.scale_or_own), made.shape),
        None if made.hidden is None else np.broadcast_to(made.hidden, made.shape),
    )
