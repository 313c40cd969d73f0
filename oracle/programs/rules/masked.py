"""Rules of reading and writing under masks."""

from __future__ import annotations

from typing import Any

import numpy as np

from oracle.case.arrays import Array
from oracle.programs.adjoint import summed_to
from oracle.programs.geometry import mapped
from oracle.programs.rules.indexing import _added_at
from oracle.programs.table import rule


@rule("masked_select", moves=True)
def masked_select(input: Any, mask: Any) -> Any:
    """The elements under a mask; g at these, zeros elsewhere."""
    shape = np.broadcast_shapes(input.shape, mask.shape)
    chosen = np.broadcast_to(mask, shape)

    def placed(component: Any) -> Any:
        whole = np.zeros(shape, component.dtype)
        whole[chosen] = component
        return whole

    return mapped(input, lambda own: np.broadcast_to(own, shape)[chosen]), lambda g: (
        summed_to(mapped(g, placed), input),
    )


@rule("masked_scatter", moves=True)
def masked_scatter(input: Any, mask: Any, source: Any) -> Any:
    """x with the elements under a mask overwritten, in order, by those of another array; g where x was kept, and g of these."""
    shape = np.broadcast_shapes(input.shape, mask.shape)
    chosen = np.broadcast_to(mask, shape)
    count = int(np.count_nonzero(chosen))
    y = mapped(input, lambda own: np.broadcast_to(own, shape).copy())
    y[chosen] = source.reshape(-1)[:count]

    def placed(component: Any) -> Any:
        whole = np.zeros(source.size, component.dtype)
        whole[:count] = component[chosen]
        return whole.reshape(source.shape)

    return y, lambda g: (summed_to(np.where(chosen, 0.0, g), input), None, mapped(g, placed))


def _places(indices: Any, shape: tuple[int, ...]) -> tuple[Any, ...]:
    """Indices without a check, those outside moved to the border."""
    return tuple(
        slice(None) if own is None else np.clip(np.asarray(own), -size, size - 1)
        for own, size in zip(indices, shape, strict=False)
    )


def _inside(mask: Any, read: tuple[int, ...]) -> Array:
    return np.broadcast_to(np.asarray(mask), read)


@rule("_unsafe_masked_index", moves=True)
def unsafe_masked_index(input: Any, mask: Any, indices: Any, fill: Any) -> Any:
    """Elements at indices where a mask holds, a number elsewhere; g added to those that were read."""
    places = _places(indices, input.shape)
    read = mapped(input, lambda own: own[places])
    inside = _inside(mask, read.shape)
    return np.where(inside, read, float(fill)), lambda g: (_added_at(places, np.where(inside, g, 0.0), input),)


@rule("_unsafe_masked_index_put_accumulate", moves=True)
def unsafe_masked_index_put_accumulate(input: Any, mask: Any, indices: Any, values: Any) -> Any:
    """x with y added at indices where a mask holds; g, and g read there."""
    places = _places(indices, input.shape)
    inside = _inside(mask, np.empty(input.shape)[places].shape)
    y = input.copy()
    np.add.at(y, places, np.where(inside, values, 0.0))
    return y, lambda g: (
        g,
        None,
        None,
        summed_to(np.where(inside, mapped(g, lambda own: own[places]), 0.0), values),
    )
