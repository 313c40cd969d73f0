"""The loop of every kind of run: jobs in sequence or in parallel, with reports of progress."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future
from typing import NamedTuple, TypeAlias, TypeVar

from oracle.blame.details import Detail
from oracle.judging.rows import FAILED, LOCAL, Row
from oracle.wording import errors

# Called with (jobs done, jobs in all, name of the next).
Progress: TypeAlias = Callable[[int, int, str], None]
Job = TypeVar("Job")
Result = TypeVar("Result")


class Judged(NamedTuple):
    """The result of a job.

    Attributes:
        details: the arrays of discrepancies.
        left: the names of settings of the process that the subject left changed.
        profile: the subject's profile, in words.
    """

    rows: list[Row]
    details: list[Detail]
    seconds: float
    left: tuple[str, ...] = ()
    profile: tuple[str, ...] = ()


def contained(case: str, dtype: str, work: Callable[[], tuple[list[Row], list[Detail]]]) -> Judged:
    """The result of judging a case. An exception is a failure of the harness itself, which affects this case only."""
    start = time.perf_counter()
    try:
        rows, details = work()
    except Exception as error:
        rows, details = [Row(case, dtype, 0, "", "", "", LOCAL, FAILED, errors.failure(error))], []
    return Judged(rows, details, time.perf_counter() - start)


class WorkerDied(RuntimeError):
    """The process of a job ended before the job was done."""


def in_turn(
    work: Callable[[Job], Result],
    jobs: Sequence[Job],
    name: Callable[[Job], str],
    progress: Progress | None = None,
    executor: Executor | None = None,
    lost: Callable[[Job, BrokenExecutor], Result] | None = None,
) -> Iterator[tuple[Job, Result]]:
    """Each job with its result, in the order of the jobs.

    executor: runs jobs in parallel, from this call on; without one each runs in this process when its turn comes.
    lost: gives the result of a job whose process ended before the job was done.
    Raises: WorkerDied if a job is lost and `lost` is not given.
    """
    futures = deque(executor.submit(work, job) for job in jobs) if executor is not None else None
    return _results(work, jobs, name, progress, futures, lost)


def _results(
    work: Callable[[Job], Result],
    jobs: Sequence[Job],
    name: Callable[[Job], str],
    progress: Progress | None,
    futures: deque[Future[Result]] | None,
    lost: Callable[[Job, BrokenExecutor], Result] | None,
) -> Iterator[tuple[Job, Result]]:
    try:
        for done, job in enumerate(jobs):
            if progress is not None:
                progress(done, len(jobs), name(job))
            if futures is None:
                yield job, work(job)
                continue
            try:
                result = futures.popleft().result()
            except BrokenExecutor as error:
                if lost is None:
                    raise WorkerDied(f"{name(job)}: the process that it ran in {error}") from error
                result = lost(job, error)
            yield job, result
    finally:
        for future in futures or ():
            future.cancel()
    if progress is not None:
        progress(len(jobs), len(jobs), "")
