"""Counts of a module's layers, operations and gradients, and of those that were judged."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from oracle.modules.calls import Call
from oracle.modules.operation_rows import Judged
from oracle.modules.operations import Operation
from oracle.programs.execution import FLOATS
from oracle.report.coverage import Coverage, Unjudged


@dataclass
class Covered:
    """Counts over all steps.

    Attributes:
        learnt: the parameters that received a gradient.
        judged, open: those with a part that was judged, and those with a part that was not.
    """

    learnt: set[str] = field(default_factory=set)
    judged: set[str] = field(default_factory=set)
    open: set[str] = field(default_factory=set)
    elements: int = 0
    judged_elements: int = 0
    met: int = 0
    judged_met: int = 0
    unjudged: dict[Unjudged, None] = field(default_factory=dict)

    def add_operation(self, operation: Operation, judged: Judged) -> None:
        sizes = [size for place, size in operation.sizes.items() if operation.dtypes.get(place, "") in FLOATS]
        self._add(sum(sizes), [name for name in operation.names.values() if name], not judged.reason)
        if judged.reason:
            where = f"{judged.reason} ({operation.where})" if operation.where else judged.reason
            self.unjudged[Unjudged(operation.layer, operation.kind, where)] = None

    def add_call(self, call: Call, names: Iterable[str]) -> None:
        """Counts a leaf, or the loss, that received a gradient."""
        sizes = [value.size for quantity, value in call.made.items() if quantity.startswith("grad")]
        self._add(sum(sizes), names, True)

    def _add(self, size: int, names: Iterable[str], is_judged: bool) -> None:
        self.elements += size
        self.met += 1
        (self.judged if is_judged else self.open).update(names)
        if is_judged:
            self.judged_elements += size
            self.judged_met += 1

    def add_learnt(self, sizes: Mapping[str, int]) -> None:
        """Counts the parameters that have a gradient; a gradient without a recorded operation has an unknown origin."""
        self.learnt |= set(sizes)
        for name in sizes.keys() - self.judged - self.open:
            self.elements += sizes[name]
            self.unjudged[Unjudged(name, "parameter", "its gradient came from an operation that was not recorded")] = (
                None
            )

    def coverage(self) -> Coverage:
        whole = self.learnt & (self.judged - self.open)
        return Coverage(
            len(whole) / len(self.learnt) if self.learnt else 1.0,
            self.judged_elements / self.elements if self.elements else 1.0,
            self.judged_met / self.met if self.met else 1.0,
            self.elements,
            self.met,
            tuple(self.unjudged),
        )
