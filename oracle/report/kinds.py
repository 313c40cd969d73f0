"""Culprits by kind: those with the same layer type, quantity, verdict and cause count as one fault."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from oracle.blame.blame import Blame
from oracle.blame.details import RowKey, place_of
from oracle.judging.rows import DISCREPANCIES, Row
from oracle.wording.figures import counted

OTHER_DTYPE, OTHER_NAME = "dtype", "name"
COLUMNS = ("layer_type", "quantity", "verdict", "cause_name", "count", "cases", "dtypes", "example", "reproduce")


@dataclass(frozen=True)
class Kind:
    """One fault.

    Attributes:
        culprits: all discrepancies that show it, most upstream first.
        example: the discrepancy in the smallest case.
    """

    culprits: tuple[Blame, ...]
    example: Blame

    @property
    def others(self) -> list[Blame]:
        return [culprit for culprit in self.culprits if culprit is not self.example]

    def remark(self, most: int = 3) -> str:
        """A line about the other discrepancies of this kind, of which there is at least one."""
        shown = [f"{own.case}/{own.layer}" if own.layer else own.case for own in self.others]
        places = list(dict.fromkeys(shown))
        more = f" and {counted(len(places) - most, 'more place')}" if len(places) > most else ""
        return f"{len(self.others):,} more of this kind ({', '.join(self.dtypes)}): {', '.join(places[:most])}{more}"

    @property
    def dtypes(self) -> list[str]:
        return sorted({culprit.dtype for culprit in self.culprits}, reverse=True)

    @property
    def cases(self) -> list[str]:
        return list(dict.fromkeys(culprit.case for culprit in self.culprits))


def fault(culprit: Blame) -> tuple[str, ...]:
    """The key by which culprits are grouped.

    Arrays of a wrong dtype are one fault, whichever layers return them; so are those by names that the case does not have.
    """
    if culprit.cause_name == OTHER_NAME:
        return culprit.verdict, culprit.cause_name
    if culprit.cause_name == OTHER_DTYPE:
        return culprit.verdict, culprit.cause_name, culprit.diagnosis
    return culprit.layer_type, culprit.quantity, culprit.verdict, culprit.cause_name


def kinds(blames: Iterable[Blame], sizes: Mapping[str, int]) -> list[Kind]:
    """The kinds, in the order of their first culprits.

    sizes: the size of each case; of equally small ones the first is the example.
    """
    found: dict[tuple[str, ...], list[Blame]] = {}
    for culprit in blames:
        found.setdefault(fault(culprit), []).append(culprit)
    return [Kind(tuple(own), min(own, key=lambda culprit: sizes.get(culprit.case, 0))) for own in found.values()]


def sizes_of(table: pd.DataFrame) -> dict[str, int]:
    """The number of elements that were judged, by case."""
    return {str(case): int(count) for case, count in table.groupby("case", sort=False)["n"].sum().items()}


def kind_table(found: Sequence[Kind]) -> pd.DataFrame:
    """A row for each kind, as `Report.kinds` shows it."""
    records = [
        (
            kind.example.layer_type,
            kind.example.quantity,
            kind.example.verdict,
            kind.example.cause_name,
            len(kind.culprits),
            len(kind.cases),
            ", ".join(kind.dtypes),
            f"{kind.example.case}/{kind.example.layer}" if kind.example.layer else kind.example.case,
            kind.example.reproduce,
        )
        for kind in found
    ]
    return pd.DataFrame(records, columns=list(COLUMNS))


def examples(rows: Iterable[Row]) -> set[RowKey]:
    """The place of the smallest wrong row of each kind, before culprits are known; its arrays are kept with priority."""
    smallest: dict[tuple[str, ...], Row] = {}
    for row in rows:
        if row.verdict in DISCREPANCIES:
            key = (row.layer_type, row.quantity, row.verdict, row.cause_name)
            if key not in smallest or row.n < smallest[key].n:
                smallest[key] = row
    return {place_of(row) for row in smallest.values()}
