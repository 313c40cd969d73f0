"""One published bug: where it was published, what it is, and how its reporter would hold it against the reference."""

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
    """How an implementation is held against the reference, as its reporter would do it."""

    def report(self, fixed: bool) -> Report: ...


@dataclass(frozen=True)
class Op:
    """`check_op`: a function and its backward, under the options that it has.

    Attributes:
        make: fixed -> fn(x, …) -> (y, backward).
        options: of `oracle.check_op`, arrays of the reporter's own among them.
        dtypes: in which it is tried.
    """

    name: str
    make: Callable[[bool], Differentiable]
    options: dict[str, Any] = field(default_factory=dict)
    dtypes: tuple[str, ...] = ("float64", "float32")

    def report(self, fixed: bool) -> Report:
        return oracle.check_op(self.name, self.make(fixed), dtypes=self.dtypes, **self.options)


@dataclass(frozen=True)
class Run:
    """`oracle.run`: a subject on cases of the suite, or on cases of the reporter's own."""

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
    """`check_module`: a torch module, with a loss and an optimizer where the bug needs them."""

    make: Callable[[bool], Step]

    def report(self, fixed: bool) -> Report:
        return oracle.check_module(*self.make(fixed))


@dataclass(frozen=True)
class Entry:
    """A published bug.

    Attributes:
        source: repository and number, such as "FluxML/Flux.jl#1197".
        what: what the project did, in a sentence.
        layer: the class that is at fault, or the operation, as a report names it without its module.
        quantities: what of it is wrong; none where it raises.
        causes: names under which the cause may go; none where no cause that the report knows is right.
    """

    source: str
    what: str
    layer: str
    quantities: tuple[str, ...]
    causes: tuple[str, ...]
    wiring: Wiring
    family: str


class Book:
    """The entries of one family, in the order in which they are written down."""

    def __init__(self, family: str) -> None:
        self.family = family
        self.entries: list[Entry] = []

    def add(self, source: str, what: str, layer: str, quantity: str, causes: str, wiring: Wiring) -> None:
        """`quantity` and `causes` may be several, separated by commas."""
        self.entries.append(Entry(source, what, layer, _names(quantity), _names(causes), wiring, self.family))

    def op(
        self, name: str, source: str, what: str, quantity: str = "grad_input", causes: str = "", **options: Any
    ) -> Callable[[Callable[[bool], Differentiable]], Callable[[bool], Differentiable]]:
        """A decorator for fixed -> fn: held against the op of that name by `check_op`."""

        def add(make: Callable[[bool], Differentiable]) -> Callable[[bool], Differentiable]:
            self.add(source, what, name, quantity, causes, Op(name, make, options))
            return make

        return add

    def module(
        self, layer: str, source: str, what: str, quantity: str = "grad_input", causes: str = ""
    ) -> Callable[[Callable[[bool], Step]], Callable[[bool], Step]]:
        """A decorator for fixed -> Step: held against the reference by `check_module`."""

        def add(make: Callable[[bool], Step]) -> Callable[[bool], Step]:
            self.add(source, what, layer, quantity, causes, Module(make))
            return make

        return add

    def run(
        self, layer: str, source: str, what: str, quantity: str, causes: str, cases: str | tuple[Case, ...]
    ) -> Callable[[Made], Made]:
        """A decorator for fixed -> subject: tried by `oracle.run` on these cases."""

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
        """An elementwise function with its derivative as a function of input and output, as published and as repaired."""

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
        """An elementwise function of which the forward pass was published wrong."""

        def make(fixed: bool) -> Differentiable:
            forward = right if fixed else wrong

            def fn(x: Array) -> tuple[Array, Callable[[Array], Array]]:
                y = np.asarray(forward(x)).astype(x.dtype)
                return y, lambda dy: (dy * derivative(x, y)).astype(x.dtype)

            return fn

        self.add(source, what, name, "output", causes, Op(name, make, options))


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())
