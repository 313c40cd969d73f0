"""Errors that many numbers have in common, found by computing again with all sums moved.

The running error takes the errors of two numbers for independent. That of a mean is not, once the mean was subtracted from many
numbers: it moves all of them the same way, and a later sum over them adds it up. So wherever such an error is larger than the
numbers' own, everything is computed again with each sum off by one standard deviation of its rounding error, up or down at
random. The change of a result has every cause that its numbers share.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from oracle.running_error.array import ErrorArray
from oracle.running_error.branches import BranchLog
from oracle.running_error.model import ErrorModel, Twofold

# Computations with other random signs. Two causes may cancel in one of them.
RUNS = 4
# If the mean square of so many changes exceeds a known variance by this factor, the cause is common to them and not chance.
BEYOND_CHANCE = 4.0


def moved(model: ErrorModel) -> Iterator[ErrorModel]:
    """The models under which everything is computed again; none if no error is known to be common to many numbers."""
    for seed in range(RUNS if model.branches.has_common_errors else 0):
        log = BranchLog(samples=model.branches.samples)
        yield replace(model, bounds=False, moves=np.random.default_rng(seed), branches=log)


@np.errstate(all="ignore")
def with_changes(own: Any, others: Sequence[Any]) -> Any:
    """The result with the mean square of its changes as its variance, where that is far larger than the variance that is known.

    others: the same result under each of the models `moved`.
    """
    if not isinstance(own, ErrorArray) or not others:
        return own
    with np.errstate(invalid="ignore"):  # infinities, whose difference is NaN
        changes = np.mean([np.square(other.value - own.value) for other in others], axis=0)
    error = own.error_or_zero
    is_common = np.isfinite(changes) & (changes > BEYOND_CHANCE * error.statistical)
    more = np.where(is_common, changes, error.statistical)
    return ErrorArray(
        own.value, own.model, Twofold(more, error.worst), scale=own.scale_or_own, guide=own.guide, hidden=own.hidden
    )
