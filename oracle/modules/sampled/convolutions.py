"""Smaller convolutions, whose results are some elements of a convolution's exactly."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from oracle.case.arrays import Array
from oracle.modules.sampled.draws import Cells, Draw, Patches, Shape, Take
from oracle.modules.sampled.plans import DRAWN, READ, WORK, LayerToCut, SmallerLayer
from refbp.windows import padding_sources


class _Sizes:
    """The sizes of a convolution, one number for each side."""

    def __init__(self, layer: LayerToCut) -> None:
        rank = len(layer.shape) - 2

        def sides(value: Any) -> Shape:
            return (value,) * rank if isinstance(value, int) else tuple(value)

        options = layer.spec.options
        self.kernel = layer.state["weight"][2:]
        self.stride, self.dilation = sides(options.get("stride", 1)), sides(options.get("dilation", 1))
        self.reach = tuple(d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilation, strict=True))
        padding = options.get("padding", 0)
        if padding == "same":
            self.before = tuple((own - 1) // 2 for own in self.reach)
            both = tuple(own - 1 for own in self.reach)
        else:
            self.before = (0,) * rank if padding == "valid" else sides(padding)
            both = tuple(2 * own for own in self.before)
        inner, mode = layer.shape[2:], str(options.get("padding_mode", "zeros"))
        ends = [(before, pads - before) for before, pads in zip(self.before, both, strict=True)]
        # The position in the input of each position of the padded input, -1 for a zero.
        self.sources = (
            [_within(np.arange(-a, size + b), size) for (a, b), size in zip(ends, inner, strict=True)]
            if mode == "zeros"
            else padding_sources(inner, ends, mode)
        )
        self.outer = tuple(
            (size + pads - reach) // stride + 1
            for size, pads, reach, stride in zip(inner, both, self.reach, self.stride, strict=True)
        )


def convolution(layer: LayerToCut) -> list[SmallerLayer] | None:
    """Elements of the output and of the input's gradient by positions and channels, and of the weight's gradient by channels."""
    rank = int(layer.spec.type[-2])
    if len(layer.shape) != rank + 2:
        return None
    given, out = layer.shape[1], layer.state["weight"][0]
    groups = int(str(layer.option("groups", 1)))
    sizes = _Sizes(layer)
    inside = math.prod(layer.state["weight"][1:])  # products of an element of the output
    along = out // groups * math.prod(sizes.kernel)  # and of the input's gradient
    in_blocks = layer.option("padding_mode", "zeros") == "zeros" and not any(
        size % stride for size, stride in zip(layer.shape[2:], sizes.stride, strict=True)
    )
    cut = _Cut(layer, sizes, groups)
    channels = cut.channels(out, READ // inside)
    count = min(DRAWN // len(channels), WORK // (len(channels) * inside))
    plans = [cut.outputs(channels, count)]
    places, taps = layer.shape[0] * math.prod(sizes.outer), math.prod(sizes.kernel)
    if in_blocks:
        channels, block = cut.channels(given, READ // along), math.prod(sizes.stride)
        count = min(DRAWN // (len(channels) * block), WORK // (3 * len(channels) * along * taps))
        plans.append(cut.input_gradients(channels, count))
    else:
        plans.append(cut.whole_input_gradients(cut.channels(given, WORK // (3 * places * along))))
    pairs = min(DRAWN // taps, WORK // (3 * places * taps))
    plans.append(cut.weight_gradients(max(1, pairs)))
    return plans


class _Cut:
    def __init__(self, layer: LayerToCut, sizes: _Sizes, groups: int) -> None:
        self.layer, self.sizes, self.groups = layer, sizes, groups
        self.given, self.out = layer.shape[1], layer.state["weight"][0]
        self.rank = len(layer.shape) - 2

    def channels(self, many: int, count: int) -> Array:
        """About `count` of `many` channels, drawn at random; for a convolution by groups, whole groups of channels."""
        size = many // self.groups if self.groups > 1 else 1
        drawn = Cells.drawn(self.layer.rng, (0,), (many // size,), max(1, count // size)).chosen
        every: Array = (drawn[:, None] * size + np.arange(size)).ravel()
        return every

    def _others(self, channels: Array, many: int, others: int) -> Array:
        """The channels of the other side (input or output) that are connected with these: those of the same groups."""
        if self.groups == 1:
            return np.arange(others)
        chosen = np.unique(channels // (many // self.groups))
        size = others // self.groups
        every: Array = (chosen[:, None] * size + np.arange(size)).ravel()
        return every

    def _spec(self, given: int, out: int, **options: Any) -> Any:
        groups = out * self.groups // self.out if self.groups > 1 else 1
        return self.layer.with_options(in_channels=given, out_channels=out, groups=groups, **options)

    def _bias(self, out: Array) -> dict[str, Take]:
        return {"bias": _chosen(out, self.out)} if "bias" in self.layer.state else {}

    def outputs(self, out: Array, count: int) -> SmallerLayer:
        """Positions of the output, each of which reads a window of the input, as a convolution with a single position."""
        layer, sizes = self.layer, self.sizes
        shape = (layer.shape[0], self.out, *sizes.outer)
        positions = Cells.drawn(layer.rng, (0, *range(2, self.rank + 2)), shape, max(1, count))
        sample, *places = positions.coordinates
        reads = []
        for axis, own in enumerate(places):
            first = own * sizes.stride[axis]
            reads.append(sizes.sources[axis][first[:, None] + np.arange(sizes.reach[axis])])
        given = self._others(out, self.out, self.given)
        takes: dict[str, Take] = {
            "input": Patches(sample, tuple(reads), given),
            "weight": _chosen(out, self.out),
            **self._bias(out),
        }
        drawn = Draw((positions, Cells((1,), (self.out,), out)), tuple(range(2, self.rank + 2)))
        spec = self._spec(len(given), len(out), stride=1, padding=0, padding_mode="zeros")
        return SmallerLayer(spec, takes, {"output": drawn})

    def input_gradients(self, given: Array, count: int) -> SmallerLayer:
        """Blocks of the input, one for each step of a window, with all windows that read them."""
        layer, sizes = self.layer, self.sizes
        blocks = {axis + 2: stride for axis, stride in enumerate(sizes.stride)}
        whole = Draw(blocks=blocks)
        own = [whole.axis(axis) for axis in (0, *blocks)]
        positions = Cells.drawn(layer.rng, own, whole.split(layer.shape), max(1, count))
        sample, *places = positions.coordinates
        reads, padding = [], []
        for axis, block in enumerate(places):
            stride, before, reach = sizes.stride[axis], sizes.before[axis], sizes.reach[axis]
            pad = reach - 1 + (before - reach + 1) % stride  # windows then begin where those of the layer do
            first = (block * stride + before - pad) // stride
            windows = (stride + 2 * pad - reach) // stride + 1
            reads.append(_within(first[:, None] + np.arange(windows), sizes.outer[axis]))
            padding.append(pad)
        out = self._others(given, self.given, self.out)
        single = tuple(axis for axis in blocks if blocks[axis] == 1)
        channels = Cells((whole.axis(1),), (self.given,), given)
        drawn = Draw((positions, channels), single, blocks)
        takes: dict[str, Take] = {
            "input": drawn,
            "grad_output": Patches(sample, tuple(reads), out),
            "weight": self._weight_of(given, out),
            **self._bias(out),
        }
        return SmallerLayer(self._spec(len(given), len(out), padding=tuple(padding)), takes, {"grad_input": drawn})

    def _weight_of(self, given: Array, out: Array) -> Draw:
        """The weights of channels of the input, of a convolution by groups those of whole groups."""
        return _chosen(given, self.given, 1) if self.groups == 1 else _chosen(out, self.out)

    def whole_input_gradients(self, given: Array) -> SmallerLayer:
        """Channels of the input, with all positions: where a padding repeats the input, or steps do not divide its sides."""
        out = self._others(given, self.given, self.out)
        drawn = _chosen(given, self.given, 1)
        takes: dict[str, Take] = {
            "input": drawn,
            "grad_output": _chosen(out, self.out, 1),
            "weight": self._weight_of(given, out),
            **self._bias(out),
        }
        return SmallerLayer(self._spec(len(given), len(out)), takes, {"grad_input": drawn})

    def weight_gradients(self, pairs: int) -> SmallerLayer:
        """Pairs of channels, with all positions of both."""
        if self.groups > 1:
            size = self.given // self.groups * (self.out // self.groups)
            out = self.channels(self.out, max(1, pairs // size) * (self.out // self.groups))
            given = self._others(out, self.out, self.given)
            by_input: tuple[Cells, ...] = ()
        else:
            side = max(1, math.isqrt(pairs))
            out = self.channels(self.out, max(side, pairs // self.given))
            given = self.channels(self.given, max(side, pairs // self.out))
            by_input = (Cells((1,), (self.given,), given),)
        weight = Draw((Cells((0,), (self.out,), out), *by_input))
        takes: dict[str, Take] = {
            "input": _chosen(given, self.given, 1),
            "grad_output": _chosen(out, self.out, 1),
            "weight": weight,
            **self._bias(out),
        }
        draws = {"grad.weight": weight, "grad.bias": _chosen(out, self.out)}
        return SmallerLayer(self._spec(len(given), len(out)), takes, self.layer.each(draws))


def _chosen(channels: Array, many: int, axis: int = 0) -> Draw:
    return Draw((Cells((axis,), (many,), channels),))


def _within(places: Array, size: int) -> Array:
    """Positions, -1 for those outside of an axis."""
    return np.where((places < 0) | (places >= size), -1, places)
