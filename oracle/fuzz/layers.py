"""Random single layers: the choices of each class, and the options and input shape that a combination of them gives."""

from __future__ import annotations

import math

import numpy as np

from oracle.fuzz import windows
from oracle.fuzz.plan import BATCHES, BOTH, SIDES, Choice, Made, Plan, batched, drawn, number, sides
from oracle.suite.activations import COUPLED, ELEMENTWISE

MODES: dict[int, tuple[str, ...]] = {1: ("nearest", "linear"), 2: ("nearest", "bilinear"), 3: ("nearest", "trilinear")}


def _norm(name: str, rank: int) -> Plan:
    levels = {
        "eps": ("default", "drawn"),
        "momentum": ("default", None, "drawn"),
        "affine": BOTH,
        "bias": BOTH,
        "track_running_stats": BOTH,
        "channels": (1, 2, 17),
        "batch": BATCHES,
        "sides": SIDES if rank > 1 or name == "InstanceNorm" else ("rows", *SIDES),
    }

    def make(rng: np.random.Generator, choice: Choice) -> Made:
        options = {"num_features": choice["channels"], "affine": choice["affine"], "bias": choice["bias"]}
        options |= {"track_running_stats": choice["track_running_stats"]}
        options |= {"eps": number(rng, 1e-4, 0.5)} if choice["eps"] == "drawn" else {}
        if choice["momentum"] != "default":
            options["momentum"] = number(rng, 0, 1) if choice["momentum"] else None
        rest = () if choice["sides"] == "rows" else sides(rng, choice["sides"], rank, (1,) * rank)
        return options, batched(rng, choice["batch"], (choice["channels"], *rest))

    return Plan(levels, make, BOTH)


def _of_last(name: str) -> Plan:
    """LayerNorm and RMSNorm, over the last dimensions."""

    def make(rng: np.random.Generator, choice: Choice) -> Made:
        last = drawn(rng, 1, 8, choice["dimensions"])
        options: Choice = {"normalized_shape": last, "elementwise_affine": choice["affine"]}
        options |= {"bias": choice["bias"]} if name == "LayerNorm" else {}
        options |= {"eps": number(rng, 1e-4, 0.5)} if choice["eps"] == "drawn" else {}
        return options, batched(rng, choice["batch"], (*(3,) * choice["before"], *last))

    levels = {"dimensions": (1, 1, 2), "before": (0, 1), "affine": BOTH, "eps": ("default", "drawn"), "batch": BATCHES}
    return Plan({**levels, **({"bias": BOTH} if name == "LayerNorm" else {})}, make)


def _group_norm() -> Plan:
    def make(rng: np.random.Generator, choice: Choice) -> Made:
        groups, channels = choice["groups"]
        options = {"num_groups": groups, "num_channels": channels, "affine": choice["affine"], "bias": choice["bias"]}
        options |= {"eps": number(rng, 1e-4, 0.5)} if choice["eps"] == "drawn" else {}
        rank = choice["rank"]
        return options, batched(rng, choice["batch"], (channels, *sides(rng, choice["sides"], rank, (1,) * rank)))

    groups = ((1, 1), (1, 4), (2, 4), (4, 4), (3, 24))
    levels = {"groups": groups, "affine": BOTH, "bias": BOTH, "eps": ("default", "drawn"), "rank": (0, 1, 2, 3)}
    return Plan({**levels, "batch": tuple(own for own in BATCHES if own != "unbatched"), "sides": SIDES}, make)


def _upsample() -> Plan:
    def make(rng: np.random.Generator, choice: Choice) -> Made:
        rank = choice["rank"]
        options: Choice = {"mode": MODES[rank][choice["smooth"]]}
        if choice["smooth"]:
            options["align_corners"] = choice["align_corners"]
        if choice["by"] == "size":
            options["size"] = drawn(rng, 1, 9, rank)
        else:
            options["scale_factor"] = number(rng, 0.6, 3.3) if choice["by"] == "factor" else 2.0
            options["recompute_scale_factor"] = choice["recompute"]
        batch = "several" if choice["batch"] == "unbatched" else choice["batch"]
        shape = batched(rng, batch, (2, *sides(rng, choice["sides"], rank, (2,) * rank)))
        factor = options.get("scale_factor", 0.0)
        # Where a factor leaves a side as it is, or doubles it, torch errs: reports/findings/torch-nearest-index.md.
        keeps = any(math.floor(n * factor) in (n, 2 * n) for n in shape[2:])
        if choice["by"] == "factor" and not choice["smooth"] and rank != 2 and keeps:
            options["recompute_scale_factor"] = True
        return options, shape

    levels = {"rank": (1, 2, 3), "smooth": BOTH, "align_corners": BOTH, "by": ("size", "factor", "two")}
    return Plan({**levels, "recompute": (None, None, True), "batch": BATCHES, "sides": SIDES}, make)


def _elementwise(name: str) -> Plan:
    numbers = ELEMENTWISE[name][0]

    def make(rng: np.random.Generator, choice: Choice) -> Made:
        options: Choice = {}
        for own, levels in numbers.items():
            if isinstance(levels[0], float) and choice["options"] == "drawn":
                low, high = {"min_val": (-2, 0), "max_val": (0.1, 2), "lambd": (0, 1)}.get(own, (0.05, 3))
                sign = -1 if own in ("negative_slope", "init") and rng.random() < 0.3 else 1
                options[own] = sign * number(rng, low, high)
            else:
                options[own] = levels[int(rng.integers(len(levels)))]
        rest = {"scalar": (), "row": (7,), "image": (3, 2, 5), "long": (257,)}[choice["shape"]]
        if name == "PReLU":
            options["num_parameters"] = rest[0] if rest and choice["batch"] != "unbatched" else 1
        return options, rest if choice["shape"] == "scalar" else batched(rng, choice["batch"], rest)

    return Plan({"options": ("listed", "drawn"), "shape": ("scalar", "row", "image", "long"), "batch": BATCHES}, make)


def _along(name: str) -> Plan:
    """Softmax and its like, and GLU, along one dimension."""

    def make(rng: np.random.Generator, choice: Choice) -> Made:
        rank = choice["rank"]
        dim = int(rng.integers(-rank, rank))
        shape = list(drawn(rng, 1, 6, rank))
        shape[0] = 0 if choice["batch"] == "none" else shape[0]
        if name == "GLU" or choice["length"] == "two":
            shape[dim] = 2
        elif choice["length"] == "long":
            shape[dim] = 129
        return {"dim": dim}, tuple(shape)

    return Plan({"rank": (1, 2, 3, 4), "length": ("short", "two", "long"), "batch": BATCHES}, make)


def _linear() -> Plan:
    def make(rng: np.random.Generator, choice: Choice) -> Made:
        inner, outer = choice["features"]
        options = {"in_features": inner, "out_features": outer, "bias": choice["bias"]}
        return options, batched(rng, choice["batch"], (*(3, 2)[: choice["extra"]], inner))

    features = ((1, 1), (3, 4), (17, 2), (4, 33), (300, 2))
    return Plan({"features": features, "bias": BOTH, "extra": (0, 0, 1, 2), "batch": BATCHES}, make)


def _dropout(name: str) -> Plan:
    rank = int(name[-2]) if name[-1] == "d" else 0

    def make(rng: np.random.Generator, choice: Choice) -> Made:
        share = number(rng, 0.05, 0.95) if choice["p"] == "drawn" else choice["p"]
        rest = (3, *sides(rng, choice["sides"], rank, (1,) * rank)) if rank else (5, 3)
        return {"p": share}, batched(rng, choice["batch"], rest)

    return Plan({"p": (0.0, 0.5, 1.0, "drawn", "drawn"), "batch": BATCHES, "sides": SIDES}, make, BOTH)


def _local_response() -> Plan:
    def make(rng: np.random.Generator, choice: Choice) -> Made:
        options = {"size": choice["size"]}
        if choice["numbers"] == "drawn":
            options |= {"alpha": number(rng, 0.01, 1), "beta": number(rng, 0.2, 2), "k": number(rng, 0.5, 3)}
        rank = choice["rank"]
        batch = "several" if choice["batch"] == "unbatched" else choice["batch"]
        return options, batched(rng, batch, (choice["channels"], *sides(rng, choice["sides"], rank, (1,) * rank)))

    levels = {"size": (1, 2, 3, 6), "numbers": ("default", "drawn"), "rank": (1, 2, 3), "channels": (1, 4, 17)}
    return Plan({**levels, "batch": BATCHES, "sides": SIDES}, make)


def _reshaped(name: str) -> Plan:
    def make(rng: np.random.Generator, choice: Choice) -> Made:
        factor = int(rng.integers(1, 4))
        if name == "PixelShuffle":
            return {"upscale_factor": factor}, batched(rng, choice["batch"], (2 * factor**2, *drawn(rng, 1, 4, 2)))
        if name == "PixelUnshuffle":
            image = tuple(factor * own for own in drawn(rng, 1, 4, 2))
            return {"downscale_factor": factor}, batched(rng, choice["batch"], (2, *image))
        if name == "Softmax2d":
            return {}, batched(rng, choice["batch"], (3, *drawn(rng, 1, 5, 2)))
        if name == "Unflatten":
            return {"dim": 1, "unflattened_size": (2, factor)}, (int(rng.integers(0, 3)), 2 * factor, 3)
        start, end = sorted(drawn(rng, 0, 4, 2))
        return {"start_dim": start, "end_dim": end}, batched(rng, "several", (2, 3, 2))

    return Plan({"batch": BATCHES}, make)


def _plans() -> dict[str, Plan]:
    found: dict[str, Plan] = {**windows.plans(), "Linear": _linear(), "Upsample": _upsample()}
    found |= {"GroupNorm": _group_norm(), "LocalResponseNorm": _local_response()}
    found |= {f"{kind}{rank}d": _norm(kind, rank) for kind in ("BatchNorm", "InstanceNorm") for rank in (1, 2, 3)}
    found |= {name: _of_last(name) for name in ("LayerNorm", "RMSNorm")}
    found |= {name: _elementwise(name) for name in ELEMENTWISE}
    found |= {name: _along(name) for name in (*COUPLED, "GLU")}
    found |= {name: _dropout(name) for name in ("Dropout", "AlphaDropout", "Dropout1d", "Dropout2d", "Dropout3d")}
    names = ("PixelShuffle", "PixelUnshuffle", "Softmax2d", "Unflatten", "Flatten")
    return found | {name: _reshaped(name) for name in names}


PLANS = _plans()
