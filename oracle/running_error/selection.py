"""Error rules of comparisons and of choices between branches."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from oracle.running_error.array import ErrorArray, constant, operands
from oracle.running_error.branches import Branches
from oracle.running_error.dispatch import FUNCTIONS, UFUNCS
from oracle.running_error.exact import merged
from oracle.running_error.mask import ErrorMask
from oracle.running_error.model import EQUAL, OPEN, Floats, Twofold, added


def comparison(
    compare: Callable[[Any, Any], Any], by_order: bool = True, counted: bool = True
) -> Callable[[Any, Any], ErrorMask]:
    """The rule of a comparison. It compares the subject's own values if they are known, and checks that rounding explains them.

    by_order: whether equality is a kink or tie that leaves a choice; a test for equality compares labels and leaves none.
    counted: whether the comparison counts among the branches of this place.
    """

    def rule(x: Any, y: Any) -> ErrorMask:
        x, y = operands(x, y)
        model = x.model
        outcome = np.asarray(compare(x.branching_value, y.branching_value))
        distance = np.abs(x.value - y.value)

        # The subject's own values are exact; a constant that the dtype does not hold is not.
        error = added(None if x.guide is not None else x.error, None if y.guide is not None else y.error)
        ambiguous = near = None if error is None else model.within(distance, error)
        branches = model.branches.here() if counted else Branches()
        branches.compared += outcome.size
        branches.widened += count_of(ambiguous)
        if x.guide is not None or y.guide is not None:
            error = added(x.error, y.error)
            near = None if error is None else model.within(distance, error)
            flipped = outcome != compare(x.value, y.value)
            branches.adopted += int(np.count_nonzero(flipped))
            branches.inadmissible += int(np.count_nonzero(flipped if near is None else flipped & ~near.statistical))
        branches.ambiguous += count_of(near)
        if counted and model.outcome != OPEN:
            if model.outcome == EQUAL and near is not None:
                outcome = np.where(near.statistical, compare(0.0, 0.0), outcome)
            ambiguous = None
        if model.open_ties and by_order:
            tied = (x.branching_value == y.branching_value) & np.isfinite(x.branching_value)
            either = Twofold(tied, tied if model.bounds else None)
            ambiguous = either if ambiguous is None else ambiguous.mapped(np.logical_or, either)
        return ErrorMask(outcome, ambiguous, model)

    return rule


def count_of(mask: Twofold | None) -> int:
    return 0 if mask is None else int(np.count_nonzero(mask.statistical))


def of_masks(operation: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """The rule of a symmetric operation of two masks, of which a plain one would hand it back to NumPy if it came first."""
    return lambda x, y: operation(x, y) if isinstance(x, ErrorMask) else operation(y, x)


greater, less = comparison(np.greater), comparison(np.less)
UFUNCS.update(
    {
        np.greater: greater,
        np.less: less,
        np.greater_equal: comparison(np.greater_equal),
        np.less_equal: comparison(np.less_equal),
        np.equal: comparison(np.equal, by_order=False),
        np.not_equal: comparison(np.not_equal, by_order=False),
        np.logical_and: of_masks(operator.and_),
        np.bitwise_and: of_masks(operator.and_),
        np.logical_or: of_masks(operator.or_),
        np.bitwise_or: of_masks(operator.or_),
        np.logical_not: lambda x: ~x,
        np.invert: lambda x: ~x,
    }
)


def where(mask: Any, x: Any, y: Any) -> Any:
    """The chosen branch and its error; where the choice is ambiguous the error is larger by the branches' difference."""
    chosen = mask.value if isinstance(mask, ErrorMask) else mask
    if not isinstance(x, ErrorArray) and not isinstance(y, ErrorArray):
        plain = np.where(chosen, x, y)
        if not (isinstance(mask, ErrorMask) and mask.is_open and mask.model is not None and plain.dtype.kind == "f"):
            return plain
        x = constant(x, mask.model)
    x, y = operands(x, y)
    model = x.model

    def select(own: Any, other: Any) -> Any:
        return np.where(chosen, own, other)

    value, quantum = select(x.value, y.value), merged(x.quantum, y.quantum)
    error: Twofold | None = None
    if x.error is not None or y.error is not None:
        error = x.error_or_zero.mapped(select, y.error_or_zero)
    scale: Floats | None = None
    if x.scale is not None or y.scale is not None:
        scale = select(x.scale_or_own, y.scale_or_own)
    ambiguous = mask.ambiguous if isinstance(mask, ErrorMask) else None
    if ambiguous is not None and isinstance(mask, ErrorMask) and mask.is_open:
        either = x.error_or_zero.mapped(np.maximum, y.error_or_zero)
        difference = ambiguous.mapped(lambda own: np.where(own, x.value - y.value, 0.0))
        if model.open_ties:
            difference = difference.mapped(lambda own: own / 2)
            value = np.where(ambiguous.statistical, y.value + difference.statistical, value)
        wide, plain = model.widened(either, difference), error or model.constant(0.0, 0.0)
        error, quantum = ambiguous.mapped(np.where, wide, plain), None
        larger = np.maximum(x.scale_or_own, y.scale_or_own)
        scale = np.where(ambiguous.statistical, larger, select(x.scale_or_own, y.scale_or_own))
    guide: Floats | None = None
    if x.guide is not None or y.guide is not None:
        guide = np.where(chosen, x.branching_value, y.branching_value)
    return ErrorArray(value, model, error, scale=scale, quantum=quantum, guide=guide)


def stepped(
    function: Callable[[Floats], Floats], jump: Callable[[Floats], Floats]
) -> Callable[[ErrorArray], ErrorArray]:
    """The rule of floor, ceil, trunc and rint: exact, except where rounding can move x over a jump: an error of 1 beside x's own,
    which may be over many jumps."""

    def rule(x: ErrorArray) -> ErrorArray:
        value, error = function(x.value), x.error
        near = None if error is None else x.model.within(np.abs(x.value - jump(x.value)), error)
        if error is None or near is None or not near.any():
            return ErrorArray(value, x.model, quantum=1.0)
        return ErrorArray(value, x.model, near.mapped(lambda own, error: np.where(own, 1.0 + error, 0.0), error))

    return rule


UFUNCS.update(
    {
        np.floor: stepped(np.floor, np.rint),
        np.ceil: stepped(np.ceil, np.rint),
        np.trunc: stepped(np.trunc, np.rint),
        np.rint: stepped(np.rint, lambda x: np.floor(x) + 0.5),
    }
)

# The larger of two numbers is continuous in both. Only a gradient depends on which one it is, and makes its own comparison.
larger, smaller = comparison(np.greater, counted=False), comparison(np.less, counted=False)


def maximum(x: Any, y: Any) -> Any:
    x, y = operands(x, y)
    return where(larger(x, y) | np.isnan(x.branching_value), x, y)


def minimum(x: Any, y: Any) -> Any:
    x, y = operands(x, y)
    return where(smaller(x, y) | np.isnan(x.branching_value), x, y)


def clipped(x: Any, low: Any, high: Any) -> Any:
    return minimum(maximum(x, low), high)


def extreme(argument: Callable[..., Any]) -> Callable[..., ErrorArray]:
    """The rule of max or min: the chosen element with its own error, since to first order the others' do not matter."""

    def rule(x: ErrorArray, axis: int, keepdims: bool = False) -> ErrorArray:
        index = argument(x.value, axis=axis, keepdims=True)
        chosen = x.mapped(lambda component: np.take_along_axis(component, index, axis))
        return chosen if keepdims else chosen.squeeze(axis)

    return rule


UFUNCS.update({np.maximum: maximum, np.minimum: minimum})
FUNCTIONS.update({np.where: where, np.clip: clipped, np.max: extreme(np.argmax), np.min: extreme(np.argmin)})
