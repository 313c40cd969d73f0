"""The types of arrays and of backward functions, and which values count as arrays."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
Backward: TypeAlias = Callable[[Array], Any]

# The kinds of NumPy's dtypes that are not floating-point. ml_dtypes' bfloat16, which is, has a kind of its own.
OTHER_KINDS = "biucOSUMm"
LARGEST_BFLOAT16 = 2.0**128 - 2.0**120


def is_array(value: Any) -> bool:
    """Whether `value` is a NumPy array, or an object with a NumPy dtype that behaves like one."""
    return isinstance(getattr(value, "dtype", None), np.dtype)


def as_array(value: Any) -> Any:
    """A NumPy scalar as an array without dimensions; every other value unchanged."""
    return np.asarray(value) if isinstance(value, np.generic) else value


def machine_epsilon(dtype: np.dtype[Any]) -> float:
    """The distance from 1 to the next number of a floating-point dtype, also of bfloat16, which np.finfo does not know."""
    return float(np.nextafter(np.ones((), dtype), np.full((), 2, dtype))) - 1.0


def in_bfloat16(x: Array) -> Array:
    """x rounded to the nearest bfloat16, halves to even; in its own dtype, or in float32 if that has 16 bits.

    A bfloat16 has 8 significant bits, and is a multiple of 2^-133. The range is that of float32: what rounds to 2^128 or more
    becomes infinite, also in a dtype that holds larger numbers.

    >>> in_bfloat16(np.array([1.003, 1.005, 257.0])).tolist()
    [1.0, 1.0078125, 256.0]
    """
    wide = x.astype(np.float32) if x.dtype.itemsize == 2 else x
    unit = np.maximum(np.frexp(wide)[1] - 8, -133)
    rounded = np.ldexp(np.rint(np.ldexp(wide, -unit)), unit)
    held: Array = np.where(np.abs(rounded) > LARGEST_BFLOAT16, np.copysign(np.inf, rounded), rounded)
    return held


def dispatched(function: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator for a function that other array types may compute in their own way, by NumPy's protocol (NEP 18).

    Arrays that carry errors use it where the error of the result follows from the mathematics, and not from the steps.
    """

    @wraps(function)
    def either(x: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(x, np.ndarray) and hasattr(x, "__array_function__"):
            found = x.__array_function__(either, (type(x),), (x, *args), kwargs)
            if found is not NotImplemented:
                return found
        return function(x, *args, **kwargs)

    return either
