"""Padding layers: the border is filled with a constant or with copies of the input's elements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias, Unpack

import numpy as np

from refbp.arrays import Array, Backward
from refbp.docstring import documented_by
from refbp.layer import LayerOptions
from refbp.ranks import OfRank
from refbp.windows import PADDING_SOURCES, Index, Sides, added_back, inside, padded, padding_sources, sizes, taken

Pad: TypeAlias = int | Sequence[int]


def pad(input: Array, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> tuple[Array, Backward]:
    """The input with `pad` elements added at both ends of its last dimensions; negative numbers crop.

    Args: pad is (before, after) of the last dimension, then of the one before it, and so on; mode is "constant" (filled with
        `value`, 0 unless given), "reflect", "replicate" or "circular" (filled with the input's own elements).
    Shape: any for a constant; else (N, C, *sides) or (C, *sides) with all of one, two or three sides padded.
    Gradients: those of a constant border are dropped; those of a copied element are added to the element that it copies.
    Raises: ValueError for an odd number of sides, a shape that does not fit, or a border that the input cannot fill.
    Conventions: with one end padded and the other cropped, "reflect" pads before it crops, "circular" crops before it pads.

    >>> y, backward = refbp.functional.pad(np.array([[1.0, 2.0, 3.0]]), (1, 0), "reflect")
    >>> y, backward(np.array([[1.0, 10.0, 100.0, 1000.0]]))
    (array([[2., 1., 2., 3.]]), array([[  10.,  101., 1000.]]))
    """
    amounts = sizes(pad, len(pad), "pad", None)
    if len(pad) % 2 or len(pad) // 2 > input.ndim:
        raise ValueError(f"pad expects two numbers per dimension of {input.shape}, got {amounts}")
    sides: Sides = list(zip(amounts[-2::-2], amounts[::-2], strict=True))
    if mode == "constant":
        return _constant(input, sides, 0.0 if value is None else value)
    if mode not in PADDING_SOURCES:
        raise ValueError(f"pad expects mode constant, {', '.join(PADDING_SOURCES)}, got {mode!r}")
    if value:
        raise ValueError(f"pad expects a value with mode constant only, got {value} with {mode}")
    rank = len(sides)
    if rank not in (1, 2, 3) or input.ndim not in (rank + 1, rank + 2):
        raise ValueError(f"pad of {rank} sides expects {rank + 1} or {rank + 2} dimensions, got shape {input.shape}")
    inner = input.shape[-rank:]
    sources = padding_sources(inner, sides, mode)
    return taken(input, sources), lambda grad_output: added_back(grad_output, inner, sources)


def _constant(input: Array, sides: Sides, value: float) -> tuple[Array, Backward]:
    lead = input.ndim - len(sides)
    spans = [(max(-a, 0), n - max(-b, 0)) for n, (a, b) in zip(input.shape[lead:], sides, strict=True)]
    if any(stop < start for start, stop in spans):
        raise ValueError(f"pad expects to crop at most what there is of {input.shape}, got sides {list(sides)}")
    kept: Index = (..., *(slice(start, stop) for start, stop in spans))
    grown = [(max(a, 0), max(b, 0)) for a, b in sides]
    core = input[kept].copy()  # the output shares no memory with the input, even if nothing is padded

    def backward(grad_output: Array) -> Array:
        result = np.zeros_like(grad_output, shape=input.shape)
        result[kept] = grad_output[inside(core.shape[lead:], grown)]
        return result

    return padded(core, grown, value), backward


@documented_by(pad)
class _Padding(OfRank):
    """torch.nn.{name}: `refbp.functional.pad` of all its sides.

    padding is one int for all, or (before, after) of the last dimension, then of the one before it, and so on.
    """

    mode: str

    def __init__(self, padding: Pad, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self.padding = sizes(padding, 2 * self.rank, f"padding of {type(self).__name__}", None)
        self.value = 0.0

    def op(self, input: Array, *params: Array) -> tuple[Array, Backward]:
        return pad(input, self.padding, self.mode, self.value)


@documented_by(_Padding)
class _ConstantPad(_Padding):
    """torch.nn.{name}: a padding with a constant."""

    mode = "constant"

    def __init__(self, padding: Pad, value: float, **options: Unpack[LayerOptions]) -> None:
        super().__init__(padding, **options)
        self.value = value


class ConstantPad1d(_ConstantPad, rank=1):
    """The border has the constant `value`; padding is (left, right)."""


class ConstantPad2d(_ConstantPad, rank=2):
    """The border has the constant `value`; padding is (left, right, top, bottom)."""


class ConstantPad3d(_ConstantPad, rank=3):
    """The border has the constant `value`; padding is (left, right, top, bottom, front, back)."""


class ZeroPad1d(_Padding, rank=1):
    """The border has the constant 0; padding is (left, right)."""

    mode = "constant"


class ZeroPad2d(_Padding, rank=2):
    """The border has the constant 0; padding is (left, right, top, bottom)."""

    mode = "constant"


class ZeroPad3d(_Padding, rank=3):
    """The border has the constant 0; padding is (left, right, top, bottom, front, back)."""

    mode = "constant"


class ReflectionPad1d(_Padding, rank=1):
    """The border has mode "reflect"; padding is (left, right)."""

    mode = "reflect"


class ReflectionPad2d(_Padding, rank=2):
    """The border has mode "reflect"; padding is (left, right, top, bottom)."""

    mode = "reflect"


class ReflectionPad3d(_Padding, rank=3):
    """The border has mode "reflect"; padding is (left, right, top, bottom, front, back)."""

    mode = "reflect"


class ReplicationPad1d(_Padding, rank=1):
    """The border has mode "replicate"; padding is (left, right)."""

    mode = "replicate"


class ReplicationPad2d(_Padding, rank=2):
    """The border has mode "replicate"; padding is (left, right, top, bottom)."""

    mode = "replicate"


class ReplicationPad3d(_Padding, rank=3):
    """The border has mode "replicate"; padding is (left, right, top, bottom, front, back)."""

    mode = "replicate"


class CircularPad1d(_Padding, rank=1):
    """The border has mode "circular"; padding is (left, right)."""

    mode = "circular"


class CircularPad2d(_Padding, rank=2):
    """The border has mode "circular"; padding is (left, right, top, bottom)."""

    mode = "circular"


class CircularPad3d(_Padding, rank=3):
    """The border has mode "circular"; padding is (left, right, top, bottom, front, back)."""

    mode = "circular"
