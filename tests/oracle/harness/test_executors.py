"""The pool by itself, with workers that stand in for processes: jobs that are cancelled, and processes that do not start."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import BrokenExecutor, Executor, Future
from contextlib import contextmanager
from threading import Event
from typing import Any

import pytest

from oracle.harness import apart, executors
from oracle.harness.executors import Limits, Lost, Workers
from oracle.harness.jobs import WorkerDied, in_turn
from oracle.subjects import SubjectError


class Stand:
    """Does its jobs in this process, when it is let; a failing one does not start."""

    failing = False
    made: list[Stand]
    ready: Event

    def __init__(self, limits: Limits) -> None:
        self.ended = False
        self.made.append(self)

    def greet(self) -> None:
        if self.failing:
            raise Lost("ended with status 1")

    def do(self, job: Any) -> Any:
        assert self.ready.wait(20)
        function, arguments, options = job
        return function(*arguments, **options)

    def end(self, seconds: float) -> None:
        self.ended = True


@pytest.fixture
def stand(monkeypatch: pytest.MonkeyPatch) -> type[Stand]:
    kind = type("Kind", (Stand,), {"made": [], "ready": Event()})
    monkeypatch.setattr(executors, "Worker", kind)
    return kind


def test_a_cancelled_job_is_passed_over(stand: type[Stand]) -> None:
    """The one before it and the one behind it are done, by one process, which ends with the pool."""
    done: list[int] = []
    with Workers(1, Limits()) as pool:
        futures = [pool.submit(done.append, number) for number in range(3)]
        assert futures[1].cancel()
        stand.ready.set()
    assert done == [0, 2] and [own.ended for own in stand.made] == [True]
    with pytest.raises(RuntimeError, match="cannot submit a job to workers that have been shut down"):
        pool.submit(done.append, 3)


def test_a_pool_that_is_shut_down_cancels_what_waits(stand: type[Stand]) -> None:
    """The job that is under way is done."""
    started = Event()
    pool = Workers(1, Limits())
    first = pool.submit(started.set)
    waiting = [pool.submit(int) for _ in range(3)]
    while not first.running():
        pass
    pool.shutdown(wait=False, cancel_futures=True)
    stand.ready.set()
    assert first.result(20) is None and started.is_set()
    assert all(own.cancelled() for own in waiting)


def test_a_process_that_never_starts_is_given_up(stand: type[Stand]) -> None:
    """After a few attempts, each of which is ended; the job says why, and another job tries again."""
    stand.failing = True
    with Workers(1, Limits()) as pool:
        for tries in (1, 2):
            with pytest.raises(RuntimeError, match=r"^no worker can be started: the last one ended with status 1$"):
                pool.submit(int).result(20)
            assert len(stand.made) == tries * executors.STARTS and all(own.ended for own in stand.made)
        stand.failing = False
        stand.ready.set()
        assert pool.submit(int, "7").result(20) == 7


class Breaking(Executor):
    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_exception(BrokenExecutor("was ended by SIGKILL"))
        return future


def test_a_lost_job_is_named_or_has_the_result_that_is_given_for_it() -> None:
    with pytest.raises(WorkerDied, match=r"^job 1: the process that it ran in was ended by SIGKILL$"):
        list(in_turn(str, [1], lambda job: f"job {job}", executor=Breaking()))
    given = in_turn(str, [1], str, executor=Breaking(), lost=lambda job, error: f"lost {job}")
    assert list(given) == [(1, "lost 1")]


def test_many_jobs_of_a_built_in_subject_get_processes_which_start_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """They import what they need while the cases are still prepared; a few jobs run here."""
    submitted: list[Any] = []

    class Kept(Breaking):
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            submitted.append(fn)
            return super().submit(fn, *args, **kwargs)

    @contextmanager
    def pool(*_: Any) -> Iterator[Executor]:
        yield Kept()

    monkeypatch.setattr(apart.executors, "pool", pool)
    monkeypatch.setattr(apart.os, "cpu_count", lambda: 3)
    with apart.workers("refbp", apart.MANY) as few:
        assert few is None and not submitted
    with apart.workers("refbp", apart.MANY + 1) as many:
        assert isinstance(many, Kept) and submitted == [apart.get_ready] * 3


@pytest.mark.parametrize("seconds", [0, -1.5, float("nan")])
def test_a_time_limit_is_a_time(seconds: float) -> None:
    """NaN compares with nothing, and would be no limit at all."""
    with (
        pytest.raises(SubjectError, match=r"^a time limit is a number of seconds above 0, got "),
        apart.workers("refbp", 1, seconds),
    ):
        pass
