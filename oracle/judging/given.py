"""The arrays from which a part is computed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from oracle.case.arrays import Array
from oracle.case.case import Case
from oracle.judging.parts import local_parts
from oracle.judging.wiring import completed
from oracle.running_error.model import Floats, limits
from oracle.trace import Trace


def given(case: Case) -> Iterator[Array]:
    """The inputs of a single step; parameters are not among them."""
    yield from case.inputs
    yield from case.grad_outputs
    for grads in case.grads:
        yield from (grads[name] for name in sorted(grads))


def all_given(case: Case) -> Iterator[Array]:
    """All arrays from which a part is computed."""
    yield from given(case)
    for held in (case.params, *case.optimizer_state.values()):
        yield from held.values()


def same(one: Array, other: Array) -> bool:
    return one.dtype == other.dtype and np.array_equal(one, other)


def may_overflow(case: Case, quantity: str, due: Trace | None = None) -> bool:
    """Whether sums of products may leave the range on the way to a quantity of a case.

    due: the expected values in a network; with them each layer, the loss and the update are checked as well.
    """
    if due is None:
        return _overflows(case, quantity)
    whole = completed(case, due)
    parts = (part.case for step in range(case.steps) for part in local_parts(case, whole, step))
    return any(_overflows(own, name) for own in (case, *parts) for name in ("output", quantity))


def _overflows(case: Case, quantity: str) -> bool:
    """Whether a sum of products, or an optimizer's state, may leave the range although inputs and parameters are finite."""
    if not _sizes(case, quantity) or not all_finite(case, quantity):
        return False
    return bool(_lost(case)) or products_may_overflow(case, quantity)


def _lost(case: Case) -> set[str]:
    """The parameters whose optimizer state has left the range."""
    states = [(name, own) for held in case.optimizer_state.values() for name, own in held.items()]
    return {name for name, own in states if not np.isfinite(own).all()}


def _sizes(case: Case, quantity: str) -> list[Array]:
    """The absolute values of the arrays from which a quantity is computed, and of the parameters.

    Three kinds of arrays are left out, because they become infinite or NaN only as a consequence of an overflow:

    - the optimizer's state, which overflows first;
    - a parameter whose state has overflown, because the same update computed it from that state;
    - for a quantity of the forward pass, the upstream gradient, which is NaN after an output has overflown.
    """
    lost = _lost(case)
    params = [own for name, own in case.params.items() if name not in lost]
    forward = quantity == "output" or quantity.startswith("buffer.")
    own_given = case.inputs if forward else tuple(given(case))
    return [np.abs(own.astype(np.float64)) for own in (*own_given, *params) if own.size] if own_given else []


def all_finite(case: Case, quantity: str) -> bool:
    """Whether the parameters, and the arrays from which a quantity is computed, are finite."""
    return all(np.isfinite(own).all() for own in _sizes(case, quantity))


def products_may_overflow(case: Case, quantity: str) -> bool:
    """Whether sums of products of those given numbers that are finite may leave the range."""
    sizes = _sizes(case, quantity)
    largest = [float(own.max(where=np.isfinite(own), initial=0.0)) for own in sizes]
    one, two = sorted([1.0, 1.0, *largest, *largest])[-2:]
    return one > float(limits(np.dtype(case.dtype)).max) / (two * max((own.size for own in sizes), default=1))


def overflown(
    case: Case,
    quantity: str,
    through: Trace | None,
    due: Floats,
    own: Floats,
    sigma: Floats,
    got: Array,
    left_range: bool = False,
) -> Array:
    """The mask where an infinity or NaN is expected only because something that is computed from the given numbers overflows.

    The order of the operations then decides whether an element becomes an infinity or NaN, so either is right. An element that is
    NaN or infinite without an overflow, such as the mean of no numbers, is not in the mask.

    Args:
        through: the expected values of the layers in between, in a network.
        due: the reference's value.
        own, sigma: refbp's prediction and its error.
        left_range: whether a number on the way may have left the range, or have been divided by zero.
    """
    if not all_finite(case, quantity):  # an infinity, to which one of the other sign may be added
        unbounded = left_range & ~np.isfinite(sigma)
        either = products_may_overflow(case, quantity) | unbounded
        only_for_reference = np.isnan(due) & np.isinf(own) & np.isinf(got) & unbounded
        left_open = np.isfinite(own) & ~np.isfinite(due) & unbounded
        mask: Array = (np.isinf(due) & np.isnan(got) & either) | only_for_reference | left_open
        return mask
    lost: Array = ~np.isfinite(due)
    if not may_overflow(
        case, quantity, through
    ):  # only the reference's formula leaves the range, where the prediction's may
        return lost & np.isfinite(own) & ~np.isfinite(sigma)
    return lost
