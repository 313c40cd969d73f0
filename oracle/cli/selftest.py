"""`oracle selftest`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from oracle.cli.app import Json, Scheduler, WorkerCount, app, print_json, require_writable


@app.command()
def selftest(
    rivals: Annotated[
        bool, typer.Option("--rivals", help="Apply the rules of other tools to the same bugs and variants.")
    ] = False,
    corpus: Annotated[
        bool, typer.Option("--corpus", help="Judge published bugs of other projects, rebuilt here, and their repairs.")
    ] = False,
    models: Annotated[
        bool,
        typer.Option(
            "--models", help="Judge correct models of timm, torchvision and transformers, which must not be blamed."
        ),
    ] = False,
    sensitivity: Annotated[
        bool,
        typer.Option("--sensitivity", help="Find the smallest error that is caught, for every class and quantity."),
    ] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="Only a seventh, in float32; of the other tests a smaller part.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run in --out; not with --sensitivity.")
    ] = False,
    minutes: Annotated[
        float | None,
        typer.Option(min=0, help="With --rivals, --corpus or --models: start nothing new after this time."),
    ] = None,
    workers: WorkerCount = None,
    scheduler: Scheduler = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the report and its table, such as selftest.md and selftest.csv.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Test the checker itself: it must catch planted bugs, and must not blame correct variants.

    Four other tests take the place of this one: --rivals applies the rules of other tools, --corpus judges other projects' bugs,
    --models judges other people's models, --sensitivity finds how small an error is caught.
    """
    if rivals + corpus + models + sensitivity > 1:
        raise typer.BadParameter("choose one of --rivals, --corpus, --models and --sensitivity")
    if resume and (sensitivity or out is None):
        raise typer.BadParameter("--resume needs --out, and a run other than --sensitivity")
    if minutes is not None and not rivals + corpus + models:
        raise typer.BadParameter("--minutes needs one of --rivals, --corpus and --models")
    if out is not None:
        require_writable(out)
    how = {"resume": resume, "minutes": minutes}
    where = Where(workers, scheduler)
    if rivals:
        _rivals(quick, how, where, out, as_json)
    elif corpus:
        _corpus(quick, how, where, out, as_json)
    elif models:
        _models(quick, how, where, out, as_json)
    elif sensitivity:
        _sensitivity(where, out, as_json)
    else:
        _selftest(quick, resume, where, out, as_json)


class Where(NamedTuple):
    """Where the jobs are done: by so many processes, or on the cluster of a scheduler."""

    workers: int | None
    scheduler: str | None


def _about() -> str:
    from oracle.report import terminal
    from oracle.report.environment import environment

    return f"{terminal.opening(environment())}."


def _with_progress(what: str, where: Where, work: Callable[[Any, Any], Any]) -> Any:
    """work(progress, executor) while a bar is shown."""
    from oracle.harness import cluster
    from oracle.harness.executors import Limits
    from oracle.report import terminal

    with terminal.progress(what) as progress, cluster.pool(*where, Limits()) as executor:
        return work(progress, executor)


def _show(what: str, render: Any, result: Any) -> None:
    """Print a result's summary, its failures and its outcome; `render` is the module that formats it."""
    from oracle.report import terminal

    show = terminal.console()
    show.print(terminal.two_columns(render.summary_table(result)))
    if not result.passed and (failures := render.failures(result)):
        show.print(failures, soft_wrap=True)
    show.print(_ended(what, result))


def _ended(what: str, result: Any) -> str:
    return f"{what}: {'passed' if result.passed else 'targets missed'} in {result.seconds:.0f} s"


def _write(name: str, render: Any, result: Any, out: Path | None) -> None:
    if out is not None:
        (out / f"{name}.md").write_text(render.markdown(result, _about()), encoding="utf-8")


def _selftest(quick: bool, resume: bool, where: Where, out: Path | None, as_json: bool) -> None:
    from oracle.selftest import render, score

    kept = None if out is None else out / "selftest.jsonl"
    result = _with_progress(
        "self-test", where, lambda progress, executor: score.run(quick, progress, executor, kept, resume)
    )
    _write("selftest", render, result, out)
    if out is not None:
        result.bug_table().to_csv(out / "selftest.csv", index=False)
    if as_json:
        print_json(result.to_json())
    else:
        _show("self-test", render, result)
    raise typer.Exit(0 if result.passed else 1)


def _rivals(quick: bool, how: dict[str, Any], where: Where, out: Path | None, as_json: bool) -> None:
    from oracle.report import terminal
    from oracle.selftest.rivals import render, score

    kept = None if out is None else out / "rivals.csv"
    result = _with_progress(
        "rivals", where, lambda progress, executor: score.run(quick, progress, executor, kept, **how)
    )
    _write("rivals", render, result, out)
    if as_json:
        print_json(result.table().to_dict(orient="records"))
    else:
        show = terminal.console()
        for _, what, said in render.summary_table(result).itertuples():
            show.print(f"{what}: {said}", soft_wrap=True, markup=False, highlight=False)
        show.print(_ended("rivals", result))
    raise typer.Exit(0 if result.passed else 1)


def _corpus(quick: bool, how: dict[str, Any], where: Where, out: Path | None, as_json: bool) -> None:
    from oracle.selftest.corpus import render, score

    kept = None if out is None else out / "corpus.csv"
    result = _with_progress(
        "corpus", where, lambda progress, executor: score.run(quick, progress, executor, kept, **how)
    )
    _write("corpus", render, result, out)
    if out is not None:
        result.table().to_csv(out / "corpus.csv", index=False)
    if as_json:
        print_json({"passed": result.passed, "bugs": result.table().to_dict(orient="records")})
    else:
        _show("corpus", render, result)
    raise typer.Exit(0 if result.passed else 1)


def _models(quick: bool, how: dict[str, Any], where: Where, out: Path | None, as_json: bool) -> None:
    from oracle.selftest.models import render, score

    kept = None if out is None else out / "models.csv"
    result = _with_progress(
        "models", where, lambda progress, executor: score.run(quick, progress, executor, kept, **how)
    )
    _write("models", render, result, out)
    if as_json:
        print_json({"passed": result.passed, "models": result.table().to_dict(orient="records")})
    else:
        _show("models", render, result)
    raise typer.Exit(0 if result.passed else 1)


def _sensitivity(where: Where, out: Path | None, as_json: bool) -> None:
    from oracle.report import terminal
    from oracle.selftest import sensitivity

    found = _with_progress("sensitivity", where, sensitivity.run)
    if out is not None:
        (out / "sensitivity.md").write_text(sensitivity.markdown(found, _about()), encoding="utf-8")
    if as_json:
        print_json(sensitivity.frame(found).to_dict(orient="records"))
    else:
        terminal.console().print(terminal.plain_table(sensitivity.summary(found)))
