"""Other ways to compute a convolution: tap by tap, as one product, in other layouts, by other algorithms."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from oracle.case.arrays import Array
from oracle.judging.profile import Profile
from oracle.selftest.changes import of_channels
from oracle.selftest.variants.variant import Variant, of_layer
from oracle.suite.build import layer


def variants() -> Iterator[Variant]:
    spec, shape = layer("Conv2d", 4, 32, 3, padding=1), (6, 4, 40, 40)
    yield of_layer("conv: tap by tap", spec, shape, tap_by_tap)
    yield of_layer("conv: position by position", layer("Conv2d", 4, 96, 3, padding=1), (24, 4, 12, 12), by_position)
    yield of_layer("conv: input gradient as a convolution with the turned kernel", spec, shape, turned_kernel)
    yield of_layer("conv: channels last", spec, shape, channels_last)
    yield of_layer("conv: sample by sample", spec, shape, by_sample)
    declared = Profile(normwise=("Conv2d",))
    yield of_layer("conv: by Fourier transform, declared normwise", spec, shape, by_fourier, declared)
    yield of_layer("conv: by Winograd's algorithm, declared normwise", spec, shape, by_winograd, declared)


def taps(x: Array, kernel: int = 3) -> Iterator[tuple[int, int, Array]]:
    """Yields (i, j, the part of the padded input that tap (i, j) is multiplied with)."""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    height, width = x.shape[2:]
    for i in range(kernel):
        for j in range(kernel):
            yield i, j, padded[:, :, i : i + height, j : j + width]


def tap_by_tap(self: Any, input: Array) -> Any:
    weight, bias = self.params["weight"], self.params["bias"]
    y = np.zeros((len(input), len(weight), *input.shape[2:]), input.dtype)
    for i, j, seen in taps(input):
        y += np.einsum("nchw,fc->nfhw", seen, weight[:, :, i, j])
    y += of_channels(bias, y)
    return y, lambda g: (
        sum(np.einsum("nfhw,fc->nchw", seen, weight[:, :, 2 - i, 2 - j]) for i, j, seen in taps(g)),
        {
            "weight": np.stack([np.einsum("nchw,nfhw->fc", seen, g) for _, _, seen in taps(input)], -1).reshape(
                weight.shape
            ),
            "bias": g.sum((0, 2, 3)),
        },
    )


def gradients_by_tap(self: Any, input: Array, g: Array) -> dict[str, Array]:
    weight = self.params["weight"]
    columns = np.stack([seen for _, _, seen in taps(input)], 2)  # (N, C, 9, H, W)
    return {
        "weight": np.tensordot(g, columns, ((0, 2, 3), (0, 3, 4))).reshape(weight.shape),
        "bias": g.sum((0, 2)).sum(-1),
    }


def by_position(self: Any, input: Array) -> Any:
    weight, bias = self.params["weight"], self.params["bias"]
    padded = np.pad(input, ((0, 0), (0, 0), (1, 1), (1, 1)))
    y = np.empty((len(input), len(weight), *input.shape[2:]), input.dtype)
    for i, j in np.ndindex(*input.shape[2:]):
        y[:, :, i, j] = np.tensordot(padded[:, :, i : i + 3, j : j + 3], weight, ((1, 2, 3), (1, 2, 3))) + bias

    def backward(g: Array) -> Any:
        spread = np.zeros_like(padded)
        for i, j in np.ndindex(*input.shape[2:]):
            spread[:, :, i : i + 3, j : j + 3] += np.tensordot(g[:, :, i, j], weight, (1, 0))
        return spread[:, :, 1:-1, 1:-1], gradients_by_tap(self, input, g)

    return y, backward


def correlated(x: Array, weight: Array) -> Array:
    columns = np.stack([seen for _, _, seen in taps(x)], 2)
    kernel = weight.reshape(*weight.shape[:2], 9)
    return np.moveaxis(np.tensordot(columns, kernel, ((1, 2), (1, 2))), -1, 1)


def turned_kernel(self: Any, input: Array) -> Any:
    weight, bias = self.params["weight"], self.params["bias"]
    y = correlated(input, weight)
    back = np.swapaxes(np.flip(weight, (2, 3)), 0, 1)
    return y + of_channels(bias, y), lambda g: (correlated(g, back), gradients_by_tap(self, input, g))


def channels_last(self: Any, input: Array) -> Any:
    def last(x: Array) -> Array:
        return np.ascontiguousarray(np.moveaxis(x, 1, -1))

    weight, bias = self.params["weight"], self.params["bias"]
    x = last(input)
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    height, width = input.shape[2:]
    y = np.zeros((*x.shape[:3], len(weight)), x.dtype) + bias
    for i, j in np.ndindex(3, 3):
        y += padded[:, i : i + height, j : j + width] @ weight[:, :, i, j].T

    def backward(g: Array) -> Any:
        delta = last(g)
        spread = np.zeros_like(padded)
        for i, j in np.ndindex(3, 3):
            spread[:, i : i + height, j : j + width] += delta @ weight[:, :, i, j]
        return np.moveaxis(spread[:, 1:-1, 1:-1], -1, 1), gradients_by_tap(self, input, g)

    return np.moveaxis(y, -1, 1), backward


def by_sample(self: Any, input: Array) -> Any:
    """Each sample is computed by itself, and the samples' parameter gradients are added."""
    parts = [turned_kernel(self, input[n : n + 1]) for n in range(len(input))]

    def backward(g: Array) -> Any:
        results = [back(g[n : n + 1]) for n, (_, back) in enumerate(parts)]
        grads = {name: sum(own[name] for _, own in results[1:]) + results[0][1][name] for name in ("weight", "bias")}
        return np.concatenate([first for first, _ in results]), grads

    return np.concatenate([y for y, _ in parts]), backward


def by_fourier(self: Any, input: Array) -> Any:
    """A product of Fourier transforms in the data's own precision; NumPy's transforms keep single precision."""
    weight, bias = self.params["weight"], self.params["bias"]
    height, width = input.shape[2:]
    size = (height + 2, width + 2)
    padded = np.pad(input, ((0, 0), (0, 0), (1, 1), (1, 1)))
    spectrum, kernel = np.fft.rfft2(padded), np.fft.rfft2(weight, size)
    y = np.fft.irfft2(np.einsum("nchw,fchw->nfhw", spectrum, kernel.conj()), size)[:, :, :height, :width]

    def backward(g: Array) -> Any:
        upstream = np.fft.rfft2(g, size)
        full = np.fft.irfft2(np.einsum("nfhw,fchw->nchw", upstream, kernel), size)
        moved = np.fft.irfft2(np.einsum("nchw,nfhw->fchw", spectrum, upstream.conj()), size)
        return full[:, :, 1:-1, 1:-1], {"weight": moved[:, :, :3, :3], "bias": g.sum((0, 2, 3))}

    return y.astype(input.dtype) + of_channels(bias, y), backward


# Winograd's F(2x2, 3x3): four outputs from a tile of 4x4 with sixteen products instead of 36. Lavin and Gray (2015).
TILE = np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]])
KERNEL = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
OUTPUT = np.array([[1, 1, 1, 0], [0, 1, -1, -1]])


def winograd(x: Array, weight: Array) -> Array:
    tile, kernel, output = (matrix.astype(x.dtype) for matrix in (TILE, KERNEL, OUTPUT))
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    view = np.lib.stride_tricks.sliding_window_view(padded, (4, 4), (2, 3))[:, :, ::2, ::2]
    data = np.einsum("ai,nchwij,bj->nchwab", tile, view, tile, optimize=True)
    filters = np.einsum("ai,fcij,bj->fcab", kernel, weight, kernel, optimize=True)
    product = np.einsum("nchwab,fcab->nfhwab", data, filters)
    y = np.einsum("ia,nfhwab,jb->nfhiwj", output, product, output, optimize=True)
    return np.asarray(y.reshape(len(x), len(weight), *x.shape[2:]))


def by_winograd(self: Any, input: Array) -> Any:
    weight, bias = self.params["weight"], self.params["bias"]
    y = winograd(input, weight)
    back = np.swapaxes(np.flip(weight, (2, 3)), 0, 1)
    return y + of_channels(bias, y), lambda g: (winograd(g, back), gradients_by_tap(self, input, g))
