"""The error of a kernel that computes in a wider dtype and stores partial results in 16 bits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from oracle.running_error.array import ErrorArray, converted
from oracle.running_error.model import ErrorModel, Floats, Twofold, added

# Libraries do not say in how many slices they add up a product. The tolerance for four also holds for up to 64 (tests).
SLICES = 4


def stored(x: Any) -> Any:
    """An array as one kernel passes it to the next or reads it again later: in 16 bits if the model stores 16 bits."""
    model = x.model if isinstance(x, ErrorArray) else None
    return x if model is None or model.stored is None else converted(converted(x, model.of(model.stored)), model)


def with_more(plain: ErrorArray, more: Twofold | None, terms: Any = 0.0) -> ErrorArray:
    """The array with an additional independent error, and with `terms` added to its scale. `more` and `terms` are used up."""

    def onto(own: Any, more: Any) -> Any:
        """The sum of both, in the memory of `more` if that has the array's shape: large layers have many such arrays."""
        if not isinstance(more, np.ndarray) or more.shape != plain.shape or not more.flags.writeable:
            return own + more
        more += own
        return more

    error = more if more is None or plain.error is None else plain.error.mapped(onto, more)
    scale = onto(plain.scale_or_own, terms)
    return ErrorArray(
        plain.value,
        plain.model,
        plain.error if error is None else error,
        scale=scale,
        guide=plain.guide,
        hidden=plain.hidden,
    )


def each_place(weight: Floats) -> Iterator[Floats]:
    """A convolution's weight with one place of its window alone, for every place; all of a linear layer's, which has one."""
    for place in np.ndindex(weight.shape[2:]):
        alone = np.zeros_like(weight)
        alone[(..., *place)] = weight[(..., *place)]
        yield alone


def added_in_stores(shares: Iterable[Floats], total: Floats, model: ErrorModel) -> Twofold | None:
    """The error of storing, in the model's dtype, each share of a sum and each partial sum, of which the last is the total.

    Kernels add up the shares in their order or backwards, as the memory layout has it. The larger error counts.
    None for one share.
    """
    stored: Twofold | None = None
    forwards: Twofold | None = None
    backwards: Twofold | None = None
    before = so_far = np.zeros(total.shape)
    count = 0
    for share in shares:
        if count > 1:
            forwards = added(forwards, model.rounding(so_far))
            backwards = added(backwards, model.rounding(total - before))
        before, so_far, count = so_far, so_far + share, count + 1
        stored = added(stored, where_it_rounds(share, model))
    if count < 2:
        return None
    return stored if forwards is None or backwards is None else added(stored, forwards.mapped(np.maximum, backwards))


def added_in_slices(total: ErrorArray, model: ErrorModel) -> Twofold | None:
    """The error of a sum that is added up in slices: each share, and each partial sum of shares, is stored in the model's dtype.

    Which terms a slice has is unknown, so the shares are those of a random order. None if no element has several terms.
    """
    own, terms = np.square(total.value), np.broadcast_to(total.scale_or_own, total.shape)
    several = np.abs(terms - own) > 1e-9 * terms  # of one term the square is that of the sum
    if not several.any():
        return None
    shares = own / SLICES + terms
    partial = own * SLICES / 3 + shares * (1 + SLICES / 6)
    stored = model.rounding(np.sqrt(several * shares)) + model.rounding(np.sqrt(several * partial))
    # A bound adds up the sizes of SLICES numbers, of which the sum of squares is known.
    return Twofold(stored.statistical, None if stored.worst is None else np.sqrt(SLICES) * stored.worst)


def known_where_finite(x: ErrorArray) -> ErrorArray:
    """The array with an infinite error in place of infinities, NaN and what overflows: where a kernel's formula decides which.

    In a last dimension of 2 the parts of a complex number may lie. A formula may then lose both where one overflows.
    """
    finite = np.abs(x.value) <= x.model.largest
    if finite.all():
        return x
    if x.shape[-1:] == (2,):
        finite = np.broadcast_to(finite.all(-1, keepdims=True), x.shape)
    error = x.error_or_zero.mapped(lambda own: np.where(finite, own, np.inf))
    return ErrorArray(np.where(finite, x.value, 0.0), x.model, error, scale=x.scale, guide=x.guide, hidden=x.hidden)


def where_it_rounds(numbers: Floats, model: ErrorModel) -> Twofold:
    """The rounding of numbers that the dtype does not hold."""
    is_held = numbers.astype(model.dtype).astype(np.float64) == numbers
    return model.rounding(numbers).mapped(lambda own: np.where(is_held, 0.0, own))
