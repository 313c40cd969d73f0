"""What was delivered from outside and cannot be used, as rows: `wrong`, and not just `missing`."""

from __future__ import annotations

from collections.abc import Iterable

from oracle.case.case import Case
from oracle.execution.network import layer_types
from oracle.execution.quantities import wanted
from oracle.judging.verdict import LOCAL, MISSING, WRONG, Row
from oracle.trace import Trace

# What a trace may hold beside what is judged.
GIVEN = ("input", "mask", "grad_output")
MOST_NAMED = 4


def with_faults(case: Case, rows: Iterable[Row], trace: Trace) -> list[Row]:
    """The rows, those of the trace's faults with the reason, and one more for each fault that has none.

    What is missing says which names the trace has that the case has not: one of them may be misspelt.
    """
    named, types = list(rows), layer_types(case)
    missing = [row for row in named if row.verdict == MISSING]
    known = wanted(case) if missing else {}
    strange = [key for key in trace if missing and key not in known and key.quantity not in GIVEN]
    if strange:
        names = ", ".join(f"{key.layer} {key.quantity} at step {key.step}" for key in strange[:MOST_NAMED])
        for row in missing:
            row.diagnosis += f"; it shows what the case has not: {names}{' …' if strange[MOST_NAMED:] else ''}"
    for key, reason in trace.faults.items():
        own = [row for row in missing if (row.step, row.layer, row.quantity) == key]
        for row in own:
            row.verdict, row.diagnosis = WRONG, reason
        if not own:
            layer_type = types.get(key.layer, "")
            named.append(
                Row(case.name, case.dtype, key.step, key.layer, layer_type, key.quantity, LOCAL, WRONG, reason)
            )
    return named
