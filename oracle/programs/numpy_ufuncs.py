"""Translates NumPy's universal functions, and their methods reduce, accumulate, outer and at, into calls of the rules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import special

from oracle.programs.execution import FLOATS
from oracle.programs.numpy_arrays import NumpyRecording, Recorded, plain, values
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
    np.isinf: "isinf", np.isfinite: "isfinite", np.signbit: "signbit", np.bitwise_and: "bitwise_and", np.bitwise_or: "bitwise_or",
    np.bitwise_xor: "bitwise_xor", np.logical_xor: "bitwise_xor", np.invert: "bitwise_not", np.fabs: "abs", np.positive: "clone",
    np.conjugate: "clone",
}  # fmt: skip
# Rules that apply in place of those above if a number is complex.
OF_COMPLEX = {np.conjugate: "conj_physical", np.sign: "sgn", np.power: "pow.Tensor_Scalar"}
# Functions that compare or test. They round nothing, so each argument keeps its own precision.
UNROUNDED = frozenset(("gt", "ge", "lt", "le", "eq", "ne", "isnan", "isinf", "isfinite", "signbit"))
REDUCTIONS: dict[np.ufunc, Callable[..., Any]] = {
    np.add: np.sum, np.multiply: np.prod, np.maximum: np.max, np.minimum: np.min, np.logical_and: np.all, np.logical_or: np.any,
}  # fmt: skip
ACCUMULATIONS: dict[np.ufunc, Callable[..., Any]] = {np.add: np.cumsum, np.multiply: np.cumprod}
# ufunc.at may change one element at most this many times, because each time is recorded as a separate call.
TIMES = 100


def called(recording: NumpyRecording, called: tuple[np.ufunc, str], inputs: Any, kwargs: Any) -> Any:
    """Records a call of a universal function, or of one of its methods. Raises: NoRule."""
    ufunc, method = called
    if recording.narrow:
        inputs = tuple(float(own) if type(own) is np.float64 else own for own in inputs)
    said = f"np.{ufunc.__name__}" + ("" if method == "__call__" else f".{method}")
    if method == "reduce" and ufunc is np.logaddexp:
        return _log_sum(recording, *inputs, **kwargs)
    if method in ("reduce", "accumulate"):
        named = (REDUCTIONS if method == "reduce" else ACCUMULATIONS).get(ufunc)
        if named is None:
            raise NoRule(f"there is no rule for {said}")
        if method == "accumulate" and not np.ndim(values(inputs[0])):
            raise TypeError(f"{said} takes an array, got a number")
        given = {"axis": 0, **kwargs}
        return named(inputs[0], **{**given, "out": given["out"][0]} if "out" in given else given)
    if method == "at":
        _at(recording, ufunc, *inputs)
        return None
    out = kwargs.pop("out", (None,))
    if method == "outer" and len(inputs) == 2:
        a, b = map(recording.lifted, inputs)
        inputs, method = (a.reshape(a.shape + (1,) * b.ndim), b), "__call__"
    if method != "__call__" or kwargs:
        raise NoRule(f"there is no rule for {said}" + (" with " if kwargs else "") + ", ".join(kwargs))
    if ufunc.nout > 1:
        raise NoRule(f"there is no rule for {said}")
    return written(recording, said, out[0], _made(recording, ufunc, inputs, out[0]))


def _made(recording: NumpyRecording, ufunc: np.ufunc, inputs: Any, out: Any) -> Any:
    inputs = [recording.lifted(own) if isinstance(own, (list, tuple)) else own for own in inputs]
    name = UFUNCS.get(ufunc, f"np.{ufunc.__name__}")
    if name in UNROUNDED or name.startswith(("logical", "bitwise")):
        return recording.call(name, ufunc, inputs)
    if any(np.asarray(own).dtype.kind == "c" for own in values(inputs)):
        if ufunc is np.power and np.ndim(values(inputs[1])):
            raise NoRule("there is no rule for np.power of complex numbers with an array of exponents")
        return recording.call(OF_COMPLEX.get(ufunc, name), ufunc, inputs, into=out)
    with np.errstate(all="ignore"):
        kind = np.asarray(ufunc(*values(inputs))).dtype
    dtypes = {np.asarray(own).dtype for own in values(inputs)}
    held = next(iter(dtypes))
    if recording.narrow and ufunc is np.matmul and len(dtypes) == 1 and held.name in FLOATS and held != kind:
        # NumPy gives the product of bfloat16 matrices in float32.
        return recording.call(name, lambda a, b: np.matmul(a, b).astype(held), inputs, into=out)
    if kind.name in FLOATS:  # NumPy computes in the dtype of the result, to which it converts the arguments first
        inputs = [
            own.astype(kind) if isinstance(own, Recorded) and own.dtype.name in FLOATS and own.dtype != kind else own
            for own in inputs
        ]
    return recording.call(name, ufunc, inputs, into=out)


def written(recording: NumpyRecording, said: str, out: Any, made: Any) -> Any:
    """Returns `made`, the result of a call; if the call was given an array `out`, writes it there and returns `out`."""
    if out is None or out is made or (isinstance(out, Recorded) and out.is_scalar):
        return made
    if not isinstance(out, Recorded):
        raise NoRule(
            f"{said} writes into an array that the program did not make: np.zeros, np.ones, np.empty and np.full "
            "make one that the recording follows"
        )
    if not np.can_cast(made.dtype, out.dtype, "same_kind"):
        raise TypeError(f"{said} gives {made.dtype}, which is not written into an array of {out.dtype}")
    out[...] = made
    return out


def _log_sum(recording: NumpyRecording, x: Any, axis: Any = 0, keepdims: bool = False) -> Any:
    axes = list(range(x.ndim)) if axis is None else list(axis) if isinstance(axis, tuple) else [axis]

    reduce: Any = np.logaddexp.reduce
    return recording.call("logsumexp", lambda own: reduce(own, axis=axis, keepdims=keepdims), (x,), (axes, keepdims))


def _at(recording: NumpyRecording, ufunc: np.ufunc, x: Any, index: Any, other: Any = None) -> None:
    """Changes the elements at an index in place. An element that occurs n times in the index is changed n times."""
    if not isinstance(x, Recorded):
        written(recording, f"np.{ufunc.__name__}.at", x, None)
    index = plain(index)
    if ufunc in (np.add, np.subtract):
        recording.add_at(x, index, recording.lifted(other) if ufunc is np.add else -recording.lifted(other))
        return
    places = np.asarray(np.arange(x.size).reshape(x.shape)[index])
    changes = () if other is None else (np.broadcast_to(recording.lifted(other), places.shape).reshape(-1),)
    flat = places.reshape(-1)
    order = np.argsort(flat, kind="stable")
    first = np.searchsorted(flat[order], flat[order], side="left")
    times = np.empty(flat.size, dtype=np.int64)
    times[order] = np.arange(flat.size) - first  # how often the same element occurs earlier in the index
    if times.size and times.max() >= TIMES:
        raise NoRule(f"there is no rule for np.{ufunc.__name__}.at that changes an element more than {TIMES} times")
    for time in range(times.max() + 1 if times.size else 0):
        now = times == time
        where = np.unravel_index(flat[now], x.shape) if x.ndim else ...
        x[where] = ufunc(x[where], *(own[now] for own in changes))
