"""Calls a subject so that any failure affects only the case, is attributed to the subject, and changes nothing outside."""

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
    """A subject with isolated calls.

    Attributes:
        name, profile, accumulates: the subject's own, read once.
        left: the names of shared settings that it left changed; they have been restored.
    """

    def __init__(self, subject: Subject) -> None:
        self.subject, self.name, self.profile = subject, subject.name, profile_of(subject)
        self.accumulates = bool(getattr(subject, "accumulates", False))
        self.left: tuple[str, ...] = ()
        home = getattr(subject, "__name__", type(subject).__module__)
        self.is_users = str(home).partition(".")[0] != "oracle"

    @property
    def option(self) -> str:
        """The option by which the command line names it."""
        return str(getattr(self.subject, "option", self.name))

    def run(self, case: Case) -> Trace:
        """The subject's trace of a case. A user's subject receives every option, also those that the case leaves at defaults.

        Raises: Unsupported, or any other Exception of the subject; Raised for a BaseException; TypeError for a result that is
        not a trace."""
        around = Surroundings()
        try:
            with (
                warnings.catch_warnings(),
                _answerable(),
            ):  # an import may add a filter of warnings, which is removed silently
                return owned(self.subject.run(filled(case).handed_out() if self.is_users else case))
        finally:
            self.left = tuple(dict.fromkeys((*self.left, *around.put_back())))


def load(subject: str | Any) -> Called:
    """The subject, loaded by `subjects.load`. Raises: SubjectError."""
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
    """Inside, the subject's own code runs: the time limit applies, and anything it raises is turned into an Exception."""
    calls_subject()
    try:
        yield
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt) and not is_worker():  # in a worker it does not come from the user
            raise
        if isinstance(error, Exception) and _can_be_asked(error):
            raise
        said = f"{type(error).__name__}: {errors.message(error)}".strip(": ")
        raise errors.Raised(said).with_traceback(error.__traceback__) from None
    finally:
        subject_returns()


def _can_be_asked(error: Exception) -> bool:
    """Whether an exception has a text, and `trace` and `place`, if it has them, have the types expected here."""
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
    """The trace with copies of its arrays. Raises: TypeError for anything but a trace."""
    if not isinstance(trace, Trace):
        raise TypeError(f"run returned {type(trace).__name__}, expected an oracle.Trace")
    return trace.owned()
