"""Bugs in convolutions: kernels turned or shifted, axes swapped, windows overwritten, sums over too few elements."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

import refbp
from oracle.case.arrays import Array
from oracle.selftest.bugs.bug import Bug, in_layer, option_ignored, with_layer
from oracle.selftest.changes import (
    accumulated,
    batch_reversed,
    channels_reversed,
    factor,
    last_channel_lost,
    last_lost,
    last_sample_lost,
    of_channels,
    one_element_off,
    shifted,
    significant_bits,
    slightly_scaled,
    stale,
    through_single,
    transposed,
    turned,
    upstream_ignored,
    zero,
)
from oracle.selftest.plant import Call, patched
from oracle.suite import named
from oracle.suite.build import layer

PLAIN = layer("Conv2d", 4, 4, 3, padding=1)
STRIDED = layer("Conv2d", 4, 6, 3, stride=2, padding=1, groups=2)
DILATED = layer("Conv2d", 2, 3, 2, stride=3, dilation=2)
IMAGE, SMALL = (3, 4, 6, 6), (2, 2, 9, 9)


def bugs() -> Iterator[Bug]:
    yield from in_input_gradient()
    yield from in_weight_gradient()
    yield from in_bias_gradient()
    yield from in_output()
    yield from of_other_ranks()
    yield from of_transposed()


def in_input_gradient() -> Iterator[Bug]:
    def patch(name: str, path: str, change: Any, spec: Any = PLAIN, shape: tuple[int, ...] = IMAGE) -> Bug:
        return Bug(name, with_layer(f"selftest/{name}", spec, shape), patched(path, change))

    yield patch(
        "conv: kernel not turned",
        "refbp.conv:spread",
        lambda op: lambda d, w, size, g: op(d, np.flip(w, (2, 3)), size, g),
    )
    yield patch("conv: windows overwritten instead of added", "refbp.columns:add_windows", overwritten)
    yield patch(
        "conv: stride and dilation swapped",
        "refbp.columns:add_windows",
        lambda op: (
            lambda result, grads, kernel, stride, dilation, first: op(result, grads, kernel, dilation, stride, first)
        ),
        DILATED,
        SMALL,
    )
    yield patch(
        "conv: offset of the padding lost",
        "refbp.conv:inside",
        lambda op: lambda inner, sides: op(inner, [(0, before + after) for before, after in sides]),
    )
    yield patch(
        "conv: groups of the input gradient swapped",
        "refbp.conv:spread",
        lambda op: lambda d, w, size, g: np.roll(op(d, w, size, g), w.shape[1] if g.groups > 1 else 0, 1),
        STRIDED,
    )
    yield patch(
        "conv: wrong only with groups and stride together",
        "refbp.conv:spread",
        lambda op: lambda d, w, size, g: op(d, w, size, g) * (1.001 if g.groups > 1 and max(g.stride) > 1 else 1),
        STRIDED,
    )
    yield in_layer("conv: input gradient shifted by a row", PLAIN, IMAGE, grad_input=shifted(-2))
    yield in_layer("conv: input gradient's rows and columns exchanged", PLAIN, IMAGE, grad_input=transposed)
    yield in_layer("conv: input gradient of the last column lost", STRIDED, IMAGE, grad_input=last_lost(-1))
    yield in_layer("conv: input gradient's channels reversed", PLAIN, IMAGE, grad_input=channels_reversed)
    yield in_layer("conv: input gradient ignores upstream", PLAIN, IMAGE, grad_input=upstream_ignored)
    yield in_layer("conv: input gradient, one element off", PLAIN, IMAGE, grad_input=one_element_off)
    yield in_layer("conv: input gradient's batch reversed", PLAIN, IMAGE, grad_input=batch_reversed)
    yield in_layer("conv: input gradient is stale on the second call", PLAIN, IMAGE, grad_input=stale)
    yield in_layer("conv: input gradient of the last group lost", STRIDED, IMAGE, grad_input=last_channel_lost)
    circular = layer("Conv2d", 4, 4, 3, padding=1, padding_mode="circular")
    yield option_ignored("conv: circular padding's gradient dropped", circular, IMAGE, padding_mode="zeros")
    reflect = layer("Conv2d", 4, 4, 3, padding=1, padding_mode="reflect")
    yield option_ignored(
        "conv: reflected padding's gradient goes to the border", reflect, IMAGE, padding_mode="replicate"
    )


def in_weight_gradient() -> Iterator[Bug]:
    yield in_layer("conv: weight gradient turned", PLAIN, IMAGE, weight=turned(2, 3))
    yield in_layer("conv: weight gradient's channels exchanged", PLAIN, IMAGE, weight=lambda g, c: np.swapaxes(g, 0, 1))
    yield in_layer("conv: weight gradient's kernel transposed", PLAIN, IMAGE, weight=transposed)
    yield in_layer("conv: weight gradient averaged over the batch", PLAIN, IMAGE, weight=factor(1 / 3))
    yield in_layer("conv: weight gradient averaged over positions", PLAIN, IMAGE, weight=factor(1 / 36))
    yield in_layer("conv: weight gradient lacks its last kernel column", PLAIN, IMAGE, weight=last_lost(-1))
    yield in_layer("conv: weight gradient of the last filter lost", STRIDED, IMAGE, weight=last_lost(0))
    yield in_layer("conv: weight gradient of the first sample only", PLAIN, IMAGE, weight=first_sample)
    yield in_layer("conv: weight gradient, one element off", PLAIN, IMAGE, weight=one_element_off)
    yield in_layer("conv: weight gradient slightly scaled", STRIDED, IMAGE, weight=slightly_scaled)
    yield in_layer("conv: weight gradient still holds the last step's", PLAIN, IMAGE, weight=accumulated)
    yield in_layer("conv: weight gradient's groups exchanged", STRIDED, IMAGE, weight=lambda g, c: np.roll(g, 3, 0))
    shape = in_layer(
        "conv: weight gradient's shape without the groups",
        STRIDED,
        IMAGE,
        weight=lambda g, c: np.concatenate([g, g], 1),
    )
    yield replace(shape, case=replace(shape.case, optimizer=None))  # no step with such a shape
    yield in_layer("conv: weight gradient shifted by a kernel column", PLAIN, IMAGE, weight=shifted(-1))
    yield in_layer("conv: weight gradient multiplies in bfloat16", PLAIN, IMAGE, weight=rounded_operands(8))
    yield in_layer("conv: weight gradient multiplies in TF32", PLAIN, IMAGE, weight=rounded_operands(11))
    stored = in_layer("conv: weight gradient stored in float32", PLAIN, IMAGE, weight=through_single)
    yield replace(stored, dtypes=("float64",))


def in_bias_gradient() -> Iterator[Bug]:
    yield in_layer(
        "conv: bias gradient of one position", PLAIN, IMAGE, bias=lambda g, c: c.grad_output[:, :, 0, 0].sum(0)
    )
    yield in_layer("conv: bias gradient of one sample", PLAIN, IMAGE, bias=lambda g, c: c.grad_output[0].sum((1, 2)))
    yield in_layer("conv: bias gradient averaged over positions", PLAIN, IMAGE, bias=factor(1 / 36))
    yield in_layer("conv: bias gradient averaged over the batch", PLAIN, IMAGE, bias=factor(1 / 3))
    yield in_layer(
        "conv: bias gradient lacks the last row",
        PLAIN,
        IMAGE,
        bias=lambda g, c: c.grad_output[:, :, :-1].sum((0, 2, 3)),
    )
    yield in_layer("conv: bias gradient zero", PLAIN, IMAGE, bias=zero)
    yield in_layer("conv: bias gradient, one element off", PLAIN, IMAGE, bias=one_element_off)


def in_output() -> Iterator[Bug]:
    yield in_layer("conv: kernel turned in the forward", PLAIN, IMAGE, output=with_weight(lambda w: np.flip(w, (2, 3))))
    yield in_layer(
        "conv: kernel transposed in the forward", PLAIN, IMAGE, output=with_weight(lambda w: np.swapaxes(w, 2, 3))
    )
    yield in_layer("conv: bias left out", PLAIN, IMAGE, output=lambda y, c: y - of_channels(c.layer.params["bias"], y))
    yield in_layer("conv: bias of the last filter lost", PLAIN, IMAGE, output=last_bias_lost)
    yield in_layer("conv: output transposed", PLAIN, IMAGE, output=transposed)
    yield in_layer("conv: output, one element off", PLAIN, IMAGE, output=one_element_off)
    yield in_layer("conv: output of the last sample lost", PLAIN, IMAGE, output=last_sample_lost)
    yield in_layer("conv: groups in another order", STRIDED, IMAGE, output=lambda y, c: np.roll(y, 3, 1))
    yield in_layer("conv: operands of the forward in TF32", PLAIN, IMAGE, output=with_operands(11))
    yield in_layer("conv: operands of the forward in bfloat16", PLAIN, IMAGE, output=with_operands(8))
    yield option_ignored("conv: padding dropped", PLAIN, IMAGE, "output", padding=0)
    yield option_ignored(
        "conv: dilation ignored", layer("Conv2d", 2, 3, 2, dilation=2, padding=1), SMALL, "output", dilation=1
    )
    same = layer("Conv2d", 2, 3, 2, padding="same")
    yield in_layer(
        "conv: padding 'same' begins with the odd element", same, SMALL, output=lambda y, c: odd_element_first(c)
    )


def of_other_ranks() -> Iterator[Bug]:
    depth = layer("Conv3d", 2, 3, 2)
    volume = (2, 2, 4, 3, 5)
    yield in_layer("conv: wrong depth index, in three dimensions only", depth, volume, grad_input=shifted(2))
    yield in_layer("conv: weight gradient's depth turned", depth, volume, weight=turned(2))
    yield in_layer("conv: wrong in three dimensions only, slightly", depth, volume, weight=slightly_scaled)
    line = layer("Conv1d", 3, 4, 3)
    yield in_layer("conv: kernel turned in one dimension", line, (3, 3, 8), weight=turned(2))
    yield in_layer("conv: last position lost in one dimension", line, (3, 3, 8), grad_input=last_lost(-1))
    name = "conv: gradients of an empty batch are NaN"
    yield Bug(
        name,
        named("batch/Conv2d,batch=0"),
        patched("refbp.conv:weight_gradient", lambda op: lambda *a: op(*a) + np.nan),
        "0",
        "grad.weight",
    )


def of_transposed() -> Iterator[Bug]:
    up = layer("ConvTranspose2d", 4, 4, 3, stride=2, padding=1, output_padding=1)
    yield in_layer("conv transpose: kernel turned", up, IMAGE, weight=turned(2, 3))
    yield in_layer(
        "conv transpose: weight gradient's channels exchanged", up, IMAGE, weight=lambda g, c: np.swapaxes(g, 0, 1)
    )
    yield in_layer("conv transpose: input gradient shifted", up, IMAGE, grad_input=shifted(-1))
    yield in_layer("conv transpose: output padding's column lost", up, IMAGE, output=last_lost(-1))
    yield in_layer(
        "conv transpose: bias gradient lacks the output padding",
        up,
        IMAGE,
        bias=lambda g, c: c.grad_output[:, :, :-1, :-1].sum((0, 2, 3)),
    )
    yield in_layer("conv transpose: input gradient, one element off", up, IMAGE, grad_input=one_element_off)
    grouped = layer("ConvTranspose2d", 4, 6, 2, stride=2, groups=2)
    yield in_layer(
        "conv transpose: groups of the input gradient exchanged",
        grouped,
        IMAGE,
        grad_input=lambda g, c: np.roll(g, 2, 1),
    )
    yield in_layer("conv transpose: weight gradient of the last group lost", grouped, IMAGE, weight=last_lost(0))


def overwritten(op: Any) -> Any:
    """Overlapping windows overwrite each other instead of adding up."""

    def wrong(result: Any, grads: Any, kernel: Any, stride: Any, dilation: Any, first: int = 0) -> None:
        counts = grads.shape[-2 * len(kernel) : -len(kernel)]
        for tap, positions in refbp.windows.taps(kernel, stride, dilation, counts, first):
            own: Any = (..., *tap)
            result[positions] = grads[own]

    return wrong


def first_sample(right: Array, call: Call) -> Array:
    stride, padding, dilation, groups, mode = call.layer.arguments
    _, backward = refbp.functional.conv2d(call.input[:1], call.weight, None, stride, padding, dilation, groups, mode)
    result: Array = backward(call.grad_output[:1])[1]
    return result


def rounded_operands(bits: int) -> Any:
    def change(right: Array, call: Call) -> Array:
        x = significant_bits(call.input, bits)
        _, backward = refbp.functional.conv2d(x, call.weight, None, *call.layer.arguments)
        result: Array = backward(significant_bits(call.grad_output, bits))[1]
        return result

    return change


def with_operands(bits: int) -> Any:
    def change(right: Array, call: Call) -> Array:
        x, weight = significant_bits(call.input, bits), significant_bits(call.weight, bits)
        return refbp.functional.conv2d(x, weight, call.layer.params["bias"], *call.layer.arguments)[0]

    return change


def with_weight(alter: Any) -> Any:
    def change(right: Array, call: Call) -> Array:
        return refbp.functional.conv2d(
            call.input, alter(call.weight), call.layer.params["bias"], *call.layer.arguments
        )[0]

    return change


def last_bias_lost(right: Array, call: Call) -> Array:
    wrong = right.copy()
    wrong[:, -1] -= call.layer.params["bias"][-1]
    return wrong


def odd_element_first(call: Call) -> Array:
    padded = np.pad(call.input, ((0, 0), (0, 0), (1, 0), (1, 0)))
    return refbp.functional.conv2d(padded, call.weight, call.layer.params["bias"])[0]
