"""Sizes beyond a tile: more elements, rows, columns, samples and positions than a kernel's block holds, and no multiple of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from oracle.case.case import Case, Spec
from oracle.suite import activations, losses
from oracle.suite.build import generator, layer, network_case
from oracle.suite.losses import Arguments
from oracle.suite.values import FAMILIES

WHY = "the last block of a kernel is a part of one: its elements are computed, and the others not twice"
# More than 1,024 elements in all, more than 128 rows, more than 1,024 columns, more than 16 samples.
FLAT, TALL, WIDE, SAMPLES = (5, 211), (131, 7), (3, 1031), 17
LONG = {1: (1031,), 2: (35, 37), 3: (11, 9, 13)}
SHORT = {1: (5,), 2: (6, 5), 3: (3, 4, 5)}
ROWS: dict[str, Mapping[tuple[int, ...], Spec]] = {
    "Linear": {(131, 67): layer("Linear", 67, 71)},
    "BatchNorm1d": {TALL: layer("BatchNorm1d", 7), WIDE: layer("BatchNorm1d", 1031)},
    "LayerNorm": {TALL: layer("LayerNorm", (7,)), WIDE: layer("LayerNorm", (1031,))},
    "RMSNorm": {TALL: layer("RMSNorm", (7,)), WIDE: layer("RMSNorm", (1031,))},
    **{type: {TALL: layer(type, -1), WIDE: layer(type, -1)} for type in activations.COUPLED},
}
LOSSES: dict[str, tuple[Arguments, tuple[tuple[int, ...], ...]]] = {
    "L1Loss": (losses.real, (FLAT,)),
    "MSELoss": (losses.real, (FLAT,)),
    "SmoothL1Loss": (losses.real, (FLAT,)),
    "HuberLoss": (losses.real, (FLAT,)),
    "KLDivLoss": (losses.shares, (FLAT,)),
    "PoissonNLLLoss": (losses.counts, (FLAT,)),
    "GaussianNLLLoss": (losses.target_and_variance, (FLAT,)),
    "BCELoss": (losses.unit, (FLAT,)),
    "BCEWithLogitsLoss": (losses.unit, (FLAT,)),
    "MultiLabelSoftMarginLoss": (losses.unit, (TALL,)),
    "NLLLoss": (losses.classes, (TALL,)),
    "CrossEntropyLoss": (losses.classes, (TALL, WIDE)),
    "MarginRankingLoss": (losses.other_and_sign, ((1031,),)),
    "HingeEmbeddingLoss": (losses.sign, (FLAT,)),
    "CosineEmbeddingLoss": (losses.other_rows_and_sign, (TALL,)),
    "SoftMarginLoss": (losses.sign, (FLAT,)),
    "MultiMarginLoss": (losses.classes, (TALL,)),
    "MultiLabelMarginLoss": (losses.labels_then_minus_one, ((131, 4),)),
}


def cases() -> Iterator[Case]:
    for type in activations.ELEMENTWISE:
        yield network_case(f"length/{type},{_size(FLAT)}", WHY, [layer(type, **_first(type))], FLAT)
    for type, specs in ROWS.items():
        for shape, spec in specs.items():
            yield network_case(f"length/{type},{_size(shape)}", WHY, [spec], shape)
    for type, (name, options) in FAMILIES.items():
        rank = int(type[-2]) if type[-1] == "d" else 2
        sized: dict[str, Any] = {name: 3} if name else {}
        if name == "channels":
            sized = {"in_channels": 3, "out_channels": 4}
        for shape in ((2, 3, *LONG[rank]), (SAMPLES, 3, *SHORT[rank])):
            yield network_case(f"length/{type},{_size(shape)}", WHY, [layer(type, **sized, **options)], shape)
    for type, (arguments, shapes) in LOSSES.items():
        for shape in shapes:
            yield _of_loss(type, arguments, shape)


def _of_loss(type: str, arguments: Arguments, shape: tuple[int, ...]) -> Case:
    name = f"length/{type},{_size(shape)}"
    rng = generator(name)
    given = losses.first_argument(type, {}, rng, shape)
    return network_case(name, WHY, [], inputs=(given,), loss=Spec(type), targets=(arguments(rng, shape),))


def _first(type: str) -> dict[str, Any]:
    """The first level of each of a class's options."""
    levels, _ = activations.ELEMENTWISE[type]
    return {name: values[0] for name, values in levels.items()}


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
