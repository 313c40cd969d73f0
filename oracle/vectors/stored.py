"""Judges results by the stored values and tolerances alone, by the rule that PROTOCOL.md gives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from oracle.case.arrays import Array
from oracle.case.case import CONTAINERS, Case
from oracle.execution.network import layer_types
from oracle.judging.case_rows import as_loose, is_right
from oracle.judging.profile import Profile
from oracle.judging.rows import CONVENTION, DISCREPANCIES, LOCAL, MISSING, PASS, UNDECIDED, WRONG, Row
from oracle.judging.verdict import compare
from oracle.judging.wiring import completed
from oracle.running_error import LAMBDA, UNIT_ROUNDOFF
from oracle.running_error.model import limits
from oracle.trace import Key, Trace
from oracle.vectors.expected import STORED, ExpectedValue


def stored_rows(case: Case, trace: Trace, expected: Mapping[Key, ExpectedValue], profile: Profile) -> list[Row]:
    """A row for each expected quantity, in order."""
    types, trace = layer_types(case), completed(case, trace)
    empty = bool(case.inputs) and case.inputs[0].size == 0
    rows = []
    for key, own in expected.items():
        layer_type, got = types.get(key.layer, "parameter"), trace.get(*key)
        row = Row(case.name, case.dtype, key.step, key.layer, layer_type, key.quantity, STORED, PASS)
        if got is not None:
            rows.append(judged(row, got, own, structured=case.structured, no_terms=empty))
        elif layer_type not in CONTAINERS and profile.shows(key.quantity) and key not in trace.faults:
            rows.append(row.found(MISSING, "it is not in the results"))
    return rows


def judged(row: Row, got: Array, own: ExpectedValue, *, structured: bool, no_terms: bool) -> Row:
    """The row with its figures and its verdict."""
    if own.expected.dtype.kind == "i":
        same = np.array_equal(got, own.expected)
        return row.found(PASS) if same else row.found(WRONG, f"{got}, expected {own.expected}")
    row = compare(row, got, own.as_expected(), structured=structured, no_terms=no_terms)
    if row.verdict in DISCREPANCIES and row.n_outside:
        with np.errstate(invalid="ignore"):
            error = np.abs(got.astype(np.float64) - own.expected)
        beyond = _outside(got, error, own)
        if own.flipped is not None and np.all(error[beyond] <= own.flipped[beyond]):
            return row.found(UNDECIDED, "within the effect of a branch that rounding can flip")
        if own.low is not None and own.high is not None and _is_convention(row, got, own, beyond):
            return row.found(CONVENTION, "another one-sided derivative at a kink or tie")
    return row


def _outside(got: Array, error: Array, own: ExpectedValue) -> Array:
    """The mask of elements beyond their tolerance; an overflow of an element that may overflow is not among them."""
    alike = (got == own.expected) | (np.isnan(got) & np.isnan(own.expected))
    too_large = np.abs(own.expected) + own.tolerance > float(limits(got.dtype).max)
    overflown = np.isinf(got) & np.isfinite(own.expected) & too_large & (np.sign(got) == np.sign(own.expected))
    return np.asarray(~(error <= own.tolerance) & ~alike & ~overflown)


def _is_convention(row: Row, got: Array, own: ExpectedValue, beyond: Array) -> bool:
    assert own.low is not None and own.high is not None
    actual = got.astype(np.float64)
    reached = (own.low <= actual) & (actual <= own.high)
    if not np.all(reached[beyond]):
        return False
    if "MaxPool" not in row.layer_type or row.quantity != "grad_input":
        return True
    # The winners of a tie share out the gradient that there is.
    excess, size = abs(float(np.sum(actual - own.expected))), float(np.sum(np.abs(own.expected)))
    return excess <= float(np.sqrt(np.sum(np.square(own.tolerance)))) + LAMBDA * UNIT_ROUNDOFF[row.dtype] * size


def excused(stored: Sequence[Row], others: Iterable[Row]) -> list[Row]:
    """The rows; `loose` replaces a discrepancy if every layer is right on the subject's own numbers, in this step and before. The
    excess is then rounding with a common cause, or a rule that the subject declares."""
    local: dict[tuple[int, str, str], bool] = {}
    for row in others:
        if row.mode == LOCAL:
            place = (row.step, row.layer, row.quantity)
            local[place] = local.get(place, True) and is_right(row)
    places = [(row.step, row.layer, row.quantity) for row in stored]
    right = 1 + max((place[0] for place in places), default=-1)
    right = min((place[0] for place in places if not local.get(place, False)), default=right)
    return [as_loose(row) if row.step < right else row for row in stored]
