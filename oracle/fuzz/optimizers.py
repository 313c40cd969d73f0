"""Random optimizers: every class with options between the usual ones, over several steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from oracle.fuzz.data import DISTRIBUTIONS
from oracle.fuzz.plan import Choice, number
from oracle.fuzz.walk import Levels
from oracle.suite.optimizers import LEVELS, can_be_built

SHAPES: dict[str, dict[str, tuple[int, ...]]] = {
    "matrix": {"0.weight": (4, 3), "0.bias": (4,)},
    "scalar": {"0.weight": ()},
    "none": {"0.weight": (0, 3), "0.bias": (2,)},
    "image": {"0.weight": (2, 3, 3, 3)},
    "row": {"0.weight": (1, 7), "0.bias": (1,)},
}
# The numbers between which an option is drawn.
RANGES: dict[str, tuple[float, float]] = {
    "lr": (1e-4, 0.5),
    "weight_decay": (0, 1),
    "momentum": (0, 0.99),
    "dampening": (0, 1),
    "alpha": (0.1, 0.999),
    "rho": (0.1, 0.999),
    "momentum_decay": (0, 0.5),
    "lambd": (0, 0.5),
    "t0": (0, 4),
    "beta2_decay": (-0.99, -0.1),
    "d": (0.3, 2),
    "lr_decay": (0, 1),
    "initial_accumulator_value": (0, 1),
    "eps": (1e-8, 0.1),
}
# How options are drawn that are not plain numbers.
DRAWN: dict[str, Callable[[np.random.Generator], Any]] = {
    "betas": lambda rng: (number(rng, 0, 0.99), number(rng, 0.1, 0.9999)),
    "etas": lambda rng: (number(rng, 0.1, 0.9), number(rng, 1.05, 2)),
    "ns_steps": lambda rng: int(rng.integers(0, 9)),
    "ns_coefficients": lambda rng: (number(rng, 3, 3.8), number(rng, -5.2, -4.3), number(rng, 1.8, 2.3)),
}


def shapes(name: str) -> dict[str, dict[str, tuple[int, ...]]]:
    """The shapes of the parameters that the class updates, by what they are like."""
    if name != "Muon":
        return SHAPES
    matrices: dict[str, dict[str, tuple[int, ...]]] = {
        kind: {own: shape for own, shape in several.items() if len(shape) == 2} for kind, several in SHAPES.items()
    }
    return {kind: several for kind, several in matrices.items() if several}


def levels(name: str) -> Levels:
    """Each option of the class: at a usual value, at another, or drawn."""
    return {
        **dict.fromkeys(LEVELS[name], ("usual", "other", "drawn")),
        "shape": tuple(shapes(name)),
        "grads": tuple(DISTRIBUTIONS),
        "steps": (1, 2, 5),
        "grouped": (False, False, True),
    }


def options(name: str, rng: np.random.Generator, choice: Choice) -> Choice:
    """The options of a combination. One that cannot be built is made without Nesterov's rule."""
    found = {own: _value(own, values, rng, choice[own]) for own, values in LEVELS[name].items()}
    return found if can_be_built(found) else {**found, "nesterov": False}


def _value(name: str, values: list[Any], rng: np.random.Generator, kind: str) -> Any:
    if kind != "drawn" or values[0] is None or isinstance(values[0], bool):
        return values[kind == "other"]
    if name in DRAWN:
        return DRAWN[name](rng)
    if isinstance(values[0], tuple):
        first, second = values[0]
        return (first if first is None else first * number(rng, 0.3, 3)), second * number(rng, 0.3, 3)
    return number(rng, *RANGES[name])
