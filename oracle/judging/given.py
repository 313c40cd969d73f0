"""The arrays from which a part is computed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from oracle.case.arrays import Array
from oracle.case.case import Case
from oracle.running_error.model import limits


def given(case: Case) -> Iterator[Array]:
    """The inputs of a single step, without its parameters."""
    yield from case.inputs
    yield from case.grad_outputs
    for grads in case.grads:
        yield from (grads[name] for name in sorted(grads))


def all_given(case: Case) -> Iterator[Array]:
    """All arrays from which a part is computed."""
    yield from given(case)
    for held in (case.params, *case.optimizer_state.values()):
        yield from held.values()


def same(one: Array, other: Array) -> bool:
    return one.dtype == other.dtype and np.array_equal(one, other)


def may_overflow(case: Case) -> bool:
    """Whether inputs and parameters are finite, and sums of their products may leave the range, or a state has left it.

    A state is not counted as given, since it overflows first. Nor is a parameter with such a state: the update that made the
    state infinite has made the parameter from it.
    """
    states = [(name, own) for held in case.optimizer_state.values() for name, own in held.items()]
    lost = {name for name, own in states if not np.isfinite(own).all()}
    params = [own for name, own in case.params.items() if name not in lost]
    sizes = [np.abs(own.astype(np.float64)) for own in (*given(case), *params) if own.size]
    if not all(np.isfinite(own).all() for own in sizes):
        return False
    if lost:
        return True
    largest = [float(own.max()) for own in sizes]
    one, two = sorted([1.0, 1.0, *largest, *largest])[-2:]
    return one > float(limits(np.dtype(case.dtype)).max) / (two * max((own.size for own in sizes), default=1))
