"""Judges the results of containers, and the arrays that layers pass to each other."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from oracle.case.case import Case
from oracle.judging.comparison import Bench
from oracle.judging.figures import Expected
from oracle.judging.given import same
from oracle.judging.rows import PASS, Row
from oracle.judging.verdict import compare
from oracle.judging.wiring import Computed, connections
from oracle.running_error import ErrorModel
from oracle.trace import Trace


def judge_handovers(case: Case, bench: Bench) -> Iterator[Row]:
    """Rows for the results of containers, and for arrays that one layer passes to another.

    The input of a layer, loss or update gets a row only if it differs from the array that was passed.
    """
    for layer, quantity, computed, sources, copied in connections(case, bench.trace, bench.blank.step):
        got = bench.trace.get(bench.blank.step, layer, quantity)
        is_input = quantity == "input" or quantity.startswith("grad.")
        if got is None or (is_input and copied is not None and same(got, copied)):
            continue
        given = sources if copied is None else (copied,)
        for bounds in (False, True):
            expected, row = expected_connection(computed, case.dtype, bounds), bench.row(layer, quantity)
            row = compare(row, got, expected, structured=case.structured, no_terms=True, given=given)
            if not row.n_outside:
                break
        if not is_input or row.verdict != PASS:
            yield row


def is_torn(case: Case, trace: Trace, step: int) -> bool:
    """Whether the trace does not show where a layer's input comes from. Such an input may be anything."""
    joined = {(wire.layer, wire.quantity) for wire in connections(case, trace, step)}
    given = {place for place in trace.of_step(step) if place[1] in ("input", "grad_output")}
    return not given <= joined


def expected_connection(computed: Computed, dtype: str, bounds: bool = False) -> Expected:
    """The expected value of a connection between layers."""
    result = computed(ErrorModel(np.dtype(dtype), bounds))
    return Expected(
        result.value, result.sigma, result.bound, np.broadcast_to(np.sqrt(result.scale_or_own), result.shape)
    )
