"""The simulation of many workers: it comes to what can be said without it where one thing alone is slow."""

from __future__ import annotations

import pytest

from oracle.bench.fuzz import Costs, simulated
from oracle.harness import cluster


@pytest.mark.parametrize("workers", [1, 7, 500])
def test_workers_that_never_wait(workers: int) -> None:
    rate, busy = simulated(workers, Costs([0.5, 1.5], 1e-9, 1e-9), 400 * workers)
    assert rate == pytest.approx(workers, rel=0.05) and busy > 0.95


@pytest.mark.parametrize(
    "costs, most",
    [(Costs([0.1], 0.1, 1e-9), 10 * cluster.batch_of(0.1)), (Costs([0.1], 1e-9, 0.01), 100)],
    ids=["scheduler", "run"],
)
def test_many_workers_are_as_fast_as_what_serves_them_one_by_one(costs: Costs, most: int) -> None:
    """The scheduler serves a batch at a time, and the run a case."""
    rate, busy = simulated(1000, costs, 1_000_000)
    assert rate == pytest.approx(most, rel=0.15)
    assert busy == pytest.approx(most / 10_000, rel=0.15)
