"""The outcome of a comparison of arrays that carry errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from oracle.running_error.dispatch import ArrayLike
from oracle.running_error.model import ErrorModel, Twofold


class ErrorMask(ArrayLike):
    """The outcome of a comparison: `value`, and for each error model the mask `ambiguous` of elements whose outcome rounding
    can change, or None if there are none. `model` is that of the arrays that were compared, if they carry errors."""

    __slots__ = ("ambiguous", "model", "value")

    def __init__(self, value: Any, ambiguous: Twofold | None, model: ErrorModel | None = None) -> None:
        self.value, self.ambiguous, self.model = value, ambiguous, model

    @property
    def is_open(self) -> bool:
        """Whether rounding can change the outcome anywhere."""
        return self.ambiguous is not None and self.ambiguous.any()

    def combined(self, other: Any, operation: Callable[[Any, Any], Any]) -> ErrorMask:
        value, ambiguous = (other.value, other.ambiguous) if isinstance(other, ErrorMask) else (other, None)
        if self.ambiguous is not None and ambiguous is not None:
            ambiguous = self.ambiguous.mapped(np.logical_or, ambiguous)
        model = self.model or (other.model if isinstance(other, ErrorMask) else None)
        return ErrorMask(operation(self.value, value), ambiguous or self.ambiguous, model)

    def __and__(self, other: Any) -> ErrorMask:
        return self.combined(other, np.logical_and)

    def __or__(self, other: Any) -> ErrorMask:
        return self.combined(other, np.logical_or)

    def __invert__(self) -> ErrorMask:
        return ErrorMask(~self.value, self.ambiguous, self.model)

    __rand__, __ror__ = __and__, __or__

    def mapped(self, function: Callable[[Any], Any]) -> ErrorMask:
        ambiguous = self.ambiguous
        if ambiguous is not None:
            ambiguous = ambiguous.mapped(lambda own: function(np.broadcast_to(own, self.shape)))
        return ErrorMask(function(self.value), ambiguous, self.model)

    def __getitem__(self, index: Any) -> ErrorMask:
        return self.mapped(lambda component: component[index])

    def __setitem__(self, index: Any, other: Any) -> None:
        value, ambiguous = (other.value, other.ambiguous) if isinstance(other, ErrorMask) else (other, None)
        self.value[index] = value
        self.model = self.model or (other.model if isinstance(other, ErrorMask) else None)
        known = ambiguous or self.ambiguous
        if known is None:
            return

        def written(own: Any, new: Any) -> Any:
            result = np.array(np.broadcast_to(own, self.shape))
            result[index] = new
            return result

        none = known.mapped(lambda _: np.zeros((), bool))
        self.ambiguous = (self.ambiguous or none).mapped(written, ambiguous or none)
