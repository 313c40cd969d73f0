"""A walk through all combinations of some choices, on which every point can be computed without those before it.

A random draw repeats itself long before it has seen every combination. The walk visits each combination once before it visits any
again, and meets each pair of neighbouring choices much earlier. A point depends on a seed and a number alone, so any number of
workers draws the same.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

Levels: TypeAlias = Mapping[str, Sequence[Any]]
GOLDEN = (math.sqrt(5) - 1) / 2


def generator(*key: int | str) -> np.random.Generator:
    """The generator of a key; names count by their checksum, since Python's own hash differs from process to process."""
    return np.random.default_rng([zlib.crc32(own.encode()) if isinstance(own, str) else own for own in key])


def at(levels: Levels, seed: int, name: str, point: int) -> dict[str, Any]:
    """The combination at a point of the walk: one level of each choice.

    With P combinations the walk steps by about P times the golden ratio, and by a number that shares no factor with P. So it
    comes to every combination in P steps, and spreads evenly before. The order of the choices is shuffled by seed and name, and
    begins anew with each round.
    """
    count = math.prod(len(own) for own in levels.values())
    lap, index = divmod(point, count)
    rng = generator(seed, name, lap)
    stride = max(1, int(count * GOLDEN))
    while math.gcd(stride, count) != 1:
        stride += 1
    start = sum(int(rng.integers(1 << 32)) << shift for shift in (0, 32, 64))
    place = (start + index * stride) % count
    found: dict[str, Any] = {}
    for choice in rng.permutation(sorted(levels)).tolist():
        place, level = divmod(place, len(levels[choice]))
        found[choice] = levels[choice][level]
    return found
