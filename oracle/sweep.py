"""Brings subjects and judge together: runs cases and collects what was found. Only this module knows both."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from typing import Any, NamedTuple

from oracle import subjects, suite
from oracle.case import Case, CaseError
from oracle.details import Detail
from oracle.environment import environment
from oracle.evidence import kept
from oracle.findings import mark_known
from oracle.judge import ReferenceFailed, crashed, judge, unsupported
from oracle.network import check
from oracle.report import Report
from oracle.trace import Subject, Trace, Unsupported
from oracle.training import TrainingRun, trained
from oracle.verdict import CRASHED, UNSUPPORTED, Row
from oracle.witness import judge_by_witness, note_sides

REFERENCES = ("torch", "refbp")
DTYPES = ("float64", "float32")
Progress = Callable[[int, int, str], None]


def run(
    subject: str | Any = "refbp",
    reference: str = "torch",
    cases: str | Iterable[Case] = "all",
    dtypes: Sequence[str] = DTYPES,
    *,
    witness: bool = False,
    progress: Progress | None = None,
    executor: Executor | None = None,
) -> Report:
    """Hold a subject against a reference over the suite's cases.

    With the digit networks among the cases, both also train these freely for several epochs, side by side.

    Args:
        subject: "refbp", "torch", "module:object", or an object with `name` and `run(case) -> Trace`.
        reference: "torch" or "refbp"; it gives the expected values, in float64.
        cases: a pattern for the suite's cases (see `oracle.suite.matching`), or cases of your own.
        dtypes: what the subject computes in: "float64", "float32".
        witness: also hold the subject's gradients against derivatives taken from refbp's forward alone.
        executor: where cases are judged side by side (see `oracle.workers`); the subject is then given by its name.
        progress: called with (cases done, cases in all, name of the next case).
    Raises: ValueError (SubjectError, CaseError) for an argument that names nothing. A subject that raises does not stop the
        run: its case becomes a `crashed` row.
    """
    check_names(reference, dtypes)
    implementation = subjects.load(subject)
    if isinstance(cases, str):
        chosen = list(suite.matching(cases))
    else:
        chosen = list(cases)
        for case in chosen:
            check(case)
    jobs = [Job(case.astype(dtype), subject, reference, witness) for case in chosen for dtype in dtypes]
    rows: list[Row] = []
    details: list[Detail] = []
    seconds: dict[tuple[str, str], float] = {}
    results = map(judged, jobs) if executor is None else executor.map(judged, jobs, chunksize=4)
    for done, job in enumerate(jobs):
        if progress is not None:
            progress(done, len(jobs), job.case.name)
        own, arrays, seconds[job.case.name, job.case.dtype] = next(results)
        rows += own
        details += arrays
    ended_early = {row.case for row in rows if row.verdict in (CRASHED, UNSUPPORTED)}
    present = {case.name for case in chosen} - ended_early
    free = [
        FreeRun(network, subject, reference) for network in suite.networks.digit_networks() if network.name in present
    ]
    if progress is not None and free:
        progress(len(jobs), len(jobs), "free training on the digits")
    runs = list(map(trained_freely, free) if executor is None else executor.map(trained_freely, free))
    if progress is not None:
        progress(len(jobs), len(jobs), "")
    about = {
        **environment(),
        "subject": implementation.name,
        "reference": reference,
        "dtypes": list(dtypes),
        "cases": len(chosen),
        "command": command(subject, reference, cases, dtypes, witness),
    }
    return Report.of(rows, about, seconds, runs, details)


def command(
    subject: str | Any, reference: str, cases: str | Iterable[Case], dtypes: Sequence[str], witness: bool
) -> str:
    """The command that does the same again, or the call where an object was given that no command can name."""
    if not isinstance(subject, str) or not isinstance(cases, str):
        name = subject if isinstance(subject, str) else subject.name
        chosen = f"cases={cases!r}, " if isinstance(cases, str) else ""
        return f"oracle.run(subject={name!r}, reference={reference!r}, {chosen}dtypes={tuple(dtypes)!r})"
    words = ["oracle", "run", "--subject", subject, "--reference", reference, "--cases", cases]
    words += [word for dtype in dtypes for word in ("--dtype", dtype)]
    return shlex.join(words + ["--witness"] * witness)


def check_names(reference: str, dtypes: Iterable[str]) -> None:
    """Raises: ValueError for a reference or dtype that there is not."""
    if reference not in REFERENCES:
        raise ValueError(f"unknown reference {reference!r}: known are {', '.join(REFERENCES)}")
    for dtype in dtypes:
        if dtype not in DTYPES:
            raise ValueError(f"unknown dtype {dtype!r}: known are {', '.join(DTYPES)}")


class Job(NamedTuple):
    """A case in its dtype, and who is to be held against whom."""

    case: Case
    subject: str | Any
    reference: str
    witness: bool


class Judged(NamedTuple):
    """All rows of a job, the arrays behind what went wrong, and the seconds that it took."""

    rows: list[Row]
    details: list[Detail]
    seconds: float


def judged(job: Job) -> Judged:
    start = time.perf_counter()
    rows, details = judged_case(job.case, subjects.load(job.subject), subjects.load(job.reference), job.witness)
    return Judged(rows, details, time.perf_counter() - start)


class FreeRun(NamedTuple):
    """A network to be trained freely by subject and reference."""

    network: suite.networks.DigitNetwork
    subject: str | Any
    reference: str


def trained_freely(run: FreeRun) -> TrainingRun:
    return trained(run.network, subjects.load(run.subject), subjects.load(run.reference))


def judged_case(
    case: Case, subject: Subject, reference: Subject, witness: bool = False
) -> tuple[list[Row], list[Detail]]:
    """All rows of one case in its dtype, and the arrays behind what went wrong."""
    try:
        trace = subject.run(case)
    except Unsupported as error:
        return unsupported(case, error), []
    except Exception as error:  # whatever a subject raises is a finding about the subject
        rows = crashed(case, error)
        mark_known(rows, {subject.name})
        return rows, []
    if not isinstance(trace, Trace):
        return crashed(case, TypeError(f"run returned {type(trace).__name__}, expected an oracle.Trace")), []
    try:
        rows = judge(case, trace, reference)
    except ReferenceFailed as error:
        return unsupported(case, error), []
    mark_known(rows, {subject.name, reference.name})
    details = kept(case, trace, reference, rows)
    if witness:
        testimony = judge_by_witness(case, trace)
        note_sides(rows, testimony)
        rows += testimony
    return rows, details


def load_cases(path: str) -> list[Case]:
    """A case file, checked: it can be built and its shapes fit together. Raises: CaseError."""
    case = Case.load(path)
    if case.dtype not in DTYPES:
        raise CaseError(f"case file {path}: unknown dtype {case.dtype!r}: known are {', '.join(DTYPES)}")
    try:
        check(case)
    except CaseError as error:
        raise CaseError(f"case file {path}: {error}") from error
    return [case]
