"""The command line. Exit status: 0 conforms, 1 discrepancies, 2 unusable arguments or input, 3 the harness itself failed.

Results go to standard output, progress and notes to standard error.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from oracle.case import Case
    from oracle.report import Report

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Hold an implementation of backpropagation against a reference, with tolerances that are derived, not picked.",
)

Subject = Annotated[
    str, typer.Option(help="refbp, torch, or module:object of your own, looked for in the current folder too.")
]
Reference = Annotated[str, typer.Option(help="torch or refbp.")]
Dtype = Annotated[
    list[str] | None,
    typer.Option(help="float64, float32, float16 or bfloat16; may be given again. Default: float64 and float32."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]


@app.command()
def run(
    context: typer.Context,
    cases: Annotated[str, typer.Option(help="Part of a case's name, or a pattern with * and ?.")] = "all",
    case_file: Annotated[Path | None, typer.Option(help="Run this case (a JSON file) instead of the suite's.")] = None,
    subject: Subject = "refbp",
    reference: Reference = "torch",
    dtype: Dtype = None,
    out: Annotated[Path, typer.Option(help="Folder for the report's files.")] = Path("reports"),
    witness: Annotated[
        bool, typer.Option("--witness", help="Also judge by differences of the forward pass alone.")
    ] = False,
    strict_conventions: Annotated[
        bool, typer.Option("--strict-conventions", help="Count what differs by convention as a discrepancy.")
    ] = False,
    shrink: Annotated[
        bool, typer.Option("--shrink", help="Also look for the smallest case that shows each kind of discrepancy.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Judge a subject over the suite and write the report."""
    from oracle import sweep, terminal, workers
    from oracle.environment import environment

    notes = terminal.console(stderr=True)
    chosen: str | list[Case] = cases
    if case_file is not None:
        chosen = sweep.load_cases(str(case_file))
        dtype = dtype or [chosen[0].dtype]
    dtypes = tuple(dtype or sweep.DTYPES)
    notes.print(
        f"{subject} against {reference} in {', '.join(dtypes)}. {terminal.opening(environment())}", soft_wrap=True
    )
    require_writable(out)
    with terminal.progress_bar() as bar:
        task = bar.add_task("cases", total=None)

        def progress(done: int, total: int, name: str) -> None:
            bar.update(task, completed=done, total=total, description=name[:40].ljust(40))

        with workers.pool() if cases == "all" and case_file is None else nullcontext() as executor:
            report = sweep.run(
                subject,
                reference,
                chosen,
                dtypes,
                witness=witness,
                strict_conventions=strict_conventions,
                progress=progress,
                executor=executor,
            )
    report.environment["command"] = shlex.join(["oracle", *context.obj])
    report.save(out)
    if as_json:
        print_json(report.to_json())
    else:
        show = terminal.console()
        if report.environment["cases"] == 1:
            show_layers(report, str(report.cases["case"].iloc[0]))
        terminal.show_report(show, report)
    notes.print(
        f"report: {out}/report.html, report.md, table.csv, table.parquet, cases.csv, details.npz, report.json",
        soft_wrap=True,
    )
    if shrink:
        own = {} if isinstance(chosen, str) else {case.name: case for case in chosen}
        write_shrunk(report, own, out / "shrunk", quiet=as_json)
    raise typer.Exit(0 if report.passed else 1)


@app.command("list")
def list_(
    what: Annotated[str, typer.Argument(help="cases, subjects or layers.")],
    cases: Annotated[str, typer.Option(help="With cases: part of a name, or a pattern with * and ?.")] = "all",
    as_json: Json = False,
) -> None:
    """Show what there is: cases with their reasons, subjects, or layers with the number of cases that exercise them."""
    from oracle import catalogue

    entries = catalogue.entries(what, cases)
    if as_json:
        print_json(entries)
        return
    for entry in entries:
        typer.echo("  ".join(", ".join(value) if isinstance(value, list) else str(value) for value in entry.values()))
    if what == "layers" and (lacking := catalogue.lacking()):
        typer.echo(f"torch.nn has, and refbp lacks: {', '.join(lacking)}")


@app.command()
def explain(
    case: Annotated[str, typer.Argument(help="A case's name.")],
    subject: Subject = "refbp",
    reference: Reference = "torch",
    dtype: Annotated[str, typer.Option(help="float64 or float32.")] = "float64",
    step: Annotated[int, typer.Option(help="Which training step, from 0.")] = 0,
) -> None:
    """Walk a case in numbers, each beside the reference's, in the order in which backpropagation computes them."""
    from oracle import subjects, suite, sweep
    from oracle.explain import walk

    sweep.check_names(reference, (dtype,))
    chosen = suite.named(case)
    if not 0 <= step < chosen.steps:
        raise ValueError(f"case {case} has steps 0 to {chosen.steps - 1}, got step {step}")
    implementation = subjects.load(subject)
    typer.echo(f"{chosen.name}: {chosen.why}")
    typer.echo(f"  {'':<12}{f'{implementation.name}, {dtype}':>24}{f'{reference}, float64':>24}")
    for section in walk(chosen.astype(dtype), implementation, subjects.load(reference), step):
        typer.echo(f"\n{section.title}")
        for line in section.lines:
            typer.echo(f"  {line.name:<12}{line.value:>24.16g}{line.reference:>24.16g}")
        if section.left_out:
            typer.echo(f"  … and {section.left_out:,} more")


@app.command()
def report(
    folder: Annotated[
        Path, typer.Argument(help="A folder that `oracle run` wrote; with --history, one of such folders.")
    ],
    case: Annotated[str | None, typer.Option(help="Show this case layer by layer.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write it as one HTML file.")] = None,
    form: Annotated[str | None, typer.Option("--format", help="junit, github or markdown.")] = None,
    history: Annotated[
        bool, typer.Option("--history", help="Show how z and effective bits went over the runs.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show a report again; with --case, its per-layer table.

    --format github prints annotations, and writes the summary where GITHUB_STEP_SUMMARY says, else behind them.
    """
    from oracle import terminal
    from oracle.report import load_report

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
    if len(asked) > 1:
        raise ValueError(f"one way to show a report at a time, got {' and '.join(asked)}")
    if history:
        show_history(folder)
        return
    kept = load_report(folder)
    if as_json:
        print_json(kept.to_json())
    elif html is not None:
        kept.to_html(html)
        terminal.console(stderr=True).print(f"report: {html}", soft_wrap=True)
    elif form is not None:
        print_as(kept, form)
    elif case is not None:
        show_layers(kept, case)
    else:
        terminal.show_report(terminal.console(), kept)


@app.command()
def selftest(
    quick: Annotated[bool, typer.Option("--quick", help="A seventh of it, in float32.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for selftest.md and selftest.csv.")] = None,
    as_json: Json = False,
) -> None:
    """Measure the checker itself: planted bugs that it must catch, legal implementations that it must not accuse."""
    from oracle import terminal, workers
    from oracle.environment import environment
    from oracle.selftest import render, score

    if out is not None:
        require_writable(out)
    about = f"{terminal.opening(environment())}."
    with terminal.progress_bar() as bar, workers.pool() as executor:
        task = bar.add_task("self-test", total=None)

        def progress(done: int, total: int, name: str) -> None:
            bar.update(task, completed=done, total=total, description=name[:40].ljust(40))

        result = score.run(quick, progress, executor)
    if out is not None:
        (out / "selftest.md").write_text(render.markdown(result, about))
        result.bug_table().to_csv(out / "selftest.csv", index=False)
    if as_json:
        print_json(result.to_json())
    else:
        show = terminal.console()
        show.print(terminal.two_columns(render.summary_table(result)))
        if not result.passed:
            show.print(render.failures(result), soft_wrap=True, markup=False)
        show.print(f"self-test: {'passed' if result.passed else 'targets missed'} in {result.seconds:.0f} s")
    raise typer.Exit(0 if result.passed else 1)


@app.command()
def diff(
    before: Annotated[Path, typer.Argument(help="A folder that `oracle run` wrote.")],
    after: Annotated[Path, typer.Argument(help="Another, to be held against it.")],
    as_json: Json = False,
) -> None:
    """Compare two runs: what got worse, appeared, vanished, got better. Exit status 1 when something got worse."""
    from dataclasses import asdict

    from oracle import compare, terminal
    from oracle.report import load_report, spelled

    found = compare.changes(load_report(before).table, load_report(after).table)
    worse = compare.got_worse(found)
    if as_json:
        print_json({"worse": worse, "changes": spelled([asdict(change) for change in found])})
    else:
        terminal.show_changes(terminal.console(), found)
    raise typer.Exit(1 if worse else 0)


MOST_SHRUNK = 3


def write_shrunk(report: Report, own: Mapping[str, Case], folder: Path, *, quiet: bool) -> None:
    """Save a small case and a script for each kind of discrepancy, and print the scripts. `own`: cases that the suite has not."""
    from oracle import suite, terminal
    from oracle.script import script
    from oracle.shrinking import one_of_each_kind, shrink

    notes, subject = terminal.console(stderr=True), report.environment["subject"]
    kinds = one_of_each_kind(report.blame)
    if kinds:
        require_writable(folder)
    for culprit in kinds[:MOST_SHRUNK]:
        notes.print(f"shrinking {culprit.case} ({culprit.dtype})", soft_wrap=True)
        case = own.get(culprit.case) or suite.named(culprit.case)
        shrunk = shrink(case.astype(culprit.dtype), subject, report.environment["reference"])
        file = folder / f"{shrunk.case.name.rpartition('/')[2]}-{culprit.quantity}-{culprit.dtype}.json"
        shrunk.case.save(file)
        text = script(shrunk, str(file), subject)
        file.with_suffix(".py").write_text(text + "\n")
        notes.print(f"smallest case: {file}; the script is beside it", soft_wrap=True)
        if not quiet:
            sys.stdout.write(f"\n{text}\n")
    if len(kinds) > MOST_SHRUNK:
        notes.print(f"{len(kinds) - MOST_SHRUNK} more kinds of discrepancies are left as they are", soft_wrap=True)


def show_history(folder: Path) -> None:
    from oracle import terminal
    from oracle.history import courses, load_history

    runs = load_history(folder)
    out = terminal.console()
    out.print(f"{len(runs)} runs, {runs[0][0]} to {runs[-1][0]}", soft_wrap=True)
    out.print(terminal.history_table(courses([report.table for _, report in runs]), out))


def print_as(report: Report, form: str) -> None:
    """A report for machines, on standard output. Raises: ValueError for a format that there is not."""
    if form == "markdown":
        sys.stdout.write(report.to_markdown())
    elif form == "junit":
        sys.stdout.write(report.to_junit())
    elif form == "github":
        print_for_github(report)
    else:
        raise ValueError(f"unknown format {form!r}: known are junit, github, markdown")


def print_for_github(report: Report) -> None:
    from oracle import github
    from oracle.report import ReportError

    sys.stdout.write("".join(f"{line}\n" for line in github.workflow_commands(report.blame, report.table)))
    summary = github.summary(report.environment, report.families, report.table, report.blame, report.training)
    target = os.environ.get("GITHUB_STEP_SUMMARY")
    if not target:
        sys.stdout.write(summary)
        return
    try:
        with Path(target).open("a", encoding="utf-8") as file:
            file.write(summary)
    except OSError as error:
        raise ReportError(f"the step summary {target} cannot be written: {error.strerror}") from error


def show_layers(report: Report, case: str) -> None:
    """The per-layer table of one case, in each dtype."""
    from oracle import terminal
    from oracle.table import layer_lines

    out = terminal.console()
    known = report.cases["case"] == case
    for dtype in report.cases[known]["dtype"] if known.any() else report.environment["dtypes"]:
        step, lines = layer_lines(report.table, case, str(dtype))
        out.print(terminal.layer_table(lines, f"{case}, {dtype}, step {step}", out))


def require_writable(folder: Path) -> None:
    """Before the work, not after it. Raises: ReportError."""
    from oracle.report import writable

    writable(folder)


def print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=1, allow_nan=False) + "\n")


def main(arguments: list[str] | None = None) -> int:
    """Run a command; every error ends in one sentence on standard error and an exit status."""
    command: Callable[..., Any] = typer.main.get_command(app)
    try:
        command(args=arguments, prog_name="oracle", obj=sys.argv[1:] if arguments is None else arguments)
    except SystemExit as end:
        return int(end.code or 0) if not isinstance(end.code, str) else 2
    except (ValueError, ImportError) as error:
        sys.stderr.write(f"oracle: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("oracle: interrupted\n")
        return 3
    except Exception as error:
        sys.stderr.write(f"oracle: the harness itself failed, please report this: {type(error).__name__}: {error}\n")
        return 3
    return 0


def entry_point() -> None:
    sys.path.insert(0, str(Path.cwd()))  # where a subject of one's own may lie
    sys.exit(main())
