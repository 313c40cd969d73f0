"""A report in the terminal. This module only renders. Without a terminal it prints plain text, readable at 80 columns."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pandas as pd
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from oracle.judging.rows import DISCREPANCIES, MISSING, PASS, VERDICTS
from oracle.report.columns import written
from oracle.report.diff import APPEARED, BETTER, VANISHED, WORSE, Change
from oracle.report.environment import Environment
from oracle.report.history import FamilyHistory
from oracle.report.report import MOST_BLAMES, Report
from oracle.report.sentences import branches, milestones
from oracle.report.table import branch_counts
from oracle.running_error import LAMBDA
from oracle.wording.figures import counted, figure

# A verdict is a word too, so that nobody needs its colour. Blue and orange are easier to tell apart than green and red,
# and are readable on dark and on light.
STYLES = {PASS: "deep_sky_blue3", **dict.fromkeys(DISCREPANCIES, "bold dark_orange")}
FOLLOWS = "dim"  # a consequence does not look like a culprit


def console(stderr: bool = False) -> Console:
    # Text is printed as it is: names and reasons may look like markup, or like the name of an emoji.
    made = Console(stderr=stderr, highlight=False, soft_wrap=False, markup=False, emoji=False)
    if not made.is_terminal:
        width = max(made.width, 120)
        made = Console(stderr=stderr, highlight=False, width=width, no_color=True, markup=False, emoji=False)
    return made


def progress_bar() -> Progress:
    """A bar on standard error; nothing, not even an empty line, where that is not a terminal."""
    shown = console(stderr=True)
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=shown,
        transient=True,
        disable=not shown.is_terminal,
    )


@contextmanager
def progress(what: str) -> Iterator[Callable[[int, int, str], None]]:
    """Shows a progress bar. Yields the function that moves it, called with (jobs done, jobs in all, name of the next)."""
    with progress_bar() as bar:
        task = bar.add_task(what, total=None)

        def moved(done: int, total: int, name: str) -> None:
            bar.update(task, completed=done, total=total, description=name[:40].ljust(40))

        yield moved


def opening(about: Environment) -> str:
    return f"{about.software}; {about.blas}, {about.processors} processors"


def show_report(out: Console, report: Report) -> None:
    """Print the families, the kinds of discrepancies with their smallest cases, free training, and the outcome."""
    out.print(family_table(report, out.width))
    kinds = report.grouped
    for kind in kinds[:MOST_BLAMES]:
        first, *rest = kind.example.in_full().splitlines()
        out.print(Text(first, STYLES.get(kind.example.verdict, "")), soft_wrap=True)
        for line in [*rest, *([f"  {kind.remark()}"] if kind.others else [])]:
            out.print(Text(line), soft_wrap=True)
    if len(kinds) > MOST_BLAMES:
        out.print(f"and {counted(len(kinds) - MOST_BLAMES, 'kind')} more, in the report's cases.csv")
    if report.training:
        out.print(training_table(report))
    if branch_counts(report.table)[0]:
        out.print(branches(report.table), soft_wrap=True)
    out.print(report.conclusion, soft_wrap=True)


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
    for name in ("cases", *present, "max z", "decided", "s"):
        head = SHORT.get(name, name) if width < NARROW else name
        made.add_column(head, justify="right", style=STYLES.get(name, ""))
    for record in families.to_dict(orient="records"):
        made.add_row(
            str(record["family"]),
            str(record["cases"]),
            *(str(record[verdict]) for verdict in present),
            *(written(record[name], name) for name in ("z_max", "decided")),
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


def score_table(frame: pd.DataFrame) -> Table:
    """The frame as a table, numbers right-aligned; a verdict column that is all zero is left out."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    shown = [name for name in frame if name not in VERDICTS or frame[name].any()]
    for name in shown:
        right = pd.api.types.is_numeric_dtype(frame[name])
        made.add_column(
            str(name).replace("_", " "), justify="right" if right else "left", style=STYLES.get(str(name), "")
        )
    for record in frame[shown].to_dict(orient="records"):
        made.add_row(*(written(value, str(name)) for name, value in record.items()))
    return made


def plain_table(frame: pd.DataFrame) -> Table:
    """A frame of texts as a table, unchanged."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for name in frame.columns:
        made.add_column(str(name), overflow="fold")
    for cells in frame.itertuples(index=False):
        made.add_row(*map(str, cells))
    return made


# Decades of error / tolerance that a bar shows below and above 1.
DECADES_WITHIN, DECADES_OUTSIDE = 3, 6


def bar(z: float) -> str:
    """log10(error / tolerance) as a bar, a character per decade; a stroke marks the tolerance, other characters lie beyond it."""
    if math.isnan(z):
        return ""
    decades = -math.inf if z <= 0 else math.log10(z / LAMBDA) if z < math.inf else math.inf
    within = math.ceil(min(max(decades + DECADES_WITHIN, 0), DECADES_WITHIN))
    outside = math.ceil(min(max(decades, 0), DECADES_OUTSIDE))
    return f"{'▪' * within:<{DECADES_WITHIN}}│{'█' * outside:<{DECADES_OUTSIDE}}"


def layer_table(lines: list[dict[str, Any]], title: str, out: Console) -> Table:
    """One step of one case, from the loss back to the input: the local and the end-to-end judgement side by side.

    Bars are drawn in a terminal only. A narrow terminal leaves out a layer's type and size and the largest error.
    """
    wide, bars = out.width >= NARROW, out.is_terminal
    made = Table(box=None, pad_edge=False, header_style="bold", title=title, title_justify="left")
    for name in ("layer", "quantity"):
        made.add_column(name, overflow="fold")
    for name in (*(("n", "max error") if wide else ()), "z local", "z whole", "bits"):
        made.add_column(name, justify="right", no_wrap=True)
    if bars:
        made.add_column("err/tol" if not wide else "error/tolerance", no_wrap=True)
    made.add_column("verdict", no_wrap=True)
    for line in lines:
        z = line["z_end_to_end"] if math.isnan(line["z_local"]) else line["z_local"]
        follows = line["verdict"] in DISCREPANCIES - {MISSING}  # a missing quantity is not a consequence
        style = FOLLOWS if follows and not line["at_fault"] else STYLES.get(line["verdict"], "")
        says = line["verdict"] + (" ◀" if line["at_fault"] else ", follows" if follows else "")
        made.add_row(
            f"{line['layer']} ({line['layer_type']})" if wide and line["layer_type"] else str(line["layer"]),
            str(line["quantity"]),
            *((f"{line['n']:,}", figure(line["max_abs"])) if wide else ()),
            figure(line["z_local"]),
            figure(line["z_end_to_end"]),
            figure(line["effective_bits"]),
            *((Text(bar(z), style),) if bars else ()),
            Text(says, style),
        )
    return made


MOST_CHANGES = 20


def show_changes(out: Console, changes: list[Change]) -> None:
    """Print the differences between two reports, then their counts."""
    for change in changes[:MOST_CHANGES]:
        figures = ", ".join(figure(z) for z in (change.z_before, change.z_after) if not math.isnan(z))
        style = STYLES["wrong"] if change.kind == WORSE else STYLES[PASS] if change.kind == BETTER else ""
        out.print(Text(f"{change}{f' (largest z {figures})' if figures else ''}", style), soft_wrap=True)
    if len(changes) > MOST_CHANGES:
        out.print(f"{counted(len(changes) - MOST_CHANGES, 'more group')} of rows, with --json")
    counts = {kind: sum(c.rows for c in changes if c.kind == kind) for kind in (WORSE, APPEARED, VANISHED, BETTER)}
    said = [f"{counted(count, 'row')} {kind}" for kind, count in counts.items() if count]
    out.print(", ".join(said) or "no verdict differs")


BLOCKS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float]) -> str:
    """A block character per value, scaled from the smallest to the largest; a dot for a missing value."""
    finite = [value for value in values if math.isfinite(value)]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    places = [(value - low) / (high - low) if high > low else 0.5 for value in values]
    return "".join(
        "·" if math.isnan(value) else "!" if math.isinf(value) else BLOCKS[round(place * (len(BLOCKS) - 1))]
        for value, place in zip(values, places, strict=True)
    )


MOST_RUNS = 12


def history_table(histories: Sequence[FamilyHistory], out: Console) -> Table:
    """z and effective bits of each family over the last runs: the first and last figure, and in a terminal a drawing."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    made.add_column("family", no_wrap=True)
    for name in ("largest z", "least bits, float32"):
        if out.is_terminal:
            made.add_column("")
        made.add_column(name, justify="right")
    for history in histories:
        cells = []
        for values in (history.z[-MOST_RUNS:], history.bits[-MOST_RUNS:]):
            cells += [sparkline(values)] if out.is_terminal else []
            cells.append(f"{figure(values[0]) or '–'} → {figure(values[-1]) or '–'}")
        made.add_row(history.family, *cells)
    return made
