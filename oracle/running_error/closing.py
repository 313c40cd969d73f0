"""The rounding of a finished sum, a few rows at a time: it takes several arrays of the size that it is added to."""

from __future__ import annotations

from typing import Any

import numpy as np

from oracle.running_error.model import ErrorModel, Floats, Twofold, added

# Elements that are computed together.
PART = 2**17


def closed(
    model: ErrorModel, value: Floats, before: Twofold | None, terms: Twofold, count: Any, rounded: float
) -> tuple[Twofold, Any]:
    """The error of a sum and the mask where it hides a typical term; None where that is nowhere.

    before: the error that is known already.
    terms, count: of the value's shape, or scalars that hold for all of it.
    """
    rows = PART // max(1, value[:1].size) if value.ndim else 0
    if value.size <= 2 * PART or rows < 1:
        return _closed(model, value, before, terms, count, rounded)
    error, hidden = Twofold(np.empty(value.shape), np.empty(value.shape) if model.bounds else None), None
    for start in range(0, len(value), rows):
        here = slice(start, start + rows)

        def part(component: Any, here: slice = here) -> Any:
            whole = component.shape == value.shape
            return (component if whole else np.broadcast_to(component, value.shape))[here]

        own = part(count) if isinstance(count, np.ndarray) and count.ndim else count
        found, mask = _closed(
            model, value[here], None if before is None else before.mapped(part), terms.mapped(part), own, rounded
        )
        error.statistical[here] = found.statistical
        if error.worst is not None and found.worst is not None:
            error.worst[here] = found.worst
        if mask is not None:
            hidden = np.zeros(value.shape, bool) if hidden is None else hidden
            hidden[here] = mask
    return error, hidden


def _closed(
    model: ErrorModel, value: Floats, before: Twofold | None, terms: Twofold, count: Any, rounded: float
) -> tuple[Twofold, Any]:
    error = added(before, model.sum_rounding(value, terms, count, rounded))
    assert error is not None
    return error, model.hidden(value, error, terms, count)
