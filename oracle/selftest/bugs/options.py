"""Bugs that use another value of an option, class by class, in the forward or in the backward."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from oracle.case.case import Spec
from oracle.selftest.bugs.bug import Bug, option_ignored
from oracle.selftest.bugs.losses import ignored
from oracle.suite.build import layer

SIDES = {1: (7,), 2: (6, 5), 3: (4, 5, 6)}
BOTH = ("output", "grad_input")


def bugs() -> Iterator[Bug]:
    for rank in (1, 2, 3):
        yield from of_rank(rank)
    for type, options, taken, shape in PLAIN:
        yield from wrong(type, options, taken, shape)
    for rank, mode in enumerate(("linear", "bilinear", "trilinear"), 1):
        stretched = {"scale_factor": 2.0, "mode": mode}
        shape = (2, 2, *SIDES[rank])
        yield from wrong("Upsample", {**stretched, "align_corners": True}, {"align_corners": False}, shape)
    yield from of_losses()


def wrong(
    type: str, options: dict[str, Any], taken: dict[str, Any], shape: tuple[int, ...], *sides: str
) -> Iterator[Bug]:
    """One bug for each side: the forward or the backward of the layer runs as if it had other options."""
    spec = layer(type, **options)
    kind = f"{options['mode']} " if "mode" in options else ""
    said = ", ".join(f"{name} {value} for {options.get(name, 'the default')}" for name, value in taken.items())
    for side in sides or BOTH:
        where = "forward" if side == "output" else "backward"
        yield option_ignored(f"{type}: {kind}{said}, {where}", spec, shape, side, **taken)


def of_rank(rank: int) -> Iterator[Bug]:
    channels, shape = {"in_channels": 2, "out_channels": 3}, (2, 2, *SIDES[rank])
    for mode in ("reflect", "replicate", "circular"):
        padded = {**channels, "kernel_size": 3, "padding": 1, "padding_mode": mode}
        yield from wrong(f"Conv{rank}d", padded, {"padding_mode": "zeros"}, shape)
    window = {"kernel_size": 3, "stride": 2, "padding": 1}
    yield from wrong(f"AvgPool{rank}d", {**window, "count_include_pad": False}, {"count_include_pad": True}, shape)
    if rank > 1:
        yield from wrong(f"AvgPool{rank}d", {**window, "divisor_override": 5}, {"divisor_override": None}, shape)
    yield from wrong(f"LPPool{rank}d", {"norm_type": 3.0, "kernel_size": 2}, {"norm_type": 2.0}, shape)
    yield from wrong(f"BatchNorm{rank}d", {"num_features": 2, "eps": 0.3}, {"eps": 1e-5}, shape)
    yield from wrong(f"InstanceNorm{rank}d", {"num_features": 2, "eps": 0.3}, {"eps": 1e-5}, shape)
    yield from wrong(f"ConstantPad{rank}d", {"padding": 1, "value": 1.5}, {"value": 0.0}, shape, "output")


# Type, options, the options that are used instead, shape of the input.
PLAIN: tuple[tuple[str, dict[str, Any], dict[str, Any], tuple[int, ...]], ...] = (
    ("GroupNorm", {"num_groups": 2, "num_channels": 4, "eps": 0.3}, {"eps": 1e-5}, (2, 4, 3, 5)),
    ("GroupNorm", {"num_groups": 2, "num_channels": 4}, {"num_groups": 1}, (2, 4, 3, 5)),
    ("LayerNorm", {"normalized_shape": (6,), "eps": 0.3}, {"eps": 1e-5}, (4, 6)),
    ("RMSNorm", {"normalized_shape": (6,), "eps": 0.3}, {"eps": 1e-5}, (4, 6)),
    ("LocalResponseNorm", {"size": 3, "alpha": 0.5}, {"alpha": 1e-4}, (2, 5, 4, 3)),
    ("LocalResponseNorm", {"size": 3, "alpha": 0.5, "beta": 0.4}, {"beta": 0.75}, (2, 5, 4, 3)),
    ("LocalResponseNorm", {"size": 3, "alpha": 0.5, "k": 2.0}, {"k": 1.0}, (2, 5, 4, 3)),
    ("LocalResponseNorm", {"size": 3, "alpha": 0.5}, {"size": 4}, (2, 5, 4, 3)),
    ("CELU", {"alpha": 0.5}, {"alpha": 1.0}, (4, 6)),
    ("ELU", {"alpha": 0.5}, {"alpha": 1.0}, (4, 6)),
    ("GELU", {"approximate": "tanh"}, {"approximate": "none"}, (4, 6)),
    ("Hardshrink", {"lambd": 0.9}, {"lambd": 0.5}, (4, 6)),
    ("Softshrink", {"lambd": 0.9}, {"lambd": 0.5}, (4, 6)),
    ("Hardtanh", {"min_val": -0.3}, {"min_val": -1.0}, (4, 6)),
    ("Hardtanh", {"max_val": 0.3}, {"max_val": 1.0}, (4, 6)),
    ("LeakyReLU", {"negative_slope": 0.3}, {"negative_slope": 0.01}, (4, 6)),
    ("LeakyReLU", {"negative_slope": -0.3}, {"negative_slope": 0.3}, (4, 6)),
    ("Softplus", {"beta": 0.3}, {"beta": 1.0}, (4, 6)),
    ("Threshold", {"threshold": 0.3, "value": 1.5}, {"threshold": 0.0}, (4, 6)),
    ("Softmax", {"dim": 1}, {"dim": 2}, (3, 4, 4)),
    ("LogSoftmax", {"dim": 1}, {"dim": 2}, (3, 4, 4)),
    ("Softmin", {"dim": 1}, {"dim": 2}, (3, 4, 4)),
)

REDUCED = (
    "L1Loss",
    "MSELoss",
    "SmoothL1Loss",
    "HuberLoss",
    "KLDivLoss",
    "PoissonNLLLoss",
    "GaussianNLLLoss",
    "BCELoss",
    "BCEWithLogitsLoss",
    "NLLLoss",
    "CrossEntropyLoss",
    "HingeEmbeddingLoss",
    "SoftMarginLoss",
    "MultiMarginLoss",
    "MultiLabelMarginLoss",
    "MultiLabelSoftMarginLoss",
    "MarginRankingLoss",
)
LOSSES: tuple[tuple[str, dict[str, Any], dict[str, Any]], ...] = (
    ("SmoothL1Loss", {"beta": 0.3}, {"beta": 1.0}),
    ("HuberLoss", {"delta": 0.3}, {"delta": 1.0}),
    ("PoissonNLLLoss", {"log_input": True}, {"log_input": False}),
    ("PoissonNLLLoss", {"full": True}, {"full": False}),
    ("HingeEmbeddingLoss", {"margin": 0.3}, {"margin": 1.0}),
    ("MarginRankingLoss", {"margin": 0.7}, {"margin": 0.0}),
    ("MultiMarginLoss", {"p": 2}, {"p": 1}),
    ("MultiMarginLoss", {"margin": 0.3}, {"margin": 1.0}),
    ("CrossEntropyLoss", {"label_smoothing": 0.3}, {"label_smoothing": 0.0}),
)


def of_losses() -> Iterator[Bug]:
    for type in REDUCED:
        yield ignored(
            f"{type}: reduction mean for sum, forward", Spec(type, {"reduction": "sum"}), "output", reduction="mean"
        )
    for type, options, taken in LOSSES:
        ((name, value),) = taken.items()
        yield ignored(f"{type}: {name} {value} for {options[name]}, forward", Spec(type, options), "output", **taken)
