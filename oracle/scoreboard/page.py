"""The scoreboard as Markdown and for the terminal. This module only renders."""

from __future__ import annotations

import pandas as pd

from oracle.report.markdown import table
from oracle.running_error.model import LAMBDA
from oracle.scoreboard.scoreboard import COUNTS, Scoreboard
from oracle.subjects import libraries
from oracle.wording.figures import counted

FIGURES = ("z_max", "effective_bits")
EXPLAINED = f"""A run is a case in one precision; it counts by the gravest verdict of its rows. `conform` passes, or what does not
is undecided or has an excuse that the report names; `convention` follows another valid rule that the library documents or the
project knows; `unsupported` is what the library, or its adapter, has not; `imprecise` would pass in a lower precision; `crashed`
raised an error. `z_max` is the largest error of a row that passes in units of its standard deviation (the limit is {LAMBDA:g}),
`effective_bits` the fewest of such a row. torch is held against refbp, everything else against torch."""


def markdown(board: Scoreboard) -> str:
    about = board.about
    parts = [
        "# Scoreboard",
        f"{counted(about.cases, 'case')} in {' and '.join(about.dtypes)}.\n"
        f"{about.software}; Python {about.python}; {about.blas}; {about.processor}.",
        EXPLAINED,
        table(board.totals),
        "\n".join(f"- {name}: {version}" for name, version in board.versions.items()),
    ]
    if board.lacking:
        parts.append(not_installed(board))
    for name, own in board.scores.groupby("subject", sort=False):
        parts += [f"## {name}", table(own.drop(columns="subject"))]
        parts += faults(board.faults[board.faults["subject"] == name])
    return "\n\n".join(parts) + "\n"


def faults(own: pd.DataFrame) -> list[str]:
    """Each kind of culprit: the number of runs, the first of them with its figures, the likely cause, and the page about it."""
    lines = []
    for fault in own.to_dict(orient="records"):
        page = f" — [{fault['finding']}](findings/{fault['finding']}.md)" if fault["finding"] else ""
        lines.append(f"- {fault['runs']} × {fault['example']}{page}")
        if fault["cause"]:
            lines.append(f"  - likely cause: {fault['cause']}")
    return ["\n".join(lines)] if lines else []


def not_installed(board: Scoreboard) -> str:
    each = ", ".join(f"{name} ({libraries.how_to_install(name)})" for name in board.lacking)
    return f"Not installed here, and left out: {each}."


def summary(board: Scoreboard) -> pd.DataFrame:
    """The table for the terminal."""
    return board.totals[["subject", "dtype", "runs", *COUNTS, *FIGURES]]
