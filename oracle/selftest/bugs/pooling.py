"""Bugs in pooling: padding that counts, overlapping windows, divisors, maxima in the wrong place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

import refbp
from oracle.case.arrays import Array
from oracle.case.case import Spec
from oracle.selftest.bugs.bug import Bug, in_layer, option_ignored, with_layer
from oracle.selftest.changes import (
    factor,
    last_lost,
    negated,
    one_element_off,
    shifted,
    slightly_scaled,
    stale,
    transposed,
    upstream_ignored,
)
from oracle.selftest.plant import Call, changed, patched
from oracle.suite.build import layer, network_case

IMAGE = (2, 3, 7, 7)
MAX = layer("MaxPool2d", 3, stride=2, padding=1)
AVERAGE = layer("AvgPool2d", 3, stride=2, padding=1)


def bugs() -> Iterator[Bug]:
    yield from of_max()
    yield from of_average()
    yield from of_others()


def patch(name: str, path: str, change: Any, spec: Spec, shape: tuple[int, ...] = IMAGE, **fields: Any) -> Bug:
    quantity = fields.pop("quantity", "grad_input")
    return Bug(name, with_layer(f"selftest/{name}", spec, shape, **fields), patched(path, change), quantity=quantity)


def of_max() -> Iterator[Bug]:
    dense = layer("MaxPool2d", 3, stride=1)
    yield patch("max pool: windows overwritten instead of added", "refbp.max_pooling:shares", overwriting, dense)
    yield patch("max pool: gradient to the loser", "refbp.max_pooling:shares", to_the_loser, MAX)
    yield patch("max pool: gradient to every element of the window", "refbp.max_pooling:shares", to_all, MAX)
    yield in_layer("max pool: padding counts as zero", MAX, IMAGE, output=zeros_outside)
    yield in_layer(
        "max pool: stride taken for the kernel",
        layer("MaxPool2d", 3, stride=1),
        IMAGE,
        grad_input=lambda g, c: kernel_stride(c),
    )
    yield in_layer(
        "max pool: dilation ignored backward",
        layer("MaxPool2d", 2, stride=1, dilation=2),
        IMAGE,
        grad_input=shifted(-1),
    )
    yield in_layer(
        "max pool: last row lost with ceil_mode", layer("MaxPool2d", 2, ceil_mode=True), IMAGE, grad_input=last_lost(-2)
    )
    yield in_layer("max pool: winners are stale on the second call", MAX, IMAGE, grad_input=stale)
    yield in_layer("max pool: input gradient, one element off", MAX, IMAGE, grad_input=one_element_off)
    yield in_layer("max pool: upstream ignored", MAX, IMAGE, grad_input=upstream_ignored)
    yield in_layer("max pool: rows and columns exchanged", MAX, IMAGE, grad_input=transposed)
    yield in_layer(
        "max pool: minimum instead of maximum",
        MAX,
        IMAGE,
        output=lambda y, c: -refbp.functional.max_pool2d(-c.input, 3, 2, 1)[0],
    )
    yield in_layer(
        "max pool: depth shifted in three dimensions", layer("MaxPool3d", 2), (2, 2, 4, 4, 4), grad_input=shifted(2)
    )
    yield in_layer(
        "max pool: last window lost in one dimension", layer("MaxPool1d", 2), (2, 3, 8), output=last_lost(-1)
    )
    ties = np.random.default_rng(5).integers(0, 3, (2, 3, 8, 8)).astype(np.float64)
    name = "max pool: every winner of a tie gets the whole gradient"
    case = network_case(f"selftest/{name}", "ties", [layer("MaxPool2d", 2, name="target")], inputs=(ties,))
    yield Bug(name, case, changed("MaxPool2d", grad_input=every_winner))


def of_average() -> Iterator[Bug]:
    yield option_ignored(
        "avg pool: divisor counts the padding",
        layer("AvgPool2d", 3, stride=2, padding=1, count_include_pad=False),
        IMAGE,
        count_include_pad=True,
    )
    yield option_ignored(
        "avg pool: forward counts the padding",
        layer("AvgPool2d", 3, stride=2, padding=1, count_include_pad=False),
        IMAGE,
        "output",
        count_include_pad=True,
    )
    yield option_ignored(
        "avg pool: divisor_override ignored backward",
        layer("AvgPool2d", 2, divisor_override=3),
        IMAGE,
        divisor_override=None,
    )
    yield patch(
        "avg pool: divisor in ceil_mode counts what is outside",
        "refbp.avg_pooling:_divisors",
        lambda op: lambda g, count_include_pad, divisor_override: np.full(g.counts, 4),
        layer("AvgPool2d", 2, ceil_mode=True),
        quantity="output",
    )
    yield in_layer("avg pool: not divided backward", AVERAGE, IMAGE, grad_input=factor(9.0))
    yield in_layer(
        "avg pool: stride taken for the kernel", layer("AvgPool2d", 3, stride=1), IMAGE, grad_input=shifted(-1)
    )
    yield in_layer("avg pool: last column lost", AVERAGE, IMAGE, grad_input=last_lost(-1))
    yield in_layer("avg pool: input gradient, one element off", AVERAGE, IMAGE, grad_input=one_element_off)
    yield in_layer(
        "avg pool: slightly wrong in three dimensions only",
        layer("AvgPool3d", 2),
        (2, 2, 4, 4, 4),
        grad_input=slightly_scaled,
    )
    yield in_layer(
        "avg pool: sum instead of mean in one dimension", layer("AvgPool1d", 2), (2, 3, 8), output=factor(2.0)
    )


def of_others() -> Iterator[Bug]:
    adaptive = layer("AdaptiveAvgPool2d", (3, 2))
    yield in_layer("adaptive pool: all bins taken as equal", adaptive, IMAGE, grad_input=equal_bins)
    yield in_layer("adaptive pool: overlapping bins lose their share", adaptive, IMAGE, grad_input=last_lost(-2))
    yield in_layer("adaptive pool: output, one element off", adaptive, IMAGE, output=one_element_off)
    largest = layer("AdaptiveMaxPool2d", (3, 2))
    yield in_layer("adaptive pool: winners shifted", largest, IMAGE, grad_input=shifted(-1))
    yield in_layer("adaptive pool: winners are stale on the second call", largest, IMAGE, grad_input=stale)
    norm = layer("LPPool2d", 3.0, 2)
    yield in_layer("lp pool: root left out", norm, IMAGE, output=lambda y, c: y**3)
    yield in_layer("lp pool: sign of the gradient lost", norm, IMAGE, grad_input=lambda g, c: np.abs(g))
    yield option_ignored("lp pool: gradient of another norm", norm, IMAGE, norm_type=2.0)
    yield in_layer("lp pool: gradient negated", norm, IMAGE, grad_input=negated)


def overwriting(op: Any) -> Any:
    """The shares of every second tap are lost, counted from the last tap, which keeps its own."""

    def wrong(rounds: list[Any], grad: Array) -> Iterator[Array]:
        for index, share in enumerate(op(rounds, grad)):
            yield share if index % 2 == 0 else share * 0

    return wrong


def to_the_loser(op: Any) -> Any:
    return lambda rounds, grad: op([~better for better in rounds], grad)


def to_all(op: Any) -> Any:
    def wrong(rounds: list[Any], grad: Array) -> Iterator[Array]:
        for _ in range(len(rounds) + 1):
            yield grad

    return wrong


def every_winner(right: Array, call: Call) -> Array:
    """Every element that equals the maximum of its window gets the window's whole gradient."""
    wide = [np.repeat(np.repeat(array, 2, -1), 2, -2) for array in (call.output, call.grad_output)]
    return np.where(call.input == wide[0], wide[1], 0.0)


def zeros_outside(right: Array, call: Call) -> Array:
    padded = np.pad(call.input, ((0, 0), (0, 0), (1, 1), (1, 1)))
    return np.asarray(refbp.functional.max_pool2d(padded, 3, 2)[0])


def kernel_stride(call: Call) -> Array:
    """The windows are taken to stand side by side, and the rest of the upstream gradient is not used."""
    output, backward = refbp.functional.max_pool2d(call.input, 3, 3)
    rows, columns = output.shape[2:]
    result: Array = backward(call.grad_output[:, :, :rows, :columns])
    return result


def equal_bins(right: Array, call: Call) -> Array:
    """Each element gets its bin's gradient divided by the average size of a bin."""
    scale = call.grad_output.shape[-1] * call.grad_output.shape[-2] / (call.input.shape[-1] * call.input.shape[-2])
    rows = np.arange(call.input.shape[-2]) * call.grad_output.shape[-2] // call.input.shape[-2]
    columns = np.arange(call.input.shape[-1]) * call.grad_output.shape[-1] // call.input.shape[-1]
    return np.asarray(call.grad_output[..., rows, :][..., columns] * scale)
