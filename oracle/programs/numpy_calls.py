"""Records a NumPy program by `__array_ufunc__` and `__array_function__`, as calls of the same form as torch's."""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any
from weakref import WeakSet

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin
from scipy import special

from oracle.case.arrays import Array
from oracle.programs.geometry import Geometry
from oracle.programs.program import Event, Held, Program
from oracle.programs.storages import program_of
from oracle.programs.table import NoRule

UFUNCS = {
    np.add: "add", np.subtract: "sub", np.multiply: "mul", np.divide: "div", np.negative: "neg", np.power: "pow",
    np.square: "square", np.sqrt: "sqrt", np.reciprocal: "reciprocal", np.exp: "exp", np.expm1: "expm1", np.log: "log",
    np.log1p: "log1p", np.log2: "log2", np.sin: "sin", np.cos: "cos", np.tan: "tan", np.tanh: "tanh", np.sinh: "sinh",
    np.cosh: "cosh", np.arctan: "atan", np.absolute: "abs", np.sign: "sign", np.floor: "floor", np.ceil: "ceil",
    np.maximum: "maximum", np.minimum: "minimum", np.matmul: "matmul", np.logaddexp: "logaddexp", special.erf: "erf",
    np.greater: "gt", np.greater_equal: "ge", np.less: "lt", np.less_equal: "le", np.equal: "eq", np.not_equal: "ne",
    np.arcsin: "asin", np.arccos: "acos", np.arcsinh: "asinh", np.arccosh: "acosh", np.arctanh: "atanh", np.exp2: "exp2",
    np.log10: "log10", np.logaddexp2: "logaddexp2", np.hypot: "hypot", np.arctan2: "atan2", np.copysign: "copysign",
    np.fmax: "fmax", np.fmin: "fmin", np.fmod: "fmod", np.remainder: "remainder", np.trunc: "trunc", np.rint: "round",
    np.deg2rad: "deg2rad", np.radians: "deg2rad", np.rad2deg: "rad2deg", np.degrees: "rad2deg", special.gammaln: "lgamma",
    special.psi: "digamma", special.erfc: "erfc", special.erfinv: "erfinv", special.erfcx: "special_erfcx",
    special.log_ndtr: "special_log_ndtr", special.ndtri: "special_ndtri", special.i0: "i0", special.i0e: "special_i0e",
    special.i1: "special_i1", special.i1e: "special_i1e", special.entr: "special_entr", special.logit: "logit",
    special.expit: "sigmoid", special.xlogy: "xlogy", special.xlog1py: "special_xlog1py",
    np.logical_and: "logical_and", np.logical_or: "logical_or", np.logical_not: "logical_not", np.isnan: "isnan",
}  # fmt: skip
# Functions that only move numbers. They are recorded as the places that the numbers come from.
MOVES = (
    np.reshape, np.transpose, np.swapaxes, np.moveaxis, np.expand_dims, np.squeeze, np.broadcast_to, np.flip, np.roll,
    np.repeat, np.tile, np.take, np.take_along_axis, np.ravel, np.rot90, np.diagonal, np.tril, np.triu,
    np.lib.stride_tricks.sliding_window_view,
)  # fmt: skip
CHOICES = (np.argmax, np.argmin, np.argsort, np.isfinite, np.shape, np.ndim, np.size)
MADE = ("zeros", "ones", "empty", "full")


class Recorded(NDArrayOperatorsMixin):
    """An array of a program that is being recorded."""

    __array_priority__ = 1000

    def __init__(self, value: Array, recording: NumpyRecording) -> None:
        self.value, self.recording = value, recording

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if method == "at" and ufunc is np.add:
            return self.recording.add_at(*inputs)
        if method == "reduce" and ufunc in (np.add, np.maximum, np.minimum):
            named: dict[Any, Callable[..., Any]] = {np.add: np.sum, np.maximum: np.max, np.minimum: np.min}
            return named[ufunc](inputs[0], **kwargs)
        out = kwargs.pop("out", (None,))[0]
        if method != "__call__" or kwargs:
            raise NoRule(
                f"there is no rule for np.{ufunc.__name__}.{method} with {', '.join(kwargs) or 'such arguments'}"
            )
        return self.recording.call(UFUNCS.get(ufunc, f"np.{ufunc.__name__}"), ufunc, inputs, out=out)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return self.recording.function(function, args, kwargs)

    def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
        raise TypeError("a program that is recorded turns an array into a plain one, which would lose its gradient")

    def __getitem__(self, index: Any) -> Any:
        return self.recording.moved(operator.getitem, self, _plain(index))

    def __setitem__(self, index: Any, other: Any) -> None:
        self.recording.put(self, _plain(index), other)

    def __len__(self) -> int:
        return len(self.value)

    def __bool__(self) -> bool:
        return bool(self.value)

    def __float__(self) -> float:
        return float(self.value)

    def __int__(self) -> int:
        return int(self.value)

    shape = property(lambda self: self.value.shape)
    ndim = property(lambda self: self.value.ndim)
    size = property(lambda self: self.value.size)
    dtype = property(lambda self: self.value.dtype)
    T = property(np.transpose)

    def astype(self, dtype: Any, copy: bool = True) -> Any:
        return self.recording.call("_to_copy", lambda x: x.astype(dtype), (self,))

    def copy(self) -> Any:
        return self.recording.call("clone", np.array, (self,))

    def reshape(self, *shape: Any) -> Any:
        return np.reshape(self, shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape)

    def transpose(self, *axes: Any) -> Any:
        return np.transpose(self, (axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes) or None)

    def __getattr__(self, name: str) -> Any:
        """Methods that are also functions of NumPy: sum, mean, max, swapaxes, …"""
        function = getattr(np, name, None)
        if name.startswith("_") or not callable(function) or not hasattr(np.ndarray, name):
            raise AttributeError(f"a recorded array has no {name}")
        return lambda *args, **kwargs: function(self, *args, **kwargs)


class NumpyRecording:
    """Records the calls of a NumPy program; `events` are the calls so far."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._held: dict[int, WeakSet[Held]] = {}
        self._owners: list[Array] = []

    def held(self, value: Any) -> Any:
        """Nested arguments with their arrays recorded as `Held`."""
        if isinstance(value, Recorded):
            return self._of(value.value)
        if isinstance(value, np.ndarray):
            return self._of(value)
        if isinstance(value, (list, tuple)):
            return [self.held(own) for own in value]
        return (
            float(value) if isinstance(value, np.floating) else int(value) if isinstance(value, np.integer) else value
        )

    def _of(self, array: Array) -> Held:
        owner = array
        while isinstance(owner.base, np.ndarray):
            owner = owner.base
        self._owners.append(owner)
        start = owner.__array_interface__["data"][0]
        offset = (array.__array_interface__["data"][0] - start) // array.itemsize
        strides = tuple(step // array.itemsize for step in array.strides)
        held = Held(id(owner), Geometry(array.shape, strides, offset), array.dtype.name, lambda: np.array(array))
        self._held.setdefault(id(owner), WeakSet()).add(held)
        return held

    def _keep(self, array: Array) -> None:
        """Copies the recorded values in an array's memory before it is overwritten."""
        for held in list(self._held.pop(self._of(array).storage, ())):
            assert held.numbers is not None

    def call(
        self, name: str, function: Callable[..., Any], args: Any, extra: Any = (), out: Recorded | None = None
    ) -> Any:
        """Records a call with these arrays and further arguments for the rule; writes to `out` if that is given."""
        given = tuple(self.held(args))
        with np.errstate(all="ignore"):
            made = np.asarray(function(*_values(args)))
        if out is None:
            self.events.append(Event(name, (*given, *extra), {}, (self._of(made),), True))
            return Recorded(made, self)
        self._keep(out.value)
        out.value[...] = made
        self._written(name, (*given, *extra), out)
        return out

    def made(self, array: Array) -> Recorded:
        """Records a new array of which all is known, so that it can be written to in parts that overlap."""
        made: Recorded = self.call("clone", np.array, (array,))
        return made

    def _written(self, name: str, args: tuple[Any, ...], into: Recorded) -> None:
        held = self._of(into.value)
        self.events.append(Event(name, args, {}, (held,), True, ((held, 0),)))

    def moved(self, function: Callable[..., Any], x: Any, *args: Any, **kwargs: Any) -> Any:
        """Records a rearrangement: a view if it is one, else the positions from which its numbers come."""
        made = np.asarray(function(x.value, *args, **kwargs))
        if np.may_share_memory(made, x.value):
            self.events.append(Event("view", (self._of(x.value),), {}, (self._of(made),), True))
            return Recorded(made, self)
        places = np.asarray(function(np.arange(x.size).reshape(x.shape), *args, **kwargs))
        self.events.append(Event("take", (self._of(x.value), self._of(places)), {}, (self._of(made),), True))
        return Recorded(made, self)

    def put(self, x: Recorded, index: Any, other: Any) -> None:
        source = other if isinstance(other, Recorded) else Recorded(np.asarray(other, x.dtype), self)
        part = x.value[index]
        if isinstance(part, np.ndarray) and np.may_share_memory(part, x.value):
            into = Recorded(part, self)
            copied = (self._of(part), self._of(source.value))
            self._keep(x.value)
            part[...] = source.value
            self._written("copy", copied, into)
            return
        places = np.arange(x.size).reshape(x.shape)[index]
        spread = np.broadcast_to(source.value, np.shape(places))
        held = self._of(spread)
        args: tuple[Any, ...] = (self._of(x.value), self._of(np.asarray(places)), held)
        self.events.append(Event("view", (self._of(source.value),), {}, (held,), True))
        self._keep(x.value)
        x.value[index] = source.value
        self._written("put", args, x)

    def add_at(self, x: Recorded, index: Any, other: Any) -> None:
        places = np.asarray(np.arange(x.size).reshape(x.shape)[_plain(index)])
        spread = np.broadcast_to(getattr(other, "value", other), places.shape)
        args = (self._of(x.value), self._of(places), self._of(spread), True)
        if isinstance(other, Recorded):
            self.events.append(Event("view", (self._of(other.value),), {}, (args[2],), True))
        self._keep(x.value)
        np.add.at(x.value, _plain(index), getattr(other, "value", other))
        self._written("put", args, x)

    def function(self, function: Any, args: Any, kwargs: Any) -> Any:
        if function in MOVES:
            return self.moved(
                function, args[0], *map(_plain, args[1:]), **{k: _plain(own) for k, own in kwargs.items()}
            )
        if function in CHOICES:
            return function(*_values(args), **kwargs)
        if function.__name__ in ADAPTED:
            return ADAPTED[function.__name__](self, *args, **kwargs)
        raise NoRule(f"there is no rule for np.{function.__name__}")


def _values(arguments: Any) -> Any:
    if isinstance(arguments, Recorded):
        return arguments.value
    return [_values(own) for own in arguments] if isinstance(arguments, (list, tuple)) else arguments


def _plain(index: Any) -> Any:
    if isinstance(index, tuple):
        return tuple(map(_plain, index))
    return index.value if isinstance(index, Recorded) else index


def _reduction(name: str, function: Any) -> Callable[..., Any]:
    def adapted(recording: NumpyRecording, x: Any, axis: Any = None, keepdims: bool = False) -> Any:
        axes = None if axis is None else list(axis) if isinstance(axis, tuple) else [axis]
        extra = (axes, keepdims) if axes is not None else (list(range(x.ndim)), keepdims)
        return recording.call(name, lambda own: function(own, axis=axis, keepdims=keepdims), (x,), extra)

    return adapted


def _joined(name: str, function: Any) -> Callable[..., Any]:
    def adapted(recording: NumpyRecording, arrays: Any, axis: int = 0) -> Any:
        return recording.call(name, lambda own: function(own, axis=axis), (list(arrays),), (axis,))

    return adapted


def _filled(function: Any) -> Callable[..., Any]:
    def adapted(recording: NumpyRecording, x: Any, *args: Any, **kwargs: Any) -> Any:
        return recording.made(
            function(x.value, *args, **{name: own for name, own in kwargs.items() if name != "subok"})
        )

    return adapted


ADAPTED: dict[str, Callable[..., Any]] = {
    "sum": _reduction("sum", np.sum),
    "mean": _reduction("mean", np.mean),
    "prod": _reduction("prod", np.prod),
    "nansum": _reduction("nansum", np.nansum),
    "max": _reduction("amax", np.max),
    "amax": _reduction("amax", np.max),
    "min": _reduction("amin", np.min),
    "amin": _reduction("amin", np.min),
    "concatenate": _joined("cat", np.concatenate),
    "stack": _joined("stack", np.stack),
    "where": lambda recording, mask, x, y: recording.call("where", np.where, (mask, x, y)),
    "clip": lambda recording, x, low=None, high=None: recording.call(
        "clamp", lambda own: np.clip(own, low, high), (x,), (low, high)
    ),
    "copy": lambda recording, x: x.copy(),
    "cumsum": lambda recording, x, axis=0: recording.call(
        "cumsum", lambda own: np.cumsum(own, axis=axis), (x,), (axis,)
    ),
    "cumprod": lambda recording, x, axis=0: recording.call(
        "cumprod", lambda own: np.cumprod(own, axis=axis), (x,), (axis,)
    ),
    "sinc": lambda recording, x: recording.call("sinc", np.sinc, (x,)),
    "trace": lambda recording, x: recording.call("trace", np.trace, (x,)),
    "sort": lambda recording, x, axis=-1: np.take_along_axis(x, np.argsort(x, axis=axis, kind="stable"), axis),
    "dot": lambda recording, x, y: recording.call("matmul", np.dot, (x, y)),
    "einsum": lambda recording, equation, *arrays: recording.call(
        "einsum", lambda *own: np.einsum(equation, *own), arrays, (equation,)
    ),
    "zeros_like": _filled(np.zeros_like),
    "ones_like": _filled(np.ones_like),
    "empty_like": _filled(np.zeros_like),
    "full_like": _filled(np.full_like),
}


# Packages in whose modules np.zeros stays NumPy's own. Replacing it inside numpy itself would end the process.
KEPT = frozenset({"numpy", "scipy", "pandas", "torch", "oracle", "sys", "builtins"})


class _Allocating(ModuleType):
    """The numpy module, except that arrays of np.zeros and similar functions accept recorded arrays when written to."""

    def __init__(self, recording: NumpyRecording) -> None:
        super().__init__("numpy")
        self.__dict__.update({name: _allocating(name, recording) for name in MADE})

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)


def _allocating(name: str, recording: NumpyRecording) -> Callable[..., Any]:
    plain = getattr(np, name)
    return lambda *args, **kwargs: recording.made(plain(*args, **kwargs))


@contextmanager
def _buffers(fn: Callable[..., Any], recording: NumpyRecording) -> Iterator[None]:
    """Inside, the names np and numpy in the program's modules refer to `_Allocating`."""
    own = [vars(module) for name, module in list(sys.modules.items()) if name.partition(".")[0] not in KEPT and module]
    spaces = [*own, getattr(fn, "__globals__", {})]
    places = [(space, name) for space in spaces for name in ("np", "numpy") if space.get(name) is np]
    allocating = _Allocating(recording)
    try:
        for space, name in places:
            space[name] = allocating
        yield
    finally:
        for space, name in places:
            space[name] = np


def record(fn: Callable[..., Any], *inputs: Array) -> tuple[Program, list[Array]]:
    """The recorded program of a NumPy function on these inputs, and its result."""
    recording = NumpyRecording()
    given = [Recorded(np.array(own), recording) for own in inputs]
    held = [recording.held(own) for own in given]
    with _buffers(fn, recording):
        output = fn(*given)
    outputs = list(output) if isinstance(output, (tuple, list)) else [output]
    if not all(isinstance(own, (Recorded, np.ndarray, np.generic)) for own in outputs):
        raise ValueError(f"the program gives {type(output).__name__}: it has to give an array, or several")
    plain = [np.asarray(_values(own)) for own in outputs]
    return program_of(recording.events, held, [recording.held(own) for own in plain]), plain
