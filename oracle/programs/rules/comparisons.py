"""Rules of comparisons, and of what is made of their outcomes.

The recorded outcome is used, but where rounding can change that of a reference with which another implementation is compared.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from oracle.programs.adjoint import plain
from oracle.programs.table import rule
from oracle.running_error.mask import ErrorMask


def _compared(function: Callable[[Any, Any], Any], x: Any, y: Any) -> Any:
    """The outcome of a comparison. Equal numbers count as the same number, for instance a row and its largest element."""
    made = function(x, y)
    if not isinstance(made, ErrorMask) or made.ambiguous is None:
        return made
    differ = plain(x) != plain(y)
    return ErrorMask(made.value, made.ambiguous.mapped(lambda own: own & differ), made.model)


def _no_gradient(*_: Any) -> tuple[()]:
    return ()


@rule("gt", compares=True)
def gt(input: Any, other: Any) -> Any:
    """x > y; no gradient."""
    return _compared(np.greater, input, other), _no_gradient


@rule("ge", compares=True)
def ge(input: Any, other: Any) -> Any:
    """x ≥ y; no gradient."""
    return _compared(np.greater_equal, input, other), _no_gradient


@rule("lt", compares=True)
def lt(input: Any, other: Any) -> Any:
    """x < y; no gradient."""
    return _compared(np.less, input, other), _no_gradient


@rule("le", compares=True)
def le(input: Any, other: Any) -> Any:
    """x ≤ y; no gradient."""
    return _compared(np.less_equal, input, other), _no_gradient


@rule("logical_and", "bitwise_and", compares=True)
def logical_and(input: Any, other: Any) -> Any:
    """Both; no gradient."""
    return input & other, _no_gradient


@rule("logical_or", "bitwise_or", compares=True)
def logical_or(input: Any, other: Any) -> Any:
    """Either or both; no gradient."""
    return input | other, _no_gradient


@rule("logical_not", "bitwise_not", compares=True)
def logical_not(input: Any) -> Any:
    """The opposite; no gradient."""
    return ~input, _no_gradient
