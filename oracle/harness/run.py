"""Brings subjects and judge together: runs cases and collects what was found. Only this module knows both."""

from __future__ import annotations

import math
import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import BrokenExecutor, Executor
from dataclasses import replace
from typing import Any, NamedTuple

from oracle import subjects, suite
from oracle.blame.details import Detail
from oracle.case.case import Case, CaseError
from oracle.exchange.numbers import shown
from oracle.execution.network import check
from oracle.harness import apart, called
from oracle.harness.jobs import Judged, Progress, contained, in_turn
from oracle.harness.judge import Trial, tried
from oracle.judging.case_rows import unjudged
from oracle.judging.long_runs import STRETCH, condensed, lengths, resumed, stretch
from oracle.judging.rows import CONVENTION, CRASHED, FAILED, UNDECIDED, UNSUPPORTED, WRONG, Row
from oracle.judging.training import TrainingRun, trained
from oracle.judging.witness import judge_by_witness, with_sides
from oracle.report.about import About
from oracle.report.report import Report
from oracle.running_error import UNIT_ROUNDOFF
from oracle.suite.tried import never_tried
from oracle.trace import Subject
from oracle.wording.errors import in_a_line

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
    progress: Progress | None = None,
    executor: Executor | None = None,
) -> Report:
    """Hold a subject against a reference over the suite's cases.

    With the digit networks among the cases, both also train these freely for several epochs, side by side.

    Args:
        subject: "refbp", "torch", "module:object", or an object with `name` and `run(case) -> Trace`.
        reference: "torch" or "refbp"; it gives the expected values, in float64.
        cases: a pattern for the suite's cases (see `oracle.suite.matching`), or cases of your own.
        dtypes: what the subject computes in: "float64", "float32", "float16", "bfloat16".
        witness: also hold the subject's gradients against derivatives taken from refbp's forward alone.
        strict_conventions: count what differs by convention as a discrepancy.
        executor: where cases are judged side by side (see `oracle.workers`); the subject is then given by its name.
        progress: called with (runs done, runs in all, name of the next case).
    Raises: ValueError (SubjectError, CaseError) for an argument that names nothing. A subject that raises does not stop the
        run: its case becomes a `crashed` row.

    >>> report = oracle.run("refbp", cases="worked-example/plain", dtypes=["float32"])
    >>> report.passed
    True
    >>> report.table.columns[:6].tolist()
    ['case', 'dtype', 'step', 'layer', 'layer_type', 'quantity']
    """
    check_names(reference, dtypes)
    dtypes = tuple(dict.fromkeys(dtypes))
    # Where cases are judged side by side, nothing of a user's subject runs here.
    who = apart.named(executor, subject)
    chosen = list(suite.matching(cases)) if isinstance(cases, str) else checked(cases)
    jobs = [
        Job(case.astype(dtype), subject, reference, witness, strict_conventions) for case in chosen for dtype in dtypes
    ]
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
    ended_early = {row.case for row in rows if row.verdict in (CRASHED, UNSUPPORTED, FAILED)}
    present = {case.name for case in chosen} - ended_early
    lacking = {row.case for row in rows if row.verdict == UNSUPPORTED and not row.layer}
    free = [
        FreeRun(network, subject, reference) for network in suite.networks.digit_networks() if network.name in present
    ]
    if progress is not None and free:
        progress(len(jobs), len(jobs), "free training on the digits")
    ended = [end for _, end in in_turn(trained_freely, free, lambda run: run.network.name, None, executor, not_trained)]
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
    return Report.of(rows, about, seconds, runs, details)


def again(subject: str | Any, reference: str, is_suite: bool) -> str:
    """How to see one case's discrepancy again: options of the command line, or a call where that has no name for the subject,
    which is an object, or for the case, which is not the suite's."""
    option = f"--subject {subject}" if isinstance(subject, str) else getattr(subject, "option", "")
    if option and is_suite:
        return option if reference == "torch" else f"{option} --reference {reference}"
    name = repr(subject) if isinstance(subject, str) else subject.name
    other = "" if reference == "torch" else f", reference={reference!r}"
    return f"oracle.run({name}{other}, cases={'{case}' if is_suite else '[case]'}, dtypes=({{dtype}},))"


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


def checked(cases: Iterable[Case]) -> list[Case]:
    """Cases of one's own that can be run. Raises: CaseError."""
    if isinstance(cases, Case):
        raise CaseError(f"cases expects a pattern or a list of cases, got the case {cases.name} itself")
    if not isinstance(cases, Iterable):
        raise CaseError(f"cases expects a pattern or a list of cases, got {type(cases).__name__}")
    chosen = list(cases)
    if not chosen:
        raise CaseError("there is no case to run: the list of cases is empty")
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
    """Raises: ValueError for a reference or dtype that there is not, or no dtype at all."""
    if reference not in REFERENCES:
        raise ValueError(f"unknown reference {shown(reference)}: known are {', '.join(REFERENCES)}")
    if not isinstance(dtypes, (tuple, list)) or not dtypes:
        raise ValueError(f"dtypes expects a list of at least one of {', '.join(UNIT_ROUNDOFF)}, got {shown(dtypes)}")
    for dtype in dtypes:
        if dtype not in UNIT_ROUNDOFF:
            raise ValueError(f"unknown dtype {dtype!r}: known are {', '.join(UNIT_ROUNDOFF)}")


class Job(NamedTuple):
    """A case in its dtype, and who is to be held against whom."""

    case: Case
    subject: str | Any
    reference: str
    witness: bool
    strict_conventions: bool


def lost(job: Job, error: BrokenExecutor) -> Judged:
    """What stands for a job whose process ended: a crash if that was in the subject's code, else a failure of the harness."""
    verdict = CRASHED if getattr(error, "in_subject", False) else FAILED
    return Judged([unjudged(job.case, verdict, f"the process that it ran in {error}")], [], math.nan)


def judged(job: Job) -> Judged:
    """A job's rows; a failure of the harness in it is a row as well."""
    subject, reference = called.load(job.subject), subjects.load(job.reference)
    done = contained(job.case.name, job.case.dtype, lambda: judged_case(job.case, subject, reference, job.witness))
    rows = [_strict(row) for row in done.rows] if job.strict_conventions else done.rows
    return done._replace(rows=rows, left=subject.left, profile=tuple(subject.profile.in_words()))


def _strict(row: Row) -> Row:
    if row.verdict != CONVENTION:
        return row
    return row.found(WRONG, f"differs by convention, and conventions are strict: {row.diagnosis}")


def judged_apart(job: Job, executor: Executor | None) -> Judged:
    """The same in a worker, if there is one."""
    ((_, done),) = in_turn(judged, [job], lambda job: job.case.name, None, executor, lost)
    return done


class FreeRun(NamedTuple):
    """A network to be trained freely by subject and reference."""

    network: suite.networks.DigitNetwork
    subject: str | Any
    reference: str


def trained_freely(run: FreeRun) -> TrainingRun | str:
    """The run, or why there is none: a subject that does not show what it goes on from, or raises, cannot be trained freely."""
    try:
        return trained(run.network, called.load(run.subject), subjects.load(run.reference))
    except ValueError as error:
        return str(error)
    except Exception as error:  # whatever a subject raises is a finding about the subject
        return f"{run.network.name}: {in_a_line(error)}"


def not_trained(run: FreeRun, error: BrokenExecutor) -> str:
    """Why there is no run whose process ended."""
    return f"{run.network.name}: the process that it ran in {error}"


def judged_case(
    case: Case, subject: Subject, reference: Subject, witness: bool = False
) -> tuple[list[Row], list[Detail]]:
    """All rows of one case in its dtype, and the arrays behind what went wrong.

    Of a long run there is a row per quantity and stretch, and none after it crashed.
    """
    if case.steps <= STRETCH:
        trial = tried(case, subject, reference)
        return _rows(case, trial, witness), list(trial.judgement.details)
    rows, details, going = [], [], case
    for start, steps in lengths(case):
        part = stretch(case, start, steps)
        part = replace(part, params=going.params, optimizer_state=going.optimizer_state)
        trial = tried(part, subject, reference)
        own = [replace(row, step=row.step + start) for row in _rows(part, trial, witness)]
        rows += condensed(own)
        details += [detail.after(start) for detail in trial.judgement.details]
        if not trial.ended_well:
            break
        try:
            going = resumed(part, trial.trace)
        except ValueError as error:
            return [*rows, unjudged(case, UNDECIDED, str(error))], details
    return rows, details


def _rows(case: Case, trial: Trial, witness: bool) -> list[Row]:
    """A trial's rows; with what the third witness says, where it is asked."""
    rows = list(trial.judgement.rows)
    if not witness or not trial.ended_well:
        return rows
    testimony = judge_by_witness(case, trial.trace)
    return with_sides(rows, testimony) + testimony


def load_cases(path: str) -> list[Case]:
    """A case file, checked: it can be built and its shapes fit together. Raises: CaseError."""
    case = Case.load(path)
    if case.dtype not in UNIT_ROUNDOFF:
        raise CaseError(f"case file {path}: unknown dtype {case.dtype!r}: known are {', '.join(UNIT_ROUNDOFF)}")
    try:
        check(case)
    except CaseError as error:
        raise CaseError(f"case file {path}: {error}") from error
    return [case]
