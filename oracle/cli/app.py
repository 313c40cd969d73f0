"""The command line's application, and the options and the printing that its commands share."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import refbp

if TYPE_CHECKING:
    from oracle.report.report import Report

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Compare an implementation of backpropagation with a reference. Tolerances are derived, not picked.",
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"oracle {refbp.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and stop.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """The options that belong to no command."""


Subject = Annotated[
    str,
    typer.Option(help="refbp, torch, another name of `oracle list subjects`, or your own as module:object or module."),
]
Reference = Annotated[str, typer.Option(help="torch or refbp.")]
Dtype = Annotated[
    list[str] | None,
    typer.Option(help="float64, float32, float16 or bfloat16; may be repeated. Default: float64 and float32."),
]
TimeLimit = Annotated[float, typer.Option(help="Seconds that your own subject may take for a case.")]
WorkerCount = Annotated[int | None, typer.Option("--workers", min=1, help="Child processes. Default: one a processor.")]
Scheduler = Annotated[
    str | None, typer.Option(help="Address of a Dask scheduler, such as tcp://10.0.0.1:8786, in place of --workers.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]


def show_layers(report: Report, case: str) -> None:
    """The per-layer table of one case, in each dtype."""
    from oracle.report import terminal
    from oracle.report.table import layer_lines

    out = terminal.console()
    known = report.cases["case"] == case
    for dtype in report.cases[known]["dtype"] if known.any() else report.about.dtypes:
        step, lines = layer_lines(report.table, case, str(dtype))
        out.print(terminal.layer_table(lines, f"{case}, {dtype}, step {step}", out))


def show_run(report: Report, out: Path, *, as_json: bool) -> None:
    """Print the report, and where its files are."""
    from oracle.report import terminal

    if as_json:
        print_json(report.to_json())
    else:
        if report.about.cases == 1:
            show_layers(report, str(report.cases["case"].iloc[0]))
        terminal.show_report(terminal.console(), report)
    terminal.console(stderr=True).print(
        f"report: {out}/report.html, report.md, table.csv, table.parquet, cases.csv, details.npz, report.json",
        soft_wrap=True,
    )


def status(report: Report) -> int:
    """The exit status of a command that made a report."""
    from oracle.judging.rows import FAILED
    from oracle.report.table import CONFORMS, DISCREPANCIES_FOUND

    if (report.table["verdict"] == FAILED).any():
        return 3
    return {CONFORMS: 0, DISCREPANCIES_FOUND: 1}.get(report.outcome, 2)


def require_writable(folder: Path) -> None:
    """Make sure before a long run that the folder can be written. Raises: ReportError."""
    from oracle.report.report import writable

    writable(folder)


def print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=1, allow_nan=False) + "\n")
