"""How NumPy calls reach the rules for arrays that carry errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

UFUNCS: dict[np.ufunc, Callable[..., Any]] = {}
AT: dict[np.ufunc, Callable[..., None]] = {}
FUNCTIONS: dict[Any, Callable[..., Any]] = {}


class ArrayLike:
    """The base of error arrays and masks, with NumPy's attributes and methods for rearranging. NumPy calls go to the rules.

    A subclass has a `value`, and says how it is `mapped`. An operation without a rule raises an error; it never counts as exact.
    """

    __slots__ = ()
    value: Any

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if method == "at" and ufunc in AT and not kwargs:
            return AT[ufunc](*inputs)
        if method != "__call__" or kwargs or ufunc not in UFUNCS:
            return NotImplemented
        with np.errstate(all="ignore"):
            return UFUNCS[ufunc](*inputs)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if function not in FUNCTIONS:
            return NotImplemented
        with np.errstate(all="ignore"):
            return FUNCTIONS[function](*args, **kwargs)

    def mapped(self, function: Callable[[Any], Any]) -> Any:
        """Applies a rearrangement to every component."""
        raise NotImplementedError

    def __len__(self) -> int:
        return len(self.value)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.value.shape  # type: ignore[no-any-return]

    @property
    def ndim(self) -> int:
        return self.value.ndim  # type: ignore[no-any-return]

    @property
    def size(self) -> int:
        return self.value.size  # type: ignore[no-any-return]

    @property
    def T(self) -> Any:  # noqa: N802
        return self.mapped(np.transpose)

    def reshape(self, *shape: Any) -> Any:
        return self.mapped(lambda component: component.reshape(*shape))

    def transpose(self, *axes: Any) -> Any:
        return self.mapped(lambda component: component.transpose(*axes))

    def swapaxes(self, first: int, second: int) -> Any:
        return self.mapped(lambda component: component.swapaxes(first, second))

    def squeeze(self, axis: Any = None) -> Any:
        return self.mapped(lambda component: component.squeeze(axis))

    def copy(self) -> Any:
        return self.mapped(np.copy)

    def sum(self, axis: Any = None, keepdims: bool = False) -> Any:
        return np.sum(self, axis=axis, keepdims=keepdims)  # type: ignore[call-overload]

    def mean(self, axis: Any = None, keepdims: bool = False) -> Any:
        return np.mean(self, axis=axis, keepdims=keepdims)  # type: ignore[call-overload]
