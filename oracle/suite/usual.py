"""Settings in everyday use, which a subject with few options should get right first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from oracle.case.arrays import Array
from oracle.case.case import Case, Spec
from oracle.suite.build import generator, label, layer, network_case
from oracle.suite.losses import CLASS_WEIGHT, PER_CLASS, classes, first_argument, real, shares, unit
from oracle.suite.optimizers import shapes_for, update_case

TAG = "usual"
WHY = "a setting that is in everyday use"

# Options by class; those that are not named have torch's defaults.
WINDOWS: dict[str, tuple[dict[str, Any], ...]] = {
    "Conv{}d": (
        {"kernel_size": 3, "stride": 1, "padding": 1},
        {"kernel_size": 3, "stride": 2, "padding": 1},
        {"kernel_size": 3, "padding": 1, "bias": False},
        {"kernel_size": 5, "padding": 2},
        {"kernel_size": 7, "stride": 2, "padding": 3},
        {"kernel_size": 1},
        {"kernel_size": 1, "stride": 2, "bias": False},
        {"kernel_size": 2, "stride": 2},
        {"kernel_size": 3, "padding": "same"},
        {"kernel_size": 3, "padding": 2, "dilation": 2},
        {"kernel_size": 3, "padding": 1, "groups": 4, "bias": False},
    ),
    "ConvTranspose{}d": (
        {"kernel_size": 2, "stride": 2},
        {"kernel_size": 4, "stride": 2, "padding": 1},
        {"kernel_size": 3, "stride": 2, "padding": 1, "output_padding": 1},
    ),
    "MaxPool{}d": (
        {"kernel_size": 2},
        {"kernel_size": 2, "stride": 2},
        {"kernel_size": 3, "stride": 2},
        {"kernel_size": 3, "stride": 2, "padding": 1},
        {"kernel_size": 3, "stride": 1, "padding": 1},
    ),
    "AvgPool{}d": (
        {"kernel_size": 2},
        {"kernel_size": 2, "stride": 2},
        {"kernel_size": 3, "stride": 2, "padding": 1},
        {"kernel_size": 3, "stride": 1, "padding": 1, "count_include_pad": False},
    ),
    "AdaptiveAvgPool{}d": ({"output_size": 1},),
    "AdaptiveMaxPool{}d": ({"output_size": 1},),
}
SIDES = {1: (11,), 2: (10, 7), 3: (8, 7, 9)}
LAYERS: tuple[tuple[Spec, tuple[int, ...]], ...] = (
    (layer("LayerNorm", (24,)), (2, 3, 24)),
    (layer("LayerNorm", (24,), eps=1e-6), (2, 3, 24)),
    (layer("LayerNorm", (24,), eps=1e-12), (2, 3, 24)),
    (layer("RMSNorm", (24,), eps=1e-6), (2, 3, 24)),
    (layer("GroupNorm", 8, 24), (2, 24, 5, 3)),
    (layer("BatchNorm1d", 24), (6, 24)),
    (layer("BatchNorm2d", 17), (2, 17, 5, 3)),
    (layer("BatchNorm2d", 4, eps=1e-3, momentum=0.01), (2, 4, 5, 3)),
    (layer("InstanceNorm2d", 4, affine=True), (2, 4, 5, 3)),
    (layer("LocalResponseNorm", 5, alpha=1e-4, beta=0.75, k=2.0), (2, 7, 4, 3)),
    (layer("LeakyReLU", negative_slope=0.2), (4, 3, 5)),
    (layer("GELU", approximate="tanh"), (4, 3, 5)),
    (layer("Dropout", p=0.3), (4, 5)),
    (layer("Softmax", -1), (4, 3, 5)),
    (layer("LogSoftmax", -1), (4, 3, 5)),
    (layer("Upsample", scale_factor=2.0), (2, 3, 5, 4)),
    (layer("Upsample", scale_factor=2.0, mode="bilinear", align_corners=False), (2, 3, 5, 4)),
    (layer("Upsample", scale_factor=2.0, mode="bilinear", align_corners=True), (2, 3, 5, 4)),
)
OPTIMIZERS: dict[str, tuple[dict[str, Any], ...]] = {
    "SGD": (
        {"lr": 0.1},
        {"lr": 0.1, "momentum": 0.9},
        {"lr": 0.1, "weight_decay": 5e-4},
        {"lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4},
        {"lr": 0.1, "momentum": 0.9, "nesterov": True},
        {"lr": 0.3, "momentum": 1 / 3},
    ),
    "Adam": ({}, {"lr": 3e-4}, {"betas": (0.5, 0.999)}, {"weight_decay": 0.1}),
    "AdamW": ({}, {"lr": 6e-4, "betas": (0.9, 0.95), "weight_decay": 0.1}),
    "RMSprop": ({}, {"momentum": 0.9}),
    **{own: ({},) for own in ("Adagrad", "Adadelta", "Adamax", "NAdam", "RAdam", "ASGD", "Rprop", "Adafactor")},
    "Muon": ({}, {"lr": 0.02}, {"adjust_lr_fn": "match_rms_adamw"}),
}


def cases() -> Iterator[Case]:
    for pattern, settings in WINDOWS.items():
        for rank in (1, 2, 3):
            for options in settings:
                channels: dict[str, Any] = {"in_channels": 4, "out_channels": 8} if "Conv" in pattern else {}
                type, shape = pattern.format(rank), (2, 4, *SIDES[rank])
                name = f"usual/{type}{label(options)}"
                yield network_case(name, WHY, [layer(type, **channels, **options)], shape, tags=(TAG,))
    for stride in (1, 2):
        options = {"kernel_size": 3, "stride": stride, "padding": 1, "groups": 24, "bias": False}
        spec = layer("Conv2d", in_channels=24, out_channels=24, **options)
        yield network_case(f"usual/Conv2d,depthwise,stride={stride}", WHY, [spec], (2, 24, 6, 4), tags=(TAG,))
    for spec, shape in LAYERS:
        yield network_case(f"usual/{spec.type}{label(spec.options)}", WHY, [spec], shape, tags=(TAG,))
    yield from losses()
    for type, several in OPTIMIZERS.items():
        for options in several:
            name = f"usual/{type}{label(options)}"
            yield update_case(name, WHY, Spec(type, options), shapes_for(type), tags=(TAG,))


def losses() -> Iterator[Case]:
    def skipped(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[Array, ...]:
        """The targets with every second label replaced by one that is ignored."""
        (target,) = classes(rng, shape)
        target[1::2] = -100
        return (target,)

    for spec, arguments in (
        (Spec("MSELoss"), real),
        (Spec("L1Loss"), real),
        (Spec("SmoothL1Loss", {"beta": 1 / 9}), real),
        (Spec("HuberLoss"), real),
        (Spec("BCELoss"), unit),
        (Spec("BCEWithLogitsLoss"), unit),
        (Spec("BCEWithLogitsLoss", {"pos_weight": PER_CLASS}), unit),
        (Spec("KLDivLoss", {"reduction": "batchmean"}), shares),
        (Spec("NLLLoss"), classes),
        (Spec("NLLLoss"), skipped),
        (Spec("CrossEntropyLoss"), classes),
        (Spec("CrossEntropyLoss"), skipped),
        (Spec("CrossEntropyLoss", {"reduction": "sum"}), skipped),
        (Spec("CrossEntropyLoss", {"ignore_index": 0}), classes),
        (Spec("CrossEntropyLoss", {"label_smoothing": 0.1}), classes),
        (Spec("CrossEntropyLoss", {"weight": CLASS_WEIGHT}), classes),
        (Spec("CrossEntropyLoss"), shares),
    ):
        shown = {key: "given" if isinstance(value, tuple) else value for key, value in spec.options.items()}
        kind = {shares: ",probabilities", skipped: ",ignored_rows"}.get(arguments, "")
        name, shape = f"usual/{spec.type}{label(shown)}{kind}", (7, 4)
        rng = generator(name)
        given = first_argument(spec.type, spec.options, rng, shape)
        yield network_case(name, WHY, [], inputs=(given,), loss=spec, targets=(arguments(rng, shape),), tags=(TAG,))
