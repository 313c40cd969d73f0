"""`oracle.run`: judges a subject on cases, and collects the rows in a report."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from typing import Any

from oracle import suite
from oracle.blame.details import Detail
from oracle.case.case import Case, CaseError
from oracle.exchange.numbers import shown
from oracle.execution.network import check
from oracle.harness import apart
from oracle.harness.jobs import Progress, in_turn
from oracle.harness.work import FreeRun, Job, judged, lost, not_trained, trained_freely
from oracle.judging.rows import CRASHED, FAILED, UNSUPPORTED, Row
from oracle.judging.training import TrainingRun
from oracle.report.about import About
from oracle.report.report import Report
from oracle.running_error import UNIT_ROUNDOFF
from oracle.suite.tried import never_tried

REFERENCES = ("torch", "refbp")
DTYPES = ("float64", "float32")  # what a run judges unless told otherwise


def run(
    subject: str | Any = "refbp",
    reference: str = "torch",
    cases: str | Iterable[Case] = "all",
    dtypes: Sequence[str] = DTYPES,
    *,
    witness: bool = False,
    strict_conventions: bool = False,
    workers: int | None = None,
    scheduler: str | None = None,
    progress: Progress | None = None,
    executor: Executor | None = None,
) -> Report:
    """Compare a subject with a reference on cases of the suite.

    If the digit networks are among the cases, subject and reference also train them for several epochs, independently.

    Args:
        subject: "refbp", "torch", "module:object", or an object with `name` and `run(case) -> Trace`.
        reference: "torch" or "refbp"; it gives the expected values, in float64.
        cases: part of a case's name or a pattern with * and ?, or a list of your own cases.
        dtypes: the dtypes in which the subject computes: "float64", "float32", "float16", "bfloat16".
        witness: also compare the subject's gradients with finite differences of refbp's forward pass.
        strict_conventions: count differences by convention as discrepancies.
        workers, scheduler: run cases in so many processes, or on the workers of the Dask scheduler at this address; the subject
            must then be given by name. A script calls it under `if __name__ == "__main__":`, since each process imports it.
        executor: runs cases in parallel (see `oracle.harness.executors`); the subject must then be given by name.
        progress: called with (runs done, runs in all, name of the next case).
    Raises: ValueError (SubjectError, CaseError) for arguments that cannot be used. A subject that raises an exception does not
        stop the run: its case becomes a `crashed` row.

    >>> report = oracle.run("refbp", cases="worked-example/plain", dtypes=["float32"])
    >>> report.passed
    True
    >>> report.table.columns[:6].tolist()
    ['case', 'dtype', 'step', 'layer', 'layer_type', 'quantity']
    """
    if workers is not None and (not isinstance(workers, int) or workers < 1):
        raise ValueError(f"workers expects a whole number of at least 1, got {workers!r}")
    if executor is None and (workers is not None or scheduler is not None):
        with apart.workers(subject, 0, None, workers, scheduler) as pool:
            how: dict[str, Any] = {"witness": witness, "strict_conventions": strict_conventions, "progress": progress}
            return run(subject, reference, cases, dtypes, **how, executor=pool)
    check_names(reference, dtypes)
    dtypes = tuple(dict.fromkeys(dtypes))
    # With workers no code of a user's subject runs in this process.
    who = apart.named(executor, subject)
    chosen = list(suite.matching(cases)) if isinstance(cases, str) else checked(cases)
    jobs = [
        Job(case.astype(dtype), subject, reference, witness, strict_conventions) for case in chosen for dtype in dtypes
    ]
    names = {case.name for case in chosen}
    networks = [network for network in suite.networks.digit_networks() if network.name in names]
    # The longest jobs come first, so that no worker is waited for at the end.
    training = in_turn(
        trained_freely,
        [FreeRun(network, subject, reference) for network in networks],
        lambda free: free.network.name,
        None,
        executor,
        not_trained,
    )
    rows: list[Row] = []
    details: list[Detail] = []
    seconds: dict[tuple[str, str], float] = {}
    left: set[str] = set()
    declared: tuple[str, ...] = ()
    for job, done in in_turn(judged, jobs, lambda job: job.case.name, progress, executor, lost):
        seconds[job.case.name, job.case.dtype] = done.seconds
        rows += done.rows
        details += done.details
        left |= set(done.left)
        declared = declared or done.profile
    if progress is not None and networks:
        progress(len(jobs), len(jobs), "free training on the digits")
    ended_early = {row.case for row in rows if row.verdict in (CRASHED, UNSUPPORTED, FAILED)}
    lacking = {row.case for row in rows if row.verdict == UNSUPPORTED and not row.layer}
    ended = [end for free, end in training if free.network.name not in ended_early]
    runs = [run for run in ended if isinstance(run, TrainingRun)]
    if progress is not None:
        progress(len(jobs), len(jobs), "")
    untried, usual = never_tried(chosen, lacking)
    about = About.here(
        subject=subject if isinstance(subject, str) else who,
        reference=reference,
        dtypes=dtypes,
        cases=len(chosen),
        not_trained_freely=tuple(run for run in ended if isinstance(run, str)),
        left_changed=tuple(sorted(left)),
        profile=declared,
        never_tried=tuple(untried),
        usual_settings=usual,
        command=command(subject, reference, cases, dtypes, witness),
        again=again(subject, reference, isinstance(cases, str)),
    )
    return Report.of(rows, about, seconds, runs, details, chosen)


def again(subject: str | Any, reference: str, is_suite: bool) -> str:
    """How to run a single case again: options of the command line, or a Python call if the subject is an object or the case is
    not one of the suite."""
    option = f"--subject {subject}" if isinstance(subject, str) else getattr(subject, "option", "")
    if option and is_suite:
        return option if reference == "torch" else f"{option} --reference {reference}"
    name = repr(subject) if isinstance(subject, str) else "subject"
    other = "" if reference == "torch" else f", reference={reference!r}"
    return f"oracle.run({name}{other}, cases={'{case}' if is_suite else '[case]'}, dtypes=({{dtype}},))"


def command(
    subject: str | Any, reference: str, cases: str | Iterable[Case], dtypes: Sequence[str], witness: bool
) -> str:
    """The command that repeats the run, or the Python call if an object was given, which no command can name."""
    if not isinstance(subject, str) or not isinstance(cases, str):
        name = repr(subject) if isinstance(subject, str) else "subject"
        chosen = repr(cases) if isinstance(cases, str) else "cases"
        return f"oracle.run({name}, reference={reference!r}, cases={chosen}, dtypes={tuple(dtypes)!r})"
    words = ["oracle", "run", "--subject", subject, "--reference", reference, "--cases", cases]
    words += [word for dtype in dtypes for word in ("--dtype", dtype)]
    return shlex.join(words + ["--witness"] * witness)


def checked(cases: Iterable[Case]) -> list[Case]:
    """The user's own cases, checked. Raises: CaseError."""
    if isinstance(cases, Case):
        raise CaseError(f"cases expects a pattern or a list of cases, got the case {cases.name} itself")
    if not isinstance(cases, Iterable):
        raise CaseError(f"cases expects a pattern or a list of cases, got {type(cases).__name__}")
    chosen = list(cases)
    if not chosen:
        raise CaseError("cases expects at least one case, got an empty list")
    for case in chosen:
        if not isinstance(case, Case):
            raise CaseError(
                f"a list of cases holds oracle.Case, got {shown(case)}: one of the suite is oracle.suite.named(…)"
            )
        check(case)
    for name, count in Counter(case.name for case in chosen).items():
        if count > 1:
            raise CaseError(f"{count} cases have the same name {name!r}: in a report they could not be told apart")
    return chosen


def check_names(reference: str, dtypes: Sequence[str]) -> None:
    """Raises: ValueError for an unknown reference or dtype, or no dtype at all."""
    if reference not in REFERENCES:
        raise ValueError(f"unknown reference {shown(reference)}: known are {', '.join(REFERENCES)}")
    if not isinstance(dtypes, (tuple, list)) or not dtypes:
        raise ValueError(f"dtypes expects a list of at least one of {', '.join(UNIT_ROUNDOFF)}, got {shown(dtypes)}")
    for dtype in dtypes:
        if dtype not in UNIT_ROUNDOFF:
            raise ValueError(f"unknown dtype {dtype!r}: known are {', '.join(UNIT_ROUNDOFF)}")


def load_cases(path: str) -> list[Case]:
    """The case of a file, checked: it can be built, and its shapes fit together. Raises: CaseError."""
    case = Case.load(path)
    if case.dtype not in UNIT_ROUNDOFF:
        raise CaseError(f"case file {path}: unknown dtype {case.dtype!r}: known are {', '.join(UNIT_ROUNDOFF)}")
    try:
        check(case)
    except CaseError as error:
        raise CaseError(f"case file {path}: {error}") from error
    return [case]
