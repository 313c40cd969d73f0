"""Comparisons in a reference, of which rounding may decide some otherwise in the implementation that is held against it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import oracle

RNG = np.random.default_rng(0)
X, W = RNG.standard_normal((4, 8)).astype(np.float32), RNG.standard_normal((8, 3)).astype(np.float32)
# Beside one element of x @ w, by less than its rounding error.
CLOSE = float((X.astype(float) @ W.astype(float))[1, 2]) + 1e-9
OPEN = (1, 2)
PROGRAMS: dict[str, tuple[str, Callable[..., Any]]] = {
    "np.where of numbers": ("NumPy", lambda x, w: np.where(x @ w > CLOSE, 2.0, 0.5)),
    "a mask in numbers": ("NumPy", lambda x, w: (x @ w > CLOSE).astype(np.float32)),
    "a mask times a number": ("NumPy", lambda x, w: (x @ w >= CLOSE) * 3.0),
    "torch.where of numbers": ("torch", lambda x, w: torch.where(x @ w > CLOSE, 2.0, 0.5)),
    "torch.where": ("torch", lambda x, w: torch.where(x @ w < CLOSE, x @ w, x @ w + 1)),
    "masked_fill": ("torch", lambda x, w: (x @ w + 1).masked_fill(x @ w < CLOSE, 0.0)),
    "a mask as numbers": ("torch", lambda x, w: (x @ w <= CLOSE).float() + 1),
    "a mask times numbers": ("torch", lambda x, w: (x @ w > CLOSE) * (x @ w + 3)),
    "numbers times a mask": ("torch", lambda x, w: (x @ w + 3) * (x @ w > CLOSE)),
    "several masks": ("torch", lambda x, w: (~((x @ w > CLOSE) & (x @ w < 9.0)) | (x @ w > 9.0)).float()),
}


def expected(name: str) -> oracle.ops.expect.Quantity:
    library, fn = PROGRAMS[name]
    given = (X, W) if library == "NumPy" else (torch.from_numpy(X), torch.from_numpy(W))
    return oracle.expect(fn, *given).output  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", PROGRAMS)
def test_either_outcome_is_right_where_rounding_decides(name: str) -> None:
    """And only there."""
    due = expected(name)
    library, fn = PROGRAMS[name]
    for moved in (-1e-6, 1e-6):  # implementations that round the one element up or down
        x, w = X.astype(np.float64), W.astype(np.float64)
        x[OPEN[0]] += moved * w[:, OPEN[1]]
        got = fn(x, w) if library == "NumPy" else fn(torch.from_numpy(x), torch.from_numpy(w)).numpy()
        np.testing.assert_allclose(np.delete(np.ravel(due.value), 5), np.delete(np.ravel(got), 5), rtol=1e-3)
        known = np.asarray(due.value).copy()
        known[OPEN] = np.asarray(got)[OPEN]
        oracle.assert_close(known.astype(due.dtype), due)
    wrong = np.asarray(due.value).copy()
    wrong[0, 0] += 0.5
    with pytest.raises(oracle.Discrepancy):
        oracle.assert_close(wrong.astype(due.dtype), due)


def test_the_gradient_behind_an_open_mask_is_open_too() -> None:
    """A ReLU written by hand has the gradient of either side where its argument is zero but for rounding."""
    x, w = torch.from_numpy(X), torch.from_numpy(W)
    due = oracle.expect(lambda z, x, w: torch.where(x @ w + z > CLOSE, x @ w + z, 0.0), torch.zeros(4, 3), x, w)
    upstream, grad = due.grad_output, due.grads[0]
    other = np.where(np.arange(12).reshape(4, 3) == 5, upstream - grad.value, grad.value)
    oracle.assert_close(other.astype(np.float32), grad)
    other[0, 0] += 1.0
    with pytest.raises(oracle.Discrepancy):
        oracle.assert_close(other.astype(np.float32), grad)


@pytest.mark.parametrize("product", [lambda mask, y: mask * y, lambda mask, y: y * mask], ids=["first", "second"])
@pytest.mark.parametrize("kind", ["a comparison", "given"])
def test_the_gradient_of_numbers_times_a_mask_passes_where_it_is_set(product: Any, kind: str) -> None:
    """Whichever of the two comes first."""
    given = torch.tensor([True, False, True, True])
    x = torch.tensor([0.1, -0.5, 0.9, 2.0])
    due = oracle.expect(lambda x: product(x > 0 if kind == "a comparison" else given, x * 3), x)
    np.testing.assert_allclose(due.grads[0].value, due.grad_output * [3, 0, 3, 3], rtol=1e-12)


def test_the_largest_of_a_row_is_known_to_be_it() -> None:
    """An element beside itself is not open, whatever its error: here the threshold is an element of the row."""
    x, w = torch.from_numpy(X), torch.from_numpy(W)
    due = oracle.expect(lambda x, w: torch.where(x @ w >= (x @ w).amax(1, keepdim=True), 1.0, 0.0), x, w).output
    assert not due.sigma.any()


def test_a_module_s_own_comparisons_are_those_that_it_made() -> None:
    """Its recorded outcome is known, so nothing is open."""

    class Made(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
            ctx.save_for_backward(x, w)
            return torch.where(x @ w > CLOSE, x @ w, 0.0)

        @staticmethod
        def backward(ctx: Any, grad_output: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            x, w = ctx.saved_tensors
            masked = torch.where(x @ w > CLOSE, grad_output, 0.0)
            masked[OPEN] = grad_output[OPEN] - masked[OPEN]  # of the other side
            return masked @ w.T, x.T @ masked

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.from_numpy(W))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return Made.apply(x, self.weight)  # type: ignore[no-any-return,no-untyped-call]

    found = oracle.check_module(Net(), torch.from_numpy(X).requires_grad_()).table
    assert set(found.quantity[found.verdict == "wrong"]) >= {"grad.weight"}
