"""The quantities that a case has, with their shapes and dtypes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from oracle.case.case import Case
from oracle.execution.network import execute
from oracle.trace import Key


class Wanted(NamedTuple):
    """The shape and dtype of a quantity; a count (of batches, of steps) may have any numeric dtype."""

    shape: tuple[int, ...]
    is_count: bool


def wanted(case: Case) -> dict[Key, Wanted]:
    """Every quantity that the case has, in the order of computation."""
    with np.errstate(all="ignore"):
        results = {key: np.asarray(value) for key, value in execute(case, lambda array: array).items()}
    return {
        key: Wanted(value.shape, value.dtype.kind in "iu" or key.quantity.startswith("step."))
        for key, value in results.items()
    }
