"""The speed of random cases in this process and in child processes, and what a thousand workers would come to."""

from __future__ import annotations

import heapq
import math
import pickle
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from itertools import count, cycle, islice
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

from oracle.bench.section import Measurement, Result
from oracle.fuzz.campaign import TABLE
from oracle.fuzz.outcome import Job, Outcome, Settings
from oracle.fuzz.trial import judged
from oracle.harness import cluster, executors
from oracle.harness.jobs import as_done
from oracle.harness.kept import Kept
from oracle.wording.figures import counted

SETTINGS = Settings("refbp", "torch", 0)
CASES, QUICK_CASES, WARM = 600, 60, 20
WORKERS = (1, 2, 4)
# Cases per second and core, at least: in this process, and in child processes.
ALONE, APART = 100.0, 40.0
TASKS, QUICK_TASKS = 4000, 400  # from which the scheduler's time for one is taken
SIMULATED, CASES_EACH = 1000, 1000  # workers, and the cases of each
BATCH = 40  # jobs of the tasks from which the scheduler's time is taken


@dataclass(frozen=True)
class Costs:
    """The times, in seconds, from which a run is simulated.

    Attributes:
        cases: the time of each case; the workers take the cases in turn.
        scheduler: the time of the scheduler for a batch of cases.
        run: the time of the run for a case, which it hands out and whose outcome it keeps.
    """

    cases: Sequence[float]
    scheduler: float
    run: float


class Fuzz:
    title = "Random cases"
    about = (
        "The first cases of seed 0, refbp against torch: in one process, and in child processes of one thread each. The "
        f"scheduler is Dask's on this machine, with tasks of {BATCH} cases that do nothing. A simulation of many workers draws "
        f"on these times: the scheduler serves one batch of about {cluster.BATCH:g} seconds after the other, and the run one "
        "case."
    )

    def measure(self, quick: bool, note: Callable[[str], None]) -> Result:
        cases = QUICK_CASES if quick else CASES
        jobs = [Job(SETTINGS, number) for number in range(cases)]
        seconds, outcomes = one_by_one(jobs)
        alone = cases / sum(seconds)
        note(f"in this process: {alone:.1f} cases a second")
        measurements = [single("cases a second in this process", alone, limit=ALONE, at_least=True)]
        rates = {}
        for workers in WORKERS:
            with executors.pool(workers) as pool:
                rates[workers] = rate(jobs, pool, workers)
            note(f"{counted(workers, 'worker')}: {rates[workers]:.1f} cases a second")
            limit = APART if workers == 1 else None
            what = f"cases a second, {workers} child process{'es' if workers > 1 else ''}"
            measurements.append(single(what, rates[workers], limit=limit, at_least=True))
        sent = [len(pickle.dumps((executors.Limits(), judged, (job,)))) for job in jobs]
        received = [len(pickle.dumps(outcome)) for outcome in outcomes]
        measurements.append(Measurement.of("bytes of a case to a worker", sent, unit=" B"))
        measurements.append(Measurement.of("bytes of its outcome", received, unit=" B"))
        keeping = seconds_to_keep(outcomes)
        measurements.append(single("the run's time for a case", 1e3 * keeping, unit=" ms"))
        scheduler = seconds_of_scheduler(QUICK_TASKS if quick else TASKS, outcomes[:BATCH])
        if scheduler is None:
            return Result(tuple(measurements), remarks=("distributed is not installed: nothing is simulated.",))
        measurements.append(single("the scheduler's time for a batch", 1e3 * scheduler, unit=" ms"))
        share = cases / rates[1] / sum(seconds)
        costs = Costs([own * share for own in seconds], scheduler, keeping)
        for workers in (10, 100, SIMULATED):
            reached, busy = simulated(workers, costs, CASES_EACH * workers)
            note(f"{workers} workers, simulated: {reached:.0f} cases a second, busy {busy:.0%}")
            measurements.append(single(f"{workers:,} workers, simulated: cases a second", reached))
            measurements.append(single(f"{workers:,} workers, simulated: share of time they work", busy))
        return Result(tuple(measurements))


def single(
    what: str, value: float, *, limit: float | None = None, at_least: bool = False, unit: str = ""
) -> Measurement:
    return Measurement(what, value, value, value, limit, at_least, unit)


def one_by_one(jobs: Sequence[Job]) -> tuple[list[float], list[Outcome]]:
    """The seconds of each job in this process, and its outcome."""
    for job in jobs[:WARM]:  # which imports what torch's optimizers need, too
        judged(job)
    seconds, outcomes = [], []
    for job in jobs:
        begin = time.perf_counter()
        outcomes.append(judged(job))
        seconds.append(time.perf_counter() - begin)
    return seconds, outcomes


def rate(jobs: Sequence[Job], pool: Executor, workers: int) -> float:
    """Cases per second, after each worker has started."""
    list(as_done(judged, jobs[: 2 * workers], pool))
    begin = time.perf_counter()
    list(as_done(judged, jobs, pool))
    return len(jobs) / (time.perf_counter() - begin)


class AtOnce(Executor):
    """Has the outcome of each job ready."""

    def __init__(self, outcomes: Sequence[Outcome]) -> None:
        self.outcomes = cycle(outcomes)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(next(self.outcomes))
        return future


def seconds_to_keep(outcomes: Sequence[Outcome], cases: int = 10_000) -> float:
    """The time of the run for a case, which hands it out and keeps its outcome."""
    with TemporaryDirectory() as folder:
        kept: Kept[Outcome] = Kept(Path(folder) / TABLE, False, Outcome._asdict, lambda row: Outcome(**row))
        jobs = (Job(SETTINGS, number) for number in range(cases))
        begin = time.perf_counter()
        for _, outcome in as_done(judged, jobs, AtOnce(outcomes)):
            kept.add(outcome)
        return (time.perf_counter() - begin) / cases


def returned(batch: Sequence[Outcome]) -> Sequence[Outcome]:
    return batch


def seconds_of_scheduler(tasks: int, batch: Sequence[Outcome]) -> float | None:
    """The time of Dask's scheduler, client and workers for a task that hands back what it is given; None without it."""
    try:
        from distributed import Client, LocalCluster
    except ImportError:
        return None
    local: Any = LocalCluster
    connected: Any = Client
    with local(n_workers=1, threads_per_worker=2, dashboard_address=None) as made, connected(made) as client:
        client.gather(client.map(abs, range(50), pure=False))
        begin = time.perf_counter()
        client.gather([client.submit(returned, batch, pure=False) for _ in range(tasks)])
        return (time.perf_counter() - begin) / tasks


def simulated(workers: int, costs: Costs, cases: int) -> tuple[float, float]:
    """Cases per second, and the share of their time in which workers work.

    Batches have the size and number that `cluster.Cluster` gives them. The scheduler and the run each serve one batch after the
    other. They begin with the next as soon as they are free and it has arrived.
    """
    lengths, size = cycle(costs.cases), cluster.batch_of(fmean(costs.cases))
    numbers, events = count(), list[tuple[float, int, str, int]]()
    idle, queued, left, done = workers, deque[int](), cases, 0
    now = scheduler = run = worked = 0.0

    def hand_out(most: int) -> None:
        nonlocal left
        batch = min(most, math.ceil(left / workers))
        left -= batch
        heapq.heappush(events, (now, next(numbers), "arrives", batch))

    for _ in range(min(cluster.places(workers), cases)):
        hand_out(1)  # before the first is done, nobody knows how long they take
    while done < cases:
        now, _, what, batch = heapq.heappop(events)
        if what == "arrives":
            queued.append(batch)
        elif what == "ends":
            idle += 1
            run = max(run, now) + batch * costs.run
            heapq.heappush(events, (run, next(numbers), "is kept", batch))
        else:
            done += batch
            if left:
                hand_out(size)
        while idle and queued:
            idle, batch = idle - 1, queued.popleft()
            scheduler = max(scheduler, now) + costs.scheduler
            length = sum(islice(lengths, batch))
            worked += length
            heapq.heappush(events, (scheduler + length, next(numbers), "ends", batch))
    return cases / now, worked / (workers * now)
