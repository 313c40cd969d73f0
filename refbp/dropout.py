"""Dropout: a random mask in training, the identity otherwise."""

from __future__ import annotations

from typing import Any, Unpack

import numpy as np
import numpy.typing as npt

from refbp.layer import Array, Backward, Layer, LayerOptions

Mask = npt.NDArray[np.bool_]


def dropout(
    input: Array,
    p: float = 0.5,
    training: bool = True,
    *,
    mask: Mask | None = None,
    rng: np.random.Generator | None = None,
) -> tuple[Array, Backward]:
    """y = x mask / (1 - p): every element is dropped with probability p, and what is kept is scaled up.

    Args: mask is True where an element is kept; drawn from rng when None. Without training it is the identity.
    Gradients: grad_input = grad_output mask / (1 - p), the same mask and scale.
    Raises: ValueError for a p outside [0, 1] or a mask of another shape.
    """
    _check_probability(p)
    if not training:
        return input, lambda grad_output: grad_output
    if mask is None:
        mask = kept(input.shape, p, rng)
    if mask.shape != input.shape:
        raise ValueError(f"dropout expects a mask of the input's shape {input.shape}, got {mask.shape}")
    scale = 1.0 / (1.0 - p) if p < 1 else 0.0

    def f(x: Array) -> Array:
        return np.where(mask, x * scale, 0.0)

    return f(input), f


def kept(shape: tuple[int, ...], p: float, rng: np.random.Generator | None) -> Mask:
    """A random mask, True with probability 1 - p."""
    drawn: Any = (rng or np.random.default_rng()).uniform(size=shape) >= p
    return np.asarray(drawn)


def _check_probability(p: float) -> None:
    if not 0 <= p <= 1:
        raise ValueError(f"dropout expects a probability from 0 to 1, got {p}")


class Dropout(Layer):
    """torch.nn.Dropout: see `refbp.functional.dropout`. `inplace` has no effect.

    Attributes:
        mask: the mask of the last training forward, None if there was none.
        imposed_mask: if set, used instead of drawing one.
    """

    def __init__(self, p: float = 0.5, inplace: bool = False, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        _check_probability(p)
        self.p = p
        self.mask: Mask | None = None
        self.imposed_mask: Mask | None = None

    def op(self, input: Array, *params: Array) -> tuple[Array, Backward]:
        self.mask = None
        if self.training:
            self.mask = kept(input.shape, self.p, self.rng) if self.imposed_mask is None else self.imposed_mask
        return dropout(input, self.p, self.training, mask=self.mask)
