"""Special values and sizes: scales of either sign, zeros, constants, saturation, odd channels, one sample, large factors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from oracle.case.case import Case, Spec
from oracle.suite.build import layer, network_case

NORMS: dict[str, tuple[Spec, tuple[int, ...]]] = {
    "BatchNorm1d": (layer("BatchNorm1d", 5), (4, 5)),
    "BatchNorm2d": (layer("BatchNorm2d", 3), (3, 3, 5, 4)),
    "BatchNorm3d": (layer("BatchNorm3d", 2), (2, 2, 4, 3, 2)),
    "InstanceNorm1d": (layer("InstanceNorm1d", 3, affine=True), (2, 3, 7)),
    "InstanceNorm2d": (layer("InstanceNorm2d", 3, affine=True), (2, 3, 5, 4)),
    "InstanceNorm3d": (layer("InstanceNorm3d", 2, affine=True), (2, 2, 4, 3, 2)),
    "LayerNorm": (layer("LayerNorm", (6,)), (4, 6)),
    "RMSNorm": (layer("RMSNorm", (6,)), (4, 6)),
    "GroupNorm": (layer("GroupNorm", 2, 4), (3, 4, 5, 3)),
}
# Classes that are tried with 1, 17 and 24 channels, and with as many as the width: the argument for channels, and other options.
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "Conv1d": ("channels", {"kernel_size": 3, "padding": 1}),
    "Conv2d": ("channels", {"kernel_size": 3, "padding": 1}),
    "Conv3d": ("channels", {"kernel_size": 2}),
    "ConvTranspose2d": ("channels", {"kernel_size": 3, "stride": 2}),
    "MaxPool2d": ("", {"kernel_size": 2}),
    "AvgPool2d": ("", {"kernel_size": 2}),
    "AdaptiveAvgPool2d": ("", {"output_size": (3, 2)}),
    "BatchNorm2d": ("num_features", {}),
    "InstanceNorm2d": ("num_features", {"affine": True}),
    "GroupNorm": ("num_channels", {"num_groups": 1}),
    "LocalResponseNorm": ("", {"size": 3}),
    "PReLU": ("num_parameters", {}),
    "Softmax2d": ("", {}),
}
SIDES = {1: (5,), 2: (6, 5), 3: (3, 4, 5)}


def cases() -> Iterator[Case]:
    yield from of_norms()
    yield from of_activations()
    yield from of_losses()
    yield from of_channels()
    yield from of_sizes()


def of_norms() -> Iterator[Case]:
    for type, (spec, shape) in NORMS.items():
        yield signed(
            network_case(
                f"value/{type},negative",
                "weight and bias of either sign, which shows |γ| in place of γ and other code that assumes positive values",
                [spec],
                shape,
            )
        )
        if not type.startswith("Batch"):
            yield network_case(f"value/{type},N=1", "one sample", [spec], (1, *shape[1:]))
        elif len(shape) > 2:
            yield network_case(
                f"value/{type},N=1", "one sample: statistics over its positions", [spec], (1, *shape[1:])
            )
        constant = np.broadcast_to(np.linspace(-1, 2, shape[1]).reshape(1, -1, *(1,) * (len(shape) - 2)), shape).copy()
        if type not in ("LayerNorm", "RMSNorm"):
            yield network_case(
                f"value/{type},equal_rows",
                "constant rows have the variance zero, so that eps alone divides",
                [spec],
                inputs=(constant,),
            )


def signed(case: Case) -> Case:
    """The parameters with every second element of each weight and bias negative, the others positive."""
    params = dict(case.params)
    for name, value in params.items():
        if name.endswith((".weight", ".bias")):
            params[name] = np.where(np.arange(value.size) % 2, np.abs(value), -np.abs(value))
    return replace(case, params=params)


def of_activations() -> Iterator[Case]:
    zeros = np.tile(np.array([[0.0, -1.0, 0.5, 0.0, 2.0, -0.25]]), (4, 1))
    for name, spec in (
        ("Dropout", layer("Dropout", 0.5)),
        ("AlphaDropout", layer("AlphaDropout", 0.5)),
        ("ReLU", layer("ReLU")),
        ("PReLU", layer("PReLU")),
    ):
        why = "zeros in the input do not show which elements were kept, or on which side of a kink they are"
        yield network_case(f"value/{name},zeros", why, [spec], inputs=(zeros,), tags=("kink",))
    for slopes in (1, 3):
        spec = layer("PReLU", num_parameters=slopes)
        why = "a slope may be negative: the sign of the output is then not that of the input"
        yield signed(network_case(f"value/PReLU,num_parameters={slopes},negative", why, [spec], (4, 3, 5)))
    for type in ("Softmax", "LogSoftmax", "Softmin"):
        why = "equal elements have equal shares"
        yield network_case(f"value/{type},constant", why, [layer(type, -1)], inputs=(np.full((3, 5), 0.3),))


def of_losses() -> Iterator[Case]:
    near = np.array([[1e-6, 1 - 1e-6, 1e-3, 0.999, 1e-5, 0.99]])
    for labels, target in (("right", np.round(near)), ("wrong", 1 - np.round(near))):
        yield network_case(
            f"value/BCELoss,near,{labels}",
            "probabilities near their labels, where a computed p - t may cancel",
            [],
            inputs=(near,),
            loss=Spec("BCELoss"),
            targets=((target,),),
        )
    far = np.array([[30.0, -30.0, 0.0], [-30.0, 30.0, 1.0], [30.0, 29.0, -30.0], [0.5, -30.0, 30.0]])
    rows = np.array([0, 0, 1, 2])
    for type, target in (("CrossEntropyLoss", rows), ("BCEWithLogitsLoss", (far > 0).astype(np.float64))):
        yield network_case(
            f"value/{type},logits=30",
            "confident logits: probabilities of 1 and of 1e-26",
            [],
            inputs=(far,),
            loss=Spec(type),
            targets=((target,),),
        )
    equal = np.tile(np.array([[0.3, -1.2, 0.7, 1 / 3]]), (5, 1))
    for reduction in ("mean", "sum", "none"):
        yield network_case(
            f"value/CrossEntropyLoss,reduction={reduction},equal_rows",
            "equal rows with other labels, and several of them ignored, without weight and smoothing",
            [],
            inputs=(equal,),
            loss=Spec("CrossEntropyLoss", {"reduction": reduction}),
            targets=((np.array([0, -100, 3, -100, 2]),),),
        )


def of_channels() -> Iterator[Case]:
    for type, (name, options) in FAMILIES.items():
        rank = int(type[-2]) if type[-1] == "d" else 2
        for channels in (1, 17, 24, SIDES[rank][-1]):
            sized: dict[str, Any] = {} if not name else {name: channels}
            if name == "channels":
                sized = {"in_channels": channels, "out_channels": channels}
            what = "width" if channels == SIDES[rank][-1] else str(channels)
            yield network_case(
                f"value/{type},channels={what}",
                "more channels than a vector register holds, a single one, and as many as the image is wide",
                [layer(type, **sized, **options)],
                (2, channels, *SIDES[rank]),
            )


def of_sizes() -> Iterator[Case]:
    for side in (1, 2):
        for factor in (7.0, 3.5):
            for mode, corners in (("nearest", None), ("linear", False), ("linear", True)):
                options: dict[str, Any] = {"scale_factor": factor, "mode": mode}
                if corners is not None:
                    options["align_corners"] = corners
                yield network_case(
                    f"value/Upsample,length={side},scale_factor={factor},mode={mode},align_corners={corners}",
                    "few elements upsampled by a large factor, so that most outputs are at the borders",
                    [layer("Upsample", **options)],
                    (2, 3, side),
                )
    yield network_case(
        "value/Upsample,2x1,bilinear",
        "one column cannot be interpolated along its width",
        [layer("Upsample", size=(5, 4), mode="bilinear", align_corners=False)],
        (2, 3, 2, 1),
    )
