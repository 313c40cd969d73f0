"""The position of an array in its memory, and reading one array out of another's memory."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from oracle.case.arrays import Array


class Geometry:
    """Shape, strides and offset of an array in its storage, counted in elements."""

    def __init__(self, shape: tuple[int, ...], strides: tuple[int, ...], offset: int = 0) -> None:
        self.shape, self.strides, self.offset = tuple(shape), tuple(strides), offset

    @classmethod
    def row_of(cls, shape: tuple[int, ...]) -> Geometry:
        """The geometry of a contiguous array."""
        return cls(shape, tuple(int(np.prod(shape[axis + 1 :], dtype=np.int64)) for axis in range(len(shape))))

    @property
    def _steps(self) -> list[tuple[int, int]]:
        """(size, stride) of the dimensions that have more than one element."""
        return [(size, step) for size, step in zip(self.shape, self.strides, strict=True) if size != 1]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Geometry) or self.shape != other.shape:
            return False
        return self.size == 0 or (self.offset == other.offset and self._steps == other._steps)

    def __hash__(self) -> int:
        return hash((self.shape, self.offset))

    def __repr__(self) -> str:
        return f"{self.shape} by {self.strides} from {self.offset}"

    @cached_property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))

    @cached_property
    def ends(self) -> tuple[int, int]:
        """The range of the storage that it covers: its first element, and the one after its last. Both are the same if it is
        empty."""
        if not self.size:
            return self.offset, self.offset
        low = self.offset + sum((size - 1) * step for size, step in self._steps if step < 0)
        high = self.offset + sum((size - 1) * step for size, step in self._steps if step > 0)
        return low, high + 1

    @cached_property
    def is_dense(self) -> bool:
        """Whether it covers each element between its ends exactly once."""
        reach = 1
        for size, step in sorted(self._steps, key=lambda own: own[1]):
            if step != reach:
                return False
            reach *= size
        return True

    @cached_property
    def elements(self) -> Array:
        """The position in the storage of each of its elements."""
        places = np.full(self.shape, self.offset)
        for axis, (size, step) in enumerate(zip(self.shape, self.strides, strict=True)):
            along = [1] * len(self.shape)
            along[axis] = size
            places = places + (np.arange(size) * step).reshape(along)
        return places

    @cached_property
    def repeats(self) -> bool:
        """Whether several of its elements are the same element of the storage."""
        reach = 1
        for size, step in sorted(((size, abs(step)) for size, step in self._steps), key=lambda own: own[1]):
            if step < reach:  # it may meet an element of the dimensions with smaller steps
                return self.size > 0 and (step == 0 or len(np.unique(self.elements)) != self.size)
            reach += (size - 1) * step
        return False

    @cached_property
    def overlaps(self) -> bool:
        """Whether several of its elements are the same element of the storage, by more than an expanded dimension."""
        return self.without_expansion.repeats

    @cached_property
    def without_expansion(self) -> Geometry:
        """Its geometry without the dimensions that were expanded."""
        kept = [own for own in zip(self.shape, self.strides, strict=True) if own[1] or own[0] == 1]
        return Geometry(tuple(size for size, _ in kept), tuple(step for _, step in kept), self.offset)

    def covers(self, other: Geometry) -> bool:
        """Whether it covers all elements of another."""
        (low, high), (first, last) = self.ends, other.ends
        if not (low <= first and last <= high):
            return False
        return self.is_dense or bool(np.isin(other.elements, self.elements).all())

    def meets(self, other: Geometry) -> bool:
        """Whether the two have an element in common."""
        (low, high), (first, last) = self.ends, other.ends
        if not self.size or not other.size or high <= first or last <= low:
            return False
        return (self.is_dense and other.is_dense) or self == other or bool(np.isin(self.elements, other.elements).any())


def flat(x: Any, own: Geometry) -> Any:
    """The storage between an array's ends, zero where the array has no element."""
    if own.is_dense:
        order = sorted(range(len(own.shape)), key=lambda axis: -own.strides[axis] if own.shape[axis] != 1 else 0)
        return x.transpose(order).reshape(-1) if order else x.reshape(-1)
    return _put(x, own, own.ends)


def _put(x: Any, own: Geometry, ends: tuple[int, int]) -> Any:
    """The storage between these ends, with an array in it and zeros elsewhere. Elements that share a place are equal."""
    low, high = ends

    def put(component: Array) -> Array:
        storage = np.zeros(high - low, component.dtype)
        _shown(storage, own, low, writeable=True)[...] = component
        return storage

    return mapped(x, put)


def _shown(storage: Array, own: Geometry, low: int, writeable: bool = False) -> Array:
    """The array of this geometry in a storage, given from its element `low` on."""
    (step,) = storage.strides
    strides = [step * stride for stride in own.strides]
    return np.lib.stride_tricks.as_strided(storage[own.offset - low :], own.shape, strides, writeable=writeable)


def viewed(x: Any, own: Geometry, other: Geometry) -> Any:
    """The array of another geometry in the memory of an array."""
    if not other.size:
        return mapped(x, lambda component: np.zeros(other.shape, component.dtype))
    low = own.ends[0]
    return mapped(flat(x, own), lambda component: _shown(component, other, low))


def gathered(g: Any, own: Geometry, other: Geometry) -> Any:
    """The adjoint of `viewed`: every element of g is added to the element from which it was read."""
    if not other.size:
        return mapped(g, lambda component: np.zeros(own.shape, component.dtype))
    low, high = own.ends
    sides = enumerate(zip(other.shape, other.strides, strict=True))
    expanded = tuple(axis for axis, (size, stride) in sides if stride == 0 and size != 1)
    g, part = np.sum(g, axis=expanded) if expanded else g, other.without_expansion
    if part.repeats:
        storage = np.zeros_like(g, shape=(high - low,))
        np.add.at(storage, (part.elements - low).reshape(-1), g.reshape(-1))
    else:
        storage = _put(g, part, own.ends)
    whole = Geometry((high - low,), (1,), low)
    return viewed(storage, whole, own)


def mapped(x: Any, function: Any) -> Any:
    """An array after a rearrangement, whether it carries errors or not."""
    return function(np.asarray(x)) if isinstance(x, (np.ndarray, np.generic)) else x.mapped(function)
