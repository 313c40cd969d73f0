"""A recurrence by hand over many steps: the size of its terms does not grow from step to step, and a wrong formula is `wrong`."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import oracle

STEPS, ROWS, WIDTH = 40, 6, 8


class Gated(torch.autograd.Function):
    """A gated recurrent layer without biases."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, u: Tensor) -> Tensor:
        hidden, gates = [x.new_zeros(x.shape[1], WIDTH)], []
        for own in x:
            a, c = (own @ w).split(WIDTH, 1), (hidden[-1] @ u).split(WIDTH, 1)
            r, z = (a[0] + c[0]).sigmoid(), (a[1] + c[1]).sigmoid()
            n = (a[2] + r * c[2]).tanh()
            gates.append((r, z, n, c[2]))
            hidden.append((1 - z) * n + z * hidden[-1])
        ctx.save_for_backward(x, w, u)
        ctx.hidden, ctx.gates = hidden, gates
        return torch.stack(hidden[1:])

    @staticmethod
    def of_candidate(grad: Tensor, n: Tensor) -> Tensor:
        return grad * (1 - n * n)

    @staticmethod
    def of_reset(grad: Tensor, r: Tensor) -> Tensor:
        return grad * r * (1 - r)

    @classmethod
    def backward(cls, ctx: Any, g: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        x, w, u = ctx.saved_tensors
        later, dx, dw, du = torch.zeros_like(g[0]), torch.zeros_like(x), torch.zeros_like(w), torch.zeros_like(u)
        for t in reversed(range(len(x))):
            (r, z, n, c), before, grad = ctx.gates[t], ctx.hidden[t], later + g[t]
            dn = cls.of_candidate(grad * (1 - z), n)
            dr, dz = cls.of_reset(dn * c, r), grad * (before - n) * z * (1 - z)
            da, dc = torch.cat([dr, dz, dn], 1), torch.cat([dr, dz, dn * r], 1)
            dx[t] = da @ w.T
            dw += x[t].T @ da
            du += before.T @ dc
            later = grad * z + dc @ u.T
        return dx, dw, du


class SlopeOfTheWrongSide(Gated):
    @staticmethod
    def of_candidate(grad: Tensor, n: Tensor) -> Tensor:
        return grad * (1 - 0.9 * n * n)


class WithoutTheGate(Gated):
    @staticmethod
    def of_reset(grad: Tensor, r: Tensor) -> Tensor:
        return grad * r


class Net(nn.Module):
    def __init__(self, function: Any) -> None:
        super().__init__()
        self.w, self.u = (nn.Parameter(torch.randn(own, 3 * WIDTH) * 0.5) for own in (5, WIDTH))
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.function.apply(x, self.w, self.u)
        return made


def judged(function: Any) -> oracle.Report:
    torch.manual_seed(0)
    return oracle.check_module(Net(function), torch.randn(STEPS, ROWS, 5, requires_grad=True))


def test_every_element_of_a_long_recurrence_is_decided() -> None:
    """The product of two sums was taken to have the terms of both at once. After forty steps nothing was tested by it."""
    report = judged(Gated)
    assert report.passed, report
    assert report.table["decided"].min() == 1


@pytest.mark.parametrize("function", [SlopeOfTheWrongSide, WithoutTheGate])
def test_a_wrong_formula_is_no_lower_precision(function: Any) -> None:
    """Its errors of some percent lie within the worst-case bound, which grows from step to step."""
    rows = judged(function).table
    gradients = rows[rows["quantity"].str.startswith("grad")]
    assert set(gradients["verdict"]) == {"wrong"}, gradients
    assert gradients["effective_bits"].max() < 8
