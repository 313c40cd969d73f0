"""The jobs of a run, in this process or in a worker: judging a case, or training a network freely."""

from __future__ import annotations

import math
from concurrent.futures import BrokenExecutor, Executor
from dataclasses import replace
from typing import Any, NamedTuple

from oracle import subjects, suite
from oracle.blame.details import Detail
from oracle.case.case import Case
from oracle.harness import called
from oracle.harness.jobs import Judged, contained, in_turn
from oracle.harness.judge import Trial, tried
from oracle.judging.case_rows import unjudged
from oracle.judging.long_runs import STRETCH, condensed, lengths, resumed, stretch
from oracle.judging.rows import CONVENTION, CRASHED, FAILED, UNDECIDED, WRONG, Row
from oracle.judging.training import TrainingRun, trained
from oracle.judging.witness import judge_by_witness, with_sides
from oracle.trace import Subject
from oracle.wording.errors import in_a_line


class Job(NamedTuple):
    """A case in its dtype, with the subject and the reference."""

    case: Case
    subject: str | Any
    reference: str
    witness: bool
    strict_conventions: bool


def lost(job: Job, error: BrokenExecutor) -> Judged:
    """The result of a job whose process ended: a crash if the subject's code was running, else a failure of the harness."""
    verdict = CRASHED if getattr(error, "in_subject", False) else FAILED
    return Judged([unjudged(job.case, verdict, f"the process that it ran in {error}")], [], math.nan)


def judged(job: Job) -> Judged:
    """The rows of a job; a failure of the harness becomes a row too."""
    subject, reference = called.load(job.subject), subjects.load(job.reference)
    done = contained(job.case.name, job.case.dtype, lambda: judged_case(job.case, subject, reference, job.witness))
    rows = [_strict(row) for row in done.rows] if job.strict_conventions else done.rows
    return done._replace(rows=rows, left=subject.left, profile=tuple(subject.profile.in_words()))


def _strict(row: Row) -> Row:
    if row.verdict != CONVENTION:
        return row
    return row.found(WRONG, f"differs by convention, and conventions are strict: {row.diagnosis}")


def judged_apart(job: Job, executor: Executor | None) -> Judged:
    """The same in a worker of `executor`, if there is one."""
    ((_, done),) = in_turn(judged, [job], lambda job: job.case.name, None, executor, lost)
    return done


def get_ready() -> None:
    """Imports, in a worker, what every job needs."""
    subjects.load("torch")


class FreeRun(NamedTuple):
    """A network that subject and reference train freely."""

    network: suite.networks.DigitNetwork
    subject: str | Any
    reference: str


def trained_freely(run: FreeRun) -> TrainingRun | str:
    """The run, or the reason why there is none: the subject raised an error, or its trace lacks the state to continue from."""
    try:
        return trained(run.network, called.load(run.subject), subjects.load(run.reference))
    except ValueError as error:
        return str(error)
    except Exception as error:  # any exception here is a finding about the subject
        return f"{run.network.name}: {in_a_line(error)}"


def not_trained(run: FreeRun, error: BrokenExecutor) -> str:
    """The reason for a missing run whose process ended."""
    return f"{run.network.name}: the process that it ran in {error}"


def judged_case(
    case: Case, subject: Subject, reference: Subject, witness: bool = False
) -> tuple[list[Row], list[Detail]]:
    """All rows of one case in its dtype, and the arrays of its discrepancies.

    A long run has a row per quantity and stretch, and none after a crash.
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
    """The rows of a trial, with those of the third witness if it is asked for."""
    rows = list(trial.judgement.rows)
    if not witness or not trial.ended_well:
        return rows
    testimony = judge_by_witness(case, trial.trace)
    return with_sides(rows, testimony) + testimony
