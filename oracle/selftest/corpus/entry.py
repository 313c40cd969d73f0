"""A published bug: its source, its description, and how its reporter would check it against the reference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np

import oracle
from oracle.case.arrays import Array
from oracle.case.case import Case
from oracle.ops.check_op import Differentiable
from oracle.report.report import Report

# Makes the implementation: as it was published, or repaired.
Made: TypeAlias = Callable[[bool], Any]


class Wiring(Protocol):
    """Checks an implementation against the reference, as the bug's reporter would do it."""

    def report(self, fixed: bool) -> Report: ...


@dataclass(frozen=True)
class Op:
    """`check_op`, for a function and its backward.

    Attributes:
        make: maps `fixed` to fn(x, …) -> (y, backward).
        options: the options of `oracle.check_op`; they may contain the reporter's own arrays.
        dtypes: the dtypes in which it is checked.
    """

    name: str
    make: Callable[[bool], Differentiable]
    options: dict[str, Any] = field(default_factory=dict)
    dtypes: tuple[str, ...] = ("float64", "float32")

    def report(self, fixed: bool) -> Report:
        return oracle.check_op(self.name, self.make(fixed), dtypes=self.dtypes, **self.options)


@dataclass(frozen=True)
class Run:
    """`oracle.run`, for a subject on cases of the suite or on the reporter's own cases."""

    make: Made
    cases: str | tuple[Case, ...]

    def report(self, fixed: bool) -> Report:
        return oracle.run(self.make(fixed), cases=self.cases)


class Step(NamedTuple):
    """The arguments of `check_module`."""

    module: Any
    x: Any
    loss: Any = None
    target: Any = None
    optimizer: Any = None
    steps: int = 1


@dataclass(frozen=True)
class Module:
    """`check_module`, for a torch module; with a loss and an optimizer if the bug needs them."""

    make: Callable[[bool], Step]

    def report(self, fixed: bool) -> Report:
        return oracle.check_module(*self.make(fixed))


@dataclass(frozen=True)
class Entry:
    """A published bug.

    Attributes:
        source: repository and number, such as "FluxML/Flux.jl#1197".
        what: one sentence that says what the project did.
        layer: the wrong class or operation, as a report names it without its module.
        quantities: the wrong quantities; empty if the bug raises an exception.
        causes: accepted names of the cause; empty if no cause that the report knows is right.
        wiring: how the bug is checked.
    """

    source: str
    what: str
    layer: str
    quantities: tuple[str, ...]
    causes: tuple[str, ...]
    wiring: Wiring
    family: str


class Book:
    """The entries of one family, in the order of their definition."""

    def __init__(self, family: str) -> None:
        self.family = family
        self.entries: list[Entry] = []

    def add(self, source: str, what: str, layer: str, quantity: str, causes: str, wiring: Wiring) -> None:
        """Adds an entry. `quantity` and `causes` may hold several names, separated by commas."""
        self.entries.append(Entry(source, what, layer, _names(quantity), _names(causes), wiring, self.family))

    def op(
        self, name: str, source: str, what: str, quantity: str = "grad_input", causes: str = "", **options: Any
    ) -> Callable[[Callable[[bool], Differentiable]], Callable[[bool], Differentiable]]:
        """Decorates a function fixed -> fn, which `check_op` checks as the op with this name."""

        def add(make: Callable[[bool], Differentiable]) -> Callable[[bool], Differentiable]:
            self.add(source, what, name, quantity, causes, Op(name, make, options))
            return make

        return add

    def module(
        self, layer: str, source: str, what: str, quantity: str = "grad_input", causes: str = ""
    ) -> Callable[[Callable[[bool], Step]], Callable[[bool], Step]]:
        """Decorates a function fixed -> Step, which `check_module` checks."""

        def add(make: Callable[[bool], Step]) -> Callable[[bool], Step]:
            self.add(source, what, layer, quantity, causes, Module(make))
            return make

        return add

    def run(
        self, layer: str, source: str, what: str, quantity: str, causes: str, cases: str | tuple[Case, ...]
    ) -> Callable[[Made], Made]:
        """Decorates a function fixed -> subject, which `oracle.run` runs on these cases."""

        def add(make: Made) -> Made:
            self.add(source, what, layer, quantity, causes, Run(make, cases))
            return make

        return add

    def activation(
        self,
        name: str,
        source: str,
        what: str,
        forward: Callable[..., Array],
        wrong: Callable[[Array, Array], Any],
        right: Callable[[Array, Array], Any],
        causes: str = "",
        **options: Any,
    ) -> None:
        """Adds an elementwise function with a wrong and a repaired derivative, both functions of (input, output)."""

        def make(fixed: bool) -> Differentiable:
            derivative = right if fixed else wrong

            def fn(x: Array) -> tuple[Array, Callable[[Array], Array]]:
                y = forward(x)
                return y, lambda dy: (dy * derivative(x, y)).astype(x.dtype)

            return fn

        self.add(source, what, name, "grad_input", causes, Op(name, make, options))

    def output(
        self,
        name: str,
        source: str,
        what: str,
        wrong: Callable[[Array], Any],
        right: Callable[[Array], Any],
        derivative: Callable[[Array, Array], Any],
        causes: str = "",
        **options: Any,
    ) -> None:
        """Adds an elementwise function with a wrong and a repaired forward."""

        def make(fixed: bool) -> Differentiable:
            forward = right if fixed else wrong

            def fn(x: Array) -> tuple[Array, Callable[[Array], Array]]:
                y = np.asarray(forward(x)).astype(x.dtype)
                return y, lambda dy: (dy * derivative(x, y)).astype(x.dtype)

            return fn

        self.add(source, what, name, "output", causes, Op(name, make, options))


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())
