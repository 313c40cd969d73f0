"""Rows -> blame: who is at fault in each case, and what is only a consequence."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

from oracle.figures import exact_share
from oracle.verdict import DISCREPANCIES, Row

LOCAL = "local"


@dataclass(frozen=True)
class Blame:
    """One culprit: a quantity that is wrong although everything it was computed from is given.

    Attributes: case, dtype, step, layer, layer_type, quantity, verdict as in the table; `diagnosis` says in words what was
    seen; `reproduce` is the command that shows it again; `cause` says what it looks like, `cause_name` its kind.
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

    def __str__(self) -> str:
        if not self.layer:
            return f"{self.case} ({self.dtype}) {self.verdict}: {self.diagnosis}"
        place = f"{self.case}/{self.layer} ({self.layer_type})"
        when = f" at step {self.step}" if self.step else ""
        return f"{place} {self.quantity} {self.verdict}{when}, {self.dtype}: {self.diagnosis}"


def describe(row: Row) -> str:
    """What was seen in a row, in a sentence."""
    if not row.n_outside:
        return row.diagnosis
    seen = (
        f"{exact_share(row.n_outside / row.n)} of {row.n:,} elements; worst at {row.worst_index}: "
        f"got {row.got:.9g}, expected {row.expected:.9g} ± {row.tolerance:.2g}"
    )
    return f"{seen}; {row.diagnosis}" if row.diagnosis else seen


def blame(rows: Iterable[Row], subject: str) -> list[Blame]:
    """The culprits of each case and dtype, most upstream first; a step's first wrong quantities, not the steps that follow.

    A quantity that is wrong locally is a culprit. One that is wrong end to end only is blamed where no local row is: then the
    trace does not show enough to say more.
    """
    found: list[Blame] = []
    for (case, dtype), group in groupby(rows, key=lambda row: (row.case, row.dtype)):
        bad = [row for row in group if row.verdict in DISCREPANCIES]
        culprits = [row for row in bad if row.mode == LOCAL] or bad[:1]
        seen: set[tuple[str, str]] = set()
        for row in culprits:
            if (row.layer, row.quantity) in seen:
                continue
            seen.add((row.layer, row.quantity))
            command = f"oracle run --cases {case} --dtype {dtype} --subject {subject}"
            found.append(
                Blame(
                    case,
                    dtype,
                    row.step,
                    row.layer,
                    row.layer_type,
                    row.quantity,
                    row.verdict,
                    describe(row),
                    command,
                    row.cause,
                    row.cause_name,
                )
            )
    return found
