"""Records a NumPy program by `__array_ufunc__` and `__array_function__`, as calls of the same form as torch's."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np

from oracle.case.arrays import Array
from oracle.case.nested import leaves, mapped
from oracle.programs import numpy_functions, numpy_ufuncs
from oracle.programs.numpy_arrays import NumpyRecording, Recorded, holds_recorded, values
from oracle.programs.program import Program
from oracle.programs.storages import program_of

MADE = ("zeros", "ones", "empty", "eye", "identity")
OF_LISTS = ("sum", "prod", "max", "min", "mean", "var", "std", "median", "sort")
CONVERTING = ("array", "asarray", "asanyarray", "ascontiguousarray", "asfortranarray")

# Packages in whose modules np.zeros stays NumPy's own. Replacing it inside numpy itself would end the process.
KEPT = frozenset({"numpy", "scipy", "pandas", "torch", "oracle", "sys", "builtins"})


class _Allocating(ModuleType):
    """The numpy module, except that arrays of np.zeros and similar functions accept recorded arrays when written to."""

    def __init__(self, recording: NumpyRecording) -> None:
        super().__init__("numpy")
        self.__dict__.update({name: _allocating(name, recording) for name in MADE})
        self.__dict__.update({name: _converting(name, recording) for name in CONVERTING})
        self.__dict__.update({name: _of_list(name, recording) for name in OF_LISTS})
        self.full = _full(recording)

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)


def _allocating(name: str, recording: NumpyRecording) -> Callable[..., Any]:
    plain = getattr(np, name)
    return lambda *args, **kwargs: recording.made(plain(*args, **kwargs))


def _full(recording: NumpyRecording) -> Callable[..., Any]:
    def full(shape: Any, fill_value: Any, dtype: Any = None, order: Any = "C") -> Any:
        if not holds_recorded(fill_value):
            return recording.made(np.full(shape, fill_value, dtype, order))
        made = recording.made(np.zeros(shape, dtype or recording.lifted(fill_value).dtype, order))
        made[...] = fill_value
        return made

    return full


def _of_list(name: str, recording: NumpyRecording) -> Callable[..., Any]:
    """A function of an array, which also follows a list of recorded arrays. NumPy itself would convert such a list."""
    plain = getattr(np, name)

    def called(a: Any, *args: Any, **kwargs: Any) -> Any:
        is_list = isinstance(a, (list, tuple)) and holds_recorded(a)
        return plain(recording.lifted(a) if is_list else a, *args, **kwargs)

    return called


def _converting(name: str, recording: NumpyRecording) -> Callable[..., Any]:
    """np.array or a similar function, which also takes recorded arrays and nested lists of them."""
    plain, copies = getattr(np, name), name == "array"

    def followed(a: Any, dtype: Any = None, order: Any = None, *, copy: Any = copies, ndmin: int = 0) -> Any:
        made = recording.lifted(a)
        if dtype is not None and made.dtype != np.dtype(dtype):
            made = made.astype(dtype)
        elif copy or made.is_scalar:
            made = recording.made(made)
        return made.reshape((1,) * (ndmin - made.ndim) + made.shape) if ndmin > made.ndim else made

    def converted(*args: Any, **kwargs: Any) -> Any:
        return followed(*args, **kwargs) if holds_recorded(args) else plain(*args, **kwargs)

    return converted


@contextmanager
def _buffers(fn: Callable[..., Any], recording: NumpyRecording) -> Iterator[None]:
    """Inside, the names np and numpy in the program's modules refer to `_Allocating`."""
    own = [vars(module) for name, module in sys.modules.copy().items() if name.partition(".")[0] not in KEPT and module]
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


def record(fn: Callable[..., Any], *inputs: Any, narrow: bool = False) -> tuple[Program, list[Array]]:
    """The recorded program of a NumPy function of the arrays in these inputs, and its results; `narrow`: see `NumpyRecording`."""
    recording = NumpyRecording(numpy_ufuncs.called, numpy_functions.called, narrow)
    given = mapped(inputs, lambda own: Recorded(np.array(own), recording) if isinstance(own, np.ndarray) else own)
    held = [recording.held(own) for own in leaves(given) if isinstance(own, Recorded)]
    with _buffers(fn, recording):
        output = fn(*given)
    outputs = [own for own in leaves(output) if isinstance(own, (Recorded, np.ndarray, np.generic))]
    if not outputs:
        raise ValueError(f"the program gives {type(output).__name__}: it has to give an array, or several")
    made = [recording.held(own if isinstance(own, Recorded) else np.array(own)) for own in outputs]
    return program_of(recording.events, held, made), [np.asarray(values(own)) for own in outputs]
