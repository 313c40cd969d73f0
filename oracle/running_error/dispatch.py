"""How NumPy calls reach the rules for arrays that carry errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

UFUNCS: dict[np.ufunc, Callable[..., Any]] = {}
AT: dict[np.ufunc, Callable[..., None]] = {}
FUNCTIONS: dict[Any, Callable[..., Any]] = {}


class Dispatching:
    """Sends NumPy calls to the registered rules. An operation without a rule raises an error; it never counts as exact."""

    __slots__ = ()

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
