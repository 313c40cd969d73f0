"""The numbers of random cases: how they are distributed, how large they are, and how they lie in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np

from oracle.case.arrays import Array
from oracle.suite.special import LAYOUTS

PLAIN = "plain"


def _normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return np.asarray(rng.standard_normal(shape))


def _sparse(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return np.where(rng.random(shape) < 0.2, rng.standard_normal(shape), 0.0)


def _near_ties(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """A few values, each with neighbours that differ in the last bits of float32."""
    return rng.integers(-2, 3, shape) * (1 + rng.integers(-2, 3, shape) * 2.0**-23)


DISTRIBUTIONS: dict[str, Callable[[np.random.Generator, tuple[int, ...]], Array]] = {
    "normal": _normal,
    "uniform": lambda rng, shape: np.asarray(rng.uniform(-1, 1, shape)),
    "positive": lambda rng, shape: np.asarray(rng.uniform(0.1, 3, shape)),
    "heavy-tailed": lambda rng, shape: np.clip(rng.standard_t(1.5, shape), -1e4, 1e4),
    "sparse": _sparse,
    "integers": lambda rng, shape: rng.integers(-4, 5, shape).astype(np.float64),
    "near ties": _near_ties,
    "sorted": lambda rng, shape: np.sort(rng.standard_normal(shape).ravel()).reshape(shape),
    "constant": lambda rng, shape: np.full(shape, rng.standard_normal()),
    "zeros": lambda rng, shape: np.zeros(shape),
    "one-hot": lambda rng, shape: np.where(np.arange(int(np.prod(shape))).reshape(shape) % 7 == 3, 1.0, 0.0),
    "far from zero": lambda rng, shape: 1000 + rng.standard_normal(shape),
}
# Random numbers come about as often as those chosen on purpose, which decide less.
KINDS = (*("normal", "uniform", "positive", "heavy-tailed") * 3, *DISTRIBUTIONS)
# Numbers that are not random: the rounding errors of equal or sorted terms may be correlated.
STRUCTURED = frozenset({"sparse", "integers", "near ties", "sorted", "constant", "zeros", "one-hot"})
# Sizes by which the numbers are multiplied: a factor, or the name of a share of the dtype's range.
SIZES = (1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1e-4, 30.0, 1e3, "subnormal", "smallest", "root", "largest")
DTYPES = (*("float32", "float64") * 5, "float16", "bfloat16")


def limits(dtype: str) -> Any:
    return ml_dtypes.finfo(dtype)  # type: ignore[no-untyped-call]


def scale(size: Any, dtype: str) -> float:
    """The factor of a size. The square of "root" is just within the range."""
    least, most = float(limits(dtype).smallest_normal), min(float(limits(dtype).max), 1e300)
    named = {
        "subnormal": least / 8,
        "smallest": least * 16,
        "root": most**0.5 / 16,
        "largest": most / 64,
    }
    return named[size] if isinstance(size, str) else float(size)


def values(rng: np.random.Generator, shape: tuple[int, ...], kind: str, size: Any, dtype: str) -> Array:
    """Numbers of a kind and a size, all of which the dtype holds."""
    largest = float(limits(dtype).max)
    return np.clip(
        np.asarray(DISTRIBUTIONS[kind](rng, shape) * scale(size, dtype), dtype=np.float64), -largest, largest
    )


def laid_out(array: Array, layout: str) -> Array:
    """The array in a layout, if it has the dimensions for it and is not empty."""
    if layout == PLAIN or array.ndim == 0 or not array.size or (layout == "channels_last" and array.ndim < 3):
        return array
    return LAYOUTS[layout](array)


# Channels last comes twice, since people run images in this layout.
LAYOUT_NAMES = (PLAIN, PLAIN, "channels_last", *LAYOUTS)
