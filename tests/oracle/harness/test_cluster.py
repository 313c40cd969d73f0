"""Jobs on a Dask cluster: the same rows as on one machine, whatever becomes of the workers."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import oracle
from oracle.cli import main
from oracle.fuzz import campaign
from oracle.fuzz.outcome import Settings
from oracle.harness import cluster
from oracle.harness.executors import Limits, Lost
from oracle.harness.jobs import as_done

distributed = pytest.importorskip("distributed", reason="distributed is not installed")
dask = pytest.importorskip("dask", reason="dask is not installed")
SETTINGS = Settings("refbp", "torch", 5, ("losses",))


@pytest.fixture(scope="module")
def local() -> Iterator[Any]:
    """Two workers with a process each."""
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as made:
        yield made


def ends() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def asks(what: str) -> str:
    raise ValueError(what)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_killed_worker_costs_nothing(local: Any, tmp_path: Path) -> None:
    """Every case has one row, and the rows are those of one process, although workers are killed."""
    alone = campaign.run(SETTINGS, 40).outcomes
    over = threading.Event()
    killed: list[int] = []

    def kill() -> None:
        while not over.wait(0.7):
            workers = [nanny.pid for nanny in local.workers.values() if nanny.pid is not None]
            if workers and len(killed) < 3:
                os.kill(workers[0], signal.SIGKILL)
                killed.append(workers[0])

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        with cluster.pool(None, local.scheduler_address, Limits(30)) as pool:
            found = campaign.run(SETTINGS, 40, tmp_path, executor=pool)
    finally:
        over.set()
        killer.join()
    assert killed and found.outcomes == alone
    assert len((tmp_path / campaign.TABLE).read_text().splitlines()) == 41


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_an_end_of_a_job_is_not_one_of_its_worker(local: Any) -> None:
    """It is lost, as in a process of this machine; the next is done by the same worker. An error of a job is that error."""
    with cluster.pool(None, local.scheduler_address, Limits(30)) as pool:
        before = {nanny.pid for nanny in local.workers.values()}
        with pytest.raises(Lost):
            pool.submit(ends).result(60)
        with pytest.raises(ValueError, match="why"):
            pool.submit(asks, "why").result(60)
        assert pool.submit(abs, -3).result(60) == 3
        assert {nanny.pid for nanny in local.workers.values()} == before


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_short_jobs_share_a_task(local: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The scheduler takes as long for a task as a short job does. Each job is handed out once, and no batch is left behind."""
    with cluster.pool(None, local.scheduler_address, Limits(30)) as pool:
        client, sizes = pool._client, list[int]()  # type: ignore[attr-defined]
        submit = client.submit

        def counted(apart: Any, limits: Limits, batch: Any, **more: Any) -> Any:
            sizes.append(len(batch))
            return submit(apart, limits, batch, **more)

        monkeypatch.setattr(client, "submit", counted)
        numbers = list(range(-3000, 0))
        found = dict(as_done(abs, numbers, pool))
    assert found == {number: -number for number in numbers}
    assert sum(sizes) >= len(numbers) > 10 * len(sizes)


def sleeps(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def test_a_batch_of_slow_jobs_ends_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """No job waits for long behind slow ones, and little is lost with a worker: what is left goes to another batch."""
    monkeypatch.setattr(cluster, "BATCH", 0.3)
    answers, seconds = cluster.apart(Limits(30), [(sleeps, (own,), {}) for own in (0.4, 0.1, 0.1)])
    assert [value for value, _ in answers] == [0.4] and seconds >= 0.4
    monkeypatch.undo()
    (lost, (value, error)), _ = cluster.apart(Limits(30), [(ends, (), {}), (sleeps, (0,), {})])
    assert isinstance(lost[1], Lost) and (value, error) == (0, None)


def ends_its_worker(number: int) -> int:
    if number == 7:
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(60)
    return number


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_job_that_ends_its_worker_costs_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scheduler gives up all batches of that worker. Their jobs are done again one by one; only the guilty one is lost."""
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        distributed.LocalCluster(n_workers=1, threads_per_worker=1, processes=True, dashboard_address=None) as made,
        cluster.pool(None, made.scheduler_address, Limits(30)) as pool,
    ):
        pool._seconds = 0.05  # type: ignore[attr-defined]
        found = list(as_done(ends_its_worker, range(12), pool, lambda number, error: -1))
    assert sorted(found) == [(number, -1 if number == 7 else number) for number in range(12)]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_scheduler_that_goes_is_a_sentence() -> None:
    """No job is called a failure for it: the run ends, and can be continued."""
    made = distributed.LocalCluster(n_workers=1, threads_per_worker=1, processes=True, dashboard_address=None)
    with cluster.pool(None, made.scheduler_address, Limits(30)) as pool:
        futures = [pool.submit(time.sleep, 60) for _ in range(50)]
        made.close()
        for future in futures:
            with pytest.raises(cluster.ClusterError, match="is gone"):
                future.result(60)


def test_a_scheduler_that_does_not_answer_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "ANSWER", 0.5)
    with pytest.raises(cluster.ClusterError, match=r"no scheduler answers at tcp://127\.0\.0\.1:1: "):
        cluster.pool(None, "tcp://127.0.0.1:1", Limits())
    with pytest.raises(cluster.ClusterError, match="choose --workers or --scheduler"):
        cluster.pool(2, "tcp://127.0.0.1:1", Limits())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_suite_runs_on_a_cluster(local: Any, tmp_path: Path) -> None:
    """`oracle run` gives the same table there as in this process."""
    typed = ["run", "--cases", "linear/", "--dtype", "float32"]
    assert main([*typed, "--out", str(tmp_path / "here")]) == 0
    assert main([*typed, "--out", str(tmp_path / "there"), "--scheduler", local.scheduler_address]) == 0
    here, there = ((tmp_path / name / "table.csv").read_text() for name in ("here", "there"))
    assert here == there
    report = oracle.run("refbp", cases="linear/", dtypes=["float32"], scheduler=local.scheduler_address)
    assert len(report.table) == len(here.splitlines()) - 1
