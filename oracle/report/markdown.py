"""A report as Markdown: rendering only, every figure comes from the report's tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from oracle.blame.blame import Blame
from oracle.judging.rows import VERDICTS
from oracle.judging.training import TrainingRun
from oracle.report import sentences
from oracle.report.kinds import Kind, kinds, sizes_of
from oracle.report.table import branch_counts, judged_rows
from oracle.wording import counted, exact_share, figure

# Classes whose options that were never tried are named.
MOST_CLASSES = 100


def report(
    about: Mapping[str, Any],
    families: pd.DataFrame,
    rows: pd.DataFrame,
    cases: pd.DataFrame,
    blame: Sequence[Blame],
    runs: Sequence[TrainingRun],
) -> str:
    """What a report shows: the families, who is to blame, what is undecided and why, free training, all cases that stand out."""
    versions = ", ".join(f"{name} {version}" for name, version in about.get("versions", {}).items())
    parts = [
        f"# {literal(about['subject'])} against {literal(about['reference'])}: {sentences.ended(about, rows)}",
        f"{counted(about['cases'], 'case')} in {' and '.join(about['dtypes'])}, "
        f"{counted(judged_rows(rows), 'quantity')} judged.\n"
        f"{versions}; {'; '.join(where(about))}.",
        *([f"Note: {said}."] if (said := sentences.declared(about)) else []),
        *([f"Of what the suite has: {said}."] if (said := sentences.never_tried(about, MOST_CLASSES)) else []),
        *([branches(rows)] if branch_counts(rows)[0] else []),
        "## Families",
        table(families, figures=("z_max", "bound_ratio", "decided")),
    ]
    if blame:
        found = kinds(blame, sizes_of(rows))
        parts += ["## Discrepancies", "\n".join(discrepancy(kind) for kind in found)]
    undecided = rows[rows["verdict"] == "undecided"]
    if len(undecided):
        parts += ["## Undecided", table(reasons(undecided))]
    if runs:
        parts += ["## Free training on digits", training(runs)]
    plain = cases["verdict"] == "pass"
    parts.append(f"## Cases\n\n{int(plain.sum()):,} of {len(plain):,} runs pass in every row. The others:")
    parts.append(table(cases[~plain].drop(columns=["family", "seconds"]), figures=("z_max", "bound_ratio", "decided")))
    return "\n\n".join(parts) + "\n"


def where(about: Mapping[str, Any]) -> list[str]:
    """Interpreter, BLAS and processor, as far as a saved report still says."""
    said = {"python": "Python {}", "blas": "{}", "processor": f"{about.get('processors', '?')} × {{}}"}
    return [words.format(about[name]) for name, words in said.items() if name in about]


def discrepancy(kind: Kind) -> str:
    """A list entry, what there is to say about it below it, and which others are of its kind."""
    culprit = kind.example
    remarks = [*culprit.remarks, *([kind.remark()] if kind.others else [])]
    lines = [f"- {literal(str(culprit))}", *(f"  - {literal(remark)}" for remark in remarks)]
    drawn = ["", "  ```", *(f"  {line}" for line in culprit.map.splitlines()), "  ```", ""] if culprit.map else []
    return "\n".join(lines + drawn)


def branches(rows: pd.DataFrame) -> str:
    """How much of the run hung on kinks and ties."""
    compared, ambiguous, adopted = branch_counts(rows)
    share = exact_share(ambiguous / compared) if compared else "0 %"
    return (
        f"Branches end to end: {compared:,} compared, {ambiguous:,} ({share}) so near a kink or tie that rounding can flip "
        f"them, {adopted:,} decided otherwise by the subject and adopted."
    )


def reasons(undecided: pd.DataFrame) -> pd.DataFrame:
    """Undecided rows by case and reason."""
    grouped = undecided.groupby(["case", "layer", "quantity", "diagnosis"], sort=True).size()
    return grouped.rename("rows").reset_index()


def training(runs: Sequence[TrainingRun]) -> str:
    lines = [
        f"- {run.network}, {run.dtype}, {run.epochs} epochs of SGD: test accuracy {run.subject} {run.accuracy:.1%}, "
        f"{run.reference} {run.reference_accuracy:.1%}; largest gap between parameters "
        + ", ".join(f"{figure(run.gaps[step - 1])} after step {step}" for step in milestones(len(run.gaps)))
        for run in runs
    ]
    return "\n".join(lines)


def milestones(steps: int) -> list[int]:
    """1, 10, 100, … and the last."""
    found = [10**power for power in range(len(str(steps))) if 10**power < steps]
    return [*found, steps] if steps else []


def table(frame: pd.DataFrame, figures: Sequence[str] = ()) -> str:
    """A Markdown table; verdict columns without a single row are left out."""
    shown = frame.drop(columns=[name for name in VERDICTS if name in frame and not frame[name].any()])
    if "seconds" in shown:
        shown = shown.drop(columns="seconds")
    lines = ["| " + " | ".join(shown.columns) + " |", "|" + "---|" * len(shown.columns)]
    for record in shown.to_dict(orient="records"):
        lines.append("| " + " | ".join(_cell(record[name], str(name), figures) for name in shown.columns) + " |")
    return "\n".join(lines)


def _cell(value: Any, name: str, figures: Sequence[str]) -> str:
    if name == "decided":  # 1 only where it is exactly that
        return exact_share(value)
    return figure(value) if name in figures else literal(str(value))


def literal(text: str) -> str:
    """Text that is no HTML, no link and no column of a table."""
    return " ".join(text.replace("<", "&lt;").replace("](", "]\\(").replace("|", "\\|").splitlines())
