"""A subject as the harness calls it: whatever it does in its call costs the case, is the subject's, and reaches nobody else."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from oracle import subjects
from oracle.case.case import Case
from oracle.execution.options import filled
from oracle.harness.executors import calls_subject, is_worker, subject_returns
from oracle.harness.surroundings import Surroundings
from oracle.judging.profile import profile_of
from oracle.trace import Subject, Trace
from oracle.wording import errors


class Called:
    """A subject whose calls are contained.

    Attributes:
        name, profile, accumulates: the subject's own, asked once.
        left: in words, what it left changed that everybody shares; it has been put back.
    """

    def __init__(self, subject: Subject) -> None:
        self.subject, self.name, self.profile = subject, subject.name, profile_of(subject)
        self.accumulates = bool(getattr(subject, "accumulates", False))
        self.left: tuple[str, ...] = ()
        home = getattr(subject, "__name__", type(subject).__module__)
        self.is_users = str(home).partition(".")[0] != "oracle"

    @property
    def option(self) -> str:
        """How the command line names it."""
        return str(getattr(self.subject, "option", self.name))

    def run(self, case: Case) -> Trace:
        """A user's subject is given every option, also those that the case leaves at their defaults.

        Raises: Unsupported, or any other Exception of the subject; Raised for what is none; TypeError for what is no trace."""
        around = Surroundings()
        try:
            with warnings.catch_warnings(), _answerable():  # every import may add a filter: put back, and not said
                return owned(self.subject.run(filled(case).handed_out() if self.is_users else case))
        finally:
            self.left = tuple(dict.fromkeys((*self.left, *around.put_back())))


def load(subject: str | Any) -> Called:
    """As `subjects.load`. Raises: SubjectError."""
    try:
        with _answerable():
            return Called(subjects.load(subject))
    except errors.Raised as error:
        raise subjects.SubjectError(f"subject {subject!r} cannot be imported: {errors.in_a_line(error)}") from error


def name_of(subject: str | Any) -> str:
    """How a subject calls itself. Raises: SubjectError."""
    return load(subject).name


@contextmanager
def _answerable() -> Iterator[None]:
    """The subject's own code: a time limit counts, and what it raises can be handled."""
    calls_subject()
    try:
        yield
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt) and not is_worker():  # of a worker it is none of the user's
            raise
        if isinstance(error, Exception) and _can_be_asked(error):
            raise
        said = f"{type(error).__name__}: {errors.message(error)}".strip(": ")
        raise errors.Raised(said).with_traceback(error.__traceback__) from None
    finally:
        subject_returns()


def _can_be_asked(error: Exception) -> bool:
    """Whether it has a text, and its `trace` and `place`, if it has any, are what these names mean here."""
    try:
        str(error)
        trace, places = getattr(error, "trace", None), [getattr(own, "place", None) for own in (error, error.__cause__)]
        if isinstance(trace, Trace):
            error.trace = owned(trace)  # type: ignore[attr-defined]
    except KeyboardInterrupt:
        raise
    except BaseException:
        return False
    return all(
        place is None or (isinstance(place, tuple) and len(place) == 2 and all(isinstance(name, str) for name in place))
        for place in places
    )


def owned(trace: Any) -> Trace:
    """A trace whose arrays are nobody else's. Raises: TypeError."""
    if not isinstance(trace, Trace):
        raise TypeError(f"run returned {type(trace).__name__}, expected an oracle.Trace")
    return trace.owned()
