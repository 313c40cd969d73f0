"""Pooling: windows that overlap, leave gaps or reach beyond the input; adaptive bins of uneven size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from oracle.case.case import Case
from oracle.suite.build import layer, network_case
from oracle.suite.convolution import per_dimension
from oracle.suite.layers import SIDES, Options, Sweep, ranked

WINNER = "the maximum of each window gets the gradient, and windows that overlap add up"
SPREAD = "each window's gradient is spread by its divisor, and windows that overlap add up"
BINS = "bins of uneven size share elements; each has its own mean or maximum"


def cases() -> Iterator[Case]:
    for rank in (1, 2, 3):
        for sweep in sweeps(rank):
            yield from sweep.cases("pool")
        for type in (
            f"MaxPool{rank}d",
            f"AvgPool{rank}d",
            f"LPPool{rank}d",
            f"AdaptiveAvgPool{rank}d",
            f"AdaptiveMaxPool{rank}d",
        ):
            spec = layer(type, 2.0, 2) if type.startswith("LP") else layer(type, 2)
            yield network_case(f"pool/{type},unbatched", "an input without batch dimension", [spec], ranked(rank)[1:])


def fits(options: Options) -> bool:
    return bool(np.all(np.asarray(options.get("padding", 0)) * 2 <= np.asarray(options.get("kernel_size", 2))))


def sweeps(rank: int) -> Iterator[Sweep]:
    shape = ranked(rank, (2, 3))
    windows: dict[str, list[Any]] = {
        "kernel_size": [2, 3, per_dimension(rank, 3, 2, 2)] if rank > 1 else [2, 3],
        "stride": [None, 1, 2, per_dimension(rank, 1, 3, 2)] if rank > 1 else [None, 1, 2],
    }
    more: dict[str, list[Any]] = {"padding": [0, 1], "ceil_mode": [False, True]}
    dilated: dict[str, list[Any]] = {"dilation": [1, 2]}
    if rank > 1:
        more["padding"].append(per_dimension(rank, 1, 0, 1))
        dilated["dilation"].append(per_dimension(rank, 2, 1, 2))
    plain: Options = {"kernel_size": 2}
    yield Sweep(f"MaxPool{rank}d", windows | more | dilated, shape, WINNER, plain, valid=fits, turned=True)
    counted: dict[str, list[Any]] = {"count_include_pad": [True, False]}
    if rank > 1:
        counted["divisor_override"] = [None, 5]
    yield Sweep(f"AvgPool{rank}d", windows | more | counted, shape, SPREAD, plain, valid=fits, turned=True)
    yield Sweep(
        f"LPPool{rank}d",
        {"norm_type": [2.0, 1.0, 3.0], **windows, "ceil_mode": [False, True]},
        shape,
        "the p-norm of each window, and its derivative at every element",
        {"norm_type": 2.0, "kernel_size": 2},
        turned=True,
    )
    uneven = per_dimension(rank, 3, 4, 5)
    sizes: list[Any] = [1, 2, uneven, per_dimension(rank, *SIDES[rank])]
    if rank > 1:
        sizes.append((None, *(2,) * (rank - 1)))
    for type in (f"AdaptiveAvgPool{rank}d", f"AdaptiveMaxPool{rank}d"):
        yield Sweep(type, {"output_size": sizes}, shape, BINS)
