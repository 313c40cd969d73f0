"""Counts of a module's layers, operations and gradients, and of those that were judged."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from oracle.judging.rows import PASS, Row
from oracle.modules.as_parts import Update
from oracle.modules.calls import Call
from oracle.modules.operation_rows import Judged
from oracle.modules.operations import Operation
from oracle.modules.sampled.draws import sampled_of
from oracle.programs.execution import FLOATS
from oracle.report.coverage import Coverage, Sample, Sampled, Unjudged


@dataclass
class Covered:
    """Counts over all steps.

    Attributes:
        seed: that of the elements that are drawn; None if all are judged.
        sampled: the tensors of which elements were drawn.
        viewed: those among them that have no row, since they belong to a view that is right.
        learnt: the parameters that received a gradient.
        judged, open: the parameters of a place that was judged, and those of a place that was not.
        elements, judged_elements: the elements of gradients, and how many of them were judged.
        met, judged_met: the layers and operations that received a gradient, and how many of them were judged.
        unjudged: the places that were not judged.
    """

    seed: int | None
    sampled: list[Sampled] = field(default_factory=list)
    viewed: list[Sampled] = field(default_factory=list)
    learnt: set[str] = field(default_factory=set)
    judged: set[str] = field(default_factory=set)
    open: set[str] = field(default_factory=set)
    elements: int = 0
    judged_elements: int = 0
    met: int = 0
    judged_met: int = 0
    unjudged: dict[Unjudged, None] = field(default_factory=dict)

    def add_operation(self, operation: Operation, judged: Judged) -> None:
        sizes = {place: size for place, size in operation.sizes.items() if operation.dtypes.get(place, "") in FLOATS}
        drawn = {place: own.drawn for place, own in judged.drawn_gradients.items()}
        counts = sum(drawn.get(place, size) for place, size in sizes.items())
        names = [name for name in operation.names.values() if name]
        self._add(sum(sizes.values()), 0 if judged.reason else counts, names, not judged.reason)
        self.sampled += [] if judged.reason else judged.sampled
        if not operation.computes and all(row.verdict == PASS for row in judged.backward):
            self.viewed += judged.sampled
        if judged.reason:
            self.unjudged[Unjudged(operation.layer, operation.kind, operation.located(judged.reason))] = None

    def add_call(self, call: Call, names: Iterable[str]) -> None:
        """Counts a leaf, or the loss, that received a gradient."""
        sampled = {
            quantity: sampled_of(call.layer, quantity, value.shape, call.draws[quantity])
            for quantity, value in call.made.items()
            if quantity in call.draws and value.ndim
        }
        sizes = {quantity: value.size for quantity, value in call.made.items() if quantity.startswith("grad")}
        counts = sum(sampled[own].drawn if own in sampled else size for own, size in sizes.items())
        self._add(sum(sizes.values()), counts, names, True)
        self.sampled += [own for own in sampled.values() if own.drawn < own.elements]

    def add_update(self, update: Update) -> None:
        """Counts the parameters of which elements are drawn."""
        for name, (shape, drawn) in update.draws.items():
            layer, _, short = name.rpartition(".")
            self.sampled.append(sampled_of(layer, f"param.{short}", shape, drawn))

    def _add(self, size: int, judged: int, names: Iterable[str], is_judged: bool) -> None:
        self.elements += size
        self.met += 1
        (self.judged if is_judged else self.open).update(names)
        if is_judged:
            self.judged_elements += judged
            self.judged_met += 1

    def leave_open(self, place: str, kind: str, reason: str) -> None:
        """Counts a gradient that is not what was judged, at an operation or at the parameter of this name."""
        self.open.add(place)
        self.unjudged[Unjudged(place, kind, reason)] = None

    def add_learnt(self, sizes: Mapping[str, int]) -> None:
        """Counts the parameters that have a gradient; a gradient without a recorded operation has an unknown origin."""
        self.learnt |= set(sizes)
        for name in sizes.keys() - self.judged - self.open:
            self.elements += sizes[name]
            self.unjudged[Unjudged(name, "parameter", "its gradient came from an operation that was not recorded")] = (
                None
            )

    def coverage(self, rows: Iterable[Row]) -> Coverage:
        """The coverage of a report with these rows."""
        whole = self.learnt & (self.judged - self.open)
        return Coverage(
            len(whole) / len(self.learnt) if self.learnt else 1.0,
            self.judged_elements / self.elements if self.elements else 1.0,
            self.judged_met / self.met if self.met else 1.0,
            self.elements,
            self.met,
            tuple(self.unjudged),
            None if self.seed is None else self._sample(self.seed, rows),
        )

    def _sample(self, seed: int, rows: Iterable[Row]) -> Sample:
        judged = [(row.n, math.prod(row.shape)) for row in rows if row.n and row.quantity != "mask"]
        judged += [(own.drawn, own.elements) for own in self.viewed]
        return Sample(seed, sum(n for n, _ in judged), sum(size for _, size in judged), tuple(self.sampled))
