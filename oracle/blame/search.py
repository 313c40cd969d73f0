"""Collects the arrays of a case's discrepancies, to keep them, and to search for their causes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

import numpy as np

from oracle.blame.agreement import NUMBERED, in_words_of
from oracle.blame.causes import Cause, Evidence, causes_of, in_words
from oracle.blame.details import Detail, RowKey, detail, place_of
from oracle.case.arrays import Array
from oracle.case.case import Case, CaseError
from oracle.execution.network import layer_types
from oracle.judging.comparison import Bench, Comparison, ReferenceFailed
from oracle.judging.figures import Expected
from oracle.judging.handovers import expected_connection
from oracle.judging.misshapen import looks_like
from oracle.judging.parts import Part, local_parts, step_part
from oracle.judging.profile import Profile
from oracle.judging.rows import DISCREPANCIES, END_TO_END, IMPRECISE, LOCAL, MISSING, PASS, WRONG, Row
from oracle.judging.wiring import connections
from oracle.running_error import LAMBDA, ErrorArray, ErrorModel
from oracle.trace import Key, Subject, Trace

SHAPES = re.compile(r"shape \(([\d, ]*)\), expected \(([\d, ]*)\)$")
MOST_PER_CASE = 20
MOST_LATER = 2  # how many later steps a cause has to fit too


Evidenced: TypeAlias = tuple[Row, Evidence, Array]
EvidenceOf: TypeAlias = Callable[[Sequence[Row]], Iterable[Evidenced]]


def explained(rows: Iterable[Row], evidence_of: EvidenceOf) -> tuple[list[Row], list[Detail]]:
    """The rows, those of culprits with likely causes, and the arrays of at most MOST_PER_CASE discrepancies, culprits before
    those that are wrong end to end only. Rows without element-wise figures (a wrong shape, a crash) have no arrays.

    Args: evidence_of gives the evidence about some rows, as far as there is any.
    """
    rows = [with_plain_cause(row) for row in rows]
    wanted = [row for row in rows if row.verdict in DISCREPANCIES and row.n_outside and row.mode in (LOCAL, END_TO_END)]
    first = {(row.layer, row.quantity, row.mode): row for row in reversed(wanted)}  # its later steps repeat it
    wanted = [row for row in wanted if first[row.layer, row.quantity, row.mode] is row]
    wanted = sorted(wanted, key=lambda row: row.mode != LOCAL)[:MOST_PER_CASE]
    details: dict[RowKey, Detail] = {}
    found: dict[RowKey, list[Cause]] = {}
    said: dict[RowKey, tuple[str, str]] = {}
    for row, evidence, got in evidence_of(wanted) if wanted else ():
        expected, place = evidence.expected, place_of(row)
        tolerance = LAMBDA * np.where(np.isnan(expected.sigma), np.inf, expected.sigma)
        details[place] = detail(row, got, expected.value.astype(np.float64), tolerance)
        if row.mode == LOCAL:
            found[place] = causes_of(evidence)
            if not found[place]:
                said[place] = described(row, evidence)
    for row in wanted:
        if found.get(place_of(row)):
            causes = _in_common(row, found, rows, wanted, evidence_of)
            details[place_of(row)] = replace(details[place_of(row)], causes=tuple(causes))
            words = in_words_of(causes)
            if not causes:
                only = found[place_of(row)][0].words
                words = f"no known one: {only}, but not in the steps after it"
            said[place_of(row)] = causes[0].name if causes else "", words
    chosen, places = {id(row) for row in wanted}, [place_of(row) for row in wanted]

    def with_cause(row: Row) -> Row:
        if row.cause or id(row) not in chosen or place_of(row) not in said:
            return row
        name, words = said[place_of(row)]
        if row.verdict == IMPRECISE and name not in ("", "precision"):  # an explained cause outranks a likeness
            row = row.found(WRONG)
        return replace(row, cause_name=name or row.cause_name, cause=words)

    return [with_cause(row) for row in rows], [details[place] for place in places if place in details]


def with_plain_cause(row: Row) -> Row:
    """The row, with its cause if that shows without looking at numbers."""
    if row.verdict not in DISCREPANCIES or row.n_outside or row.cause:
        return row
    plain = {
        MISSING: (
            "missing",
            "it is not delivered; a subject that cannot show it leaves it out of its profile's quantities",
        ),
        "shape": ("shape", _of_shapes(row.diagnosis)),
        "dtype": ("dtype", "an array of another precision"),
        "extra:": ("name", "a name that the case does not have"),
        "mask": ("mask", row.diagnosis),
        "step": ("count", f"another count of steps: {row.diagnosis}"),
    }
    kinds = (row.verdict, row.diagnosis.partition(" ")[0], row.quantity.partition(".")[0])
    key = next((own for own in kinds if own in plain), None)
    if key is None:
        return row
    name, words = plain[key]
    return replace(row, cause_name=name, cause=words)


def _of_shapes(diagnosis: str) -> str:
    """The likely reason for a shape that another program delivered, from the text that says so."""
    found = SHAPES.match(diagnosis)
    if found is None:
        return "an array of another shape"
    got, due = (tuple(map(int, re.findall(r"\d+", text))) for text in found.groups())
    return looks_like(got, due)


def described(row: Row, evidence: Evidence) -> tuple[str, str]:
    """The pattern of a culprit's error that no hypothesis explains: a name, if it has one, and a text."""
    if row.verdict == IMPRECISE:
        return "precision", row.diagnosis
    if not np.isfinite(evidence.got).all() and np.isfinite(evidence.expected.value).all():
        return "not finite", "values that are not finite: never written, or overflowed"
    own = "refbp's own code comes to the same; " if evidence.is_refbps_own() else ""
    return "", f"no known one: {own}{in_words(evidence)}"


def _in_common(
    row: Row, found: Mapping[RowKey, list[Cause]], rows: Sequence[Row], wanted: Sequence[Row], evidence_of: EvidenceOf
) -> list[Cause]:
    """The causes of a row that also explain the same place in later steps, if it is wrong there; there may be none.

    Causes that explain more come first: what else is wrong with the same parameter, and the same quantity of other parameters.
    """
    causes = found[place_of(row)]
    later = [own for own in rows if own.step > row.step and _same_place(own, row) and own.n_outside][:MOST_LATER]
    for _, evidence, _ in evidence_of(later) if later else ():
        said = [_what(cause) for cause in causes_of(evidence)]
        causes = [cause for cause in causes if _what(cause) in said]
    others = [own for own in wanted if own is not row and place_of(own) in found]
    near = [own for own in others if _same_parameter(own, row) or _same_update(own, row)]
    words = [{other.words for other in found[place_of(own)]} for own in near]
    names = [{other.name for other in found[place_of(own)]} for own in near if _same_parameter(own, row)]

    def rank(cause: Cause) -> tuple[bool, int, int]:
        """The rank of a cause. "Another order" comes last: it fits any mistake that moves numbers, so it explains least."""
        return (
            cause.name == "order",
            -sum(cause.words in own for own in words),
            -sum(cause.name in own for own in names),
        )

    return sorted(causes, key=rank)


def _what(cause: Cause) -> str:
    """The name of a cause, with the number if one was fitted."""
    return cause.words if cause.name in NUMBERED else cause.name


def _same_parameter(one: Row, other: Row) -> bool:
    name = one.quantity.partition(".")[2]
    return bool(name) and one.layer == other.layer and one.mode == LOCAL and name == other.quantity.partition(".")[2]


def _same_update(one: Row, other: Row) -> bool:
    """Whether two rows show the same quantity of two parameters of the same update."""
    kind, _, name = one.quantity.partition(".")
    return bool(name) and kind not in ("grad", "buffer") and one.mode == LOCAL and other.quantity.startswith(f"{kind}.")


def _same_place(one: Row, other: Row) -> bool:
    return (one.layer, one.quantity, one.mode) == (other.layer, other.quantity, other.mode)


def evidences(
    case: Case, trace: Trace, reference: Subject, rows: Sequence[Row], profile: Profile
) -> Iterator[Evidenced]:
    """The evidence about each row, and the subject's value in its own dtype."""
    types = layer_types(case)
    for step, mode in dict.fromkeys((row.step, row.mode) for row in rows):
        own = [row for row in rows if (row.step, row.mode) == (step, mode)]
        blank = Row(case.name, case.dtype, step, "", "", "", mode, PASS)
        bench = Bench(trace, reference, profile, types, blank)
        for part in _parts(case, trace, step, mode):
            if {row.layer for row in own} & set(part.names.values()):
                yield from of_part(part, bench, own)
        if mode == LOCAL:
            yield from _of_wiring(case, bench, own)


def _parts(case: Case, trace: Trace, step: int, mode: str) -> Sequence[Part]:
    if mode == LOCAL:
        return list(local_parts(case, trace, step))
    whole = step_part(case, trace, step)
    return [] if whole is None else [whole]


def of_part(part: Part, bench: Bench, rows: Sequence[Row]) -> Iterator[Evidenced]:
    """The evidence about those rows that belong to the part."""
    try:
        compared = Comparison(part, bench)
    except (CaseError, ReferenceFailed):  # the trace contradicts itself: the row says so, and there are no arrays
        return
    inside = {name: key for key, name in part.names.items()}
    values_of = {key: own.value for key, own in compared.predicted.items() if isinstance(own, ErrorArray)}
    for row in rows:
        if row.mode == LOCAL and row.quantity in ("input", "grad_output"):
            continue  # it is given here, and belongs to the wiring
        key = Key(compared.step, inside.get(row.layer, ""), row.quantity)
        prediction, got = compared.predicted.get(key), bench.trace.get(row.step, row.layer, row.quantity)
        if got is None or not isinstance(prediction, ErrorArray) or prediction.shape != got.shape:
            continue
        previous = bench.trace.get(row.step - 1, row.layer, row.quantity)
        values, expected = got.astype(np.float64), compared.expected_of_accused(key)
        siblings = {own.quantity: value for own, value in values_of.items() if own[:2] == key[:2] and own != key}
        moved = _updated(part.case, bench, row.layer, key.layer)
        yield row, Evidence(compared.case, key, values, expected, compared.model, previous, siblings, (), moved), got


def _updated(case: Case, bench: Bench, layer: str, inside: str) -> dict[str, Array]:
    """The layer's parameters after the step, by their names in its part, as far as the trace shows them in the right shape."""
    found: dict[str, Array] = {}
    for name, value in case.params.items():
        owner, _, short = name.rpartition(".")
        shown = bench.trace.get(bench.blank.step, layer, f"param.{short}") if owner == inside else None
        if case.layers and shown is not None and shown.shape == value.shape:
            found[name] = shown
    return found


def evidence_of_numbers(
    case: str, row: Row, got: Array, expected: Expected, input: Array | None, upstream: Array | None
) -> Evidence:
    """The evidence about a quantity that cannot be computed again: only its input and upstream gradient are known."""
    inputs, grads = () if input is None else (input,), () if upstream is None else (upstream,)
    nothing = Case(f"{case}/operations", dtype=row.dtype, inputs=inputs, grad_outputs=grads)
    values = got.astype(np.float64)
    return Evidence(nothing, Key(row.step, row.layer, row.quantity), values, expected, ErrorModel(np.dtype(row.dtype)))


def _of_wiring(case: Case, bench: Bench, rows: Sequence[Row]) -> Iterator[Evidenced]:
    """The evidence about results of containers and arrays that were passed on, for which there is no layer to run again."""
    places = {(row.layer, row.quantity): row for row in rows}
    model = ErrorModel(np.dtype(case.dtype))
    nothing = Case(f"{case.name}/wiring", dtype=case.dtype)
    for layer, quantity, computed, sources, _ in connections(case, bench.trace, bench.blank.step):
        row, got = places.get((layer, quantity)), bench.trace.get(bench.blank.step, layer, quantity)
        if row is None or got is None:
            continue
        expected: Expected = expected_connection(computed, case.dtype)
        if expected.value.shape == got.shape:
            key = Key(0, layer, quantity)
            previous = bench.trace.get(row.step - 1, layer, quantity)
            values = got.astype(np.float64)
            yield row, Evidence(nothing, key, values, expected, model, previous, sources=sources), got
