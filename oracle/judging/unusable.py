"""Rows for arrays that were delivered from outside and cannot be used: they are `wrong`, not just `missing`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from oracle.case.case import Case
from oracle.execution.network import layer_types
from oracle.execution.quantities import wanted
from oracle.judging.rows import LOCAL, MISSING, WRONG, Row
from oracle.trace import Key, Trace

# Quantities that a trace may hold and that are not judged.
GIVEN = ("input", "mask", "grad_output")
MOST_NAMED = 4


def with_faults(case: Case, rows: Iterable[Row], trace: Trace) -> list[Row]:
    """The rows, with the reason in those of unusable arrays, and a further row for each unusable array without one, and for each
    array that the case does not have.

    Rows of missing quantities list these unknown names, since one may be a misspelling.
    """
    rows, types = list(rows), layer_types(case)
    missing = {Key(row.step, row.layer, row.quantity) for row in rows if row.verdict == MISSING}
    judged = {Key(row.step, row.layer, row.quantity) for row in rows}
    unseen = [key for key in trace if key not in judged and key.quantity not in GIVEN]
    known = wanted(case) if unseen else {}
    strange = [key for key in unseen if key not in known]
    names = ", ".join(f"{key.layer} {key.quantity} at step {key.step}" for key in strange[:MOST_NAMED])
    beside = (
        f"; it shows names that the case does not have: {names}{' …' if strange[MOST_NAMED:] else ''}"
        if strange
        else ""
    )

    def named(row: Row) -> Row:
        if row.verdict != MISSING:
            return row
        fault = trace.faults.get(Key(row.step, row.layer, row.quantity))
        return replace(row, diagnosis=row.diagnosis + beside) if fault is None else row.found(WRONG, fault)

    extra = {key: f"extra: the case has no quantity {key.step}/{key.layer}/{key.quantity}" for key in strange}
    more = (
        Row(case.name, case.dtype, key.step, key.layer, types.get(key.layer, ""), key.quantity, LOCAL, WRONG, reason)
        for key, reason in (extra | trace.faults).items()
        if key not in missing
    )
    return [*map(named, rows), *more]
