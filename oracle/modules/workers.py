"""Judges layers and operations in threads, while the module's backward pass goes on."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

T = TypeVar("T")
# The elements of a layer or operation from which on it is worth a thread: NumPy works on so many without Python's lock.
LARGE = 2**15
# The elements of all that is judged at the same time: judging takes a multiple of their memory.
MOST = 2**24


class Workers:
    """As many threads as torch uses; with one, everything is judged at once.

    Each thread computes with arrays alone, and with a BLAS of one thread: several with several threads each disturb each other.
    """

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads, "oracle") if threads > 1 else None
        self._sizes: dict[Future[Any], int] = {}
        self._limits: Any = None

    def run(self, judge: Callable[[], T], size: int) -> Future[T]:
        """Calls `judge`, which judges `size` elements, now or in a thread. It waits while too much is being judged."""
        if self._pool is None or size < LARGE:
            return _now(judge)
        while self._sizes and sum(self._sizes.values()) + size > MOST:
            ended, _ = wait(self._sizes, return_when=FIRST_COMPLETED)
            self._sizes = {own: held for own, held in self._sizes.items() if own not in ended}
        if self._sizes and self._limits is None:
            from threadpoolctl import threadpool_limits  # which looks through all libraries of the process

            self._limits = threadpool_limits(1, "blas")
        future = self._pool.submit(judge)
        self._sizes[future] = size
        return future

    def release(self) -> None:
        """Waits for everything that is being judged."""
        if self._pool is not None:
            self._pool.shutdown()
        if self._limits is not None:
            self._limits.restore_original_limits()
        self._sizes, self._limits = {}, None


def _now(judge: Callable[[], T]) -> Future[T]:
    made = Future[T]()
    try:
        made.set_result(judge())
    except Exception as error:
        made.set_exception(error)
    return made
