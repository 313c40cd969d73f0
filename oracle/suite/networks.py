"""Whole networks: the worked example, MLPs with every activation and loss, a small CNN, and real digits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np

from oracle.case.arrays import Array
from oracle.case.case import Case, Spec
from oracle.suite.build import generator, layer, network_case

BATCH_SIZE = 128
TEST_IMAGES = 360
# Steps of the training on the digits that are judged; all of it is trained freely.
FIRST_BATCHES = 5
MOMENTUM_SGD = Spec("SGD", {"lr": 0.02, "momentum": 0.9})
DIGITS_SGD = Spec("SGD", {"lr": 0.05, "momentum": 0.9})


def cases() -> Iterator[Case]:
    yield from worked_example()
    yield from mlps()
    yield lenet()
    for network in digit_networks():
        yield network.training_case(FIRST_BATCHES)


def worked_example() -> Iterator[Case]:
    """2 inputs, 3 and 2 hidden neurons, 1 output, sigmoid everywhere."""
    layers = [
        layer("Linear", 2, 3, name="hidden1"),
        layer("Sigmoid", name="sigmoid1"),
        layer("Linear", 3, 2, name="hidden2"),
        layer("Sigmoid", name="sigmoid2"),
        layer("Linear", 2, 1, name="output"),
        layer("Sigmoid", name="sigmoid3"),
    ]
    params = {
        "hidden1.weight": np.array([[0.15, 0.2], [0.25, -0.3], [-0.35, 0.4]]),
        "hidden1.bias": np.array([0.1, -0.2, 0.3]),
        "hidden2.weight": np.array([[0.45, -0.5, 0.55], [-0.6, 0.65, 0.7]]),
        "hidden2.bias": np.array([-0.1, 0.2]),
        "output.weight": np.array([[0.75, -0.8]]),
        "output.bias": np.array([0.05]),
    }
    shared: dict[str, Any] = {
        "layers": tuple(layers),
        "params": params,
        "inputs": (np.array([[0.05, 0.1]]),),
        "loss": Spec("MSELoss"),
        "targets": ((np.array([[0.9]]),),),
    }
    yield Case(
        "worked-example/plain",
        "2-3-2-1 with sigmoid everywhere, small enough to check every number; the update is plain gradient descent",
        optimizer=Spec("SGD", {"lr": 0.5}),
        **shared,
    )
    weights = [name for name in params if name.endswith("weight")]
    biases = [name for name in params if name.endswith("bias")]
    yield Case(
        "worked-example/decay",
        "the same with the decay that eq. (6) contains: coefficient 1 on the weights, none on the biases",
        optimizer=Spec("SGD", {"lr": 0.5}, groups=({"params": weights, "weight_decay": 1.0}, {"params": biases})),
        **shared,
    )


ACTIVATIONS: dict[str, dict[str, Any]] = {
    "Sigmoid": {},
    "Tanh": {},
    "ReLU": {},
    "LeakyReLU": {"negative_slope": 0.1},
    "PReLU": {},
    "ELU": {},
    "SELU": {},
    "GELU": {},
    "SiLU": {},
    "Softplus": {},
    "Softmax": {"dim": -1},
    "LogSoftmax": {"dim": -1},
}


def mlps() -> Iterator[Case]:
    """Every activation with every loss, a step of SGD with momentum; two with MSELoss."""
    for activation, options in ACTIVATIONS.items():
        for loss, last in (
            ("MSELoss", []),
            ("CrossEntropyLoss", []),
            ("NLLLoss", [layer("LogSoftmax", 1)]),
            ("BCELoss", [layer("Sigmoid")]),
            ("BCEWithLogitsLoss", []),
        ):
            name = f"mlp/{activation}+{loss}"
            rng = generator(name + "/target")
            classes = {"CrossEntropyLoss": rng.integers(0, 4, 6), "NLLLoss": rng.integers(0, 4, 6)}
            target = classes.get(loss, rng.uniform(0, 1, (6, 4)))
            yield network_case(
                name,
                "the loss's gradient carried back through two hidden layers, and the update",
                [
                    layer("Linear", 5, 8),
                    layer(activation, **options),
                    layer("Linear", 8, 7),
                    layer(activation, **options),
                    layer("Linear", 7, 4),
                    *last,
                ],
                (6, 5),
                loss=Spec(loss),
                targets=((target,),),
                optimizer=MOMENTUM_SGD,
                steps=2 if loss == "MSELoss" else 1,
            )


def lenet_layers(side: int, activation: str = "ReLU", pool: str = "MaxPool2d") -> list[Spec]:
    """LeNet-5's shape with 3 x 3 kernels, for square images of one channel."""
    features = 16 * (side // 4) ** 2
    return [
        layer("Conv2d", 1, 6, 3, padding=1, name="conv1"),
        layer(activation, name="act1"),
        layer(pool, 2, name="pool1"),
        layer("Conv2d", 6, 16, 3, padding=1, name="conv2"),
        layer(activation, name="act2"),
        layer(pool, 2, name="pool2"),
        layer("Flatten", name="flatten"),
        layer("Linear", features, 32, name="fc1"),
        layer(activation, name="act3"),
        layer("Linear", 32, 10, name="fc2"),
    ]


def lenet() -> Case:
    name = "lenet5/random"
    target = generator(name + "/target").integers(0, 10, 4)
    return network_case(
        name,
        "a LeNet-5 on random images: all its layers at once, five steps of SGD",
        lenet_layers(12, "Tanh", "AvgPool2d"),
        (4, 1, 12, 12),
        loss=Spec("CrossEntropyLoss"),
        targets=((target,),),
        optimizer=MOMENTUM_SGD,
        steps=5,
    )


@cache
def digits() -> tuple[Array, Array]:
    """1,797 images (N, 1, 8, 8) with values from 0 to 1 in sixteenths, and their labels (N)."""
    with resources.as_file(resources.files("oracle.suite") / "data" / "digits.npz") as path, np.load(path) as data:
        return data["images"][:, None].astype(np.float64) / 16, data["labels"].astype(np.int64)


@dataclass(frozen=True)
class DigitNetwork:
    """A network that is trained on the digits; the last 360 images, by other writers, are kept for testing."""

    name: str
    why: str
    layers: tuple[Spec, ...]

    def training_case(self, most: int | None = None) -> Case:
        """An epoch of SGD with momentum, or its first steps, batch after batch in the order of the data."""
        images, labels = digits()
        count = (len(images) - TEST_IMAGES) // BATCH_SIZE
        count = count if most is None else min(most, count)
        batches = [slice(BATCH_SIZE * i, BATCH_SIZE * (i + 1)) for i in range(count)]
        return network_case(
            self.name,
            self.why,
            self.layers,
            inputs=tuple(images[batch] for batch in batches),
            loss=Spec("CrossEntropyLoss"),
            targets=tuple((labels[batch],) for batch in batches),
            optimizer=DIGITS_SGD,
            steps=count,
            tags=("training", "real-data"),
        )


@cache
def digit_networks() -> tuple[DigitNetwork, ...]:
    mlp = (
        layer("Flatten", name="flatten"),
        layer("Linear", 64, 32, name="fc1"),
        layer("Tanh", name="tanh"),
        layer("Linear", 32, 10, name="fc2"),
    )
    return (
        DigitNetwork(
            "digits/lenet", "the first steps of a LeNet-style CNN on real handwritten digits", tuple(lenet_layers(8))
        ),
        DigitNetwork("digits/mlp", "the first steps of an MLP on real handwritten digits", mlp),
    )
