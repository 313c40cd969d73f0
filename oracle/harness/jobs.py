"""The loop of every kind of run: jobs done one after the other, or side by side, while somebody is told how far it is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor
from typing import NamedTuple, TypeAlias, TypeVar

from oracle import errors
from oracle.blame.details import Detail
from oracle.judging.verdict import FAILED, LOCAL, Row

# Called with (jobs done, jobs in all, name of the next).
Progress: TypeAlias = Callable[[int, int, str], None]
Job = TypeVar("Job")
Result = TypeVar("Result")


class Judged(NamedTuple):
    """All rows of a job, the arrays behind what went wrong, and the seconds that it took."""

    rows: list[Row]
    details: list[Detail]
    seconds: float


def contained(case: str, dtype: str, work: Callable[[], tuple[list[Row], list[Detail]]]) -> Judged:
    """What came of judging a case. What is raised on the way is the harness's own failure: it costs this case, not the run."""
    start = time.perf_counter()
    try:
        rows, details = work()
    except Exception as error:
        rows, details = [Row(case, dtype, 0, "", "", "", LOCAL, FAILED, errors.failure(error))], []
    return Judged(rows, details, time.perf_counter() - start)


class WorkerDied(RuntimeError):
    """The process of some jobs ended before they were done; `job` is the first of them."""

    def __init__(self, job: str) -> None:
        super().__init__(f"the process died in {job} or one of the jobs after it")
        self.job = job


def in_turn(
    work: Callable[[Job], Result],
    jobs: Sequence[Job],
    name: Callable[[Job], str],
    progress: Progress | None = None,
    executor: Executor | None = None,
) -> Iterator[tuple[Job, Result]]:
    """Each job with what came of it, in the order of the jobs.

    executor: where jobs are done side by side; without one they are done here.
    Raises: WorkerDied.
    """
    results = map(work, jobs) if executor is None else executor.map(work, jobs, chunksize=4)
    for done, job in enumerate(jobs):
        if progress is not None:
            progress(done, len(jobs), name(job))
        try:
            result = next(results)
        except BrokenExecutor as error:
            raise WorkerDied(name(job)) from error
        yield job, result
    if progress is not None:
        progress(len(jobs), len(jobs), "")
