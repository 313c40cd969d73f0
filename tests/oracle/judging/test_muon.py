"""The tolerance of Muon's bfloat16: honest kernels are within, and each of its terms is needed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import oracle
from oracle.execution.newton_schulz import Iterations
from oracle.running_error import ErrorArray, ErrorModel
from refbp.arrays import in_bfloat16
from refbp.muon import COEFFICIENTS, newton_schulz

MODEL = ErrorModel(np.dtype("float32"), bounds=True)


def by_jordan(x: Any, steps: int = 5) -> Any:
    """Keller Jordan's own code, each of whose operations rounds to bfloat16."""
    a, b, c = COEFFICIENTS
    x, is_tall = in_bfloat16(x.T if x.shape[0] > x.shape[1] else x), x.shape[0] > x.shape[1]
    x = in_bfloat16(x / in_bfloat16(np.linalg.norm(x)))
    for _ in range(steps):
        gram = in_bfloat16(x @ x.T)
        update = in_bfloat16(in_bfloat16(b * gram) + in_bfloat16(in_bfloat16(c * gram) @ gram))
        x = in_bfloat16(in_bfloat16(a * x) + in_bfloat16(update @ x))
    return x.T if is_tall else x


def drawn(kind: str, rng: np.random.Generator) -> Any:
    rows, columns = {"wide": (12, 40), "tall": (40, 12), "square": (24, 24), "row": (1, 9)}.get(kind, (24, 16))
    if kind == "low rank":
        return (rng.standard_normal((rows, 3)) @ rng.standard_normal((3, columns))).astype(np.float32)
    if kind == "graded":
        return (rng.standard_normal((rows, columns)) * 10.0 ** -np.linspace(0, 5, columns)).astype(np.float32)
    shift = 1.0 if kind == "positive" else 0.0
    return (rng.standard_normal((rows, columns)) + shift).astype(np.float32)


@pytest.mark.parametrize("kind", ["wide", "tall", "square", "row", "low rank", "graded", "positive"])
def test_honest_kernels_are_within(kind: str) -> None:
    """refbp's rounds each sum once, Jordan's each product: the errors of the second are of the size that is predicted."""
    rng, largest, sizes = np.random.default_rng(2), 0.0, []
    for _ in range(8):
        x = drawn(kind, rng)
        due = newton_schulz(ErrorArray.exact(x, MODEL), COEFFICIENTS, 5, 1e-7)
        for kernel in (by_jordan(x), newton_schulz(x, COEFFICIENTS, 5, 1e-7)):
            error = kernel - due.value
            assert (np.abs(error) <= due.bound).all()
            largest = max(largest, float(np.max(np.abs(error) / due.sigma)))
        sizes.append(np.mean(np.square((by_jordan(x) - due.value) / due.sigma)))
    assert largest < 4.5  # of 6.5
    # The variance counts twice, since the reference rounds too: 0.71 is the size of one kernel's errors.
    assert 0.25 < np.sqrt(np.mean(sizes)) < 0.9


def test_the_derivative_is_that_of_the_iterations() -> None:
    """Of a small change, against the difference of two runs: in the row space, and out of it."""
    rng, steps = np.random.default_rng(0), 3
    x = rng.standard_normal((4, 7))
    course = Iterations.of(x, 5.0, COEFFICIENTS, steps)

    def end(change: Any) -> Any:
        made, (a, b, c) = x / 5.0 + change, COEFFICIENTS
        for _ in range(steps):
            gram = made @ made.T
            made = a * made + (b * gram + c * gram @ gram) @ made
        return made

    np.testing.assert_allclose(end(0.0), course.matrix(course.values[-1]), atol=1e-12)
    change = rng.standard_normal(x.shape)
    right = np.linalg.svd(x)[2].T  # all columns
    even, odd, outside = course.gains(0)
    turned = course.left.T @ change @ right
    inside, rest = turned[:, :4], turned[:, 4:]
    moved = np.hstack([even * (inside + inside.T) / 2 + odd * (inside - inside.T) / 2, outside[:, None] * rest])
    np.testing.assert_allclose(
        course.left @ moved @ right.T, (end(1e-6 * change) - end(-1e-6 * change)) / 2e-6, atol=1e-6
    )


@pytest.mark.parametrize("x", [np.zeros((3, 4)), np.zeros((0, 4))])
def test_nothing_is_exact(x: Any) -> None:
    """The update of a gradient of zero is zero, to the bit."""
    due = newton_schulz(ErrorArray.exact(x, MODEL), COEFFICIENTS, 5, 1e-7)
    assert due.shape == x.shape
    assert due.error is None
    assert not due.value.any()


def test_what_is_not_finite_has_no_tolerance() -> None:
    due = newton_schulz(ErrorArray.exact(np.array([[np.inf, 1.0]]), MODEL), COEFFICIENTS, 5, 1e-7)
    assert np.isnan(due.value).all()
    assert np.isinf(due.sigma).all()


def test_the_tolerance_follows_the_errors_of_the_momentum() -> None:
    """A less certain momentum makes the update less certain, end to end."""
    x = np.random.default_rng(0).standard_normal((4, 6))
    exact = ErrorArray.exact(x, replace(MODEL, rounds=False))
    blurred = exact + ErrorArray(np.zeros_like(x), exact.model, exact.model.constant(0.01**2, 0.01))
    due, other = (newton_schulz(own, COEFFICIENTS, 5, 1e-7) for own in (exact, blurred))
    assert due.sigma.max() < 1e-6
    assert other.sigma.min() > 1e-3


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this torch has no Muon")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_check_module_judges_muon(dtype: torch.dtype) -> None:
    """As it is used: Muon for the matrices. A step without its decay is wrong."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(8, 12), torch.nn.Tanh(), torch.nn.Linear(12, 4)).to(dtype)
    matrices = [own for own in net.parameters() if own.ndim == 2]
    x, y = torch.randn(16, 8, dtype=dtype), torch.randn(16, 4, dtype=dtype)
    options = {"lr": 0.1, "weight_decay": 2.0}
    report = oracle.check_module(net, x, torch.nn.MSELoss(), y, torch.optim.Muon(matrices, **options), steps=2)
    assert report.passed, report.blame

    class Undecayed(torch.optim.Muon):
        @torch.no_grad()
        def step(self, closure: Any = None) -> None:
            for group in self.param_groups:
                for own in group["params"]:
                    own.mul_(1 + group["lr"] * group["weight_decay"])
            super().step(closure)

    wrong = oracle.check_module(net, x, torch.nn.MSELoss(), y, Undecayed(matrices, **options))
    assert not wrong.passed
    assert wrong.blame[0].quantity == "param.weight"
