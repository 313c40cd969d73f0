"""Common architectures: VGG, ResNet, DenseNet, Inception, U-Net, an autoencoder; narrow, but complete."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from oracle.case.case import Case, Spec
from oracle.suite.build import generator, layer, network_case

SGD = Spec("SGD", {"lr": 0.01, "momentum": 0.9, "weight_decay": 5e-4})
ADAM = Spec("Adam", {"lr": 1e-3})
STEPS = 2


def cases() -> Iterator[Case]:
    why, whys = "a whole training step through", "whole training steps through"
    stages = f"{whys} three stages of convolution, batch norm, ReLU and max pooling"
    yield classifier("vgg", stages, vgg(), (4, 3, 16, 16), steps=STEPS)
    yield classifier(
        "resnet18", f"{why} ResNet-18 in its form for CIFAR, eight residual blocks", resnet18(4), (2, 3, 32, 32)
    )
    why_deep = "rounding and branches through twenty-four convolutions, in one step"
    yield classifier("deep", why_deep, deep(), (2, 3, 16, 16))
    yield classifier("densenet", f"{why} a dense block: every layer sees all earlier ones", densenet(), (3, 3, 12, 12))
    yield classifier("inception", f"{why} an Inception block: four branches side by side", inception(), (3, 3, 12, 12))
    by_adam = f"{whys} an MLP with layer norm, GELU and dropout, by Adam"
    yield classifier("mlp_adam", by_adam, mlp(), (8, 20), ADAM, steps=STEPS)
    yield reconstruction(
        "unet", f"{why} a U-Net: skips around transposed convolutions", unet(), (2, 1, 16, 16), (2, 1, 16, 16)
    )
    yield reconstruction(
        "autoencoder",
        f"{why} a bottleneck of convolutions and their transposes",
        autoencoder(),
        (3, 1, 12, 12),
        (3, 1, 12, 12),
    )
    yield shared_layer()


def classifier(
    name: str, why: str, layers: list[Spec], shape: tuple[int, ...], optimizer: Spec = SGD, steps: int = 1
) -> Case:
    target = generator(f"{name}/target").integers(0, 10, shape[0])
    return network_case(
        f"network/{name}",
        why,
        layers,
        shape,
        loss=Spec("CrossEntropyLoss", {"label_smoothing": 0.1}),
        targets=((target,),),
        optimizer=optimizer,
        steps=steps,
    )


def reconstruction(name: str, why: str, layers: list[Spec], shape: tuple[int, ...], target: tuple[int, ...]) -> Case:
    return network_case(
        f"network/{name}",
        why,
        layers,
        shape,
        loss=Spec("MSELoss"),
        targets=((generator(f"{name}/target").standard_normal(target),),),
        optimizer=SGD,
        steps=1,
    )


def sequence(name: str, *layers: Spec) -> Spec:
    return Spec("Sequential", name=name, layers=layers)


def conv_norm(channels: int, features: int, kernel: int = 3, stride: int = 1) -> list[Spec]:
    return [
        layer("Conv2d", channels, features, kernel, stride=stride, padding=kernel // 2, bias=False),
        layer("BatchNorm2d", features),
    ]


def head(features: int) -> list[Spec]:
    return [
        layer("AdaptiveAvgPool2d", 1, name="pool"),
        layer("Flatten", name="flatten"),
        layer("Linear", features, 10, name="head"),
    ]


def vgg() -> list[Spec]:
    stages: list[Spec] = []
    channels = 3
    for features, depth in ((6, 1), (8, 2), (12, 2)):
        for _ in range(depth):
            stages += [*conv_norm(channels, features), layer("ReLU")]
            channels = features
        stages.append(layer("MaxPool2d", 2))
    return [*stages, layer("Flatten"), layer("Linear", 12 * 2 * 2, 16), layer("ReLU"), layer("Linear", 16, 10)]


def basic_block(name: str, channels: int, features: int, stride: int) -> list[Spec]:
    body = sequence("body", *conv_norm(channels, features, 3, stride), layer("ReLU"), *conv_norm(features, features))
    parts = [body]
    if stride != 1 or channels != features:
        parts.append(sequence("shortcut", *conv_norm(channels, features, 1, stride)))
    return [Spec("Residual", name=name, layers=tuple(parts)), layer("ReLU", name=f"{name}_relu")]


def resnet18(width: int) -> list[Spec]:
    layers = [*conv_norm(3, width), layer("ReLU")]
    channels = width
    for stage, (factor, stride) in enumerate(((1, 1), (2, 2), (4, 2), (8, 2))):
        for block in range(2):
            features = width * factor
            layers += basic_block(f"stage{stage + 1}_{block + 1}", channels, features, stride if block == 0 else 1)
            channels = features
    return [*layers, *head(channels)]


def densenet() -> list[Spec]:
    growth, depth = 4, 3
    layers = [layer("Conv2d", 3, 6, 3, padding=1, name="stem")]
    channels = 6
    for index in range(depth):
        new = sequence(
            "new",
            layer("BatchNorm2d", channels),
            layer("ReLU"),
            layer("Conv2d", channels, growth, 3, padding=1, bias=False),
        )
        layers.append(Spec("Concat", name=f"dense{index + 1}", layers=(layer("Identity", name="all"), new)))
        channels += growth
    transition = [layer("BatchNorm2d", channels), layer("ReLU"), layer("Conv2d", channels, 8, 1), layer("AvgPool2d", 2)]
    return [*layers, *transition, *head(8)]


def inception() -> list[Spec]:
    branches = (
        sequence("one", layer("Conv2d", 6, 4, 1), layer("ReLU")),
        sequence("three", layer("Conv2d", 6, 4, 1), layer("ReLU"), layer("Conv2d", 4, 6, 3, padding=1), layer("ReLU")),
        sequence("five", layer("Conv2d", 6, 2, 1), layer("ReLU"), layer("Conv2d", 2, 4, 5, padding=2), layer("ReLU")),
        sequence("pool", layer("MaxPool2d", 3, stride=1, padding=1), layer("Conv2d", 6, 4, 1), layer("ReLU")),
    )
    stem = [*conv_norm(3, 6), layer("ReLU")]
    return [*stem, Spec("Concat", name="inception", layers=branches), layer("MaxPool2d", 2), *head(18)]


def double_conv(channels: int, features: int) -> list[Spec]:
    return [*conv_norm(channels, features), layer("ReLU"), *conv_norm(features, features), layer("ReLU")]


def unet() -> list[Spec]:
    width, depth = 4, 2

    def level(channels: int, remaining: int) -> list[Spec]:
        features = channels * 2
        below = [layer("MaxPool2d", 2), *double_conv(channels, features)]
        if remaining > 1:
            below += level(features, remaining - 1)
        below.append(layer("ConvTranspose2d", features, channels, 2, stride=2))
        skip = Spec(
            "Concat", name=f"skip{remaining}", layers=(layer("Identity", name="skip"), sequence("below", *below))
        )
        return [skip, *double_conv(features, channels)]

    return [*double_conv(1, width), *level(width, depth), layer("Conv2d", width, 1, 1)]


def autoencoder() -> list[Spec]:
    return [
        layer("Conv2d", 1, 4, 3, stride=2, padding=1),
        layer("ELU"),
        layer("Conv2d", 4, 6, 3, stride=2, padding=1),
        layer("ELU"),
        layer("Flatten"),
        layer("Linear", 54, 8),
        layer("Tanh"),
        layer("Linear", 8, 54),
        layer("Unflatten", 1, (6, 3, 3)),
        layer("ConvTranspose2d", 6, 4, 3, stride=2, padding=1, output_padding=1),
        layer("ELU"),
        layer("ConvTranspose2d", 4, 1, 3, stride=2, padding=1, output_padding=1),
    ]


def mlp() -> list[Spec]:
    layers: list[Spec] = []
    for features in (20, 24):
        layers += [layer("Linear", features, 24), layer("LayerNorm", (24,)), layer("GELU"), layer("Dropout", 0.2)]
    return [*layers, layer("Linear", 24, 10)]


def deep() -> list[Spec]:
    """Plain convolutions with batch norm and ReLU, max pooling after the first and second quarter."""
    depth, features = 24, 12
    layers: list[Spec] = []
    for index in range(depth):
        layers += [*conv_norm(features if index else 3, features), layer("ReLU")]
        if index + 1 in (depth // 4, depth // 2):
            layers.append(layer("MaxPool2d", 2))
    return [*layers, layer("Flatten"), layer("Linear", features * 16, 10)]


def shared_layer() -> Case:
    options: dict[str, Any] = {"loss": Spec("MSELoss"), "targets": ((generator("shared").standard_normal((5, 4)),),)}
    again = Spec("Linear", name="again", same_as="shared")
    return network_case(
        "network/shared_layer",
        "a layer that stands twice adds its gradients up",
        [layer("Linear", 4, 4, name="shared"), layer("Tanh", name="tanh"), again, layer("Sigmoid", name="sigmoid")],
        (5, 4),
        optimizer=SGD,
        steps=STEPS,
        **options,
    )
