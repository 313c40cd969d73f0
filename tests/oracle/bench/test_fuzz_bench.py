"""The simulation of many workers: it comes to what can be said without it where one thing alone is slow."""

from __future__ import annotations

import pytest

pytest.importorskip("threadpoolctl")

from oracle.bench.fuzz import Costs, simulated


@pytest.mark.parametrize("workers", [1, 7, 500])
def test_workers_that_never_wait(workers: int) -> None:
    rate, busy = simulated(workers, Costs([0.5, 1.5], 1e-9, 1e-9), 40 * workers)
    assert rate == pytest.approx(workers, rel=0.05) and busy > 0.95


@pytest.mark.parametrize("costs", [Costs([0.1], 0.01, 1e-9), Costs([0.1], 1e-9, 0.01)], ids=["scheduler", "run"])
def test_many_workers_are_as_fast_as_what_serves_them_one_by_one(costs: Costs) -> None:
    rate, busy = simulated(1000, costs, 20_000)
    assert rate == pytest.approx(100, rel=0.05)
    assert busy == pytest.approx(0.01, rel=0.1)
