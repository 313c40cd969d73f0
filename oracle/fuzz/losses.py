"""Random losses: every class with its options, weights of its own, and targets of its kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from oracle.case.arrays import Array
from oracle.fuzz.plan import Choice, number
from oracle.fuzz.walk import Levels
from oracle.suite import losses

REDUCTIONS = ("mean", "sum", "none")
SHAPES = {"rows": (5, 4), "one row": (1, 3), "one column": (6, 1), "none": (0, 4), "image": (2, 3, 4), "long": (301, 3)}
PLAIN: Levels = {"reduction": REDUCTIONS, "shape": tuple(SHAPES)}
WEIGHTED: Levels = {**PLAIN, "weight": (False, True)}
CLASSES: Levels = {**WEIGHTED, "ignored": (False, True)}


class LossPlan(NamedTuple):
    """How a loss is drawn.

    Attributes:
        levels: its choices.
        arguments: draws the arguments after the first.
        numbers: options that are drawn between two numbers, or left at their default.
        only: the shapes that it takes, if not all.
    """

    levels: Levels
    arguments: Callable[[np.random.Generator, tuple[int, ...]], tuple[Array, ...]]
    numbers: Mapping[str, tuple[float, float]] = MappingProxyType({})
    only: tuple[str, ...] = tuple(SHAPES)


def labels(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[Array, ...]:
    axis = losses.class_axis(shape)
    return (np.asarray(rng.integers(0, shape[axis], shape[:axis] + shape[axis + 1 :])),)


# For an empty batch torch's multi-margin losses return uninitialised memory: reports/findings/torch-empty-margin-losses.md.
FULL = ("rows", "one row", "one column", "long")
ROWS = (*FULL, "none")
PLANS: dict[str, LossPlan] = {
    "L1Loss": LossPlan(PLAIN, losses.real),
    "MSELoss": LossPlan(PLAIN, losses.real),
    "SmoothL1Loss": LossPlan(PLAIN, losses.real, {"beta": (0, 2)}),
    "HuberLoss": LossPlan(PLAIN, losses.real, {"delta": (0.1, 2)}),
    "KLDivLoss": LossPlan(
        {**PLAIN, "reduction": (*REDUCTIONS, "batchmean"), "log_target": (False, True)}, losses.shares
    ),
    "PoissonNLLLoss": LossPlan({**PLAIN, "log_input": (True, False), "full": (False, True)}, losses.counts),
    "GaussianNLLLoss": LossPlan({**PLAIN, "full": (False, True)}, losses.target_and_variance, {"eps": (1e-4, 0.5)}),
    "BCELoss": LossPlan(WEIGHTED, losses.unit),
    "BCEWithLogitsLoss": LossPlan({**WEIGHTED, "pos_weight": (False, True)}, losses.unit),
    "MultiLabelSoftMarginLoss": LossPlan(WEIGHTED, losses.unit, only=ROWS),
    "NLLLoss": LossPlan(CLASSES, labels),
    "CrossEntropyLoss": LossPlan({**CLASSES, "soft": (False, False, True)}, labels, {"label_smoothing": (0, 1)}),
    "MarginRankingLoss": LossPlan(PLAIN, losses.other_and_sign, {"margin": (-1, 1)}),
    "HingeEmbeddingLoss": LossPlan(PLAIN, losses.sign, {"margin": (0, 2)}),
    "CosineEmbeddingLoss": LossPlan(PLAIN, losses.other_rows_and_sign, {"margin": (-1, 1)}, ROWS),
    "SoftMarginLoss": LossPlan(PLAIN, losses.sign),
    "MultiMarginLoss": LossPlan({**WEIGHTED, "p": (1, 2)}, labels, {"margin": (0.1, 2)}, FULL),
    "MultiLabelMarginLoss": LossPlan(PLAIN, losses.labels_then_minus_one, only=("rows",)),
}


class Loss(NamedTuple):
    """A drawn loss: its options, its input and its other arguments."""

    options: Choice
    given: Array
    rest: tuple[Array, ...]


def made(name: str, rng: np.random.Generator, choice: Choice) -> Loss:
    plan = PLANS[name]
    shape = SHAPES[choice["shape"] if choice["shape"] in plan.only else "rows"]
    kinds = ("log_target", "log_input", "full", "p", "reduction")
    options: dict[str, Any] = {own: choice[own] for own in kinds if own in choice}
    count = shape[losses.class_axis(shape)] if name in ("NLLLoss", "CrossEntropyLoss", "MultiMarginLoss") else shape[-1]
    for own in ("weight", "pos_weight"):
        if choice.get(own):
            options[own] = tuple(number(rng, 0.1, 3) for _ in range(count))
    options |= {own: number(rng, *ends) for own, ends in plan.numbers.items() if rng.random() < 0.7}
    given = losses.first_argument(name, options, rng, shape)
    soft = bool(choice.get("soft"))
    rest = (losses.shares if soft else plan.arguments)(rng, shape)
    if options.get("log_target"):
        rest = (np.log(rest[0]),)
    if choice.get("ignored") and not soft:
        options["ignore_index"] = 0
    return Loss(options, given, rest)
