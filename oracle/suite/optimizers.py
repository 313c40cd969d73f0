"""Optimizers alone: random gradients, five steps, every pair of options."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from oracle.case import Case, Spec
from oracle.suite.build import generator, label, pairs

STEPS = 5
SHAPES = {"0.weight": (4, 3), "0.bias": (4,)}


def cases() -> Iterator[Case]:
    why = "each step from its own state: the order of decay, momentum and dampening, and the first step's buffer"

    def valid(options: dict[str, Any]) -> bool:
        plain = options.get("momentum") == 0 or options.get("dampening", 0) != 0
        return not (options.get("nesterov") and plain)

    levels: dict[str, list[Any]] = {
        "momentum": [0, 0.9],
        "dampening": [0, 0.3],
        "nesterov": [False, True],
        "weight_decay": [0, 0.1],
        "maximize": [False, True],
        "lr": [0.1, 0.01],
    }
    for options in pairs(levels, valid):
        yield update_case(f"optimizer/SGD{label(options)}", why, Spec("SGD", options))
    full = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1}
    yield update_case("optimizer/SGD,momentum+nesterov+decay", why, Spec("SGD", full | {"nesterov": True}))
    yield update_case(
        "optimizer/SGD,momentum+dampening+decay+maximize", why, Spec("SGD", full | {"dampening": 0.5, "maximize": True})
    )
    groups = ({"params": ["0.weight"], "weight_decay": 1.0}, {"params": ["0.bias"], "lr": 0.01, "momentum": 0.0})
    yield update_case(
        "optimizer/SGD,groups",
        "each parameter group has its own options",
        replace(Spec("SGD", {"lr": 0.1, "momentum": 0.5}), groups=groups),
    )


def update_case(name: str, why: str, optimizer: Spec) -> Case:
    rng = generator(name)
    return Case(
        name,
        why,
        params={key: rng.standard_normal(shape) for key, shape in SHAPES.items()},
        grads=tuple({key: rng.standard_normal(shape) for key, shape in SHAPES.items()} for _ in range(STEPS)),
        optimizer=optimizer,
        steps=STEPS,
    )
