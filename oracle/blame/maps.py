"""The data of a Detail's drawings: maps over a tensor's axes, the histogram of z, got against expected, the worst elements."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from oracle.blame.details import Detail
from oracle.running_error.model import Floats

# A map with more cells than this along an axis is drawn coarser, each cell the largest of its block.
MOST_CELLS = 64
MOST_POINTS = 400
MOST_WORST = 12
# Bins of half a decade of z; smaller and larger values are counted in the first and the last bin.
EDGES = tuple(float(edge) for edge in 10.0 ** np.arange(-3, 8.01, 0.5))


@dataclass(frozen=True)
class ErrorMap:
    """The largest |error| / tolerance over the axes that the map does not show; `rows` and `columns` name those that it shows."""

    title: str
    rows: str
    columns: str
    values: Floats


@dataclass(frozen=True)
class Histogram:
    """The counts of elements by z: `exact` have z = 0, `infinite` differ where the tolerance is 0, EDGES bin the rest."""

    counts: tuple[int, ...]
    exact: int
    infinite: int


@dataclass(frozen=True)
class Element:
    """One element: its index in the whole quantity, the received and the expected value, and the tolerance."""

    index: tuple[int, ...]
    got: float
    expected: float
    tolerance: float
    z: float


def maps(detail: Detail) -> list[ErrorMap]:
    """Maps over channels, over kernel or image positions, and for parameters over kernels and channels."""
    ratio = detail.ratio
    if ratio.ndim < 2:
        return [ErrorMap("elements", "", "element", coarse(ratio.reshape(1, -1)))]
    kind, _, _ = detail.place.quantity.partition(".")
    is_parameter = kind in ("grad", "param", "momentum", "buffer") and "." in detail.place.quantity
    first, second = ("output", "input") if is_parameter else ("sample", "feature")
    if ratio.ndim == 2:
        return [ErrorMap(f"{first} × {second}", first, second, coarse(ratio))]
    if not is_parameter:
        second = "channel"
    space = ratio.reshape(*ratio.shape[:2], -1)
    positions = space.max(axis=(0, 1)).reshape(-1, ratio.shape[-1])
    where = "kernel" if is_parameter else "position"
    found = [
        ErrorMap(f"{where}s" if where == "position" else where, f"{where} row", f"{where} column", coarse(positions)),
        ErrorMap(
            f"{first} × {second} channel" if is_parameter else f"{first} × {second}",
            first,
            second,
            coarse(space.max(axis=2)),
        ),
    ]
    if is_parameter:
        wide = ratio.reshape(ratio.shape[0], -1)
        found.append(ErrorMap("kernel × channels", "output channel", "input channel, kernel position", coarse(wide)))
    return found


def coarse(values: Floats, most: tuple[int, int] = (MOST_CELLS, MOST_CELLS)) -> Floats:
    """A map reduced to a limited number of rows and columns; each cell is the largest of its elements."""
    for axis, (size, cells) in enumerate(zip(values.shape, most, strict=True)):
        if size > cells:
            starts = np.arange(cells) * size // cells
            values = np.maximum.reduceat(values, starts, axis=axis)
    return values


def histogram(detail: Detail) -> Histogram:
    z = detail.z.ravel()
    finite = z[np.isfinite(z) & (z > 0)]
    counts, _ = np.histogram(np.clip(finite, EDGES[0], EDGES[-1]), bins=np.array(EDGES))
    return Histogram(tuple(int(count) for count in counts), int(np.sum(z == 0)), int(np.sum(np.isinf(z))))


def points(detail: Detail) -> tuple[Floats, Floats]:
    """Pairs (expected, got) of at most MOST_POINTS elements: every k-th, and the worst ones."""
    size = detail.got.size
    chosen = np.unique(np.linspace(0, size - 1, min(size, MOST_POINTS)).astype(np.int64))
    chosen = np.union1d(chosen, _worst_places(detail))
    expected, got = detail.expected.ravel()[chosen], detail.got.ravel()[chosen].astype(np.float64)
    finite = np.isfinite(expected) & np.isfinite(got)
    return expected[finite], got[finite]


def worst(detail: Detail) -> list[Element]:
    """The elements with the largest error relative to their tolerance, worst first."""
    z = detail.z
    elements = []
    for place in _worst_places(detail):
        index = np.unravel_index(int(place), detail.got.shape)
        whole = tuple(int(i) + start for i, start in zip(index, detail.origin, strict=True))
        elements.append(
            Element(
                whole,
                float(detail.got[index]),
                float(detail.expected[index]),
                float(detail.tolerance[index]),
                float(z[index]),
            )
        )
    return elements


def _worst_places(detail: Detail) -> list[int]:
    order = np.lexsort((-detail.error.ravel(), -detail.ratio.ravel()))
    return [int(place) for place in order[:MOST_WORST]]
