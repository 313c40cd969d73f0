"""Runs a user's subject for the command line, always in another process, so that a subject can neither end the run nor set its
exit status."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from oracle import subjects
from oracle.harness import called, cluster, executors
from oracle.harness.work import get_ready
from oracle.subjects import SubjectError

Result = TypeVar("Result")
Arguments = ParamSpec("Arguments")
# Starting a worker is worth it from JOBS_A_WORKER jobs on. With more than MANY jobs, this package's own subjects get workers too.
JOBS_A_WORKER, MANY = 8, 200


def is_users(subject: str | Any) -> bool:
    """Whether the subject is a user's code, which would run in this process."""
    return isinstance(subject, str) and subject not in subjects.BUILT_IN


@contextmanager
def workers(
    subject: str | Any, jobs: int, seconds: float | None = None, count: int | None = None, scheduler: str | None = None
) -> Iterator[Executor | None]:
    """The executor for jobs with this subject. None stands for this process: a few jobs with a subject of this package run here.

    jobs: the least number of jobs. Workers for many jobs start at once, while this process prepares the jobs.
    seconds: the time limit for a call of a user's subject.
    count, scheduler: the number of processes, or the address of the Dask scheduler whose workers to use. Either overrides the
        choice by number of jobs.
    Raises: SubjectError for an unknown name; ClusterError for a scheduler that does not answer.
    """
    if seconds is not None and not seconds > 0:
        raise SubjectError(f"a time limit is a number of seconds above 0, got {seconds:g}")
    if count is not None or scheduler is not None:
        if is_users(subject):
            subjects.require_known(subject)
        with cluster.pool(count, scheduler, executors.Limits(seconds, str(Path.cwd()))) as pool:
            yield pool
    elif is_users(subject):
        subjects.require_known(subject)
        count = max(1, min(os.cpu_count() or 1, jobs // JOBS_A_WORKER))
        with executors.pool(count, executors.Limits(seconds, str(Path.cwd()))) as pool:
            yield pool
    elif jobs > MANY:
        with executors.pool() as pool:
            for _ in range(os.cpu_count() or 1):
                pool.submit(get_ready)
            yield pool
    else:
        yield None


def done(
    executor: Executor | None, work: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs
) -> Result:
    """The result of the work, in this process or another. Raises: SubjectError if its process ended; any error of the work."""
    if executor is None:
        return work(*args, **kwargs)
    try:
        return executor.submit(work, *args, **kwargs).result()
    except BrokenExecutor as error:
        raise SubjectError(f"the process that the subject ran in {error}") from error


def named(executor: Executor | None, subject: str | Any) -> str:
    """A subject's name. Raises: SubjectError."""
    return done(executor if is_users(subject) else None, called.name_of, subject)
