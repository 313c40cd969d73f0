"""Workers on a Dask cluster, on this machine or many.

Each job runs in a child process of a Dask worker, with the limits that it has on one machine: a crash or a hang costs the job,
and not the worker. Where a worker is killed, the scheduler gives its jobs to another.
"""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import suppress
from typing import Any

from oracle.harness import executors
from oracle.harness.executors import Limits, Lost
from oracle.wording.errors import Sentence, in_a_line

# Seconds in which a scheduler has to answer.
ANSWER = 20


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


class Cluster(Executor):
    """An executor on the workers of a scheduler, which may come and go."""

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

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        remote = self._client.submit(apart, self.limits, fn, args, kwargs, pure=False)
        remote.add_done_callback(lambda done: self._hand_over(done, future))
        future.remote = remote  # type: ignore[attr-defined]  # the scheduler forgets a result that nobody holds
        return future

    def _hand_over(self, done: Any, future: Future[Any]) -> None:
        """Give the result of a remote job to its future here."""
        try:
            status = done.status
            if status == "finished":
                future.set_result(done.result())
            elif status == "error":
                error = done.exception()
                future.set_exception(Lost(in_a_line(error)) if type(error).__name__ == "KilledWorker" else error)
            else:
                future.set_exception(
                    ClusterError(f"the scheduler at {self.address} is gone: --resume goes on where it ended")
                )
        except Exception as error:  # while it is handed over
            with suppress(Exception):
                future.set_exception(ClusterError(f"the scheduler at {self.address} is gone: {in_a_line(error)}"))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._client.close()


# --- in a Dask worker --------------------------------------------------------------------------------------------------------

_OWN = threading.local()  # for each thread of the worker, which does one job at a time


def apart(limits: Limits, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The result of a job, done in a child process of this worker. Raises: Lost; any error of the job."""
    children: dict[Limits, Executor] = _OWN.__dict__.setdefault("children", {})
    if limits not in children:
        # Dask's nanny starts workers that may have no children. These end with their parent by themselves.
        multiprocessing.current_process()._config["daemon"] = False  # type: ignore[attr-defined]
        children[limits] = executors.pool(1, limits)
    return children[limits].submit(fn, *args, **kwargs).result()
