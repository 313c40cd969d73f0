"""`oracle selftest`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from oracle.cli.app import Json, app, print_json, require_writable


@app.command()
def selftest(
    quick: Annotated[bool, typer.Option("--quick", help="A seventh of it, in float32.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for selftest.md and selftest.csv.")] = None,
    as_json: Json = False,
) -> None:
    """Measure the checker itself: planted bugs that it must catch, legal implementations that it must not accuse."""
    from oracle.harness import executors
    from oracle.report import terminal
    from oracle.report.environment import environment
    from oracle.selftest import render, score

    if out is not None:
        require_writable(out)
    about = f"{terminal.opening(environment())}."
    with terminal.progress_bar() as bar, executors.pool() as executor:
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
