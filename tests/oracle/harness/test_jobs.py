"""The loop of every kind of run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from pathlib import Path
from threading import Event
from typing import Any

import oracle
from oracle.harness.jobs import as_done, in_turn


class Recorded(Executor):
    """Makes each job at once, and keeps it."""

    def __init__(self) -> None:
        self.submitted: list[Any] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.submitted.extend(args)
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


def test_parallel_jobs_begin_before_their_results_are_asked_for() -> None:
    """So that a run can hand over its longest jobs first, and read them last."""
    executor = Recorded()
    later = in_turn(str, [1, 2], str, executor=executor)
    assert list(in_turn(str, [3], str, executor=executor)) == [(3, "3")]
    assert executor.submitted == [1, 2, 3]
    assert list(later) == [(1, "1"), (2, "2")]


def test_jobs_in_this_process_begin_in_their_turn() -> None:
    """Without other processes nothing happens before its result is asked for."""
    done: list[int] = []
    results = in_turn(done.append, [1, 2], str)
    assert not done
    next(results)
    assert done == [1]


def test_no_job_waits_for_a_slower_one_before_it() -> None:
    """With two jobs handed out at a time, all others are done while the first one runs, and no more are listed."""
    over, listed = Event(), []

    def work(job: int) -> int:
        if job == 0:
            assert over.wait(60)
        return job * job

    def jobs() -> Iterator[int]:
        for number in range(30):
            listed.append(number)
            yield number

    with ThreadPoolExecutor(2) as executor, closing(as_done(work, jobs(), executor, ahead=2)) as results:
        assert list(islice(results, 10)) == [(number, number * number) for number in range(1, 11)]
        assert len(listed) == 12
        over.set()
        assert sorted(results) == [(0, 0)] + [(number, number * number) for number in range(11, 30)]


def test_an_executor_with_many_workers_is_handed_as_many_jobs_as_it_asks_for() -> None:
    """A cluster makes batches of those that wait. With too few of them its workers would stand idle; the rest is not listed."""

    class Cluster(Recorded):
        ahead = 3000

    listed: list[int] = []

    def jobs() -> Iterator[int]:
        for number in range(9000):
            listed.append(number)
            yield number

    with closing(as_done(str, jobs(), Cluster())) as results:
        next(results)
        assert len(listed) in (3000, 3001)
    with closing(as_done(str, jobs(), Recorded())) as results:
        listed.clear()
        next(results)
        assert len(listed) in (2000, 2001)


def test_a_script_without_a_guard_is_told_of_it(tmp_path: Path) -> None:
    """Each worker imports the script, which then wants workers of its own: the last line says what is lacking."""
    script = tmp_path / "unguarded.py"
    script.write_text("import oracle\noracle.run(cases='worked-example/plain', dtypes=('float64',), workers=1)\n")
    environment = {**os.environ, "PYTHONPATH": str(Path(oracle.__file__).parents[1])}
    done = subprocess.run([sys.executable, str(script)], env=environment, text=True, capture_output=True, check=False)
    said = done.stderr.splitlines()[-1]
    assert done.returncode == 1 and 'unguarded.py has to call it under `if __name__ == "__main__":`' in said
