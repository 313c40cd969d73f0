"""Smaller views: the elements of a tensor, and where the views of its memory show them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from oracle.case.arrays import Array
from oracle.modules.sampled.draws import Draw, Shape, index_of
from oracle.programs.geometry import Geometry


@dataclass(frozen=True)
class Shown:
    """The elements of a view that are these elements of memory; zero where the view does not show one.

    Attributes:
        places: the index of each element, axis by axis of the view.
        is_shown: for each element, whether the view shows it.
    """

    places: tuple[Array, ...]
    is_shown: Array

    def of(self, tensor: torch.Tensor) -> torch.Tensor:
        part = tensor[tuple(index_of(own, tensor) for own in self.places)]
        outside = torch.from_numpy(~self.is_shown).to(part.device)
        return part.masked_fill(outside, 0)

    def shape_of(self, shape: Shape) -> Shape:
        return (len(self.is_shown),)


def offsets(drawn: Draw, own: Geometry) -> Array:
    """The positions in memory of elements drawn from a tensor."""
    (cells,) = drawn.cells
    place = np.full(len(cells.chosen), own.offset)
    for axis, index in zip(cells.axes, cells.coordinates, strict=True):
        place = place + index * own.strides[axis]
    return place


def shown_by(own: Geometry, memory: Array) -> Shown | None:
    """Where a view shows these positions in memory; None if that does not follow from its strides."""
    places: list[Array] = [np.zeros(len(memory), np.int64) for _ in own.shape]
    rest, is_shown, within = memory - own.offset, memory >= own.offset, 1
    for axis in sorted(range(len(own.shape)), key=lambda axis: own.strides[axis]):
        if own.shape[axis] != 1:
            if own.strides[axis] < within:  # elements are repeated, or lie between each other
                return None
            within += (own.shape[axis] - 1) * own.strides[axis]
    for axis in sorted(range(len(own.shape)), key=lambda axis: -own.strides[axis]):
        if own.shape[axis] != 1:
            at = rest // own.strides[axis]
            is_shown = is_shown & (at < own.shape[axis])
            places[axis] = np.where(is_shown, at, 0)
            rest = rest - at * own.strides[axis]
    is_shown = is_shown & (rest == 0)
    return Shown(tuple(np.where(is_shown, at, 0) for at in places), is_shown)
