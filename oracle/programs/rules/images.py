"""Rules for images: convolution, pooling, padding and resizing, from refbp.functional."""

from __future__ import annotations

import math
from itertools import chain
from typing import Any

import numpy as np

from oracle.execution.zero_padding import open_at_padding
from oracle.programs.adjoint import plain
from oracle.programs.geometry import mapped
from oracle.programs.table import NoRule, rule
from oracle.running_error import ErrorArray
from oracle.running_error.stores import added_in_stores, each_place, with_more
from refbp import functional


@rule("convolution", "_convolution", "convolution_overrideable")
def convolution(
    input: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, transposed: bool, output_padding: Any,
    groups: int, *_: Any,
) -> Any:  # fmt: skip
    """`refbp.functional.conv1d` to `conv3d`, and `conv_transpose1d` to `conv_transpose3d`."""
    rank = weight.ndim - 2
    stride, padding, dilation = (tuple(own) * (rank if len(own) == 1 else 1) for own in (stride, padding, dilation))

    def op(input: Any, weight: Any, bias: Any) -> Any:
        if transposed:
            more = tuple(output_padding) * (rank if len(output_padding) == 1 else 1)
            given = (stride, padding, more, groups, dilation)
            return getattr(functional, f"conv_transpose{rank}d")(input, weight, bias, *given)
        return getattr(functional, f"conv{rank}d")(input, weight, bias, stride, padding, dilation, groups)

    y, back = op(input, weight, bias)

    def backward(g: Any) -> Any:
        grad_input, grad_weight, grad_bias = back(g)
        if isinstance(grad_weight, ErrorArray):
            grad_weight = open_at_padding(
                grad_weight, input, g, rank, transposed, lambda x, delta: op(x, plain(weight), None)[1](delta)[1]
            )
        return grad_input, grad_weight, grad_bias

    if not isinstance(input, ErrorArray) or input.model.stored is None:
        return y, backward
    return _in_stores(op, input, weight, bias, transposed, y, backward)


def _in_stores(op: Any, input: Any, weight: Any, bias: Any, transposed: bool, y: Any, back: Any) -> Any:
    """A convolution of 16-bit numbers in float32, which stores the numbers of each place of the window, and the weight's gradient
    of each sample, in 16 bits and adds those up, as torch does where oneDNN has no 16-bit instructions (ConvolutionMM2d.cpp)."""
    narrow, x, w = input.model.of(input.model.stored), input.value, weight.value

    def backward(g: Any) -> Any:
        grad_input, grad_weight, grad_bias = back(g)
        if not transposed:
            shares = (op(x, alone, None)[1](g.value)[0] for alone in each_place(w))
            grad_input = with_more(grad_input, added_in_stores(shares, grad_input.value, narrow))
        samples = (slice(place, place + 1) for place in range(len(x)))
        weights = (op(x[own], w, None)[1](g.value[own])[1] for own in samples)
        if grad_bias is not None:
            biases = (own.sum(tuple(range(1, own.ndim))) for own in g.value)
            grad_bias = with_more(grad_bias, added_in_stores(biases, grad_bias.value, narrow))
        more = added_in_stores(weights, grad_weight.value, narrow)
        return grad_input, with_more(grad_weight, more), grad_bias

    if transposed:
        each = (op(x, alone, None)[0] for alone in each_place(w))
        last = () if bias is None else (bias.value.reshape(-1, *(1,) * (w.ndim - 2)) + np.zeros(y.shape),)
        y = with_more(y, added_in_stores(chain(each, last), y.value, narrow))
    return y, backward


def _sides(given: Any, rank: int) -> Any:
    """One number per dimension, from ATen's one number or list of one or of all; None for an empty list, the default."""
    sides = tuple(given) if isinstance(given, (list, tuple)) else (given,)
    return None if not sides else sides * rank if len(sides) == 1 else sides


@rule("max_pool2d_with_indices")
def max_pool2d(
    input: Any, kernel_size: Any, stride: Any = (), padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
) -> Any:
    """`refbp.functional.max_pool2d`."""
    return _max_pool(functional.max_pool2d, 2, input, kernel_size, stride, padding, dilation, ceil_mode)


@rule("max_pool3d_with_indices")
def max_pool3d(
    input: Any, kernel_size: Any, stride: Any = (), padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
) -> Any:
    """`refbp.functional.max_pool3d`."""
    return _max_pool(functional.max_pool3d, 3, input, kernel_size, stride, padding, dilation, ceil_mode)


def _max_pool(
    op: Any, rank: int, input: Any, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool
) -> Any:
    sides = (_sides(kernel, rank), _sides(stride, rank), _sides(padding, rank), _sides(dilation, rank))
    (y, indices), back = op(input, *sides, ceil_mode, True)
    return (y, indices), lambda g, _: (back(g),)


@rule("avg_pool2d")
def avg_pool2d(
    input: Any, kernel_size: Any, stride: Any = (), padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None,
) -> Any:  # fmt: skip
    """`refbp.functional.avg_pool2d`."""
    rest = (ceil_mode, count_include_pad, divisor_override)
    return _avg_pool(functional.avg_pool2d, 2, input, kernel_size, stride, padding, *rest)


@rule("avg_pool3d")
def avg_pool3d(
    input: Any, kernel_size: Any, stride: Any = (), padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None,
) -> Any:  # fmt: skip
    """`refbp.functional.avg_pool3d`."""
    rest = (ceil_mode, count_include_pad, divisor_override)
    return _avg_pool(functional.avg_pool3d, 3, input, kernel_size, stride, padding, *rest)


@rule("avg_pool1d")
def avg_pool1d(
    input: Any,
    kernel_size: Any,
    stride: Any = (),
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Any:
    """`refbp.functional.avg_pool1d`."""
    return _avg_pool(functional.avg_pool1d, 1, input, kernel_size, stride, padding, ceil_mode, count_include_pad)


def _avg_pool(op: Any, rank: int, input: Any, kernel: Any, stride: Any, padding: Any, *rest: Any) -> Any:
    y, back = op(input, _sides(kernel, rank), _sides(stride, rank), _sides(padding, rank), *rest)
    return y, lambda g: (back(g),)


@rule("_adaptive_avg_pool2d")
def adaptive_avg_pool2d(input: Any, output_size: Any) -> Any:
    """`refbp.functional.adaptive_avg_pool2d`."""
    y, back = functional.adaptive_avg_pool2d(input, tuple(output_size))
    return y, lambda g: (back(g),)


@rule("_adaptive_avg_pool3d")
def adaptive_avg_pool3d(input: Any, output_size: Any) -> Any:
    """`refbp.functional.adaptive_avg_pool3d`."""
    y, back = functional.adaptive_avg_pool3d(input, tuple(output_size))
    return y, lambda g: (back(g),)


@rule("adaptive_max_pool2d")
def adaptive_max_pool2d(input: Any, output_size: Any) -> Any:
    """`refbp.functional.adaptive_max_pool2d`."""
    (y, indices), back = functional.adaptive_max_pool2d(input, tuple(output_size), True)
    return (y, indices), lambda g, _: (back(g),)


@rule("adaptive_max_pool3d")
def adaptive_max_pool3d(input: Any, output_size: Any) -> Any:
    """`refbp.functional.adaptive_max_pool3d`."""
    (y, indices), back = functional.adaptive_max_pool3d(input, tuple(output_size), True)
    return (y, indices), lambda g, _: (back(g),)


@rule("constant_pad_nd")
def constant_pad(input: Any, pad: Any, value: Any = 0) -> Any:
    """Padding with a constant, or cropping if negative; the inside of g."""
    before, after = list(pad[-2::-2]), list(pad[-1::-2])
    sides = [(0, 0)] * (input.ndim - len(before)) + list(zip(before, after, strict=True))
    shape = tuple(size + low + high for size, (low, high) in zip(input.shape, sides, strict=True))
    inside = tuple(
        slice(max(low, 0), size + low + min(high, 0)) for size, (low, high) in zip(input.shape, sides, strict=True)
    )
    source = tuple(
        slice(max(-low, 0), size + min(high, 0)) for size, (low, high) in zip(input.shape, sides, strict=True)
    )
    y = np.full_like(input, float(value), shape=shape)
    y[inside] = input[source]

    def backward(g: Any) -> Any:
        back = np.zeros_like(g, shape=input.shape)
        back[source] = g[inside]
        return (back,)

    return y, backward


@rule("reflection_pad1d", "reflection_pad2d", "reflection_pad3d")
def reflection_pad(input: Any, padding: Any) -> Any:
    """`refbp.functional.pad` in mode reflect."""
    y, back = functional.pad(input, tuple(padding), "reflect")
    return y, lambda g: (back(g),)


@rule("replication_pad1d", "replication_pad2d", "replication_pad3d")
def replication_pad(input: Any, padding: Any) -> Any:
    """`refbp.functional.pad` in mode replicate."""
    y, back = functional.pad(input, tuple(padding), "replicate")
    return y, lambda g: (back(g),)


@rule("upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d")
def upsample_nearest(input: Any, output_size: Any, *scales: Any) -> Any:
    """`refbp.functional.upsample` in mode nearest."""
    return _resized(input, output_size, scales, "nearest", None)


@rule("upsample_linear1d", "upsample_bilinear2d", "upsample_trilinear3d")
def upsample_linear(input: Any, output_size: Any, align_corners: bool, *scales: Any) -> Any:
    """`refbp.functional.upsample` in the modes linear, bilinear and trilinear."""
    return _resized(input, output_size, scales, ("linear", "bilinear", "trilinear")[input.ndim - 3], align_corners)


def _resized(input: Any, size: Any, scales: Any, mode: str, align_corners: bool | None) -> Any:
    """Resizes an image; scales: one argument per dimension, or a list of all."""
    factors = (
        scales[0]
        if len(scales) == 1 and isinstance(scales[0], (list, tuple))
        else [own for own in scales if own is not None]
    )
    options: dict[str, Any] = {"size": tuple(size)} if not factors else {"scale_factor": tuple(map(float, factors))}
    y, back = functional.upsample(input, **options, mode=mode, align_corners=align_corners)
    if size is not None and y.shape[2:] != tuple(size):
        raise NoRule(f"there is no rule for upsampling by {factors} to {tuple(size)}")
    return y, lambda g: (back(g),)


@rule("pixel_shuffle")
def pixel_shuffle(input: Any, upscale_factor: int) -> Any:
    """`refbp.functional.pixel_shuffle`."""
    return _shuffled(functional.pixel_shuffle, input, upscale_factor)


@rule("pixel_unshuffle")
def pixel_unshuffle(input: Any, downscale_factor: int) -> Any:
    """`refbp.functional.pixel_unshuffle`."""
    return _shuffled(functional.pixel_unshuffle, input, downscale_factor)


def _shuffled(op: Any, input: Any, factor: int) -> Any:
    """Applies the op to the last three dimensions."""
    shape = (math.prod(input.shape[:-3]), *input.shape[-3:])
    y, back = op(input.reshape(shape), factor)
    return y.reshape((*input.shape[:-3], *y.shape[-3:])), lambda g: (back(g.reshape(y.shape)).reshape(input.shape),)


@rule("channel_shuffle", "native_channel_shuffle")
def channel_shuffle(input: Any, groups: int) -> Any:
    """Interleaves the channels of all groups; the inverse of that for g."""

    def dealt(x: Any, first: int) -> Any:
        split = x.reshape(x.shape[0], first, x.shape[1] // first, *x.shape[2:])
        return np.swapaxes(split, 1, 2).reshape(x.shape)

    return dealt(input, groups), lambda g: (dealt(g, input.shape[1] // groups),)


def _columns(size: Any, kernel_size: Any, dilation: Any, padding: Any, stride: Any) -> Any:
    """For each pixel of an image with its border and each window that reads it: rows (tap) and columns (window) of im2col."""
    taps = np.indices(tuple(kernel_size)).reshape(2, -1)  # (2, K)
    counts = [
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, d, p, s in zip(size, kernel_size, dilation, padding, stride, strict=True)
    ]
    windows = np.indices(counts).reshape(2, -1)  # (2, L)
    places = [taps[i][:, None] * dilation[i] + windows[i][None, :] * stride[i] for i in range(2)]
    return tuple(places)  # two of (K, L)


def _unfolded(image: Any, places: Any, padding: Any) -> Any:
    """(N, C, H, W) -> (N, C K, L)."""
    (top, left), (n, c, height, width) = padding, image.shape
    border = np.zeros_like(image, shape=(n, c, height + 2 * top, width + 2 * left))
    border[:, :, top : top + height, left : left + width] = image
    read = mapped(border, lambda own: own[:, :, places[0], places[1]])
    return read.reshape(n, c * places[0].shape[0], places[0].shape[1])


def _folded(columns: Any, places: Any, padding: Any, size: Any) -> Any:
    """(N, C K, L) -> (N, C, H, W): each element is added to the pixel from which it was read."""
    (top, left), (height, width) = padding, size
    n, k = columns.shape[0], places[0].shape[0]
    c = columns.shape[1] // k
    border = np.zeros_like(columns, shape=(n, c, height + 2 * top, width + 2 * left))
    index: Any = (slice(None), slice(None), places[0], places[1])
    np.add.at(border, index, columns.reshape(n, c, k, columns.shape[2]))
    return border[:, :, top : top + height, left : left + width]


@rule("im2col")
def im2col(input: Any, kernel_size: Any, dilation: Any, padding: Any, stride: Any) -> Any:
    """Windows as columns; each g added to the pixel that was read."""
    places = _columns(input.shape[2:], kernel_size, dilation, padding, stride)
    return _unfolded(input, places, padding), lambda g: (_folded(g, places, padding, input.shape[2:]),)


@rule("col2im")
def col2im(input: Any, output_size: Any, kernel_size: Any, dilation: Any, padding: Any, stride: Any) -> Any:
    """Columns added up to an image; the windows of g as columns."""
    places = _columns(output_size, kernel_size, dilation, padding, stride)
    batched = input if input.ndim == 3 else input.reshape(1, *input.shape)
    y = _folded(batched, places, padding, output_size)

    def backward(g: Any) -> Any:
        return (_unfolded(g.reshape(y.shape), places, padding).reshape(input.shape),)

    return y.reshape(y.shape if input.ndim == 3 else y.shape[1:]), backward
