"""Finds the culprits among the rows of each case, and their consequences."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from oracle.blame.details import Detail, place_of
from oracle.blame.text_map import text_map
from oracle.judging.profile import PLAIN
from oracle.judging.rows import DISCREPANCIES, END_TO_END, LOCAL, PASS, Row
from oracle.wording.figures import exact_share

MOST_FOLLOWS = 4


@dataclass(frozen=True)
class Blame:
    """One culprit: a quantity that is wrong although it was computed from the subject's own, given inputs.

    Attributes:
        case, dtype, step, layer, layer_type, quantity, verdict: as in the table.
        diagnosis: the discrepancy in words.
        reproduce: the command that shows it again.
        cause, cause_name: the likely cause in words, and its name.
        follows: the quantities of the same step that are wrong because of this one, so end to end only.
        map: a drawing in characters of the positions of the error in the tensor, or "".
    """

    case: str
    dtype: str
    step: int
    layer: str
    layer_type: str
    quantity: str
    verdict: str
    diagnosis: str
    reproduce: str = ""
    cause: str = ""
    cause_name: str = ""
    follows: tuple[str, ...] = ()
    map: str = ""

    def __str__(self) -> str:
        if not self.layer:
            return f"{self.case} ({self.dtype}) {self.verdict}: {self.diagnosis}"
        place = f"{self.case}/{self.layer}" + (f" ({self.layer_type})" if self.layer_type else "")
        when = f" at step {self.step}" if self.step else ""
        return f"{place} {self.quantity} {self.verdict}{when}, {self.dtype}: {self.diagnosis}"

    @property
    def remarks(self) -> list[str]:
        """Further lines: the likely cause, the consequences, how to reproduce it."""
        more = f" and {len(self.follows) - MOST_FOLLOWS} more" if len(self.follows) > MOST_FOLLOWS else ""
        said = {
            "likely cause": self.cause,
            "wrong because of it": ", ".join(self.follows[:MOST_FOLLOWS]) + more,
            "reproduce": self.reproduce,
        }
        return [f"{name}: {text}" for name, text in said.items() if text]

    def in_full(self) -> str:
        """Everything, in several lines; all but the first are indented."""
        lines = [*self.map.splitlines(), *self.remarks]
        return "\n".join([str(self), *(f"  {line}" for line in lines)])


def describe(row: Row) -> str:
    """The discrepancy of a row in one sentence."""
    if not row.n_outside:
        return row.diagnosis
    seen = (
        f"{exact_share(row.n_outside / row.n)} of {row.n:,} elements; worst at {row.worst_index}: "
        f"got {row.got:.9g}, expected {row.expected:.9g} ± {row.tolerance:.2g}"
    )
    return f"{seen}; {row.diagnosis}" if row.diagnosis else seen


def blame(rows: Iterable[Row], subject: str, details: Iterable[Detail] = ()) -> list[Blame]:
    """The culprits of each case and dtype, most upstream first: those of the first wrong step, without later steps.

    A quantity that is wrong locally is a culprit. One that is wrong end to end only is a culprit if no local row is wrong, since
    then the trace does not show more.

    subject: its name, the options of the command line that name it, or the whole command or call that repeats the case, with
    placeholders {case} and {dtype}.
    """
    arrays = {detail.place: detail for detail in details}
    found: list[Blame] = []
    for (case, dtype), group in groupby(rows, key=lambda row: (row.case, row.dtype)):
        own = list(group)
        bad = [row for row in own if row.verdict in DISCREPANCIES]
        local = [row for row in bad if row.mode == LOCAL]
        first: dict[tuple[str, str], Row] = {}
        for row in local or bad[:1]:
            first.setdefault((row.layer, row.quantity), row)
        follows = _follows(bad, list(first.values()))
        for row in first.values():
            detail = arrays.get(place_of(row))
            found.append(
                Blame(
                    case,
                    dtype,
                    row.step,
                    row.layer,
                    row.layer_type,
                    row.quantity,
                    row.verdict,
                    describe(row) if row.mode != END_TO_END else f"{describe(row)}; {_evidence(row, own)}",
                    reproduce(subject, case, dtype),
                    row.cause,
                    row.cause_name,
                    tuple(follows[row.layer, row.quantity]),
                    "" if detail is None else text_map(detail),
                )
            )
    return found


def reproduce(subject: str, case: str, dtype: str) -> str:
    """The command or call that repeats a case; `subject` is as in `blame`."""
    if subject.startswith(("oracle ", "oracle.")):
        return subject.replace("{case}", repr(case)).replace("{dtype}", repr(dtype))
    option = subject if subject.startswith("--") else f"--subject {subject}"
    return f"oracle run --cases {shlex.quote(case)} --dtype {dtype} {option}"


def _follows(bad: Sequence[Row], culprits: Sequence[Row]) -> dict[tuple[str, str], list[str]]:
    """For each culprit, its consequences: the wrong quantities after it in the same step. Each belongs to the nearest culprit
    that can cause it."""
    found: dict[tuple[str, str], list[str]] = {(row.layer, row.quantity): [] for row in culprits}
    source: dict[tuple[int, str, str], Row] = {}
    before: list[Row] = []
    for row in bad:
        if any(row is own for own in culprits):
            before.append(row)
            source[row.step, row.layer, row.quantity] = row
        elif (row.layer, row.quantity) not in found:
            gradient = (row.step, row.layer, f"grad.{row.quantity.partition('.')[2]}")
            possible = [own for own in before if own.step == row.step and _reaches(own, row)]
            culprit = source.get(gradient) or next(reversed(possible), None)
            if culprit is not None:
                source[row.step, row.layer, row.quantity] = culprit
                found[culprit.layer, culprit.quantity].append(f"{row.layer} {row.quantity}")
    return found


def _reaches(culprit: Row, row: Row) -> bool:
    """Whether the culprit can have caused the error of a row later in the same step."""
    if culprit.quantity not in PLAIN:  # it belongs to a single parameter
        name, other = (own.quantity.partition(".")[2] for own in (culprit, row))
        return (row.layer, other) == (culprit.layer, name)
    return culprit.quantity != "grad_input" or row.layer != culprit.layer


def _evidence(row: Row, rows: Sequence[Row]) -> str:
    """A sentence on the possible origin of a discrepancy that appears end to end only."""
    before = rows[: rows.index(row)]
    right = [own for own in before if own.step == row.step and own.mode == END_TO_END and own.verdict == PASS]
    right = [own for own in right if own.quantity != "branches"]
    if not right:
        return "seen end to end only; the trace shows nothing before it that is right"
    last = right[-1]
    return f"seen end to end only; {last.layer} {last.quantity}, the last that the trace shows before it, is right"
