"""Arithmetic with sizes that the adapters of all frameworks need: padding, windows, flattened shapes, reductions of losses."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

from oracle.subjects.walk import Layer, Tensor

Sides: TypeAlias = list[tuple[int, int]]


def batched(layer: Layer, x: Tensor, op: Callable[[Tensor], Tensor]) -> Tensor:
    """Applies an op that needs a batch dimension to an input that may lack one."""
    return op(x[None])[0] if len(x.shape) == layer.rank + 1 else op(x)


def conv_sides(layer: Layer) -> Sides:
    """Padding before and after each dimension."""
    padding = layer.options["padding"]
    if padding == "valid":
        return [(0, 0)] * layer.rank
    if padding == "same":
        total = [d * (k - 1) for d, k in zip(layer.each("dilation"), layer.each("kernel_size"), strict=True)]
        return [(both // 2, both - both // 2) for both in total]
    return [(side, side) for side in layer.each("padding")]


def strides(layer: Layer) -> tuple[int, ...]:
    """The strides of a pooling; by default the kernel's size."""
    return layer.each("kernel_size" if layer.options["stride"] is None else "stride")


def pool_sides(layer: Layer, x: Tensor) -> Sides:
    """Padding of a pooling before and after each dimension, with what ceil_mode's last window needs."""
    dilations = layer.each("dilation") if "dilation" in layer.options else (1,) * layer.rank
    sides = []
    for n, k, s, p, d in zip(
        x.shape[-layer.rank :],
        layer.each("kernel_size"),
        strides(layer),
        layer.each("padding"),
        dilations,
        strict=True,
    ):
        reach = d * (k - 1) + 1
        room = n + 2 * p - reach
        count = (-(-room // s) if layer.options["ceil_mode"] else room // s) + 1
        if layer.options["ceil_mode"] and (count - 1) * s >= n + p:
            count -= 1
        sides.append((p, max(p, (count - 1) * s + reach - n - p)))
    return sides


def pad_sides(layer: Layer, x: Tensor) -> Sides:
    """The sides of a padding layer, for every dimension of the input; torch lists the last dimension first."""
    flat = layer.options["padding"]
    flat = (flat,) * (2 * layer.rank) if isinstance(flat, int) else tuple(flat)
    sides = [(flat[2 * i], flat[2 * i + 1]) for i in range(layer.rank)][::-1]
    return [(0, 0)] * (len(x.shape) - layer.rank) + sides


def flattened(layer: Layer, x: Tensor) -> tuple[int, ...]:
    shape = tuple(x.shape)
    start, end = (layer.options[name] % len(shape) for name in ("start_dim", "end_dim"))
    return (*shape[:start], math.prod(shape[start : end + 1]), *shape[end + 1 :])


def unflattened(layer: Layer, x: Tensor) -> tuple[int, ...]:
    shape, dim = tuple(x.shape), layer.options["dim"] % len(x.shape)
    sizes = list(layer.options["unflattened_size"])
    if -1 in sizes:
        sizes[sizes.index(-1)] = shape[dim] // -math.prod(sizes)
    return (*shape[:dim], *sizes, *shape[dim + 1 :])


def softmax_dim(layer: Layer, x: Tensor) -> int:
    """The dimension of a softmax; for None torch's choice."""
    dim = layer.options.get("dim", -3)
    if dim is None:
        return 0 if len(x.shape) in (0, 1, 3) else 1
    return int(dim)


def channelwise(values: Tensor, x: Tensor, dim: int = 1) -> Tensor:
    """An array with a value per channel, reshaped so that it broadcasts along `dim` of x; None stays None.

    A single number has one channel.
    """
    rank = len(x.shape)
    return None if values is None else values.reshape((-1,) + (1,) * (rank - 1 - dim) if rank else ())


def trailing(layer: Layer, x: Tensor) -> tuple[int, ...]:
    """The dimensions over which LayerNorm and RMSNorm normalise."""
    shape = layer.options["normalized_shape"]
    count = 1 if isinstance(shape, int) else len(shape)
    return tuple(range(len(x.shape) - count, len(x.shape)))


def times_weight(layer: Layer, terms: Tensor) -> Tensor:
    """A loss's terms by its option `weight`, if it has one."""
    weight = layer.tensor("weight")
    return terms if weight is None else terms * weight


def reduced(layer: Layer, terms: Tensor, divisor: Tensor | None = None) -> Tensor:
    """The value of a loss from its terms; the mean divides by their number, or by the given divisor."""
    how = layer.options["reduction"]
    if how == "none":
        return terms
    if how == "sum":
        return terms.sum()
    return terms.mean() if divisor is None else terms.sum() / divisor
