"""The quantities that a case has, and the form of each."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from oracle.case.case import Case
from oracle.execution.network import execute
from oracle.trace import Key


class Wanted(NamedTuple):
    """The form of a quantity; a count (of batches, of steps) may come in any type of number."""

    shape: tuple[int, ...]
    is_count: bool


def wanted(case: Case) -> dict[Key, Wanted]:
    """Every quantity that the case has, in the order in which it is computed."""
    with np.errstate(all="ignore"):
        results = {key: np.asarray(value) for key, value in execute(case, lambda array: array).items()}
    return {
        key: Wanted(value.shape, value.dtype.kind in "iu" or key.quantity.startswith("step."))
        for key, value in results.items()
    }
