"""Workers on a Dask cluster, on this machine or many.

Each job runs in a child process of a Dask worker, with the limits that it has on one machine: a crash or a hang costs the job,
and not the worker. Where a worker is killed, the scheduler gives its jobs to another.
"""

from __future__ import annotations

import math
import multiprocessing
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from contextlib import suppress
from typing import Any, NamedTuple, TypeAlias

from oracle.harness import executors
from oracle.harness.executors import Limits, Lost
from oracle.wording.errors import Sentence, in_a_line

# Seconds in which a scheduler has to answer.
ANSWER = 20
# Seconds that a batch of jobs takes, about, and the most jobs in it. With 2 ms a task a scheduler keeps a thousand workers busy.
BATCH, MOST = 2.0, 500
# The share that a batch has in the estimate of a job's time, and the seconds after which the workers are counted again.
SHARE, RECOUNT = 0.2, 5.0
# A function with its arguments.
Work: TypeAlias = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]


class ClusterError(Sentence):
    """A scheduler that cannot be reached, or is gone. The message is one sentence."""


def pool(workers: int | None, scheduler: str | None, limits: Limits) -> Executor:
    """Workers on this machine, or on the cluster of a scheduler. Raises: ClusterError."""
    if scheduler is None:
        return executors.pool(workers, limits)
    if workers is not None:
        raise ClusterError(
            f"choose --workers or --scheduler, got {workers} and {scheduler}: a cluster has its own workers"
        )
    return Cluster(scheduler, limits)


def batch_of(seconds: float) -> int:
    """How many jobs that take so long are a batch. Before the first is done, at 0 seconds, each goes alone."""
    return max(1, min(MOST, int(BATCH / seconds))) if seconds else 1


def places(threads: int) -> int:
    """How many batches are away at a time: one for each thread of a worker, and some on the way."""
    return threads + threads // 4 + 2


class Task(NamedTuple):
    """A job that is to be done.

    Attributes:
        alone: whether it is handed out by itself, because a batch that it was in came to nothing.
    """

    future: Future[Any]
    work: Work
    alone: bool = False


class Cluster(Executor):
    """An executor on the workers of a scheduler, which may come and go.

    The scheduler takes milliseconds for a task, as long as many a job does. So a task is a batch of jobs that takes a second or
    two, each done by itself. If a batch is lost as a whole, its jobs are done again one by one, so that only the guilty one is
    lost.
    """

    def __init__(self, address: str, limits: Limits) -> None:
        try:
            from distributed import Client
        except ImportError as error:
            raise ClusterError(
                "--scheduler needs distributed, which is not installed: pip install 'refbp[dask]'"
            ) from error
        self.address, self.limits = address, limits
        try:
            made: Any = Client
            self._client = made(address, timeout=ANSWER, set_as_default=False)
        except Exception as error:  # each of its protocols raises errors of its own
            raise ClusterError(f"no scheduler answers at {address}: {in_a_line(error)}") from error
        self._lock = threading.Lock()
        self._waiting: deque[Task] = deque()
        self._away: dict[int, Any] = {}  # the scheduler forgets the result of a batch that nobody holds
        self._sent = self._threads = 0
        self._is_alone = False  # whether what was sent last has the cluster for itself
        self._counted = -math.inf
        self._seconds = 0.0  # of a job; 0 before the first is done

    @property
    def ahead(self) -> int:
        """How many jobs keep every worker busy: those that are away, and as many that wait."""
        return 2 * self._places * self._size

    @property
    def _size(self) -> int:
        return batch_of(self._seconds)

    @property
    def _places(self) -> int:
        return places(self._threads)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        with self._lock:
            self._waiting.append(Task(future, (fn, args, kwargs)))
        self._send()
        return future

    def _send(self) -> None:
        """Hand out batches, as long as there are places for them."""
        if time.monotonic() - self._counted > RECOUNT:
            self._counted = time.monotonic()
            with suppress(Exception):  # a scheduler that is gone is noticed below
                self._threads = sum(self._client.nthreads().values())
        while found := self._next():
            number, batch = found
            try:
                remote = self._client.submit(apart, self.limits, [own.work for own in batch], pure=False)
            except Exception as error:
                self._back(number, self._failed(batch, error))
                continue
            with self._lock:
                self._away[number] = remote
            remote.add_done_callback(lambda done, number=number, batch=batch: self._take_back(done, number, batch))

    def _next(self) -> tuple[int, list[Task]] | None:
        """The next batch and its number; None if nothing waits, or there is no place. The last ones are shared out evenly.

        While a job runs that is to be alone, nothing else runs: if a worker ends, the scheduler blames every task that it had.
        """
        with self._lock:
            is_alone = self._is_alone or (bool(self._waiting) and self._waiting[0].alone)
            if len(self._away) >= (1 if is_alone else self._places):
                return None
            size = min(self._size, math.ceil(len(self._waiting) / max(1, self._threads)))
            batch: list[Task] = []
            while self._waiting and len(batch) < size and not (batch and self._waiting[0].alone):
                task = self._waiting.popleft()
                if task.future.running() or task.future.set_running_or_notify_cancel():
                    batch.append(task)
                if task.alone:
                    break
            if not batch:
                return None
            self._is_alone = batch[0].alone
            self._sent += 1
            self._away[self._sent] = None
            return self._sent, batch

    def _take_back(self, done: Any, number: int, batch: list[Task]) -> None:
        """Give the results of a batch to their futures. Jobs without a result wait again, before all others."""
        left: list[Task] = []
        try:
            if done.status == "finished":
                answers, seconds = done.result()
                left = batch[len(answers) :]
                self._seconds += (seconds / len(answers) - self._seconds) * (SHARE if self._seconds else 1)
                for task, (value, error) in zip(batch, answers, strict=False):
                    task.future.set_result(value) if error is None else task.future.set_exception(error)
            elif done.status == "error":
                error = done.exception()
                left = self._failed(batch, Lost(in_a_line(error)) if type(error).__name__ == "KilledWorker" else error)
            else:
                self._is_gone(batch)
        except Exception as error:  # while it is handed over
            self._is_gone(batch, f": {in_a_line(error)}")
        self._back(number, left)
        self._send()

    def _back(self, number: int, left: list[Task]) -> None:
        with self._lock:
            self._away.pop(number, None)
            self._waiting.extendleft(reversed(left))

    def _failed(self, batch: list[Task], error: Exception) -> list[Task]:
        """The jobs of a failed batch, to be done again one by one; none if a job was alone already, which then gets the error."""
        if self._client.status != "running":
            self._is_gone(batch, f": {in_a_line(error)}")
            return []
        if not batch[0].alone:
            return [task._replace(alone=True) for task in batch]
        batch[0].future.set_exception(error)
        return []

    def _is_gone(self, batch: list[Task], why: str = ": --resume goes on where it ended") -> None:
        """No job can be done any more, neither of these nor of those that wait."""
        with self._lock:
            waiting = [
                own for own in self._waiting if own.future.running() or own.future.set_running_or_notify_cancel()
            ]
            self._waiting.clear()
        for task in [*batch, *waiting]:
            if not task.future.done():
                task.future.set_exception(ClusterError(f"the scheduler at {self.address} is gone{why}"))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._client.close()


# --- in a Dask worker --------------------------------------------------------------------------------------------------------

_OWN = threading.local()  # for each thread of the worker, which does one batch at a time


def apart(limits: Limits, batch: Sequence[Work]) -> tuple[list[tuple[Any, Exception | None]], float]:
    """The results or errors of the jobs of a batch, each done in a child process of this worker, and the seconds that they took.

    A batch that takes longer than it should ends after the job that it is at.
    """
    children: dict[Limits, Executor] = _OWN.__dict__.setdefault("children", {})
    if limits not in children:
        # Dask's nanny starts workers that may have no children. These end with their parent by themselves.
        multiprocessing.current_process()._config["daemon"] = False  # type: ignore[attr-defined]
        children[limits] = executors.pool(1, limits)
    answers: list[tuple[Any, Exception | None]] = []
    begin = time.monotonic()
    for fn, args, kwargs in batch:
        try:
            answers.append((children[limits].submit(fn, *args, **kwargs).result(), None))
        except Exception as error:  # of the job, or that its process ended
            answers.append((None, error))
        if time.monotonic() - begin > BATCH:
            break
    return answers, time.monotonic() - begin
