"""Optimizers alone: random gradients, five steps, every pair of options."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from oracle.case.case import Case, Spec
from oracle.suite.build import generator, label, pairs

STEPS = 5
SHAPES = {"0.weight": (4, 3), "0.bias": (4,)}
WHY = "each step from its own state: the order of decay, momentum and correction, and the first step's state"
COMMON: dict[str, list[Any]] = {"weight_decay": [0, 0.1], "maximize": [False, True], "lr": [0.1, 0.01]}
LEVELS: dict[str, dict[str, list[Any]]] = {
    "SGD": {"momentum": [0, 0.9], "dampening": [0, 0.3], "nesterov": [False, True], **COMMON},
    "Adam": {"betas": [(0.9, 0.999), (0.5, 0.8)], "eps": [1e-8, 1e-3], "amsgrad": [False, True], **COMMON},
    "AdamW": {"betas": [(0.9, 0.999), (0.5, 0.8)], "eps": [1e-8, 1e-3], "amsgrad": [False, True], **COMMON},
    "RMSprop": {"alpha": [0.99, 0.5], "eps": [1e-8, 1e-3], "momentum": [0, 0.9], "centered": [False, True], **COMMON},
    "Adagrad": {"lr_decay": [0, 0.1], "initial_accumulator_value": [0, 0.5], "eps": [1e-10, 1e-3], **COMMON},
}


def cases() -> Iterator[Case]:
    for type, levels in LEVELS.items():
        for options in pairs(levels, can_be_built):
            yield update_case(f"optimizer/{type}{label(options)}", WHY, Spec(type, options))
    full = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1}
    yield update_case("optimizer/SGD,momentum+nesterov+decay", WHY, Spec("SGD", full | {"nesterov": True}))
    yield update_case(
        "optimizer/SGD,momentum+dampening+decay+maximize", WHY, Spec("SGD", full | {"dampening": 0.5, "maximize": True})
    )
    groups = ({"params": ["0.weight"], "weight_decay": 1.0}, {"params": ["0.bias"], "lr": 0.01})
    for type in LEVELS:
        yield update_case(
            f"optimizer/{type},groups",
            "each parameter group has its own options",
            replace(Spec(type, {"lr": 0.1}), groups=groups),
        )


def can_be_built(options: dict[str, Any]) -> bool:
    return not (options.get("nesterov") and (options.get("momentum") == 0 or options.get("dampening", 0) != 0))


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
