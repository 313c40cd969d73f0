"""Layers that move elements: flattening, padding, shuffling, resizing, dropping. Their backward moves gradients back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from oracle.case.case import Case
from oracle.suite.build import generator, label, layer, network_case
from oracle.suite.layers import ranked

BACK = "the gradient gets the input's shape again, element by element"
PADS: dict[str, dict[str, Any]] = {
    "ZeroPad": {},
    "ConstantPad": {"value": 1.5},
    "ReflectionPad": {},
    "ReplicationPad": {},
    "CircularPad": {},
}


def cases() -> Iterator[Case]:
    yield network_case("reshape/Identity", "hands through", [layer("Identity")], (2, 3, 4))
    for start, end in ((1, -1), (0, -1), (1, 2), (2, 3)):
        yield network_case(
            f"reshape/Flatten,start_dim={start},end_dim={end}", BACK, [layer("Flatten", start, end)], (2, 3, 4, 5)
        )
    for dim, size in ((1, (2, 3)), (-1, (2, -1)), (0, (1, 2))):
        options: dict[str, Any] = {"dim": dim, "unflattened_size": size}
        yield network_case(f"reshape/Unflatten{label(options)}", BACK, [layer("Unflatten", **options)], (2, 6, 4))
    yield network_case("reshape/PixelShuffle", BACK, [layer("PixelShuffle", 2)], (2, 12, 3, 4))
    yield network_case("reshape/PixelUnshuffle", BACK, [layer("PixelUnshuffle", 2)], (2, 3, 4, 6))
    yield from padding()
    yield from upsampling()
    yield from dropout()


def padding() -> Iterator[Case]:
    why = "the gradient of an element copied into the border is added to the element that it copies"
    for kind, options in PADS.items():
        for rank in (1, 2, 3):
            uneven = (1, 2, 2, 0, 1, 3)[: 2 * rank]
            pads: list[Any] = [1, uneven] + ([(-1, 2) * rank] if kind in ("ZeroPad", "ConstantPad") else [])
            for pad in pads:
                shown = {"padding": pad}
                for shape, suffix in ((ranked(rank), ""), (ranked(rank)[1:], ",unbatched")):
                    name = f"reshape/{kind}{rank}d{label(shown)}{suffix}"
                    yield network_case(name, why, [layer(f"{kind}{rank}d", padding=pad, **options)], shape)


def upsampling() -> Iterator[Case]:
    why = "each input element collects the gradients of all outputs interpolated from it, with the same weights"
    modes = {1: ("nearest", "linear"), 2: ("nearest", "bilinear"), 3: ("nearest", "trilinear")}
    for rank in (1, 2, 3):
        for mode in modes[rank]:
            for corners in (None,) if mode == "nearest" else (False, True):
                for size in ({"scale_factor": 2.0}, {"size": (5, 4, 3)[:rank]}, {"scale_factor": 1.5}):
                    options: dict[str, Any] = {**size, "mode": mode}
                    if corners is not None:
                        options["align_corners"] = corners
                    shape = (2, 3, *(4, 3, 2)[:rank])
                    yield network_case(
                        f"reshape/Upsample,rank={rank}{label(options)}", why, [layer("Upsample", **options)], shape
                    )
    # torch looks for the nearest input in single precision, which at these sizes finds another one than exact arithmetic.
    odd: tuple[tuple[dict[str, Any], tuple[int, ...], str], ...] = (
        ({"size": (46, 22), "mode": "nearest"}, (1, 2, 14, 26), "the nearest input is found in single precision"),
        (
            {"scale_factor": (1.1, 2.2), "mode": "nearest"},
            (2, 3, 5, 4),
            "where the size stays or doubles, the size decides, not the factor",
        ),
        (
            {"scale_factor": 1.1, "mode": "linear"},
            (2, 3, 5),
            "where the size stays, the input is copied, whatever the factor",
        ),
    )
    for options, shape, why_odd in odd:
        name = f"reshape/Upsample,rank={len(shape) - 2}{label(options)}"
        yield network_case(name, why_odd, [layer("Upsample", **options)], shape)


def dropout() -> Iterator[Case]:
    why = "the gradient passes through the mask and the scale of the forward pass"
    for p in (0.0, 0.1, 0.5, 0.9):
        yield network_case(f"dropout/Dropout,p={p}", why, [layer("Dropout", p)], (4, 50))
        yield network_case(
            f"dropout/Dropout,p={p},eval", "identity when not training", [layer("Dropout", p)], (4, 5), training=False
        )
        for rank in (1, 2, 3):
            yield network_case(
                f"dropout/Dropout{rank}d,p={p}",
                "whole channels are dropped",
                [layer(f"Dropout{rank}d", p)],
                ranked(rank, (6, 8)),
            )
        yield network_case(
            f"dropout/AlphaDropout,p={p}",
            "dropped elements get a value that keeps mean and variance",
            [layer("AlphaDropout", p)],
            (4, 50),
        )
    yield network_case(
        "dropout/Dropout2d,p=0.5,rank=1",
        "three dimensions are a batch: one decision per sample and channel",
        [layer("Dropout2d", 0.5)],
        ranked(1, (6, 8)),
    )
    infinite = np.tile(np.array([np.inf, -np.inf, np.nan, 1.0]), (4, 10))
    for type in ("Dropout", "AlphaDropout"):
        yield network_case(
            f"nonfinite/{type}",
            "dropped elements are multiplied by zero, which turns infinity into NaN",
            [layer(type, 0.5)],
            inputs=(infinite,),
            tags=("non-finite",),
        )
    name = "dropout/Dropout,imposed"
    mask = generator(name).uniform(size=(6, 7)) < 0.7
    yield network_case(name, "a mask that is given is used", [layer("Dropout", 0.3)], (6, 7), masks={"0": mask})
