"""Element-wise ops of large arrays, a block at a time, so that what they make on the way stays in the processor's cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any, TypeVar

import numpy as np

from refbp.arrays import Array, Backward

Op = TypeVar("Op", bound=Callable[..., tuple[Array, Backward]])

# Elements that are taken at a time.
BLOCK = 2**16


def in_blocks(op: Op) -> Op:
    """A decorator for an element-wise op, which then takes a large array block by block. Arrays of other types it takes whole."""

    @wraps(op)
    def blocked(input: Array, *args: Any, **kwargs: Any) -> tuple[Array, Backward]:
        if type(input) is not np.ndarray or input.size <= BLOCK:
            return op(input, *args, **kwargs)
        output = np.empty_like(input)
        backwards = []
        for x, y in blocks(input, output):
            y[...], backward_block = op(x, *args, **kwargs)
            backwards.append(backward_block)

        def backward(grad_output: Array) -> Array:
            grad_input = np.empty_like(output)
            for (g, grad), backward_block in zip(blocks(grad_output, grad_input), backwards, strict=True):
                grad[...] = backward_block(g)
            return grad_input

        return output, backward

    return blocked  # type: ignore[return-value]


def blocks(x: Array, made: Array) -> Iterator[tuple[Array, Array]]:
    """Flat blocks of both arrays, a pair with the same elements at a time, in the memory order of `made`, which is contiguous."""
    order = sorted(range(made.ndim), key=lambda axis: -made.strides[axis])
    flat, flat_made = x.transpose(order).reshape(-1), made.transpose(order).reshape(-1)
    for first in range(0, made.size, BLOCK):
        yield flat[first : first + BLOCK], flat_made[first : first + BLOCK]
