"""`oracle fuzz`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from oracle.cli.app import (
    Json,
    Reference,
    Scheduler,
    Subject,
    TimeLimit,
    WorkerCount,
    app,
    print_json,
    require_writable,
)

CASES, MOST_CASES = 1000, 10**7
# Of the subject's time limit: the time for the reference and the judge too.
WHOLE = 5


@app.command()
def fuzz(
    subject: Subject = "refbp",
    reference: Reference = "torch",
    cases: Annotated[
        int | None,
        typer.Option(min=1, help=f"How many cases. Default: {CASES}; with --minutes as many as there is time for."),
    ] = None,
    minutes: Annotated[float | None, typer.Option(min=0, help="Begin no case after this time.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Another seed draws other cases.")] = 0,
    kinds: Annotated[
        list[str] | None,
        typer.Option(help="layers, losses, optimizers or networks; may be repeated. Default: all of them."),
    ] = None,
    workers: WorkerCount = None,
    scheduler: Scheduler = None,
    time_limit: TimeLimit = 60.0,
    memory: Annotated[float, typer.Option(min=0.5, help="Gigabytes that a child process may take.")] = 8.0,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the campaign in --out.")] = False,
    out: Annotated[
        Path, typer.Option(help="Folder for the table of cases, the report, and a page for each group.")
    ] = Path("fuzz"),
    as_json: Json = False,
) -> None:
    """Judge a subject on random cases that nobody chose, and say who errs.

    A case is drawn from its seed and number alone, and runs in a child process.
    """
    from oracle.fuzz import campaign, draw, pages
    from oracle.fuzz.trial import Settings
    from oracle.harness import apart, cluster, executors, run
    from oracle.report import terminal

    run.check_names(reference, run.DTYPES)
    chosen = tuple(dict.fromkeys(kinds or ())) or draw.KINDS
    if unknown := [kind for kind in chosen if kind not in draw.KINDS]:
        raise ValueError(f"unknown kind {unknown[0]!r}: known are {', '.join(dict.fromkeys(draw.KINDS))}")
    count = cases or (CASES if minutes is None else MOST_CASES)
    limits = executors.Limits(time_limit, str(Path.cwd()), memory, WHOLE * time_limit)
    with terminal.progress_bar() as bar, cluster.pool(workers, scheduler, limits) as pool:
        apart.named(pool, subject)
        require_writable(out)
        task = bar.add_task("cases", total=None if minutes is not None else count)

        def progress(done: int, total: int, name: str) -> None:
            bar.update(task, advance=1 if done else 0, description=name[:40].ljust(40))

        found = campaign.run(
            Settings(subject, reference, seed, chosen),
            count,
            out,
            resume=resume,
            minutes=minutes,
            executor=pool,
            progress=progress,
        )
    with cluster.pool(workers, scheduler, limits._replace(whole=None)) as pool:
        written = pages.write(found, out, pool)
    if as_json:
        print_json({"verdicts": dict(found.verdicts), "cases": [own._asdict() for own in found.outcomes if own.owner]})
    else:
        show = terminal.console()
        for verdict, number in found.verdicts.most_common():
            show.print(f"{number:>8,} {verdict}", highlight=False)
        for group in found.groups:
            owner = f"; who errs: {group.first.owner}" if group.first.owner else ""
            show.print(
                f"{len(group.outcomes)} x {group.what}{owner}: {group.first.words}",
                soft_wrap=True,
                markup=False,
                highlight=False,
            )
    notes = terminal.console(stderr=True)
    rate = found.fresh / found.seconds if found.seconds else 0.0
    notes.print(f"{found.fresh:,} cases in {found.seconds:.0f} s, {rate:.1f} a second", soft_wrap=True)
    notes.print(f"fuzz: {out}/{pages.REPORT}, {campaign.TABLE}, {len(written)} pages in {pages.PAGES}/", soft_wrap=True)
    raise typer.Exit(found.status)
