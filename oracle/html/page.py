"""Puts a page together: what can be read at once as plain HTML, the data and the code that shows it beside that."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING, Any

import jinja2
import pandas as pd

from oracle.figures import exact_share, figure
from oracle.html import payload
from oracle.running_error import LAMBDA
from oracle.table import outcome, unsupported_runs
from oracle.verdict import DISCREPANCIES, PASS, VERDICTS

if TYPE_CHECKING:
    from oracle.report import Report

# In the order in which they are loaded; a library's licence goes wherever its code goes.
LIBRARIES = ("slick.core.js", "slick.interactions.js", "slick.grid.js", "uPlot.iife.min.js")
STYLES = ("vendor/slick.grid.css", "vendor/uPlot.min.css", "page.css")
LICENCES = {"SlickGrid": "slickgrid.LICENSE", "uPlot": "uplot.LICENSE"}
SCRIPTS = ("store.js", "display.js", "grid.js", "charts.js", "errors.js", "case.js", "main.js")
# Lists in the page's own text; the table holds everything.
MOST_BLAMES = 40
MOST_CASES = 100


def render(report: Report) -> str:
    """The whole page."""
    shown = report.cases[report.cases["verdict"] != PASS]
    template = environment().get_template("template.html.j2")
    families = report.families
    return template.render(
        title=f"{report.environment.get('subject')} against {report.environment.get('reference')}",
        report=report,
        about=report.environment,
        rows=len(report.table),
        verdicts=[verdict for verdict in VERDICTS if (report.table["verdict"] == verdict).any()],
        counts=report.table["verdict"].value_counts().to_dict(),
        discrepancies=DISCREPANCIES,
        failing=int(report.cases["verdict"].isin(DISCREPANCIES).sum()),
        lacking=unsupported_runs(report.table),
        outcome=outcome(report.table),
        families=records(families),
        family_verdicts=[verdict for verdict in VERDICTS if len(families) and families[verdict].any()],
        blames=report.blame[:MOST_BLAMES],
        blames_left=max(0, len(report.blame) - MOST_BLAMES),
        cases=records(shown.head(MOST_CASES)),
        cases_left=max(0, len(shown) - MOST_CASES),
        start=_start(report),
        threshold=f"{LAMBDA:g}",
        data=payload.packed(
            {
                "columns": payload.columns(report.table, report.blame),
                "details": payload.details(report.details),
                "training": payload.training(report.training),
                "lambda": LAMBDA,
                "discrepancies": sorted(DISCREPANCIES),
                "gravity": VERDICTS,
            }
        ),
        styles=[_text(name) for name in STYLES],
        libraries=[_text(f"vendor/{name}") for name in LIBRARIES],
        licences={name: _text(f"vendor/{file}") for name, file in LICENCES.items()},
        scripts=[_text(name) for name in SCRIPTS],
    )


def environment() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.FunctionLoader(_text),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"figure": figure, "share": exact_share, "count": lambda value: f"{value:,}"}
    return made


def _text(name: str) -> str:
    return resources.files("oracle.html").joinpath(name).read_text(encoding="utf-8")


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(key): value for key, value in record.items()} for record in frame.to_dict(orient="records")]


def _start(report: Report) -> dict[str, str]:
    """The case to open with: the first that is blamed, else of those that pass the one with the largest z."""
    if report.blame:
        return {"case": report.blame[0].case, "dtype": report.blame[0].dtype}
    passing = report.cases[report.cases["verdict"] == PASS]
    cases = report.cases if passing.empty else passing
    if cases.empty:
        return {"case": "", "dtype": ""}
    first = cases.sort_values("z_max", ascending=False, kind="stable").iloc[0]
    return {"case": str(first["case"]), "dtype": str(first["dtype"])}
