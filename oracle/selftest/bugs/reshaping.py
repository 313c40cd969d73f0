"""Bugs in layers that move elements: wrong order, wrong borders, and gradients of copies that are not added up."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from oracle.selftest.bugs.bug import Bug, in_layer, option_ignored
from oracle.selftest.changes import (
    channels_reversed,
    factor,
    last_lost,
    one_element_off,
    shifted,
    slightly_scaled,
    transposed,
)
from oracle.suite.build import layer

IMAGE = (2, 4, 4, 4)


def bugs() -> Iterator[Bug]:
    flatten, unflatten = layer("Flatten"), layer("Unflatten", 1, (2, 3))
    yield in_layer(
        "Flatten: channels last", flatten, IMAGE, output=lambda y, c: np.moveaxis(c.input, 1, -1).reshape(y.shape)
    )
    yield in_layer(
        "Flatten: gradient in another order",
        flatten,
        IMAGE,
        grad_input=lambda g, c: np.moveaxis(c.grad_output.reshape(2, 4, 4, 4), 1, -1),
    )
    yield in_layer(
        "Unflatten: rows and columns exchanged",
        unflatten,
        (4, 6),
        output=lambda y, c: np.swapaxes(c.input.reshape(4, 3, 2), 1, 2),
    )
    yield in_layer("Unflatten: gradient reversed", unflatten, (4, 6), grad_input=channels_reversed)
    shuffle, unshuffle = layer("PixelShuffle", 2), layer("PixelUnshuffle", 2)
    yield in_layer("PixelShuffle: rows and columns exchanged", shuffle, IMAGE, output=transposed)
    yield in_layer(
        "PixelShuffle: gradient's channels permuted", shuffle, IMAGE, grad_input=lambda g, c: g[:, [0, 2, 1, 3]]
    )
    yield in_layer("PixelUnshuffle: channels permuted", unshuffle, IMAGE, output=lambda y, c: np.roll(y, 1, 1))
    nearest, bilinear = layer("Upsample", scale_factor=2), layer("Upsample", scale_factor=2.0, mode="bilinear")
    yield in_layer("Upsample: gradient averaged instead of added", nearest, IMAGE, grad_input=factor(0.25))
    yield in_layer(
        "Upsample: gradient of one of four copies", nearest, IMAGE, grad_input=lambda g, c: c.grad_output[..., ::2, ::2]
    )
    yield option_ignored("Upsample: align_corners taken backward", bilinear, IMAGE, align_corners=True)
    yield option_ignored("Upsample: nearest backward", bilinear, IMAGE, mode="nearest")
    yield in_layer("Upsample: borders lost backward", bilinear, IMAGE, grad_input=last_lost(-1))
    yield in_layer("Upsample: output, one element off", bilinear, IMAGE, output=one_element_off)
    for type in ("ReflectionPad2d", "ReplicationPad2d", "CircularPad2d"):
        pad = layer(type, 1)
        yield in_layer(
            f"{type}: what was copied gives nothing back",
            pad,
            IMAGE,
            grad_input=lambda g, c: c.grad_output[..., 1:-1, 1:-1],
        )
        yield in_layer(f"{type}: sides exchanged", pad, IMAGE, grad_input=shifted(-1))
        yield in_layer(f"{type}: slightly scaled", pad, IMAGE, grad_input=slightly_scaled)
    zero = layer("ZeroPad2d", (1, 0, 2, 0))
    yield in_layer(
        "ZeroPad2d: gradient read at the other corner", zero, IMAGE, grad_input=lambda g, c: c.grad_output[..., :4, :4]
    )
    yield in_layer(
        "ZeroPad2d: pads with ones",
        zero,
        IMAGE,
        output=lambda y, c: np.pad(c.input, ((0, 0), (0, 0), (2, 0), (1, 0)), constant_values=1),
    )
    constant = layer("ConstantPad2d", 1, 0.5)
    yield option_ignored("ConstantPad2d: pads with zero", constant, IMAGE, "output", value=0.0)
    yield in_layer("ConstantPad2d: gradient, one element off", constant, IMAGE, grad_input=one_element_off)
    yield in_layer("Identity: scales", layer("Identity"), IMAGE, output=slightly_scaled)
    yield in_layer("Identity: gradient scaled", layer("Identity"), IMAGE, grad_input=slightly_scaled)
