"""Finds writes to a tensor that autograd does not notice, although an operation of the graph has read it before."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple

import torch

from oracle.modules.graph import Edge, edge_of
from oracle.programs.geometry import Geometry
from oracle.programs.program import Held, Place


class _Read(NamedTuple):
    """A tensor of the graph that was read, with its version at that time and its place in memory."""

    tensor: torch.Tensor
    version: int
    geometry: Geometry


class _Write(NamedTuple):
    """A write to what was read before: its place, what was read, and the ages of the nodes that may have read it."""

    place: Place
    read: _Read
    readers: frozenset[int]


class Unnoticed:
    """Records reads and writes, and tells which writes changed what an operation of the graph has read."""

    def __init__(self) -> None:
        self._read: dict[int, list[_Read]] = {}
        self._met: list[tuple[Edge, int]] = []
        self._age = 0
        self._written: list[_Write] = []
        self._settled: list[_Write] = []

    def begin(self) -> None:
        """Begins a call. Its node, if it has one, is the youngest. By now autograd has counted those writes of the last call that
        it noticed."""
        self._age = torch.autograd._get_sequence_nr() - 1  # type: ignore[attr-defined]
        if self._written:
            self._settled += [own for own in self._written if own.read.tensor._version == own.read.version]
            self._written = []

    def meet(self, edge: Edge) -> None:
        """Records that the call reads the tensor of this edge."""
        self._met.append((edge, self._age))

    def read(self, tensor: torch.Tensor, held: Held) -> None:
        """Records a tensor that is read for the first time."""
        self._read.setdefault(held.storage, []).append(_Read(tensor, tensor._version, held.geometry))

    def write(self, held: Held, here: Callable[[], Place]) -> None:
        """Records a tensor to which a call has written; `here` is the place in the program."""
        for read in self._read.get(held.storage, ()):
            if read.tensor._version == read.version and read.geometry.meets(held.geometry):
                edge = edge_of(read.tensor)
                readers = frozenset(age for own, age in self._met if own == edge)
                self._written.append(_Write(here(), read, readers))

    def tensors(self) -> Iterator[torch.Tensor]:
        """The tensors that were read."""
        return (own.tensor for reads in self._read.values() for own in reads)

    def harmful(self, ages: Collection[int]) -> dict[str, Place]:
        """For each module, its first write to a tensor that a node of these ages has read. Writes to tensors that nothing else
        has read, such as the numbers from which an index is computed, are harmless."""
        found: dict[str, Place] = {}
        for own in self._settled:
            if any(age in ages for age in own.readers):
                found.setdefault(own.place.module, own.place)
        return found

    def release(self) -> None:
        """Forgets everything, so that the graph is released."""
        self._read, self._met, self._written, self._settled = {}, [], [], []
