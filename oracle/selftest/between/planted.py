"""A bug between layers, and what becomes of it: caught by `check_module` at its operation and quantity, its repaired twin accused
or not."""

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
    """
    Attributes:
        operation: the class of the operation that is wrong, or of the operation of torch that stands there.
        make: wrong -> the module, and the references that it needs.
    """

    name: str
    operation: str
    quantity: str
    make: Callable[[bool], tuple[nn.Module, Mapping[Any, Any]]]


@dataclass(frozen=True)
class Met:
    """What became of a bug: whether its operation and its quantity are blamed first, and whom the report of its twin accuses."""

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
    """A linear layer for each argument of an operation, and one behind it."""

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
    """What a layer makes for each sample of an argument; one that has no samples is the sum over them."""
    return shape[1:] if shape[:1] == (SAMPLES,) else shape


def function(name: str, forward: Forward, backward: Callable[..., Any] | None) -> Any:
    """A custom autograd.Function; its backward is given the upstream gradient and the arguments. None: the right one."""

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
    """The bugs of a family, in the order in which they are written down."""

    bugs: list[Between] = field(default_factory=list)

    def backward(
        self, operation: str, what: str, quantity: str, forward: Forward, wrong: Callable[..., Any], *shapes: Shape
    ) -> None:
        """An autograd.Function whose backward is not that of its forward."""

        def make(is_wrong: bool) -> tuple[nn.Module, Mapping[Any, Any]]:
            return Around(function(operation, forward, wrong if is_wrong else None).apply, shapes), {}

        self.bugs.append(Between(f"{operation}: {what}", operation, quantity, make))

    def forward(self, operation: str, what: str, right: Forward, wrong: Forward, *shapes: Shape) -> None:
        """An autograd.Function that computes something else than the reference that its user gives."""

        def make(is_wrong: bool) -> tuple[nn.Module, Mapping[Any, Any]]:
            own = function(operation, wrong if is_wrong else right, None)
            return Around(own.apply, shapes), {own: right}

        self.bugs.append(Between(f"{operation}: {what}", operation, "output", make))

    def program(self, operation: str, what: str, quantity: str, right: Forward, wrong: Forward, *shapes: Shape) -> None:
        """Plain code of torch."""

        def make(is_wrong: bool) -> tuple[nn.Module, Mapping[Any, Any]]:
            return Around(wrong if is_wrong else right, shapes), {}

        self.bugs.append(Between(f"{operation}: {what}", operation, quantity, make))

    def __iter__(self) -> Iterator[Between]:
        return iter(self.bugs)
