"""safetensors files: written by the library; read here so that damaged entries are named and the others are kept."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
from safetensors.numpy import save

from oracle.case.arrays import MOST_DIMENSIONS, Array
from oracle.case.files import parsed
from oracle.exchange.numbers import shown

TYPES: dict[str, Any] = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U64": np.uint64,
    "U32": np.uint32,
    "U16": np.uint16,
    "U8": np.uint8,
    "BOOL": np.bool_,
}
LENGTH = 8  # bytes of the number that says how long the header is


class Tensors(NamedTuple):
    """The contents of a file: arrays by name, and the reason for each entry that cannot be read."""

    arrays: dict[str, Array]
    faults: dict[str, str]


def packed(arrays: Mapping[str, Array]) -> bytes:
    """The arrays as a file, sorted and without metadata, so that equal arrays give equal bytes."""
    # The library writes the bytes of the memory, and ignores its layout.
    return save({name: np.array(arrays[name], order="C") for name in sorted(arrays)})


def unpacked(data: bytes) -> Tensors:
    """The contents of a file. Raises: ValueError if the header cannot be read."""
    size = int.from_bytes(data[:LENGTH], "little")
    if len(data) < LENGTH or size > len(data) - LENGTH:
        said = (
            f": its first {LENGTH}, a little-endian number, say that the header has {size:,}" if data[LENGTH:] else ""
        )
        raise ValueError(f"no safetensors: its {len(data):,} bytes end within the header{said}")
    try:
        header = parsed(data[LENGTH : LENGTH + size])
    except ValueError as error:
        raise ValueError(f"no safetensors: its header is not JSON ({error})") from error
    if not isinstance(header, dict):
        raise ValueError(f"no safetensors: its header is not an object but {shown(header)}")
    header.pop("__metadata__", None)
    body, found = memoryview(data)[LENGTH + size :], Tensors({}, {})
    _check_begin(header)
    for name, entry in header.items():
        try:
            found.arrays[name] = _array(entry, body)
        except ValueError as error:
            found.faults[name] = str(error)
    return found


def _check_begin(header: Mapping[str, Any]) -> None:
    """Checks that an array begins right after the header. Raises: ValueError.

    Offsets from the beginning of the file would give the bytes of other numbers.
    """
    offsets = [entry.get("data_offsets") for entry in header.values() if isinstance(entry, dict)]
    begins = [own[0] for own in offsets if isinstance(own, list) and own and type(own[0]) is int]
    if begins and len(begins) == len(header) and min(begins) > 0:
        raise ValueError(
            f"no safetensors: data_offsets count from the end of the header, and the first is {min(begins):,}"
        )


def _array(entry: Any, body: memoryview) -> Array:
    if isinstance(entry, dict) and isinstance(own := entry.get("dtype"), str) and own not in TYPES:
        raise ValueError(f"unknown dtype {shown(own)}: known are {', '.join(TYPES)}")
    try:
        dtype, shape = np.dtype(TYPES[entry["dtype"]]), entry["shape"]
        start, end = entry["data_offsets"]
        if not all(type(number) is int for number in (start, end, *shape)) or len(shape) > MOST_DIMENSIONS:
            raise TypeError
        count = math.prod(shape)
        fits = start >= 0 and end - start == count * dtype.itemsize and all(size >= 0 for size in shape)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"no dtype, shape and data_offsets that can be read: {shown(entry)}") from error
    if not fits:
        raise ValueError(
            f"damaged: shape {shown(tuple(shape))} of {dtype} does not take the bytes {shown(start)} to {shown(end)}"
        )
    if end > len(body):
        raise ValueError(f"truncated: its bytes {start} to {end} go beyond the file's {len(body)}")
    array = np.frombuffer(body[start:end], dtype).reshape(shape)
    # Bytes that are not numbers may hold a signalling NaN, of which every later conversion would warn.
    if dtype.kind in "biu" or not np.isnan(array).any():
        return array
    with np.errstate(invalid="ignore"):
        return np.where(np.isnan(array), np.array(np.nan, dtype), array)
