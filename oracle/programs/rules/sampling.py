"""Rules of reading an image at positions that a grid gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from oracle.case.arrays import Array
from oracle.programs.adjoint import matrix_t, plain
from oracle.programs.geometry import mapped
from oracle.programs.rules.resizing import CUBIC, cubic_weights
from oracle.programs.table import rule
from oracle.running_error import ErrorArray
from oracle.running_error.mask import ErrorMask
from oracle.running_error.model import LAMBDA, Twofold
from oracle.running_error.stores import stored, with_more

BILINEAR, NEAREST, BICUBIC = range(3)
ZEROS, BORDER, REFLECTION = range(3)


class _Tap(NamedTuple):
    """A pixel along one dimension that each position reads: the pixel, where it is inside, its weight and the weight's slope."""

    pixel: Array
    inside: Any
    weight: Any
    slope: Any


class _Axis(NamedTuple):
    """The taps along one dimension.

    Attributes:
        here, before: the taps from one pixel, and those from the pixel before it.
        either: those of both, with the weights that they have.
        later: where the first are read; None if this holds everywhere.
        sigma: the error of the positions; None if they carry none.
    """

    here: list[_Tap]
    before: list[_Tap]
    either: list[_Tap]
    later: ErrorMask | None
    sigma: Any


@rule("grid_sampler_2d", "grid_sampler_3d", "_grid_sampler_2d_cpu_fallback", "cudnn_grid_sampler")
def grid_sampler(
    input: Any, grid: Any, interpolation_mode: int = BILINEAR, padding_mode: int = ZEROS, align_corners: bool = False
) -> Any:
    """Σ w x over the pixels around a position, with weights by linear (0), nearest (1) or cubic (2) interpolation, and zeros (0),
    the border (1) or reflections (2) outside; w g added to each pixel, and for the position Σ w' x g, none of nearest."""
    n, channels, *sizes = input.shape
    rank, around = len(sizes), grid.shape[1:-1]
    coordinates = [grid[..., rank - 1 - axis].reshape(n, -1) for axis in range(rank)]  # (N, L)
    padded_by = ZEROS if interpolation_mode == BICUBIC else padding_mode
    placed = [
        _padded(*_in_pixels(x, size, align_corners), size, padded_by, align_corners)
        for x, size in zip(coordinates, sizes, strict=True)
    ]
    axes = [
        _axis(x, size, interpolation_mode, padding_mode, align_corners)
        for (x, _), size in zip(placed, sizes, strict=True)
    ]
    image = np.moveaxis(input.reshape(n, channels, -1), 1, 2)  # (N, pixels, C)
    samples, far = np.arange(n)[:, None], _far(axes)

    def corners(taps: Any) -> Iterator[tuple[Array, Array, tuple[_Tap, ...]]]:
        """The pixel of each tap, where it is inside, and the taps along the dimensions."""
        for own in product(*taps):
            index, inside = np.zeros(own[0].pixel.shape, int), np.ones(own[0].pixel.shape, bool)
            for tap, size in zip(own, sizes, strict=True):
                index, inside = index * size + tap.pixel, inside & tap.inside
            yield index, inside[..., None], own

    def summed(taps: Any, by: int | None = None) -> Any:
        """The sum over the pixels around each position of their values times the weights or their slopes; (N, L, C)."""
        total = np.zeros_like(input, shape=(*coordinates[0].shape, channels))
        for index, inside, own in corners(taps):
            values = mapped(image, lambda x, index=index: x[samples, index])
            total = total + np.where(inside, values, 0.0) * _weight(own, by)[..., None]
        return total

    def backward(g: Any) -> Any:
        g = np.moveaxis(g.reshape(n, channels, -1), 1, 2)  # (N, L, C)
        grad_image = np.zeros_like(image)
        for index, inside, own in corners([axis.either for axis in axes]):
            np.add.at(grad_image, (samples, index), np.where(inside, g * _weight(own)[..., None], 0.0))
        grads = []
        for by, (x, back) in enumerate(placed):
            slope = np.zeros_like(x)
            if interpolation_mode != NEAREST:
                of = lambda taps, by=by: np.sum(g * summed(taps, by), axis=-1, keepdims=True)  # noqa: E731
                slope = _unless_far(_chosen(of, axes), far)[..., 0]
            grads.append(back(slope))
        grad_grid = np.stack([own.reshape(n, *around) for own in grads[::-1]], axis=-1)
        grad_image = _unless_far(grad_image, None if far is None else far.any(axis=1, keepdims=True))
        return np.moveaxis(grad_image, 2, 1).reshape(input.shape), grad_grid

    return np.moveaxis(_unless_far(_chosen(summed, axes), far), 2, 1).reshape(n, channels, *around), backward


def _weight(taps: Any, by: int | None = None) -> Any:
    """The weight of a pixel, or its slope along one dimension."""
    factors = [tap.slope if axis == by else tap.weight for axis, tap in enumerate(taps)]
    made = factors[0]
    for factor in factors[1:]:
        made = made * factor
    return made


def _chosen(of: Callable[[Any], Any], axes: list[_Axis], taps: tuple[Any, ...] = ()) -> Any:
    """A function of the taps along each dimension; where rounding leaves these open, one of both results."""
    if len(taps) == len(axes):
        return of(taps)
    axis = axes[len(taps)]
    here = _chosen(of, axes, (*taps, axis.here))
    if axis.later is None or axis.later.ambiguous is None:
        return here
    before = _chosen(of, axes, (*taps, axis.before))
    gap = np.abs(here.value - before.value)
    # With a regular grid every position may lie on a pixel, where the choice is open. That must not look imprecise as a whole.
    difference = Twofold(np.square(gap / 2), gap if here.model.bounds else None)
    is_open = axis.later.ambiguous.mapped(lambda own: own[..., None])
    more = difference.mapped(lambda own, where: np.where(where, own, 0.0), is_open)
    return with_more(np.where(axis.later.value[..., None], here, before), more)


def _unless_far(y: Any, far: Any) -> Any:
    """The array with an infinite error where rounding moves a position by more than a pixel."""
    if far is None or not far.any():
        return y
    unknown = np.where(np.broadcast_to(far, y.shape), np.inf, 0.0)
    return with_more(y, Twofold(unknown, unknown.copy() if y.model.bounds else None))


def _far(axes: list[_Axis]) -> Any:
    """The positions for which rounding leaves more than two pixels possible along a dimension; None if there are no errors."""
    reaches = [LAMBDA * axis.sigma for axis in axes if axis.sigma is not None]
    return np.logical_or.reduce([own > 0.5 for own in reaches])[..., None] if reaches else None


Placed = tuple[Any, Callable[[Any], Any]]


def _in_pixels(x: Any, size: int, align_corners: bool) -> Placed:
    """A coordinate from -1 to 1 in pixels."""
    scale = (size - 1) / 2 if align_corners else size / 2
    return ((x + 1.0) * scale if align_corners else (x + 1.0) * scale - 0.5), lambda g: g * scale


def _padded(x: Any, back: Callable[[Any], Any], size: int, padding_mode: int, align_corners: bool) -> Placed:
    """A coordinate moved inside, and its backward: none on the border and beyond it, and the negative one of a reflection."""
    if padding_mode == ZEROS:
        return x, back
    if padding_mode == REFLECTION:
        low, high = (0.0, size - 1.0) if align_corners else (-0.5, size - 0.5)
        x, back = _reflected(x, back, low, high)
    inside = (x > 0.0) & (x < size - 1.0)
    return np.clip(x, 0.0, size - 1.0), lambda g: back(np.where(inside, g, 0.0))


def _reflected(x: Any, back: Callable[[Any], Any], low: float, high: float) -> Placed:
    span = high - low
    if span == 0:
        return x * 0.0, lambda g: back(g * 0.0)
    right, distance = x >= low, np.abs(x - low)
    nearest = np.rint(plain(distance) / span)  # the reflection at this place is before or behind
    behind = distance >= nearest * span
    count = np.floor(plain(distance) / span)
    within = distance - count * span
    sign = np.where(nearest % 2 == 0, 1.0, -1.0)

    def backward(g: Any) -> Any:
        turned = np.where(behind, g * sign, g * -sign)
        return back(np.where(right, turned, -turned))

    return np.where(count % 2 == 0, within, span - within) + low, backward


def _axis(x: Any, size: int, interpolation_mode: int, padding_mode: int, align_corners: bool) -> _Axis:
    if interpolation_mode == NEAREST:
        first = np.floor(plain(x))
        later, outcome, cell = x > first + 0.5, np.rint(plain(x)) > first, first + 1
    else:
        cell = np.rint(plain(x))
        later = x >= cell
        outcome = plain(later)
    one, nothing = np.ones_like(x), np.zeros_like(x)
    sigma = x.sigma if isinstance(x, ErrorArray) else None

    def taps(cell: Array, weights: list[Any], first: int = -1 if interpolation_mode == BICUBIC else 0) -> list[_Tap]:
        made = []
        for place, (weight, slope) in enumerate(weights, first):
            index = np.clip(np.nan_to_num(cell + place), -(2.0**40), 2.0**40)
            if interpolation_mode == BICUBIC and padding_mode != ZEROS:
                index = _padded(index, lambda g: g, size, padding_mode, align_corners)[0]
            inside = (index >= 0) & (index < size)
            made.append(_Tap(np.clip(index, 0, size - 1).astype(int), inside, weight, slope))
        return made

    if not isinstance(later, ErrorMask) or later.ambiguous is None or not later.ambiguous.statistical.any():
        cell = np.where(outcome, cell, cell - 1)
        certain = taps(cell, _weights(x - cell, one, interpolation_mode))
        return _Axis(certain, certain, certain, None, sigma)
    later = ErrorMask(outcome, later.ambiguous, later.model)
    where: Any = np.where
    here, before = (_weights(x - own, one, interpolation_mode) for own in (cell, cell - 1))
    pairs = zip([(nothing, nothing), *here], [*before, (nothing, nothing)], strict=True)
    either = [(where(later, one[0], other[0]), nothing) for one, other in pairs]
    return _Axis(taps(cell, here), taps(cell - 1, before), taps(cell - 1, either), later, sigma)


def _weights(t: Any, one: Any, interpolation_mode: int) -> list[tuple[Any, Any]]:
    """The weights of the pixels around a position at distance t behind one, and their slopes."""
    if interpolation_mode == NEAREST:
        return [(one, one * 0.0)]
    if interpolation_mode == BILINEAR:
        return [(1.0 - t, -one), (t, one)]

    def near(x: Any) -> Any:
        return (x * (3 * (CUBIC + 2)) - 2 * (CUBIC + 3)) * x

    def far(x: Any) -> Any:
        return (x * (3 * CUBIC) - 10 * CUBIC) * x + 8 * CUBIC

    slopes = [far(t + 1.0), near(t), -near(1.0 - t), -far(2.0 - t)]
    return list(zip(cubic_weights(t), slopes, strict=True))


@rule("affine_grid_generator")
def affine_grid(theta: Any, size: Any, align_corners: bool) -> Any:
    """The positions of an output's pixels, from -1 to 1 along each dimension, moved by θ; Σ g p over the pixels p."""
    spatial = tuple(size[2:])
    rank = len(spatial)
    lines = [_positions(theta, n, align_corners).reshape([n if own == axis else 1 for own in range(rank)])
             for axis, n in enumerate(spatial)]  # fmt: skip
    one = np.ones_like(theta, shape=(1,) * rank)
    places = [np.broadcast_to(own, spatial).reshape(-1) for own in (*lines[::-1], one)]  # x first
    pixels = np.stack(places, axis=1)  # (pixels, rank + 1)
    y = pixels @ matrix_t(theta)

    def backward(g: Any) -> Any:
        return (matrix_t(g.reshape(y.shape)) @ pixels,)

    return y.reshape(size[0], *spatial, rank), backward


def _positions(like: Any, n: int, align_corners: bool) -> Any:
    """n positions from -1 to 1, or the centres of n parts between, as they are stored on the way."""
    line = stored(np.zeros_like(like, shape=(n,)) + (np.linspace(-1, 1, n) if n > 1 else np.zeros(1)))
    return line if align_corners else stored(line * ((n - 1) / n))
