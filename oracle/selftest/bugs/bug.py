"""A planted bug: a wrong implementation in a network that shows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from oracle.case.case import Case, Spec
from oracle.selftest.plant import Change, Implementation, When, always, changed, ignoring
from oracle.suite.build import generator, network_case

# Elementwise layers before and after the target. Those before it are unbounded, so that every branch is taken.
BEFORE = (Spec("LeakyReLU", {"negative_slope": 0.5}, "before"), Spec("Tanhshrink", name="before"))
AFTER = (Spec("Sigmoid", name="after"), Spec("Tanh", name="after"))


def with_layer(name: str, spec: Spec, shape: tuple[int, ...], *, steps: int = 2, **fields: Any) -> Case:
    """A network with this layer, "target", in the middle, so that the report has to tell it from its neighbours.

    It runs for two steps unless told otherwise, so that stale values show. SGD trains it if the target has parameters.
    """
    before, after = (next(own for own in choice if own.type != spec.type) for choice in (BEFORE, AFTER))
    rng = generator(f"{name}/target")
    layers = [before, replace(spec, name="target"), after]
    inputs = fields.pop("inputs", None) or tuple(1.5 * rng.standard_normal(shape) for _ in range(steps))
    case = network_case(name, "a planted bug", layers, inputs=inputs, **{"steps": steps, **fields})
    if not any(full.startswith("target.") and "running" not in full for full in case.params):
        return case
    return replace(case, optimizer=Spec("SGD", {"lr": 0.1, "momentum": 0.9}))


@dataclass(frozen=True)
class Bug:
    """A planted bug: a wrong implementation, the case that shows it, and the layer and quantity that are at fault.

    `name` starts with its family: "conv: kernel not turned".
    """

    name: str
    case: Case
    run: Implementation
    layer: str = "target"
    quantity: str = "grad_input"
    dtypes: tuple[str, ...] = ("float64", "float32")

    @property
    def family(self) -> str:
        return self.name.partition(":")[0]


def in_layer(
    name: str,
    spec: Spec,
    shape: tuple[int, ...],
    when: When = always,
    fields: Mapping[str, Any] | None = None,
    **change: Change,
) -> Bug:
    """A bug in one result of a layer: the output, grad_input, or the gradient of the parameter with that name."""
    (quantity,) = change
    run = changed(spec.type, when=when, **change)
    case = with_layer(f"selftest/{name}", spec, shape, **(fields or {}))
    return Bug(name, case, run, quantity=quantity if quantity in ("output", "grad_input") else f"grad.{quantity}")


def option_ignored(name: str, spec: Spec, shape: tuple[int, ...], quantity: str = "grad_input", **options: Any) -> Bug:
    """A bug whose backward uses other options than the layer was given; with quantity "output", its forward does."""
    return Bug(
        name, with_layer(f"selftest/{name}", spec, shape), ignoring(spec, quantity, **options), quantity=quantity
    )
