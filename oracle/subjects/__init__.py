"""Subjects: implementations under test, one adapter module each, imported only when asked for."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from oracle.profile import profile_of
from oracle.subjects import libraries
from oracle.trace import Subject

BUILT_IN = tuple(libraries.DISTRIBUTIONS)


class SubjectError(ValueError):
    """A subject that cannot be had, in one sentence."""


def load(subject: str | Any) -> Subject:
    """A subject by name, by "module:object", or the object itself.

    Raises: SubjectError for an unknown name, a module that cannot be imported, or an object without `name` and `run`.
    """
    if not isinstance(subject, str):
        return _checked(subject, repr(subject))
    if subject in BUILT_IN:
        return _checked(_imported(f"oracle.subjects.{subject}", subject), subject)
    if ":" not in subject:
        raise SubjectError(
            f"unknown subject {subject!r}: known are {', '.join(BUILT_IN)}, or module:object for one of your own"
        )
    module_name, _, attribute = subject.partition(":")
    module = _imported(module_name, subject)
    if not hasattr(module, attribute):
        raise SubjectError(f"subject {subject!r}: module {module_name} has no {attribute!r}")
    return _checked(getattr(module, attribute), subject)


def _imported(module: str, subject: str) -> Any:
    try:
        return importlib.import_module(module)
    except Exception as error:
        if subject in BUILT_IN and not libraries.versions(subject):
            lacking = " and ".join(libraries.DISTRIBUTIONS[subject])
            raise SubjectError(
                f"subject {subject!r} needs {lacking}, not installed here: {libraries.how_to_install(subject)}"
            ) from error
        raise SubjectError(f"subject {subject!r} cannot be imported: {type(error).__name__}: {error}") from error


def _checked(candidate: Any, name: str) -> Subject:
    if not callable(getattr(candidate, "run", None)) or not isinstance(getattr(candidate, "name", None), str):
        raise SubjectError(f"subject {name} needs a string `name` and a method `run(case) -> Trace`")
    try:
        profile_of(candidate)
    except ValueError as error:
        raise SubjectError(str(error)) from error
    return candidate  # type: ignore[no-any-return]
