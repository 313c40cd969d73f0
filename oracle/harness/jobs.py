"""The loop of every kind of run: jobs done one after the other, or side by side, while somebody is told how far it is."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor
from typing import NamedTuple, TypeAlias, TypeVar

from oracle.blame.details import Detail
from oracle.judging.rows import FAILED, LOCAL, Row
from oracle.wording import errors

# Called with (jobs done, jobs in all, name of the next).
Progress: TypeAlias = Callable[[int, int, str], None]
Job = TypeVar("Job")
Result = TypeVar("Result")


class Judged(NamedTuple):
    """What came of a job.

    Attributes:
        details: the arrays behind what went wrong.
        left: in words what the subject left changed that everybody in its process shares.
        profile: in words what it declares about itself.
    """

    rows: list[Row]
    details: list[Detail]
    seconds: float
    left: tuple[str, ...] = ()
    profile: tuple[str, ...] = ()


def contained(case: str, dtype: str, work: Callable[[], tuple[list[Row], list[Detail]]]) -> Judged:
    """What came of judging a case. What is raised on the way is the harness's own failure: it costs this case, not the run."""
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
    """Each job with what came of it, in the order of the jobs.

    executor: where jobs are done side by side; without one they are done here.
    lost: what stands for a job whose process ended before it was done.
    Raises: WorkerDied where a job is lost and nothing stands for it.
    """
    futures = deque(executor.submit(work, job) for job in jobs) if executor is not None else deque()
    try:
        for done, job in enumerate(jobs):
            if progress is not None:
                progress(done, len(jobs), name(job))
            if executor is None:
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
        for future in futures:
            future.cancel()
    if progress is not None:
        progress(len(jobs), len(jobs), "")
