"""Subjects: the implementations under test, each in one adapter module that is imported only when it is asked for.

Other packages register their subjects in the entry-point group `oracle.subjects`, as name = "module:object".
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from importlib import metadata
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from oracle.judging.profile import profile_of
from oracle.subjects import libraries
from oracle.trace import Subject
from oracle.wording.errors import Sentence, in_a_line, message

BUILT_IN = tuple(libraries.DISTRIBUTIONS)
GROUP = "oracle.subjects"


class SubjectError(Sentence):
    """A subject that cannot be loaded. The message is one sentence."""


def load(subject: str | Any) -> Subject:
    """A subject by name, by "module:object", by "module" if the module itself is a subject, or the object itself.

    Raises: SubjectError for an unknown name, a module that cannot be imported, or an object without `name` and `run`.
    """
    if not isinstance(subject, str):
        return _checked(subject, _shown(subject))
    _refuse_path(subject)
    if subject in BUILT_IN:
        return _checked(_imported(f"oracle.subjects.{subject}", subject), subject)
    if ":" in subject:
        return _found(subject, subject)
    others = require_known(subject)
    return _found(others[subject].value if subject in others else subject, subject)


def require_known(subject: str) -> dict[str, Registered]:
    """The registered subjects of other packages by name, without importing them.

    Raises: SubjectError for a name that is neither a built-in or registered subject nor a module.
    """
    _refuse_path(subject)
    others = {own.name: own for own in registered()}
    if subject not in BUILT_IN and subject not in others and ":" not in subject and not is_module(subject):
        known = ", ".join([*BUILT_IN, *others])
        raise SubjectError(f"unknown subject {subject!r}: known are {known}, or module:object for one of your own")
    return others


def _refuse_path(subject: str) -> None:
    """Raises: SubjectError for the path of a file in place of a module."""
    path, _, attributes = subject.partition(":")
    if path.endswith(".py") or "/" in path:
        stem = Path(path).stem
        raise SubjectError(
            f"subject {subject!r} is a path, expected module:object, such as {stem}:{attributes or 'subject'} in the folder of "
            f"{stem}.py"
        )


def is_module(name: str) -> bool:
    """Whether the module exists, in the current folder too; for a module inside a package, whether the package exists."""
    top = name.partition(".")[0]
    if not all(part.isidentifier() for part in name.split(".")):
        return False
    return PathFinder.find_spec(top, [str(Path.cwd()), *sys.path]) is not None


class Registered(NamedTuple):
    """A subject that another package registers: its name, its location, and the package with its version."""

    name: str
    value: str
    package: str
    version: str


def registered() -> list[Registered]:
    """The registered subjects of other packages: the first of each name, without names of built-in subjects."""
    found: dict[str, Registered] = {}
    for point in metadata.entry_points(group=GROUP):
        package, version = ("?", "?") if point.dist is None else (point.dist.name, point.dist.version)
        if point.name not in BUILT_IN:
            found.setdefault(point.name, Registered(point.name, point.value, package, version))
    return [found[name] for name in sorted(found)]


def problem(subject: Registered) -> str:
    """The reason, in one sentence, why a registered subject cannot be used; "" if it can."""
    try:
        _found(subject.value, subject.name)
    except SubjectError as error:
        return f"package {subject.package}: {error}"
    return ""


def _found(value: str, subject: str) -> Subject:
    """The object that "module:object" names. Raises: SubjectError."""
    module_name, _, attributes = value.partition(":")
    found = _imported(module_name.strip(), subject)
    for attribute in attributes.strip().split(".") if attributes else ():
        try:
            found = getattr(found, attribute)
        except AttributeError as error:
            raise SubjectError(f"subject {subject!r}: module {module_name} has no {attributes!r}") from error
    return _checked(found, subject)


def _shown(subject: Any) -> str:
    try:
        return repr(subject)
    except Exception:  # a `__repr__` of its own
        return f"of type {type(subject).__name__}"


def _imported(module: str, subject: str) -> Any:
    try:
        return importlib.import_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # any exception is about the subject, SystemExit too
        if subject in BUILT_IN and not libraries.versions(subject):
            lacking = " and ".join(libraries.DISTRIBUTIONS[subject])
            raise SubjectError(
                f"subject {subject!r} needs {lacking}, not installed here: {libraries.how_to_install(subject)}"
            ) from error
        raise SubjectError(f"subject {subject!r} cannot be imported: {in_a_line(error)}") from error


def _inside(candidate: Any) -> str:
    """A hint, if the candidate is a module with an object `subject`, as `oracle init` writes it."""
    if isinstance(candidate, ModuleType) and callable(getattr(vars(candidate).get("subject"), "run", None)):
        return f"; the module has one: {candidate.__name__}:subject"
    return ""


def _checked(candidate: Any, name: str) -> Subject:
    if isinstance(candidate, type):
        raise SubjectError(f"subject {name} is a class, expected an object: {candidate.__name__}(…)")
    try:
        if not callable(getattr(candidate, "run", None)) or not isinstance(getattr(candidate, "name", None), str):
            raise SubjectError(
                f"subject {name} needs a string `name` and a method `run(case) -> Trace`{_inside(candidate)}"
            )
        profile_of(candidate)
    except KeyboardInterrupt:
        raise
    except ValueError as error:
        raise SubjectError(message(error)) from error
    except BaseException as error:  # properties of its own
        raise SubjectError(
            f"subject {name} cannot be asked for its name, run and profile: {in_a_line(error)}"
        ) from error
    return candidate  # type: ignore[no-any-return]
