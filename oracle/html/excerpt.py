"""A report in a notebook's cell: the same figures as everywhere, a few rows of each table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oracle.html.page import environment, records
from oracle.table import outcome
from oracle.verdict import GRAVITY, PASS, VERDICTS

if TYPE_CHECKING:
    from oracle.report import Report

MOST_BLAMES = 8
MOST_ROWS = 20


def excerpt(report: Report) -> str:
    """HTML without scripts and without styles of its own beyond a few attributes."""
    families = report.families
    rest = report.table[report.table["verdict"] != PASS]
    gravity = rest["verdict"].map(GRAVITY)
    rows = rest.assign(gravity=gravity).sort_values(["gravity", "z_max"], ascending=False, kind="stable")
    return (
        environment()
        .get_template("excerpt.html.j2")
        .render(
            report=report,
            about=report.environment,
            outcome=outcome(report.table),
            families=records(families),
            family_verdicts=[verdict for verdict in VERDICTS if len(families) and families[verdict].any()],
            blames=report.blame[:MOST_BLAMES],
            blames_left=max(0, len(report.blame) - MOST_BLAMES),
            rows=records(rows.head(MOST_ROWS)),
            rows_left=max(0, len(rows) - MOST_ROWS),
            judged=len(report.table),
        )
    )
