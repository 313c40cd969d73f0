"""Padding layers: the border is filled with a constant or with the input's own elements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias, Unpack

import numpy as np

from refbp.layer import Array, Backward, Layer, LayerOptions
from refbp.windows import PADDING_SOURCES, Index, Sides, added_back, inside, padded, padding_sources, taken

Pad: TypeAlias = int | Sequence[int]


def pad(input: Array, pad: Sequence[int], mode: str = "constant", value: float = 0.0) -> tuple[Array, Backward]:
    """The input with `pad` elements added at both ends of its last dimensions; negative numbers of a constant crop.

    Args: pad is (before, after) of the last dimension, then of the one before it, and so on; mode is "constant" (filled with
        `value`), "reflect", "replicate" or "circular" (filled with the input's own elements).
    Gradients: a constant's border has none; a copied element's goes back to where it was copied from.
    Raises: ValueError for an odd number of sides, more sides than dimensions, or a border that the input cannot fill.
    """
    if len(pad) % 2 or len(pad) // 2 > input.ndim:
        raise ValueError(f"pad expects two numbers per dimension of {input.shape}, got {tuple(pad)}")
    sides: Sides = [(pad[i], pad[i + 1]) for i in range(len(pad) - 2, -1, -2)]
    inner = input.shape[input.ndim - len(sides) :]
    if mode == "constant":
        return _constant(input, sides, value)
    if mode not in PADDING_SOURCES:
        raise ValueError(f"pad expects mode constant, {', '.join(PADDING_SOURCES)}, got {mode!r}")
    sources = padding_sources(inner, sides, mode)
    return taken(input, sources), lambda grad_output: added_back(grad_output, inner, sources)


def _constant(input: Array, sides: Sides, value: float) -> tuple[Array, Backward]:
    lead = input.ndim - len(sides)
    kept: Index = (
        ...,
        *(slice(max(-a, 0), n - max(-b, 0)) for n, (a, b) in zip(input.shape[lead:], sides, strict=True)),
    )
    grown = [(max(a, 0), max(b, 0)) for a, b in sides]
    core = input[kept]
    if min(core.shape, default=1) < 1 <= min(input.shape, default=1):
        raise ValueError(f"pad expects something to be left of {input.shape}, got sides {list(sides)}")

    def backward(grad_output: Array) -> Array:
        result = np.zeros_like(grad_output, shape=input.shape)
        result[kept] = grad_output[inside(core.shape[lead:], grown)]
        return result

    return padded(core, grown, value), backward


class _Padding(Layer):
    rank: int
    mode: str

    def __init__(self, padding: Pad, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        sides = (padding,) * (2 * self.rank) if isinstance(padding, int) else tuple(padding)
        if len(sides) != 2 * self.rank:
            raise ValueError(f"{type(self).__name__} expects an int or {2 * self.rank} of them, got {padding!r}")
        self.padding, self.value = sides, 0.0

    def op(self, input: Array, *params: Array) -> tuple[Array, Backward]:
        if input.ndim not in (self.rank + 1, self.rank + 2):
            raise ValueError(
                f"{type(self).__name__} expects {self.rank + 1} or {self.rank + 2} dimensions, got shape {input.shape}"
            )
        return pad(input, self.padding, self.mode, self.value)


class ConstantPad1d(_Padding):
    """torch.nn.ConstantPad1d: see `refbp.functional.pad` with a constant `value`."""

    rank, mode = 1, "constant"

    def __init__(self, padding: Pad, value: float, **options: Unpack[LayerOptions]) -> None:
        super().__init__(padding, **options)
        self.value = value


class ConstantPad2d(_Padding):
    """torch.nn.ConstantPad2d: see `refbp.functional.pad` with a constant `value`."""

    rank, mode = 2, "constant"

    def __init__(self, padding: Pad, value: float, **options: Unpack[LayerOptions]) -> None:
        super().__init__(padding, **options)
        self.value = value


class ConstantPad3d(_Padding):
    """torch.nn.ConstantPad3d: see `refbp.functional.pad` with a constant `value`."""

    rank, mode = 3, "constant"

    def __init__(self, padding: Pad, value: float, **options: Unpack[LayerOptions]) -> None:
        super().__init__(padding, **options)
        self.value = value


class ZeroPad1d(_Padding):
    """torch.nn.ZeroPad1d: see `refbp.functional.pad` with the constant 0."""

    rank, mode = 1, "constant"


class ZeroPad2d(_Padding):
    """torch.nn.ZeroPad2d: see `refbp.functional.pad` with the constant 0."""

    rank, mode = 2, "constant"


class ZeroPad3d(_Padding):
    """torch.nn.ZeroPad3d: see `refbp.functional.pad` with the constant 0."""

    rank, mode = 3, "constant"


class ReflectionPad1d(_Padding):
    """torch.nn.ReflectionPad1d: see `refbp.functional.pad` with mode "reflect"."""

    rank, mode = 1, "reflect"


class ReflectionPad2d(_Padding):
    """torch.nn.ReflectionPad2d: see `refbp.functional.pad` with mode "reflect"."""

    rank, mode = 2, "reflect"


class ReflectionPad3d(_Padding):
    """torch.nn.ReflectionPad3d: see `refbp.functional.pad` with mode "reflect"."""

    rank, mode = 3, "reflect"


class ReplicationPad1d(_Padding):
    """torch.nn.ReplicationPad1d: see `refbp.functional.pad` with mode "replicate"."""

    rank, mode = 1, "replicate"


class ReplicationPad2d(_Padding):
    """torch.nn.ReplicationPad2d: see `refbp.functional.pad` with mode "replicate"."""

    rank, mode = 2, "replicate"


class ReplicationPad3d(_Padding):
    """torch.nn.ReplicationPad3d: see `refbp.functional.pad` with mode "replicate"."""

    rank, mode = 3, "replicate"


class CircularPad1d(_Padding):
    """torch.nn.CircularPad1d: see `refbp.functional.pad` with mode "circular"."""

    rank, mode = 1, "circular"


class CircularPad2d(_Padding):
    """torch.nn.CircularPad2d: see `refbp.functional.pad` with mode "circular"."""

    rank, mode = 2, "circular"


class CircularPad3d(_Padding):
    """torch.nn.CircularPad3d: see `refbp.functional.pad` with mode "circular"."""

    rank, mode = 3, "circular"
