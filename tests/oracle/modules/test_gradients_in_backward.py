"""Gradients that are taken inside of the backward pass, of a graph that the forward pass made beside the network's own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

import oracle


class Equilibrium(nn.Module):
    """A fixed point z = tanh(f(z) / 2 + x). Its gradient is that of the last iteration, solved for by a hook.

    Source: Bai, Kolter and Koltun, "Deep Equilibrium Models", NeurIPS 2019.
    """

    def __init__(self) -> None:
        super().__init__()
        self.f, self.head = nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            z = torch.zeros_like(x)
            for _ in range(20):
                z = torch.tanh(self.f(z) / 2 + x)
        z = torch.tanh(self.f(z) / 2 + x)
        start = z.detach().requires_grad_()
        again = torch.tanh(self.f(start) / 2 + x)

        def solve(grad: Tensor) -> Tensor:
            found = grad
            for _ in range(10):
                found = torch.autograd.grad(again, start, found, retain_graph=True)[0] + grad
            return found

        if z.requires_grad:
            z.register_hook(solve)
        return self.head(z)  # type: ignore[no-any-return]


class Stored(torch.autograd.Function):
    """Differentiates, in its backward, a graph that was made in its forward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: nn.Module) -> Tensor:
        with torch.enable_grad():
            ctx.x = x.detach().requires_grad_()
            ctx.y = layer(ctx.x)
        return ctx.y.detach()  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        torch.autograd.backward(ctx.y, grad)
        return ctx.x.grad, None


class WithStored(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.layer = nn.Linear(4, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return Stored.apply(self.first(x), self.layer)  # type: ignore[no-any-return, no-untyped-call]


def checked(module: nn.Module, x: Tensor) -> oracle.Report:
    return oracle.check_module(module, x, nn.CrossEntropyLoss(), torch.tensor([0, 1, 2, 0, 1]))


def test_a_layer_of_which_a_hook_asks_some_gradients_only_is_not_accused() -> None:
    """The hook asks for the input's gradient ten times, never for those of the parameters: they were expected and were zero."""
    torch.manual_seed(0)
    report = checked(Equilibrium(), torch.randn(5, 8))
    assert not report.blame
    rows = report.table.set_index(["layer", "quantity"])["verdict"]
    assert rows["f#21", "grad.weight"] == rows["f#22", "output"] == "pass"
    assert ("f#22", "grad.weight") not in rows.index and ("f#22", "grad_input") not in rows.index
    assert [own.reason for own in report.coverage.unjudged if "a hook changes the gradient" in own.reason]


def test_a_layer_whose_gradients_are_all_taken_in_a_backward_is_judged() -> None:
    torch.manual_seed(0)
    x = torch.randn(5, 4)
    report = checked(WithStored(), x)
    assert not report.blame
    rows = report.table.set_index(["layer", "quantity"])["verdict"]
    assert rows["layer", "grad.weight"] == rows["layer", "grad_input"] == "pass"
