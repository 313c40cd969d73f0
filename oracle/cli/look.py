"""Commands that look at the suite: `oracle list` and `oracle explain`."""

from __future__ import annotations

import textwrap
import warnings
from typing import Annotated

import typer

from oracle.cli.app import Json, Reference, Subject, app, print_json


@app.command("list")
def list_(
    what: Annotated[str, typer.Argument(help="cases, subjects or layers.")],
    cases: Annotated[str, typer.Option(help="With cases: part of a name, or a pattern with * and ?.")] = "all",
    as_json: Json = False,
) -> None:
    """Show what there is: cases with their reasons, subjects, or layers with the number of cases that exercise them."""
    from oracle.cli import lists

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", UserWarning)
        entries = lists.entries(what, cases)
    for warning in said:
        typer.echo(f"warning: {warning.message}", err=True)
    if as_json:
        print_json(entries)
        return
    for entry in entries:
        typer.echo("  ".join(", ".join(value) if isinstance(value, list) else str(value) for value in entry.values()))
    if what == "layers" and (lacking := lists.lacking()):
        typer.echo(textwrap.fill(f"torch.nn has, and refbp lacks: {', '.join(lacking)}", 100, subsequent_indent="  "))


@app.command()
def explain(
    case: Annotated[str, typer.Argument(help="A case's name.")],
    subject: Subject = "refbp",
    reference: Reference = "torch",
    dtype: Annotated[str, typer.Option(help="float64 or float32.")] = "float64",
    step: Annotated[int, typer.Option(help="Which training step, from 0.")] = 0,
) -> None:
    """Walk a case in numbers, each beside the reference's, in the order in which backpropagation computes them."""
    from oracle import subjects, suite
    from oracle.execution.explain import walk
    from oracle.harness import run

    run.check_names(reference, (dtype,))
    chosen = suite.named(case)
    if not 0 <= step < chosen.steps:
        raise ValueError(f"case {case} has steps 0 to {chosen.steps - 1}, got step {step}")
    judged = subjects.load(subject)
    typer.echo(f"{chosen.name}: {chosen.why}")
    typer.echo(f"  {'':<12}{f'{judged.name}, {dtype}':>24}{f'{reference}, float64':>24}")
    for section in walk(chosen.astype(dtype), judged, subjects.load(reference), step):
        typer.echo(f"\n{section.title}")
        for line in section.lines:
            typer.echo(f"  {line.name:<12}{line.value:>24.16g}{line.reference:>24.16g}")
        if section.left_out:
            typer.echo(f"  … and {section.left_out:,} more")
