"""Exponentials that a program adds to a constant and uses nowhere else, as σ(x) = 1 / (1 + e^-x) does.

The derivative of e^x is e^x. Programs that keep the result alone take it back from the sum: σ' = σ (1 - σ) is e^-x / (1 + e^-x)²
with (1 + e^-x) - 1 in place of e^-x. It then errs by the rounding of the sum, which is much larger where e^-x is small.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from oracle.programs.program import Call, Ref, refs
from oracle.programs.table import Rule
from oracle.running_error import ErrorArray
from oracle.running_error.model import Floats
from oracle.running_error.stores import with_more

SUMS = ("add", "sub", "rsub")
# The position of the exponent in the arguments.
EXPONENTIALS = {"exp": 0, "exp2": 0, "pow": 1}


class Exponentials:
    """The values of a program that are exponentials, also after they were moved."""

    def __init__(self) -> None:
        self._values: set[int] = set()

    def notice(self, call: Call, rule: Rule) -> None:
        """Take note of a call's results if they are exponentials."""
        if _is_exponential(call, rule) or (
            rule.moves and any(ref.value in self._values for ref in refs((call.args, call.kwargs)))
        ):
            self._values.update(value for value in call.results if value is not None)

    def rounding_of_sum(self, call: Call, rule: Rule, argument: Any, depends: set[int], total: Any) -> Floats | None:
        """How much the sum of this argument, an exponential, and of a constant is rounded. None for anything else."""
        if rule.name not in SUMS or not isinstance(argument, Ref) or argument.value not in self._values:
            return None
        learning = [ref for ref in refs((call.args, call.kwargs)) if ref.value in depends]
        if len(learning) > 1 or not isinstance(total, ErrorArray):
            return None
        return np.asarray(np.sqrt(total.model.rounding(total.value).statistical))


def _is_exponential(call: Call, rule: Rule) -> bool:
    return rule.name in EXPONENTIALS and (rule.name != "pow" or not isinstance(call.args[0], Ref))


class Arrived:
    """The gradients that have arrived at a program's values, and, by value, the roundings of sums from which it can be taken
    back. An element has one only if its whole gradient came through such a sum."""

    def __init__(self) -> None:
        self.grads: dict[int, Any] = {}
        self._roundings: dict[int, Floats] = {}

    def add(self, value: int, grad: Any, rounding: Floats | None = None) -> None:
        if rounding is not None and rounding.shape != grad.shape:
            rounding = None
        before = self.grads.get(value)
        if before is None:
            self.grads[value] = grad
        else:
            self.grads[value] = before + grad
            if rounding is not None or value in self._roundings:
                earlier = self._roundings.pop(value, np.zeros(grad.shape))
                later = np.zeros(grad.shape) if rounding is None else rounding
                through_both = np.minimum(earlier, later)
                through_later = np.where(_none_of(before), later, through_both)
                rounding = np.where(_none_of(grad), earlier, through_later)
        if rounding is not None:
            self._roundings[value] = rounding

    def pop(self, value: int | None) -> tuple[Any, Floats | None]:
        """The gradient of a value, and the roundings from which it can be taken back; None if there are none."""
        return (None, None) if value is None else (self.grads.pop(value, None), self._roundings.pop(value, None))


def _none_of(grad: Any) -> Any:
    return (grad.value if isinstance(grad, ErrorArray) else grad) == 0


def moved_back(rounding: Floats | None, rule: Rule, backward: Callable[[Any], Any], total: Any) -> list[Any]:
    """The roundings at the arguments of an operation that only moves numbers; none for others."""
    if rounding is None or not rule.moves or not isinstance(total, ErrorArray):
        return []
    found = backward(ErrorArray.exact(rounding, total.model))
    return [
        own.value if isinstance(own, ErrorArray) else None
        for own in (found if isinstance(found, (tuple, list)) else (found,))
    ]


def with_exponent_taken_back(found: Any, call: Call, rule: Rule, y: Any, g: Any, rounding: Floats | None) -> Any:
    """The gradients of an exponential's arguments, as they come out if it is taken back from a sum with this rounding."""
    if rounding is None or not _is_exponential(call, rule) or not isinstance(y, ErrorArray):
        return found
    place, grads = EXPONENTIALS[rule.name], [*found]
    grad = grads[place]
    if not isinstance(grad, ErrorArray) or grad.shape != rounding.shape:
        return found
    slope = np.divide(np.abs(grad.value), y.value, out=np.abs(g.value), where=y.value > 0)
    more = slope * rounding
    grads[place] = with_more(grad, grad.model.raised(np.where(np.isfinite(more), more, 0.0)))
    return tuple(grads)
