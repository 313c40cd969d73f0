"""Published bugs in pooling: overlapping windows, divisors at the border, padding, and indices of another array."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from oracle.case.arrays import Array
from oracle.ops.check_op import Differentiable
from oracle.selftest.corpus.entry import Book
from oracle.selftest.corpus.plain import Backward, drawn, windows

BOOK = Book("pooling")
# Writes a window's gradient into grad_input: (grad_input, the window, its index (i, j), mask of its maximum, dy).
Put = Callable[[Array, tuple[slice, slice], tuple[int, int], Array, Array], None]


def max_pool(kernel: int, stride: int, put: Put, padding: int = 0, axes: int = 2) -> Differentiable:
    """Max pooling over the last one or two dimensions. `put` writes each window's gradient as the project did."""

    def fn(x: Array) -> tuple[Array, Backward]:
        wide = x if axes == 2 else x[..., None, :]
        border = [(0, 0)] * (wide.ndim - 2) + [(padding, padding) if axes == 2 else (0, 0), (padding, padding)]
        padded = np.pad(wide, border, constant_values=-np.inf)
        rows = kernel if axes == 2 else 1
        seen = windows(windows(padded, rows, stride if axes == 2 else 1, (-2,)), kernel, stride, (-2,))
        flat = seen.reshape(*seen.shape[:-2], rows * kernel)
        winner = flat.argmax(-1)
        y = np.take_along_axis(flat, winner[..., None], -1)[..., 0]

        def backward(dy: Array) -> Array:
            dx = np.zeros_like(padded)
            up = dy if axes == 2 else dy[..., None, :]
            for i, j in np.ndindex(*y.shape[-2:]):
                top, left = i * (stride if axes == 2 else 1), j * stride
                box = slice(top, top + rows), slice(left, left + kernel)
                chosen = np.arange(rows * kernel) == winner[..., i, j][..., None]
                chosen = chosen.reshape(*chosen.shape[:-1], rows, kernel)
                put(dx, box, (i, j), chosen, up[..., i, j][..., None, None])
            inner = dx[..., padding : padded.shape[-1] - padding]
            if axes == 2:
                return inner[..., padding : padded.shape[-2] - padding, :]
            return inner[..., 0, :]

        return y if axes == 2 else y[..., 0, :], backward

    return fn


def added(dx: Array, box: tuple[slice, slice], place: tuple[int, int], chosen: Array, dy: Array) -> None:
    dx[..., box[0], box[1]] += chosen * dy


def assigned(dx: Array, box: tuple[slice, slice], place: tuple[int, int], chosen: Array, dy: Array) -> None:
    """The gradient at the window's maximum replaces the one that an earlier window wrote there."""
    window = dx[..., box[0], box[1]]
    window[...] = np.where(chosen, dy, window)


def whole_window(dx: Array, box: tuple[slice, slice], place: tuple[int, int], chosen: Array, dy: Array) -> None:
    """The whole window is replaced, including the gradients that earlier windows wrote to other elements."""
    dx[..., box[0], box[1]] = chosen * dy


OVERWRITTEN = "overwritten"


@BOOK.op(
    "max_pool2d",
    "FluxML/Flux.jl#1197",
    "gradients are assigned, not added, where windows overlap",
    causes=OVERWRITTEN,
    kernel_size=3,
    stride=2,
    padding=1,
)
def flux_assigned(fixed: bool) -> Differentiable:
    return max_pool(3, 2, added if fixed else assigned, padding=1)


@BOOK.op(
    "max_pool2d",
    "FluxML/NNlib.jl#205",
    "gradients are assigned, not added, where windows overlap",
    causes=OVERWRITTEN,
    kernel_size=3,
    stride=1,
)
def nnlib_assigned(fixed: bool) -> Differentiable:
    return max_pool(3, 1, added if fixed else assigned)


@BOOK.op(
    "max_pool2d",
    "0809zheng/CS231n-assignment2019#19",
    "the gradient is assigned: the exercise's test has stride and window of 2",
    causes=OVERWRITTEN,
    kernel_size=3,
    stride=1,
)
def cs231n_assigned(fixed: bool) -> Differentiable:
    return max_pool(3, 1, added if fixed else whole_window)


@BOOK.op(
    "max_pool1d",
    "jmschrei/tangermeme#95",
    "max_unpool1d assigns where an index stands twice",
    causes=OVERWRITTEN,
    kernel_size=4,
    stride=2,
)
def tangermeme_unpool(fixed: bool) -> Differentiable:
    return max_pool(4, 2, added if fixed else assigned, axes=1)


@BOOK.op(
    "max_pool2d",
    "ahrefs/ocannl#512",
    "one gate per input element, which a later window overwrites",
    causes=OVERWRITTEN,
    kernel_size=3,
    stride=2,
)
def ocannl_gate(fixed: bool) -> Differentiable:
    def fn(x: Array) -> tuple[Array, Backward]:
        seen = windows(x, 3, 2)
        y = seen.max((-2, -1))
        boxes = [(i, j, (..., slice(2 * i, 2 * i + 3), slice(2 * j, 2 * j + 3))) for i, j in np.ndindex(*y.shape[-2:])]
        gate = np.zeros(x.shape, bool)
        for i, j, box in boxes:
            gate[box] = x[box] == y[..., i, j][..., None, None]

        def backward(dy: Array) -> Array:
            dx = np.zeros_like(x)
            for i, j, box in boxes:
                first = np.arange(9) == seen[..., i, j, :, :].reshape(*y.shape[:-2], 9).argmax(-1)[..., None]
                own = first.reshape(*y.shape[:-2], 3, 3) if fixed else gate[box]
                dx[box] += own * dy[..., i, j][..., None, None]
            return dx

        return y, backward

    return fn


@BOOK.op(
    "max_pool2d",
    "FluxML/NNlib.jl#133",
    "the backward pass takes the window's place in the padded image for one in the image",
    causes="shifted, padding offset",
    kernel_size=2,
    stride=2,
    padding=1,
)
def nnlib_padding(fixed: bool) -> Differentiable:
    def put(dx: Array, box: tuple[slice, slice], place: tuple[int, int], chosen: Array, dy: Array) -> None:
        height, width = dx[..., box[0].start + 1 : box[0].stop + 1, box[1].start + 1 : box[1].stop + 1].shape[-2:]
        part = (chosen * dy)[..., :height, :width]
        dx[..., box[0].start + 1 : box[0].stop + 1, box[1].start + 1 : box[1].stop + 1] += part

    return max_pool(2, 2, added if fixed else put, padding=1)


@BOOK.op(
    "max_pool2d",
    "deeplearning4j/deeplearning4j#964",
    "the height is taken for a row's length, right for square images only",
    causes="row length",
    kernel_size=2,
)
def dl4j_height(fixed: bool) -> Differentiable:
    def put(dx: Array, box: tuple[slice, slice], place: tuple[int, int], chosen: Array, dy: Array) -> None:
        height, width = dx.shape[-2:]
        flat = dx.reshape(*dx.shape[:-2], -1)
        for row, column in np.ndindex(2, 2):
            at = min((box[0].start + row) * height + box[1].start + column, height * width - 1)
            flat[..., at] += (chosen * dy)[..., row, column]

    return max_pool(2, 2, added if fixed else put)


@BOOK.op(
    "max_pool2d",
    "riccardoandreoni0/CNN-from-scratch#1",
    "a return is indented too far: only the first window hands anything back",
    causes="not summed",
    kernel_size=2,
)
def early_return(fixed: bool) -> Differentiable:
    def put(dx: Array, box: tuple[slice, slice], place: tuple[int, int], chosen: Array, dy: Array) -> None:
        if place == (0, 0):
            added(dx, box, place, chosen, dy)

    return max_pool(2, 2, added if fixed else put)


@BOOK.op(
    "max_pool2d",
    "mni-ml/framework#22",
    "whatever comes within 0.01 of the maximum gets the whole gradient too",
    kernel_size=2,
    x=np.round(drawn(2, 3, 8, 8), 2) / 8,
)
def tstorch_close(fixed: bool) -> Differentiable:
    def fn(x: Array) -> tuple[Array, Backward]:
        seen = windows(x, 2, 2)
        y = seen.max((-2, -1))
        flat = seen.reshape(*y.shape, 4)
        first = (np.arange(4) == flat.argmax(-1)[..., None]).reshape(seen.shape)
        chosen = first if fixed else np.abs(seen - y[..., None, None]) < 1e-2

        def backward(dy: Array) -> Array:
            dx = np.zeros_like(x)
            for row, column in np.ndindex(2, 2):
                dx[..., row : 2 * y.shape[-2] : 2, column : 2 * y.shape[-1] : 2] = chosen[..., row, column] * dy
            return dx

        return y, backward

    return fn


def _avg_pool(
    kernel: int,
    stride: int,
    padding: int,
    ceil: bool,
    counted: bool,
    divisors: Callable[[Array, Array], tuple[Array, Array]],
    divisor: int | None = None,
) -> Differentiable:
    """Average pooling by sums.

    divisors: maps the windows' whole sizes and their counted sizes to the divisors of both passes.
    """

    def fn(x: Array) -> tuple[Array, Backward]:
        height, width = (n + 2 * padding for n in x.shape[-2:])
        out = []
        for size in (height, width):
            places = (size - kernel + (stride - 1 if ceil else 0)) // stride + 1
            out.append(places - 1 if ceil and (places - 1) * stride >= size - padding else places)
        full = [max(size, (places - 1) * stride + kernel) for size, places in zip((height, width), out, strict=True)]

        def laid(inner: Array, wide: bool) -> Array:
            extent = [n + (2 * padding if wide else 0) for n in x.shape[-2:]]
            canvas = np.zeros((*inner.shape[:-2], *full), x.dtype)
            start = 0 if wide else padding
            canvas[..., start : start + extent[0], start : start + extent[1]] = inner
            return canvas

        ones = laid(np.ones((height, width), x.dtype), True) if counted else laid(np.ones(x.shape[-2:], x.dtype), False)
        real = windows(ones, kernel, stride).sum((-2, -1))[: out[0], : out[1]]
        whole = np.full_like(real, kernel * kernel)
        ahead, behind = divisors(whole, real)
        if divisor is not None:
            ahead, behind = np.where(ahead < 0, divisor, ahead), np.where(behind < 0, divisor, behind)
        y = windows(laid(x, False), kernel, stride).sum((-2, -1))[..., : out[0], : out[1]] / ahead

        def backward(dy: Array) -> Array:
            dx = np.zeros((*x.shape[:-2], *full), x.dtype)
            for i, j in np.ndindex(*out):
                dx[..., i * stride : i * stride + kernel, j * stride : j * stride + kernel] += (dy / behind)[..., i, j][
                    ..., None, None
                ]
            return dx[..., padding : padding + x.shape[-2], padding : padding + x.shape[-1]]

        return y.astype(x.dtype), backward

    return fn


@BOOK.op(
    "avg_pool2d",
    "tracel-ai/burn#5604",
    "with ceil_mode the backward pass divides an overhanging window by the whole kernel",
    causes="divisor",
    kernel_size=2,
    stride=2,
    ceil_mode=True,
)
def burn_ceil(fixed: bool) -> Differentiable:
    return _avg_pool(2, 2, 0, True, True, lambda whole, real: (real, real if fixed else whole))


@BOOK.op(
    "avg_pool2d",
    "pytorch/pytorch#198119",
    "compiled, the backward pass divides an overhanging window by the whole kernel",
    causes="divisor",
    kernel_size=3,
    stride=2,
    ceil_mode=True,
)
def inductor_ceil(fixed: bool) -> Differentiable:
    return _avg_pool(3, 2, 0, True, True, lambda whole, real: (real, real if fixed else whole))


@BOOK.op(
    "avg_pool2d",
    "robertknight/rten#1456",
    "a window that extends beyond the padding is divided by the whole kernel",
    "output",
    "divisor",
    kernel_size=3,
    stride=2,
    ceil_mode=True,
    padding=1,
)
def rten_ceil(fixed: bool) -> Differentiable:
    return _avg_pool(3, 2, 1, True, True, lambda whole, real: (real if fixed else whole, real))


@BOOK.op(
    "avg_pool2d",
    "torch/cunn#134",
    "count_include_pad the wrong way round",
    "output",
    "divisor, option, padding counted",
    kernel_size=3,
    stride=2,
    padding=1,
    count_include_pad=False,
)
def cunn_inverted(fixed: bool) -> Differentiable:
    return _avg_pool(3, 2, 1, False, False, lambda whole, real: (real, real) if fixed else (whole, whole))


@BOOK.op(
    "avg_pool2d",
    "pytorch/executorch#18616",
    "divisor_override is ignored where count_include_pad is false",
    "output",
    "divisor, option",
    kernel_size=2,
    padding=1,
    count_include_pad=False,
    divisor_override=3,
)
def executorch_divisor(fixed: bool) -> Differentiable:
    return _avg_pool(2, 2, 1, False, False, lambda whole, real: (-whole if fixed else real, -whole), divisor=3)


@BOOK.op(
    "avg_pool2d",
    "mlpack/mlpack#2865",
    "the backward pass computes the kernel anew from the sizes, and puts all into the first rows",
    kernel_size=2,
    stride=1,
)
def mlpack_mean(fixed: bool) -> Differentiable:
    right = _avg_pool(2, 1, 0, False, True, lambda whole, real: (real, real))

    def fn(x: Array) -> tuple[Array, Backward]:
        y, backward = right(x)

        def wrong(dy: Array) -> Array:
            dx = np.zeros_like(x)
            rows, columns = (n // places for n, places in zip(x.shape[-2:], y.shape[-2:], strict=True))
            spread = np.repeat(np.repeat(dy / (rows * columns), rows, -2), columns, -1)
            dx[..., : spread.shape[-2], : spread.shape[-1]] = spread
            return dx

        return y, backward if fixed else wrong

    return fn
