"""Numbers in JSON: arrays that are restored bit by bit, NaN and infinities as words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from oracle.case.arrays import Array

# Words in files that are exchanged with other programs. oracle's own files have those of `arrays.SPECIAL`.
SPELLED = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
DTYPES = ("float64", "float32", "float16", "bfloat16", "int64", "int32", "bool")


def spelled(value: Any, words: Mapping[str, float] = SPELLED) -> Any:
    """The value with every NaN and infinity, which are not JSON numbers, as a word; tuples become lists."""
    if isinstance(value, dict):
        return {key: spelled(item, words) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [spelled(item, words) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return next(word for word, number in words.items() if str(number) == str(float(value)))
    return value


def unspelled(value: Any, words: Mapping[str, float] = SPELLED) -> Any:
    """The inverse of `spelled`; lists become tuples."""
    if isinstance(value, dict):
        return {key: unspelled(item, words) for key, item in value.items()}
    if isinstance(value, list):
        return tuple(unspelled(item, words) for item in value)
    return words.get(value, value) if isinstance(value, str) else value


def array_to_object(array: Array) -> dict[str, Any]:
    """{"dtype", "shape", "data"}: the elements in row-major order, each as the shortest decimal for its float64 value."""
    wide = array.astype(np.float64) if array.dtype.kind not in "biu" else array
    data = wide.ravel().tolist()
    finite = wide.dtype.kind in "biu" or bool(np.isfinite(wide).all())
    return {"dtype": array.dtype.name, "shape": list(array.shape), "data": data if finite else spelled(data)}


def array_from_object(value: Any, dtype: str) -> Array:
    """The inverse of `array_to_object`. Raises: ValueError, in one sentence, for anything but an array.

    dtype: the dtype of an object that names none.
    """
    if not isinstance(value, dict) or "data" not in value or "shape" not in value:
        raise ValueError(f"an array is an object with 'shape' and 'data', got {shown(value)}")
    shape, data, name = value["shape"], value["data"], value.get("dtype", dtype)
    if name not in DTYPES:
        raise ValueError(f"unknown dtype {shown(name)}: known are {', '.join(DTYPES)}")
    if not isinstance(shape, list) or not all(type(size) is int and 0 <= size < 2**31 for size in shape):
        raise ValueError(f"a shape is a list of sizes, got {shown(shape)}")
    if not isinstance(data, list):
        raise ValueError(f"data is a flat list of numbers, got {shown(data)}")
    if len(data) != math.prod(shape):
        raise ValueError(f"shape {tuple(shape)} needs {math.prod(shape)} elements, got {len(data)}")
    if not set(map(type, data)) <= {float}:
        data = [_number(entry) for entry in data]
    try:
        with np.errstate(over="ignore"):
            return np.array(data, np.int64 if np.dtype(name).kind in "iu" else np.float64).astype(name).reshape(shape)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"data does not fit {name}: {error}") from error


def _number(entry: Any) -> int | float:
    if isinstance(entry, str) and entry in SPELLED:
        return SPELLED[entry]
    if not isinstance(entry, (int, float)):
        raise ValueError(f"data is a flat list of numbers, 'NaN', 'Infinity' and '-Infinity', got {shown(entry)}")
    return entry


def shown(value: Any) -> str:
    """The beginning of a value as text, for a message in one line."""
    try:
        text = repr(value)
    except ValueError:  # a number of more digits than Python writes
        text = f"a {type(value).__name__} that cannot be written out"
    return text if len(text) <= 60 else f"{text[:57]}…"
