"""Gradients that are changed between the operations that are judged, or after they were added up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import oracle


class Product(torch.autograd.Function):
    """x wᵀ, whose subclasses say how it is differentiated."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor) -> Tensor:
        ctx.save_for_backward(x, w)
        return x @ w.T


class AddsToo(Product):
    """Returns the gradient of the weight, and adds it to `grad` itself."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor]:
        x, w = ctx.saved_tensors
        w.grad = g.T @ x if w.grad is None else w.grad + g.T @ x
        return g @ w, g.T @ x


class InWorkspace(Product):
    """The gradient of the weight is in memory that the next call uses again."""

    memory = torch.empty(3, 4)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor]:
        x, w = ctx.saved_tensors
        return g @ w, torch.mm(g.T, x, out=InWorkspace.memory).detach()


class OfTwo(nn.Module):
    def __init__(self, function: Any) -> None:
        super().__init__()
        self.a, self.b, self.function = nn.Parameter(torch.randn(3, 4)), nn.Parameter(torch.randn(3, 4)), function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, self.a).tanh() * self.function(x, self.b)  # type: ignore[no-any-return]


class Scaled(torch.autograd.Function):
    """The gradient is in memory that the next call uses again."""

    memory = torch.empty(5, 4)

    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return x * factor

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        return torch.mul(g, ctx.factor, out=Scaled.memory), None


class TwoBranches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x)
        return self.b(Scaled.apply(h, 2.0)) + Scaled.apply(h, 10.0)  # type: ignore[no-any-return, no-untyped-call]


def culprits(report: oracle.Report) -> list[tuple[str, str, str]]:
    return [(own.layer, own.quantity, own.verdict) for own in report.blame]


def test_a_function_that_also_adds_to_grad_is_accused() -> None:
    """Each of its gradients is right, and the parameter ends up with twice as much."""
    torch.manual_seed(0)
    report = oracle.check_module(OfTwo(AddsToo.apply), torch.randn(5, 4))
    assert culprits(report) == [("OfTwo", "grad.b", "wrong"), ("OfTwo", "grad.a", "wrong")]
    assert "other code changes it during the backward pass" in report.blame[0].diagnosis
    oracle.check_module(OfTwo(nn.functional.linear), torch.randn(5, 4)).raise_for_discrepancy()


def test_a_parameter_s_gradient_that_the_next_call_overwrites_is_accused() -> None:
    torch.manual_seed(0)
    report = oracle.check_module(OfTwo(InWorkspace.apply), torch.randn(5, 4))
    assert len(report.blame) == 1 and report.blame[0].quantity in ("grad.a", "grad.b")


def test_a_gradient_that_is_overwritten_on_its_way_is_accused() -> None:
    """The report names the operation that passed it on."""
    torch.manual_seed(0)
    report = oracle.check_module(TwoBranches(), torch.randn(5, 4))
    assert [(own.layer.partition("#")[0], own.quantity) for own in report.blame] == [("Scaled", "grad_input")]
    assert "is overwritten before it arrives" in report.blame[0].diagnosis


def test_a_hook_on_the_node_of_a_parameter_is_unjudged() -> None:
    """As DDP and apex register them; torch shows no tensor that has this hook."""
    net = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))
    node = net[2].weight.expand_as(net[2].weight).grad_fn.next_functions[0][0]
    handle = node.register_prehook(lambda gradients: (gradients[0] / 2,))
    report = oracle.check_module(net, torch.randn(5, 4), optimizer=torch.optim.SGD(net.parameters(), lr=0.1), steps=2)
    ((place, _, reason),) = report.coverage.unjudged
    assert place == "2.weight" and "a hook on autograd's node" in reason and not report.passed
    handle.remove()
    oracle.check_module(net, torch.randn(5, 4)).raise_for_discrepancy()


def test_a_hook_on_the_node_of_a_parameter_afterwards_is_unjudged() -> None:
    net = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))
    node = net[2].weight.expand_as(net[2].weight).grad_fn.next_functions[0][0]

    def twice(*_: Any) -> None:
        net[2].weight.grad.mul_(2)  # type: ignore[operator, union-attr]

    handle = node.register_hook(twice)
    report = oracle.check_module(net, torch.randn(5, 4))
    assert [own.place for own in report.coverage.unjudged] == ["2.weight"] and not report.passed
    handle.remove()


class PreHooked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x).sin()
        h.grad_fn.register_prehook(lambda gradients: (2 * gradients[0],))
        return h  # type: ignore[no-any-return]


def test_a_hook_on_the_node_of_an_operation_is_unjudged() -> None:
    ((place, _, reason),) = oracle.check_module(PreHooked(), torch.randn(5, 4)).coverage.unjudged
    assert place == "sin" and "a hook on autograd's node" in reason


def test_a_hook_of_a_layer_that_changes_gradients_of_others_is_accused() -> None:
    net = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))

    def twice(*_: Any) -> None:
        if net[2].bias.grad is not None:
            net[2].bias.grad.mul_(2)  # type: ignore[operator, union-attr]

    net[0].register_full_backward_hook(twice)
    report = oracle.check_module(net, torch.randn(5, 4).requires_grad_())
    assert culprits(report) == [("2", "grad.bias", "wrong")]


class Deep(nn.Module):
    """Differentiates a loss of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        self.a(x).square().sum().backward()
        return self.a(x)  # type: ignore[no-any-return]


def test_a_gradient_from_before_the_backward_pass_is_unjudged() -> None:
    report = oracle.check_module(Deep(), torch.randn(5, 4))
    assert [own.place for own in report.coverage.unjudged] == ["a.weight", "a.bias"] and not report.passed


class Uses(nn.Module):
    """A linear layer and a way to use it."""

    def __init__(self, use: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.layer, self.use = nn.Linear(4, 4), use

    def forward(self, x: Tensor) -> Tensor:
        return self.use(self.layer, x)


def often(layer: nn.Module, x: Tensor) -> Tensor:
    for _ in range(5):
        x = layer(x).tanh() + x + x
    return x


def penalty(layer: nn.Module, x: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    y = layer(x).tanh()
    return y + torch.autograd.grad(y.sum(), x, create_graph=True)[0].square().sum()


def in_place(layer: nn.Module, x: Tensor) -> Tensor:
    y = layer(x)
    y[:, 0] += 1
    y[1:].mul_(2)
    return y.relu_() * y


HONEST: dict[str, Callable[[nn.Module, Tensor], Tensor]] = {
    "a shared layer": often,
    "a gradient penalty": penalty,
    "in place": in_place,
    "checkpoint": lambda layer, x: checkpoint(often, layer, x, use_reentrant=False),  # type: ignore[no-any-return]
    "reentrant": lambda layer, x: checkpoint(layer, layer(x), use_reentrant=True),  # type: ignore[no-any-return]
    "a shared weight": lambda layer, x: layer(x) @ layer.weight + layer.weight.sum(),  # type: ignore[operator, union-attr]
    "frozen": lambda layer, x: layer.requires_grad_(False)(x) @ layer.bias.requires_grad_(),  # type: ignore[operator]
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", HONEST)
def test_honest_modules_are_not_accused(name: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    module, x = Uses(HONEST[name]).to(dtype), torch.randn(5, 4).to(dtype)
    report = oracle.check_module(module, x, optimizer=torch.optim.SGD(module.parameters(), lr=0.1), steps=2)
    assert not report.blame and not report.coverage.unjudged, str(report)


def test_sparse_gradients_of_a_shared_embedding_are_not_accused() -> None:
    embedding = nn.Embedding(5, 3, sparse=True)
    module = nn.Sequential(embedding, nn.Flatten(), nn.Linear(6, 4), nn.Softmax(1))
    uses = Uses(lambda _, x: module(x.long()) @ embedding(torch.tensor([0, 0, 1, 2])))
    uses.module = module
    oracle.check_module(uses, torch.tensor([[0.0, 1.0], [1.0, 1.0]])).raise_for_discrepancy()
