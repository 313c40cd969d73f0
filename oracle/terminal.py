"""A report in the terminal: rendering only. Plain text where there is no terminal, readable at 80 columns."""

from __future__ import annotations

from typing import Any

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from oracle.figures import exact_share, figure
from oracle.markdown import branches, milestones
from oracle.report import Report
from oracle.verdict import DISCREPANCIES, PASS, VERDICTS

# A verdict reads without colour too: the word stands beside it. Blue and orange, not green and red.
STYLES = {PASS: "blue", **dict.fromkeys(DISCREPANCIES, "bold dark_orange")}
MOST_BLAMES = 20


def console(stderr: bool = False) -> Console:
    made = Console(stderr=stderr, highlight=False, soft_wrap=False)
    if not made.is_terminal:
        made = Console(stderr=stderr, highlight=False, width=max(made.width, 120), no_color=True)
    return made


def progress_bar() -> Progress:
    return Progress(
        TextColumn("{task.description}", table_column=None),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console(stderr=True),
        transient=True,
    )


def opening(about: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    return f"{versions}; {about['blas']}, {about['threads']} threads"


def show_report(out: Console, report: Report) -> None:
    """The families, then who is to blame, then the free training runs, then one line that says how it ended."""
    out.print(family_table(report, out.width))
    for culprit in report.blame[:MOST_BLAMES]:
        out.print(f"[{STYLES.get(culprit.verdict, '')}]{escape(str(culprit))}[/]", soft_wrap=True)
        out.print(f"  reproduce: {escape(culprit.reproduce)}", soft_wrap=True)
    if len(report.blame) > MOST_BLAMES:
        out.print(f"and {len(report.blame) - MOST_BLAMES} more, in the report's cases.csv")
    if report.training:
        out.print(training_table(report))
    out.print(branches(report.table), soft_wrap=True)
    out.print(conclusion(report))


def conclusion(report: Report) -> str:
    about, table = report.environment, report.table
    failing = report.cases[report.cases["verdict"].isin(DISCREPANCIES)]
    what = f"{about['subject']} against {about['reference']}"
    undecided = int((table["verdict"] == "undecided").sum())
    share = exact_share(undecided / len(table)) if len(table) else "0 %"
    tail = f"{len(table):,} rows, {share} undecided, largest z {figure(report.families['z_max'].max())}"
    if report.passed:
        return f"{what}: conforms in {len(report.cases)} runs of {about['cases']} cases ({tail})"
    return f"{what}: discrepancies in {len(failing)} of {len(report.cases)} runs ({tail})"


# Verdicts as column heads where the terminal is narrow.
SHORT = {
    "convention": "conv.",
    "undecided": "undec.",
    "unsupported": "unsup.",
    "imprecise": "impr.",
    "missing": "miss.",
}
NARROW = 100


def family_table(report: Report, width: int) -> Table:
    families = report.families
    present = [verdict for verdict in VERDICTS if families[verdict].any()]
    made = Table(box=None, pad_edge=False, header_style="bold")
    made.add_column("family", no_wrap=True)
    for name in ("cases", *present, "max z", "bound", "decided", "s"):
        head = SHORT.get(name, name) if width < NARROW else name
        made.add_column(head, justify="right", style=STYLES.get(name, ""))
    for record in families.to_dict(orient="records"):
        made.add_row(
            str(record["family"]),
            str(record["cases"]),
            *(str(record[verdict]) for verdict in present),
            figure(record["z_max"]),
            figure(record["bound_ratio"]),
            exact_share(record["decided"]),
            f"{record['seconds']:.1f}",
        )
    return made


def training_table(report: Report) -> Table:
    made = Table(box=None, pad_edge=False, header_style="bold", title="free training on digits", title_justify="left")
    for name in ("network", "epochs", "accuracy", "reference", "largest gap between parameters"):
        made.add_column(name)
    for run in report.training:
        gaps = ", ".join(f"{figure(run.gaps[step - 1])} (step {step})" for step in milestones(len(run.gaps)))
        made.add_row(run.network, str(run.epochs), f"{run.accuracy:.2%}", f"{run.reference_accuracy:.2%}", gaps)
    return made


def two_columns(frame: pd.DataFrame) -> Table:
    made = Table(box=None, pad_edge=False, show_header=False)
    for name, value in frame.itertuples(index=False):
        made.add_row(str(name), str(value))
    return made


def layer_table(lines: list[dict[str, Any]], title: str) -> Table:
    """One step of one case, from the loss back to the input: the local and the end-to-end judgement side by side."""
    made = Table(box=None, pad_edge=False, header_style="bold", title=title, title_justify="left")
    for name in ("layer", "quantity"):
        made.add_column(name, overflow="fold")
    for name in ("n", "max error", "z local", "z whole", "bits", "verdict"):
        made.add_column(name, justify="right")
    for line in lines:
        style = STYLES.get(line["verdict"], "")
        made.add_row(
            f"{line['layer']} ({line['layer_type']})",
            line["quantity"],
            f"{line['n']:,}",
            figure(line["max_abs"]),
            figure(line["z_local"]),
            figure(line["z_end_to_end"]),
            figure(line["effective_bits"]),
            f"[{style}]{line['verdict']}[/]" if style else line["verdict"],
        )
    return made
