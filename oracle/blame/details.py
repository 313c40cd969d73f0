"""The arrays of discrepancies, kept with a report to show the positions of the errors in a tensor.

Only discrepancies are kept, with a limited number of elements each, so that a report stays small.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile, ZipFile

import ml_dtypes
import numpy as np

from oracle.case.arrays import Array, is_numeric
from oracle.execution.memory import at_most
from oracle.judging.rows import Row
from oracle.running_error import LAMBDA
from oracle.running_error.model import Floats
from oracle.wording.errors import Sentence

MOST_ELEMENTS = 8_192
MOST_PER_REPORT = 80
# The largest entry of a file, and the memory that reading it may take. Its header may say anything.
LARGEST_ENTRY, MOST_MEMORY = 16 * MOST_ELEMENTS, 1 << 30
ARRAYS = ("got", "expected", "tolerance")


class RowKey(NamedTuple):
    """The fields that identify a row of the report's table."""

    case: str
    dtype: str
    step: int
    layer: str
    quantity: str
    mode: str


@dataclass(frozen=True)
class Detail:
    """One judged quantity, element by element.

    Attributes:
        place: the row to which it belongs.
        got: the subject's values, in their own dtype.
        expected, tolerance: the expected values and the rounding error allowed; float64, shaped like `got`.
        shape: the shape of the whole quantity; larger than that of `got` if only a part around the worst element is kept.
        origin: the index of the kept part's first element in the whole.
        causes: all causes that fit, most specific first, by name and in words; not saved in files.
    """

    place: RowKey
    got: Array
    expected: Floats
    tolerance: Floats
    shape: tuple[int, ...]
    origin: tuple[int, ...]
    causes: tuple[tuple[str, str], ...] = ()

    def after(self, steps: int) -> Detail:
        """The same detail with its step number increased."""
        return replace(self, place=self.place._replace(step=self.place.step + steps))

    @property
    def error(self) -> Floats:
        with np.errstate(invalid="ignore"):
            actual = self.got.astype(np.float64)
            same = (actual == self.expected) | (np.isnan(actual) & np.isnan(self.expected))
            error = np.where(same, 0.0, np.abs(actual - self.expected))
        return np.where(np.isnan(error), np.inf, error)

    @property
    def ratio(self) -> Floats:
        """|got - expected| / tolerance: above 1 is outside; 0 is exact; infinite for a difference where the tolerance is 0."""
        error = self.error
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            return np.where(error == 0, 0.0, error / self.tolerance)

    @property
    def z(self) -> Floats:
        """|got - expected| in standard deviations of correct rounding."""
        return self.ratio * LAMBDA

    @property
    def is_whole(self) -> bool:
        return self.got.shape == self.shape


def place_of(row: Row) -> RowKey:
    return RowKey(row.case, row.dtype, row.step, row.layer, row.quantity, row.mode)


def capped(details: Iterable[Detail], first: Collection[RowKey] = ()) -> tuple[Detail, ...]:
    """The details that a report keeps: those of the places in `first`, then the first of each case before any second."""
    by_case: dict[tuple[str, str], list[Detail]] = {}
    for detail in details:
        by_case.setdefault((detail.place.case, detail.place.dtype), []).append(detail)
    ranked = [
        (-1 if detail.place in first else rank, detail) for own in by_case.values() for rank, detail in enumerate(own)
    ]
    chosen = {id(detail) for _, detail in sorted(ranked, key=lambda entry: entry[0])[:MOST_PER_REPORT]}
    return tuple(detail for own in by_case.values() for detail in own if id(detail) in chosen)


def detail(row: Row, got: Array, expected: Floats, tolerance: Floats) -> Detail:
    """A row's arrays, cut to a block around its worst element if they are large."""
    start, stop = window(got.shape, row.worst_index)
    block = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))

    def cut(array: Array) -> Array:
        return np.array(np.broadcast_to(array, got.shape)[block])

    return Detail(place_of(row), cut(got), cut(expected), cut(tolerance), got.shape, start)


def window(shape: tuple[int, ...], around: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The start and stop indices of a block of at most MOST_ELEMENTS around an element; leading axes are cut first."""
    start, stop = [0] * len(shape), list(shape)
    elements = int(np.prod(shape, dtype=np.int64))
    for axis, size in enumerate(shape):
        if elements <= MOST_ELEMENTS:
            break
        rest = elements // size
        keep = max(1, MOST_ELEMENTS // rest)
        middle = around[axis] if axis < len(around) else 0
        start[axis] = min(max(0, middle - keep // 2), size - keep)
        stop[axis] = start[axis] + keep
        elements = rest * keep
    return tuple(start), tuple(stop)


def save(details: Iterable[Detail], path: Path) -> None:
    """Saves the arrays by number, in the order of `details`; their places are saved elsewhere."""
    arrays: dict[str, Array] = {}
    for number, kept in enumerate(details):
        arrays |= {f"{number}.{name}": getattr(kept, name) for name in ARRAYS}
        arrays |= {f"{number}.{name}": np.array(getattr(kept, name), np.int64) for name in ("shape", "origin")}
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def load(data: bytes, places: Iterable[RowKey]) -> tuple[Detail, ...]:
    """The details that `save` wrote. Raises: ValueError if the file holds anything else, or more than a report keeps."""
    try:
        with ZipFile(io.BytesIO(data)) as packed:
            if any(entry.file_size > LARGEST_ENTRY for entry in packed.infolist()):
                raise ValueError("an array in it is larger than a report keeps")
        # Objects are not loaded: their bytes would run as a program.
        with np.load(io.BytesIO(data), allow_pickle=False) as kept:
            return tuple(_loaded(kept, number, place) for number, place in enumerate(places))
    except (KeyError, ValueError, EOFError, BadZipFile, MemoryError, NotImplementedError, zlib.error) as error:
        raise Sentence(f"details.npz does not hold the arrays that its report names: {error}") from error


def _loaded(kept: Mapping[str, Array], number: int, place: RowKey) -> Detail:
    got, expected, tolerance = (_array(kept, f"{number}.{name}") for name in ARRAYS)
    shape, origin = (tuple(_array(kept, f"{number}.{name}").tolist()) for name in ("shape", "origin"))
    fits = got.shape == expected.shape == tolerance.shape and len(shape) == len(origin) == got.ndim
    whole = all(
        isinstance(start, int) and start >= 0 and start + size <= all_of
        for start, size, all_of in zip(origin, got.shape, shape, strict=False)
    )
    if not fits or not whole or expected.dtype != np.float64 or tolerance.dtype != np.float64:
        raise ValueError(f"arrays {number} do not fit together")
    return Detail(place, got, expected, tolerance, shape, origin)


def _array(kept: Mapping[str, Array], name: str) -> Array:
    with at_most(MOST_MEMORY):
        array = kept[name]
    if array.dtype == "V2":  # the form in which NumPy's files hold bfloat16
        array = array.view(ml_dtypes.bfloat16)
    if not isinstance(array, np.ndarray) or not is_numeric(array.dtype) or array.size > MOST_ELEMENTS:
        raise ValueError(f"{name} is not an array of numbers that a report keeps")
    return array
