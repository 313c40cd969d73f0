"""The arrays of a case: read-only, in a memory layout that is part of the case, with a lossless JSON form."""

from __future__ import annotations

import base64
import math
import zlib
from typing import Any, TypeAlias

import ml_dtypes
import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]

# Above this many elements JSON holds base64 of the compressed bytes instead of readable numbers.
READABLE_SIZE = 256
# Limits of an array in a file: its bytes, the gaps between its elements (in units of their number), and NumPy's own dimensions.
MOST_BYTES, MOST_GAPS, MOST_DIMENSIONS = 1 << 32, 1024, 64
DTYPES = (
    "float64",
    "float32",
    "float16",
    "bfloat16",
    "int64",
    "int32",
    "int16",
    "int8",
    "uint64",
    "uint32",
    "uint16",
    "uint8",
    "bool",
)
SPECIAL = {"nan": np.nan, "inf": np.inf, "-inf": -np.inf}


class Constant(np.ndarray[Any, np.dtype[Any]]):
    """An array that is an argument of a function but has no gradient, such as running statistics."""


def element_strides(array: Array) -> tuple[int, ...]:
    return tuple(stride // array.itemsize for stride in array.strides)


def is_numeric(dtype: np.dtype[Any]) -> bool:
    """Whether a case can hold this dtype: floating-point (bfloat16 too), integer or bool."""
    return dtype.kind in "biuf" or dtype == ml_dtypes.bfloat16


def is_plain(array: Array) -> bool:
    return bool(array.flags.c_contiguous)


def buffer_of(values: Array, strides: tuple[int, ...]) -> tuple[Array, int]:
    """A one-dimensional buffer that holds `values` in this layout, and the offset of its first element.

    Strides count elements. They may be negative, or zero, where all elements along a dimension are the same.
    """
    reach = [(size - 1) * stride for size, stride in zip(values.shape, strides, strict=True)] if values.size else []
    offset = -sum(step for step in reach if step < 0)
    buffer = np.zeros(1 + sum(abs(step) for step in reach), dtype=values.dtype)
    view_of(buffer, offset, values.shape, strides, writeable=True)[...] = values
    return buffer, offset


def view_of(
    buffer: Array, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], writeable: bool = False
) -> Array:
    byte_strides = tuple(stride * buffer.itemsize for stride in strides)
    return np.lib.stride_tricks.as_strided(buffer[offset:], shape, byte_strides, writeable=writeable)


def laid_out(values: Array, strides: tuple[int, ...]) -> Array:
    """The same values in a layout with these element strides."""
    buffer, offset = buffer_of(values, strides)
    return view_of(buffer, offset, values.shape, strides, writeable=True)


def cast(array: Array, dtype: npt.DTypeLike) -> Array:
    """A floating-point array in another precision and the same layout; indices and masks unchanged.

    dtype: that of the parts of complex numbers. Raises: ValueError for one of 16 or 8 bits and complex numbers.
    """
    if array.dtype.kind in "biu" or array.dtype == dtype:
        return array
    if array.dtype.kind == "c":
        dtype = complex_of(np.dtype(dtype))
    with np.errstate(over="ignore"):  # a magnitude that the dtype does not hold becomes inf, as in any framework
        values = array.astype(dtype)
    return values if is_plain(array) else laid_out(values, element_strides(array))


def complex_of(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype of complex numbers whose parts have this one. Raises: ValueError if there is none."""
    if dtype.name not in ("float32", "float64"):
        raise ValueError(f"complex numbers are judged in float32 and float64, got {dtype.name}")
    return np.dtype("complex64" if dtype.name == "float32" else "complex128")


def in_parts(array: Array) -> Array:
    """Complex numbers as real and imaginary parts in a last dimension; any other array as it is."""
    return np.stack([array.real, array.imag], -1) if array.dtype.kind == "c" else array


def of_parts(array: Array) -> Array:
    """The inverse of `in_parts`."""
    return np.ascontiguousarray(array).view(complex_of(array.dtype))[..., 0]


def own_copy(array: Array) -> Array:
    """A copy that may be written to, in the same memory layout."""
    return np.array(array) if is_plain(array) else laid_out(array, element_strides(array))


def are_equal(one: Array, other: Array) -> bool:
    """Whether two arrays have the same shape and numbers; a NaN equals a NaN."""
    if one.shape == other.shape and bool((one == other).all()):  # in most cases, and twice as fast
        return True
    return np.array_equal(one, other, equal_nan=other.dtype.kind not in "iub")


def read_only(array: Array) -> Array:
    if not array.flags.writeable:
        return array
    view = array.view()
    view.flags.writeable = False
    return view


def array_to_json(array: Array) -> Any:
    """A nested list for a small plain float64 array; else an object with dtype, shape, data or base64, and strides."""
    plain = is_plain(array)
    if array.size <= READABLE_SIZE and plain and array.dtype == np.float64 and array.size:
        return _numbers(array)
    result: dict[str, Any] = {"dtype": array.dtype.name, "shape": list(array.shape)}
    if array.size <= READABLE_SIZE:
        result["data"] = _numbers(np.ravel(array))
    else:
        result["base64"] = base64.b64encode(zlib.compress(np.ascontiguousarray(array).tobytes(), 9)).decode()
    if not plain:
        result["strides"] = list(element_strides(array))
    return result


def _numbers(array: Array) -> Any:
    """The elements as JSON values; NaN and infinities, which JSON lacks, are written as words."""
    if array.dtype.kind in "biu" or np.isfinite(array).all():
        return array.tolist()
    if array.ndim == 0:
        return str(float(array))
    return [_numbers(part) for part in array]


def array_from_json(value: Any) -> Array:
    """The inverse of `array_to_json`. Raises: ValueError, in one sentence, for anything but an array."""
    if not isinstance(value, dict):
        return _parsed(value, np.dtype(np.float64))
    unknown = sorted(value.keys() - {"dtype", "shape", "data", "base64", "strides"})
    if unknown:
        raise ValueError(f"an array object has no {unknown[0]!r}: it has dtype, shape, data or base64, and strides")
    try:
        shape, name = _integers(value["shape"], least=0), value["dtype"]
    except (KeyError, ValueError) as error:
        raise ValueError("an array object needs a known 'dtype' and a 'shape' (a list of sizes)") from error
    if name not in DTYPES:
        raise ValueError(f"an array's dtype is one of {', '.join(DTYPES)}")
    dtype = np.dtype(name)
    size = math.prod(shape)
    if size * dtype.itemsize > MOST_BYTES:
        raise ValueError(f"an array of shape {list(shape)} takes more than {MOST_BYTES:,} bytes")
    if "base64" in value:
        flat = np.frombuffer(_inflated(value["base64"], size * dtype.itemsize), dtype=dtype)
    elif "data" in value:
        flat = _parsed(value["data"], dtype)
    else:
        raise ValueError("an array object needs 'data' or 'base64'")
    if flat.size != size:
        raise ValueError(f"an array of shape {list(shape)} needs {size} elements, got {flat.size}")
    return _in_layout(flat.reshape(shape), value["strides"]) if "strides" in value else flat.reshape(shape)


def _in_layout(array: Array, value: Any) -> Array:
    try:
        strides = _integers(value, least=-MOST_BYTES)
    except ValueError as error:
        raise ValueError(f"an array's strides are a list of whole numbers: {error}") from error
    if len(strides) != array.ndim:
        raise ValueError(f"an array of shape {list(array.shape)} needs {array.ndim} strides, got {len(strides)}")
    reach = sum(abs(stride) * (size - 1) for size, stride in zip(array.shape, strides, strict=True) if size)
    if reach > MOST_GAPS * max(array.size, 1):
        raise ValueError(f"an array's strides leave more than {MOST_GAPS} times its elements between them")
    return laid_out(array, strides)


def _integers(value: Any, least: int) -> tuple[int, ...]:
    if not isinstance(value, list) or not all(type(item) is int and least <= item <= MOST_BYTES for item in value):
        raise ValueError("a list of whole numbers is expected, none of them too large")
    if len(value) > MOST_DIMENSIONS:
        raise ValueError(f"an array has at most {MOST_DIMENSIONS} dimensions")
    return tuple(value)


def _inflated(text: Any, size: int) -> bytes:
    """The `size` bytes that a compressed text holds; it never decompresses more than that. Raises: ValueError."""
    try:
        inflating = zlib.decompressobj()
        data = inflating.decompress(base64.b64decode(text, validate=True), size + 1)
    except (ValueError, TypeError, zlib.error) as error:
        raise ValueError("an array's 'base64' is the base64 form of zlib-compressed little-endian bytes") from error
    if len(data) != size or not inflating.eof:
        raise ValueError(f"an array's 'base64' holds another number of bytes than the {size} of its shape")
    return data


def _parsed(value: Any, dtype: np.dtype[Any]) -> Array:
    def spelled(entry: Any) -> Any:
        if isinstance(entry, list):
            return [spelled(item) for item in entry]
        if isinstance(entry, str) and entry in SPECIAL:
            return SPECIAL[entry]
        if isinstance(entry, (int, float)):
            return entry
        raise ValueError(f"an array's elements are numbers, 'nan', 'inf' or '-inf', got {repr(entry)[:60]}")

    if not isinstance(value, (list, int, float, str)):
        raise ValueError(f"an array is a nested list of numbers or an object, got {type(value).__name__}")
    numbers = spelled(value)
    try:
        with np.errstate(over="ignore"):
            return np.array(numbers, dtype=dtype)
    except (ValueError, OverflowError) as error:
        if "inhomogeneous" in str(error):
            raise ValueError("an array's nested lists must have equal lengths") from error
        raise ValueError(f"an array's elements do not fit {dtype}: {error}") from error
