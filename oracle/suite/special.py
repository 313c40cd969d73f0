"""Data chosen on purpose: kinks and ties, exact integers, small and empty batches, memory layouts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from oracle.case.arrays import Array, laid_out
from oracle.case.case import Case, Spec
from oracle.suite.activations import ELEMENTWISE
from oracle.suite.build import generator, integers, label, layer, network_case

SMALL_CNN = [
    layer("Conv2d", 2, 4, 3, padding=1, name="conv"),
    layer("ReLU", name="relu"),
    layer("MaxPool2d", 2, name="pool"),
    layer("Flatten", name="flatten"),
    layer("Linear", 16, 3, name="head"),
]


def cases() -> Iterator[Case]:
    yield from kinks()
    yield from ties()
    yield from exact()
    yield from batches()
    yield from layouts()


def kinks() -> Iterator[Case]:
    yield network_case(
        "kink/Linear+ReLU,zero_rows",
        "a unit whose pre-activation is exactly zero passes no gradient",
        [layer("Linear", 3, 4, bias=False), layer("ReLU"), layer("Linear", 4, 2)],
        inputs=(np.array([[0.0, 0.0, 0.0], [1.0, -2.0, 0.5], [0.0, 0.0, 0.0]]),),
        tags=("kink",),
    )


def ties() -> Iterator[Case]:
    why = "of equal elements the first in the window gets all of the gradient"
    few = generator("ties").integers(0, 3, (2, 2, 6, 6)).astype(np.float64)
    windows: tuple[dict[str, Any], ...] = (
        {"kernel_size": 2},
        {"kernel_size": 3, "stride": 1},
        {"kernel_size": 3, "stride": 2, "padding": 1},
    )
    for options in windows:
        name = f"tie/MaxPool2d{label(options)}"
        yield network_case(name, why, [layer("MaxPool2d", **options)], inputs=(few,), tags=("tie",))
    yield network_case(
        "tie/MaxPool2d,constant", why, [layer("MaxPool2d", 3, stride=1)], inputs=(np.ones((1, 1, 5, 5)),), tags=("tie",)
    )
    yield network_case(
        "tie/ReLU+MaxPool2d",
        "after a ReLU whole windows are zero, and tie",
        [layer("ReLU"), layer("MaxPool2d", 2)],
        (2, 3, 6, 6),
        tags=("tie",),
    )


def exact() -> Iterator[Case]:
    why = "integers whose sums are exact in any order, so results must be equal bit for bit"
    networks = {
        "Linear": ([layer("Linear", 5, 4)], (6, 5)),
        "Conv2d": ([layer("Conv2d", 3, 4, 3, stride=2, padding=1)], (2, 3, 7, 6)),
        "Conv2d,groups": ([layer("Conv2d", 4, 6, (2, 3), dilation=2, groups=2)], (2, 4, 7, 8)),
        "MaxPool2d": ([layer("MaxPool2d", 3, stride=2, padding=1)], (2, 3, 7, 6)),
        "AvgPool2d": ([layer("AvgPool2d", 2)], (2, 3, 6, 6)),
        "AvgPool2d,overlap": ([layer("AvgPool2d", 4, stride=1)], (1, 2, 7, 6)),
        "ReLU": ([layer("ReLU")], (5, 7)),
        "cnn": (SMALL_CNN, (2, 2, 4, 4)),
    }
    for name, (layers, shape) in networks.items():
        yield network_case(
            f"exact/{name}", why, layers, shape, draw=integers, draw_params=integers, tags=("exact-integer",)
        )
    rng = generator("exact/MSELoss")
    for reduction in ("sum", "mean"):
        yield network_case(
            f"exact/MSELoss,reduction={reduction}",
            why,
            [layer("Linear", 3, 2)],
            (4, 3),
            draw=integers,
            draw_params=integers,
            loss=Spec("MSELoss", {"reduction": reduction}),
            targets=((integers(rng, (4, 2)),),),
            optimizer=Spec("SGD", {"lr": 0.5, "momentum": 0.5}),
            tags=("exact-integer",),
        )


THRESHOLD: dict[str, Any] = {"threshold": 0.125, "value": 0.5}
# One layer of each kind with an input's shape without its batch, for layouts and small batches.
SAMPLES: dict[str, tuple[list[Spec], tuple[int, ...]]] = {
    "Linear": ([layer("Linear", 4, 3)], (4,)),
    "Conv1d": ([layer("Conv1d", 2, 3, 3, stride=2, padding=1)], (2, 7)),
    "Conv2d": ([layer("Conv2d", 2, 3, 3, stride=2, padding=1)], (2, 6, 5)),
    "Conv3d": ([layer("Conv3d", 2, 3, 2)], (2, 3, 4, 3)),
    "ConvTranspose2d": ([layer("ConvTranspose2d", 2, 3, 3, stride=2, padding=1)], (2, 4, 3)),
    "MaxPool2d": ([layer("MaxPool2d", 2)], (2, 6, 4)),
    "MaxPool3d": ([layer("MaxPool3d", 2)], (2, 4, 4, 4)),
    "AvgPool1d": ([layer("AvgPool1d", 2)], (2, 6)),
    "AvgPool2d": ([layer("AvgPool2d", 2)], (2, 6, 4)),
    "LPPool2d": ([layer("LPPool2d", 2.0, 2)], (2, 4, 4)),
    "AdaptiveAvgPool2d": ([layer("AdaptiveAvgPool2d", 3)], (2, 5, 4)),
    "AdaptiveMaxPool2d": ([layer("AdaptiveMaxPool2d", 3)], (2, 5, 4)),
    "BatchNorm1d": ([layer("BatchNorm1d", 4)], (4,)),
    "BatchNorm2d": ([layer("BatchNorm2d", 3)], (3, 4, 5)),
    "LayerNorm": ([layer("LayerNorm", (4, 5))], (3, 4, 5)),
    "GroupNorm": ([layer("GroupNorm", 2, 4)], (4, 3, 5)),
    "InstanceNorm2d": ([layer("InstanceNorm2d", 3, affine=True)], (3, 4, 5)),
    "RMSNorm": ([layer("RMSNorm", (5,))], (3, 5)),
    "LocalResponseNorm": ([layer("LocalResponseNorm", 3)], (4, 3, 3)),
    "Softmax": ([layer("Softmax", -1)], (4, 5)),
    "LogSoftmax": ([layer("LogSoftmax", -1)], (4, 5)),
    "ReLU": ([layer("ReLU")], (2, 4, 5)),
    "PReLU": ([layer("PReLU", 2)], (2, 4, 5)),
    "Sigmoid": ([layer("Sigmoid")], (2, 4, 5)),
    "GELU": ([layer("GELU")], (2, 4, 5)),
    "GLU": ([layer("GLU", 1)], (4, 5)),
    "Softplus": ([layer("Softplus")], (2, 4, 5)),
    "Flatten": ([layer("Flatten")], (2, 4, 5)),
    "Unflatten": ([layer("Unflatten", 1, (2, 3))], (6, 2)),
    "PixelShuffle": ([layer("PixelShuffle", 2)], (4, 3, 3)),
    "PixelUnshuffle": ([layer("PixelUnshuffle", 2)], (2, 4, 4)),
    "ReflectionPad2d": ([layer("ReflectionPad2d", 1)], (2, 4, 5)),
    "ReplicationPad2d": ([layer("ReplicationPad2d", 1)], (2, 4, 5)),
    "CircularPad2d": ([layer("CircularPad2d", 1)], (2, 4, 5)),
    "ZeroPad2d": ([layer("ZeroPad2d", 1)], (2, 4, 5)),
    "Upsample": ([layer("Upsample", scale_factor=2.0, mode="bilinear")], (2, 4, 5)),
    "Dropout": ([layer("Dropout", 0.5)], (2, 4, 5)),
    "ConvTranspose1d": ([layer("ConvTranspose1d", 2, 3, 3, stride=2)], (2, 5)),
    "ConvTranspose3d": ([layer("ConvTranspose3d", 2, 3, 2)], (2, 2, 3, 3)),
    "MaxPool1d": ([layer("MaxPool1d", 2)], (2, 6)),
    "AvgPool3d": ([layer("AvgPool3d", 2)], (2, 4, 4, 4)),
    "LPPool1d": ([layer("LPPool1d", 2.0, 2)], (2, 6)),
    "LPPool3d": ([layer("LPPool3d", 2.0, 2)], (2, 4, 4, 4)),
    "AdaptiveAvgPool1d": ([layer("AdaptiveAvgPool1d", 3)], (2, 5)),
    "AdaptiveAvgPool3d": ([layer("AdaptiveAvgPool3d", 2)], (2, 3, 3, 3)),
    "AdaptiveMaxPool1d": ([layer("AdaptiveMaxPool1d", 3)], (2, 5)),
    "AdaptiveMaxPool3d": ([layer("AdaptiveMaxPool3d", 2)], (2, 3, 3, 3)),
    "BatchNorm3d": ([layer("BatchNorm3d", 2)], (2, 3, 3, 2)),
    "InstanceNorm1d": ([layer("InstanceNorm1d", 3, affine=True)], (3, 5)),
    "InstanceNorm3d": ([layer("InstanceNorm3d", 2)], (2, 3, 3, 2)),
    "ReflectionPad1d": ([layer("ReflectionPad1d", 1)], (2, 5)),
    "ReflectionPad3d": ([layer("ReflectionPad3d", 1)], (2, 3, 3, 3)),
    "ReplicationPad3d": ([layer("ReplicationPad3d", 1)], (2, 3, 3, 3)),
    "CircularPad3d": ([layer("CircularPad3d", 1)], (2, 3, 3, 3)),
    "ConstantPad1d": ([layer("ConstantPad1d", 1, 2.5)], (2, 5)),
    "Dropout2d": ([layer("Dropout2d", 0.5)], (6, 4, 5)),
    "AlphaDropout": ([layer("AlphaDropout", 0.5)], (2, 4, 5)),
    "Softmin": ([layer("Softmin", -1)], (4, 5)),
    "cnn": (SMALL_CNN, (2, 4, 4)),
}
for _name in ELEMENTWISE:
    SAMPLES.setdefault(_name, ([layer(_name, **THRESHOLD if _name == "Threshold" else {})], (2, 4, 5)))
# In training these need more than one value per channel, so they have no case with a batch of one or none.
NEEDS_SAMPLES = ("BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d")


def batches() -> Iterator[Case]:
    for batch in (1, 0):
        tags = ("empty",) if batch == 0 else ()
        why = (
            "an empty batch gives zero gradients, in their shapes"
            if batch == 0
            else "a batch of one is not an unbatched input"
        )
        for name, (layers, shape) in SAMPLES.items():
            if name not in NEEDS_SAMPLES:
                yield network_case(f"batch/{name},batch={batch}", why, layers, (batch, *shape), tags=tags)
        for reduction in ("sum", "mean"):
            targets = {"MSELoss": np.zeros((batch, 3)), "CrossEntropyLoss": np.zeros(batch, dtype=np.int64)}
            for loss, target in targets.items():
                yield network_case(
                    f"batch/{loss},reduction={reduction},batch={batch}",
                    "the mean of no terms is NaN, the sum zero" if batch == 0 else why,
                    [layer("Linear", 4, 3)],
                    (batch, 4),
                    loss=Spec(loss, {"reduction": reduction}),
                    targets=((target,),),
                    tags=tags,
                )


def rows_reversed(array: Array) -> Array:
    return array[::-1]


def every_second(array: Array) -> Array:
    """The same values with the stride of each dimension doubled."""
    strides = np.ones(array.ndim, dtype=int)
    for axis in range(array.ndim - 2, -1, -1):
        strides[axis] = strides[axis + 1] * array.shape[axis + 1] * 2
    return laid_out(array, tuple(int(stride) * 2 for stride in strides))


def transposed(array: Array) -> Array:
    """The same values with the memory order of the dimensions reversed."""
    return np.asfortranarray(array)


def channels_last(array: Array) -> Array:
    order = (0, *range(2, array.ndim), 1)
    return np.moveaxis(np.ascontiguousarray(np.transpose(array, order)), -1, 1)


def broadcast(array: Array) -> Array:
    """The first row in place of all rows, with stride zero."""
    return np.broadcast_to(array[:1], array.shape)


LAYOUTS = {
    "strided": every_second,
    "transposed": transposed,
    "channels_last": channels_last,
    "reversed": rows_reversed,
    "broadcast": broadcast,
}


def layouts() -> Iterator[Case]:
    for name, (layers, sample) in SAMPLES.items():
        shape = (3, *sample)
        for layout, change in LAYOUTS.items():
            if layout == "channels_last" and len(shape) < 3:
                continue
            plain = network_case(f"layout/{name},{layout}", "", layers, shape)
            upstream = plain.grad_outputs[0]
            suits = layout != "channels_last" or upstream.ndim > 2
            yield network_case(
                plain.name,
                f"{layout} memory of the input and of the upstream gradient gives the values of plain memory",
                layers,
                inputs=(change(plain.inputs[0]),),
                tags=("non-contiguous",),
            ).with_upstream(change(upstream) if suits else upstream)
