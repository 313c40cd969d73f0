"""Convolutions and their transposes: strides, padding, dilation, groups, alone and in pairs, in one, two and three dimensions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from oracle.case.case import Case
from oracle.suite.build import layer, network_case
from oracle.suite.layers import Options, Sweep, ranked

WHY = "indices of windows, kernel taps and groups, alone and together"


def cases() -> Iterator[Case]:
    for rank in (1, 2, 3):
        yield from convolution(rank).cases("conv")
        yield from transposed(rank).cases("conv")
        for type in (f"Conv{rank}d", f"ConvTranspose{rank}d"):
            yield from shapes(type, rank)


def per_dimension(rank: int, *values: int) -> Any:
    """A different value for each dimension."""
    return values[:rank] if rank > 1 else values[0]


def convolution(rank: int) -> Sweep:
    def valid(options: Options) -> bool:
        return not (options.get("padding") == "same" and options.get("stride", 1) != 1)

    return Sweep(
        f"Conv{rank}d",
        {
            "stride": [1, 2, per_dimension(rank, 3, 2, 1)],
            "padding": [0, 1, "same", "valid", per_dimension(rank, 2, 1, 0)],
            "dilation": [1, 2, per_dimension(rank, 2, 1, 2)] if rank > 1 else [1, 2],
            "groups": [1, 2],
            "kernel_size": [3, 1, per_dimension(rank, 2, 3, 2)],
            "bias": [True, False],
            "padding_mode": ["zeros", "reflect", "replicate", "circular"],
        },
        ranked(rank),
        WHY,
        {"in_channels": 4, "out_channels": 6, "kernel_size": 3},
        valid,
        turned=True,
    )


def transposed(rank: int) -> Sweep:
    def valid(options: Options) -> bool:
        beyond, *others = (
            np.broadcast_to(options.get(name, default), rank)
            for name, default in (("output_padding", 0), ("stride", 1), ("dilation", 1))
        )
        return bool((beyond < np.maximum(*others)).all())

    return Sweep(
        f"ConvTranspose{rank}d",
        {
            "stride": [1, 2, per_dimension(rank, 3, 2, 1)],
            "padding": [0, 1, per_dimension(rank, 2, 1, 0)],
            "output_padding": [0, 1, per_dimension(rank, 2, 1, 0)],
            "dilation": [1, 2, per_dimension(rank, 2, 1, 2)] if rank > 1 else [1, 2],
            "groups": [1, 2],
            "kernel_size": [3, per_dimension(rank, 2, 3, 2)],
            "bias": [True, False],
        },
        ranked(rank) if rank < 3 else (2, 4, 3, 4, 3),
        "the transpose of a convolution: windows are added where a convolution reads them",
        {"in_channels": 4, "out_channels": 6, "kernel_size": 3},
        valid,
        turned=True,
    )


def shapes(type: str, rank: int) -> Iterator[Case]:
    unbatched = (3, *ranked(rank)[2:])
    plain = layer(type, 3, 4, 3)
    yield network_case(f"conv/{type},unbatched", "an input without batch dimension", [plain], unbatched)
    yield network_case(
        f"conv/{type},depthwise",
        "one group per channel, several kernels each",
        [layer(type, 3, 6, 3, groups=3)],
        (2, *unbatched),
    )
    if type.startswith("Conv") and "Transpose" not in type:
        yield network_case(
            f"conv/{type},remainder",
            "stride leaves elements that no window covers: their gradient is zero",
            [layer(type, 3, 4, 2, stride=3)],
            (2, 3, *(7, 10, 7)[:rank]),
        )
    yield network_case(
        f"conv/{type},stride_beyond_kernel",
        "gaps between windows",
        [layer(type, 3, 4, 2, stride=4, padding=1)],
        (1, 3, *(6, 9, 7)[:rank]),
    )
    if "Transpose" in type:
        yield network_case(
            f"conv/{type},output_padding_beyond_stride",
            "output_padding may be larger than the stride, if it is smaller than the dilation",
            [layer(type, 3, 4, 2, stride=per_dimension(rank, 2, 1, 2), dilation=4, output_padding=3)],
            (2, 3, *(4, 3, 3)[:rank]),
        )
    yield network_case(
        f"conv/{type},groups+stride+dilation",
        "groups, stride and dilation together, so that no error in one is hidden by another",
        [layer(type, 4, 6, 2, stride=3, dilation=2, groups=2)],
        (2, 4, *(8, 7, 5)[:rank]),
    )
