"""An operation of a network: a node of its autograd graph, with its inputs and results."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch.utils import _pytree

from oracle.case.arrays import Array, are_equal
from oracle.modules.calls import copy_of, dense, taken, with_share
from oracle.modules.sampled.draws import Draw, Shape, Take
from oracle.programs.execution import KNOWN
from oracle.programs.program import Event, Program, Snapshot, all_in
from oracle.programs.storages import program_of
from oracle.programs.table import COMPLEX, NoRule
from oracle.subjects.torch import array

# An operation of more calls is judged at once: copies of all that lies between its calls would take much memory.
FEW_CALLS = 4


class Called(NamedTuple):
    """A reference that the user gave, and the arguments of the call that it replaces, with the tensors recorded."""

    reference: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] = {}


@dataclass
class Operation:
    """A node of the graph.

    Attributes:
        layer: its place, "layer1.0.add"; the second of this name has "#2".
        kind: its name, "aten.add", or the class of a custom autograd.Function.
        where: file and line.
        events: the calls of which it may consist, in order.
        inputs: the inputs by edge, with the name of the parameter to which an edge leads, or "".
        hidden: parameters that it reads without an edge to them, as a checkpoint does, by name.
        outputs: the results, by number.
        upstream, gradients: the gradients that arrived at each output, and those passed on over each edge.
        sizes, dtypes: those of the inputs.
        called: for a custom autograd.Function with a reference, the reference and the arguments of the call.
        reason: why it cannot be judged; "" if it can.
        age: the number of nodes created before it.
        device: the kind of device on which it was computed.
        computes: whether it is more than a view.
        spoils: whether it changed its upstream gradient.
        program: its program, once it is known.
        drawn_outputs, drawn_gradients: of such a part by number and by edge, the shape of the operation's array, and the elements
            that are drawn of it.
        judges_outputs, judged_edges: whether such a part judges outputs, and the gradients that it judges; None for all.
        parts: the parts of an operation of which elements are drawn.
    """

    layer: str
    kind: str
    where: str
    events: list[Event] = field(default_factory=list)
    inputs: dict[int, Snapshot] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)
    hidden: dict[str, Snapshot] = field(default_factory=dict)
    outputs: dict[int, Snapshot] = field(default_factory=dict)
    upstream: dict[int, Array] = field(default_factory=dict)
    gradients: dict[int, Array] = field(default_factory=dict)
    sizes: dict[int, int] = field(default_factory=dict)
    dtypes: dict[int, str] = field(default_factory=dict)
    reason: str = ""
    called: Called | None = None
    age: int = 0
    device: str = "cpu"
    computes: bool = True
    spoils: bool = False
    program: Program | None = None
    drawn_outputs: dict[int, tuple[Shape, Draw]] = field(default_factory=dict)
    drawn_gradients: dict[int, tuple[Shape, Draw]] = field(default_factory=dict)
    judges_outputs: bool = True
    judged_edges: frozenset[int] | None = None
    parts: list[OperationPart] = field(default_factory=list)

    def located(self, reason: str) -> str:
        """A reason with file and line, where these are known."""
        return f"{reason} ({self.where})" if self.where else reason

    def only_viewed(self) -> set[int]:
        """The memory of results that its calls only view, unless it belongs to an input with a gradient."""
        made, viewed = set[int](), set[int]()
        for event in self.events:
            (made if computes(event) else viewed).update(
                own.storage for own in event.results if isinstance(own, Snapshot)
            )
        known = {own.storage for own in (*self.inputs.values(), *self.hidden.values())}
        return {own.storage for own in self.outputs.values()} & (viewed - made - known)

    def arrive(self, gradients: Mapping[int, torch.Tensor]) -> None:
        """Takes the upstream gradients."""
        if not self.parts:
            self.upstream = {number: copy_of(own) for number, own in gradients.items()}
        for part in self.parts:
            part.operation.upstream = {
                number: taken(part.upstream[number], own)
                for number, own in gradients.items()
                if number in part.upstream
            }

    def holds(self, gradients: Mapping[int, torch.Tensor]) -> bool:
        """Whether the upstream gradients still have the values that were taken of them."""
        if not self.parts:
            return all(are_equal(array(dense(own)), self.upstream[number]) for number, own in gradients.items())
        first = next((own for own in self.parts if own.upstream), self.parts[0])
        return all(
            are_equal(taken(first.upstream[number], own), first.operation.upstream[number])
            for number, own in gradients.items()
            if number in first.upstream
        )

    def add(self, edge: int, gradient: torch.Tensor) -> None:
        """Adds a share of the gradient that is passed on over an edge."""
        gradient = dense(gradient)
        self.sizes.setdefault(edge, gradient.numel())  # of an input that no ATen call reads
        self.dtypes.setdefault(edge, str(gradient.dtype).removeprefix("torch."))
        if not self.parts:
            own, so_far = copy_of(gradient), self.gradients.get(edge)
            self.gradients[edge] = with_share(so_far, own)
        for part in self.parts:
            if edge in part.gradients:
                own, so_far = taken(part.gradients[edge], gradient), part.operation.gradients.get(edge)
                part.operation.gradients[edge] = with_share(so_far, own)

    def add_hidden(self, gradients: Mapping[str, Array]) -> None:
        """Adds the gradients that parameters without an edge received while the operation was differentiated."""
        for name, held in [own for own in self.hidden.items() if own[0] in gradients]:
            position = max(self.inputs, default=-1) + 1
            self.inputs[position], self.names[position], self.gradients[position] = held, name, gradients[name]
            self.sizes[position], self.dtypes[position] = held.geometry.size, held.dtype

    def copied(self) -> int:
        """Copies all numbers that are needed to judge the operation, so that this can be done while the module goes on.

        Returns how many numbers these are. It is 0 if the operation has to be judged at once, for instance because its reference
        is the user's code.
        """
        if self.reason or self.called is not None or self.parts or len(self.events) > FEW_CALLS:
            return 0
        outputs = list(self.outputs.values())
        try:
            self.program = program_of(self.events, list(self.inputs.values()), outputs)
            made = [own for call in self.program.calls for own in call.recorded if own is not None]
            read = {*self.inputs.values(), *outputs, *self.program.constants.values(), *made}
            return sum(own.numbers.size for own in read) if all(own.dtype in KNOWN for own in read) else 0
        except NoRule:
            return 0

    def release(self) -> None:
        """Releases recorded arrays that are not needed any more."""
        self.events, self.inputs, self.outputs, self.called, self.hidden = [], {}, {}, None, {}
        self.upstream, self.gradients, self.parts, self.program = {}, {}, [], None


@dataclass
class OperationPart:
    """A smaller operation, and what it takes of each upstream gradient and of each gradient, by number and by edge."""

    operation: Operation
    upstream: Mapping[int, Take]
    gradients: Mapping[int, Draw]


def differentiate(events: list[Event]) -> None:
    """Marks all arrays of these calls as differentiable, for a node that differentiates calls which autograd did not see."""
    for event in events:
        for own in _pytree.tree_leaves((event.args, dict(event.kwargs))):
            if isinstance(own, Snapshot):
                own.differentiable = True


def main_call(events: list[Event], outputs: list[Snapshot]) -> Event | None:
    """The call that made an output; the first call if none did."""
    memory = {own.storage for own in outputs}
    for event in events:
        results = [own for own in event.results if isinstance(own, Snapshot)]
        if any(own.storage in memory for own in results):
            return event
    return events[0] if events else None


def maker_of(events: list[Event], storage: int) -> str:
    """The name of the last call that wrote to this memory; "" if none did."""
    for event in reversed(events):
        results = [*event.results, *(own for own, _ in event.written)]
        if any(isinstance(own, Snapshot) and own.storage == storage for own in results) and computes(event):
            return event.name.removeprefix(COMPLEX).partition(".")[0]
    return ""


def computes(event: Event) -> bool:
    """Whether a call computes numbers, instead of viewing existing memory."""
    given = {own.storage for own in all_in((event.args, event.kwargs), Snapshot)}
    made = [own.storage for own in event.results if isinstance(own, Snapshot)]
    return bool(event.written) or any(own not in given for own in made)


def plain_name(name: str) -> str:
    """The usual name of an ATen call."""
    name = name.removeprefix(COMPLEX).partition(".")[0].lower().strip("_")
    for ending in ("_forward", "_with_indices", "_legit"):
        name = name.removesuffix(ending)
    return name.removeprefix("native_").removeprefix("unsafe_")
