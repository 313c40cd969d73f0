"""How a class is drawn, and the shapes that all classes share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from oracle.fuzz.walk import Levels

Choice: TypeAlias = dict[str, Any]
Shape: TypeAlias = tuple[int, ...]
Made: TypeAlias = tuple[Choice, Shape]
BATCHES = ("several", "several", "one", "unbatched", "none")
SIDES = ("small", "small", "portrait", "landscape", "line", "least")
BOTH = (False, True)


@dataclass(frozen=True)
class Plan:
    """How a class is drawn.

    Attributes:
        levels: its choices.
        make: turns a combination into options and the input's shape.
        modes: whether it is run in training, in evaluation, or both.
    """

    levels: Levels
    make: Callable[[np.random.Generator, Choice], Made]
    modes: tuple[bool, ...] = (True,)


def number(rng: np.random.Generator, low: float, high: float) -> float:
    """A number that is not a short binary fraction."""
    return round(float(rng.uniform(low, high)), 4)


def drawn(rng: np.random.Generator, low: int, high: int, count: int) -> Shape:
    """Integers from `low` to below `high`."""
    return tuple(int(own) for own in rng.integers(low, high, count))


def batched(rng: np.random.Generator, batch: str, rest: Shape) -> Shape:
    """The shape with its batch: without one, empty, of one sample, or of several."""
    if batch == "unbatched":
        return rest
    return ({"none": 0, "one": 1}.get(batch, int(rng.integers(2, 6))), *rest)


def sides(rng: np.random.Generator, kind: str, rank: int, least: Shape) -> Shape:
    """The sides of an image, none less than `least`."""
    found = list(drawn(rng, 2, 8, rank))
    if not rank:
        return ()
    if kind == "portrait":
        found[0] += 9
    elif kind == "landscape":
        found[-1] += 9
    elif kind == "line":
        found[-1] = 1
    elif kind == "least":
        found = [0] * rank
    return tuple(max(own, low, 1) for own, low in zip(found, least, strict=True))
