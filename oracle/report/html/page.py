"""Assembles a page: the overview as plain HTML, then the data and the code that shows it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from oracle.blame.blame import Blame, reproduce
from oracle.judging.rows import DISCREPANCIES, FAILURES, PASS, VERDICTS
from oracle.report.about import About
from oracle.report.columns import PAGE_COLUMNS
from oracle.report.findings import Findings
from oracle.report.html import payload
from oracle.report.html.templates import environment, records, text
from oracle.report.table import unsupported_runs
from oracle.running_error import LAMBDA
from oracle.running_error.conditioning import MOST_DIGITS

# The libraries in the order in which they are loaded. The page holds the licence of each library beside its code.
LIBRARIES = ("slick.core.js", "slick.interactions.js", "slick.grid.js", "uPlot.iife.min.js")
STYLES = ("vendor/slick.grid.css", "vendor/uPlot.min.css", "page.css")
LICENCES = {"SlickGrid": "slickgrid.LICENSE", "uPlot": "uplot.LICENSE"}
SCRIPTS = (
    "theme.js",
    "store.js",
    "query.js",
    "address.js",
    "display.js",
    "grid.js",
    "charts.js",
    "errors.js",
    "case.js",
    "main.js",
)
# The facts about a run that the page's own text states.
TOLD = ("command", "again", "date", "commit", "subject", "reference", "versions", "cases")
# The longest lists in the page's own text. The table holds everything.
MOST_BLAMES = 40
MOST_CASES = 100
MOST_CLASSES = 100
MOST_OTHERS = 50


def render(found: Findings) -> str:
    """The whole page as text."""
    rows, cases = found.table, found.cases
    shown = cases[cases["verdict"] != PASS]
    distinct = map(str, dict.fromkeys(cases["case"])) if found.about.again else ()
    again = {case: reproduce(found.about.again, case, "{dtype}") for case in distinct}
    template = environment().get_template("template.html.j2")
    return template.render(
        **overview(found, MOST_BLAMES),
        facts=facts(found.about),
        passed=found.passed,
        runs=len(cases),
        verdicts=[verdict for verdict in VERDICTS if (rows["verdict"] == verdict).any()],
        counts=rows["verdict"].value_counts().to_dict(),
        discrepancies=DISCREPANCIES,
        failing=int(cases["verdict"].isin(FAILURES).sum()),
        lacking=unsupported_runs(rows),
        training=found.training,
        cases=records(shown.head(MOST_CASES)),
        cases_left=max(0, len(shown) - MOST_CASES),
        most_others=MOST_OTHERS,
        drawn=[column for column in PAGE_COLUMNS if column.drawn],
        start=_start(found.blame, cases),
        one_again=found.one_again,
        threshold=f"{LAMBDA:g}",
        data=payload.packed(
            {
                "columns": payload.columns(rows, found.blame),
                "shown": payload.shown(),
                "details": payload.details(found.details),
                "training": payload.training(found.training),
                "cases": payload.cases(found.described),
                "again": again,
                "lambda": LAMBDA,
                "digits": {dtype: round(digits, 2) for dtype, digits in MOST_DIGITS.items()},
                "discrepancies": sorted(DISCREPANCIES),
                "gravity": VERDICTS,
            }
        ),
        styles=[text(name) for name in STYLES],
        libraries=[text(f"vendor/{name}") for name in LIBRARIES],
        licences={name: text(f"vendor/{file}") for name, file in LICENCES.items()},
        scripts=[text(name) for name in SCRIPTS],
    )


def overview(found: Findings, most: int) -> dict[str, Any]:
    """The beginning of every page: the outcome, the families, and a limited number of kinds of culprits."""
    kinds, families = found.grouped, found.families
    return {
        "title": found.title,
        "about": found.about,
        "outcome": found.outcome,
        "tried": found.about.untried(MOST_CLASSES),
        "judged": found.judged,
        "unjudged": found.unjudged,
        "families": records(families),
        "family_verdicts": [verdict for verdict in VERDICTS if len(families) and families[verdict].any()],
        "kinds": kinds[:most],
        "kinds_left": max(0, len(kinds) - most),
    }


def facts(about: About) -> dict[str, str]:
    """Other facts about the run, by name, without the empty ones."""
    said = {
        name: value
        for name, value in sorted(about.to_json().items())
        if name not in TOLD and value not in ("", [], None)
    }
    return {name: ", ".join(value) if isinstance(value, list) else str(value) for name, value in said.items()}


def _start(blame: Sequence[Blame], cases: pd.DataFrame) -> dict[str, str]:
    """The case that is shown first: the first with a culprit, else the passing one with the largest z."""
    if blame:
        return {"case": blame[0].case, "dtype": blame[0].dtype}
    passing = cases[cases["verdict"] == PASS]
    likely = cases if passing.empty else passing
    if likely.empty:
        return {"case": "", "dtype": ""}
    first = likely.sort_values("z_max", ascending=False, kind="stable").iloc[0]
    return {"case": str(first["case"]), "dtype": str(first["dtype"])}
