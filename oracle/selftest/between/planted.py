"""A bug between layers, and its result. `check_module` must blame its place first, and must not accuse its twin."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

import oracle

Forward = Callable[..., Tensor]
Shape = tuple[int, ...]
SAMPLES, FEATURES = 3, 5


@dataclass(frozen=True)
class Between:
    """A bug in an operation between layers.

    Attributes:
        operation: class of the wrong operation, or of the torch operation in its place.
        quantity: the quantity that is wrong.
        make: maps `wrong` to the module and the references that it needs.
    """

    name: str
    operation: str
    quantity: str
    make: Callable[[bool], tuple[nn.Module, Mapping[Any, Any]]]


@dataclass(frozen=True)
class Met:
    """The result for a bug.

    Attributes:
        blamed: operation and quantity that the report blames first; empty if it blames none.
        named: whether these are the bug's own.
        twin: what the report of the repaired twin blames first, or the report if it blames nothing; empty if it passes.
    """

    name: str
    operation: str
    quantity: str
    blamed: str
    named: bool
    twin: str


def met(bug: Between) -> Met:
    reports = []
    for wrong in (True, False):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            module, references = bug.make(wrong)
            reports.append(oracle.check_module(module, torch.randn(SAMPLES, FEATURES), references=references))
    first, accused = (next(iter(report.blame), None) for report in reports)
    return Met(
        bug.name,
        bug.operation,
        bug.quantity,
        "" if first is None else f"{first.layer_type} {first.quantity}",
        first is not None and first.layer_type.rpartition(".")[2] == bug.operation and first.quantity == bug.quantity,
        "" if accused is None and reports[1].passed else str(accused or reports[1]),
    )


class Around(nn.Module):
    """A linear layer before each argument of an operation, and one after the operation."""

    def __init__(self, operation: Forward, shapes: Sequence[Shape]) -> None:
        super().__init__()
        self.operation, self.shapes = operation, shapes
        self.given = nn.ModuleList(nn.Linear(FEATURES, math.prod(_own(shape))) for shape in shapes)
        result = operation(*(torch.ones(shape) for shape in shapes))
        self.out = nn.Linear(result.numel() // SAMPLES, 2)

    def forward(self, x: Tensor) -> Tensor:
        made = [layer(x) for layer in self.given]
        arguments = [
            own.view(shape) if shape[:1] == (SAMPLES,) else own.sum(0).view(shape)
            for own, shape in zip(made, self.shapes, strict=True)
        ]
        return self.out(self.operation(*arguments).reshape(SAMPLES, -1))  # type: ignore[no-any-return]


def _own(shape: Shape) -> Shape:
    """The shape that a layer computes for each sample. An argument without samples is the sum over them."""
    return shape[1:] if shape[:1] == (SAMPLES,) else shape


def function(name: str, forward: Forward, backward: Callable[..., Any] | None) -> Any:
    """A custom autograd.Function with backward(upstream gradient, *arguments); None stands for the right backward."""

    class Made(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *arguments: Tensor) -> Tensor:
            ctx.save_for_backward(*arguments)
            return forward(*arguments)

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> Any:
            if backward is not None:
                return backward(g, *ctx.saved_tensors)
            with torch.enable_grad():
                arguments = [own.detach().requires_grad_() for own in ctx.saved_tensors]
                return torch.autograd.grad(forward(*arguments), arguments, g)

    Made.__name__ = Made.__qualname__ = name
    return Made


@dataclass
class Book:
    """The bugs of a family, in the order of their definition."""

    bugs: list[Between] = field(default_factory=list)

    def backward(
        self, operation: str, what: str, quantity: str, forward: Forward, wrong: Callable[..., Any], *shapes: Shape
    ) -> None:
        """Adds an autograd.Function whose backward does not match its forward."""

        def make(is_wrong: bool) -> tuple[nn.Module, Mapping[Any, Any]]:
            return Around(function(operation, forward, wrong if is_wrong else None).apply, shapes), {}

        self.bugs.append(Between(f"{operation}: {what}", operation, quantity, make))

    def forward(self, operation: str, what: str, right: Forward, wrong: Forward, *shapes: Shape) -> None:
        """Adds an autograd.Function whose forward differs from the reference that its user declares."""

        def make(is_wrong: bool) -> tuple[nn.Module, Mapping[Any, Any]]:
            own = function(operation, wrong if is_wrong else right, None)
            return Around(own.apply, shapes), {own: right}

        self.bugs.append(Between(f"{operation}: {what}", operation, "output", make))

    def program(self, operation: str, what: str, quantity: str, right: Forward, wrong: Forward, *shapes: Shape) -> None:
        """Adds a wrong program in plain torch code, without a custom autograd.Function."""

        def make(is_wrong: bool) -> tuple[nn.Module, Mapping[Any, Any]]:
            return Around(wrong if is_wrong else right, shapes), {}

        self.bugs.append(Between(f"{operation}: {what}", operation, quantity, make))

    def __iter__(self) -> Iterator[Between]:
        return iter(self.bugs)
