"""Commands that show saved runs: `oracle report` and `oracle diff`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from oracle.cli.app import Json, app, print_json, show_layers
from oracle.wording.figures import counted

if TYPE_CHECKING:
    from oracle.report.report import Report


@app.command()
def report(
    folder: Annotated[
        Path, typer.Argument(help="A folder that `oracle run` wrote; with --history, a folder of such folders.")
    ],
    case: Annotated[str | None, typer.Option(help="Show this case layer by layer.")] = None,
    html: Annotated[
        Path | None, typer.Option(help="Write the report, or with --history all runs, as one HTML file.")
    ] = None,
    form: Annotated[
        str | None, typer.Option("--format", help="Print it as junit, github, markdown or badge (SVG).")
    ] = None,
    history: Annotated[
        bool, typer.Option("--history", help="Show how the largest z and the effective bits changed from run to run.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show a saved report; with --case, the per-layer table of one case.

    --format github prints annotations, and writes the summary to the file GITHUB_STEP_SUMMARY, or prints it after them.
    """
    from oracle.report import terminal
    from oracle.report.report import load_report

    asked = [
        name
        for name, value in {
            "--case": case,
            "--html": html,
            "--format": form,
            "--history": history or None,
            "--json": as_json or None,
        }.items()
        if value is not None
    ]
    if len(asked) > 1 and asked != ["--html", "--history"]:
        raise ValueError(f"choose one way to show a report, got {' and '.join(asked)}")
    if history:
        show_history(folder, html)
        return
    kept = load_report(folder)
    if as_json:
        print_json(kept.to_json())
    elif html is not None:
        kept.to_html(html)
        print_place(html)
    elif form is not None:
        print_as(kept, form)
    elif case is not None:
        show_layers(kept, case)
    else:
        terminal.show_report(terminal.console(), kept)


@app.command()
def diff(
    before: Annotated[Path, typer.Argument(help="A folder that `oracle run` wrote.")],
    after: Annotated[Path, typer.Argument(help="The folder of a later run, to compare with it.")],
    html: Annotated[Path | None, typer.Option(help="Write the comparison as one HTML file.")] = None,
    as_json: Json = False,
) -> None:
    """Compare two runs: which rows got worse, appeared, vanished or got better. The exit status is 1 if something got worse,
    and 2 if the runs have no case in common."""
    from dataclasses import asdict

    from oracle.case.arrays import SPECIAL
    from oracle.exchange.numbers import spelled
    from oracle.report import diff, pages, terminal
    from oracle.report.report import load_report, write_file

    if html is not None and as_json:
        raise ValueError("choose one way to show a comparison, got --html and --json")
    reports = load_report(before), load_report(after)
    tables = reports[0].table, reports[1].table
    if not diff.has_common_case(*tables):
        raise ValueError(f"{before} and {after} have no case in common, in no dtype: there is nothing to compare")
    found = diff.changes(*tables)
    worse = diff.got_worse(found)
    if html is not None:
        write_file(html, pages.diff_page((str(before), reports[0]), (str(after), reports[1])))
        print_place(html)
    elif as_json:
        print_json({"worse": worse, "changes": spelled([asdict(change) for change in found], SPECIAL)})
    else:
        terminal.show_changes(terminal.console(), found)
    raise typer.Exit(1 if worse else 0)


def print_place(html: Path) -> None:
    from oracle.report import terminal

    terminal.console(stderr=True).print(f"report: {html}", soft_wrap=True)


def show_history(folder: Path, html: Path | None) -> None:
    from oracle.report import pages, terminal
    from oracle.report.history import histories, load_history
    from oracle.report.report import write_file

    runs = load_history(folder)
    if html is not None:
        write_file(html, pages.history_page(runs))
        print_place(html)
        return
    out = terminal.console()
    out.print(f"{counted(len(runs), 'run')}, {runs[0][0]} to {runs[-1][0]}", soft_wrap=True)
    out.print(terminal.history_table(histories([report.table for _, report in runs]), out))


def print_as(report: Report, form: str) -> None:
    """Print a report in a format for other programs. Raises: ValueError for an unknown format."""
    if form == "markdown":
        sys.stdout.write(report.to_markdown())
    elif form == "badge":
        from oracle.report.badge import badge

        sys.stdout.write(badge(report.outcome, report.passed, len(report.grouped)))
    elif form == "junit":
        sys.stdout.write(report.to_junit())
    elif form == "github":
        print_for_github(report)
    else:
        raise ValueError(f"unknown format {form!r}: known are junit, github, markdown, badge")


def print_for_github(report: Report) -> None:
    from oracle.report import github
    from oracle.report.report import ReportError

    lines = github.workflow_commands(report.blame, report.table, report.about.subject)
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    summary = github.summary(report)
    target = os.environ.get("GITHUB_STEP_SUMMARY")
    if not target:
        sys.stdout.write(summary)
        return
    try:
        with Path(target).open("a", encoding="utf-8") as file:
            file.write(summary)
    except OSError as error:
        raise ReportError(f"the step summary {target} cannot be written: {error.strerror}") from error
