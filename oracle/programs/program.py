"""A recorded program: calls on values that nothing changes any more, in the order in which they ran."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from oracle.case.arrays import Array
from oracle.programs.geometry import Geometry


class Place(NamedTuple):
    """Where a call stands: the path of the module that makes it, the function that it is part of, and the line of the source."""

    module: str = ""
    function: str = ""
    file: str = ""
    line: int = 0


NOWHERE = Place()


class Held:
    """An array as it was at one moment: where it lies in memory, and its numbers, which are read when they are asked for.

    Attributes:
        storage: of the memory that it is part of.
        differentiable: whether a gradient may go back through this use of it.
    """

    __slots__ = ("__weakref__", "_numbers", "_read", "differentiable", "dtype", "geometry", "storage")

    def __init__(
        self, storage: int, geometry: Geometry, dtype: str, read: Callable[[], Array], differentiable: bool = True
    ) -> None:
        self.storage, self.geometry, self.dtype, self.differentiable = storage, geometry, dtype, differentiable
        self._read: Callable[[], Array] | None = read
        self._numbers: Array | None = None

    @property
    def numbers(self) -> Array:
        """Its values, copied when they are first asked for."""
        if self._numbers is None:
            assert self._read is not None
            self._numbers, self._read = self._read(), None
        return self._numbers

    @property
    def shape(self) -> tuple[int, ...]:
        return self.geometry.shape


@dataclass(frozen=True)
class Event:
    """A call as it was seen: arrays as `Held`, everything else as it came.

    Attributes:
        written: positions of the results that were written into an argument's memory, with that argument.
        number: how many nodes of an autograd graph had been made by then.
    """

    name: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    results: tuple[Any, ...]
    single: bool
    written: tuple[tuple[Held, int | None], ...] = ()
    place: Place = NOWHERE
    number: int = 0


class Ref(NamedTuple):
    """A value of a program where it is used."""

    value: int
    differentiable: bool = True


@dataclass(frozen=True)
class Call:
    """One call of a program.

    Attributes:
        results: the values that it makes; None for what is no array.
        recorded: these as they were when it ran.
        single: whether it gives one result, and not a tuple.
    """

    name: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    results: tuple[int | None, ...]
    recorded: tuple[Held | None, ...]
    single: bool = True
    place: Place = NOWHERE


@dataclass(frozen=True)
class Program:
    """Calls in order, with the arrays that they begin with.

    Attributes:
        inputs: the values that it is given, and the arrays that they were.
        constants: other arrays that it reads, as they were.
        outputs: the values that it gives; None for one that is no array, or that it takes no part in.
    """

    inputs: tuple[tuple[int, Held], ...]
    constants: Mapping[int, Held]
    calls: tuple[Call, ...]
    outputs: tuple[int, ...]


def refs(arguments: Any) -> Iterator[Ref]:
    """All values used in nested arguments."""
    if isinstance(arguments, Ref):
        yield arguments
    elif isinstance(arguments, (tuple, list)):
        for own in arguments:
            yield from refs(own)
    elif isinstance(arguments, Mapping):
        for own in arguments.values():
            yield from refs(own)


def replaced(arguments: Any, kind: type, by: Callable[[Any], Any]) -> Any:
    """Nested arguments, each of this kind replaced."""
    if isinstance(arguments, kind):
        return by(arguments)
    if isinstance(arguments, (list, tuple)):
        return [replaced(own, kind, by) for own in arguments]
    if isinstance(arguments, dict):
        return {name: replaced(own, kind, by) for name, own in arguments.items()}
    return arguments


def needed(calls: Iterable[Call], outputs: Iterable[int]) -> tuple[Call, ...]:
    """The calls that some output depends on."""
    wanted, kept = set(outputs), []
    for call in reversed(list(calls)):
        if wanted.intersection(call.results):
            kept.append(call)
            wanted.update(ref.value for ref in refs((call.args, call.kwargs)))
    return tuple(reversed(kept))
