"""The types of arrays and of backward functions, and which values count as arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
Backward: TypeAlias = Callable[[Array], Any]

# Kinds of NumPy's dtypes that are no floating-point numbers; ml_dtypes' bfloat16 is of another kind again.
OTHER_KINDS = "biucOSUMm"


def is_array(value: Any) -> bool:
    """Whether `value` is a NumPy array, or an object with a NumPy dtype that behaves like one."""
    return isinstance(getattr(value, "dtype", None), np.dtype)


def as_array(value: Any) -> Any:
    """A NumPy scalar as an array without dimensions; every other value unchanged."""
    return np.asarray(value) if isinstance(value, np.generic) else value


def machine_epsilon(dtype: np.dtype[Any]) -> float:
    """The distance from 1 to the next number of a floating-point dtype, also of bfloat16, which np.finfo does not know."""
    return float(np.nextafter(np.ones((), dtype), np.full((), 2, dtype))) - 1.0
