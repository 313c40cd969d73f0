"""What the command line has done with a user's subject: always in another process, so that a subject cannot end the run, nor say
how it ended."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from oracle import subjects
from oracle.harness import called, executors
from oracle.subjects import SubjectError

Result = TypeVar("Result")
Arguments = ParamSpec("Arguments")
# Fewer jobs than this are done before another worker has started; with many, also those of this package are done side by side.
JOBS_A_WORKER, MANY = 8, 200


def is_users(subject: str | Any) -> bool:
    """Whether it is somebody else's code that would run in this process."""
    return isinstance(subject, str) and subject not in subjects.BUILT_IN


@contextmanager
def workers(subject: str | Any, jobs: int, seconds: float | None = None) -> Iterator[Executor | None]:
    """Where jobs with this subject are done: None, which is here, for a few of a subject of this package.

    seconds: that a call into a user's subject may take.
    Raises: SubjectError for a name that nobody has.
    """
    if seconds is not None and not seconds > 0:
        raise SubjectError(f"a time limit is a number of seconds above 0, got {seconds:g}")
    if is_users(subject):
        subjects.require_known(subject)
        count = max(1, min(os.cpu_count() or 1, jobs // JOBS_A_WORKER))
        with executors.pool(count, executors.Limits(seconds, str(Path.cwd()))) as pool:
            yield pool
    elif jobs > MANY:
        with executors.pool() as pool:
            yield pool
    else:
        yield None


def done(
    executor: Executor | None, work: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs
) -> Result:
    """What the work returns, wherever it is done. Raises: SubjectError where its process ended; whatever the work raises."""
    if executor is None:
        return work(*args, **kwargs)
    try:
        return executor.submit(work, *args, **kwargs).result()
    except BrokenExecutor as error:
        raise SubjectError(f"the process that the subject ran in {error}") from error


def named(executor: Executor | None, subject: str | Any) -> str:
    """How a subject calls itself. Raises: SubjectError."""
    return done(executor if is_users(subject) else None, called.name_of, subject)
