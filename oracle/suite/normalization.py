"""Normalisations: in training the statistics are part of the derivative, in evaluation they are not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from oracle.case.case import Case
from oracle.suite.build import layer, network_case
from oracle.suite.layers import Sweep, ranked

STATISTICS = "the gradient flows through mean and variance in training, not in evaluation; running statistics follow torch's rule"
GROUPS = "mean and variance per sample, over the right dimensions, and their part in the gradient"


def cases() -> Iterator[Case]:
    for rank in (1, 2, 3):
        yield from batch_norm(rank)
        yield from instance_norm(rank)
    yield from Sweep(
        "BatchNorm1d",
        {"affine": [True, False]},
        (6, 5),
        STATISTICS,
        {"num_features": 5},
        training=(True, False),
        tag=",rows",
    ).cases("norm")
    normalized_shapes: list[tuple[tuple[int, ...], tuple[int, ...]]] = [
        ((4, 6), (6,)),
        ((2, 3, 4, 5), (4, 5)),
        ((2, 3, 4), (3, 4)),
        ((7,), (7,)),
    ]
    for shape, normalized in normalized_shapes:
        levels: dict[str, list[Any]] = {"eps": [1e-5, 1e-2], "elementwise_affine": [True, False], "bias": [True, False]}
        size = "x".join(map(str, shape))
        yield from Sweep(
            "LayerNorm", levels, shape, GROUPS, {"normalized_shape": normalized}, tag=f",shape={size}"
        ).cases("norm")
        levels = {"eps": [None, 1e-3], "elementwise_affine": [True, False]}
        yield from Sweep(
            "RMSNorm", levels, shape, GROUPS, {"normalized_shape": normalized}, tag=f",shape={size}"
        ).cases("norm")
    for rank in (0, 1, 2, 3):
        shape = (3, 6, *(ranked(rank)[2:] if rank else ()))
        yield from Sweep(
            "GroupNorm",
            {"num_groups": [1, 2, 3] if rank else [1, 2], "affine": [True, False], "eps": [1e-5, 1e-2]},
            shape,
            GROUPS,
            {"num_channels": 6, "num_groups": 1},
            turned=True,
            tag=f",rank={rank}",
        ).cases("norm")
    for rank in (1, 2, 3):
        yield from Sweep(
            "LocalResponseNorm",
            {"size": [1, 2, 3, 5], "alpha": [1e-4, 0.5], "beta": [0.75, 0.5], "k": [1.0, 2.0]},
            ranked(rank, (2, 6)),
            "each channel is divided by a sum over its neighbours, which all get a share of the gradient",
            {"size": 1},
            turned=True,
            tag=f",rank={rank}",
        ).cases("norm")


def batch_norm(rank: int) -> Iterator[Case]:
    levels: dict[str, list[Any]] = {
        "eps": [1e-5, 1e-2],
        "momentum": [0.1, None, 0.5],
        "affine": [True, False],
        "track_running_stats": [True, False],
    }
    type = f"BatchNorm{rank}d"
    yield from Sweep(
        type, levels, ranked(rank), STATISTICS, {"num_features": 4}, training=(True, False), turned=True
    ).cases("norm")
    yield network_case(
        f"norm/{type},three_steps",
        "running statistics and the count of batches carry over from step to step",
        [layer(type, 4, momentum=None)],
        ranked(rank),
        steps=3,
    )
    yield network_case(
        f"norm/Conv{rank}d+{type}",
        "a bias before a batch norm has the gradient zero, by cancellation alone; its tolerance must still decide",
        [layer(f"Conv{rank}d", 2, 4, 3), layer(type, 4)],
        ranked(rank, (3, 2)),
    )


def instance_norm(rank: int) -> Iterator[Case]:
    levels: dict[str, list[Any]] = {
        "eps": [1e-5, 1e-2],
        "affine": [False, True],
        "track_running_stats": [False, True],
        "momentum": [0.1, 0.5],
    }
    type = f"InstanceNorm{rank}d"
    yield from Sweep(
        type, levels, ranked(rank), GROUPS, {"num_features": 4}, training=(True, False), turned=True
    ).cases("norm")
    yield network_case(f"norm/{type},unbatched", "an input without batch dimension", [layer(type, 4)], ranked(rank)[1:])
