"""Fills in Details: goes back to a case, its trace and the reference for the arrays behind its discrepancies."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from oracle.case import Case, CaseError
from oracle.decompose import Part, local_parts, step_part
from oracle.details import Detail, detail, place_of
from oracle.judge import END_TO_END, LOCAL, Bench, Comparison
from oracle.network import layer_types
from oracle.profile import Profile
from oracle.running_error import LAMBDA, ErrorArray
from oracle.trace import Key, Subject, Trace
from oracle.verdict import DISCREPANCIES, PASS, Row
from oracle.wiring import completed

MOST_PER_CASE = 20


def kept(
    case: Case, trace: Trace, reference: Subject, rows: Iterable[Row], profile: Profile | None = None
) -> list[Detail]:
    """The arrays behind a case's discrepancies: culprits before what is wrong end to end only, at most MOST_PER_CASE.

    Args:
        case, trace, reference, profile: what the rows were judged from.
        rows: the case's rows; those without element-wise figures (a wrong shape, a crash) have no arrays to keep.
    """
    wanted = [row for row in rows if row.verdict in DISCREPANCIES and row.n_outside and row.mode in (LOCAL, END_TO_END)]
    first = {(row.layer, row.quantity, row.mode): row for row in reversed(wanted)}  # its later steps repeat it
    wanted = [row for row in wanted if first[row.layer, row.quantity, row.mode] is row]
    wanted = sorted(wanted, key=lambda row: row.mode != LOCAL)[:MOST_PER_CASE]
    if not wanted:
        return []
    details: list[Detail] = []
    trace, types = completed(case, trace), layer_types(case)
    for step, mode in dict.fromkeys((row.step, row.mode) for row in wanted):
        own = [row for row in wanted if (row.step, row.mode) == (step, mode)]
        names = {row.layer for row in own}
        blank = Row(case.name, case.dtype, step, "", "", "", mode, PASS)
        bench = Bench(trace, reference, profile or Profile(), types, blank)
        for part in _parts(case, trace, step, mode):
            if names & set(part.names.values()):
                details += _of_part(part, bench, own)
    order = {place_of(row): index for index, row in enumerate(wanted)}
    unique = {detail.place: detail for detail in reversed(details)}
    return sorted(unique.values(), key=lambda detail: order[detail.place])


def _parts(case: Case, trace: Trace, step: int, mode: str) -> Sequence[Part]:
    if mode == LOCAL:
        return list(local_parts(case, trace, step))
    whole = step_part(case, trace, step)
    return [] if whole is None else [whole]


def _of_part(part: Part, bench: Bench, rows: Sequence[Row]) -> list[Detail]:
    try:
        compared = Comparison(part, bench)
    except CaseError:  # what the trace shows does not fit together: the row says so, there is nothing to draw
        return []
    inside = {name: key for key, name in part.names.items()}
    details = []
    for row in rows:
        key = Key(0, inside.get(row.layer, ""), row.quantity)
        prediction, got = compared.predicted.get(key), bench.trace.get(row.step, row.layer, row.quantity)
        if got is None or not isinstance(prediction, ErrorArray) or prediction.shape != got.shape:
            continue
        expected = compared.expected(key)
        tolerance = LAMBDA * np.where(np.isnan(expected.sigma), np.inf, expected.sigma)
        details.append(detail(row, got, expected.value.astype(np.float64), tolerance))
    return details
