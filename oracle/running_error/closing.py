"""The rounding of a finished sum. It needs several arrays of the sum's size, so large sums are closed a few rows at a time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from oracle.running_error.model import ErrorModel, Floats, Twofold, added
from oracle.running_error.orders import Orders, in_order

# Elements that are computed together.
PART = 2**17


def rows_of(shape: tuple[int, ...]) -> list[tuple[slice, ...]]:
    """The indices of a few rows of an array at a time; none for an array that is computed at once."""
    leading = next((axis for axis, size in enumerate(shape) if size > 1), 0)
    rows = PART // max(1, math.prod(shape[leading + 1 :])) if shape else 0
    if math.prod(shape) <= 2 * PART or not rows:
        return []
    before = (slice(None),) * leading
    return [(*before, slice(start, start + rows)) for start in range(0, shape[leading], rows)]


def settled(orders: Orders, value: Floats, terms: Twofold, count: Any, model: ErrorModel) -> Twofold | None:
    """The error of an open sum by which its orders exceed a random one; None if there is none.

    terms, count: of the value's shape, or scalars that hold for all of it.
    """
    squares, error = terms.statistical, None
    alike = all(
        own.shape == value.shape
        for own in (squares, orders.in_memory, *(group for groups in orders.by_group for group in groups))
    )
    parts = rows_of(value.shape) if alike else []
    for here in parts:
        own = count[here] if isinstance(count, np.ndarray) and count.ndim else count
        found = in_order(orders.part(here).beyond(value[here], squares[here], own, model), value[here], model)
        if found is not None:
            error = nothing(value, model) if error is None else error
            put(error, here, found)
    return error if parts else in_order(orders.beyond(value, squares, count, model), value, model)


def nothing(value: Floats, model: ErrorModel) -> Twofold:
    """Errors of zero, which take no memory before one is put in."""
    return Twofold(np.zeros(value.shape), np.zeros(value.shape) if model.bounds else None)


def put(error: Twofold, here: tuple[slice, ...], found: Twofold) -> None:
    error.statistical[here] = found.statistical
    if error.worst is not None and found.worst is not None:
        error.worst[here] = found.worst


def closed(
    model: ErrorModel, value: Floats, before: Twofold | None, terms: Twofold, count: Any, rounded: float
) -> tuple[Floats, Twofold, Any]:
    """The sum, its error and the mask where it hides a typical term; None where that is nowhere.

    before: the error that is known already.
    terms, count: of the value's shape, or scalars that hold for all of it.
    """
    error, hidden = _closed_in_parts(model, value, before, terms, count, rounded)
    return value if model.moves is None else _moved(value, before, error, model, model.moves), error, hidden


def _moved(
    value: Floats, before: Twofold | None, error: Twofold, model: ErrorModel, moves: np.random.Generator
) -> Floats:
    """The sum, off by one deviation of the rounding that is not in `before`, and by the last place as it is stored."""
    rounding = error.statistical - (0.0 if before is None else before.statistical)
    deviation = np.sqrt(np.maximum(rounding, 0.0) + np.square(model.unit_roundoff * value))
    off: Floats = np.where(np.isfinite(deviation), deviation, 0.0) * moves.choice([-1.0, 1.0], value.shape)
    return value + off


def _closed_in_parts(
    model: ErrorModel, value: Floats, before: Twofold | None, terms: Twofold, count: Any, rounded: float
) -> tuple[Twofold, Any]:
    error, hidden = None, None
    for here in rows_of(value.shape):

        def part(component: Any, here: tuple[slice, ...] = here) -> Any:
            whole = component.shape == value.shape
            return (component if whole else np.broadcast_to(component, value.shape))[here]

        own = part(count) if isinstance(count, np.ndarray) and count.ndim else count
        found, mask = _closed(
            model, value[here], None if before is None else before.mapped(part), terms.mapped(part), own, rounded
        )
        error = nothing(value, model) if error is None else error
        put(error, here, found)
        if mask is not None:
            hidden = np.zeros(value.shape, bool) if hidden is None else hidden
            hidden[here] = mask
    return _closed(model, value, before, terms, count, rounded) if error is None else (error, hidden)


def _closed(
    model: ErrorModel, value: Floats, before: Twofold | None, terms: Twofold, count: Any, rounded: float
) -> tuple[Twofold, Any]:
    error = added(before, model.sum_rounding(value, terms, count, rounded))
    assert error is not None
    return error, model.hidden(value, error, terms, count)
