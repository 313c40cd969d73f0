"""Smaller layers of the same class, whose results are some elements of a layer's exactly."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from oracle.case.case import Spec
from oracle.modules.sampled.draws import Cells, Draw, Shape, Take

# Elements that are drawn from a tensor; a smaller one is judged whole.
DRAWN = 2**12
# Limits for one quantity: products that the judge computes, elements of a weight that it reads, elements of a norm's channels. A
# single element or channel may exceed them.
WORK, READ, NORM = 2**20, 2**17, 2**13
# The most elements of a tensor that is read whole, because a gradient is a sum over all of it.
WHOLE = 2**22


@dataclass(frozen=True)
class SmallerLayer:
    """A smaller layer.

    Attributes:
        spec: its options.
        takes: for each array that it is given ("input", "grad_output", parameters and buffers by short name), which part of the
            whole layer's array that is. Parameters and buffers without an entry are given whole.
        draws: for each quantity that is judged with it, which elements of the whole layer's tensor its elements are.
    """

    spec: Spec
    takes: Mapping[str, Take]
    draws: Mapping[str, Draw]


@dataclass(frozen=True)
class LayerToCut:
    """A layer that is to be cut: its options, the shapes of its input and of its parameters and buffers, and the generator by
    which elements are drawn."""

    spec: Spec
    shape: Shape
    state: Mapping[str, Shape]
    rng: np.random.Generator

    def option(self, name: str, default: object = None) -> object:
        return self.spec.options.get(name, default)

    def with_options(self, **options: object) -> Spec:
        return replace(self.spec, options={**self.spec.options, **options})

    def draw(self, count: int, *axes: int, ones: Shape = (), shape: Shape | None = None) -> Draw:
        """`count` cells, drawn from the product of these axes."""
        return Draw((Cells.drawn(self.rng, axes, shape or self.shape, max(1, count)),), ones)

    def each(self, draws: Mapping[str, Draw]) -> dict[str, Draw]:
        """The draws of those quantities that the layer has."""
        names = {
            "output",
            "grad_input",
            *(f"grad.{own}" for own in self.state),
            *(f"buffer.{own}" for own in self.state),
        }
        return {quantity: own for quantity, own in draws.items() if quantity in names}


# The smaller layers of a layer; None if it has to be judged whole.
Planner: TypeAlias = Callable[[LayerToCut], list[SmallerLayer] | None]

ELEMENTWISE = (
    *("ReLU", "ReLU6", "LeakyReLU", "ELU", "CELU", "SELU", "GELU", "SiLU", "Mish", "Sigmoid", "Tanh", "LogSigmoid"),
    *("Softplus", "Softsign", "Tanhshrink", "Hardshrink", "Softshrink", "Hardsigmoid", "Hardswish", "Hardtanh"),
    *("Threshold", "Identity", "Dropout", "AlphaDropout"),
)
ALONG_AN_AXIS = ("Softmax", "Softmin", "LogSoftmax", "GLU")


def elementwise(layer: LayerToCut) -> list[SmallerLayer]:
    """Elements of an activation or of dropout."""
    drawn = layer.draw(DRAWN, *range(len(layer.shape)))
    takes: dict[str, Take] = {"input": drawn, "grad_output": drawn}
    return [SmallerLayer(layer.spec, takes, {"output": drawn, "grad_input": drawn})]


def of_planes(layer: LayerToCut) -> list[SmallerLayer] | None:
    """Channels of samples, of a layer that computes each alone, such as pooling."""
    rank = int(layer.spec.type[-2]) if layer.spec.type[-1] == "d" else len(layer.shape) - 2
    if len(layer.shape) != rank + 2 or rank < 1:
        return None
    drawn = layer.draw(DRAWN // max(1, math.prod(layer.shape[2:])), 0, 1, ones=(1,))
    return [SmallerLayer(layer.spec, {"input": drawn, "grad_output": drawn}, {"output": drawn, "grad_input": drawn})]


def along_an_axis(layer: LayerToCut) -> list[SmallerLayer] | None:
    """Rows of a softmax: all elements along its axis."""
    dim, dims = layer.option("dim", -1), len(layer.shape)
    if not isinstance(dim, int) or dims < 2:
        return None
    axis = dim % dims
    others = [own for own in range(dims) if own != axis]
    if axis not in (0, dims - 1):
        return None
    drawn = layer.draw(DRAWN // max(1, layer.shape[axis]), *others)
    spec = layer.with_options(dim=1 if axis else 0)
    return [SmallerLayer(spec, {"input": drawn, "grad_output": drawn}, {"output": drawn, "grad_input": drawn})]


def by_channels(layer: LayerToCut) -> list[SmallerLayer] | None:
    """Channels of a batch or instance norm."""
    if layer.spec.type.startswith("InstanceNorm") and len(layer.shape) != int(layer.spec.type[-2]) + 2:
        return None
    channels = layer.shape[1]
    chosen = _channels(layer, 1, channels, NORM // (math.prod(layer.shape) // channels))
    small = {name: _first_axis(chosen) for name, shape in layer.state.items() if shape == (channels,)}
    draws = {"output": chosen, "grad_input": chosen}
    draws |= {f"{kind}.{name}": own for name, own in small.items() for kind in ("grad", "buffer")}
    draws["buffer.num_batches_tracked"] = Draw()
    spec = layer.with_options(num_features=len(chosen.cells[0].chosen))
    return [SmallerLayer(spec, {"input": chosen, "grad_output": chosen, **small}, layer.each(draws))]


def by_groups(layer: LayerToCut) -> list[SmallerLayer] | None:
    """Groups of channels of a group norm."""
    groups, channels = layer.option("num_groups"), layer.shape[1]
    if not isinstance(groups, int) or len(layer.shape) < 2 or channels % groups:
        return None
    chosen = _channels(layer, channels // groups, channels, NORM // (math.prod(layer.shape) // groups))
    small = {name: _first_axis(chosen) for name in layer.state}
    draws = {"output": chosen, "grad_input": chosen, **{f"grad.{name}": own for name, own in small.items()}}
    kept = len(chosen.cells[0].chosen)
    spec = layer.with_options(num_channels=kept, num_groups=kept * groups // channels)
    return [SmallerLayer(spec, {"input": chosen, "grad_output": chosen, **small}, draws)]


def _channels(layer: LayerToCut, size: int, channels: int, groups: int) -> Draw:
    """All elements of `groups` groups of channels, drawn at random; each group has `size` channels."""
    drawn = Cells.drawn(layer.rng, (0,), (channels // size,), max(1, groups)).chosen
    every = (drawn[:, None] * size + np.arange(size)).ravel()
    return Draw((Cells((1,), (channels,), every),))


def _first_axis(drawn: Draw) -> Draw:
    """The same channels of a parameter."""
    return Draw(tuple(replace(own, axes=(0,)) for own in drawn.cells))


def linear(layer: LayerToCut) -> list[SmallerLayer] | None:
    """Elements of the output and of the input's gradient by rows and features, and of the weight's gradient by features."""
    if len(layer.shape) < 2:
        return None
    out, given = layer.state["weight"]
    leading, last = tuple(range(len(layer.shape) - 1)), len(layer.shape) - 1
    rows = math.prod(layer.shape[:-1])
    whole = (*layer.shape[:-1], out)
    has_bias = "bias" in layer.state

    features = min(out, max(1, READ // given))
    count = min(DRAWN // features, WORK // (features * given))
    own, of = layer.draw(count, *leading), layer.draw(features, last, shape=whole)
    outputs = Draw((*own.cells, *of.cells))
    bias: dict[str, Take] = {"bias": _at(of, 0)} if has_bias else {}
    spec = layer.with_options(out_features=len(of.cells[0].chosen))
    plans = [SmallerLayer(spec, {"input": own, "weight": _at(of, 0), **bias}, {"output": outputs})]

    features = min(given, max(1, READ // out))
    count = min(DRAWN // features, WORK // (3 * features * out))
    own, of = layer.draw(count, *leading), layer.draw(features, last)
    inputs = Draw((*own.cells, *of.cells))
    takes: dict[str, Take] = {"input": inputs, "grad_output": own, "weight": _at(of, 1)}
    spec = layer.with_options(in_features=len(of.cells[0].chosen))
    plans.append(SmallerLayer(spec, takes, {"grad_input": inputs}))

    side = max(1, math.isqrt(min(DRAWN, WORK // (3 * rows))))
    ours, theirs = layer.draw(side, last, shape=whole), layer.draw(side, last)
    bias = {"bias": _at(ours, 0)} if has_bias else {}
    takes = {"input": theirs, "grad_output": ours, "weight": _both(ours, theirs), **bias}
    spec = layer.with_options(in_features=len(theirs.cells[0].chosen), out_features=len(ours.cells[0].chosen))
    draws = layer.each({"grad.weight": _both(ours, theirs), "grad.bias": _at(ours, 0)})
    return [*plans, SmallerLayer(spec, takes, draws)]


def _at(drawn: Draw, axis: int) -> Draw:
    """The same indices on another axis."""
    (cells,) = drawn.cells
    return Draw((replace(cells, axes=(axis,)),))


def _both(first: Draw, second: Draw) -> Draw:
    """The indices of the one on the first axis, and of the other on the second."""
    return Draw((*_at(first, 0).cells, *_at(second, 1).cells))


def of_parameters(layer: LayerToCut) -> list[SmallerLayer] | None:
    """Channels of a PReLU that has a parameter for each."""
    channels = layer.state["weight"][0]
    if len(layer.shape) < 2 or channels != layer.shape[1] or channels == 1:
        return None
    chosen = _channels(layer, 1, channels, NORM // (math.prod(layer.shape) // channels))
    weight = _first_axis(chosen)
    spec = layer.with_options(num_parameters=len(chosen.cells[0].chosen))
    draws = {"output": chosen, "grad_input": chosen, "grad.weight": weight}
    return [SmallerLayer(spec, {"input": chosen, "grad_output": chosen, "weight": weight}, draws)]
