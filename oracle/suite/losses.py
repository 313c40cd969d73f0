"""Losses: each with its arguments and every pair of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from oracle.arrays import Array
from oracle.case import Case, Spec
from oracle.suite.build import generator, label, network_case, pairs, probabilities

REDUCTIONS = ["mean", "sum", "none"]
CLASS_WEIGHT = (0.5, 2.0, 1.25, 0.75)


def cases() -> Iterator[Case]:
    yield from swept("MSELoss", {"reduction": REDUCTIONS}, real_target)
    yield from swept("BCELoss", {"reduction": REDUCTIONS, "weight": [None, (0.5, 2.0, 1.5, 1.0)]}, probability_target)
    yield from swept(
        "BCEWithLogitsLoss",
        {"reduction": REDUCTIONS, "weight": [None, (0.5, 2.0, 1.5, 1.0)], "pos_weight": [None, (3.0, 0.2, 1.0, 2.5)]},
        probability_target,
    )
    classified: dict[str, list[Any]] = {
        "reduction": REDUCTIONS,
        "weight": [None, CLASS_WEIGHT],
        "ignore_index": [-100, 1],
    }
    for shape in ((6, 4), (2, 4, 3), (2, 4, 3, 2), (4,)):
        yield from swept("NLLLoss", classified, class_target, shape)
        smoothed = classified | {"label_smoothing": [0.0, 0.1]}
        yield from swept("CrossEntropyLoss", smoothed, class_target, shape)
        soft = {name: levels for name, levels in smoothed.items() if name != "ignore_index"}
        yield from swept("CrossEntropyLoss", soft, distribution_target, shape, "probabilities")


def swept(
    type: str, levels: Mapping[str, Sequence[Any]], draw_target: Any, shape: tuple[int, ...] = (5, 4), suffix: str = ""
) -> Iterator[Case]:
    for options in pairs(levels):
        shown = {key: "given" if isinstance(value, tuple) else value for key, value in options.items()}
        size = "x".join(map(str, shape))
        name = f"loss/{type}{label(shown)},shape={size}{',' + suffix if suffix else ''}"
        rng = generator(name)
        given = probabilities(rng, shape) if type == "BCELoss" else rng.standard_normal(shape)
        if type == "NLLLoss":
            given = given - np.log(np.sum(np.exp(given), axis=class_axis(shape), keepdims=True))
        yield network_case(
            name,
            "the gradient has the reduction, weights and exclusions of the value",
            [],
            inputs=(given,),
            loss=Spec(type, options),
            targets=((draw_target(rng, shape),),),
        )


def class_axis(shape: tuple[int, ...]) -> int:
    return 0 if len(shape) == 1 else 1


def real_target(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return rng.standard_normal(shape)


def probability_target(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return rng.uniform(0, 1, shape)


def class_target(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    axis = class_axis(shape)
    target = rng.integers(0, shape[axis], shape[:axis] + shape[axis + 1 :])
    # Not everything may be ignored: the mean over nothing is NaN, which has a case of its own.
    if target.ndim:
        target.flat[0] = 0
    return target if target.ndim else np.asarray(0)


def distribution_target(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    raw = rng.uniform(0.1, 1, shape)
    total: Array = np.sum(raw, axis=class_axis(shape), keepdims=True)
    return raw / total
