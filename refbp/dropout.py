"""Dropout: a random mask in training, the identity otherwise."""

from __future__ import annotations

from typing import Any, Unpack

import numpy as np
import numpy.typing as npt

from refbp.activations import SELU_ALPHA, SELU_SCALE
from refbp.arrays import Array, Backward
from refbp.docstring import documented_by
from refbp.layer import Layer, LayerOptions
from refbp.ranks import OfRank
from refbp.special import where

Mask = npt.NDArray[np.bool_]


def dropout(
    input: Array,
    p: float = 0.5,
    training: bool = True,
    *,
    mask: Mask | None = None,
    rng: np.random.Generator | None = None,
) -> tuple[Array, Backward]:
    """y = x mask / (1 - p): every element is dropped with probability p, and those that are kept are scaled up.

    Source: Srivastava et al., Journal of Machine Learning Research 15, 2014.

    Args: mask is True where an element is kept; it may have size 1 along some dimensions. A mask of None is drawn from rng. With
        training=False the op is the identity.
    Shape: any, kept.
    Gradients: grad_input = grad_output mask / (1 - p), with the same mask and scale.
    Raises: ValueError for a p outside [0, 1], or a mask that does not broadcast to the input.
    Conventions: with p = 1 the output is zero. Dropping is a product with zero, so a dropped infinity gives NaN.
    """
    _check_probability(p)
    if not training:
        return input, lambda grad_output: grad_output
    chosen = kept(input.shape, p, rng) if mask is None else _fitting(mask, input, "dropout")
    scale = 1.0 / (1.0 - p) if p < 1 else 0.0

    def f(x: Array) -> Array:
        return x * chosen * scale  # x * scale could overflow where x is dropped

    return f(input), f


def kept(shape: tuple[int, ...], p: float, rng: np.random.Generator | None) -> Mask:
    """A random mask, True with probability 1 - p."""
    drawn: Any = (rng or np.random.default_rng()).random(shape) >= p
    return np.asarray(drawn)


def _fitting(mask: npt.ArrayLike, input: Array, name: str) -> Mask:
    """The mask. Raises: ValueError where it does not broadcast to the input."""
    given = np.asarray(mask, dtype=np.bool_)
    if len(given.shape) != input.ndim or any(m not in (1, n) for m, n in zip(given.shape, input.shape, strict=True)):
        raise ValueError(f"{name} expects a mask that broadcasts to the input's shape {input.shape}, got {given.shape}")
    return given


def _check_probability(p: float) -> None:
    if not 0 <= p <= 1:
        raise ValueError(f"dropout expects a probability from 0 to 1, got {p}")


def _by_channel(input: Array, rank: int, name: str) -> tuple[int, ...]:
    """The shape of a mask of whole channels. Raises: ValueError for a number of dimensions that torch does not take."""
    if input.ndim not in (rank + 1, rank + 2):
        raise ValueError(f"{name} expects {rank + 1} or {rank + 2} dimensions, got shape {input.shape}")
    lead = 2 if rank == 2 else input.ndim - rank  # three dimensions are a batch to Dropout2d
    return (*input.shape[:lead], *(1,) * (input.ndim - lead))


# The limit of SELU at -∞.
SATURATED = -SELU_SCALE * SELU_ALPHA


def alpha_dropout(
    input: Array,
    p: float = 0.5,
    training: bool = False,
    *,
    mask: Mask | None = None,
    rng: np.random.Generator | None = None,
) -> tuple[Array, Backward]:
    """y = a (x where kept, else α') + b, with α' = -1.758, the limit of SELU at -∞.

    a = ((1 - p) (1 + p α'²))^-1/2 and b = -a p α' keep a mean of 0 and a variance of 1. Source: Klambauer et al.,
    arXiv:1706.02515.

    Args: mask is True where an element is kept. A mask of None is drawn from rng. With training=False the op is the identity.
    Shape: any, kept.
    Gradients: grad_input = a grad_output where kept, else 0.
    Raises: ValueError for a p outside [0, 1], or a mask that does not broadcast to the input.
    Conventions: with p = 1 the output is zero. Dropping is a product with zero, so a dropped infinity gives NaN.
    """
    _check_probability(p)
    if not training:
        return input, lambda grad_output: grad_output
    chosen = kept(input.shape, p, rng) if mask is None else _fitting(mask, input, "alpha_dropout")
    a = ((1.0 - p) * (1.0 + p * SATURATED**2)) ** -0.5 if p < 1 else 0.0
    output = where(chosen, input, input * 0.0 + SATURATED) * a + (-a * p * SATURATED)
    return output, lambda grad_output: grad_output * chosen * a


class _Dropout(Layer):
    """Draws a mask in each training forward.

    Attributes:
        mask: the mask of the last training forward, None before it.
        imposed_mask: a mask to use instead of drawing one, None to draw.
    """

    def __init__(self, p: float = 0.5, inplace: bool = False, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        _check_probability(p)
        self.p = p
        self.mask: Mask | None = None
        self.imposed_mask: Mask | None = None

    def mask_shape(self, input: Array) -> tuple[int, ...]:
        """The mask's shape for this input: one decision per element."""
        return input.shape

    def op(self, input: Array, *params: Array) -> tuple[Array, Backward]:
        self.mask = None
        shape = self.mask_shape(input)
        if self.training:
            self.mask = kept(shape, self.p, self.rng) if self.imposed_mask is None else self.imposed_mask
        return self.dropped(input)

    def dropped(self, input: Array) -> tuple[Array, Backward]:
        """The op, with the mask of this call."""
        return dropout(input, self.p, self.training, mask=self.mask)


@documented_by(dropout)
class Dropout(_Dropout):
    """torch.nn.Dropout: `refbp.functional.dropout`. `inplace` has no effect.

    Attributes: mask is that of the last training forward; imposed_mask, if set, is used instead of drawing one.

    >>> layer = refbp.Dropout(0.5, rng=np.random.default_rng(0))
    >>> layer.imposed_mask = np.array([True, False, True])
    >>> layer(np.array([1.0, 2.0, 3.0]))
    array([2., 0., 6.])
    >>> layer.backward(np.ones(3))
    array([2., 0., 2.])
    """


@documented_by(dropout)
class _ChannelDropout(_Dropout, OfRank):
    """torch.nn.{name}: `refbp.functional.dropout` of whole channels. `inplace` has no effect.

    Attributes: mask is that of the last training forward; imposed_mask, if set, is used instead of drawing one. They have size 1
        in place of the sides.
    Raises: ValueError also for another number of dimensions.
    """

    def mask_shape(self, input: Array) -> tuple[int, ...]:
        """The mask's shape for this input: one decision per channel."""
        return _by_channel(input, self.rank, type(self).__name__)


class Dropout1d(_ChannelDropout, rank=1):
    """Channels are those of (N, C, L) or (C, L)."""


class Dropout2d(_ChannelDropout, rank=2):
    """Channels are those of (N, C, H, W) or (N, C, L).

    As in torch, which warns about it, three dimensions are (N, C, L), and not an image without a batch dimension.
    """


class Dropout3d(_ChannelDropout, rank=3):
    """Channels are those of (N, C, D, H, W) or (C, D, H, W)."""


@documented_by(alpha_dropout)
class AlphaDropout(_Dropout):
    """torch.nn.AlphaDropout: `refbp.functional.alpha_dropout`. `inplace` has no effect.

    Attributes: mask is that of the last training forward; imposed_mask, if set, is used instead of drawing one.
    """

    def dropped(self, input: Array) -> tuple[Array, Backward]:
        return alpha_dropout(input, self.p, self.training, mask=self.mask)
