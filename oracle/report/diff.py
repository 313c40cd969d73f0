"""The differences between two reports: which rows got better or worse, appeared or vanished."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from oracle.blame.details import RowKey
from oracle.judging.rows import FAILURES, GRAVITY, UNSUPPORTED

PLACE = list(RowKey._fields)
WORSE, APPEARED, VANISHED, BETTER = "worse", "appeared", "vanished", "better"


@dataclass(frozen=True)
class Change:
    """Rows of a case that changed in the same way.

    Attributes:
        kind: WORSE, APPEARED, VANISHED or BETTER.
        before, after: their verdicts; "" if there was no such row.
        first: the place of the first of them.
        rows: their number.
        z_before, z_after: the largest z; NaN if there is none.
    """

    kind: str
    case: str
    dtype: str
    before: str
    after: str
    first: str
    rows: int
    z_before: float
    z_after: float

    def __str__(self) -> str:
        turn = f"{self.before} → {self.after}" if self.before and self.after else self.before or self.after
        more = self.rows - 1
        others = f" and {more:,} more row{'s' if more > 1 else ''}" if more else ""
        return f"{self.kind}: {self.case} ({self.dtype}) {turn}: {self.first}{others}"


def changes(before: pd.DataFrame, after: pd.DataFrame) -> list[Change]:
    """Every change between two tables, in the order worse, appeared, vanished, better; then by gravity, then as in the tables."""
    sides = [table[[*PLACE, "verdict", "z_max"]].assign(at=range(len(table))) for table in (before, after)]
    both = sides[0].merge(sides[1], on=PLACE, how="outer", suffixes=("_before", "_after"))
    both = both.sort_values(["at_after", "at_before"])
    both["kind"] = list(map(_kind, both["verdict_before"], both["verdict_after"]))
    changed = both[both["kind"] != ""].fillna({"verdict_before": "", "verdict_after": ""})
    order = {kind: rank for rank, kind in enumerate((WORSE, APPEARED, VANISHED, BETTER))}
    return sorted(_grouped(changed), key=lambda change: (order[change.kind], -GRAVITY.get(change.after, 0)))


def has_common_case(before: pd.DataFrame, after: pd.DataFrame) -> bool:
    """Whether some case in some dtype is in both tables, so that there is something to compare."""
    ran = [set(zip(table["case"], table["dtype"], strict=True)) for table in (before, after)]
    return not ran[0].isdisjoint(ran[1])


def got_worse(found: list[Change]) -> bool:
    """Whether a verdict got worse, a discrepancy or a failure appeared, or a case that was judged is now unsupported."""
    vanished = {(change.case, change.dtype) for change in found if change.kind == VANISHED}
    return any(
        change.kind == WORSE
        or (
            change.kind == APPEARED
            and (change.after in FAILURES or (change.after == UNSUPPORTED and (change.case, change.dtype) in vanished))
        )
        for change in found
    )


def _kind(before: str | float, after: str | float) -> str:
    if not isinstance(before, str):
        return APPEARED
    if not isinstance(after, str):
        return VANISHED
    difference = GRAVITY[after] - GRAVITY[before]
    return WORSE if difference > 0 else BETTER if difference < 0 else ""


def _grouped(changed: pd.DataFrame) -> Iterator[Change]:
    groups = changed.groupby(["kind", "case", "dtype", "verdict_before", "verdict_after"], sort=False)
    for (kind, case, dtype, before, after), rows in groups:
        first = rows.iloc[0]
        where = f"step {first['step']} {first['layer']} {first['quantity']} {first['mode']}"
        yield Change(
            str(kind),
            str(case),
            str(dtype),
            str(before),
            str(after),
            " ".join(where.split()),
            len(rows),
            float(rows["z_max_before"].max()),
            float(rows["z_max_after"].max()),
        )
