"""Losses: each with its arguments and every pair of them, with gradients for everything that has one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from oracle.case.arrays import Array
from oracle.case.case import Case, Spec
from oracle.suite.build import apart, generator, label, network_case, pairs, probabilities

REDUCTIONS = ["mean", "sum", "none"]
CLASS_WEIGHT = (0.5, 2.0, 1.25, 0.75)
PER_CLASS = (0.5, 2.0, 1.5, 1.0)
WHY = "the gradient has the reduction, weights, margins and exclusions of the value"
Levels = Mapping[str, Sequence[Any]]
Arguments = Callable[[np.random.Generator, tuple[int, ...]], tuple[Array, ...]]


def cases() -> Iterator[Case]:
    yield from regression()
    yield from classification()
    yield from embedding_and_margin()


def regression() -> Iterator[Case]:
    reduced: Levels = {"reduction": REDUCTIONS}
    for type, levels in {
        "L1Loss": reduced,
        "MSELoss": reduced,
        "SmoothL1Loss": {**reduced, "beta": [1.0, 0.5, 0.0]},
        "HuberLoss": {**reduced, "delta": [1.0, 0.5]},
    }.items():
        yield from swept(type, levels, real)
        yield from on_the_kink(type)
    yield from swept("KLDivLoss", {"reduction": [*REDUCTIONS, "batchmean"], "log_target": [False, True]}, shares)
    yield from swept("PoissonNLLLoss", {**reduced, "log_input": [True, False], "full": [False, True]}, counts)
    yield from swept("GaussianNLLLoss", {**reduced, "full": [False, True], "eps": [1e-6, 0.5]}, target_and_variance)


def classification() -> Iterator[Case]:
    weighted: Levels = {"reduction": REDUCTIONS, "weight": [None, PER_CLASS]}
    yield from swept("BCELoss", weighted, unit)
    yield from swept("BCEWithLogitsLoss", {**weighted, "pos_weight": [None, (3.0, 0.2, 1.0, 2.5)]}, unit)
    yield from swept("MultiLabelSoftMarginLoss", weighted, unit)
    chosen: Levels = {"reduction": REDUCTIONS, "weight": [None, CLASS_WEIGHT], "ignore_index": [-100, 1]}
    smoothed: Levels = {**chosen, "label_smoothing": [0.0, 0.1]}
    soft: Levels = {name: levels for name, levels in smoothed.items() if name != "ignore_index"}
    for shape in ((6, 4), (2, 4, 3), (2, 4, 3, 2), (4,)):
        yield from swept("NLLLoss", chosen, classes, shape)
        yield from swept("CrossEntropyLoss", smoothed, classes, shape)
        yield from swept("CrossEntropyLoss", soft, shares, shape, "probabilities")
    yield from on_purpose()


def embedding_and_margin() -> Iterator[Case]:
    margin: Levels = {"reduction": REDUCTIONS, "margin": [0.0, 0.5]}
    yield from swept("MarginRankingLoss", margin, other_and_sign, (7,))
    yield from swept("HingeEmbeddingLoss", {"reduction": REDUCTIONS, "margin": [1.0, 0.25]}, sign)
    yield from swept("CosineEmbeddingLoss", margin, other_rows_and_sign, (6, 5))
    yield from swept("SoftMarginLoss", {"reduction": REDUCTIONS}, sign)
    multi: Levels = {"reduction": REDUCTIONS, "p": [1, 2], "margin": [1.0, 0.5], "weight": [None, CLASS_WEIGHT]}
    for shape in ((6, 4), (4,)):
        yield from swept("MultiMarginLoss", multi, classes, shape)
        yield from swept("MultiLabelMarginLoss", {"reduction": REDUCTIONS}, labels_then_minus_one, shape)


def swept(
    type: str, levels: Levels, arguments: Arguments, shape: tuple[int, ...] = (5, 4), suffix: str = ""
) -> Iterator[Case]:
    for options in [*pairs(levels), *(apart(levels) if len(levels) > 1 else [])]:
        shown = {key: "given" if isinstance(value, tuple) else value for key, value in options.items()}
        size = "x".join(map(str, shape))
        name = f"loss/{type}{label(shown)},shape={size}{',' + suffix if suffix else ''}"
        rng = generator(name)
        given = first_argument(type, options, rng, shape)
        rest = arguments(rng, shape)
        if type == "KLDivLoss" and options.get("log_target"):
            rest = (np.log(rest[0]),)
        yield network_case(name, WHY, [], inputs=(given,), loss=Spec(type, options), targets=(rest,))


def first_argument(type: str, options: Mapping[str, Any], rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    if type == "BCELoss" or (type == "PoissonNLLLoss" and not options.get("log_input", True)):
        return probabilities(rng, shape)
    given = rng.standard_normal(shape)
    if type in ("NLLLoss", "KLDivLoss"):
        given = given - np.log(np.sum(np.exp(given), axis=class_axis(shape), keepdims=True))
    return given


def on_the_kink(type: str) -> Iterator[Case]:
    target = np.array([[0.0, 1.0, -1.0, 0.5, 2.0]])
    given = target + np.array([[0.0, 1.0, -1.0, 0.5, -0.5]])
    yield network_case(
        f"kink/{type}",
        "differences of exactly zero and exactly the threshold get the derivative that torch takes",
        [],
        inputs=(given,),
        loss=Spec(type),
        targets=((target,),),
        tags=("kink",),
    )


def on_purpose() -> Iterator[Case]:
    """Special data: everything ignored, probabilities of exactly 0 and 1, large and infinite logits."""
    ignored = np.full(3, -100)
    for type in ("NLLLoss", "CrossEntropyLoss"):
        for reduction in REDUCTIONS:
            name = f"loss/{type},reduction={reduction},all_ignored"
            yield network_case(
                name,
                "where everything is ignored the mean is NaN and the sum zero",
                [],
                (3, 4),
                loss=Spec(type, {"reduction": reduction}),
                targets=((ignored,),),
                tags=("non-finite",),
            )
    yield network_case(
        "kink/BCELoss",
        "at probabilities of exactly 0 and 1 torch clamps logarithms at -100 and the denominator at 1e-12",
        [],
        inputs=(np.array([[0.0, 1.0, 0.0, 1.0, 0.5]]),),
        loss=Spec("BCELoss"),
        targets=((np.array([[0.0, 1.0, 1.0, 0.0, 0.5]]),),),
        tags=("kink",),
    )
    far = np.array([[80.0, -80.0, 300.0, -300.0]])
    for type, target in (("BCEWithLogitsLoss", np.array([[0.0, 1.0, 1.0, 0.25]])), ("CrossEntropyLoss", np.array([1]))):
        yield network_case(
            f"loss/{type},extreme",
            "large logits neither overflow nor lose the gradient",
            [],
            inputs=(far,),
            loss=Spec(type),
            targets=((target,),),
            tags=("extreme",),
        )
    yield network_case(
        "nonfinite/CrossEntropyLoss",
        "a logit of minus infinity has probability zero",
        [],
        inputs=(np.array([[0.5, -np.inf, 1.0], [-np.inf, 2.0, 0.0]]),),
        loss=Spec("CrossEntropyLoss"),
        targets=((np.array([2, 1]),),),
        tags=("non-finite",),
    )


def class_axis(shape: tuple[int, ...]) -> int:
    return 0 if len(shape) == 1 else 1


def real(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[Array, ...]:
    return (rng.standard_normal(shape),)


def unit(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[Array, ...]:
    return (rng.uniform(0, 1, shape),)


def counts(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[Array, ...]:
    return (rng.poisson(2.0, shape).astype(np.float64),)


def sign(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[Array, ...]:
    return (rng.choice([-1.0, 1.0], shape),)


def target_and_variance(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[Array, ...]:
    return rng.standard_normal(shape), rng.uniform(0.1, 2, shape)


def other_and_sign(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[Array, ...]:
    return rng.standard_normal(shape), *sign(rng, shape)


def other_rows_and_sign(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[Array, ...]:
    return rng.standard_normal(shape), *sign(rng, shape[:1])


def classes(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[Array, ...]:
    axis = class_axis(shape)
    target = np.asarray(rng.integers(0, shape[axis], shape[:axis] + shape[axis + 1 :]))
    if target.ndim:  # not everything may be ignored: that has a case of its own
        target.flat[0] = 0
        return (target,)
    return (np.asarray(0),)


def labels_then_minus_one(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[Array, ...]:
    rows = [np.array([3, 0, -1, 1]), np.array([2, -1, -1, -1]), np.array([-1, 0, 1, 2]), np.array([0, 1, 2, 3])]
    target = np.array([rows[i % len(rows)] for i in range(shape[0] if len(shape) > 1 else 1)])
    return (target if len(shape) > 1 else target[0],)


def shares(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[Array, ...]:
    raw = rng.uniform(0.1, 1, shape)
    total: Array = np.sum(raw, axis=class_axis(shape), keepdims=True)
    return (raw / total,)
