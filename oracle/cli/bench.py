"""`oracle bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from oracle.cli.app import Json, app, print_json, require_writable


@app.command()
def bench(
    sections: Annotated[
        list[str] | None, typer.Argument(help="Sections to measure, such as layers or training. Default: all.")
    ] = None,
    runs: Annotated[
        int, typer.Option(min=1, help="How many times each section is measured, each time in a new process.")
    ] = 1,
    quick: Annotated[bool, typer.Option("--quick", help="Measure a small part, with few repetitions.")] = False,
    out: Annotated[Path, typer.Option(help="Folder for benchmarks.md, .svg and .json.")] = Path("reports"),
    as_json: Json = False,
) -> None:
    """Measure the speed of refbp and of the judge beside that of other libraries."""
    from oracle import bench as benchmarks
    from oracle.bench import kept, process, render
    from oracle.report import terminal

    names = list(dict.fromkeys(sections or benchmarks.SECTIONS))
    for name in names:
        benchmarks.load(name)
    kept.load(out)
    require_writable(out)
    notes, show = terminal.console(stderr=True), terminal.console()
    measured: dict[str, Any] = {}
    for name in names:
        results = []
        for number in range(1, runs + 1):
            notes.print(f"{name}, run {number} of {runs}", soft_wrap=True)
            machine, result = process.measure(name, quick)
            results.append(result)
            measured[name] = {"machine": machine, "runs": [result.to_json() for result in results]}
            files = kept.save(out, measured)  # after an interrupt the results so far are there
        if not as_json:
            show.print(render.where(machine), soft_wrap=True)
            show.print(terminal.plain_table(render.goals(results)))
    if as_json:
        print_json(measured)
    notes.print(f"written: {', '.join(map(str, files))}", soft_wrap=True)
