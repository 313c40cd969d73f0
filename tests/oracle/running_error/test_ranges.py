"""Results whose range is known. A huge error on the way, as of -10³⁰ in place of ln 0, does not make them unknown."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import oracle

NOTHING = -1e30
ORDER = (0, 1, 0, 2, 0, 2, 0, 3, 0)  # labels 1, 2, 2, 3 with blanks


def likelihood(logs: torch.Tensor, add: Any, order: tuple[int, ...] = ORDER) -> torch.Tensor:
    """Minus the log likelihood of labels, by the recursion of CTC, with -10³⁰ for states that cannot be reached."""
    found = [logs[0, own] if place < 2 else torch.tensor(NOTHING, dtype=logs.dtype) for place, own in enumerate(order)]
    for row in logs[1:]:
        reached = []
        for place, own in enumerate(order):
            skips = place > 1 and own not in (0, order[place - 2])
            reached.append(add(found[max(place - (2 if skips else 1), 0) : place + 1]) + row[own])
        found = reached
    return -add(found[-2:])


def at_once(given: list[torch.Tensor]) -> torch.Tensor:
    return torch.logsumexp(torch.stack(given), 0)


def in_turn(given: list[torch.Tensor]) -> torch.Tensor:
    total = given[0]
    for own in given[1:]:
        total = torch.logaddexp(total, own)
    return total


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("add", [at_once, in_turn])
def test_a_reference_with_huge_numbers_for_nothing(add: Any, dtype: str) -> None:
    """The error of -10³⁰ is 10¹⁴. Its exponential made every tolerance infinite, so that nothing was judged."""

    def meant(x: torch.Tensor) -> torch.Tensor:
        return likelihood(torch.log_softmax(x, -1), add)

    def fused(x: torch.Tensor, labels: tuple[int, ...] = (1, 2, 2, 3)) -> torch.Tensor:
        logs, sizes = torch.log_softmax(x, -1)[:, None], ([len(x)], [len(labels)])
        return torch.nn.functional.ctc_loss(logs, torch.tensor([labels]), *sizes, reduction="sum")

    report = oracle.check_op(meant, oracle.from_torch(fused), x=(6, 4), dtypes=(dtype,))
    assert report.passed and (report.table.verdict == "pass").all(), report
    wrong = oracle.check_op(meant, oracle.from_torch(lambda x: fused(x, (1, 2, 3, 3))), x=(6, 4), dtypes=(dtype,))
    assert {own.quantity for own in wrong.blame} == {"output", "grad_input"}


@pytest.mark.parametrize("function", [torch.logsumexp, torch.logcumsumexp])
def test_the_logarithm_of_huge_numbers(function: Any) -> None:
    """It errs as they do. Beside a number of usual size they do not matter."""
    x = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    usual = torch.tensor([[0.0, 1, 2, 3], [0, NOTHING, NOTHING, 0], [NOTHING] * 4], dtype=torch.float64)
    sigma = oracle.expect(lambda x: function(x + usual, 1), x).output.sigma
    assert (sigma[:2] < 1e-14).all()
    assert ((sigma[2] > 1e13) & (sigma[2] < 1e15)).all()


@pytest.mark.parametrize("fused", [False, True])
def test_a_row_of_which_all_is_masked(fused: bool) -> None:
    """The weights of a query without keys may be any between 0 and 1; those of the others, and what they become, are decided."""
    mask = torch.zeros(6, 1)
    mask[2] = torch.finfo(torch.float32).min

    def attended(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        if fused:
            return torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask.expand(6, 5))
        return torch.softmax(q @ k.T / 2 + mask, -1) @ v

    q, k, v = (torch.randn(own, 4, generator=torch.Generator().manual_seed(own)) for own in (6, 5, 5))
    others = torch.arange(6) != 2
    due = oracle.expect(attended, q, k, v)
    assert np.isfinite(due.output.sigma).all() and (due.output.sigma[others] < 1e-6).all()
    assert all(np.isfinite(own.sigma).all() for own in due.grads)
    assert (due.grads[0].sigma[others] < 1e-6).all()


def test_infinite_numbers_stay_unknown() -> None:
    """A softmax with an infinity is NaN, or what it is without one; so it has no range."""
    x = torch.tensor([[3e38, 1.0, 0.0]])
    assert not np.isfinite(oracle.expect(lambda x: torch.softmax(x * x, -1), x).output.sigma).all()
