"""A recorded program: calls on immutable values, in the order in which they ran."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from oracle.case.arrays import Array
from oracle.case.nested import leaves
from oracle.programs.geometry import Geometry
from oracle.programs.table import COMPLEX, NoRule

Kind = TypeVar("Kind")


class CallSite(NamedTuple):
    """The place of a call: the path of the module that makes it, and the source line."""

    module: str = ""
    file: str = ""
    line: int = 0

    @property
    def where(self) -> str:
        """File and line; "" if they are not known."""
        return f"{self.file}:{self.line}" if self.line else ""


NOWHERE = CallSite()


class Snapshot:
    """An array at one moment: its position in memory, and its values, which are read when they are first needed.

    Attributes:
        storage: identifies the memory of which it is a part.
        differentiable: whether a gradient may flow through this use of it.
        is_complex: whether its last dimension holds real and imaginary parts.
        turned: "conj" or "neg" for a view that conjugates or negates what is in its memory; `plain` is that memory's array.
        source: the tensor that has its values, if a part of them can be read alone.
        kept: the parts of its values that were copied, if only parts were before they were overwritten: which part, and its
            values.
        edge: the destination of its gradient, if it has one.
    """

    __slots__ = (
        *(
            "__weakref__",
            "_numbers",
            "_read",
            "differentiable",
            "dtype",
            "edge",
            "geometry",
            "is_complex",
            "kept",
            "plain",
            "source",
            "storage",
            "turned",
        ),
    )

    def __init__(
        self,
        storage: int,
        geometry: Geometry,
        dtype: str,
        read: Callable[[], Array],
        differentiable: bool = True,
        source: Any = None,
        edge: Any = None,
        is_complex: bool = False,
        turned: str = "",
        plain: Snapshot | None = None,
    ) -> None:
        self.storage, self.geometry, self.dtype, self.differentiable = storage, geometry, dtype, differentiable
        self._read: Callable[[], Array] | None = read
        self._numbers: Array | None = None
        self.source, self.edge = source, edge
        self.is_complex, self.turned, self.plain = is_complex, turned, plain
        self.kept: tuple[tuple[Any, Array], ...] = ()

    @property
    def numbers(self) -> Array:
        """Its values, copied when they are first needed."""
        if self._numbers is None:
            if self.kept:
                raise NoRule("it was overwritten, and only a part of it was copied before")
            assert self._read is not None
            self._numbers, self._read, self.source = self._read(), None, None
        return self._numbers

    @property
    def is_copied(self) -> bool:
        return self._numbers is not None

    def take(self, copy: Array) -> None:
        """Takes a copy of its values that already exists, instead of making one."""
        if self._numbers is None:
            self._numbers, self._read, self.source = copy, None, None

    def is_of(self, other: Snapshot) -> bool:
        """Whether both are the same part of memory, and no copy was made between them because it was to be overwritten."""
        if self.place != other.place:
            return False
        return self._numbers is other._numbers and not self.kept and not other.kept

    def keep(self, parts: Iterable[tuple[Any, Array]]) -> None:
        """Takes copies of parts of its values, which are about to be overwritten."""
        self.kept, self._read, self.source = tuple(parts), None, None

    @property
    def shape(self) -> tuple[int, ...]:
        return self.geometry.shape

    def meets(self, other: Snapshot) -> bool:
        """Whether two arrays have an element of memory in common."""
        return self.storage == other.storage and self.geometry.meets(other.geometry)

    @property
    def place(self) -> tuple[int, Geometry, str, str]:
        """A key that is the same for two arrays if they show the same elements of memory in the same form."""
        return self.storage, self.geometry, self.dtype, self.turned


@dataclass(frozen=True)
class Event:
    """A recorded call: arrays as `Snapshot`, everything else unchanged.

    Attributes:
        written: the positions of results that were written to an argument's memory, with that argument.
        number: the number of nodes in the autograd graph at the time of the call.
        enabled: whether autograd recorded it; inside a custom function's forward it never does.
        unrepeated: for a view of an array that repeats elements of memory, the geometry that each result would have in a
            contiguous copy of that array.
        device: the kind of device on which it was computed.
    """

    name: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    results: tuple[Any, ...]
    single: bool
    written: tuple[tuple[Snapshot, int | None], ...] = ()
    place: CallSite = NOWHERE
    number: int = 0
    enabled: bool = True
    unrepeated: tuple[Geometry, ...] = ()
    device: str = "cpu"


class Ref(NamedTuple):
    """A use of a value of a program."""

    value: int
    differentiable: bool = True


@dataclass(frozen=True)
class Call:
    """One call of a program.

    Attributes:
        results: the values that it makes; None for a result that is not an array.
        recorded: the recorded arrays of these values.
        single: whether it returns one result instead of a tuple.
    """

    name: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    results: tuple[int | None, ...]
    recorded: tuple[Snapshot | None, ...]
    single: bool = True


@dataclass(frozen=True)
class Program:
    """Calls in order, with the arrays from which they start.

    Attributes:
        inputs: the input values, with their recorded arrays.
        constants: other values that it reads, with their recorded arrays.
        outputs: the output values.
        detached: the positions of outputs to which no gradient arrives, such as a detached tensor.
        of_complex: the positions of complex outputs, whose values hold real and imaginary parts in their last dimension.
    """

    inputs: tuple[tuple[int, Snapshot], ...]
    constants: Mapping[int, Snapshot]
    calls: tuple[Call, ...]
    outputs: tuple[int, ...]
    detached: frozenset[int] = frozenset()
    of_complex: frozenset[int] = frozenset()


def name_of_call(name: str, *arrays: Any) -> str:
    """The name of a recorded call, marked if one of its arguments or results is complex."""
    is_complex = any(isinstance(own, Snapshot) and own.is_complex for own in leaves(arrays))
    return f"{COMPLEX}{name}" if is_complex and "::" not in name else name


def all_in(arguments: Any, kind: type[Kind]) -> Iterator[Kind]:
    """All values of a type in nested arguments."""
    if isinstance(arguments, kind):
        yield arguments
    elif isinstance(arguments, (tuple, list)):
        for own in arguments:
            yield from all_in(own, kind)
    elif isinstance(arguments, Mapping):
        for own in arguments.values():
            yield from all_in(own, kind)


def refs(arguments: Any) -> Iterator[Ref]:
    """All values used in nested arguments."""
    return all_in(arguments, Ref)


def replaced(arguments: Any, kind: type, by: Callable[[Any], Any]) -> Any:
    """Nested arguments with each value of a type replaced."""
    if isinstance(arguments, kind):
        return by(arguments)
    if isinstance(arguments, (list, tuple)):
        return [replaced(own, kind, by) for own in arguments]
    if isinstance(arguments, dict):
        return {name: replaced(own, kind, by) for name, own in arguments.items()}
    return arguments


def needed(calls: Iterable[Call], outputs: Iterable[int]) -> tuple[Call, ...]:
    """The calls on which an output depends."""
    wanted, kept = set(outputs), []
    for call in reversed(list(calls)):
        if wanted.intersection(call.results):
            kept.append(call)
            wanted.update(ref.value for ref in refs((call.args, call.kwargs)))
    return tuple(reversed(kept))
