"""Gradients that are taken inside of the backward pass, of a graph that the forward pass made beside the network's own."""

from __future__ import annotations

from typing import Any

import pytest
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


class Again(nn.Module):
    """The same, solved in the network's own graph: each iteration runs backwards through its layers. The hook is removed first,
    as its own passes would call it.

    Source: the tutorial on deep implicit layers, Kolter, Duvenaud and Johnson, NeurIPS 2020.
    """

    def __init__(self, bias: bool, head: bool) -> None:
        super().__init__()
        self.f, self.u = nn.Linear(8, 8, bias=bias), nn.Linear(8, 8)
        self.head: nn.Module = nn.Linear(8, 3) if head else nn.Identity()

    def step(self, z: Tensor, x: Tensor) -> Tensor:
        return torch.tanh(self.f(z) * 0.5 + self.u(x))

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            z = torch.zeros_like(x)
            for _ in range(5):
                z = self.step(z, x)
        z = z.requires_grad_()
        made, handles = self.step(z, x), list[Any]()

        def solve(grad: Tensor) -> Tensor:
            handles[0].remove()
            found = torch.zeros_like(grad)
            for _ in range(5):
                found = torch.autograd.grad(made, z, found, retain_graph=True)[0] + grad
            return found

        handles.append(made.register_hook(solve))
        return self.head(made)  # type: ignore[no-any-return]


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


class Doubled(torch.autograd.Function):
    """A function whose gradient is wrong."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x * 1.5

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad * 3


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


@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_of_which_a_hook_asks_a_gradient_again_and_again_is_not_accused(bias: bool) -> None:
    """Without a bias no node tells that the weight's gradient was not asked for: the node that leads to it does not run."""
    torch.manual_seed(0)
    module = Equilibrium()
    module.f = nn.Linear(8, 8, bias=bias)
    report = checked(module, torch.randn(5, 8))
    assert not report.blame, report
    assert {own.reason.partition(":")[0] for own in report.coverage.unjudged} == {"a hook changes the gradient here"}


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("head", [True, False])
def test_passes_of_a_hook_through_the_networks_own_graph_are_told_apart(bias: bool, head: bool) -> None:
    """Their gradients were taken for those of the module, and the module's for those of a pass that other code runs."""
    torch.manual_seed(0)
    report = oracle.check_module(Again(bias, head), torch.randn(5, 8))
    assert not report.blame, report
    assert [own.reason.partition(":")[0] for own in report.coverage.unjudged] == ["a hook changes the gradient here"]
    rows = report.table.set_index(["layer", "quantity"])["verdict"]
    assert rows["f#6", "grad.weight"] == rows["u#6", "grad.weight"] == rows["tanh", "grad_input"] == "pass"


def test_a_mistake_in_a_graph_through_which_a_hook_solves_is_found() -> None:
    """In the pass of the module itself."""

    class Wrong(Again):
        def step(self, z: Tensor, x: Tensor) -> Tensor:
            return Doubled.apply(super().step(z, x))  # type: ignore[no-any-return, no-untyped-call]

    torch.manual_seed(0)
    report = oracle.check_module(Wrong(True, True), torch.randn(5, 8))
    assert [(own.layer, own.quantity) for own in report.blame] == [("Doubled", "grad_input")]
