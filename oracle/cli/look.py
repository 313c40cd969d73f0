"""Commands that look at the suite: `oracle list` and `oracle explain`."""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from oracle.cli.app import Json, Reference, Subject, TimeLimit, app, print_json


@app.command("list")
def list_(
    what: Annotated[str, typer.Argument(help="cases, subjects, layers, ops, conventions or causes.")],
    cases: Annotated[
        str, typer.Option(help="For the list of cases: part of a name, or a pattern with * and ?.")
    ] = "all",
    as_json: Json = False,
) -> None:
    """Show a list: the cases and why each exists, the subjects, the layers and how many cases exercise them, the rules for the
    operations of programs, the conventions that a subject can declare, or the causes that a report can name."""
    from oracle.cli import lists

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", UserWarning)
        entries = lists.entries(what, cases)
    for warning in said:
        typer.echo(f"warning: {warning.message}", err=True)
    if as_json:
        print_json(entries)
        return
    if what in lists.ABOUT:
        typer.echo(textwrap.fill(lists.ABOUT[what], 100) + "\n")
    for line in _columns(entries) if what in lists.TABLES else map("  ".join, map(_texts, entries)):
        typer.echo(line)
    if what == "layers" and (lacking := lists.lacking()):
        typer.echo(
            textwrap.fill(f"classes of torch.nn that refbp lacks: {', '.join(lacking)}", 100, subsequent_indent="  ")
        )


def _texts(entry: dict[str, Any]) -> list[str]:
    return [", ".join(value) if isinstance(value, list) else str(value) for value in entry.values()]


def _columns(entries: list[dict[str, Any]]) -> Iterator[str]:
    """A table of the entries, with the names of their fields as headings."""
    rows = [list(entries[0]), *map(_texts, entries)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    yield from ("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows)


FORMATS = ("text", "markdown", "json", "html", "svg")


@app.command()
def explain(
    case: Annotated[str, typer.Argument(help="A case's name.")],
    subject: Subject = "refbp",
    reference: Reference = "torch",
    dtype: Annotated[str, typer.Option(help="float64, float32, float16 or bfloat16.")] = "float64",
    step: Annotated[int, typer.Option(help="The training step to show, from 0.")] = 0,
    every: Annotated[bool, typer.Option("--all", help="Show every number, also of large arrays.")] = False,
    format: Annotated[str, typer.Option(help=f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}.")] = "text",
    time_limit: TimeLimit = 60.0,
) -> None:
    """Show the numbers of a training step, each beside the reference's, in the order in which backpropagation computes them."""
    from oracle.harness import apart
    from oracle.harness.explain import explain as explained

    if format not in FORMATS:
        raise ValueError(f"unknown format {format!r}: known are {', '.join(FORMATS)}")
    with apart.workers(subject, 1, time_limit) as pool:
        walk = apart.done(pool, explained, case, subject, reference, dtype, step, every=every)
    shown = {"text": walk.__str__, "markdown": walk.to_markdown, "json": walk.to_json, "html": walk.to_html}
    shown["svg"] = walk.to_svg
    typer.echo(shown[format]())
