"""Ordinary programs: the same for the same seed, of every kind, and judged as anybody's would be."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from oracle.running_error import LAMBDA, orders
from oracle.selftest import ordinary


def test_a_seed_tells_all_of_a_program() -> None:
    """The same network, data and targets each time, whatever torch's own random numbers are; and another for another seed."""
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    one = ordinary.draw(7)
    assert torch.equal(before, torch.random.get_rng_state())
    torch.manual_seed(6)
    again, other = ordinary.draw(7), ordinary.draw(7 + len(ordinary.PROGRAMS))
    assert one.name == again.name != other.name
    assert torch.equal(one.x, again.x) and torch.equal(one.target, again.target)
    pairs = zip(one.module.state_dict().values(), again.module.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_programs_are_of_every_kind() -> None:
    """Small batches and large ones, in both precisions, as created and trained, with losses of every kind."""
    rng = np.random.default_rng(0)
    for name, data in ordinary.DATA.items():
        assert data(rng, (3, 4, 5)).shape == (3, 4, 5), name
    drawn = [ordinary.draw(seed) for seed in range(0, 1040, 35)]
    assert {one.dtype for one in drawn} == set(ordinary.DTYPES)
    assert {type(one.loss).__name__ for one in drawn} >= {"CrossEntropyLoss", "MSELoss"}
    assert min(len(one.x) for one in drawn) <= 3
    assert max(len(one.x) for one in drawn) >= 1000
    assert any("trained" in one.name for one in drawn) and any(one.optimizer is not None for one in drawn)


@pytest.mark.parametrize("seed", [1, 42, 112, 137, 381, 525])
def test_what_was_accused_once_is_not(seed: int) -> None:
    """Terms that repeat, in all or within a sample; one mean for all elements; a clipped class; a sigmoid at its end."""
    result = ordinary.ordinary(seed)
    assert not result.accused
    assert result.elements > 100 and 0 < result.z_max < LAMBDA


def test_a_model_of_random_orders_alone_accuses_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """The programs notice when the error of sums knows nothing of the terms."""
    monkeypatch.setattr(orders, "FEW", 10**9)
    assert any(ordinary.ordinary(seed).accused for seed in (13, 39, 65, 91, 117, 143, 169, 195))
