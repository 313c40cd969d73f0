"""A planted bug: a wrong implementation in a network that shows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from oracle.case.case import Case, Spec
from oracle.selftest.plant import Change, Implementation, When, always, changed, ignoring
from oracle.suite.build import generator, network_case

# What stands before and after the layer in question: elementwise, unbounded before it so that every branch is taken.
BEFORE = (Spec("LeakyReLU", {"negative_slope": 0.5}, "before"), Spec("Tanhshrink", name="before"))
AFTER = (Spec("Sigmoid", name="after"), Spec("Tanh", name="after"))


def with_layer(name: str, spec: Spec, shape: tuple[int, ...], *, steps: int = 2, **fields: Any) -> Case:
    """A network with this layer, "target", in its middle, so that naming it takes some care. Trained by SGD for two steps, so
    that what is stale shows."""
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
    """A bug in what a layer makes: one of output, grad_input, or a parameter's gradient by its name."""
    (quantity,) = change
    run = changed(spec.type, when=when, **change)
    case = with_layer(f"selftest/{name}", spec, shape, **(fields or {}))
    return Bug(name, case, run, quantity=quantity if quantity in ("output", "grad_input") else f"grad.{quantity}")


def option_ignored(name: str, spec: Spec, shape: tuple[int, ...], quantity: str = "grad_input", **options: Any) -> Bug:
    """A bug in which the backward (or the forward, with quantity "output") works with other options."""
    return Bug(
        name, with_layer(f"selftest/{name}", spec, shape), ignoring(spec, quantity, **options), quantity=quantity
    )
