"""Records calls of NumPy's functions: each is translated into a call that has a rule, with the arguments of that rule."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from oracle.case.arrays import in_parts
from oracle.case.nested import leaves
from oracle.programs import numpy_composed as composed
from oracle.programs import numpy_decompositions, numpy_fourier, numpy_linear_algebra, numpy_statistics
from oracle.programs.numpy_arrays import JUDGED, NumpyRecording, Recorded, plain, values
from oracle.programs.numpy_ufuncs import written
from oracle.programs.table import NoRule
from oracle.running_error.model import limits

NOTHING: Any = object()
# Functions that only move numbers. The recording keeps the place in the input from which each number comes.
MOVES = (
    "reshape", "transpose", "permute_dims", "swapaxes", "matrix_transpose", "moveaxis", "rollaxis", "expand_dims", "squeeze",
    "broadcast_to", "flip", "flipud", "fliplr", "roll", "repeat", "tile", "take", "take_along_axis", "ravel", "rot90",
    "diagonal", "delete", "resize", "lib.stride_tricks.sliding_window_view", "fft.fftshift", "fft.ifftshift",
)  # fmt: skip
# Functions that return indices, sizes or truth values, which have no gradient.
CHOICES = (
    "argmax", "argmin", "argsort", "argpartition", "argwhere", "flatnonzero", "nonzero", "nanargmax", "nanargmin", "lexsort",
    "searchsorted", "digitize", "shape", "ndim", "size", "count_nonzero", "isclose", "allclose", "array_equal", "isin",
    "all", "any", "iscomplexobj", "isrealobj", "isscalar", "result_type", "can_cast", "shares_memory", "may_share_memory",
)  # fmt: skip


def called(recording: NumpyRecording, function: Any, args: Any, kwargs: Any) -> Any:
    """Records a call of a function of NumPy. Raises: NoRule, or what NumPy itself raises for such arguments."""
    name = name_of(function)
    positional, named = arguments(function, args, kwargs)
    out = named.pop("out", None)
    if name in MOVES:
        return written(recording, f"np.{name}", out, recording.moved(function, *positional, **named))
    adapted = ADAPTED.get(name)
    if adapted is None and name not in COMPOSED and name not in CHOICES:
        if any(own.dtype.kind not in "biu" for own in _recorded((args, kwargs))):
            raise NoRule(f"there is no rule for np.{name}")
        return function(*plain(args), **plain(kwargs))  # integers and booleans have no gradient
    if name in composed.IN_PLACE:
        if not isinstance(positional[0], Recorded):
            return written(recording, f"np.{name}", positional[0], None)
        return composed.IN_PLACE[name](*positional, **_followed(name, composed.IN_PLACE[name], named))
    due = _result(function, args, kwargs)
    if name in CHOICES:
        return due
    follows = adapted or COMPOSED[name]
    named = _followed(name, follows, named)
    made = follows(recording, *positional, **named) if adapted else follows(*positional, **named)
    if name != "empty_like" and not _alike(made, due):
        raise NoRule(f"there is no rule for np.{name} with such arguments")
    return written(recording, f"np.{name}", out, made)


def _recorded(arguments: Any) -> list[Recorded]:
    return [own for own in leaves(arguments) if isinstance(own, Recorded)]


def _followed(name: str, follows: Any, named: dict[str, Any]) -> dict[str, Any]:
    """The named arguments, if the translation takes them all. Raises: NoRule that names the others."""
    beyond = [own for own in named if own not in _names(follows)]
    if beyond:
        raise NoRule(f"there is no rule for np.{name} with {', '.join(beyond)}")
    return named


def _result(function: Any, args: Any, kwargs: Any) -> Any:
    """The result of NumPy's own function for these arguments. Raises: any exception of that function."""
    bound = _signature(function).bind(*args, **kwargs)
    bound.arguments.pop("out", None)
    with np.errstate(all="ignore"):
        return function(*plain(bound.args), **plain(bound.kwargs))


def _alike(made: Any, due: Any) -> bool:
    """Whether the recorded result agrees with NumPy's: in dtype, in shape and, within rounding, in its numbers."""
    if isinstance(due, (list, tuple)):
        return len(made) == len(due) and all(map(_alike, made, due))
    got, due = np.asarray(plain(made)), np.asarray(due)
    if got.dtype != due.dtype or got.shape != due.shape:
        return False
    got, due = in_parts(got), in_parts(due)
    if due.dtype.name not in JUDGED or not due.size:
        return bool(np.array_equal(got, due))
    near = float(np.sqrt(limits(due.dtype).eps))
    got, due = got.astype(np.float64), due.astype(np.float64)
    largest = np.max(np.abs(due), where=np.isfinite(due), initial=0.0)
    return bool(np.allclose(got, due, rtol=near, atol=near * largest, equal_nan=True))


@cache
def name_of(function: Any) -> str:
    """A function's name without "np.", such as linalg.norm."""
    module = str(getattr(function, "__module__", "") or "").removeprefix("numpy").removeprefix(".")
    inner = "" if module.startswith(("_", "lib._")) or not module else f"{module}."
    return inner + str(function.__name__)


@cache
def _signature(function: Any) -> inspect.Signature:
    return inspect.signature(function)


@cache
def _names(function: Any) -> frozenset[str]:
    return frozenset(inspect.signature(function).parameters)


def arguments(function: Any, args: Any, kwargs: Any) -> tuple[list[Any], dict[str, Any]]:
    """Splits the arguments of a call into positional and named ones.

    Positional are the first argument, the required ones of a function in MOVES, and those of `*args`. Named are all others that
    differ from NumPy's default.
    """
    bound = _signature(function).bind(*args, **kwargs)
    positional: list[Any] = []
    named: dict[str, Any] = {}
    for place, (name, parameter) in enumerate(bound.signature.parameters.items()):
        if name not in bound.arguments or (name == "out" and bound.arguments[name] is None):
            continue
        value = bound.arguments[name]
        if parameter.kind == parameter.VAR_POSITIONAL:
            positional += value
        elif parameter.kind == parameter.VAR_KEYWORD:
            named.update(value)
        elif not place or (parameter.default is parameter.empty and name_of(function) in MOVES):
            positional.append(value)
        elif not (value is parameter.default or (isinstance(value, (bool, int, str)) and value == parameter.default)):
            named[name] = value
    return positional, named


def axes_of(x: Any, axis: Any) -> list[int]:
    """The axes of a reduction. Raises: NoRule for an empty tuple, which torch's rules take to mean all axes."""
    if axis is None:
        return list(range(x.ndim))
    if isinstance(axis, tuple) and not axis:
        raise NoRule("there is no rule for a reduction over axis=()")
    return list(axis) if isinstance(axis, tuple) else [axis]


def _only(x: Any, where: Any, otherwise: Any) -> Any:
    """The array of a reduction; elements outside of `where` are replaced by the number that does not change the result."""
    return x if where is True else np.where(where, x, np.asarray(otherwise, x.dtype))


def _reduction(rule: str, function: Any, neutral: Any, start: Any) -> Callable[..., Any]:
    """The translation of a reduction. `start` combines its result with the argument `initial`, as np.add does for a sum."""

    def adapted(
        recording: NumpyRecording, a: Any, axis: Any = None, dtype: Any = None, keepdims: bool = False,
        initial: Any = NOTHING, where: Any = True,
    ) -> Any:  # fmt: skip
        x = recording.lifted(a)
        x = x if dtype is None else x.astype(dtype)
        x = _only(x, where, initial if neutral is None and initial is not NOTHING else neutral)
        made = x.copy()
        if initial is not NOTHING and not x.size:
            return recording.made(function(x.value, axis=axis, keepdims=keepdims, initial=initial))
        if axis != ():
            made = recording.call(
                rule, lambda own: function(own, axis=axis, keepdims=keepdims), (x,), (axes_of(x, axis), keepdims)
            )
        return made if initial is NOTHING else start(made, np.asarray(initial, made.dtype)[()])

    return adapted


def _mean(
    recording: NumpyRecording, a: Any, axis: Any = None, dtype: Any = None, keepdims: bool = False, where: Any = True
) -> Any:
    x = recording.lifted(a)
    if where is not True:
        count = np.count_nonzero(np.broadcast_to(plain(where), x.shape), axis=axis, keepdims=keepdims)
        return np.sum(x, axis=axis, dtype=dtype, keepdims=keepdims, where=where) / np.asarray(count, x.dtype)
    x = x if dtype is None else x.astype(dtype)
    return recording.call(
        "mean", lambda own: np.mean(own, axis=axis, keepdims=keepdims), (x,), (axes_of(x, axis), keepdims)
    )


def _moment(rule: str, function: Any) -> Callable[..., Any]:
    def adapted(
        recording: NumpyRecording, a: Any, axis: Any = None, dtype: Any = None, ddof: Any = 0, keepdims: bool = False,
        correction: Any = None,
    ) -> Any:  # fmt: skip
        x, left = recording.lifted(a), ddof if correction is None else correction
        x = x if dtype is None else x.astype(dtype)
        return recording.call(
            rule,
            lambda own: function(own, axis=axis, ddof=left, keepdims=keepdims),
            (x,),
            (axes_of(x, axis), left, keepdims),
        )

    return adapted


def _running(rule: str, function: Any) -> Callable[..., Any]:
    def adapted(recording: NumpyRecording, a: Any, axis: Any = None, dtype: Any = None) -> Any:
        x = recording.lifted(a)
        x = x if dtype is None else x.astype(dtype)
        x, along = (np.ravel(x), 0) if axis is None or not x.ndim else (x, axis)
        return recording.call(rule, lambda own: function(own, axis=along), (x,), (along,))

    return adapted


def _joined(rule: str, function: Any) -> Callable[..., Any]:
    def adapted(recording: NumpyRecording, arrays: Any, axis: Any = 0, dtype: Any = None) -> Any:
        own = [recording.lifted(one) if not isinstance(one, np.ndarray) else one for one in arrays]
        if axis is None:
            own, axis = [np.ravel(one) for one in own], 0
        made = recording.call(rule, lambda parts: function(parts, axis=axis), (own,), (axis,))
        return made if dtype is None else made.astype(dtype)

    return adapted


def _filled(number: Any) -> Callable[..., Any]:
    def adapted(
        recording: NumpyRecording, a: Any, dtype: Any = None, order: Any = "K", subok: bool = True, shape: Any = None
    ) -> Any:
        return recording.made(np.full_like(values(a), number, dtype, shape=shape))

    return adapted


def _full_like(
    recording: NumpyRecording, a: Any, fill_value: Any, dtype: Any = None, order: Any = "K", shape: Any = None
) -> Any:
    made = recording.made(np.zeros_like(values(a), dtype, shape=shape))
    made[...] = fill_value
    return made


def _where(recording: NumpyRecording, condition: Any, x: Any = None, y: Any = None) -> Any:
    if x is None and y is None:
        return np.nonzero(plain(condition))
    mask = condition if np.asarray(plain(condition)).dtype == bool else recording.lifted(condition) != 0
    x, y = (recording.lifted(own) if isinstance(own, (list, tuple)) else own for own in (x, y))
    return recording.call("where", np.where, (mask, x, y))


def _clip(
    recording: NumpyRecording, a: Any, a_min: Any = None, a_max: Any = None, min: Any = None, max: Any = None
) -> Any:
    low, high = (a_min if min is None else min), (a_max if max is None else max)
    x, low, high = (
        own if own is None else recording.lifted(own) if isinstance(own, list) else own for own in (a, low, high)
    )
    x = recording.lifted(x)
    return recording.call("clamp", np.clip, (x, low, high))


def _sort(recording: NumpyRecording, a: Any, axis: Any = -1, kind: Any = None, stable: Any = None) -> Any:
    x = recording.lifted(a)
    if axis is None:
        x, axis = np.ravel(x), 0
    return np.take_along_axis(x, np.argsort(x, axis=axis, kind="stable"), axis)


def _einsum(recording: NumpyRecording, *operands: Any, optimize: Any = False) -> Any:
    equation, *arrays = operands
    if not isinstance(equation, str):
        raise NoRule("there is no rule for np.einsum with lists of labels: give them as a text, such as 'ij,jk->ik'")
    own = [recording.lifted(one) for one in arrays]
    whole = composed.without_ellipsis(equation, [one.ndim for one in own])
    own = [one.astype(np.result_type(*(other.dtype for other in own))) for one in own] if len(own) > 1 else own
    return recording.call("einsum", lambda *parts: np.einsum(whole, *parts), own, (whole,))


def _round(recording: NumpyRecording, a: Any, decimals: int = 0) -> Any:
    named = {"decimals": decimals}
    return recording.call("round", lambda own: np.round(own, decimals), (recording.lifted(a),), named=named)


def _nan_to_num(recording: NumpyRecording, x: Any, nan: Any = 0.0, posinf: Any = None, neginf: Any = None) -> Any:
    return recording.call(
        "nan_to_num", lambda own: np.nan_to_num(own, True, nan, posinf, neginf), (x,), (nan, posinf, neginf)
    )


def _vector_norm(recording: NumpyRecording, x: Any, axis: Any = None, keepdims: bool = False, ord: Any = 2) -> Any:
    def function(own: Any) -> Any:
        return np.linalg.vector_norm(own, axis=axis, keepdims=keepdims, ord=ord)

    return recording.call("linalg_vector_norm", function, (recording.lifted(x),), (ord, axes_of(x, axis), keepdims))


def _of_matrix(rule: str, function: Any, results: int) -> Callable[..., Any]:
    return lambda recording, a: recording.call(rule, function, (a,), results=results)


def _cholesky(recording: NumpyRecording, a: Any, upper: bool = False) -> Any:
    return recording.call(
        "linalg_cholesky_ex", lambda own: np.linalg.cholesky(own, upper=upper), (a,), (upper,), results=2
    )


def _slogdet(recording: NumpyRecording, a: Any) -> Any:
    due = np.linalg.slogdet(plain(a))
    made = recording.call("_linalg_slogdet", lambda own: np.linalg.slogdet(own)[1], (a,), results=4, place=1)
    return type(due)(due[0], made)


def _solve(recording: NumpyRecording, a: Any, b: Any) -> Any:
    if 1 < np.ndim(values(b)) < np.ndim(values(a)):
        raise NoRule("there is no rule for np.linalg.solve with fewer dimensions of the second array")
    return recording.call("_linalg_solve_ex", np.linalg.solve, (a, b), results=4)


def _nansum(recording: NumpyRecording, a: Any, axis: Any = None, keepdims: bool = False) -> Any:
    return recording.call(
        "nansum", lambda own: np.nansum(own, axis=axis, keepdims=keepdims), (a,), (axes_of(a, axis), keepdims)
    )


def _angle(recording: NumpyRecording, z: Any, deg: bool = False) -> Any:
    x = recording.lifted(z)
    if x.dtype.kind != "c":  # 0 or π
        return np.arctan2(np.zeros_like(x), x) if not deg else np.rad2deg(np.angle(x))
    angle = recording.call("angle", np.angle, (x,))
    return np.rad2deg(angle) if deg else angle


ADAPTED: dict[str, Callable[..., Any]] = {
    "sum": _reduction("sum", np.sum, 0, np.add),
    "prod": _reduction("prod", np.prod, 1, np.multiply),
    "max": _reduction("amax", np.max, None, np.maximum),
    "min": _reduction("amin", np.min, None, np.minimum),
    "mean": _mean,
    "var": _moment("var", np.var),
    "std": _moment("std", np.std),
    "nansum": _nansum,
    "cumsum": _running("cumsum", np.cumsum),
    "cumprod": _running("cumprod", np.cumprod),
    "concatenate": _joined("cat", np.concatenate),
    "stack": _joined("stack", np.stack),
    "where": _where,
    "clip": _clip,
    "sort": _sort,
    "einsum": _einsum,
    "round": _round,
    "nan_to_num": _nan_to_num,
    "sinc": lambda recording, x: recording.call("sinc", np.sinc, (x,)),
    "copy": lambda recording, a, order="K": recording.call("clone", lambda own: np.copy(own, order), (a,)),
    "zeros_like": _filled(0),
    "ones_like": _filled(1),
    "empty_like": _filled(0),
    "full_like": _full_like,
    "linalg.vector_norm": _vector_norm,
    "linalg.inv": _of_matrix("linalg_inv_ex", np.linalg.inv, 2),
    "linalg.cholesky": _cholesky,
    "linalg.slogdet": _slogdet,
    "linalg.det": _of_matrix("_linalg_det", np.linalg.det, 3),
    "linalg.solve": _solve,
    "real": lambda recording, val: recording.lifted(val).real,
    "imag": lambda recording, val: recording.lifted(val).imag,
    "angle": _angle,
}
ADAPTED |= numpy_decompositions.ADAPTED | numpy_fourier.ADAPTED
ADAPTED["around"] = ADAPTED["round"]
ADAPTED["amax"], ADAPTED["amin"] = ADAPTED["max"], ADAPTED["min"]
COMPOSED = composed.FUNCTIONS | numpy_linear_algebra.FUNCTIONS | numpy_statistics.FUNCTIONS
