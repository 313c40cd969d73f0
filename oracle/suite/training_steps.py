"""Small networks with kinds of training that the architectures lack: per-sample gradients, frozen and tied layers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from oracle.case.case import Case, Spec
from oracle.case.names import TRANSPOSE
from oracle.suite.build import generator, layer, network_case

STEPS = 2
SGD = Spec("SGD", {"lr": 0.1, "momentum": 0.9})


def cases() -> Iterator[Case]:
    yield from per_sample()
    yield from two_inputs()
    yield depthwise_separable()
    yield from tied_autoencoder()
    yield accumulated()
    yield frozen()
    yield one_sample()


def mlp() -> list[Spec]:
    return [layer("Linear", 5, 6), layer("Tanh"), layer("Linear", 6, 4)]


def per_sample() -> Iterator[Case]:
    """A loss without reduction, with a random upstream gradient that differs for each sample."""
    for type, target in (
        ("MSELoss", generator("per_sample").standard_normal((3, 4))),
        ("CrossEntropyLoss", np.array([3, 0, 1])),
        ("HuberLoss", generator("per_sample").standard_normal((3, 4))),
    ):
        yield network_case(
            f"network/mlp,{type},reduction=none",
            "each sample has its own upstream gradient, which must not be divided by the batch size",
            mlp(),
            (3, 5),
            loss=Spec(type, {"reduction": "none"}),
            targets=((target,),),
            optimizer=SGD,
            steps=STEPS,
        )


def two_inputs() -> Iterator[Case]:
    rng = generator("two_inputs")
    for type, second in (
        ("CosineEmbeddingLoss", (rng.standard_normal((4, 4)), np.array([1.0, -1.0, 1.0, -1.0]))),
        ("MarginRankingLoss", (rng.standard_normal((4, 4)), rng.choice([-1.0, 1.0], (4, 4)))),
        ("GaussianNLLLoss", (rng.standard_normal((4, 4)), rng.uniform(0.5, 2, (4, 4)))),
    ):
        yield network_case(
            f"network/mlp,{type}",
            "a loss of two inputs, each with its own gradient",
            mlp(),
            (4, 5),
            loss=Spec(type, {"margin": 0.3} if "Gaussian" not in type else {}),
            targets=(second,),
            optimizer=SGD,
            steps=STEPS,
        )


def depthwise_separable() -> Case:
    return network_case(
        "network/depthwise_separable",
        "one kernel per channel, then one weight per pair of channels, as in MobileNet",
        [
            layer("Conv2d", 3, 3, 3, padding=1, groups=3, bias=False, name="depthwise"),
            layer("BatchNorm2d", 3, name="norm1"),
            layer("ReLU6", name="act1"),
            layer("Conv2d", 3, 5, 1, bias=False, name="pointwise"),
            layer("BatchNorm2d", 5, name="norm2"),
            layer("ReLU6", name="act2"),
            layer("AdaptiveAvgPool2d", 1, name="pool"),
            layer("Flatten", name="flatten"),
            layer("Linear", 5, 4, name="head"),
        ],
        (2, 3, 7, 5),
        loss=Spec("CrossEntropyLoss"),
        targets=((np.array([3, 1]),),),
        optimizer=SGD,
        steps=STEPS,
    )


def tied_autoencoder() -> Iterator[Case]:
    yield network_case(
        "network/tied_autoencoder",
        "the decoder is the encoder used again: both add to one gradient",
        [
            layer("Linear", 5, 5, name="encoder"),
            layer("Tanh", name="code"),
            Spec("Linear", name="decoder", same_as="encoder"),
        ],
        (3, 5),
        loss=Spec("MSELoss"),
        targets=((generator("tied").standard_normal((3, 5)),),),
        optimizer=SGD,
        steps=STEPS,
    )
    yield network_case(
        "network/tied_autoencoder,transposed",
        "the decoder's weight is the encoder's, transposed: the gradients of both add up, one of them transposed",
        [
            layer("Linear", 5, 3, name="encoder"),
            layer("Tanh", name="code"),
            Spec(TRANSPOSE, name="decoder", same_as="encoder"),
        ],
        (4, 5),
        loss=Spec("MSELoss"),
        targets=((generator("tied,transposed").standard_normal((4, 5)),),),
        optimizer=SGD,
        steps=STEPS,
    )


def accumulated() -> Case:
    rng = generator("accumulated")
    return network_case(
        "network/accumulated",
        "the gradients of two batches add up before an update, and start at zero after it",
        mlp(),
        inputs=tuple(rng.standard_normal((3, 5)) for _ in range(4)),
        loss=Spec("CrossEntropyLoss"),
        targets=tuple((rng.integers(0, 4, 3),) for _ in range(4)),
        optimizer=SGD,
        steps=4,
        update_every=2,
    )


def frozen() -> Case:
    return network_case(
        "network/frozen",
        "the first layers are frozen: the optimizer holds only the head's parameters",
        [
            layer("Conv2d", 2, 3, 3, padding=1, name="conv"),
            layer("BatchNorm2d", 3, name="norm"),
            layer("ReLU", name="act"),
            layer("Flatten", name="flatten"),
            layer("Linear", 3 * 5 * 4, 3, name="head"),
        ],
        (2, 2, 5, 4),
        loss=Spec("CrossEntropyLoss"),
        targets=((np.array([2, 0]),),),
        optimizer=Spec("SGD", {"lr": 0.1, "momentum": 0.9}, groups=({"params": ["head.weight", "head.bias"]},)),
        steps=STEPS,
    )


def one_sample() -> Case:
    return network_case(
        "network/one_sample",
        "a batch of one through a network, with a loss that averages over it",
        [
            layer("Conv2d", 1, 3, 3, stride=2, padding=1),
            layer("GroupNorm", 3, 3),
            layer("GELU"),
            layer("Flatten"),
            layer("Linear", 3 * 4 * 3, 4),
        ],
        (1, 1, 7, 5),
        loss=Spec("CrossEntropyLoss"),
        targets=((np.array([2]),),),
        optimizer=SGD,
        steps=STEPS,
    )
