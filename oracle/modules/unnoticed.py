"""Finds writes to a tensor of the graph that autograd does not notice: after an operation has read it, or before one reads it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple

import torch

from oracle.case.arrays import are_equal
from oracle.modules.calls import Node
from oracle.modules.graph import Edge, edge_of
from oracle.programs.execution import KNOWN
from oracle.programs.geometry import Geometry
from oracle.programs.program import CallSite, Snapshot
from oracle.programs.torch_calls import memory_of


class _Read(NamedTuple):
    """A tensor of the graph that was read, with its version at that time and its place in memory."""

    tensor: torch.Tensor
    version: int
    geometry: Geometry


class _Write(NamedTuple):
    """A write to what was read before: its place, what was read, and the ages of the nodes that may have read it."""

    place: CallSite
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
        self._known: dict[Edge, Snapshot] = {}
        self._of_memory: dict[int, list[Edge]] = {}
        self._changed: dict[Edge, CallSite] = {}
        self._met_changed: list[tuple[Edge, int]] = []

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

    def know(
        self, edge: Edge, tensor: torch.Tensor, held: Callable[[torch.Tensor], Snapshot], here: Callable[[], CallSite]
    ) -> None:
        """Takes note of a tensor and its edge. Other memory may have been put in place of what its node has computed."""
        first = self._known.get(edge)
        if first is None:
            self._known[edge] = first = held(tensor)
            self._of_memory.setdefault(first.storage, []).append(edge)
        elif first.dtype in KNOWN and first.storage != memory_of(tensor):
            self._changed.setdefault(edge, here())

    def meet_changed(
        self, edge: Edge, tensor: torch.Tensor, held: Callable[[torch.Tensor], Snapshot], is_whole: bool
    ) -> None:
        """Takes note of a read of numbers that are not those that a node has computed. `is_whole` says that all are recorded."""
        if edge in self._changed and not (is_whole and are_equal(self._known[edge].numbers, held(tensor).numbers)):
            self._met_changed.append((edge, self._age))

    def change(self, held: Snapshot, here: Callable[[], CallSite]) -> None:
        """Takes note of a write to a tensor. If autograd notices it, the tensor has another edge from now on."""
        for edge in self._of_memory.get(held.storage, ()):
            if self._known[edge].geometry.meets(held.geometry):
                self._changed[edge] = here()

    def ignored(self, nodes: Collection[Node], outputs: Collection[Edge]) -> dict[str, None]:
        """Where changes are made that gradients ignore: a node of the graph, or its output, has the changed numbers."""
        read = {(node._sequence_nr(), edge) for node in nodes for edge in node.next_functions}
        found = (self._changed[edge] for edge, age in self._met_changed if (age, edge) in read or edge in outputs)
        return {place.where or place.module: None for place in found}

    def read(self, tensor: torch.Tensor, held: Snapshot) -> None:
        """Records a tensor that is read for the first time."""
        self._read.setdefault(held.storage, []).append(_Read(tensor, tensor._version, held.geometry))

    def write(self, held: Snapshot, here: Callable[[], CallSite]) -> None:
        """Records a tensor to which a call has written; `here` is the place in the program."""
        for read in self._read.get(held.storage, ()):
            if read.tensor._version == read.version and read.geometry.meets(held.geometry):
                edge = edge_of(read.tensor)
                readers = frozenset(age for own, age in self._met if own == edge)
                self._written.append(_Write(here(), read, readers))

    def tensors(self) -> Iterator[torch.Tensor]:
        """The tensors that were read."""
        return (own.tensor for reads in self._read.values() for own in reads)

    def harmful(self, ages: Collection[int]) -> dict[str, CallSite]:
        """For each module, its first write to a tensor that a node of these ages has read. Writes to tensors that nothing else
        has read, such as the numbers from which an index is computed, are harmless."""
        found: dict[str, CallSite] = {}
        for own in self._settled:
            if any(age in ages for age in own.readers):
                found.setdefault(own.place.module, own.place)
        return found

    def release(self) -> None:
        """Forgets everything, so that the graph is released."""
        self._read, self._met, self._written, self._settled = {}, [], [], []
        self._known, self._of_memory, self._changed, self._met_changed = {}, {}, {}, []
