"""Rules of operations that only move numbers: views, writes, joins, copies and conversions."""

from __future__ import annotations

from typing import Any

import numpy as np

from oracle.programs.adjoint import is_floating, summed_to
from oracle.programs.geometry import Geometry, gathered, mapped, viewed
from oracle.programs.table import recorded, rule
from oracle.running_error.mask import ErrorMask


@rule("view", "view_overlapping", moves=True)
def view(storage: Any, own: Geometry, other: Geometry) -> Any:
    """An array in the memory of another; g to the elements that it read."""
    return viewed(storage, own, other), lambda g: (gathered(g, own, other),)


@rule("write", moves=True)
def write(storage: Any, part: Any, own: Geometry, other: Geometry) -> Any:
    """Memory with a part overwritten; g where it was kept, and g where it was overwritten."""
    inside = viewed(np.arange(own.size).reshape(own.shape), own, other)

    def without(component: Any) -> Any:
        kept = component.copy().reshape(-1)
        kept[inside] = 0
        return kept.reshape(own.shape)

    if isinstance(part, ErrorMask) and not isinstance(storage, ErrorMask):
        storage = ErrorMask(storage, None)
    result = mapped(storage, np.copy).reshape(-1)
    result[inside] = part
    return result.reshape(own.shape), lambda g: (mapped(g, without), viewed(g, own, other))


@rule("clone", "contiguous", "alias", "lift_fresh", "_unsafe_view", "_reshape_copy", moves=True)
def clone(input: Any, size: Any = None, memory_format: Any = None) -> Any:
    """A copy of x, in another layout; g."""
    return (input if size is None else input.reshape(*size)), lambda g: (g.reshape(input.shape),)


@rule("copy", moves=True)
def copy(input: Any, src: Any, non_blocking: bool = False) -> Any:
    """y in place of x; nothing, and g."""
    return mapped(src, lambda own: np.broadcast_to(own, input.shape)), lambda g: (np.zeros_like(g), summed_to(g, src))


@rule("_to_copy", moves=True)
def to_copy(input: Any, **_: Any) -> Any:
    """x in another dtype; g in x's."""
    return input, lambda g: (g if is_floating(input) else None,)


@rule("cat", "concat", moves=True)
def cat(tensors: Any, dim: int = 0) -> Any:
    """Arrays concatenated; its part of g to each."""
    ndim = max(own.ndim for own in tensors)
    used = [own for own in tensors if own.ndim == ndim]  # torch leaves out an empty array of another rank
    axis = dim % ndim
    ends = np.cumsum([own.shape[axis] for own in used])

    def backward(g: Any) -> Any:
        parts = iter(
            mapped(g, lambda own, e=end, s=own.shape[axis]: np.take(own, range(e - s, e), axis=axis))
            for end, own in zip(ends, used, strict=True)
        )
        return ([next(parts) if own.ndim == ndim else None for own in tensors],)

    return np.concatenate(used, axis=axis), backward


@rule("stack", moves=True)
def stack(tensors: Any, dim: int = 0) -> Any:
    """Arrays stacked; its part of g to each."""
    axis = dim % (tensors[0].ndim + 1)

    def backward(g: Any) -> Any:
        return ([mapped(g, lambda own, i=i: np.take(own, i, axis=axis)) for i in range(len(tensors))],)

    return np.stack(tensors, axis=axis), backward


@rule("fill", "zero", moves=True)
def fill(input: Any, value: Any = 0.0) -> Any:
    """A value in place of x; nothing, and Σ g."""
    return np.zeros_like(input) + value, lambda g: (np.zeros_like(g), summed_to(g, value))


@rule("repeat", moves=True)
def repeat(input: Any, repeats: Any) -> Any:
    """x repeated; the sum of g over the copies."""
    added = len(repeats) - input.ndim
    shape = (*(1,) * added, *input.shape)
    y = mapped(input, lambda own: np.tile(own.reshape(shape), repeats))

    def backward(g: Any) -> Any:
        for _ in range(added):
            g = np.sum(g, axis=0) * 1.0  # which ends the sum: torch stores that over each dimension that was added
        split = [size for pair in zip(repeats[added:], input.shape, strict=True) for size in pair]
        copies = tuple(range(0, len(split), 2))
        return (np.sum(g.reshape(tuple(split)), axis=copies).reshape(input.shape),)

    return y, backward


@rule("roll", moves=True)
def roll(input: Any, shifts: Any, dims: Any = ()) -> Any:
    """x rolled along dimensions; g rolled back."""
    axes: Any = tuple(dims) if dims else None
    by = np.asarray(shifts if dims else shifts[0])

    def turned(x: Any, by: Any) -> Any:
        return mapped(x, lambda own: np.roll(own, by, axes))

    return turned(input, by), lambda g: (turned(g, -by),)


@rule("flip", moves=True)
def flip(input: Any, dims: Any) -> Any:
    """x reversed along dimensions; g reversed likewise."""

    def turned(x: Any) -> Any:
        return mapped(x, lambda own: np.flip(own, tuple(dims)) if own.ndim else own)

    return turned(input), lambda g: (turned(g),)


@rule("tril", moves=True)
def tril(input: Any, diagonal: int = 0) -> Any:
    """The lower triangle, zeros above; that of g."""
    below = np.tril(np.ones(input.shape[-2:], bool), diagonal)
    return np.where(below, input, 0.0), lambda g: (np.where(below, g, 0.0),)


@rule("triu", moves=True)
def triu(input: Any, diagonal: int = 0) -> Any:
    """The upper triangle, zeros below; that of g."""
    below = np.tril(np.ones(input.shape[-2:], bool), diagonal - 1)
    return np.where(below, 0.0, input), lambda g: (np.where(below, 0.0, g),)


recorded("zeros_like", "ones_like", "full_like", "new_zeros", "new_ones", "new_full", "scalar_tensor")
recorded("bernoulli", "uniform", "normal", "random", "exponential", "rand_like", "randn_like", "randint_like")
