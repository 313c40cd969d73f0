"""Custom autograd.Functions whose gradients the module takes in its forward pass, as a gradient penalty or a force does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import oracle


class WrongSign(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.tanh()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return -g * (1 - x.tanh() ** 2)


class Detached(torch.autograd.Function):
    """tanh, whose gradient is right, and whose second derivative is zero."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = x.tanh()
        ctx.y = y.detach()
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return g * (1 - ctx.y**2)


class HalfDetached(torch.autograd.Function):
    """x³ with a gradient that is right, of which one of two factors is detached."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return 3 * g * x * x.detach()


class OfOutput(torch.autograd.Function):
    """tanh as it should be."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = x.tanh()
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        return g * (1 - y**2)


class Rectified(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return g * (x > 0)


class Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor) -> Tensor:
        ctx.save_for_backward(x, y)
        return x * y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, y = ctx.saved_tensors
        needs_x, needs_y = ctx.needs_input_grad
        return g * y if needs_x else None, g * x if needs_y else None


class Penalty(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor], create_graph: bool = True) -> None:
        super().__init__()
        self.a, self.c, self.function, self.create_graph = nn.Linear(8, 8), nn.Linear(8, 1), function, create_graph

    def forward(self, x: Tensor) -> Tensor:
        x = x.clone().requires_grad_()
        y = self.c(self.function(self.a(x)))
        slope = torch.autograd.grad(y.sum(), x, create_graph=self.create_graph, retain_graph=True)[0]
        return (slope.norm(dim=1) - 1).square() + y[:, 0]


def checked(module: nn.Module, dtype: torch.dtype = torch.float64, **options: Any) -> oracle.Report:
    torch.manual_seed(0)
    return oracle.check_module(module.to(dtype), torch.randn(6, 8).to(dtype), **options)


@pytest.mark.parametrize("references", [{}, {WrongSign: torch.tanh}])
@pytest.mark.parametrize("create_graph", [True, False])
def test_a_wrong_gradient_is_found(references: dict[Any, Any], create_graph: bool) -> None:
    torch.manual_seed(0)
    report = checked(Penalty(WrongSign.apply, create_graph), references=references)  # type: ignore[no-untyped-call]
    assert ("WrongSign.inner", "grad_input") in {(own.layer, own.quantity) for own in report.blame}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("function", [Detached, HalfDetached])
def test_a_second_derivative_that_lacks_a_term_is_found(function: Any, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    report = checked(Penalty(function.apply), dtype)
    ((layer, quantity, said),) = [(own.layer, own.quantity, own.diagnosis) for own in report.blame]
    assert (layer, quantity) == (f"{function.__name__}.inner", "grad_input") and "second derivative" in said


def test_a_reference_says_what_the_second_derivative_is() -> None:
    torch.manual_seed(0)
    report = checked(Penalty(Detached.apply), references={Detached: torch.tanh})  # type: ignore[no-untyped-call]
    assert [own.layer for own in report.blame] == ["Detached.inner"]
    report = checked(Penalty(OfOutput.apply), references={OfOutput: torch.tanh})  # type: ignore[no-untyped-call]
    report.raise_for_discrepancy()


HONEST: dict[str, Callable[[Tensor], Tensor]] = {
    "its output": OfOutput.apply,
    "a kink": Rectified.apply,
    "two inputs": lambda h: Product.apply(h[:, :4], h[:, 4:].tanh()).repeat(1, 2),  # type: ignore[no-untyped-call]
    "a constant": lambda h: Product.apply(h, torch.full_like(h, 0.5)),  # type: ignore[no-untyped-call]
    "twice": lambda h: OfOutput.apply(OfOutput.apply(h)),  # type: ignore[no-untyped-call]
    "the same twice": lambda h: Product.apply(h, h),  # type: ignore[no-untyped-call]
}


@pytest.mark.parametrize("create_graph", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", HONEST)
def test_honest_functions_are_not_accused(name: str, dtype: torch.dtype, create_graph: bool) -> None:
    torch.manual_seed(0)
    checked(Penalty(HONEST[name], create_graph), dtype).raise_for_discrepancy()


@pytest.mark.parametrize("function", [OfOutput, WrongSign])
def test_of_a_large_function_elements_are_drawn(function: Any) -> None:
    """The gradient that the module takes is judged by the same elements as the Function."""
    torch.manual_seed(0)
    module, x = Penalty(function.apply), torch.randn(800, 8)
    report = oracle.check_module(module, x, effort="sample")
    rows = report.table.set_index(["layer", "quantity"])
    assert 0 < rows.loc[(f"{function.__name__}.inner", "grad_input"), "n"] < 6400
    assert [own.layer for own in report.blame[:1]] == (["WrongSign.inner"] if function is WrongSign else []), report


def test_the_derivative_of_a_function_with_dependent_inputs_is_unjudged() -> None:
    """Autograd gives the derivative by one input together with the way through the other."""
    torch.manual_seed(0)
    module = Penalty(lambda h: Product.apply(h, h.sin()))  # type: ignore[no-untyped-call]
    report = checked(module)
    assert not report.blame and "was not compared" in report.coverage.unjudged[0].reason


def test_a_backward_pass_in_a_call_with_a_reference_is_unjudged() -> None:
    class Own(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return OfOutput.apply(x)  # type: ignore[no-any-return, no-untyped-call]

    torch.manual_seed(0)
    report = checked(Penalty(Own()), references={Own: lambda x: x.tanh()})
    assert not report.blame and [own.place for own in report.coverage.unjudged] == ["OfOutput"]
