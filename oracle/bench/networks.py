"""The networks whose training step is timed, in usual sizes, and the matrix products that a step needs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from oracle.case.arrays import Array
from oracle.case.case import Case, Spec
from oracle.execution.network import Network
from oracle.suite.architectures import conv_norm, resnet18
from oracle.suite.build import generator, layer
from refbp.layer import Layer

NETWORKS = ("mlp", "lenet5", "vgg", "resnet18")


def network(name: str, dtype: str) -> Case:
    layers, shape = {"mlp": mlp, "lenet5": lenet5, "vgg": vgg, "resnet18": resnet}[name]()
    return of_layers(name, layers, shape, dtype)


def of_layers(name: str, layers: Sequence[Spec], shape: tuple[int, ...], dtype: str) -> Case:
    """A case with these layers, a random batch, initial parameters, cross entropy, and SGD with momentum."""
    rng = generator(f"bench/{name}")
    case = Case(
        name,
        layers=tuple(layers),
        inputs=(rng.standard_normal(shape),),
        loss=Spec("CrossEntropyLoss"),
        targets=((rng.integers(0, 10, shape[0]),),),
        optimizer=Spec("SGD", {"lr": 1e-3, "momentum": 0.9}),
    )
    return replace(case, params={full: own[short] for _, own, short, full in Network(case).state()}).astype(dtype)


def mlp() -> tuple[Sequence[Spec], tuple[int, ...]]:
    """784-512-256-10, 128 images."""
    layers = [
        layer("Linear", 784, 512),
        layer("ReLU"),
        layer("Linear", 512, 256),
        layer("ReLU"),
        layer("Linear", 256, 10),
    ]
    return layers, (128, 784)


def lenet5() -> tuple[Sequence[Spec], tuple[int, ...]]:
    """5 x 5 kernels, ReLU and max pooling, 128 images of 28 x 28."""
    layers = [
        layer("Conv2d", 1, 6, 5, padding=2),
        layer("ReLU"),
        layer("MaxPool2d", 2),
        layer("Conv2d", 6, 16, 5),
        layer("ReLU"),
        layer("MaxPool2d", 2),
        layer("Flatten"),
        layer("Linear", 400, 120),
        layer("ReLU"),
        layer("Linear", 120, 84),
        layer("ReLU"),
        layer("Linear", 84, 10),
    ]
    return layers, (128, 1, 28, 28)


def vgg() -> tuple[Sequence[Spec], tuple[int, ...]]:
    """Three stages of two convolutions with BatchNorm and ReLU, then max pooling; 32 images of 3 x 32 x 32."""
    layers: list[Spec] = []
    channels = 3
    for features in (64, 128, 256):
        for _ in range(2):
            layers += [*conv_norm(channels, features), layer("ReLU")]
            channels = features
        layers.append(layer("MaxPool2d", 2))
    layers += [layer("Flatten"), layer("Linear", 256 * 4 * 4, 256), layer("ReLU"), layer("Linear", 256, 10)]
    return layers, (32, 3, 32, 32)


def resnet() -> tuple[Sequence[Spec], tuple[int, ...]]:
    """ResNet-18 in its form for CIFAR, 64 to 512 channels, 8 images of 3 x 32 x 32."""
    return resnet18(64), (8, 3, 32, 32)


class Product(NamedTuple):
    """A layer's matrix product (rows, inner) @ (inner, columns). The backward pass has two more, the first layer's one."""

    rows: int
    inner: int
    columns: int
    first: bool

    @property
    def multiply_adds(self) -> int:
        return (2 if self.first else 3) * self.rows * self.inner * self.columns


def products(case: Case) -> list[Product]:
    """The product of every linear and convolution layer: patches (or rows) times weights."""
    found: list[Product] = []

    class Seen(Layer):
        def __init__(self, inner: Layer) -> None:
            super().__init__()
            self.inner = inner

        def apply(self, input: Array) -> tuple[Array, Callable[[Array], Array]]:
            output, backward = self.inner.apply(input)
            weight = self.inner.params.get("weight")
            if weight is not None and weight.ndim > 1:
                inner = math.prod(weight.shape[1:])
                found.append(Product(output.size // weight.shape[0], inner, weight.shape[0], first=not found))
            return output, backward

    seen = Network(case, lambda name, owner, made: made if made.children else Seen(made))
    seen.root.apply(case.inputs[0])
    return found


def bare(case: Case) -> Callable[[], None]:
    """The products of a training step alone, on contiguous arrays and into allocated memory."""
    rng = np.random.default_rng(0)
    work = [operands for product in products(case) for operands in _operands(product, case.dtype, rng)]

    def run() -> None:
        for left, right, result in work:
            np.matmul(left, right, out=result)

    return run


def _operands(product: Product, dtype: str, rng: np.random.Generator) -> Iterator[tuple[Array, Array, Array]]:
    rows, inner, columns, first = product
    x = rng.standard_normal((rows, inner)).astype(dtype)
    weight = rng.standard_normal((columns, inner)).astype(dtype)
    z = rng.standard_normal((rows, columns)).astype(dtype)
    yield x, weight.T, np.empty_like(z)
    yield z.T, x, np.empty_like(weight)
    if not first:
        yield z, weight, np.empty_like(x)
