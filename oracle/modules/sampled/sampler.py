"""Draws what is judged of each layer of a training step."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from oracle.case.case import Spec
from oracle.modules.sampled.convolutions import convolution
from oracle.modules.sampled.draws import Cells, Draw, Shape
from oracle.modules.sampled.plans import (
    ALONG_AN_AXIS,
    DRAWN,
    ELEMENTWISE,
    NORM,
    WHOLE,
    LayerToCut,
    Planner,
    SmallerLayer,
    along_an_axis,
    by_channels,
    by_groups,
    elementwise,
    linear,
    of_parameters,
    of_planes,
)
from oracle.programs.table import RULES

# An operation that cannot be cut is computed whole if its largest array has at most so many elements.
MOST = 2**18
# ALONE and ALONE_TOO compute each element by itself: families of rules, and single rules of other families. BY_CHANNELS are rules
# with statistics of each channel. BY_PLANES and PADDINGS are layers that treat each channel of a sample by itself.
ALONE = ("arithmetic", "functions")
ALONE_TOO = (
    *("relu", "relu6", "silu", "hardtanh", "hardsigmoid", "hardswish", "leaky_relu", "mish", "softplus", "hardshrink"),
    *("softshrink", "threshold", "gelu", "celu", "selu", "elu", "log_sigmoid_forward", "sigmoid", "tanh"),
    *("where", "masked_fill", "native_dropout", "clone", "contiguous", "alias", "_to_copy", "copy"),
)
BY_CHANNELS = ("native_batch_norm", "_native_batch_norm_legit")
BY_PLANES = ("MaxPool", "AvgPool", "LPPool", "AdaptiveMaxPool", "AdaptiveAvgPool", "Dropout")
PADDINGS = ("ZeroPad", "ConstantPad", "ReflectionPad", "ReplicationPad", "CircularPad")
PLANNERS: dict[str, Planner] = {
    **dict.fromkeys(ELEMENTWISE, elementwise),
    **dict.fromkeys(ALONG_AN_AXIS, along_an_axis),
    **{f"{name}{rank}d": of_planes for name in (*BY_PLANES, *PADDINGS) for rank in (1, 2, 3)},
    **{f"{name}Norm{rank}d": by_channels for name in ("Batch", "Instance") for rank in (1, 2, 3)},
    **{f"Conv{rank}d": convolution for rank in (1, 2, 3)},
    "Upsample": of_planes,
    "Linear": linear,
    "GroupNorm": by_groups,
    "PReLU": of_parameters,
}


@dataclass(frozen=True)
class Sampler:
    """Draws elements of layers and of operations.

    Attributes:
        seed: that of all drawings.
        step: the number of the training step; each step draws other elements.
    """

    seed: int
    step: int = 0
    _points: dict[Shape, Draw] = field(default_factory=dict, repr=False, compare=False)
    _channels: dict[Shape, Draw] = field(default_factory=dict, repr=False, compare=False)

    def generator(self, place: str) -> np.random.Generator:
        """The generator of a place, which does not depend on what was drawn elsewhere."""
        return np.random.default_rng((self.seed, self.step, zlib.crc32(place.encode())))

    def points(self, shape: Shape) -> Draw:
        """The elements that are drawn of every tensor of this shape which element-wise operations compute or read.

        They depend on the shape alone, so that they are known before the operation that reads the tensor is.
        """
        if shape not in self._points:
            cells = Cells.drawn(self.generator(f"elements of {shape}"), range(len(shape)), shape, DRAWN)
            self._points[shape] = Draw((cells,))
        return self._points[shape]

    def channels(self, shape: Shape) -> Draw:
        """The channels that are drawn of every tensor of this shape which is normalized by channels; see `points`."""
        if shape not in self._channels:
            count = max(1, NORM // max(1, math.prod(shape) // shape[1]))
            self._channels[shape] = Draw((Cells.drawn(self.generator(f"channels of {shape}"), (1,), shape, count),))
        return self._channels[shape]

    def before(self, maker: str, shape: Shape) -> tuple[Draw, ...]:
        """The parts of a tensor to copy before it is overwritten; () for all of it. `maker` is the call that computed it."""
        if math.prod(shape) <= DRAWN:
            return ()
        if maker in BY_CHANNELS and len(shape) > 1:
            return self.points(shape), self.channels(shape)
        is_judged_whole = maker and not is_alone(maker) and math.prod(shape) <= MOST
        return () if is_judged_whole else (self.points(shape),)

    def plans(self, place: str, spec: Spec, shape: Shape, state: Mapping[str, Shape]) -> list[SmallerLayer] | None:
        """The smaller layers of a layer; none if it is judged whole. Raises: TooLarge."""
        sizes = [math.prod(own) for own in (shape, *state.values())]
        if max(sizes) <= DRAWN:
            return None
        planner = PLANNERS.get(spec.type)
        plans = None if planner is None else planner(LayerToCut(spec, shape, state, self.generator(place)))
        if plans is None and max(sizes) > WHOLE:
            raise TooLarge(f"it is too large to be judged whole, and no part of a {spec.type} is drawn")
        return plans


def is_alone(name: str) -> bool:
    """Whether a rule computes each element by itself."""
    return name in ALONE_TOO or (name in RULES and RULES[name].family in ALONE)


class TooLarge(Exception):
    """Neither a part nor the whole of a layer is judged. The message is a reason for a report."""
