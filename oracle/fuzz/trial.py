"""The work on one random case, in this process or in a worker."""

from __future__ import annotations

from concurrent.futures import BrokenExecutor

from oracle import subjects
from oracle.blame.blame import Blame, blame
from oracle.case.case import Case
from oracle.fuzz import draw
from oracle.fuzz.outcome import REFUSED, Job, Outcome, Settings, quiet, short
from oracle.fuzz.owner import JUDGE, Owner, owner
from oracle.harness import called
from oracle.harness.judge import Trial, tried
from oracle.judging.rows import CONVENTION, CRASHED, DISCREPANCIES, FAILED, GRAVITY, LOCAL, PASS, Row
from oracle.trace import Subject, Trace, Unsupported
from oracle.wording.errors import failure, in_a_line


def judged(job: Job) -> Outcome:
    """The outcome of a case. A failure of the harness is the judge's."""
    settings = job.settings
    if job.is_program:
        from oracle.fuzz import program_trial

        with quiet():
            return program_trial.judged(job)
    with quiet():
        drawn = draw.drawn(settings.seed, job.number, settings.kinds)
        blank = Outcome(job.number, drawn.case.dtype, _operation(drawn.case), PASS)
        return _judged(settings, drawn, blank)


def _judged(settings: Settings, drawn: draw.Drawn, blank: Outcome) -> Outcome:
    try:
        subject, reference = called.load(settings.subject), subjects.load(settings.reference)
        if drawn.refusal:
            other = subject if reference.name == "refbp" else reference
            return _refused(blank, drawn.case, {"refbp": drawn.refusal}, other)
        trial = tried(drawn.case, subject, reference)
        return _outcome(blank, drawn.case, trial, subject, reference)
    except Exception as error:  # of the harness: it costs this case only
        return blank._replace(verdict=FAILED, owner=JUDGE, words=short(failure(error)))


def lost(job: Job, error: BrokenExecutor) -> Outcome:
    """The outcome of a case whose process ended: in the subject's code, or in the reference's or the judge's."""
    if job.is_program:
        words = short(f"the process that it ran in {error}")
        return Outcome(job.number, "", draw.PROGRAMS, FAILED, f"{job.settings.subject} or {JUDGE}", words=words)
    drawn = draw.drawn(job.settings.seed, job.number, job.settings.kinds)
    in_subject = getattr(error, "in_subject", False)
    return Outcome(
        job.number,
        drawn.case.dtype,
        _operation(drawn.case),
        CRASHED if in_subject else FAILED,
        str(job.settings.subject) if in_subject else f"{job.settings.reference} or {JUDGE}",
        words=short(f"the process that it ran in {error}"),
    )


def _outcome(blank: Outcome, case: Case, trial: Trial, subject: Subject, reference: Subject) -> Outcome:
    rows = trial.judgement.rows
    gravest: Row = max(rows, key=lambda row: GRAVITY[row.verdict])
    if gravest.verdict == PASS:
        return blank
    found = blank._replace(
        operation=blank.operation if case.grads else gravest.layer_type or blank.operation,
        verdict=gravest.verdict,
        quantity=gravest.quantity,
        words=short(gravest.diagnosis),
    )
    if gravest.verdict == FAILED and (said := _refusal(reference, case)):
        return _refused(blank, case, {reference.name: said}, subject)
    if gravest.verdict == CRASHED and not trial.ended_well and (said := _refusal(reference, case)):
        return _refused(blank, case, {subject.name: gravest.diagnosis}, reference)
    if gravest.verdict not in DISCREPANCIES:
        return found._replace(owner=JUDGE if gravest.verdict == FAILED else _said_to_err(gravest, subject, reference))
    culprit = blame(rows, subject.name)[0]
    who = _owner(case, trial, culprit, subject, reference)
    return found._replace(
        operation=blank.operation if case.grads else culprit.layer_type or blank.operation,
        verdict=culprit.verdict,
        owner=who.name,
        quantity=culprit.quantity,
        cause=culprit.cause_name,
        words=short(f"{culprit.diagnosis}; {who.why}"),
    )


def _said_to_err(row: Row, *sides: Subject) -> str:
    """The side that errs according to a `convention` row: a known error, or one of layout or rounding. "" for a legal choice."""
    said = ("known error of {}", "{} errs here", "{} rounds here")
    own = (side.name for side in sides for text in said if row.diagnosis.startswith(text.format(side.name)))
    return next(own, "") if row.verdict == CONVENTION else ""


def _owner(case: Case, trial: Trial, culprit: Blame, subject: Subject, reference: Subject) -> Owner:
    if culprit.verdict == CRASHED:
        return Owner(subject.name, f"{reference.name} gives numbers")
    local = any(row.mode == LOCAL and row.verdict in DISCREPANCIES for row in trial.judgement.rows)
    return owner(case, trial.trace if local else Trace(), culprit, subject, reference)


def _refusal(who: Subject, case: Case) -> str:
    """The reason why an implementation does not run a case, or ""."""
    try:
        who.run(case.handed_out())
    except Unsupported as error:
        return f"not supported: {error}"
    except Exception as error:  # any exception counts as a refusal
        return in_a_line(error)
    return ""


def _refused(blank: Outcome, case: Case, said: dict[str, str], other: Subject) -> Outcome:
    """The outcome of a case that one side refuses: does the other take it?"""
    ((name, words),) = said.items()
    theirs = words if other.name == name else _refusal(other, case)
    if theirs:
        return blank._replace(verdict=REFUSED, words=short(f"{name} and {other.name} refuse it: {words}"))
    return blank._replace(verdict=REFUSED, owner=name, words=short(f"{name} refuses what {other.name} takes: {words}"))


def _operation(case: Case) -> str:
    """The classes in a case, without those inside of containers."""
    specs = [*case.layers, *(own for own in (case.loss, case.optimizer) if own is not None)]
    return "+".join(dict.fromkeys(own.type for own in specs))
