"""Long training runs, judged a stretch of steps at a time, so that memory does not grow with their length."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace

from oracle.case.case import PER_STEP, Case
from oracle.judging.parts import hides_state, params_before, state_before
from oracle.judging.rows import DISCREPANCIES, Row
from oracle.trace import Trace

# The number of steps whose trace is held in memory at a time.
STRETCH = 50


def resumed(case: Case, trace: Trace) -> Case:
    """The case that continues where this one ended. Raises: ValueError if the trace does not show the final state."""
    params = params_before(case, trace, case.steps)
    if len(params) < len(case.params):
        raise ValueError(f"case {case.name} cannot go on: the trace does not show the parameters after the last step")
    if hides_state(case, trace, case.steps):
        raise ValueError(f"case {case.name} cannot go on: the trace does not show the optimizer's state")
    return replace(case, params=params, optimizer_state=state_before(case, trace, case.steps))


def lengths(case: Case) -> Iterator[tuple[int, int]]:
    """The first step and the number of steps of each stretch."""
    most = max(STRETCH - STRETCH % case.update_every, case.update_every)
    for start in range(0, case.steps, most):
        yield start, min(most, case.steps - start)


def stretch(case: Case, start: int, steps: int) -> Case:
    """`steps` steps of the case from `start` on, with the parameters and the state that the case holds."""
    entries = {name: getattr(case, name) for name in PER_STEP}
    turned = {
        name: (value[start % len(value) :] + value[: start % len(value)])[:steps]
        for name, value in entries.items()
        if value
    }
    return replace(case, steps=steps, **turned)


def condensed(rows: Iterable[Row]) -> list[Row]:
    """One row for all steps of a quantity: its first discrepancy, or the step of its largest z."""
    kept: dict[tuple[str, str, str], Row] = {}
    for row in rows:
        key = (row.layer, row.quantity, row.mode)
        if key not in kept or _weight(row) > _weight(kept[key]):
            kept[key] = row
    return list(kept.values())


def _weight(row: Row) -> tuple[bool, float]:
    bad = row.verdict in DISCREPANCIES
    return bad, -row.step if bad else -1.0 if math.isnan(row.z_max) else row.z_max
