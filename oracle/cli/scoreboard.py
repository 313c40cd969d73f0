"""`oracle scoreboard`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from oracle.cli.app import Dtype, Scheduler, WorkerCount, app, require_writable


@app.command()
def scoreboard(
    cases: Annotated[str, typer.Option(help="Part of a case's name, or a pattern with * and ?.")] = "all",
    dtype: Dtype = None,
    workers: WorkerCount = None,
    scheduler: Scheduler = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in --out.")] = False,
    out: Annotated[Path, typer.Option(help="Folder for scoreboard.md and scoreboard.csv.")] = Path("reports"),
) -> None:
    """Judge every installed library on the cases of the suite, and write where each conforms."""
    from oracle import suite
    from oracle.harness import cluster, run
    from oracle.harness.executors import Limits
    from oracle.report import terminal
    from oracle.scoreboard import page, scoreboard

    dtypes = tuple(dtype or run.DTYPES)
    run.check_names("torch", dtypes)
    chosen = list(suite.matching(cases))
    require_writable(out)
    with terminal.progress("runs") as progress, cluster.pool(workers, scheduler, Limits()) as executor:
        board = scoreboard.run(chosen, dtypes, executor, progress, kept=out / "scoreboard.jsonl", resume=resume)
    (out / "scoreboard.md").write_text(page.markdown(board), encoding="utf-8")
    board.scores.to_csv(out / "scoreboard.csv", index=False, float_format="%.3g")
    show, notes = terminal.console(), terminal.console(stderr=True)
    show.print(terminal.score_table(page.summary(board)))
    if board.lacking:
        notes.print(page.not_installed(board), soft_wrap=True)
    notes.print(f"scoreboard: {out}/scoreboard.md, scoreboard.csv", soft_wrap=True)
