"""Faults of falling size: what is added to a right array to make it wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeAlias

import numpy as np

from oracle.case.arrays import Array
from oracle.harness.alone import Alone
from oracle.running_error import UNIT_ROUNDOFF
from oracle.subjects import refbp as honest

# Sizes are powers of this: two binary digits apart.
FALLS_BY = 4.0
# It takes an array and a generator, and returns what a fault of size 1 adds to the array; None if it has no such fault.
Fault: TypeAlias = Callable[[Array, np.random.Generator], Array | None]


def _factor(x: Array, rng: np.random.Generator) -> Array | None:
    return x if x.size > 1 else None


def _offset(x: Array, rng: np.random.Generator) -> Array | None:
    if x.size == 1:
        return None
    largest = np.max(np.abs(x))  # so that no square overflows
    return np.full_like(x, largest * np.sqrt(np.mean(np.square(x / largest))))


def _noise(x: Array, rng: np.random.Generator) -> Array | None:
    return x * rng.standard_normal(x.shape) if x.size > 1 else None


def _element(x: Array, rng: np.random.Generator) -> Array | None:
    return np.where(np.arange(x.size).reshape(x.shape) == rng.choice(np.flatnonzero(x)), x, 0.0)


def _slice(axis: int) -> Fault:
    def fault(x: Array, rng: np.random.Generator) -> Array | None:
        if x.ndim <= axis or x.shape[axis] == 1 or x.size == x.shape[axis]:
            return None
        rows = np.moveaxis(x, axis, 0).reshape(x.shape[axis], -1)
        chosen = rng.choice(np.flatnonzero(rows.any(axis=1)))
        sides = [1] * x.ndim
        sides[axis] = x.shape[axis]
        return np.where((np.arange(x.shape[axis]) == chosen).reshape(sides), x, 0.0)

    return fault


# Sizes are relative to the elements that a fault changes; that of the offset is relative to the root mean square of all.
FAULTS: dict[str, Fault] = {
    "factor": _factor,
    "offset": _offset,
    "noise": _noise,
    "row": _slice(0),
    "channel": _slice(1),
    "element": _element,
}
SIGN, TERM = "sign", "dropped term"
KINDS = (*FAULTS, SIGN, TERM)


def planted(own: Alone, kind: str, rng: np.random.Generator) -> list[tuple[float, Array]]:
    """Falling sizes, each with the array that holds the fault, as long as its dtype shows the fault."""
    x = own.got.astype(np.float64)
    if kind == SIGN:
        return list(_signs(own.got, x))
    direction = _term(own, rng) if kind == TERM else FAULTS[kind](x, rng)
    if direction is None or not np.isfinite(direction).all():
        return []
    return list(_falling(own.got, x, direction))


def _falling(got: Array, x: Array, direction: Array) -> Iterator[tuple[float, Array]]:
    size, u = 1.0, UNIT_ROUNDOFF[got.dtype.name]
    while size > u / FALLS_BY and not np.array_equal(wrong := (x + size * direction).astype(got.dtype), got):
        if np.isfinite(wrong).all():
            yield size, wrong
        size /= FALLS_BY


def _signs(got: Array, x: Array) -> Iterator[tuple[float, Array]]:
    """One element with the wrong sign: the largest, then ever smaller ones. The size is relative to the largest."""
    order = np.argsort(-np.abs(x), axis=None)
    sizes = np.abs(x).ravel()[order]
    due = sizes[0]
    for place, size in zip(order, sizes, strict=True):
        if 0 < size <= due:
            wrong = got.copy(order="C")
            wrong.reshape(-1)[place] = -wrong.reshape(-1)[place]
            yield float(size / sizes[0]), wrong
            due = size / FALLS_BY


def _term(own: Alone, rng: np.random.Generator) -> Array | None:
    """Minus the share that one number of the upstream gradient adds; gradients are linear in it, so the fault drops that term."""
    case = own.compared.case
    is_gradient = own.quantity == "grad_input" or own.quantity.startswith("grad.")
    if case.steps > 1 or not case.grad_outputs or not is_gradient:
        return None
    upstream = case.grad_outputs[-1].astype(np.float64)
    if np.count_nonzero(upstream) < 2:
        return None
    chosen = np.arange(upstream.size).reshape(upstream.shape) == rng.choice(np.flatnonzero(upstream))
    alone = replace(case.astype("float64"), grad_outputs=(np.where(chosen, -upstream, 0.0),))
    share = honest.run(alone).get(*own.key)
    return share if share is not None and np.isfinite(share).all() else None
