"""Fills in Details: goes back to a case, its trace and the reference for the arrays behind its discrepancies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from oracle.arrays import Array
from oracle.case import Case, CaseError
from oracle.decompose import Part, local_parts, step_part
from oracle.details import Detail, detail, place_of
from oracle.judge import END_TO_END, LOCAL, ROUNDOFF_OF_REFERENCE, _for_reference, predict
from oracle.running_error import LAMBDA, UNIT_ROUNDOFF, ErrorArray, ErrorModel
from oracle.running_error.model import Floats
from oracle.trace import Key, Subject, Trace
from oracle.verdict import DISCREPANCIES, Row

MOST_PER_CASE = 20


def kept(case: Case, trace: Trace, reference: Subject, rows: Iterable[Row]) -> list[Detail]:
    """The arrays behind a case's discrepancies: culprits before what is wrong end to end only, at most MOST_PER_CASE.

    Args:
        case, trace, reference: what the rows were judged from.
        rows: the case's rows; those without element-wise figures (a wrong shape, a crash) have no arrays to keep.
    """
    wanted = [row for row in rows if row.verdict in DISCREPANCIES and row.n_outside and row.mode in (LOCAL, END_TO_END)]
    first = {(row.layer, row.quantity, row.mode): row for row in reversed(wanted)}  # its later steps repeat it
    wanted = [row for row in wanted if first[row.layer, row.quantity, row.mode] is row]
    wanted = sorted(wanted, key=lambda row: row.mode != LOCAL)[:MOST_PER_CASE]
    details: list[Detail] = []
    for step, mode in dict.fromkeys((row.step, row.mode) for row in wanted):
        own = [row for row in wanted if (row.step, row.mode) == (step, mode)]
        names = {row.layer for row in own}
        for part in _parts(case, trace, step, mode):
            if names & set(part.names.values()):
                details += _of_part(part, trace, reference, own)
    order = {place_of(row): index for index, row in enumerate(wanted)}
    unique = {detail.place: detail for detail in reversed(details)}
    return sorted(unique.values(), key=lambda detail: order[detail.place])


def _parts(case: Case, trace: Trace, step: int, mode: str) -> Sequence[Part]:
    if mode == LOCAL:
        return list(local_parts(case, trace, step))
    whole = step_part(case, trace, step)
    return [] if whole is None else [whole]


def _of_part(part: Part, trace: Trace, reference: Subject, rows: Sequence[Row]) -> list[Detail]:
    dtype, step, mode = np.dtype(part.case.dtype), rows[0].step, rows[0].mode
    guides: Mapping[Key, Array] | None = None
    if mode == END_TO_END:
        guides = {
            key._replace(step=0): trace.arrays[key] for key in trace if key.step == step and key.quantity == "input"
        }
    model = ErrorModel(dtype, 2)
    try:
        predicted = predict(part.case, model, guides)
    except CaseError:  # what the trace shows does not fit together: the row says so, there is nothing to draw
        return []
    values = Trace() if model.branches.adopted else reference.run(_for_reference(part.case))
    inside = {name: key for key, name in part.names.items()}
    details = []
    for row in rows:
        key = Key(0, inside.get(row.layer, ""), row.quantity)
        prediction, got = predicted.get(key), trace.get(step, row.layer, row.quantity)
        if got is None or not isinstance(prediction, ErrorArray) or prediction.shape != got.shape:
            continue
        value = values.get(0, key.layer, key.quantity)
        expected = prediction.value if value is None else value.astype(np.float64)
        details.append(detail(row, got, expected, _tolerance(prediction, dtype)))
    return details


def _tolerance(prediction: Any, dtype: np.dtype[Any]) -> Floats:
    ratio = ROUNDOFF_OF_REFERENCE / UNIT_ROUNDOFF[dtype.name]
    sigma = prediction.model.width(prediction.error_or_zero) * np.sqrt(1 + ratio * ratio)
    return np.asarray(LAMBDA * np.where(np.isnan(sigma), np.inf, sigma), dtype=np.float64)
