"""The loop of every kind of run: jobs in sequence or in parallel, with reports of progress."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future
from functools import partial
from itertools import islice
from queue import SimpleQueue
from typing import NamedTuple, TypeAlias, TypeVar

from oracle.blame.details import Detail
from oracle.judging.rows import FAILED, LOCAL, Row
from oracle.wording import errors

# Called with (jobs done, jobs in all, name of the next).
Progress: TypeAlias = Callable[[int, int, str], None]
AHEAD = 2000  # jobs that are handed out at a time, unless an executor asks for more
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
            yield job, _result(job, futures.popleft(), name, lost)
    finally:
        for future in futures or ():
            future.cancel()
    if progress is not None:
        progress(len(jobs), len(jobs), "")


def _result(
    job: Job,
    future: Future[Result],
    name: Callable[[Job], str],
    lost: Callable[[Job, BrokenExecutor], Result] | None,
) -> Result:
    try:
        return future.result()
    except BrokenExecutor as error:
        if lost is None:
            raise WorkerDied(f"{name(job)}: the process that it ran in {error}") from error
        return lost(job, error)


def as_done(
    work: Callable[[Job], Result],
    jobs: Iterable[Job],
    executor: Executor | None = None,
    lost: Callable[[Job, BrokenExecutor], Result] | None = None,
    ahead: int | None = None,
) -> Generator[tuple[Job, Result], None, None]:
    """Each job with its result, in the order in which they are done: no job waits for a slower one before it.

    ahead: how many jobs are handed out at a time, at most; None for as many as keep the executor busy. Of endless jobs the rest
        is never listed.
    executor, lost: as in `in_turn`.
    Raises: WorkerDied if a job is lost and `lost` is not given.
    """
    if executor is None:
        yield from ((job, work(job)) for job in jobs)
        return
    left, done, waiting = iter(jobs), SimpleQueue[tuple[Job, Future[Result]]](), set[Future[Result]]()

    def hand_out() -> None:
        most = max(AHEAD, getattr(executor, "ahead", AHEAD)) if ahead is None else ahead
        for job in islice(left, max(0, most - len(waiting))):
            future = executor.submit(work, job)
            waiting.add(future)
            future.add_done_callback(partial(_put, done, job))

    try:
        hand_out()
        while waiting:
            job, future = done.get()
            waiting.discard(future)
            hand_out()
            yield job, _result(job, future, str, lost)
    finally:
        for future in waiting:
            future.cancel()


def _put(done: SimpleQueue[tuple[Job, Future[Result]]], job: Job, future: Future[Result]) -> None:
    done.put((job, future))
