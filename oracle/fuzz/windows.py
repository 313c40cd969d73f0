"""Layers with windows or borders: convolutions, poolings and paddings, with windows that fit their input."""

from __future__ import annotations

from typing import Any

import numpy as np

from oracle.fuzz.plan import BATCHES, BOTH, SIDES, Choice, Made, Plan, Shape, batched, drawn, number, sides
from oracle.fuzz.walk import Levels


def ints(rng: np.random.Generator, kind: Any, rank: int) -> Any:
    """A size: a number for all dimensions, or one for each."""
    if kind != "uneven":
        return kind
    return drawn(rng, 1, 4, rank) if rank > 1 else int(rng.integers(1, 4))


def each(value: Any, rank: int) -> Shape:
    return tuple(value) if isinstance(value, tuple) else (value,) * rank


def reach(options: Choice, rank: int) -> Shape:
    """The least sides on which a window fits."""
    kernel, dilation = each(options["kernel_size"], rank), each(options.get("dilation", 1), rank)
    padding = options.get("padding", 0)
    added = (0,) * rank if isinstance(padding, str) else each(padding, rank)
    return tuple(d * (k - 1) + 1 - 2 * p for k, d, p in zip(kernel, dilation, added, strict=True))


CHANNELS = {"one": (1, 1, 1), "few": (2, 3, 1), "groups": (4, 6, 2), "depthwise": (6, 6, 6), "many": (24, 24, 24)}
CHANNELS |= {"wide": (24, 17, 1), "multiplied": (3, 9, 3)}
CONV: Levels = {
    "kernel_size": (1, 2, 3, "uneven"),
    "stride": (1, 2, 3, "uneven"),
    "padding": (0, 1, "uneven", "same", "valid"),
    "dilation": (1, 2, "uneven"),
    "channels": tuple(CHANNELS),
    "bias": BOTH,
    "padding_mode": ("zeros", "zeros", "reflect", "replicate", "circular"),
    "batch": BATCHES,
    "sides": SIDES,
}


def _borders(options: Choice, rank: int) -> Shape:
    """The least sides from which the borders can be copied."""
    if options["padding"] == "same":
        return reach({**options, "padding": 0}, rank)
    return (1,) * rank if options["padding"] == "valid" else tuple(own + 1 for own in each(options["padding"], rank))


def _conv(rank: int) -> Plan:
    def make(rng: np.random.Generator, choice: Choice) -> Made:
        inner, outer, groups = CHANNELS[choice["channels"]]
        options = {name: ints(rng, choice[name], rank) for name in ("kernel_size", "stride", "padding", "dilation")}
        if options["padding"] == "same":
            options["stride"] = 1
        options |= {"bias": choice["bias"], "padding_mode": choice["padding_mode"], "groups": groups}
        least = reach(options, rank)
        if choice["padding_mode"] != "zeros":  # each border is copied from the input, which has to be as long
            least = tuple(map(max, least, _borders(options, rank)))
        shape = batched(rng, choice["batch"], (inner, *sides(rng, choice["sides"], rank, least)))
        return {"in_channels": inner, "out_channels": outer, **options}, shape

    return Plan(CONV, make)


def _conv_transpose(rank: int) -> Plan:
    levels = {**CONV, "padding": (0, 0, 1), "padding_mode": ("zeros",), "output_padding": (0, 0, 1)}

    def make(rng: np.random.Generator, choice: Choice) -> Made:
        inner, outer, groups = CHANNELS[choice["channels"]]
        names = ("kernel_size", "stride", "padding", "dilation", "output_padding")
        options = {name: ints(rng, choice[name], rank) for name in names}
        most = zip(each(options["stride"], rank), each(options["dilation"], rank), strict=True)
        options["output_padding"] = min(choice["output_padding"], *(max(own) - 1 for own in most))
        options |= {"bias": choice["bias"], "groups": groups}
        shape = batched(rng, choice["batch"], (inner, *sides(rng, choice["sides"], rank, (3,) * rank)))
        return {"in_channels": inner, "out_channels": outer, **options}, shape

    return Plan(levels, make)


WINDOW: dict[str, tuple[Any, ...]] = {
    "kernel_size": (1, 2, 3, "uneven"),
    "stride": (None, 1, 2, 3, "uneven"),
    "ceil_mode": BOTH,
    "channels": (1, 3, 17),
    "batch": BATCHES,
    "sides": SIDES,
}


def _pool(kind: str, rank: int) -> Plan:
    own: dict[str, dict[str, tuple[Any, ...]]] = {
        "MaxPool": {"padding": (0, 1), "dilation": (1, 2, "uneven")},
        "AvgPool": {"padding": (0, 1), "count_include_pad": BOTH},
        "LPPool": {"norm_type": (1.0, 2.0, "drawn")},
    }
    more = own[kind]
    if kind == "AvgPool" and rank > 1:
        more["divisor_override"] = (None, None, 1, 5)

    def make(rng: np.random.Generator, choice: Choice) -> Made:
        options = {name: ints(rng, choice[name], rank) for name in ("kernel_size", "stride", "ceil_mode", *more)}
        if options.get("norm_type") == "drawn":
            options["norm_type"] = number(rng, 1.2, 4)
        if "padding" in options:  # at most half of a window
            options["padding"] = min(options["padding"], *(own // 2 for own in each(options["kernel_size"], rank)))
        least = reach(options, rank)
        if kind == "MaxPool":  # in a window that is all padding torch errs: reports/findings/torch-max-pool-index.md
            least = tuple(map(max, least, each(options["dilation"], rank)))
        shape = batched(rng, choice["batch"], (choice["channels"], *sides(rng, choice["sides"], rank, least)))
        return options, shape

    return Plan({**WINDOW, **more}, make)


def _adaptive(rank: int) -> Plan:
    def make(rng: np.random.Generator, choice: Choice) -> Made:
        size = ints(rng, choice["output_size"], rank)
        size = (None, *(2,) * (rank - 1)) if size == "kept" else size
        return {"output_size": size}, batched(
            rng, choice["batch"], (choice["channels"], *sides(rng, choice["sides"], rank, (1,) * rank))
        )

    sizes: tuple[Any, ...] = (1, 2, 5, "uneven", *(("kept",) if rank > 1 else ()))
    return Plan({"output_size": sizes, "channels": (1, 3, 17), "batch": BATCHES, "sides": SIDES}, make)


def _pad(kind: str, rank: int) -> Plan:
    low = -1 if kind in ("Zero", "Constant") else 0

    def make(rng: np.random.Generator, choice: Choice) -> Made:
        pads = drawn(rng, low, 4, 2 * rank)
        options: Choice = {"padding": pads if choice["padding"] == "each" else choice["padding"]}
        if kind == "Constant":
            options["value"] = number(rng, -2, 2)
        least = (4,) * rank if choice["padding"] == "each" else (choice["padding"] + 1,) * rank
        return options, batched(rng, choice["batch"], (2, *sides(rng, choice["sides"], rank, least)))

    return Plan({"padding": (0, 1, 2, "each", "each"), "batch": BATCHES, "sides": SIDES}, make)


def plans() -> dict[str, Plan]:
    found: dict[str, Plan] = {}
    for rank in (1, 2, 3):
        found[f"Conv{rank}d"] = _conv(rank)
        found[f"ConvTranspose{rank}d"] = _conv_transpose(rank)
        found |= {f"{kind}{rank}d": _pool(kind, rank) for kind in ("MaxPool", "AvgPool", "LPPool")}
        found |= {f"Adaptive{kind}Pool{rank}d": _adaptive(rank) for kind in ("Avg", "Max")}
        found |= {
            f"{kind}Pad{rank}d": _pad(kind, rank)
            for kind in ("Zero", "Constant", "Reflection", "Replication", "Circular")
        }
    return found
