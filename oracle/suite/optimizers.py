"""Optimizers alone: random gradients, four steps, every pair of options."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from oracle.case.case import Case, Spec
from oracle.suite.build import apart, generator, label, pairs

STEPS = 4
WEIGHT = {"0.weight": (4, 3)}
SHAPES = {**WEIGHT, "0.bias": (4,)}
MATRICES = {**WEIGHT, "1.weight": (3, 5)}  # for rules that update nothing else
WHY = "each step starts from its own state: the order of decay, momentum and correction, and the first step's state"
COMMON: dict[str, list[Any]] = {"weight_decay": [0, 0.1], "maximize": [False, True], "lr": [0.1, 0.01]}
LEVELS: dict[str, dict[str, list[Any]]] = {
    "SGD": {"momentum": [0, 0.9], "dampening": [0, 0.3], "nesterov": [False, True], **COMMON},
    "Adam": {"betas": [(0.9, 0.999), (0.5, 0.8)], "eps": [1e-8, 1e-3], "amsgrad": [False, True], **COMMON},
    "AdamW": {"betas": [(0.9, 0.999), (0.5, 0.8)], "eps": [1e-8, 1e-3], "amsgrad": [False, True], **COMMON},
    "RMSprop": {"alpha": [0.99, 0.5], "eps": [1e-8, 1e-3], "momentum": [0, 0.9], "centered": [False, True], **COMMON},
    "Adamax": {"betas": [(0.9, 0.999), (0.5, 0.8)], "eps": [1e-8, 1e-1], **COMMON},
    "NAdam": {
        "betas": [(0.9, 0.999), (0.5, 0.8)],
        "eps": [1e-8, 1e-3],
        "momentum_decay": [4e-3, 0.3],
        "decoupled_weight_decay": [False, True],
        **COMMON,
    },
    "RAdam": {
        "betas": [(0.9, 0.999), (0.5, 0.8)],
        "eps": [1e-8, 1e-3],
        "decoupled_weight_decay": [False, True],
        **COMMON,
    },
    "Adadelta": {"rho": [0.9, 0.3], "eps": [1e-6, 1e-1], **COMMON, "lr": [1.0, 0.3]},
    "ASGD": {"lambd": [1e-4, 0.3], "alpha": [0.75, 0.3], "t0": [1e6, 1.0], **COMMON},
    "Rprop": {
        "etas": [(0.5, 1.2), (0.3, 1.7)],
        "step_sizes": [(1e-6, 50.0), (0.008, 0.12)],
        "maximize": [False, True],
        "lr": [0.1, 0.01],
    },
    "Adafactor": {
        "beta2_decay": [-0.8, -0.3],
        "eps": [(None, 1e-3), (0.3, 2.0)],
        "d": [1.0, 1.5],
        **COMMON,
        "lr": [0.1, 0.7],
    },
    "Muon": {
        "momentum": [0.95, 0.5],
        "nesterov": [True, False],
        "ns_coefficients": [(3.4445, -4.7750, 2.0315), (2.0, -1.5, 0.5)],
        "eps": [1e-7, 5.0],
        "ns_steps": [5, 2],
        "adjust_lr_fn": [None, "match_rms_adamw", "original"],
        "weight_decay": [0.1, 0.5],
        "lr": [0.1, 0.01],
    },
    "Adagrad": {"lr_decay": [0, 0.1], "initial_accumulator_value": [0, 0.5], "eps": [1e-10, 1e-3], **COMMON},
}


def cases() -> Iterator[Case]:
    for type, levels in LEVELS.items():
        for options in pairs(levels, can_be_built):
            yield update_case(f"optimizer/{type}{label(options)}", WHY, Spec(type, options), shapes_for(type))
        for options in apart({name: own for name, own in levels.items() if name != "lr"}, can_be_built):
            name = f"optimizer/{type}{label(options)}"
            yield update_case(name, WHY, Spec(type, {"lr": levels["lr"][0], **options}), WEIGHT, 3)
    full = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1}
    yield update_case("optimizer/SGD,momentum+nesterov+decay", WHY, Spec("SGD", full | {"nesterov": True}))
    yield update_case(
        "optimizer/SGD,momentum+dampening+decay+maximize", WHY, Spec("SGD", full | {"dampening": 0.5, "maximize": True})
    )
    for type, levels in LEVELS.items():
        own = (
            {"weight_decay": 1.0} if "weight_decay" in levels else {name: levels[name][1] for name in list(levels)[:1]}
        )
        shapes = shapes_for(type)
        first, second = shapes
        yield update_case(
            f"optimizer/{type},groups",
            "each parameter group has its own options",
            Spec(type, {"lr": 0.1}, groups=({"params": [first], **own}, {"params": [second], "lr": 0.01})),
            shapes,
        )


def shapes_for(type: str) -> Mapping[str, tuple[int, ...]]:
    """The parameters that a case of this optimizer updates."""
    return MATRICES if type == "Muon" else SHAPES


def can_be_built(options: dict[str, Any]) -> bool:
    return not (options.get("nesterov") and (options.get("momentum", 0) == 0 or options.get("dampening", 0) != 0))


def update_case(
    name: str,
    why: str,
    optimizer: Spec,
    shapes: Mapping[str, tuple[int, ...]] = SHAPES,
    steps: int = STEPS,
    tags: tuple[str, ...] = (),
) -> Case:
    rng = generator(name)
    return Case(
        name,
        why,
        params={key: rng.standard_normal(shape) for key, shape in shapes.items()},
        grads=tuple({key: rng.standard_normal(shape) for key, shape in shapes.items()} for _ in range(steps)),
        optimizer=optimizer,
        steps=steps,
        tags=tags,
    )
