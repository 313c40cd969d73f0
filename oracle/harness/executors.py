"""Processes that do jobs in parallel. If one ends, hangs or is killed, only its job is lost, and another process replaces it.

The module imports little, because a worker sets its number of threads before it imports NumPy.
"""

from __future__ import annotations

import atexit
import math
import multiprocessing
import os
import queue
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from oracle.wording import errors

READY, DONE, RAISED, CALLS, RETURNS = "ready", "done", "raised", "calls", "returns"
# How often a process is started that ends before it is ready; it may have been killed.
STARTS = 3
# Seconds in which a worker may end by itself before it is killed.
GRACE = 3.0
# The longest wait in seconds that a system call accepts.
LONGEST_WAIT = 3600.0


class Lost(BrokenExecutor):
    """The process of a job ended before the job was done.

    Attributes:
        in_subject: whether it was running the subject's own code.
    """

    def __init__(self, how: str, in_subject: bool = False) -> None:
        super().__init__(how)
        self.in_subject = in_subject


class Limits(NamedTuple):
    """The settings of a worker.

    Attributes:
        seconds: the time limit for a call of the subject; None for no limit.
        folder: an additional folder in which a user's subject is looked for.
        gigabytes: the memory that the process may take; None for no limit.
        whole: the time limit for a whole job, the reference and the judge included; None for no limit.
    """

    seconds: float | None = None
    folder: str | None = None
    gigabytes: float | None = None
    whole: float | None = None


def _unguarded() -> str:
    """Words for an error: the guard that the caller's script lacks; "" if it has one.

    Each worker imports that script first. Without the guard the import would start workers again."""
    script = getattr(sys.modules["__main__"], "__file__", None)
    if (
        script is None
        or not Path(script).is_file()
        or "__name__" in Path(script).read_text(encoding="utf-8", errors="replace")
    ):
        return ""
    return (
        f'; {Path(script).name} has to call it under `if __name__ == "__main__":`, since each worker imports it first'
    )


def pool(workers: int | None = None, limits: Limits | None = None) -> Executor:
    """Workers, by default as many as there are processors."""
    return Workers(workers or os.cpu_count() or 1, limits or Limits())


def single_threaded() -> None:
    """Limit numerical libraries to one thread, before they are imported: threads of several workers would compete for cores."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"


class Workers(Executor):
    """Processes with a job each. If a process ends, its job raises Lost; other jobs are not affected."""

    def __init__(self, count: int, limits: Limits) -> None:
        self.limits = limits
        self._tasks: queue.SimpleQueue[tuple[Future[Any], tuple[Any, ...]] | None] = queue.SimpleQueue()
        self._closed = False
        self._workers: set[Worker] = set()
        self._threads = [threading.Thread(target=self._serve, daemon=True) for _ in range(count)]
        self._lock = threading.Lock()
        self._started = 0
        _POOLS.add(self)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        with self._lock:
            if self._closed:
                raise RuntimeError("cannot submit a job to workers that have been shut down")
            if self._started < len(self._threads):
                self._threads[self._started].start()
                self._started += 1
        self._tasks.put((future, (fn, args, kwargs)))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        with self._lock:
            self._closed = True
        if cancel_futures:
            with suppress(queue.Empty):
                while True:
                    task = self._tasks.get_nowait()
                    if task is not None:
                        task[0].cancel()
        for _ in range(self._started):
            self._tasks.put(None)
        if wait:
            for thread in self._threads[: self._started]:
                thread.join()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.kill()
        self.shutdown()

    def kill(self) -> None:
        """End every worker immediately; unfinished jobs are Lost or cancelled."""
        self.shutdown(wait=False, cancel_futures=True)
        for worker in list(self._workers):
            worker.end(0)

    def _serve(self) -> None:
        worker: Worker | None = None
        while (task := self._tasks.get()) is not None:
            future, job = task
            if not future.set_running_or_notify_cancel():
                continue
            try:
                worker = worker or self._start()
                future.set_result(worker.do(job))
            except BaseException as error:
                if isinstance(error, Lost) and worker is not None:
                    self._end(worker, 0)
                    worker = None
                future.set_exception(error)
        if worker is not None:
            self._end(worker, GRACE)

    def _start(self) -> Worker:
        for attempt in range(STARTS):
            worker = Worker(self.limits)
            self._workers.add(worker)
            try:
                worker.greet()
            except Lost as error:
                self._end(worker, 0)
                if attempt == STARTS - 1 or self._closed:
                    raise RuntimeError(f"no worker can be started: the last one {error}{_unguarded()}") from error
            else:
                return worker
        raise AssertionError

    def _end(self, worker: Worker, seconds: float) -> None:
        worker.end(seconds)
        self._workers.discard(worker)


class Worker:
    """A process that does one job after the other."""

    def __init__(self, limits: Limits) -> None:
        context = multiprocessing.get_context("spawn")
        self.seconds, self.whole = limits.seconds, limits.whole
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, limits), name="oracle worker")
        self.process.start()
        theirs.close()

    def greet(self) -> None:
        """Wait until the process is ready. Raises: Lost."""
        while self._message(math.inf, False)[0] != READY:
            pass

    def do(self, job: tuple[Any, ...]) -> Any:
        """The result of the job. Raises: Lost; any error of the job."""
        try:
            self.connection.send(job)
        except OSError:
            raise self._lost(False) from None
        end = math.inf if self.whole is None else time.monotonic() + self.whole
        deadline, in_subject = end, False
        while True:
            kind, value = self._message(deadline, in_subject)
            if kind == DONE:
                return value
            if kind == RAISED:
                raise value
            in_subject = kind == CALLS
            deadline = end
            if in_subject and self.seconds is not None:
                deadline = min(end, time.monotonic() + self.seconds)

    def _message(self, deadline: float, in_subject: bool) -> tuple[str, Any]:
        remaining = min(deadline - time.monotonic(), LONGEST_WAIT)
        if remaining <= 0:
            seconds = self.seconds if in_subject else self.whole
            raise Lost(f"gave no answer within {seconds:g} s", in_subject)
        try:
            ready = wait([self.connection, self.process.sentinel], remaining)
            if self.connection in ready:
                return self.connection.recv()  # type: ignore[no-any-return]
        except (EOFError, OSError):
            raise self._lost(in_subject) from None
        if ready:
            raise self._lost(in_subject)
        return self._message(deadline, in_subject)

    def _lost(self, in_subject: bool) -> Lost:
        self.process.join(1)
        return Lost(errors.ended(self.process.exitcode), in_subject)

    def end(self, seconds: float) -> None:
        """End the process and everything in its group, after it had `seconds` to end by itself."""
        if seconds:
            with suppress(OSError, ValueError):
                self.connection.send(None)
            self.process.join(seconds)
        if self.process.pid is not None and hasattr(os, "killpg"):
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)  # it leads a group of its own, unless it ended too early
        self.process.kill()
        self.process.join()


# --- in the worker --------------------------------------------------------------------------------------------------------

_PARENT: list[Connection] = []  # in a worker its one connection to the run; else empty


def calls_subject() -> None:
    """Marks the start of the subject's code: the time limit applies, and an end of the process is the subject's fault."""
    for connection in _PARENT:
        connection.send((CALLS, None))


def is_worker() -> bool:
    """Whether this process is a worker of a pool, which Ctrl-C does not reach."""
    return bool(_PARENT)


def subject_returns() -> None:
    """Marks the end of the subject's code."""
    for connection in _PARENT:
        connection.send((RETURNS, None))


def _work(connection: Connection, limits: Limits) -> None:
    if hasattr(os, "setpgid"):  # a group of its own: Ctrl-C is for the run, which ends its workers
        with suppress(OSError):
            os.setpgid(0, 0)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    single_threaded()
    with suppress(OSError):
        os.dup2(2, 1)  # results are printed by the run alone
    if limits.folder is not None:
        sys.path.insert(0, limits.folder)
    if limits.gigabytes is not None:
        _limit_memory(limits.gigabytes)
    _PARENT.append(connection)
    connection.send((READY, None))
    while True:
        try:
            job = connection.recv()
        except EOFError:
            return
        except Exception as error:  # a job that cannot be read here, such as a function of the caller's __main__
            _answer(connection, RAISED, RuntimeError(errors.in_a_line(error)))
            continue
        if job is None:
            return
        work, arguments, options = job
        try:
            kind, value = DONE, work(*arguments, **options)
        except Exception as error:
            kind, value = RAISED, error
        except BaseException as error:  # the run gets an answer for every job
            kind, value = RAISED, Lost(f"was left by {errors.in_a_line(error)}")
        _answer(connection, kind, value)


def _limit_memory(gigabytes: float) -> None:
    """Allocations beyond this raise MemoryError, where the system has such a limit."""
    with suppress(ImportError, ValueError, OSError):
        import resource

        most = int(gigabytes * 2**30)
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def _answer(connection: Connection, kind: str, value: Any) -> None:
    try:
        connection.send((kind, value))
    except OSError:
        sys.exit(1)
    except Exception as error:  # what cannot be sent
        connection.send((RAISED, RuntimeError(f"its result cannot be sent: {errors.in_a_line(error)}")))


def _end_with_parent() -> None:
    """Ends this worker, after the processes that it started, as soon as the run ends in any way, including kill -9."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(GRACE)
        os.killpg(0, signal.SIGKILL) if hasattr(os, "killpg") else os._exit(1)


_POOLS: weakref.WeakSet[Workers] = weakref.WeakSet()


@atexit.register
def _end_all() -> None:
    for left in list(_POOLS):
        left.kill()
