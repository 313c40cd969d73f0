"""A report as Markdown. This module only renders; every figure comes from the report's tables."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pandas as pd

from oracle.judging.rows import VERDICTS
from oracle.judging.training import TrainingRun
from oracle.report import sentences
from oracle.report.columns import written
from oracle.report.environment import Environment
from oracle.report.findings import Findings
from oracle.report.kinds import Kind
from oracle.report.table import branch_counts, digits_lost
from oracle.wording.figures import counted, figure

# The most classes whose untried options are named.
MOST_CLASSES = 100
# The most places that are listed as not judged, and as places where digits are lost.
MOST_PLACES = 100
MOST_LOST = 10


def report(found: Findings) -> str:
    """The report: families, culprits, undecided rows and why, free training, and all cases that do not simply pass."""
    about, rows, cases = found.about, found.table, found.cases
    parts = [
        f"# {literal(found.title)}: {found.outcome}",
        f"{counted(about.cases, 'case')} in {' and '.join(about.dtypes)}, "
        f"{found.judged}.\n"
        f"{about.software}; {'; '.join(where(about))}.",
        *again(found),
        *([f"Note: {said}."] if (said := about.declared) else []),
        *([f"Of everything in the suite: {said}."] if (said := about.untried(MOST_CLASSES)) else []),
        *left_unjudged(found),
        *([sentences.branches(rows)] if branch_counts(rows)[0] else []),
        "## Families",
        table(found.families),
    ]
    if found.blame:
        parts += ["## Discrepancies", "\n".join(discrepancy(kind) for kind in found.grouped)]
    lost = digits_lost(rows, MOST_LOST)
    if len(lost):
        said = "The places where rounding leaves the fewest decimal digits, of those that its dtype holds."
        parts += ["## Digits lost", said, table(lost, figures=("of",))]
    undecided = rows[rows["verdict"] == "undecided"]
    if len(undecided):
        parts += ["## Undecided", table(reasons(undecided))]
    if found.training:
        parts += ["## Free training on digits", training(found.training)]
    plain = cases["verdict"] == "pass"
    if plain.all():
        parts.append("## Cases\n\nEvery run passes in every row.")
    else:
        parts.append(f"## Cases\n\n{int(plain.sum()):,} of {len(plain):,} runs pass in every row. The others:")
        parts.append(table(cases[~plain].drop(columns=["family", "seconds"])))
    return "\n\n".join(parts) + "\n"


def again(found: Findings) -> list[str]:
    """The time of the run, its command, and how to run one case again."""
    about, one = found.about, found.one_again
    said = [
        f"Run on {about.when}." if about.when else "",
        f"All of it again: {_code(about.command)}" if about.command else "",
    ]
    if one and one != about.command:
        said.append(f"One case again: {_code(one)}")
    lines = [line for line in said if line]
    return ["\\\n".join(lines)] if lines else []


def left_unjudged(found: Findings) -> list[str]:
    places = [f"- {literal(own)}" for own in found.unjudged[:MOST_PLACES]]
    more = len(found.unjudged) - MOST_PLACES
    return ["Not judged:\n\n" + "\n".join([*places, *([f"- and {more:,} more"] if more > 0 else [])])] if places else []


def _code(text: str) -> str:
    """The text between enough backticks, more than the longest run of them inside it."""
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{pad}{' '.join(text.split())}{pad}{fence}"


def where(about: Environment) -> list[str]:
    """Interpreter, BLAS and processor, as far as a saved report names them."""
    said = [("Python ", about.python), ("", about.blas), (f"{about.processors or '?'} × ", about.processor)]
    return [f"{before}{value}" for before, value in said if value]


def discrepancy(kind: Kind) -> str:
    """A kind of discrepancy as a list entry, with details and the others of its kind below."""
    culprit = kind.example
    remarks = [*culprit.remarks, *([kind.remark()] if kind.others else [])]
    lines = [f"- {literal(str(culprit))}", *(f"  - {literal(remark)}" for remark in remarks)]
    drawn = ["", "  ```", *(f"  {line}" for line in culprit.map.splitlines()), "  ```", ""] if culprit.map else []
    return "\n".join(lines + drawn)


def reasons(undecided: pd.DataFrame) -> pd.DataFrame:
    """The undecided rows, grouped by case and reason."""
    grouped = undecided.groupby(["case", "layer", "quantity", "diagnosis"], sort=True).size()
    return grouped.rename("rows").reset_index()


def training(runs: Sequence[TrainingRun]) -> str:
    lines = [
        f"- {run.network}, {run.dtype}, {run.epochs} epochs of SGD: test accuracy {run.subject} {run.accuracy:.1%}, "
        f"{run.reference} {run.reference_accuracy:.1%}; largest gap between parameters "
        + ", ".join(f"{figure(run.gaps[step - 1])} after step {step}" for step in sentences.milestones(len(run.gaps)))
        for run in runs
    ]
    return "\n".join(lines)


def table(frame: pd.DataFrame, figures: Sequence[str] = ()) -> str:
    """A Markdown table; verdict columns without a single row are left out.

    figures: columns of numbers that are not a report's own.
    """
    shown = frame.drop(columns=[name for name in VERDICTS if name in frame and not frame[name].any()])
    if "seconds" in shown:
        shown = shown.drop(columns="seconds")
    lines = ["| " + " | ".join(shown.columns) + " |", "|" + "---|" * len(shown.columns)]
    for record in shown.to_dict(orient="records"):
        lines.append("| " + " | ".join(_cell(record[name], str(name), figures) for name in shown.columns) + " |")
    return "\n".join(lines)


def _cell(value: Any, name: str, figures: Sequence[str]) -> str:
    return figure(value) if name in figures else literal(written(value, name))


def literal(text: str) -> str:
    """The text with everything escaped that Markdown would read as HTML, a link or a column of a table."""
    return " ".join(text.replace("<", "&lt;").replace("](", "]\\(").replace("|", "\\|").splitlines())
