"""A call of every layer and loss of refbp, in usual sizes and in growing sizes."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from oracle import suite
from oracle.case.arrays import Array
from oracle.case.case import CONTAINERS, Case, Spec
from oracle.execution.network import LAYERS, LOSSES
from oracle.suite.build import generator
from refbp.activations import Activation

IMAGES = (32, 32, 28, 28)
ROWS = (32, 49, 256)
ELEMENTS = math.prod(IMAGES)


@dataclass(frozen=True)
class Example:
    """One call of a class.

    Attributes:
        name: the class's name; if it has several examples, with what is special in this one.
        kind: the class.
        options: the options of the class.
        inputs: the arguments of the call: a layer's input, or a loss's input and its targets.
        axis: the dimension that grows with the size.
    """

    name: str
    kind: str
    options: Mapping[str, Any] = field(default_factory=dict)
    inputs: tuple[Array, ...] = ()
    axis: int = 0

    def grown(self, times: int) -> Example:
        """The same with `times` as many elements."""
        return replace(self, inputs=tuple(np.concatenate([x] * times, axis=self.axis) for x in self.inputs))

    @property
    def elements(self) -> int:
        return int(self.inputs[0].size)


# The examples whose sizes are chosen here; every other class is called as in the suite.
SPELLED: dict[str, tuple[str, dict[str, Any], tuple[int, ...]]] = {
    "Conv2d": ("Conv2d", {"in_channels": 32, "out_channels": 32, "kernel_size": 3, "padding": 1}, IMAGES),
    "Conv2d, 1 x 1": ("Conv2d", {"in_channels": 32, "out_channels": 64, "kernel_size": 1}, IMAGES),
    "Conv2d, depthwise": (
        "Conv2d",
        {"in_channels": 32, "out_channels": 32, "kernel_size": 3, "padding": 1, "groups": 32},
        IMAGES,
    ),
    "ConvTranspose2d": (
        "ConvTranspose2d",
        {"in_channels": 32, "out_channels": 32, "kernel_size": 3, "stride": 2, "padding": 1},
        (32, 32, 14, 14),
    ),
    "Linear": ("Linear", {"in_features": 256, "out_features": 256}, ROWS),
    "MaxPool2d": ("MaxPool2d", {"kernel_size": 2}, IMAGES),
    "MaxPool2d, overlapping": ("MaxPool2d", {"kernel_size": 3, "stride": 2, "padding": 1}, IMAGES),
    "AvgPool2d": ("AvgPool2d", {"kernel_size": 2}, IMAGES),
    "AdaptiveAvgPool2d, to 1": ("AdaptiveAvgPool2d", {"output_size": 1}, IMAGES),
    "AdaptiveAvgPool2d, to 7": ("AdaptiveAvgPool2d", {"output_size": 7}, IMAGES),
    "AdaptiveMaxPool2d, to 1": ("AdaptiveMaxPool2d", {"output_size": 1}, IMAGES),
    "AdaptiveMaxPool2d, to 7": ("AdaptiveMaxPool2d", {"output_size": 7}, IMAGES),
    "LPPool2d": ("LPPool2d", {"norm_type": 2.0, "kernel_size": 2}, IMAGES),
    "Upsample, nearest": ("Upsample", {"scale_factor": 2.0}, (32, 32, 14, 14)),
    "Upsample, bilinear": ("Upsample", {"scale_factor": 2.0, "mode": "bilinear"}, (32, 32, 14, 14)),
    "BatchNorm2d": ("BatchNorm2d", {"num_features": 32}, IMAGES),
    "InstanceNorm2d": ("InstanceNorm2d", {"num_features": 32}, IMAGES),
    "GroupNorm": ("GroupNorm", {"num_groups": 8, "num_channels": 32}, IMAGES),
    "LayerNorm": ("LayerNorm", {"normalized_shape": 256}, ROWS),
    "RMSNorm": ("RMSNorm", {"normalized_shape": 256}, ROWS),
    "Softmax": ("Softmax", {"dim": -1}, ROWS),
    "LogSoftmax": ("LogSoftmax", {"dim": -1}, ROWS),
    "GLU": ("GLU", {}, ROWS),
    "Dropout": ("Dropout", {}, IMAGES),
    "ReflectionPad2d": ("ReflectionPad2d", {"padding": 1}, IMAGES),
    "ReplicationPad2d": ("ReplicationPad2d", {"padding": 1}, IMAGES),
    "CircularPad2d": ("CircularPad2d", {"padding": 1}, IMAGES),
    "ZeroPad2d": ("ZeroPad2d", {"padding": 1}, IMAGES),
    "Flatten": ("Flatten", {}, IMAGES),
    "PixelShuffle": ("PixelShuffle", {"upscale_factor": 2}, IMAGES),
}


def examples(part: int = 1) -> Iterator[Example]:
    """At least one example of each class except containers, with 1/part of the samples."""
    activations: dict[str, Any] = {
        kind: (kind, {}, IMAGES)
        for kind, made in LAYERS.items()
        if issubclass(made, Activation) and not needs_options(made)
    }
    for name, (kind, options, shape) in (SPELLED | activations).items():
        input = generator(f"bench/{name}").standard_normal((max(1, shape[0] // part), *shape[1:]))
        yield Example(name, kind, options, (input,), 0 if shape is ROWS else len(shape) - 1)
    for kind in (*LAYERS, *LOSSES):
        if kind not in {*activations, *CONTAINERS, *(spelled for spelled, *_ in SPELLED.values())}:
            yield as_in_suite(kind, ELEMENTS // part)


def needs_options(made: type) -> bool:
    parameters = inspect.signature(made).parameters.values()
    return any(p.default is p.empty for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD)


def as_in_suite(kind: str, elements: int) -> Example:
    """The first call of this class in the suite that has a batch, with enough samples for this number of elements."""
    case = next(case for case in suite.all_cases().values() if calls(case, kind))
    spec = case.loss if kind in LOSSES else case.layers[0]
    assert spec is not None
    given = (*case.inputs, *(case.targets[0] if kind in LOSSES else ()))
    samples = max(1, elements // case.inputs[0].size)
    axis = case.inputs[0].ndim - 1 if kind in LAYERS and takes_wider(spec, case.inputs[0]) else 0
    inputs = tuple(np.concatenate([np.asarray(x)] * samples) for x in given)
    return Example(kind, kind, dict(spec.options), inputs, axis)


def takes_wider(spec: Spec, x: Array) -> bool:
    """Whether a layer's last dimension may be of any size; one with parameters along it grows by samples alone."""
    try:
        LAYERS[spec.type](**spec.options)(np.concatenate([x, x], axis=-1))
    except ValueError:
        return False
    return x.ndim > 2


def calls(case: Case, kind: str) -> bool:
    if not case.inputs or case.inputs[0].ndim < (1 if kind in LOSSES else 2) or case.inputs[0].size == 0:
        return False
    alone = [spec.type for spec in case.layers] if case.loss is None else [case.loss.type][: not case.layers]
    return alone == [kind]
