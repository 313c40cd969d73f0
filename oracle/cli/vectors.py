"""`oracle vectors export` and `oracle vectors judge`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from oracle.cli.app import Dtype, Json, Reference, app, require_writable, show_run, status
from oracle.wording.errors import visible
from oracle.wording.figures import counted

vectors = typer.Typer(
    no_args_is_help=True, help="Test vectors for any language: write them, or judge results for them."
)
app.add_typer(vectors, name="vectors")


@vectors.command()
def export(
    folder: Annotated[
        Path, typer.Argument(help="Folder for the vectors: a new or empty one, or that of an earlier export.")
    ],
    cases: Annotated[str, typer.Option(help="Part of a case's name, or a pattern with * and ?.")] = "all",
    dtype: Dtype = None,
    reference: Reference = "torch",
) -> None:
    """Write cases, and their expected values with a tolerance for every element, as JSON and safetensors."""
    from oracle.harness import executors, run
    from oracle.report import terminal
    from oracle.vectors import export as write

    # Each worker computes with one thread, so that the bytes do not depend on the load of the machine.
    with terminal.progress("cases") as progress, executors.pool() as executor:
        manifest = write(folder, cases, tuple(dtype or run.DTYPES), reference, progress=progress, executor=executor)
    for name, reason in manifest.left_out.items():
        terminal.console(stderr=True).print(f"left out: {name}: {reason}", soft_wrap=True)
    size = sum((folder / path).stat().st_size for path in manifest.files)
    cases_in_files = f"{counted(len(manifest.cases), 'case')} in {counted(len(manifest.files), 'file')}"
    typer.echo(f"{folder}: {cases_in_files}, {size / 1e6:,.1f} MB")


@vectors.command()
def judge(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="A folder that `oracle vectors export` wrote.")],
    results: Annotated[Path, typer.Argument(help="A folder with a safetensors file for each case.")],
    out: Annotated[Path, typer.Option(help="Folder for the report's files.")] = Path("reports"),
    as_json: Json = False,
) -> None:
    """Judge results by the vectors, and write the report. It does not need torch."""
    from oracle.harness import executors
    from oracle.report import terminal
    from oracle.vectors import judge as judged

    require_writable(out)
    with terminal.progress("cases") as progress, executors.pool() as executor:
        report = judged(folder, results, progress=progress, executor=executor)
    report = report.by_command(visible(shlex.join(["oracle", *context.obj])))
    report.save(out)
    show_run(report, out, as_json=as_json)
    raise typer.Exit(status(report))
