"""An operation of a network: a node of its autograd graph, with what went in and came out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from oracle.case.arrays import Array
from oracle.programs.program import Event, Held, replaced


class Cut(NamedTuple):
    """What keeps gradients from parameters, such as a detach whose result is used: its place, what it is, file and line."""

    layer: str
    kind: str
    where: str


class Called(NamedTuple):
    """A reference that the user gave, and the arguments of the call that it stands for, tensors held."""

    reference: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] = {}


@dataclass
class Operation:
    """A node of the graph.

    Attributes:
        layer: its place, "layer1.0.add", the second of this name with "#2".
        kind: what computes it: "aten.add", or the class of a custom autograd.Function.
        where: file and line.
        events: the calls that it may be made of, in order.
        inputs: what went in, by edge; with the name of a parameter that an edge leads to, else "".
        hidden: parameters that it reads without an edge to them, as a checkpoint does, by name.
        outputs: what came out, by its number.
        upstream, gradients: what arrived at each output, and went over each edge.
        sizes, dtypes: of the inputs.
        called: of a custom autograd.Function for which the user gave a reference, that and how it was called.
        reason: why it cannot be judged; "" where it can.
        age: how many nodes there were before it.
        computes: whether it is more than a view.
        spoils: whether it changed the gradient that it was given.
    """

    layer: str
    kind: str
    where: str
    events: list[Event] = field(default_factory=list)
    inputs: dict[int, Held] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)
    hidden: dict[str, Held] = field(default_factory=dict)
    outputs: dict[int, Held] = field(default_factory=dict)
    upstream: dict[int, Array] = field(default_factory=dict)
    gradients: dict[int, Array] = field(default_factory=dict)
    sizes: dict[int, int] = field(default_factory=dict)
    dtypes: dict[int, str] = field(default_factory=dict)
    reason: str = ""
    called: Called | None = None
    age: int = 0
    computes: bool = True
    spoils: bool = False

    def add_hidden(self, gradients: Mapping[str, Array]) -> None:
        """What parameters without an edge were given while it was differentiated."""
        for name in gradients.keys() & self.hidden.keys():
            held = self.hidden[name]
            position = max(self.inputs, default=-1) + 1
            self.inputs[position], self.names[position], self.gradients[position] = held, name, gradients[name]
            self.sizes[position], self.dtypes[position] = held.geometry.size, held.dtype

    def release(self) -> None:
        """What it holds is needed no more."""
        self.events, self.inputs, self.outputs, self.called, self.hidden = [], {}, {}, None, {}
        self.upstream, self.gradients = {}, {}


def main_call(events: list[Event], outputs: list[Held]) -> Event | None:
    """The call that made an output; the first where none did."""
    memory = {own.storage for own in outputs}
    for event in events:
        results = [own for own in event.results if isinstance(own, Held)]
        if any(own.storage in memory for own in results):
            return event
    return events[0] if events else None


def computes(event: Event) -> bool:
    """Whether a call makes numbers, and no view of memory that was there."""
    given: set[int] = set()
    replaced((event.args, event.kwargs), Held, lambda own: given.add(own.storage))
    made = [own.storage for own in event.results if isinstance(own, Held)]
    return bool(event.written) or any(own not in given for own in made)


def plain_name(name: str) -> str:
    """An ATen call's name as people know it."""
    name = name.partition(".")[0].lower().strip("_")
    for ending in ("_forward", "_with_indices", "_legit"):
        name = name.removesuffix(ending)
    return name.removeprefix("native_").removeprefix("unsafe_")
