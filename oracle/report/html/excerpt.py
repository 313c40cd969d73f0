"""A report in a notebook cell: the same figures, with a few rows of each table."""

from __future__ import annotations

from oracle.judging.rows import GRAVITY, PASS
from oracle.report.findings import Findings
from oracle.report.html.page import overview
from oracle.report.html.templates import environment, records

MOST_BLAMES = 8
MOST_ROWS = 20


def excerpt(found: Findings) -> str:
    """HTML without scripts, and with no styles but a few attributes."""
    rest = found.table[found.table["verdict"] != PASS]
    gravity = rest["verdict"].map(GRAVITY)
    rows = rest.assign(gravity=gravity).sort_values(["gravity", "z_max"], ascending=False, kind="stable")
    return (
        environment()
        .get_template("excerpt.html.j2")
        .render(
            **overview(found, MOST_BLAMES),
            rows=records(rows.head(MOST_ROWS)),
            rows_left=max(0, len(rows) - MOST_ROWS),
        )
    )
