"""Layers that only rearrange: their backward rearranges back."""

from __future__ import annotations

import math
from typing import Any, Unpack

from refbp.layer import Array, Backward, Layer, LayerOptions


def identity(input: Array) -> tuple[Array, Backward]:
    """y = x."""
    return input, lambda grad_output: grad_output


def flatten(input: Array, start_dim: int = 0, end_dim: int = -1) -> tuple[Array, Backward]:
    """The dimensions from start_dim to end_dim as one, in row-major order.

    Shape: (*before, *flattened, *after) -> (*before, product of flattened, *after).
    Raises: ValueError for dimensions that the input does not have, or an end before the start.
    """
    rank = max(input.ndim, 1)
    start, end = (dim + rank if dim < 0 else dim for dim in (start_dim, end_dim))
    if not 0 <= start <= end < rank:
        raise ValueError(
            f"flatten expects start_dim <= end_dim within {input.ndim} dimensions, got {start_dim}, {end_dim}"
        )
    shape = (*input.shape[:start], math.prod(input.shape[start : end + 1]), *input.shape[end + 1 :])
    return input.reshape(shape), lambda grad_output: grad_output.reshape(input.shape)


class Identity(Layer):
    """torch.nn.Identity; takes any arguments and ignores them."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(**{key: options[key] for key in ("dtype", "rng") if key in options})

    def op(self, input: Array, *params: Array) -> tuple[Array, Backward]:
        return identity(input)


class Flatten(Layer):
    """torch.nn.Flatten: see `refbp.functional.flatten`."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self.start_dim, self.end_dim = start_dim, end_dim

    def op(self, input: Array, *params: Array) -> tuple[Array, Backward]:
        return flatten(input, self.start_dim, self.end_dim)
