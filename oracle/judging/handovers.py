"""Judges what containers computed and what layers handed to each other."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from oracle.case.case import Case
from oracle.judging.comparison import Bench, same
from oracle.judging.figures import Expected
from oracle.judging.rows import PASS, Row
from oracle.judging.verdict import compare
from oracle.judging.wiring import Computed, connections
from oracle.running_error import ErrorModel
from oracle.trace import Trace


def judge_handovers(case: Case, bench: Bench) -> Iterator[Row]:
    """What containers computed and what was handed over; of what is an input of a layer, the loss or an update only where it
    is not that."""
    for layer, quantity, computed, sources, copied in connections(case, bench.trace, bench.blank.step):
        got = bench.trace.get(bench.blank.step, layer, quantity)
        is_input = quantity == "input" or quantity.startswith("grad.")
        if got is None or (is_input and copied is not None and same(got, copied)):
            continue
        expected = expected_connection(computed, case.dtype)
        given = sources if copied is None else (copied,)
        row = bench.row(layer, quantity)
        row = compare(row, got, expected, structured=case.structured, no_terms=True, given=given)
        if not is_input or row.verdict != PASS:
            yield row


def is_torn(case: Case, trace: Trace, step: int) -> bool:
    """Whether a layer was given something of which the trace does not show where it comes from: it may be anything."""
    joined = {(wire.layer, wire.quantity) for wire in connections(case, trace, step)}
    given = {place for place in trace.of_step(step) if place[1] in ("input", "grad_output")}
    return not given <= joined


def expected_connection(computed: Computed, dtype: str) -> Expected:
    """What a connection between layers should carry."""
    result = computed(ErrorModel(np.dtype(dtype), bounds=True))
    return Expected(
        result.value, result.sigma, result.bound, np.broadcast_to(np.sqrt(result.scale_or_own), result.shape)
    )
