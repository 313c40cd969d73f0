"""`oracle fuzz`."""

from __future__ import annotations

from concurrent.futures import Executor
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

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
from oracle.wording.figures import counted

if TYPE_CHECKING:
    from oracle.fuzz.campaign import Campaign
    from oracle.fuzz.mutation import Mutation

CASES, MOST_CASES = 1000, 10**7
# The time limit of a whole case, with reference and judge, in units of the subject's.
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
        typer.Option(
            help="layers, losses, optimizers or networks; may be repeated. Default: these four. "
            "Or programs, which only --subject torch can run."
        ),
    ] = None,
    workers: WorkerCount = None,
    scheduler: Scheduler = None,
    time_limit: TimeLimit = 60.0,
    memory: Annotated[float, typer.Option(min=0.5, help="Gigabytes that a child process may take.")] = 8.0,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the campaign in --out.")] = False,
    mutate: Annotated[
        bool, typer.Option("--mutate", help="Plant faults of falling size, and find the smallest that is caught.")
    ] = False,
    out: Annotated[
        Path, typer.Option(help="Folder for the table of cases, the report, and a page for each group.")
    ] = Path("fuzz"),
    as_json: Json = False,
) -> None:
    """Judge a subject on random cases that nobody chose, and say who errs.

    A case is drawn from its seed and number alone, and runs in a child process.

    With --mutate the judge is tried instead, with faults in the subject's right results.
    """
    from oracle.fuzz import campaign, draw, mutation
    from oracle.fuzz.outcome import Settings
    from oracle.harness import apart, cluster, executors, run
    from oracle.report import terminal

    run.check_names(reference, run.DTYPES)
    chosen = tuple(dict.fromkeys(kinds or ())) or draw.KINDS
    if unknown := [kind for kind in chosen if kind not in draw.KNOWN]:
        raise ValueError(f"unknown kind {unknown[0]!r}: known are {', '.join(draw.KNOWN)}")
    if draw.PROGRAMS in chosen and subject != "torch":
        raise ValueError(f"programs are run by torch: --kinds programs needs --subject torch, got {subject}")
    if draw.PROGRAMS in chosen and mutate:
        raise ValueError("--mutate plants faults into layers, losses, optimizers and networks, not into programs")
    count = cases or (CASES if minutes is None else MOST_CASES)
    limits = executors.Limits(time_limit, str(Path.cwd()), memory, WHOLE * time_limit)
    settings = Settings(subject, reference, seed, chosen)
    with terminal.progress_bar() as bar, cluster.pool(workers, scheduler, limits) as pool:
        apart.named(pool, subject)
        require_writable(out)
        task = bar.add_task("cases", total=None if minutes is not None else count)

        def progress(done: int, total: int, name: str) -> None:
            bar.update(task, completed=done, description=name[:40].ljust(40))

        how: dict[str, Any] = {"resume": resume, "minutes": minutes, "executor": pool, "progress": progress}
        found = mutation.run(settings, count, out, **how) if mutate else campaign.run(settings, count, out, **how)
    if isinstance(found, mutation.Mutation):
        _mutated(found, out, as_json)
    with cluster.pool(workers, scheduler, limits._replace(whole=None)) as pool:
        _judged(found, out, pool, as_json)


def _mutated(found: Mutation, out: Path, as_json: bool) -> NoReturn:
    """Writes and prints the result of --mutate."""
    from oracle.fuzz import mutation
    from oracle.report import terminal

    mutation.write(found, out)
    if as_json:
        print_json(found.to_json())
    else:
        show = terminal.console()
        show.print(terminal.plain_table(mutation.in_words(found.summary())))
        for line in found.warnings():
            show.print(line, soft_wrap=True, markup=False, highlight=False)
    _said(found, f"{out}/{mutation.REPORT}, {mutation.TABLE}, {mutation.CASES}")


def _judged(found: Campaign, out: Path, pool: Executor, as_json: bool) -> NoReturn:
    """Writes and prints the result of a campaign."""
    from oracle.fuzz import campaign, pages
    from oracle.report import terminal

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
    _said(found, f"{out}/{pages.REPORT}, {campaign.TABLE}, {counted(len(written), 'page')} in {pages.PAGES}/")


def _said(found: Campaign | Mutation, files: str) -> NoReturn:
    """Says how fast it was and where the files are, and ends with the status."""
    from oracle.fuzz import campaign
    from oracle.report import terminal

    notes = terminal.console(stderr=True)
    notes.print(campaign.pace(found.fresh, found.seconds), soft_wrap=True)
    notes.print(f"fuzz: {files}", soft_wrap=True)
    raise typer.Exit(found.status)
