"""Rows as pandas tables: one row per quantity, per case, per family."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import fields
from operator import attrgetter
from typing import Any

import numpy as np
import pandas as pd

from oracle.blame.blame import Blame
from oracle.case.case import CONTAINERS
from oracle.judging.rows import (
    CONVENTION,
    DISCREPANCIES,
    END_TO_END,
    FAILED,
    GRAVITY,
    LOCAL,
    UNDECIDED,
    UNJUDGED,
    UNSUPPORTED,
    VERDICTS,
    Row,
)
from oracle.report.case_line import CaseLine
from oracle.report.columns import CASE_COLUMNS, COLUMNS, names
from oracle.running_error.conditioning import MOST_DIGITS
from oracle.wording.figures import counted

# How a run may end.
CONFORMS, DISCREPANCIES_FOUND = "conforms", "discrepancies found"
NOTHING_JUDGED, NOTHING_DECIDED = "nothing was judged", "nothing was decided"
NO_GRADIENT = "no gradient was decided"
NOT_ALL_JUDGED = "not everything was judged"
HARNESS_FAILED = "the harness itself failed"


def row_table(rows: Iterable[Row]) -> pd.DataFrame:
    """The full table; shapes and indices are text, so that every file format can hold them."""
    rows = list(rows)
    found: dict[str, list[Any]] = {name: list(map(attrgetter(name), rows)) for name in names(COLUMNS)}
    for name in (own.name for own in fields(Row) if str(own.type).startswith("tuple")):
        found[name] = [" ".join(map(str, sizes)) for sizes in found[name]]
    return pd.DataFrame(found)


def case_table(rows: Iterable[Row], blames: Iterable[Blame], seconds: Mapping[tuple[str, str], float]) -> pd.DataFrame:
    """One row per case and dtype: its verdict, its culprit or why it was not judged, and its largest figures."""
    first: dict[tuple[str, str], Blame] = {}
    for blame in blames:
        first.setdefault((blame.case, blame.dtype), blame)
    entries = []
    for (case, dtype), own in _grouped(rows).items():
        culprit = first.get((case, dtype))
        gravest = max(own, key=lambda row: GRAVITY[row.verdict])
        why = gravest.diagnosis if gravest.verdict in (UNSUPPORTED, UNJUDGED, FAILED) else ""
        place = gravest.layer if gravest.verdict == UNJUDGED else ""
        entries.append(
            CaseLine(
                case=case,
                dtype=dtype,
                family=case.partition("/")[0],
                verdict=gravest.verdict,
                layer=culprit.layer if culprit else place,
                quantity=culprit.quantity if culprit else "",
                diagnosis=culprit.diagnosis if culprit else why,
                rows=len(own),
                undecided=sum(row.verdict == UNDECIDED for row in own),
                z_max=_largest(row.z_max for row in own),
                bound_ratio=_largest(row.bound_ratio for row in own),
                decided=_decided(np.array([row.decided for row in own]), np.array([row.n for row in own])),
                seconds=seconds.get((case, dtype), math.nan),
            )
        )
    return pd.DataFrame({name: list(map(attrgetter(name), entries)) for name in names(CASE_COLUMNS)})


def _grouped(rows: Iterable[Row]) -> dict[tuple[str, str], list[Row]]:
    """The rows of each case and dtype, in the order of first occurrence."""
    grouped: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        grouped.setdefault((row.case, row.dtype), []).append(row)
    return grouped


def _largest(values: Iterable[float]) -> float:
    """The largest value; NaN only if all are."""
    return float(max((value for value in values if not math.isnan(value)), default=math.nan))


def _decided(shares: Any, counts: Any) -> float:
    """The share of all elements that were decided; NaN if there was none to decide."""
    elements = counts.sum()
    return float((shares * counts).sum() / elements) if elements else float("nan")


def family_table(table: pd.DataFrame, cases: pd.DataFrame) -> pd.DataFrame:
    """One row per family: the number of cases, rows by verdict, worst figures, seconds."""
    families = table["case"].astype(str).str.split("/").str[0]
    entries = []
    for family, own in cases.groupby("family", sort=False):
        rows = table[families == family]
        counts = rows["verdict"].value_counts()
        judged = rows[rows["verdict"] != CONVENTION]  # a difference by convention is larger than rounding
        entries.append(
            {
                "family": family,
                "cases": own["case"].nunique(),
                "rows": len(rows),
                **{verdict: int(counts.get(verdict, 0)) for verdict in VERDICTS},
                "z_max": judged["z_max"].max(),
                "decided": _decided(rows["decided"], rows["n"]),
                "seconds": own["seconds"].sum(),
            }
        )
    return pd.DataFrame(entries)


def branch_counts(table: pd.DataFrame) -> tuple[int, int, int]:
    """Counts of the comparisons end to end: all, those that rounding can flip, those taken from the subject."""
    rows = table[table["quantity"] == "branches"]
    return int(rows["n"].sum()), int(rows["n_ambiguous"].sum()), int(rows["n_adopted"].sum())


def step_rows(table: pd.DataFrame, case: str, dtype: str) -> tuple[int, pd.DataFrame]:
    """The first step with a discrepancy, else the first, and its rows. Raises: ValueError without such rows."""
    rows = table[(table["case"] == case) & (table["dtype"] == dtype)]
    if rows.empty:
        held = list(dict.fromkeys(table.loc[table["dtype"] == dtype, "case"]))
        like = [name for name in held if case in name] or held
        such = f", but {counted(len(held), 'case')}, such as {', '.join(like[:4])}" if held else ""
        raise ValueError(f"the report holds no case {case!r} in {dtype}{such}")
    bad = rows[rows["verdict"].isin(DISCREPANCIES)]
    step = int((rows if bad.empty else bad)["step"].iloc[0])
    return step, rows[rows["step"] == step]


def layer_lines(table: pd.DataFrame, case: str, dtype: str) -> tuple[int, list[dict[str, Any]]]:
    """One step of a case, layer by layer from the loss back to the input: the first step with a discrepancy, else the first.

    Returns: the step, and per layer and quantity the local figures beside the end-to-end z. "at fault" marks discrepancies of
        the local judgement, or, if it found none in the step, the first discrepancy end to end.
    Raises: ValueError without such rows.
    """
    step, rows = step_rows(table, case, dtype)
    bad = rows[rows["verdict"].isin(DISCREPANCIES)]
    local = bad[bad["mode"] == LOCAL]
    faults = set((bad.head(1) if local.empty else local)[["layer", "quantity"]].itertuples(index=False, name=None))
    forward = {layer: place for place, layer in enumerate(dict.fromkeys(rows["layer"]))}
    lines: list[dict[str, Any]] = []
    for (layer, quantity), both in rows.groupby(["layer", "quantity"], sort=False):
        z = {mode: float(own["z_max"].max()) for mode, own in both.groupby("mode")}
        shown = both[both["mode"] == LOCAL] if LOCAL in z else both
        line = {name: shown[name].iloc[0] for name in ("layer_type", "n", "max_abs", "effective_bits")}
        line |= {"layer": layer, "quantity": quantity}
        line |= {"z_local": z.get(LOCAL, float("nan")), "z_end_to_end": z.get(END_TO_END, float("nan"))}
        line["at_fault"] = (layer, quantity) in faults
        line["verdict"] = max(both["verdict"], key=lambda verdict: GRAVITY[verdict])
        lines.append(line)
    return step, sorted(lines, key=lambda line: -forward[line["layer"]])


def digits_lost(table: pd.DataFrame, most: int) -> pd.DataFrame:
    """The places where rounding leaves the fewest digits, and takes a digit or more; of several steps the worst."""
    full = table["dtype"].map(MOST_DIGITS)
    lost = table[table["digits_left"] <= full - 1].sort_values("digits_left", kind="stable")
    places = ["case", "dtype", "layer", "quantity", "mode"]
    first = lost.drop_duplicates(places)[[*places, "digits_left"]].head(most)
    return first.assign(of=first["dtype"].map(MOST_DIGITS)).reset_index(drop=True)


def unsupported_runs(table: pd.DataFrame) -> int:
    """The number of runs in which nothing was judged, because the subject or the reference does not support the case."""
    lacking = (table["verdict"] == UNSUPPORTED).groupby([table["case"], table["dtype"]]).all()
    return int(lacking.sum())


def judged_rows(table: pd.DataFrame) -> int:
    return int((~table["verdict"].isin((UNSUPPORTED, UNJUDGED, FAILED))).sum())


# Quantities of the forward pass, and those that are only handed over. All others are computed from a gradient.
FORWARD = ("output", "input", "mask", "branches", "grad_output", "")


def has_backward(table: pd.DataFrame) -> bool:
    """Whether a gradient, or a result of an update, was decided."""
    columns = (table[name].tolist() for name in ("quantity", "layer_type", "verdict", "n", "decided"))
    return any(
        n > 0
        and decided > 0
        and verdict not in (UNSUPPORTED, UNJUDGED, UNDECIDED, FAILED)
        and kind not in CONTAINERS
        and quantity not in FORWARD
        and not quantity.startswith(("output#", "buffer."))
        for quantity, kind, verdict, n, decided in zip(*columns, strict=True)
    )


def outcome(table: pd.DataFrame) -> str:
    """The outcome of a run in a few words; "conforms" requires at least one gradient that was judged and decided."""
    verdicts = set(table["verdict"].tolist())
    if verdicts & DISCREPANCIES:
        return DISCREPANCIES_FOUND
    if FAILED in verdicts:
        return HARNESS_FAILED
    if verdicts <= {UNSUPPORTED, UNJUDGED}:
        return NOTHING_JUDGED
    if verdicts <= {UNSUPPORTED, UNJUDGED, UNDECIDED}:
        return NOTHING_DECIDED
    return CONFORMS if has_backward(table) else NO_GRADIENT


def failed_runs(failed: pd.DataFrame) -> str:
    """A sentence on the runs in which the harness itself failed, with the first failure."""
    first = failed.iloc[0]
    where = f"{first['case']} ({first['dtype']}): {first['diagnosis']}"
    return f"{HARNESS_FAILED} in {counted(len(failed), 'run')}, please report this: {where}"
