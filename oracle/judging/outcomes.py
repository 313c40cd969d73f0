"""Where rounding can change a comparison in an update, finds the outcome that the subject had.

Rprop, for example, looks at the sign of a product of two gradients, which may underflow to zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from oracle.case.arrays import Array
from oracle.judging.figures import Expected
from oracle.running_error import ErrorArray
from oracle.trace import Key

# A quantity's distance is counted up to this limit, in units of the distance between the two outcomes, so that one wrong quantity
# does not outvote the others.
FARTHEST = 2.0


def counts_as_equal(
    key: Key, got: Mapping[Key, Array | None], exact: Mapping[Key, Any], equal: Mapping[Key, Any]
) -> Array:
    """The mask of elements whose update, in all its quantities together, is nearer to the outcome for equal numbers."""
    shape = exact[key].shape
    nearer = np.zeros(shape)
    for own in _of_the_same(key, exact):
        one, other, array = exact[own], equal[own], got.get(own)
        if not isinstance(one, ErrorArray) or array is None or not one.shape == array.shape == shape:
            continue
        with np.errstate(all="ignore"):
            apart, actual = np.abs(one.value - other.value), array.astype(np.float64)
            far = [np.minimum(np.abs(actual - side.value) / apart, FARTHEST) for side in (one, other)]
            nearer += np.nan_to_num(far[0] - far[1])  # nothing where both outcomes are alike
    found: Array = nearer > 0
    return found


def _of_the_same(key: Key, results: Iterable[Key]) -> list[Key]:
    """The quantities of the same update and parameter."""
    short = key.quantity.partition(".")[2]
    return [own for own in results if own[:2] == key[:2] and own.quantity.partition(".")[2] == short]


def of_each(mask: Array, one: Expected, other: Expected) -> Expected:
    """The expected values: those of `other` where the mask is set, those of `one` elsewhere."""
    value, sigma, scale = (
        np.where(mask, getattr(other, own), getattr(one, own)) for own in ("value", "sigma", "scale")
    )
    return Expected(value, sigma, None, scale)
