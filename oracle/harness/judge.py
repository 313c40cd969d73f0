"""The only entry point of the judge: it turns a step into rows, with known errors and likely causes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Protocol, TypeAlias

from oracle.blame.details import Detail, place_of
from oracle.blame.search import Evidenced, evidences, explained
from oracle.case.case import Case
from oracle.judging.case_rows import crashed, judge, unjudged
from oracle.judging.comparison import ReferenceFailed
from oracle.judging.known import with_known
from oracle.judging.profile import Profile, profile_of
from oracle.judging.rows import CONVENTION, CRASHED, DISCREPANCIES, FAILED, MISSING, UNSUPPORTED, Row
from oracle.judging.unusable import with_faults
from oracle.judging.verdict import by_company
from oracle.judging.wiring import completed
from oracle.trace import Subject, Trace, Unsupported, traced
from oracle.wording import errors

# Whether likely causes are searched for, which takes longer than judging; or a function of the rows that says so.
Wanted: TypeAlias = bool | Callable[[Sequence[Row]], bool]


class Step(Protocol):
    """Something to be judged, with its reference: a case with its trace, the calls of a module, or an operation of a program.

    A step provides its rows, and evidence about those that are wrong; it need not have a case or a layer.
    """

    def judged(self, profile: Profile) -> Iterable[Row]:
        """A row for each quantity, in the order in which they are computed. Raises: ReferenceFailed."""
        ...

    def behind(self, rows: Sequence[Row], profile: Profile) -> Iterable[Evidenced]:
        """The evidence about some of its rows, as far as there is any."""
        ...


@dataclass(frozen=True)
class Judgement:
    """The result of judging a step.

    Attributes:
        rows: the rows, with known errors and likely causes.
        details: the arrays of its discrepancies.
    """

    rows: tuple[Row, ...]
    details: tuple[Detail, ...] = ()

    def behind(self, row: Row) -> Detail | None:
        """The arrays of one of its rows, if they are kept."""
        return next((detail for detail in self.details if detail.place == place_of(row)), None)


def judge_step(step: Step, profile: Profile, known_as: Collection[str], *, causes: Wanted = True) -> Judgement:
    """The rows of a step. Every kind of check goes through this function.

    Args:
        profile: the subject's profile.
        known_as: the implementations whose known errors are not discrepancies.
        causes: whether likely causes are searched for.
    Raises: ReferenceFailed.
    """
    rows = with_known(by_company(step.judged(profile)), known_as)
    if not (causes(rows) if callable(causes) else causes):
        return Judgement(tuple(rows))
    try:
        found, details = explained(rows, lambda wanted: step.behind(wanted, profile))
    except Exception as error:  # if the search itself fails, the verdicts stand without it
        said = f"not found: the search for it failed, please report this: {errors.failure(error)}"
        found, details = [_without_cause(row, said) for row in rows], []
    return Judgement(tuple(found), tuple(details))


def _without_cause(row: Row, said: str) -> Row:
    return replace(row, cause=said) if row.verdict in DISCREPANCIES and not row.cause else row


@dataclass(frozen=True)
class CaseStep:
    """A case with the subject's trace, and the exception that ended the trace, if there was one."""

    case: Case
    trace: Trace
    reference: Subject
    error: BaseException | None = None

    def judged(self, profile: Profile) -> list[Row]:
        if self.error is None:
            return with_faults(self.case, judge(self.case, self.trace, self.reference, profile), self.trace)
        so_far = judge(self.case, self.trace, self.reference, profile) if len(self.trace) else []
        shown = [row for row in so_far if row.verdict != MISSING and row.quantity not in ("branches", "")]
        return [*shown, crashed(self.case, self.error)]

    def behind(self, rows: Sequence[Row], profile: Profile) -> Iterable[Evidenced]:
        return evidences(self.case, self._completed, self.reference, rows, profile)

    @cached_property
    def _completed(self) -> Trace:
        return completed(self.case, self.trace)


@dataclass(frozen=True)
class Trial:
    """The result of a subject's run of a case.

    Attributes:
        trace: its trace, up to an error if there was one.
        ended_well: whether a further run can continue from it.
    """

    judgement: Judgement
    trace: Trace = field(default_factory=Trace)
    ended_well: bool = False


def tried(case: Case, subject: Subject, reference: Subject, *, causes: Wanted = True) -> Trial:
    """Runs a subject, and judges its trace, its exception, or its refusal."""
    profile, known_as = profile_of(subject), {subject.name, reference.name}
    try:
        trace = traced(subject, case)
    except Unsupported as error:
        return Trial(Judgement((unjudged(case, UNSUPPORTED, str(error)),)))
    except Exception as error:  # any exception here is a finding about the subject
        shown = getattr(error, "trace", None)
        so_far = shown if isinstance(shown, Trace) else Trace()
        step = CaseStep(case, so_far, reference, error)
        return Trial(judge_step(step, profile, {subject.name}, causes=causes), so_far)
    try:
        return Trial(judge_step(CaseStep(case, trace, reference), profile, known_as, causes=causes), trace, True)
    except ReferenceFailed as error:
        return Trial(Judgement((_of_reference(case, error, reference),)))


def _of_reference(case: Case, error: ReferenceFailed, reference: Subject) -> Row:
    """The row for a reference that cannot run a case: a failure of the harness, unless it lacks a layer or the error is known."""
    (row,) = with_known([unjudged(case, CRASHED, str(error))], {reference.name})
    if row.verdict == CONVENTION:
        return row.found(UNSUPPORTED, f"{error}; {row.diagnosis}")
    return row.found(UNSUPPORTED if isinstance(error.__cause__, Unsupported) else FAILED, str(error))
