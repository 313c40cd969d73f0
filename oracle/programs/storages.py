"""Turns recorded calls into a program: memory becomes immutable values, and a view reads the current version of its storage."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from oracle.programs.geometry import Geometry
from oracle.programs.program import Call, Event, Program, Ref, Snapshot, all_in, needed, replaced
from oracle.programs.table import COMPLEX, NoRule
from oracle.running_error.model import ROUNDOFF

# Marks a piece of a storage whose values were overwritten in part.
LOST = -1
REPEATED = "it is a view of memory whose elements are repeated"
# Operations on complex numbers whose arguments are real.
OF_REAL_NUMBERS = tuple(f"{COMPLEX}{own}" for own in ("complex", "polar", "_fft_r2c"))
# Copies that read their input's memory by strides, with the position of their argument `storage_offset`.
BY_STRIDES = {"as_strided_copy": 3, "as_strided_scatter": 4}


class Storages:
    """The contents of memory at a moment: for each storage, pieces that are values of the program."""

    def __init__(self) -> None:
        self.pieces: dict[int, list[tuple[Geometry, int, str]]] = {}
        self.constants: dict[int, Snapshot] = {}
        self.calls: list[Call] = []
        self.resolved: set[int] = set()
        self.beside: dict[Snapshot, int] = {}
        self.count = 0

    def new(self) -> int:
        self.count += 1
        return self.count - 1

    def read(self, held: Snapshot, whole: bool = False) -> Ref:
        """The current value of an array, or, with `whole`, a part of the array of which it is a view. Raises: NoRule."""
        if held.plain is not None:
            return Ref(self._read_turned(held, held.plain), held.differentiable)
        pieces = self.pieces.setdefault(held.storage, [])
        alike = [own for own in pieces if own[0] == held.geometry and own[2] == held.dtype]
        larger = [own for own in pieces if own not in alike and own[0].covers(held.geometry) and not own[0].repeats]
        found = next(iter((larger or alike) if whole else alike), None)
        if found is None:
            covering = [own for own in pieces if own[0].covers(held.geometry)]
            found = next((own for own in covering if not own[0].repeats), None)
            # Memory does not tell which of several equal elements it is; for a constant, which has no gradient, any will do.
            if found is None and any(value not in self.constants for _, value, _ in covering):
                raise NoRule(REPEATED)
        if found is not None and (found[1] == LOST or found[2] != held.dtype):
            raise _in_another_form(found[2], held.dtype)
        if found is None:
            return Ref(self._first_read(held, pieces), held.differentiable)
        geometry, value, _ = found
        if geometry != held.geometry:
            part = self.new()
            self.calls.append(_view(Ref(value), geometry, held.geometry, part, held))
            value = part
        return Ref(value, held.differentiable)

    def _first_read(self, held: Snapshot, pieces: list[tuple[Geometry, int, str]]) -> int:
        """The value of an array of which only parts are known: a constant with these parts written to it. Raises: NoRule."""
        whole = self.new()
        self.constants[whole] = held
        for geometry, value, dtype in reversed(pieces):
            if value in self.constants or not geometry.meets(held.geometry):
                continue
            if value == LOST or dtype != held.dtype or not held.geometry.covers(geometry):
                raise _in_another_form(dtype, held.dtype)
            before, whole = whole, self.new()
            arguments = (Ref(before), Ref(value), held.geometry, geometry)
            self.calls.append(Call("write", arguments, {}, (whole,), (None,)))
        pieces.insert(0, (held.geometry, whole, held.dtype))
        return whole

    def write(self, held: Snapshot, value: int) -> None:
        """Sets the contents of an array's memory."""
        if held.plain is not None:
            self.write(held.plain, self.turned(held, value))
            return
        self.beside = {own: value for own, value in self.beside.items() if not own.meets(held)}
        kept: list[tuple[Geometry, int, str]] = []
        own, is_held = held.geometry, False
        pieces = self.pieces.get(held.storage, [])
        plain = [own, *(geometry for geometry, before, _ in pieces if before != LOST and not geometry.repeats)]
        for geometry, before, dtype in pieces:
            if geometry == own:
                continue
            if before == LOST or not geometry.meets(own):
                kept.append((geometry, before, dtype))
            elif geometry.repeats:  # from now on it is read as a view of another piece, if one shows its elements once
                if not any(other.covers(geometry) for other in plain):
                    kept.append((geometry, LOST, dtype))
            elif geometry.covers(own) and dtype == held.dtype:
                after = self.new()
                self.calls.append(Call("write", (Ref(before), Ref(value), geometry, own), {}, (after,), (None,)))
                kept.append((geometry, after, dtype))
                is_held = True
            elif not own.covers(geometry):
                kept.append((geometry, LOST, dtype))
        if not is_held:
            kept.insert(0, (own, value, held.dtype))
        self.pieces[held.storage] = kept

    def take(self, event: Event) -> None:
        """Adds a call. Raises: NoRule."""
        _check_row(event)
        arguments = list(all_in((event.args, event.kwargs), Snapshot))
        known = {own.storage for own in arguments}
        written = {position for _, position in event.written if position is not None}
        fresh = [
            position
            for position, own in enumerate(event.results)
            if isinstance(own, Snapshot) and (position in written or own.storage not in known)
        ]
        if not fresh and not event.written:  # a view, which is read when it is used
            for own in arguments:
                self.read(own)
            if event.unrepeated:
                self._view_repeated(event)
            return
        places = [(own.storage, own.geometry) for own, _ in event.written]
        of_complex = event.name.startswith(COMPLEX) and event.name.partition(".")[0] not in OF_REAL_NUMBERS

        def used(own: Snapshot) -> Ref:
            """The value that a call reads. torch differentiates a write into a view with respect to the view's base tensor, and
            every other use with respect to the view."""
            if (own.storage, own.geometry) in places:
                places.remove((own.storage, own.geometry))
                ref = self.read(own, whole=True)
            else:
                ref = self.read(own) if own.is_complex or not of_complex else self._as_complex(own)
            return Ref(ref.value, True) if ref.value in self.resolved else ref

        resolved = {
            own.storage
            for own, _ in event.written
            for _, value, _ in self.pieces.get(own.storage, ())
            if value in self.resolved
        }
        args, kwargs = replaced(event.args, Snapshot, used), replaced(dict(event.kwargs), Snapshot, used)
        results: list[int | None] = [None] * len(event.results)
        for position in fresh:
            results[position] = self.new()
        self.calls.append(
            Call(
                event.name,
                tuple(args),
                kwargs,
                tuple(results),
                tuple(own if isinstance(own, Snapshot) else None for own in event.results),
                event.single,
            )
        )
        into = {position: argument for argument, position in event.written if position is not None}
        for position in fresh:
            value = results[position]
            assert value is not None
            self.write(into.get(position, event.results[position]), value)
            if _is_resolved(event) or (position in into and into[position].storage in resolved):
                self.resolved.add(value)
        for argument, result in event.written:
            if result is None:  # no result shows the new values, so they are read as they were found afterwards
                self.pieces[argument.storage] = [
                    (geometry, LOST if geometry.meets(argument.geometry) else value, dtype)
                    for geometry, value, dtype in self.pieces.get(argument.storage, [])
                ]

    def give(self, held: Snapshot, value: int) -> None:
        """Sets the value of an input. If several inputs share memory, other reads of that memory get the first one's value."""
        pieces = self.pieces.setdefault(held.storage, [])
        if held.plain is None:
            pieces.append((held.geometry, value, held.dtype))
        elif any(geometry.meets(held.geometry) for geometry, _, _ in pieces):
            self.beside[held] = value
        else:
            self.give(held.plain, self.turned(held, value))

    def _read_turned(self, held: Snapshot, plain: Snapshot) -> int:
        """The value of a view that conjugates or negates. Raises: NoRule."""
        for own, value in self.beside.items():
            if own.place == held.place:
                return value
            if own.turned == held.turned and own.storage == held.storage and own.geometry.covers(held.geometry):
                raise NoRule("it reads a part of a conjugated view whose memory is that of another input too")
        return self.turned(held, self.read(plain).value)

    def turned(self, held: Snapshot, value: int) -> int:
        """The conjugate of a value, or its negative, as a view shows it. Applied twice, it gives the value back."""
        turned = self.new()
        name = "neg" if held.turned == "neg" else f"{COMPLEX}_conj"
        self.calls.append(Call(name, (Ref(value),), {}, (turned,), (None,)))
        return turned

    def _as_complex(self, held: Snapshot) -> Ref:
        """The value of a real array among complex ones, as complex numbers. Integers and truth values stay as they are."""
        real = self.read(held)
        if held.dtype not in ROUNDOFF:
            return real
        value = self.new()
        self.calls.append(Call(f"{COMPLEX}real_as_complex", (real,), {}, (value,), (None,)))
        return Ref(value, held.differentiable)

    def _view_repeated(self, event: Event) -> None:
        """Reads a view of an array whose elements are repeated, and of which nothing else is known, element by element."""
        source = next(all_in(event.args, Snapshot))
        pieces = self.pieces[source.storage]
        if not source.geometry.repeats or any(
            geometry.covers(source.geometry) and not geometry.repeats for geometry, _, _ in pieces
        ):
            return
        if self.read(source).value in self.constants:
            return
        if len(set(event.unrepeated)) > len({held.geometry for held in event.results}):
            raise NoRule(REPEATED)
        for held, part in zip(event.results, event.unrepeated, strict=True):
            if held.geometry == source.geometry:
                continue
            value, row = self.new(), Geometry.row_of(source.shape)
            self.calls.append(_view(self.read(source), row, part, value, held))
            pieces.insert(0, (held.geometry, value, held.dtype))


def _is_resolved(event: Event) -> bool:
    """Whether a call copies a conjugated view for a kernel that cannot read one. Autograd does not see it: a gradient passes."""
    if event.name.removeprefix(COMPLEX).partition(".")[0] != "clone":
        return False
    source = event.args[0]
    return isinstance(source, Snapshot) and bool(source.turned) and source.differentiable and event.enabled


def _check_row(event: Event) -> None:
    """Raises NoRule if a copy reads memory by strides that its rule cannot see: anything but that of a contiguous input."""
    place = BY_STRIDES.get(event.name)
    if place is None:
        return
    own: Geometry = event.args[0].geometry
    offset = event.args[place] if len(event.args) > place else event.kwargs.get("storage_offset")
    if own != Geometry(own.shape, Geometry.row_of(own.shape).strides, own.offset) or (
        offset is not None and own.offset
    ):
        raise NoRule("it reads the memory of an array that is not contiguous, or that is a part of another")


def _in_another_form(*dtypes: str) -> NoRule:
    """The exception for a read of memory that was written in another form."""
    unknown = next((own for own in dtypes if own.startswith("complex")), None)
    return NoRule(
        f"numbers of {unknown} are not judged" if unknown else "it reads memory that was written in another form"
    )


def _view(source: Ref, own: Geometry, part: Geometry, value: int, held: Snapshot) -> Call:
    """The call that reads a part of a value's memory as another value."""
    return Call("view_overlapping" if part.overlaps else "view", (source, own, part), {}, (value,), (held,))


def program_of(events: Iterable[Event], inputs: Sequence[Snapshot], outputs: Sequence[Snapshot]) -> Program:
    """The program from these inputs to these outputs, without calls on which no output depends. Raises: NoRule."""
    storages = Storages()
    given = [(storages.new(), held) for held in inputs]
    for value, held in sorted(given, key=lambda own: own[1].plain is not None):
        storages.give(held, value)
    for event in events:
        storages.take(event)
    made = tuple(storages.read(held).value for held in outputs)
    of_complex = frozenset(place for place, held in enumerate(outputs) if held.is_complex)
    return Program(tuple(given), storages.constants, needed(storages.calls, made), made, of_complex=of_complex)
