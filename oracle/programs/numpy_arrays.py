"""The recording of a NumPy program, as calls of the same form as torch's, and the arrays that the program gets meanwhile."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import Any
from weakref import WeakSet

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from oracle.case.arrays import Array, in_parts
from oracle.programs.execution import FLOATS
from oracle.programs.geometry import Geometry
from oracle.programs.program import Event, Snapshot, name_of_call
from oracle.programs.table import NoRule

# Dtypes whose numbers are judged beside whole numbers: of complex ones both parts.
JUDGED = (*FLOATS, "complex64", "complex128")
# Methods of arrays that are also functions of NumPy, with the same arguments.
METHODS = frozenset(
    (
        "all", "any", "argmax", "argmin", "argpartition", "argsort", "conj", "conjugate", "cumprod", "cumsum",
        "diagonal", "dot", "max", "mean", "min", "nonzero", "prod", "put", "ravel", "repeat", "round", "searchsorted",
        "squeeze", "std", "sum", "swapaxes", "take", "trace", "var",
    )
)  # fmt: skip
# Calls by which NumPy's functions choose, with the recording and their arguments.
Dispatch = Callable[["NumpyRecording", Any, Any, Any], Any]


class Recorded(NDArrayOperatorsMixin):
    """An array of a program that is being recorded.

    is_scalar: whether it stands for a number of NumPy, which is never changed in place.
    """

    __array_priority__ = 1000

    def __init__(self, value: Array, recording: NumpyRecording, is_scalar: bool = False) -> None:
        self.value, self.recording, self.is_scalar = value, recording, is_scalar

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        """Programs ask by isinstance whether they were given an array or a number."""
        return type(self.own) if self.is_scalar else np.ndarray

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return self.recording.of_ufuncs(self.recording, (ufunc, method), inputs, kwargs)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return self.recording.of_functions(self.recording, function, args, kwargs)

    def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
        if self.value.dtype.kind in "biu":  # has no gradient
            return np.array(self.value, dtype)
        raise TypeError(
            "the program turns a recorded array into a plain one, which would lose its gradient: write data @ w for data.dot(w), "
            "compute with NumPy's functions, and write only into arrays that np.zeros, np.ones, np.empty or np.full made"
        )

    def __getitem__(self, index: Any) -> Any:
        return self.recording.moved(operator.getitem, self, index)

    def __setitem__(self, index: Any, other: Any) -> None:
        if self.is_scalar:
            raise TypeError(f"a number of NumPy does not support item assignment, got index {index!r}")
        self.recording.put(self, plain(index), other)

    def __iter__(self) -> Iterator[Any]:
        if not self.ndim:
            raise TypeError("iteration over an array without dimensions")
        return (self[place] for place in range(len(self)))

    def __len__(self) -> int:
        return len(self.value)

    def __bool__(self) -> bool:
        return bool(self.value)

    def __int__(self) -> int:
        """The truncated number. Truncation has no gradient."""
        return int(self.value)

    def __index__(self) -> int:
        return operator.index(self.value[()])

    def __float__(self) -> float:
        return float(self._number("float()"))

    def __complex__(self) -> complex:
        return complex(self._number("complex()"))

    def __round__(self, digits: int | None = None) -> Any:
        """Rounded to an integer, which has no gradient, or to some digits."""
        return round(self.own) if digits is None else np.round(self, digits)

    def __format__(self, form: str) -> str:
        return format(self.own, form)

    def __repr__(self) -> str:
        return repr(self.own)

    def item(self, *index: Any) -> Any:
        return self._number(".item()").item(*index)

    def tolist(self) -> Any:
        return self._number(".tolist()").tolist()

    def _number(self, how: str) -> Array:
        if self.value.dtype.kind not in "biu":
            raise NoRule(
                f"the program turns a recorded array into plain numbers by {how}, which would lose their gradient: "
                "compute with the array's own element, such as x[0]"
            )
        return self.value

    @property
    def own(self) -> Any:
        """The value: an array, or a number of NumPy if it stands for one."""
        return self.value[()] if self.is_scalar else self.value

    shape = property(lambda self: self.value.shape)
    ndim = property(lambda self: self.value.ndim)
    size = property(lambda self: self.value.size)
    dtype = property(lambda self: self.value.dtype)
    strides = property(lambda self: self.value.strides)
    itemsize = property(lambda self: self.value.itemsize)
    T = property(np.transpose)
    mT = property(lambda self: np.swapaxes(self, -1, -2))  # noqa: N815
    real = property(lambda self: self.recording.part(self, "real"))
    imag = property(lambda self: self.recording.part(self, "imag"))

    def astype(
        self, dtype: Any, order: Any = "K", casting: Any = "unsafe", subok: Any = True, copy: bool = True
    ) -> Any:
        if not copy and self.dtype == np.dtype(dtype):
            return self
        return self.recording.call("_to_copy", lambda x: x.astype(dtype, order, casting), (self,))

    def copy(self, order: Any = "C") -> Any:
        return self.recording.call("clone", lambda x: x.copy(order), (self,))

    def __copy__(self) -> Any:
        return self.copy()

    def __deepcopy__(self, memo: Any) -> Any:
        return self.copy()

    def flatten(self, order: Any = "C") -> Any:
        return np.ravel(self, order).copy()

    def fill(self, value: Any) -> None:
        self[...] = value

    def sort(self, axis: int = -1, kind: Any = None, order: Any = None, *, stable: Any = None) -> None:
        self[...] = np.sort(self, axis, kind, order, stable=stable)

    def reshape(self, *shape: Any, **kwargs: Any) -> Any:
        return self.recording.moved(lambda x, *own: x.reshape(*own, **kwargs), self, *shape)

    def transpose(self, *axes: Any) -> Any:
        return self.recording.moved(lambda x, *own: x.transpose(*own), self, *axes)

    def clip(self, min: Any = None, max: Any = None, out: Any = None) -> Any:
        return np.clip(self, min, max, out)

    def compress(self, condition: Any, axis: Any = None, out: Any = None) -> Any:
        return np.compress(condition, self, axis, out)

    def __getattr__(self, name: str) -> Any:
        """Methods that are also functions of NumPy: sum, mean, max, swapaxes, …"""
        if name not in METHODS:
            raise AttributeError(f"a recorded array has no {name}")
        function = getattr(np, name)
        return lambda *args, **kwargs: function(self, *args, **kwargs)


def _judged(made: Any) -> Any:
    """A result as an array. Raises: NoRule for a dtype that is not judged."""
    array = np.asarray(made)
    if array.dtype.kind not in "biu" and array.dtype.name not in JUDGED:
        raise NoRule(f"numbers of {array.dtype} are not judged")
    return array


class NumpyRecording:
    """Records the calls of a NumPy program.

    Attributes:
        events: the calls so far.
        narrow: whether numbers of NumPy, such as np.sqrt(8), count as Python's, which do not widen an array beside them, and
            products of bfloat16 matrices, which NumPy gives in float32, as bfloat16.
    """

    def __init__(self, of_ufuncs: Dispatch, of_functions: Dispatch, narrow: bool = False) -> None:
        self.of_ufuncs, self.of_functions, self.narrow = of_ufuncs, of_functions, narrow
        self.events: list[Event] = []
        self._held: dict[int, WeakSet[Snapshot]] = {}
        self._owners: list[Any] = []

    def held(self, value: Any) -> Any:
        """Nested arguments with their arrays recorded as `Snapshot`. A plain array is copied: the program may change it later."""
        if isinstance(value, Recorded):
            return self._of(value.value)
        if isinstance(value, np.ndarray):
            return self._of(value.copy())
        if isinstance(value, (list, tuple)):
            return [self.held(own) for own in value]
        if isinstance(value, np.bool):
            return bool(value)
        for kind, number in ((np.floating, float), (np.integer, int), (np.complexfloating, complex)):
            if isinstance(value, kind):
                return number(value)
        return value

    def _of(self, array: Array) -> Snapshot:
        owner: Any = array
        while isinstance(base := owner.base, np.ndarray) or isinstance(getattr(base, "base", None), np.ndarray):
            owner = base  # as_strided puts an object between its result and the array
        self._owners.append(owner)
        start = owner.__array_interface__["data"][0]
        is_complex, real = array.dtype.kind == "c", array.real
        offset = (array.__array_interface__["data"][0] - start) // real.itemsize
        shape, strides = array.shape, tuple(step // real.itemsize for step in array.strides)
        if is_complex:  # real and imaginary parts lie in a last dimension
            shape, strides = (*shape, 2), (*strides, 1)
        held = Snapshot(
            id(owner),
            Geometry(shape, strides, offset),
            real.dtype.name,
            lambda: in_parts(np.array(array)),
            is_complex=is_complex,
        )
        self._held.setdefault(id(owner), WeakSet()).add(held)
        return held

    def _keep(self, array: Array) -> None:
        """Copies the recorded values in an array's memory before it is overwritten."""
        for held in list(self._held.pop(self._of(array).storage, ())):
            assert held.numbers is not None

    def call(
        self,
        name: str,
        function: Callable[..., Any],
        args: Any,
        extra: Any = (),
        *,
        named: Any = None,
        results: int = 1,
        place: int = 0,
        into: Any = None,
    ) -> Any:
        """Records a call with these arrays, and with further arguments for the rule.

        named: further arguments for the rule by name.
        results: the number of results of the rule, of which the one at `place` is the function's.
        into: an array that the result takes the place of, if it has the same form.
        """
        given = tuple(self.held(args))
        with np.errstate(all="ignore"):
            made = function(*values(args))
        array = _judged(made)
        if isinstance(into, Recorded) and (into.shape, into.dtype) == (array.shape, array.dtype) and not into.is_scalar:
            self._keep(into.value)
            into.value[...] = array
            self._written(name, (*given, *extra), into.value)
            return into
        found = tuple(self._of(array) if at == place else None for at in range(results))
        name = name_of_call(name, given, found)
        self.events.append(Event(name, (*given, *extra), named or {}, found, results == 1))
        return Recorded(array, self, isinstance(made, np.generic))

    def call_of_several(self, name: str, function: Callable[..., Any], args: Any, extra: Any = ()) -> Any:
        """Records a call whose results are all the function's. They come in its own kind of tuple."""
        given = tuple(self.held(args))
        with np.errstate(all="ignore"):
            made = function(*values(args))
        arrays = [_judged(own) for own in made]
        found = tuple(self._of(own) for own in arrays)
        self.events.append(Event(name_of_call(name, given, found), (*given, *extra), {}, found, False))
        return type(made)(*(Recorded(own, self) for own in arrays))

    def lifted(self, value: Any) -> Any:
        """A recorded array of anything that NumPy takes for an array. Nested lists may contain recorded arrays."""
        if isinstance(value, Recorded):
            return value
        if isinstance(value, (list, tuple)) and holds_recorded(value):
            return np.stack([self.lifted(own) for own in value])
        return Recorded(np.array(value), self)

    def made(self, array: Any) -> Recorded:
        """Records a new array, whose parts the program may then write to."""
        made: Recorded = self.call("clone", np.array, (array,))
        made.is_scalar = False
        return made

    def moved(self, function: Callable[..., Any], x: Any, *args: Any, **kwargs: Any) -> Any:
        """Records a function that only moves numbers: as a view if NumPy gives one, else as the positions of its numbers."""
        x, args, kwargs = self.lifted(x), plain(args), plain(kwargs)
        made = function(x.own, *args, **kwargs)
        array = np.asarray(made)
        if np.may_share_memory(array, x.value):
            self.events.append(Event("view", (self._of(x.value),), {}, (self._of(array),), True))
            return Recorded(array, self)
        if array.size and not x.size:  # np.resize fills with zeros
            return self.made(array)
        every = np.arange(x.size).reshape(x.shape)
        places = np.asarray(function(every[()] if x.is_scalar else every, *args, **kwargs))
        given, found = (self._of(x.value), self._of(places)), (self._of(array),)
        self.events.append(Event(name_of_call("take", given, found), given, {}, found, True))
        return Recorded(array, self, isinstance(made, np.generic))

    def part(self, x: Recorded, name: str) -> Any:
        """The real or the imaginary part, which is a view of complex numbers."""
        if x.dtype.kind != "c":
            return x if name == "real" else np.zeros_like(x)
        own = getattr(x.value, name)
        self.events.append(Event("view", (self._of(x.value),), {}, (self._of(own),), True))
        return Recorded(own, self, x.is_scalar)

    def put(self, x: Recorded, index: Any, other: Any) -> None:
        """Records writing into a part of an array."""
        part = x.value[index]
        is_plain = not isinstance(other, Recorded) and not holds_recorded(other)
        given = Recorded(np.array(other).astype(x.dtype), self) if is_plain else self.lifted(other)
        source = given if given.dtype == x.dtype else given.astype(x.dtype)
        while source.ndim > np.ndim(part) and source.shape[0] == 1:
            source = source[0]
        if isinstance(part, np.ndarray) and np.may_share_memory(part, x.value):
            copied = (self._of(part), self._of(source.value))
            self._keep(x.value)
            part[...] = source.value
            self._written("copy", copied, part)
            return
        places = np.asarray(np.arange(x.size).reshape(x.shape)[index])
        spread = self.moved(np.broadcast_to, source, places.shape)
        _, last = np.unique(
            places.reshape(-1)[::-1], return_index=True
        )  # the last of several writes to one place counts
        if last.size < places.size:
            kept = places.size - 1 - last
            places, spread = places.reshape(-1)[kept], spread.reshape(-1)[kept]
        self._put(x, places, spread, False)
        x.value[index] = source.value

    def add_at(self, x: Recorded, index: Any, other: Any) -> None:
        """Records np.add.at."""
        places = np.asarray(np.arange(x.size).reshape(x.shape)[index])
        spread = self.moved(np.broadcast_to, other, places.shape)
        self._put(x, places, spread, True)
        np.add.at(x.value, index, spread.value)

    def _put(self, x: Recorded, places: Array, source: Recorded, accumulate: bool) -> None:
        args = (self._of(x.value), self._of(places), self._of(source.value), accumulate)
        self._keep(x.value)
        self._written("put", args, x.value)

    def _written(self, name: str, args: tuple[Any, ...], into: Array) -> None:
        held = self._of(into)
        self.events.append(Event(name_of_call(name, args, (held,)), args, {}, (held,), True, ((held, 0),)))


def holds_recorded(value: Any) -> bool:
    """Whether an argument is a recorded array or contains one."""
    if isinstance(value, (list, tuple)):
        return any(map(holds_recorded, value))
    return isinstance(value, Recorded)


def values(arguments: Any) -> Any:
    """Arguments in which each recorded array is replaced by its value."""
    if isinstance(arguments, Recorded):
        return arguments.own
    return [values(own) for own in arguments] if isinstance(arguments, (list, tuple)) else arguments


def plain(argument: Any) -> Any:
    """An index, or the arguments of a function that moves numbers, with each recorded array replaced by its value."""
    if isinstance(argument, (list, tuple)):
        found = [plain(own) for own in argument]
        return found if isinstance(argument, list) else tuple(found)
    if isinstance(argument, dict):
        return {name: plain(own) for name, own in argument.items()}
    return argument.own if isinstance(argument, Recorded) else argument
