"""`oracle run`, which writes the report, and with --shrink small cases with their scripts."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from oracle.cli.app import (
    Dtype,
    Json,
    Reference,
    Scheduler,
    Subject,
    WorkerCount,
    app,
    require_writable,
    show_run,
    status,
)
from oracle.wording.errors import visible
from oracle.wording.figures import counted

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from oracle.case.case import Case
    from oracle.report.report import Report
    from oracle.subjects.process import ChildProgram


@app.command()
def run(
    context: typer.Context,
    cases: Annotated[
        str | None, typer.Option(help="Part of a case's name, or a pattern with * and ?. Default: all.")
    ] = None,
    case_file: Annotated[
        Path | None, typer.Option(help="Run the case in this JSON file instead of the suite's.")
    ] = None,
    subject: Subject = "refbp",
    subject_command: Annotated[
        str | None,
        typer.Option(help="Instead of --subject: a program in any language, with arguments; see oracle/PROTOCOL.md."),
    ] = None,
    time_limit: Annotated[
        float, typer.Option(help="Seconds that your own subject, or the program, may take for a case.")
    ] = 60.0,
    workers: WorkerCount = None,
    scheduler: Scheduler = None,
    reference: Reference = "torch",
    dtype: Dtype = None,
    out: Annotated[Path, typer.Option(help="Folder for the report's files.")] = Path("reports"),
    witness: Annotated[
        bool, typer.Option("--witness", help="Also judge gradients by finite differences of refbp's forward pass.")
    ] = False,
    strict_conventions: Annotated[
        bool, typer.Option("--strict-conventions", help="Count differences by convention as discrepancies.")
    ] = False,
    shrink: Annotated[
        bool, typer.Option("--shrink", help="Also search for the smallest case that shows each kind of discrepancy.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Judge a subject on the cases of the suite, and write the report."""
    from oracle import suite
    from oracle.harness import apart, run
    from oracle.report import terminal
    from oracle.report.environment import environment

    notes = terminal.console(stderr=True)
    if cases is not None and case_file is not None:
        raise ValueError("choose the cases in one way, got --cases and --case-file")
    chosen: str | list[Case] = "all" if cases is None else cases
    if case_file is not None:
        chosen = run.load_cases(str(case_file))
        dtype = dtype or [chosen[0].dtype]
    dtypes = tuple(dtype or run.DTYPES)
    judged: str | ChildProgram = subject if subject_command is None else started(subject, subject_command, time_limit)
    who = judged if isinstance(judged, str) else judged.name
    notes.print(f"{who} against {reference} in {', '.join(dtypes)}. {terminal.opening(environment())}", soft_wrap=True)
    # This comes before a folder is made, so that a wrong argument leaves nothing behind.
    run.check_names(reference, dtypes)
    # Building the whole suite takes seconds. It is built later, while its workers start.
    own = [] if chosen == "all" else list(suite.matching(chosen)) if isinstance(chosen, str) else chosen
    jobs = len(dtypes) * len(own) if own else sys.maxsize
    with apart.workers(judged, jobs, time_limit, workers, scheduler) as pool:
        apart.named(pool, judged)
        require_writable(out)
        with terminal.progress("cases") as progress:
            report = run.run(
                judged,
                reference,
                chosen,
                dtypes,
                witness=witness,
                strict_conventions=strict_conventions,
                progress=progress,
                executor=pool,
            )
        typed = visible(shlex.join(["oracle", *context.obj]))
        report = report.by_command(typed) if case_file is None else report.reproduced_by(typed)
        report.save(out)
        show_run(report, out, as_json=as_json)
        if shrink:
            by_name = {} if isinstance(chosen, str) else {case.name: case for case in chosen}
            write_shrunk(report, judged, by_name, out / "shrunk", pool, quiet=as_json)
    raise typer.Exit(status(report))


def started(subject: str, command: str, seconds: float) -> ChildProgram:
    """The program that the command starts. Raises: ValueError if a subject is named as well; SubjectError."""
    from oracle.subjects import process

    if subject != "refbp":  # the default
        raise ValueError(f"choose one subject, got --subject {subject} and --subject-command")
    return process.program(command, seconds)


MOST_SHRUNK = 3


def write_shrunk(
    report: Report,
    subject: str | ChildProgram,
    own: Mapping[str, Case],
    folder: Path,
    pool: Executor | None,
    *,
    quiet: bool,
) -> None:
    """Save a small case and a script for each kind of discrepancy, and print the scripts. `own`: cases not in the suite."""
    from oracle import suite
    from oracle.harness import apart
    from oracle.harness.script import script
    from oracle.harness.shrink import one_of_each_kind, shrink
    from oracle.report import terminal
    from oracle.subjects import SubjectError

    notes = terminal.console(stderr=True)
    kinds = one_of_each_kind(report.blame)
    if kinds:
        require_writable(folder)
    for culprit in kinds[:MOST_SHRUNK]:
        notes.print(f"shrinking {culprit.case} ({culprit.dtype})", soft_wrap=True)
        case = own.get(culprit.case) or suite.named(culprit.case)
        try:
            shrunk = apart.done(pool, shrink, case.astype(culprit.dtype), subject, report.about.reference)
        except SubjectError as error:  # it ended its process
            notes.print(f"{culprit.case} cannot be shrunk: {error}", soft_wrap=True)
            continue
        file = folder / f"{shrunk.case.name.rpartition('/')[2]}-{culprit.quantity}-{culprit.dtype}.json"
        shrunk.case.save(file)
        text = script(shrunk, str(file), subject)
        file.with_suffix(".py").write_text(text + "\n", encoding="utf-8")
        notes.print(f"smallest case: {file}; the script is beside it", soft_wrap=True)
        if not quiet:
            sys.stdout.write(f"\n{text}\n")
    if len(kinds) > MOST_SHRUNK:
        notes.print(f"not shrunk: {counted(len(kinds) - MOST_SHRUNK, 'more kind')} of discrepancies", soft_wrap=True)
