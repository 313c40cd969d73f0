"""Judges a trace: rows for every quantity, both locally (on the subject's own inputs) and end to end."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace

import numpy as np

from oracle.case.case import Case, CaseError
from oracle.case.names import is_buffer
from oracle.execution.network import layer_types
from oracle.judging.blocks import rows_in_blocks
from oracle.judging.comparison import BRANCHES, Bench, Comparison, ReferenceFailed
from oracle.judging.handovers import is_torn, judge_handovers
from oracle.judging.masks import judge_branches, judge_masks
from oracle.judging.parts import Part, local_parts, step_part
from oracle.judging.profile import Profile
from oracle.judging.rows import (
    CONVENTION,
    CRASHED,
    DISCREPANCIES,
    END_TO_END,
    LOCAL,
    LOOSE,
    PASS,
    UNDECIDED,
    WRONG,
    Row,
)
from oracle.judging.shared import added_up
from oracle.judging.verdict import UNDERFLOW
from oracle.judging.wiring import completed
from oracle.trace import Key, Subject, Trace
from oracle.wording.errors import in_a_line


def judge(case: Case, trace: Trace, reference: Subject, profile: Profile | None = None) -> list[Row]:
    """Rows for every quantity of every step, in the order in which backpropagation computes them.

    Args:
        case: the case as the subject received it, in its dtype.
        reference: gives the expected values, in float64.
        profile: the subject's profile.
    Raises: ReferenceFailed.
    """
    profile = profile or Profile()
    types, shown = layer_types(case), trace
    trace = completed(case, trace)
    rows: list[Row] = []
    for step in range(case.steps):
        bench = Bench(trace, reference, profile, types, Row(case.name, case.dtype, step, "", "", "", LOCAL, PASS))
        if _has_ended(case, shown, profile, step):
            why = "it shows the first step only, and its profile declares no state that a step passes to the next"
            rows.append(_unjudged_step(bench, why))
        else:
            rows += _of_step(case, shown, bench)
    return rows


def _of_step(case: Case, shown: Trace, bench: Bench) -> list[Row]:
    """The step's rows in both modes. If it cannot be judged end to end, and nothing is wrong, a further row says why."""
    trace, step, reference = bench.trace, bench.blank.step, bench.reference
    assert reference is not None
    compared = [_compared_in(case, part, bench, reference) for part in local_parts(case, trace, step)]
    local = [row for own in compared for row in (own.rows() if isinstance(own, Comparison) else own)]
    local += judge_handovers(case, bench)
    local += judge_masks(case, bench)
    whole: list[Row] = []
    order: Iterable[Key] = (key for key in trace if key.step == step)
    through = replace(bench, blank=replace(bench.blank, mode=END_TO_END))
    part = step_part(case, trace, step)
    why = ""
    if part is None:
        why = "the trace does not show the state at its beginning, and dropout drew its own masks in earlier steps"
    else:
        try:
            found = _whole(part, through, compared)
        except CaseError as error:  # shapes that do not fit are the layers' fault, and judged there
            why = str(error)
        except ReferenceFailed as error:
            if not runs(case, reference):
                raise
            why = str(error)
        else:
            whole, order = found.rows() + list(judge_branches(found.branches, through)), found.predicted
            if not is_torn(case, trace, step):
                known = [own for own in compared if isinstance(own, Comparison)]
                sums = (
                    added_up(case, row, trace.get(step, row.layer, row.quantity), known)
                    for row in _shared(whole, local)
                )
                whole = excused(whole, [*local, *(row for row in sums if row is not None)])
    place = {(key.layer, key.quantity): index for index, key in enumerate(order)}
    rows = sorted(local + whole, key=lambda row: place.get((row.layer, row.quantity), len(place)))
    rows = [row for row in rows if _is_told(row, shown)]
    if all(row.quantity == "branches" for row in rows):
        why = why or "the profile declares none of its quantities"
    if why and not any(row.verdict in DISCREPANCIES for row in rows):
        rows.append(_unjudged_step(bench, why))
    return rows


def _has_ended(case: Case, shown: Trace, profile: Profile, step: int) -> bool:
    """Whether the subject shows nothing of this step and its profile allows that.

    It does if it declares no state that a step passes to the next: no parameters, or without an optimizer no buffers.
    """
    names = {name.rpartition(".")[2] for name in case.params}
    buffers = {name for name in names if is_buffer(name) and case.training}
    moved = {f"buffer.{name}" for name in buffers} if case.optimizer is None else {f"param.{name}" for name in names}
    declares = any(map(profile.shows, moved))
    return case.since_update(step) > 0 and bool(moved) and not declares and not shown.of_step(step)


def _unjudged_step(bench: Bench, why: str) -> Row:
    return replace(bench.blank, mode=END_TO_END, verdict=UNDECIDED, diagnosis=f"not judged end to end: {why}")


def _is_told(row: Row, shown: Trace) -> bool:
    """Whether a row is about something that the subject itself showed, or failed to show.

    Others are about a quantity that was derived from neighbours, whose own rows judge it.
    """
    is_shown = shown.get(row.step, row.layer, row.quantity) is not None
    return is_shown or row.quantity == "branches" or row.verdict in DISCREPANCIES


def runs(case: Case, reference: Subject) -> bool:
    """Whether the reference can run the case at all. If it can, it refused a part of the case because of the subject's values."""
    try:
        reference.run(case.astype("float64"))
    except Exception:  # a reference may raise anything
        return False
    return True


def _shared(whole: Sequence[Row], local: Sequence[Row]) -> list[Row]:
    """The discrepancies in gradients that are judged end to end alone, if all that is judged locally is right."""
    if not all(map(is_right, local)):
        return []
    judged = {(row.layer, row.quantity) for row in local}
    ours = [row for row in whole if row.quantity.startswith("grad.") and (row.layer, row.quantity) not in judged]
    return [row for row in ours if row.verdict in DISCREPANCIES]


def excused(whole: list[Row], local: Sequence[Row]) -> list[Row]:
    """The end-to-end rows; `loose` replaces a discrepancy if every layer was judged, is right on its own inputs, and received
    exactly its neighbours' results. The excess is then rounding that the statistical model wrongly takes to be independent.

    The gradients and buffers of a layer that stands twice are judged end to end only, and have to be right there. A gradient may
    also be right as the sum of the gradients of its places. If a parameter's gradient or a buffer is undecided, discrepancies of
    the same parameter or buffer are not excused; all others are.
    """
    judged = {(row.layer, row.quantity) for row in local}
    doubtful = {(row.layer, _parameter(row)) for row in local if not is_right(row)}

    def is_choice(row: Row) -> bool:
        return row.quantity in (*BRANCHES, "branches")

    def is_known(row: Row) -> bool:
        return is_choice(row) or (ends_here(row) and is_right(row)) or (row.layer, row.quantity) in judged

    def is_harmless(row: Row) -> bool:
        return is_right(row) or (ends_here(row) and row.verdict == UNDECIDED)

    if all(map(is_harmless, local)) and all(map(is_known, whole)):
        return [row if is_choice(row) or (row.layer, _parameter(row)) in doubtful else as_loose(row) for row in whole]
    return whole


def ends_here(row: Row) -> bool:
    """Whether no other layer computes with the quantity before the update."""
    return row.quantity.startswith(("grad.", "buffer."))


def _parameter(row: Row) -> str:
    """The name of the parameter or buffer that a row is about; "" if it is about neither."""
    return row.quantity.partition(".")[2]


def as_loose(row: Row) -> Row:
    """The row as `loose` instead of a discrepancy. Its quantity is computed from correct ones, so the excess is correlated
    rounding."""
    if row.verdict not in DISCREPANCIES or not row.n_outside or not np.isfinite(row.max_abs):
        return row
    return row.found(LOOSE, "every layer is right on its own inputs: rounding errors with a common cause add up")


def is_right(row: Row) -> bool:
    """Whether nothing in the row can make other layers wrong. Numbers that are lost by underflow cannot."""
    nothing_hides = row.decided == 1 or row.diagnosis.startswith(UNDERFLOW)
    return row.verdict in (PASS, CONVENTION, LOOSE) or (row.verdict == UNDECIDED and nothing_hides)


# The diagnosis of a layer whose input, parameters and upstream gradient do not fit together.
CONTRADICTS = "the trace contradicts itself"
# Causes that the text of an error shows: a pattern of the text, the cause's name, and the cause in words.
RAISED = (
    ("read-only", "in place", "it writes into the array that it was given"),
    ("could not be broadcast|must match the size", "shape", "arrays meet whose shapes do not fit"),
    ("view size is not compatible", "layout", "memory is taken to be in order, whatever its strides"),
)


def unjudged(case: Case, verdict: str, reason: str) -> Row:
    """The single row of a case for which there is no trace."""
    return Row(case.name, case.dtype, 0, "", "", "", LOCAL, verdict, reason)


def crashed(case: Case, error: BaseException) -> Row:
    """The row of an exception; with the layer and quantity that were being computed, if the exception has a `place`."""
    row = unjudged(case, CRASHED, in_a_line(error))
    said = next((cause for pattern, *cause in RAISED if re.search(pattern, str(error))), None)
    if said is None and case.inputs and not all(own.size for own in case.inputs):
        said = ["empty batch", "an empty batch is not provided for"]
    if said is not None:
        row = replace(row, cause_name=said[0], cause=said[1])
    place = getattr(error, "place", None) or getattr(error.__cause__, "place", None)
    if place is None:
        return row
    layer, quantity = place
    return replace(row, layer=layer, quantity=quantity, layer_type=layer_types(case).get(layer, ""))


def judge_part(part: Part, bench: Bench) -> list[Row]:
    """Rows for every quantity of a part; a single row if its inputs do not fit together. Raises: ReferenceFailed."""
    with suppress(CaseError):  # the judgement of the whole part reports it
        if (rows := rows_in_blocks(part, bench)) is not None:
            return rows
    compared = _compared(part, bench)
    return compared.rows() if isinstance(compared, Comparison) else compared


def _compared(part: Part, bench: Bench) -> Comparison | list[Row]:
    try:
        return Comparison(part, bench)
    except CaseError as error:
        # Gradients that do not fit their parameters are the layers' fault, and judged there.
        return [] if part.case.grads else _without_upstream(part, bench, _misfit(part, bench, error))


def _without_upstream(part: Part, bench: Bench, misfit: Row) -> list[Row]:
    """The rows of the forward pass of a part whose upstream gradient does not fit, because the output has a wrong shape."""
    if not part.case.grad_outputs or bench.end_to_end:
        return [misfit]
    try:
        rows = Comparison(replace(part, case=replace(part.case, grad_outputs=())), bench).rows()
    except (CaseError, ReferenceFailed):
        return [misfit]
    return rows if any(row.verdict in DISCREPANCIES for row in rows) else [*rows, misfit]


def _compared_in(case: Case, part: Part, bench: Bench, reference: Subject) -> Comparison | list[Row]:
    """The comparison, or its rows, for a part of a case that the reference can run; a part that it refuses is a misfit."""
    try:
        return _compared(part, bench)
    except ReferenceFailed as error:
        if not runs(case, reference):
            raise
        return [] if part.case.grads else _without_upstream(part, bench, _misfit(part, bench, error))


def _whole(part: Part, bench: Bench, compared: Sequence[Comparison | list[Row]]) -> Comparison:
    """The step's comparison; for a network of one layer with the case's own inputs, the layer's comparison is reused."""
    for own in compared:
        if isinstance(own, Comparison) and own.is_all_of(part.case):
            return own.as_whole(part, bench)
    return Comparison(part, bench)


def _misfit(part: Part, bench: Bench, error: Exception) -> Row:
    """The row of a layer whose input, parameters and upstream gradient do not fit together."""
    layer = next(iter(part.names.values()))
    row = bench.row(layer, "grad_output" if "grad_output" in str(error) else "input")
    return row.found(WRONG, f"{CONTRADICTS}: {error}")
