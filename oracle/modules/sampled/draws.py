"""Elements drawn from a tensor: how they are read, where they stand, and the chance that none of them shows a fault."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
import torch

from oracle.case.arrays import Array
from oracle.report.coverage import Sampled

Shape = tuple[int, ...]


class Take(Protocol):
    """Reads a part of a tensor."""

    def of(self, tensor: torch.Tensor) -> torch.Tensor:
        """A copy of the part alone."""

    def shape_of(self, shape: Shape) -> Shape:
        """The shape of the part of a tensor of this shape."""


class Misses(NamedTuple):
    """The chances to miss a fault of one element, of one row (along the last axis), or of one channel.

    A channel is all elements that share an index of an axis; the chance is that of the axis where a miss is likeliest.
    """

    element: float
    row: float
    channel: float


@dataclass(frozen=True)
class Cells:
    """Cells drawn without replacement, each as likely as the others, from the product of some axes.

    Attributes:
        axes: these axes, in order.
        sizes: their sizes.
        chosen: the cells by their positions in row-major order, sorted.
    """

    axes: Shape
    sizes: Shape
    chosen: Array

    @classmethod
    def drawn(cls, rng: np.random.Generator, axes: Sequence[int], shape: Shape, count: int) -> Cells:
        sizes = tuple(shape[axis] for axis in axes)
        total = math.prod(sizes)
        return cls(tuple(axes), sizes, np.sort(rng.choice(total, min(count, total), replace=False)))

    @property
    def coordinates(self) -> tuple[Array, ...]:
        """For each axis the index of each cell."""
        return tuple(np.unravel_index(self.chosen, self.sizes))

    def misses(self, touched: int) -> float:
        """The chance that none of so many cells was drawn: that of a hypergeometric distribution."""
        total, drawn = math.prod(self.sizes), len(self.chosen)
        if touched > total - drawn:
            return 0.0
        return math.exp(_log_choose(total - touched, drawn) - _log_choose(total, drawn))


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


@dataclass(frozen=True)
class Draw:
    """The elements that several drawings, each of cells of its own axes, have in common. Axes without a drawing are whole.

    Attributes:
        cells: the drawings.
        blocks: the sizes of blocks by axis of the tensor. Such an axis becomes two, that of the blocks and that within a block,
            and the axes of the drawings are counted after that.
        ones: axes of size 1 that are added to the part.
    """

    cells: tuple[Cells, ...] = ()
    ones: Shape = ()
    blocks: Mapping[int, int] = field(default_factory=dict)

    def _axes(self, dims: int) -> list[Shape]:
        """For each axis of the tensor, what it becomes."""
        found: list[Shape] = []
        for axis in range(dims):
            first = found[-1][-1] + 1 if found else 0
            found.append((first, first + 1) if self.blocks.get(axis, 1) > 1 else (first,))
        return found

    def split(self, shape: Shape) -> Shape:
        """The shape with its blocks."""
        sizes = (
            (n // self.blocks[a], self.blocks[a]) if self.blocks.get(a, 1) > 1 else (n,) for a, n in enumerate(shape)
        )
        return tuple(size for own in sizes for size in own)

    def _order(self, dims: int) -> Iterator[Cells | int]:
        """A drawing, or an axis that is whole, for each axis of the part, without `ones`."""
        by_axis = {own.axes[0]: own for own in self.cells}
        inner = {axis for own in self.cells for axis in own.axes[1:]}
        return (by_axis.get(axis, axis) for axis in range(dims) if axis not in inner)

    def axis(self, axis: int) -> int:
        """The number of an axis of the tensor, or of that of its blocks."""
        return axis + sum(size > 1 for before, size in self.blocks.items() if before < axis)

    def fits(self, shape: Shape) -> bool:
        """Whether a tensor has the axes from which was drawn."""
        shape = self.split(shape)
        return all(
            own.axes[-1] < len(shape) and own.sizes == tuple(shape[axis] for axis in own.axes) for own in self.cells
        )

    def of(self, tensor: torch.Tensor) -> torch.Tensor:
        for axis in sorted(self.blocks, reverse=True):
            if self.blocks[axis] > 1:
                tensor = tensor.unflatten(axis, (-1, self.blocks[axis]))  # type: ignore[no-untyped-call]
        if all(len(own.axes) == 1 for own in self.cells):
            for own in sorted(self.cells, key=lambda own: len(own.chosen) / max(1, own.sizes[0])):
                if len(own.chosen) < own.sizes[0]:
                    tensor = tensor.index_select(own.axes[0], index_of(own.chosen, tensor))
            part = tensor
        else:
            places, order = [], list(self._order(tensor.dim()))
            for axis, each in enumerate(order):
                found = each.coordinates if isinstance(each, Cells) else (np.arange(tensor.shape[each]),)
                along = [-1 if other == axis else 1 for other in range(len(order))]
                axes = each.axes if isinstance(each, Cells) else (each,)
                places += [(at, index_of(index.reshape(along), tensor)) for at, index in zip(axes, found, strict=True)]
            part = tensor[tuple(index for _, index in sorted(places, key=lambda own: own[0]))]
        for axis in self.ones:
            part = part.unsqueeze(axis)
        return part

    def shape_of(self, shape: Shape) -> Shape:
        sizes = self.split(shape)
        found = [len(own.chosen) if isinstance(own, Cells) else sizes[own] for own in self._order(len(sizes))]
        for axis in self.ones:
            found.insert(axis, 1)
        return tuple(found)

    def place(self, shape: Shape, index: Shape) -> Shape:
        """The index in the tensor of an element of the part."""
        kept = [own for axis, own in enumerate(index) if axis not in self.ones]
        sizes = self.split(shape)
        found = [0] * len(sizes)
        for own, at in zip(self._order(len(sizes)), kept, strict=True):
            if isinstance(own, Cells):
                for axis, along in zip(own.axes, own.coordinates, strict=True):
                    found[axis] = int(along[at])
            else:
                found[own] = at
        flat = np.ravel_multi_index(found, sizes) if found else 0
        return tuple(map(int, np.unravel_index(flat, shape))) if shape else ()

    def count(self, shape: Shape) -> int:
        """The number of elements drawn from a tensor of this shape."""
        total = math.prod(shape)
        for own in self.cells:
            total = total * len(own.chosen) // max(1, math.prod(own.sizes))
        return total

    def _misses(self, touched: Shape, shape: Shape) -> float:
        """The chance to miss a fault that touches all elements whose index on each of these axes is a certain one."""
        axes, sizes, caught = self._axes(len(shape)), self.split(shape), 1.0
        single = {part for axis in touched for part in axes[axis]}
        for own in self.cells:
            cells = math.prod(1 if axis in single else sizes[axis] for axis in own.axes)
            caught *= 1 - own.misses(cells)
        return 1 - caught

    def misses(self, shape: Shape) -> Misses:
        axes = tuple(range(len(shape)))
        slices = [self._misses((axis,), shape) for axis in axes]
        return Misses(self._misses(axes, shape), self._misses(axes[:-1], shape), max(slices, default=0.0))


@dataclass(frozen=True)
class Patches:
    """Windows of a tensor (N, C, *sides), each as a sample of its own.

    Attributes:
        samples: the sample of each window.
        places: for each side the positions that each window reads, (windows, size); -1 for padding with zeros.
        channels: the channels that are read.
    """

    samples: Array
    places: tuple[Array, ...]
    channels: Array = field(repr=False)

    def of(self, tensor: torch.Tensor) -> torch.Tensor:
        rank = len(self.places)

        def along(array: Array, axis: int) -> Array:
            return array.reshape([len(array), *(array.shape[1] if own == axis else 1 for own in range(1, rank + 2))])

        reads = [along(own, axis + 2) for axis, own in enumerate(self.places)]
        index = [along(self.samples, 0), self.channels.reshape(1, -1, *[1] * rank), *reads]
        part = tensor[tuple(index_of(own, tensor) for own in index)]
        outside = [own < 0 for own in reads]
        if any(own.any() for own in outside):
            mask = torch.from_numpy(np.broadcast_to(sum(outside) > 0, (len(self.samples), 1, *part.shape[2:])).copy())
            part.masked_fill_(mask.to(part.device), 0)
        return part

    def shape_of(self, shape: Shape) -> Shape:
        return (len(self.samples), len(self.channels), *(own.shape[1] for own in self.places))


def index_of(places: Array, tensor: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(places, np.int64)).to(tensor.device)


def sampled_of(place: str, quantity: str, shape: Shape, drawn: Draw) -> Sampled:
    """A quantity of which elements were drawn, for a report."""
    return Sampled(place, quantity, drawn.count(shape), math.prod(shape), *drawn.misses(shape))
