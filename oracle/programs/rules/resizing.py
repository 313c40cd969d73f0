"""Rules of resizing by a matrix of weights for each dimension."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from oracle.programs.adjoint import matrix_t, plain
from oracle.programs.table import rule
from oracle.running_error.infinities import left_open

# Keys's parameter of plain bicubic resizing, and that of the filter that is widened as the image shrinks.
CUBIC, WIDENED_CUBIC = -0.75, -0.5


@rule("_upsample_nearest_exact1d", "_upsample_nearest_exact2d", "_upsample_nearest_exact3d")
def upsample_nearest_exact(input: Any, output_size: Any, *scales: Any) -> Any:
    """The pixel nearest to the centre of each output; the sum of g over the outputs that read it."""
    shape, ratios = sizes_of(input, output_size, scales)
    weights = []
    for size, made, ratio in zip(input.shape[2:], shape, ratios, strict=True):
        matrix = np.zeros((made, size))
        matrix[np.arange(made), np.minimum(np.floor((np.arange(made) + 0.5) * ratio).astype(int), size - 1)] = 1
        weights.append(matrix)
    return through(input, weights)


@rule("upsample_bicubic2d")
def upsample_bicubic(input: Any, output_size: Any, align_corners: bool, *scales: Any) -> Any:
    """Keys's cubic convolution with a = -0.75 over 4 × 4 pixels, edges repeated; g through the same weights.

    Source: R. G. Keys, "Cubic convolution interpolation for digital image processing" (1981), eq. (4).
    """
    shape, ratios = sizes_of(input, output_size, scales)
    weights, read = [], []
    for size, made, ratio in zip(input.shape[2:], shape, ratios, strict=True):
        steps = np.zeros_like(input, shape=(made,)) + np.arange(
            made
        )  # a kernel computes the places in its own precision
        spacing = (size - 1) / (made - 1) if made > 1 else 0.0
        place = steps * spacing if align_corners else (steps + 0.5) * ratio - 0.5
        whole, matrix, mask = (
            np.floor(plain(place)),
            np.zeros_like(input, shape=(made, size)),
            np.zeros((made, size), bool),
        )
        for tap, taken in zip((-1, 0, 1, 2), cubic_weights(place - whole), strict=True):
            pixels = np.arange(made), np.clip(whole.astype(int) + tap, 0, size - 1)
            np.add.at(matrix, pixels, taken)
            mask[pixels] = True
        weights.append(matrix)
        read.append(mask)
    return through(input, weights, read)


def cubic_weights(t: Any, a: float = CUBIC) -> list[Any]:
    """The weights of four neighbouring pixels for a position at distance t after the second."""

    def near(x: Any) -> Any:
        return ((x * (a + 2) - (a + 3)) * x) * x + 1.0

    def far(x: Any) -> Any:
        return ((x * a - 5 * a) * x + 8 * a) * x - 4 * a

    return [far(t + 1.0), near(t), near(1.0 - t), far(2.0 - t)]


def sizes_of(input: Any, size: Any, scales: Any) -> tuple[tuple[int, ...], list[float]]:
    """The output's size, and for each dimension the distance between its pixels, measured in pixels of the input."""
    given = scales[0] if len(scales) == 1 and isinstance(scales[0], (list, tuple)) else scales
    spatial = input.shape[2:]
    factors = list(given) if given and all(own is not None for own in given) else [None] * len(spatial)
    shape = tuple(size) if size else tuple(int(n * f) for n, f in zip(spatial, factors, strict=True))
    return shape, [1 / f if f else n / m for n, m, f in zip(spatial, shape, factors, strict=True)]


def through(input: Any, weights: list[Any], read: list[Any] | None = None) -> Any:
    """Applies a matrix to each dimension after the second.

    read: masks of the numbers that a kernel reads for each of its results, whatever their weight; else those of weights that
        are not zero. The others do not meet an infinity or NaN.
    """
    masks = [plain(own) != 0 for own in weights] if read is None else read

    def along(x: Any, matrices: list[Any]) -> Any:
        for axis, matrix in enumerate(matrices, 2):
            x = np.swapaxes(np.swapaxes(x, axis, -1) @ matrix_t(matrix), axis, -1)
        return x

    def applied(x: Any, matrices: list[Any], masks: list[Any]) -> Any:
        unknown = ~np.isfinite(plain(x))
        if not unknown.any():
            return along(x, matrices)
        met = along(unknown.astype(np.float64), [own.astype(np.float64) for own in masks])
        return left_open(along(np.where(unknown, 0.0, x), matrices), met > 0)

    def backward(g: Any) -> Any:
        return (applied(g, [matrix_t(own) for own in weights], [matrix_t(own) for own in masks]),)

    return applied(input, weights, masks), backward


def _widened(
    input: Any, output_size: Any, align_corners: bool, scales: Any, reach: int, of: Callable[[Any], Any]
) -> Any:
    """Resizes both dimensions by weights of a filter of this reach, which add up to one; in the precision of the kernel.

    Source: aten/src/ATen/native/cpu/UpSampleKernel.cpp, HelperInterpBase.
    """
    shape, ratios = sizes_of(input, output_size, scales)
    weights, read = [], []
    for size, made, given in zip(input.shape[2:], shape, ratios, strict=True):
        between = (size - 1) / (made - 1) if made > 1 else 0.0
        ratio = between if align_corners else given
        stretch = max(ratio, 1.0)
        centre = (np.zeros_like(input, shape=(made, 1)) + np.arange(made).reshape(-1, 1) + 0.5) * ratio
        pixels, middle = np.arange(size), plain(centre)
        low = np.maximum((middle - reach * stretch + 0.5).astype(int), 0)
        high = np.minimum((middle + reach * stretch + 0.5).astype(int), size)
        read.append((pixels >= low) & (pixels < high))
        matrix = np.where(read[-1], of((pixels - centre + 0.5) / stretch), 0.0)
        weights.append(matrix / np.sum(matrix, axis=1, keepdims=True))
    return through(input, weights, read)


def _triangle(x: Any) -> Any:
    return np.maximum(1.0 - np.abs(x), 0.0)


def _cubic(x: Any) -> Any:
    x = np.abs(x)
    near = (x * (WIDENED_CUBIC + 2) - (WIDENED_CUBIC + 3)) * x * x + 1.0
    far = ((x * WIDENED_CUBIC - 5 * WIDENED_CUBIC) * x + 8 * WIDENED_CUBIC) * x - 4 * WIDENED_CUBIC
    return np.where(plain(x) < 1, near, np.where(plain(x) < 2, far, 0.0))


def _lanczos(x: Any) -> Any:
    def sinc(x: Any) -> Any:
        zero = plain(x) == 0
        angle = np.where(zero, 1.0, x) * math.pi
        return np.where(zero, 1.0, np.sin(angle) / angle)

    return np.where(np.abs(plain(x)) < 3, sinc(x) * sinc(x / 3.0), 0.0)


@rule("_upsample_bilinear2d_aa")
def bilinear(input: Any, output_size: Any, align_corners: bool, *scales: Any) -> Any:
    """Σ w x with a triangle of weights as wide as two pixels of the smaller image; g through the same weights."""
    return _widened(input, output_size, align_corners, scales, 1, _triangle)


@rule("_upsample_bicubic2d_aa")
def bicubic(input: Any, output_size: Any, align_corners: bool, *scales: Any) -> Any:
    """Σ w x with Keys's cubic weights, a = -0.5, as wide as four pixels of the smaller image; g through the same weights."""
    return _widened(input, output_size, align_corners, scales, 2, _cubic)


@rule("_upsample_lanczos2d_aa")
def lanczos(input: Any, output_size: Any, align_corners: bool, *scales: Any) -> Any:
    """Σ w x with the weights sinc(t) sinc(t/3), as wide as six pixels of the smaller image; g through the same weights."""
    return _widened(input, output_size, align_corners, scales, 3, _lanczos)
