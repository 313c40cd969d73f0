"""Trace + reference -> rows: every quantity judged locally, on the subject's own inputs, and end to end."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from oracle.case.case import Case, CaseError
from oracle.case.names import is_buffer
from oracle.execution.network import layer_types
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
from oracle.judging.wiring import completed
from oracle.trace import Key, Subject, Trace
from oracle.wording.errors import in_a_line


def judge(case: Case, trace: Trace, reference: Subject, profile: Profile | None = None) -> list[Row]:
    """Rows for every quantity of every step, in the order in which backpropagation computes them.

    Args:
        case: as it was given to the subject, in its dtype.
        reference: gives the expected values, in float64.
        profile: what the subject declares about itself.
    Raises: ReferenceFailed.
    """
    profile = profile or Profile()
    types, shown = layer_types(case), trace
    trace = completed(case, trace)
    rows: list[Row] = []
    for step in range(case.steps):
        bench = Bench(trace, reference, profile, types, Row(case.name, case.dtype, step, "", "", "", LOCAL, PASS))
        if _has_ended(case, shown, profile, step):
            rows.append(
                _unjudged_step(bench, "a subject that declares nothing that steps hand on shows the first alone")
            )
        else:
            rows += _of_step(case, shown, bench)
    return rows


def _of_step(case: Case, shown: Trace, bench: Bench) -> list[Row]:
    """Its rows in both modes; one more where it was not judged end to end, or not at all, and nothing else is wrong in it."""
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
        why = "the trace does not show what it began with, and before it dropout drew masks of its own"
    else:
        try:
            found = _whole(part, through, compared)
        except CaseError as error:  # what does not fit together is the layers' fault, and judged there
            why = str(error)
        except ReferenceFailed as error:
            if not runs(case, reference):
                raise
            why = str(error)
        else:
            whole, order = found.rows() + list(judge_branches(found.branches, through)), found.predicted
            if not is_torn(case, trace, step):
                whole = _excused(whole, local)
    place = {(key.layer, key.quantity): index for index, key in enumerate(order)}
    rows = sorted(local + whole, key=lambda row: place.get((row.layer, row.quantity), len(place)))
    rows = [row for row in rows if _is_told(row, shown)]
    if all(row.quantity == "branches" for row in rows):
        why = why or "the profile leaves out all that there is in it"
    if why and not any(row.verdict in DISCREPANCIES for row in rows):
        rows.append(_unjudged_step(bench, why))
    return rows


def _has_ended(case: Case, shown: Trace, profile: Profile, step: int) -> bool:
    """Whether a subject has ended before this step that declares nothing of what a step hands on to the next: no parameter after
    an update, or, where nothing is updated, no buffer."""
    names = {name.rpartition(".")[2] for name in case.params}
    buffers = {name for name in names if is_buffer(name) and case.training}
    moved = {f"buffer.{name}" for name in buffers} if case.optimizer is None else {f"param.{name}" for name in names}
    declares = any(map(profile.shows, moved))
    return case.since_update(step) > 0 and bool(moved) and not declares and not shown.of_step(step)


def _unjudged_step(bench: Bench, why: str) -> Row:
    return replace(bench.blank, mode=END_TO_END, verdict=UNDECIDED, diagnosis=f"not judged end to end: {why}")


def _is_told(row: Row, shown: Trace) -> bool:
    """Whether a row says something about what the subject itself has shown, or not shown: what its neighbours tell of a quantity
    is judged as theirs."""
    is_shown = shown.get(row.step, row.layer, row.quantity) is not None
    return is_shown or row.quantity == "branches" or row.verdict in DISCREPANCIES


def runs(case: Case, reference: Subject) -> bool:
    """Whether the reference can run a case at all: what it then refuses are the subject's own values."""
    try:
        reference.run(case.astype("float64"))
    except Exception:  # whatever it raises
        return False
    return True


def _excused(whole: list[Row], local: Sequence[Row]) -> list[Row]:
    """Where every layer was judged and is right on its own inputs, and these are what its neighbours handed over to the bit,
    an excess end to end is rounding that the statistical model takes for independent: `loose`."""
    judged = {(row.layer, row.quantity) for row in local}

    def is_choice(row: Row) -> bool:
        return row.quantity in (*BRANCHES, "branches")

    if all(map(is_right, local)) and all(is_choice(row) or (row.layer, row.quantity) in judged for row in whole):
        return [row if is_choice(row) else as_loose(row) for row in whole]
    return whole


def as_loose(row: Row) -> Row:
    """The row of a quantity of which all that it was computed from is right: an excess is rounding that has one cause."""
    if row.verdict not in DISCREPANCIES or not row.n_outside or not np.isfinite(row.max_abs):
        return row
    return row.found(LOOSE, "right in every layer on its own: errors of one cause add up on the way")


def is_right(row: Row) -> bool:
    return row.verdict in (PASS, CONVENTION, LOOSE) or (row.verdict == UNDECIDED and row.decided == 1)


def unjudged(case: Case, verdict: str, reason: str) -> Row:
    """The single row of a case that gave no trace."""
    return Row(case.name, case.dtype, 0, "", "", "", LOCAL, verdict, reason)


def crashed(case: Case, error: BaseException) -> Row:
    """The row of what was raised; with its layer and what was being computed, where the error knows its `place`."""
    row = unjudged(case, CRASHED, in_a_line(error))
    if "read-only" in str(error):
        row = replace(row, cause_name="in place", cause="it writes into the array that it was given")
    place = getattr(error, "place", None) or getattr(error.__cause__, "place", None)
    if place is None:
        return row
    layer, quantity = place
    return replace(row, layer=layer, quantity=quantity, layer_type=layer_types(case).get(layer, ""))


def judge_part(part: Part, bench: Bench) -> list[Row]:
    """Rows for every quantity of a part; a misfit where what it was given does not fit together. Raises: ReferenceFailed."""
    compared = _compared(part, bench)
    return compared.rows() if isinstance(compared, Comparison) else compared


def _compared(part: Part, bench: Bench) -> Comparison | list[Row]:
    try:
        return Comparison(part, bench)
    except CaseError as error:
        # Gradients that do not fit their parameters are the layers' fault, and judged there.
        return [] if part.case.grads else _without_upstream(part, bench, _misfit(part, bench, error))


def _without_upstream(part: Part, bench: Bench, misfit: Row) -> list[Row]:
    """The rows of a forward pass whose upstream gradient does not fit: it cannot, where the output has another form."""
    if not part.case.grad_outputs or bench.end_to_end:
        return [misfit]
    try:
        rows = Comparison(replace(part, case=replace(part.case, grad_outputs=())), bench).rows()
    except (CaseError, ReferenceFailed):
        return [misfit]
    return rows if any(row.verdict in DISCREPANCIES for row in rows) else [*rows, misfit]


def _compared_in(case: Case, part: Part, bench: Bench, reference: Subject) -> Comparison | list[Row]:
    """The same for a part of a case that the reference can run: what it then refuses does not fit together either."""
    try:
        return _compared(part, bench)
    except ReferenceFailed as error:
        if not runs(case, reference):
            raise
        return [] if part.case.grads else _without_upstream(part, bench, _misfit(part, bench, error))


def _whole(part: Part, bench: Bench, compared: Sequence[Comparison | list[Row]]) -> Comparison:
    """The step's comparison; of a network of one layer that was given what the case gives, that of its layer."""
    for own in compared:
        if isinstance(own, Comparison) and own.is_all_of(part.case):
            return own.as_whole(part, bench)
    return Comparison(part, bench)


def _misfit(part: Part, bench: Bench, error: Exception) -> Row:
    """The row of a layer whose own input, parameters and upstream gradient do not fit together."""
    layer = next(iter(part.names.values()))
    row = bench.row(layer, "grad_output" if "grad_output" in str(error) else "input")
    return row.found(WRONG, f"what the trace shows cannot be: {error}")
