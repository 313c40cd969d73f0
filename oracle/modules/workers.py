"""Judges layers and operations in threads, while the module's backward pass goes on."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import cache, wraps
from typing import Any, ParamSpec, TypeVar

import torch

P = ParamSpec("P")
T = TypeVar("T")
# A layer or operation gets a thread if it has at least this many elements. NumPy works on large arrays without Python's lock;
# with small ones the threads would wait for each other.
LARGE = 2**17
# At most this many elements are judged at the same time, because judging takes a multiple of their memory.
MOST = 2**24


class Workers:
    """As many threads as torch uses. If torch uses one, `run` judges at once.

    Each thread computes with arrays alone. From the first call of `run` on, the BLAS uses one thread. Several threads that each
    start several more slow each other down, and so do the idle threads of two libraries, because they wait actively.
    """

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads, "oracle") if threads > 1 else None
        self._sizes: dict[Future[Any], int] = {}
        self._limits: Any = None

    def run(self, judge: Callable[[], T], size: int) -> Future[T]:
        """Calls `judge`, which judges `size` elements, now or in a thread. It waits while too much is being judged."""
        if self._pool is None:
            return _now(judge)
        if self._limits is None:
            self._limits = _blas().limit(limits=1)
        if size < LARGE:
            return _now(judge)
        while self._sizes and sum(self._sizes.values()) + size > MOST:
            ended, _ = wait(self._sizes, return_when=FIRST_COMPLETED)
            self._sizes = {own: held for own, held in self._sizes.items() if own not in ended}
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


@cache
def _blas() -> Any:
    """The BLAS libraries of the process; the search runs once."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")


def on_one_thread(function: Callable[P, T]) -> Callable[P, T]:
    """Wraps a function so that its calls of torch use one thread. After a parallel call torch's threads wait actively, and would
    take the processors from the threads that judge."""

    @wraps(function)
    def alone(*args: P.args, **kwargs: P.kwargs) -> T:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return function(*args, **kwargs)
        finally:
            torch.set_num_threads(threads)

    return alone


def _now(judge: Callable[[], T]) -> Future[T]:
    made = Future[T]()
    try:
        made.set_result(judge())
    except Exception as error:
        made.set_exception(error)
    return made
