"""The error of a kernel that computes in a wider dtype and stores partial results in 16 bits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from oracle.running_error.array import ErrorArray
from oracle.running_error.model import ErrorModel, Floats, Twofold, added


def with_more(plain: ErrorArray, more: Twofold | None, terms: Any = 0.0) -> ErrorArray:
    """The array with an additional error of an independent cause, which is that of these terms²."""
    error, scale = added(plain.error, more), plain.scale_or_own + terms
    return ErrorArray(plain.value, plain.model, error, scale=scale, guide=plain.guide, hidden=plain.hidden)


def each_place(weight: Floats) -> Iterator[Floats]:
    """A convolution's weight with one place of its window alone, for every place; all of a linear layer's, which has one."""
    for place in np.ndindex(weight.shape[2:]):
        alone = np.zeros_like(weight)
        alone[(..., *place)] = weight[(..., *place)]
        yield alone


def added_in_stores(shares: Iterable[Floats], model: ErrorModel) -> Twofold | None:
    """The error of storing, in the model's dtype, each share of a sum and each partial sum but the last; None for one share."""
    error: Twofold | None = None
    total: Any = None
    before: Twofold | None = None
    for share in shares:
        if total is not None:
            error = added(error, before)
        total = share if total is None else total + share
        before = model.rounding(total) + model.rounding(share)
    return error
