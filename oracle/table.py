"""Rows as pandas tables: one row per quantity, per case, per family."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

import pandas as pd

from oracle.diagnose import Blame
from oracle.verdict import CONVENTION, DISCREPANCIES, LOOSE, PASS, UNDECIDED, UNSUPPORTED, VERDICTS, Row

COLUMNS = [field.name for field in fields(Row)]
CASE_COLUMNS = [
    "case",
    "dtype",
    "family",
    "verdict",
    "layer",
    "quantity",
    "diagnosis",
    "rows",
    "undecided",
    "z_max",
    "bound_ratio",
    "decided",
    "seconds",
]
# The verdict of a case is the gravest of its rows.
GRAVITY = {
    verdict: rank
    for rank, verdict in enumerate(
        (PASS, UNDECIDED, CONVENTION, LOOSE, UNSUPPORTED, "imprecise", "missing", "wrong", "crashed")
    )
}
assert GRAVITY.keys() == set(VERDICTS)


def row_table(rows: Iterable[Row]) -> pd.DataFrame:
    """The full table; shapes and indices are text, so that every file format holds them."""
    frame = pd.DataFrame([vars(row) for row in rows], columns=COLUMNS)
    for column in ("shape", "worst_index"):
        frame[column] = [" ".join(map(str, value)) for value in frame[column]]
    return frame


def case_table(table: pd.DataFrame, blames: Iterable[Blame], seconds: Mapping[tuple[str, str], float]) -> pd.DataFrame:
    """One row per case and dtype: its verdict, who is blamed, its largest figures."""
    first: dict[tuple[str, str], Blame] = {}
    for blame in blames:
        first.setdefault((blame.case, blame.dtype), blame)
    entries = []
    for (case, dtype), rows in table.groupby(["case", "dtype"], sort=False):
        culprit = first.get((str(case), str(dtype)))
        verdicts = rows["verdict"].value_counts()
        entries.append(
            {
                "case": case,
                "dtype": dtype,
                "family": str(case).partition("/")[0],
                "verdict": max(verdicts.index, key=lambda verdict: GRAVITY[verdict]),
                "layer": culprit.layer if culprit else "",
                "quantity": culprit.quantity if culprit else "",
                "diagnosis": culprit.diagnosis if culprit else "",
                "rows": len(rows),
                "undecided": int(verdicts.get(UNDECIDED, 0)),
                "z_max": rows["z_max"].max(),
                "bound_ratio": rows["bound_ratio"].max(),
                "decided": _decided(rows),
                "seconds": seconds.get((str(case), str(dtype)), float("nan")),
            }
        )
    return pd.DataFrame(entries, columns=CASE_COLUMNS)


def _decided(rows: pd.DataFrame) -> float:
    elements = rows["n"].sum()
    return float((rows["decided"] * rows["n"]).sum() / elements) if elements else 1.0


def family_table(table: pd.DataFrame, cases: pd.DataFrame) -> pd.DataFrame:
    """One row per family: numbers of cases, rows by verdict, worst figures, seconds."""
    families = table["case"].astype(str).str.split("/").str[0]
    entries = []
    for family, own in cases.groupby("family", sort=False):
        rows = table[families == family]
        counts = rows["verdict"].value_counts()
        judged = rows[rows["verdict"] != CONVENTION]  # what differs by convention differs by more than rounding
        entries.append(
            {
                "family": family,
                "cases": own["case"].nunique(),
                "rows": len(rows),
                **{verdict: int(counts.get(verdict, 0)) for verdict in VERDICTS},
                "z_max": judged["z_max"].max(),
                "bound_ratio": judged["bound_ratio"].max(),
                "decided": _decided(rows),
                "seconds": own["seconds"].sum(),
            }
        )
    return pd.DataFrame(entries)


def branch_counts(table: pd.DataFrame) -> tuple[int, int, int]:
    """Of all comparisons end to end: how many there were, how many rounding can flip, how many were adopted."""
    rows = table[table["quantity"] == "branches"]
    return int(rows["n"].sum()), int(rows["n_ambiguous"].sum()), int(rows["n_adopted"].sum())


def step_rows(table: pd.DataFrame, case: str, dtype: str) -> tuple[int, pd.DataFrame]:
    """The first step with a discrepancy, else the first, and its rows. Raises: ValueError without such rows."""
    rows = table[(table["case"] == case) & (table["dtype"] == dtype)]
    if rows.empty:
        raise ValueError(f"the report holds no case {case!r} in {dtype}")
    bad = rows[rows["verdict"].isin(DISCREPANCIES)]
    step = int((rows if bad.empty else bad)["step"].iloc[0])
    return step, rows[rows["step"] == step]


def layer_lines(table: pd.DataFrame, case: str, dtype: str) -> tuple[int, list[dict[str, Any]]]:
    """One step of a case, layer by layer from the loss back to the input; the first step with a discrepancy, else the first.

    Returns: the step, and per layer and quantity the local figures beside the end-to-end z; "at fault" where the local
    judgement found a discrepancy, or where it found none in the whole step, what is wrong first end to end.
    Raises: ValueError without such rows.
    """
    step, rows = step_rows(table, case, dtype)
    bad = rows[rows["verdict"].isin(DISCREPANCIES)]
    local = bad[bad["mode"] == "local"]
    faults = set((bad.head(1) if local.empty else local)[["layer", "quantity"]].itertuples(index=False, name=None))
    forward = {layer: place for place, layer in enumerate(dict.fromkeys(rows["layer"]))}
    lines: list[dict[str, Any]] = []
    for (layer, quantity), both in rows.groupby(["layer", "quantity"], sort=False):
        z = {mode: float(own["z_max"].max()) for mode, own in both.groupby("mode")}
        shown = both[both["mode"] == "local"] if "local" in z else both
        line = {name: shown[name].iloc[0] for name in ("layer_type", "n", "max_abs", "effective_bits")}
        line |= {"layer": layer, "quantity": quantity}
        line |= {"z_local": z.get("local", float("nan")), "z_end_to_end": z.get("end to end", float("nan"))}
        line["at_fault"] = (layer, quantity) in faults
        line["verdict"] = max(both["verdict"], key=lambda verdict: GRAVITY[verdict])
        lines.append(line)
    return step, sorted(lines, key=lambda line: -forward[line["layer"]])


def unsupported_runs(table: pd.DataFrame) -> int:
    """In how many runs of a case nothing was judged, since the subject or the reference has no such thing."""
    lacking = (table["verdict"] == UNSUPPORTED).groupby([table["case"], table["dtype"]]).all()
    return int(lacking.sum())


def outcome(table: pd.DataFrame) -> str:
    """How a run ended, in a word or two: that something conforms takes something that was judged."""
    if has_discrepancy(table):
        return "discrepancies found"
    return "nothing was judged" if (table["verdict"] == UNSUPPORTED).all() else "conforms"


def has_discrepancy(table: pd.DataFrame) -> bool:
    return bool(table["verdict"].isin(DISCREPANCIES).any())
