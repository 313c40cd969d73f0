"""Rules of resizing with a filter that is widened as the image shrinks."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from oracle.programs.adjoint import plain
from oracle.programs.rules.images import sizes_of, through
from oracle.programs.table import rule

# Keys's parameter of the filter that is widened, other than that of plain bicubic resizing.
CUBIC = -0.5


def _widened(
    input: Any, output_size: Any, align_corners: bool, scales: Any, reach: int, of: Callable[[Any], Any]
) -> Any:
    """Resizes both dimensions by weights of a filter of this reach, which add up to one; in the precision of the kernel.

    Source: aten/src/ATen/native/cpu/UpSampleKernel.cpp, HelperInterpBase.
    """
    shape, ratios = sizes_of(input, output_size, scales)
    weights = []
    for size, made, given in zip(input.shape[2:], shape, ratios, strict=True):
        between = (size - 1) / (made - 1) if made > 1 else 0.0
        ratio = between if align_corners else given
        stretch = max(ratio, 1.0)
        centre = (np.zeros_like(input, shape=(made, 1)) + np.arange(made).reshape(-1, 1) + 0.5) * ratio
        pixels, middle = np.arange(size), plain(centre)
        low = np.maximum((middle - reach * stretch + 0.5).astype(int), 0)
        high = np.minimum((middle + reach * stretch + 0.5).astype(int), size)
        matrix = np.where((pixels >= low) & (pixels < high), of((pixels - centre + 0.5) / stretch), 0.0)
        weights.append(matrix / np.sum(matrix, axis=1, keepdims=True))
    return through(input, weights)


def _triangle(x: Any) -> Any:
    return np.maximum(1.0 - np.abs(x), 0.0)


def _cubic(x: Any) -> Any:
    x = np.abs(x)
    near = (x * (CUBIC + 2) - (CUBIC + 3)) * x * x + 1.0
    far = ((x * CUBIC - 5 * CUBIC) * x + 8 * CUBIC) * x - 4 * CUBIC
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
