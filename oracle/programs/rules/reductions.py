"""Rules of sums, means, moments, norms and extremes over dimensions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.special import logsumexp as added_powers

from oracle.programs.adjoint import (
    axes_of,
    gathered_last,
    in_dtype_of,
    in_one_kernel,
    kept_dims,
    plain,
    scattered_last,
    sign_of,
    spread,
    summed_to,
)
from oracle.programs.geometry import mapped
from oracle.programs.table import recorded, rule
from oracle.running_error import ErrorArray
from oracle.running_error.infinities import left_open
from oracle.running_error.mask import ErrorMask
from oracle.running_error.model import Twofold
from oracle.running_error.ranges import as_share, by_its_ends, is_finite


@rule("sum")
def sum(input: Any, dim: Any = None, keepdim: bool = False) -> Any:
    """Σ x; g to each term."""
    axes = axes_of(dim, input.ndim)
    return np.sum(input, axis=axes, keepdims=keepdim), lambda g: (spread(g, input.shape, axes, keepdim),)


@rule("mean")
def mean(input: Any, dim: Any = None, keepdim: bool = False) -> Any:
    """Σ x / n; g / n to each term."""
    axes = axes_of(dim, input.ndim)
    count = float(math.prod(input.shape[axis] for axis in axes))
    total = np.sum(input, axis=axes, keepdims=keepdim)
    return total / count, lambda g: (spread(g, input.shape, axes, keepdim) / count,)


def _moments(input: Any, dim: Any, correction: Any, keepdim: bool) -> tuple[Any, Any, Any, float, tuple[int, ...]]:
    """The requested variance and mean, the deviations, the divisor of the variance, and the axes."""
    axes = axes_of(dim, input.ndim)
    count = math.prod(input.shape[axis] for axis in axes)
    divisor = float(max(count - (1 if correction is None else correction), 0))
    average = np.divide(np.sum(input, axis=axes, keepdims=True), float(count))
    deviation = input - average
    variance = np.divide(np.sum(np.square(deviation), axis=axes, keepdims=True), divisor)
    if not keepdim:
        shape = tuple(size for axis, size in enumerate(input.shape) if axis not in axes)
        variance, average = variance.reshape(shape), average.reshape(shape)
    return variance, average, deviation, divisor, axes


@rule("var")
def var(input: Any, dim: Any = None, correction: Any = None, keepdim: bool = False) -> Any:
    """Σ (x - mean)² / (n - c); 2 g (x - mean) / (n - c)."""
    variance, _, deviation, divisor, axes = _moments(input, dim, correction, keepdim)
    return variance, lambda g: (spread(g, input.shape, axes, keepdim) * deviation * np.divide(2.0, divisor),)


@rule("std")
def std(input: Any, dim: Any = None, correction: Any = None, keepdim: bool = False) -> Any:
    """√var; g (x - mean) / (y (n - c)), 0 where y is 0."""
    variance, _, deviation, divisor, axes = _moments(input, dim, correction, keepdim)
    y = np.sqrt(variance)
    return y, lambda g: (_std_back(g, y, deviation, divisor, axes, keepdim, input.shape),)


def _std_back(g: Any, y: Any, deviation: Any, divisor: float, axes: tuple[int, ...], keepdim: bool, shape: Any) -> Any:
    share = np.where(y == 0, 0.0, g / (y * divisor))
    return spread(share, shape, axes, keepdim) * deviation


@rule("var_mean")
def var_mean(input: Any, dim: Any = None, correction: Any = None, keepdim: bool = False) -> Any:
    """Variance and mean; the sum of the gradients of both."""
    variance, average, deviation, divisor, axes = _moments(input, dim, correction, keepdim)

    def backward(g: Any, g_mean: Any) -> Any:
        through = None if g is None else spread(g, input.shape, axes, keepdim) * deviation * np.divide(2.0, divisor)
        return (_with_mean(through, g_mean, input.shape, axes, keepdim),)

    return (variance, _kept_up_to_date(average)), backward


@rule("std_mean")
def std_mean(input: Any, dim: Any = None, correction: Any = None, keepdim: bool = False) -> Any:
    """Standard deviation and mean; the sum of the gradients of both."""
    variance, average, deviation, divisor, axes = _moments(input, dim, correction, keepdim)
    y = np.sqrt(variance)

    def backward(g: Any, g_mean: Any) -> Any:
        through = None if g is None else _std_back(g, y, deviation, divisor, axes, keepdim, input.shape)
        return (_with_mean(through, g_mean, input.shape, axes, keepdim),)

    return (y, _kept_up_to_date(average)), backward


def _kept_up_to_date(average: Any) -> Any:
    """A mean to which kernels add a share of the distance of each element: an infinity makes the next distance NaN."""
    return left_open(average, np.isinf(average.value)) if isinstance(average, ErrorArray) else average


def _with_mean(through: Any, g_mean: Any, shape: tuple[int, ...], axes: tuple[int, ...], keepdim: bool) -> Any:
    if g_mean is None:
        return through
    share = np.divide(spread(g_mean, shape, axes, keepdim), float(math.prod(shape[axis] for axis in axes)))
    return share if through is None else through + share


@rule("amax")
def amax(input: Any, dim: Any = None, keepdim: bool = False) -> Any:
    """The maximum; g shared evenly by all elements equal to it, NaN if it is NaN."""
    return _extreme(input, dim, keepdim, np.max)


@rule("amin")
def amin(input: Any, dim: Any = None, keepdim: bool = False) -> Any:
    """The minimum; g shared evenly by all elements equal to it, NaN if it is NaN."""
    return _extreme(input, dim, keepdim, np.min)


@rule("max")
def max_of_all(input: Any) -> Any:
    """The maximum of all; g shared evenly by all elements equal to it, and by all NaN."""
    return _extreme(input, None, False, np.max, with_nan=True)


@rule("min")
def min_of_all(input: Any) -> Any:
    """The minimum of all; g shared evenly by all elements equal to it, and by all NaN."""
    return _extreme(input, None, False, np.min, with_nan=True)


@rule("aminmax")
def aminmax(input: Any, *, dim: Any = None, keepdim: bool = False) -> Any:
    """The minimum and the maximum; the gradient of each shared evenly by all elements equal to it."""
    low, back_low = _extreme(input, dim, keepdim, np.min)
    high, back_high = _extreme(input, dim, keepdim, np.max)

    def backward(g_low: Any, g_high: Any) -> Any:
        found = [back(g)[0] for back, g in ((back_low, g_low), (back_high, g_high)) if g is not None]
        return (found[0] if len(found) == 1 else found[0] + found[1],)

    return (low, high), backward


def _extreme(input: Any, dim: Any, keepdim: bool, function: Any, with_nan: bool = False) -> Any:
    axes = axes_of(dim, input.ndim)
    rows = gathered_last(input, axes) if axes else input.reshape((*input.shape, 1))
    y = function(rows, axis=-1)

    def backward(g: Any) -> Any:
        back = to_equals(g.reshape(y.shape), rows, y, with_nan)
        return (scattered_last(back, input.shape, axes) if axes else back.reshape(input.shape),)

    return (kept_dims(y, input.shape, axes) if keepdim else y), backward


def to_equals(g: Any, rows: Any, y: Any, with_nan: bool) -> Any:
    """The gradient of elements y of rows, shared evenly by all that are equal to it; where y is NaN, by all NaN, or NaN."""
    chosen, unknown = rows == np.expand_dims(y, -1), np.isnan(plain(np.expand_dims(y, -1)))
    if with_nan and unknown.any():
        chosen = chosen | (np.isnan(plain(rows)) & unknown)
    equal, whole = plain(chosen), np.expand_dims(g, -1)
    equals = np.count_nonzero(equal, axis=-1, keepdims=True)
    # torch multiplies by the mask, but of the extreme of all elements: zero times infinity is NaN.
    elsewhere = 0.0 if with_nan else whole * 0.0
    back = np.where(equal, whole / np.maximum(equals, 1).astype(float), elsewhere)
    if isinstance(chosen, ErrorMask) and chosen.ambiguous is not None:
        # Each of several rivals may receive all of the gradient or nothing; the farther of these widens its tolerance.
        rivals = chosen.ambiguous.mapped(lambda own: own & (np.count_nonzero(own, axis=-1, keepdims=True) > 1))
        shared: Any = ErrorMask(True, rivals, chosen.model)
        back = np.where(shared, back, np.where(equal & (equals == 1), 0.0, whole))
    back = _with_open_ties(back, whole, rows, np.expand_dims(y, -1), -1)
    return back if with_nan or not unknown.any() else np.where(unknown, np.nan, back)


def _with_open_ties(back: Any, g: Any, input: Any, y: Any, axis: int) -> Any:
    """The gradient, from none to all of g at each of several elements equal to y, where ties alone are looked at."""
    if not isinstance(input, ErrorArray) or not input.model.open_ties or input.model.rounds:
        return back
    equal = plain(input) == plain(y)
    tied = equal & (np.count_nonzero(equal, axis=axis, keepdims=True) > 1)
    chosen: Any = ErrorMask(equal, Twofold(tied, tied), input.model)
    return np.where(tied, np.where(chosen, g, 0.0), back)


@rule("max.dim", shown=True)
def max_dim(input: Any, dim: int, keepdim: bool = False, *, shown: Any) -> Any:
    """The maximum along a dimension, and its index; g to it."""
    return _chosen(input, dim, keepdim, shown, np.max)


@rule("min.dim", shown=True)
def min_dim(input: Any, dim: int, keepdim: bool = False, *, shown: Any) -> Any:
    """The minimum along a dimension, and its index; g to it."""
    return _chosen(input, dim, keepdim, shown, np.min)


def _chosen(input: Any, dim: int, keepdim: bool, shown: Any, function: Any) -> Any:
    """The index, by the recorded choice among equal elements; the value, by the rule's own choice."""
    if not input.ndim:
        return (input, shown[1].numbers), lambda g, _: (g,)
    axis, index = dim % input.ndim, shown[1].numbers
    y = function(input, axis=axis)
    places, kept = index if keepdim else np.expand_dims(index, axis), np.expand_dims(y, axis)

    def backward(g: Any, _: Any) -> Any:
        g = g if keepdim else np.expand_dims(g, axis)
        return (_with_open_ties(put_along(g, places, axis, input.shape), g, input, kept, axis),)

    return (kept if keepdim else y, index), backward


def put_along(g: Any, places: Any, axis: int, shape: tuple[int, ...]) -> Any:
    """Each element of g at its position along an axis, and zero elsewhere; positions do not repeat."""

    def placed(component: Any) -> Any:
        result = np.zeros(shape, component.dtype)
        np.put_along_axis(result, places, np.broadcast_to(component, places.shape), axis)
        return result

    return mapped(g, placed)


@rule("logsumexp")
def logsumexp(input: Any, dim: Any, keepdim: bool = False) -> Any:
    """ln Σ e^x; g e^(x - y)."""
    axes = axes_of(dim, input.ndim)
    largest = np.max(plain(input), axis=axes, keepdims=True) if plain(input).size else np.zeros(())
    largest = np.where(np.isfinite(largest), largest, 0.0)

    def added(x: Any) -> Any:
        return np.log(np.sum(np.exp(x - largest), axis=axes, keepdims=True)) + largest

    def backward(g: Any) -> Any:
        shares = as_share(np.exp(input - y), lambda: is_finite(input) & is_finite(y))
        return (spread(g, input.shape, axes, keepdim) * shares,)

    y = by_its_ends(added(input), lambda x: added_powers(x, axis=axes, keepdims=True), input)
    shape = tuple(size for axis, size in enumerate(input.shape) if axis not in axes)
    return (y if keepdim else y.reshape(shape)), backward


@rule("cumsum")
def cumsum(input: Any, dim: int) -> Any:
    """The sum of elements up to each; the sum of g from each on."""
    if not input.ndim:
        return input, lambda g: (g,)
    axis = dim % input.ndim

    def turned(x: Any) -> Any:
        return mapped(x, lambda own: np.flip(own, axis))

    def added(x: Any) -> Any:
        return in_one_kernel(lambda x: np.cumsum(x, axis=axis), x)

    return added(input), lambda g: (turned(added(turned(in_dtype_of(g, input)))),)


@rule("prod")
def prod(input: Any, dim: Any = None, keepdim: bool = False) -> Any:
    """Π x; g times the product of all others."""
    axes = axes_of(dim, input.ndim)
    rows = gathered_last(input, axes) if axes else input.reshape((*input.shape, 1))
    count = rows.shape[-1]
    before = [np.ones_like(rows, shape=rows.shape[:-1])]
    for place in range(count):
        before.append(before[-1] * rows[..., place])
    y = before[-1]
    values = plain(rows)
    divided = values.all() & ~np.isfinite(values)  # torch divides the product by an element, unless one is zero

    def backward(g: Any) -> Any:
        g, behind, parts = g.reshape(y.shape), np.ones_like(y), []
        for place in reversed(range(count)):
            parts.append(g * (before[place] * behind))
            behind = behind * rows[..., place]
        if not parts:
            return (np.zeros_like(input),)
        back = np.where(divided, np.nan, np.stack(parts[::-1], axis=-1))
        return (scattered_last(back, input.shape, axes) if axes else back.reshape(input.shape),)

    return (kept_dims(y, input.shape, axes) if keepdim else y), backward


@rule("linalg_vector_norm", "norm")
def vector_norm(input: Any, ord: Any = 2, dim: Any = None, keepdim: bool = False) -> Any:
    """(Σ |x|^p)^(1/p); g sign x (|x| / y)^(p-1), 0 where y is 0; for p = ∞ g shared by the largest."""
    axes, p = axes_of(dim, input.ndim), 2.0 if ord is None else float(ord)
    if math.isinf(p):
        y, back = _extreme(np.abs(input), dim, keepdim, np.max if p > 0 else np.min)
        unknown = spread(np.isnan(plain(y)), input.shape, axes, keepdim)  # torch's sign of NaN is 0
        return y, lambda g: (np.where(unknown, 0.0, back(g)[0] * sign_of(input)),)
    if p == 0:
        counted = np.where(plain(input) == 0, np.zeros_like(input), np.ones_like(input))
        return np.sum(counted, axis=axes, keepdims=keepdim), lambda g: (np.zeros_like(input),)

    def norm(x: Any) -> Any:
        raised = np.square(x) if p == 2 else np.abs(x) if p == 1 else np.abs(x) ** p
        total = np.sum(raised, axis=axes, keepdims=True)
        return np.sqrt(total) if p == 2 else total if p == 1 else total ** (1 / p)

    y, sizes = in_one_kernel(norm, input), np.abs(input)

    def backward(g: Any) -> Any:
        whole, none = spread(g, input.shape, axes, keepdim), y == 0
        if p == 2:
            return (whole * np.where(none, 0.0, input / y),)
        if p == 1:
            return (whole * sign_of(input),)
        scale = whole / y ** (p - 1) if p > 1 else whole * y ** (1 - p)
        powers = np.where(plain(input) == 0, 0.0, sign_of(input) * sizes ** (p - 1))
        # In torch's order: a power may leave the range, and zero times infinity is NaN.
        return (np.where(none, whole * 0.0 if p < 1 else 0.0, powers * scale),)

    shape = tuple(size for axis, size in enumerate(input.shape) if axis not in axes)
    return (y if keepdim else y.reshape(shape)), backward


@rule("dist")
def dist(input: Any, other: Any, p: Any = 2) -> Any:
    """The norm (Σ |x - y|^p)^(1/p) of a difference; its gradient, and the same with the other sign."""
    y, back = vector_norm(input - other, p)

    def backward(g: Any) -> Any:
        (along,) = back(g)
        return summed_to(along, input), summed_to(-along, other)

    return y, backward


@rule("renorm")
def renorm(input: Any, p: Any, dim: int, maxnorm: Any) -> Any:
    """x with each slice along a dimension scaled to the norm M if its norm n is larger; M / (n + 10⁻⁷) times g less
    the gradient of n times Σ g x / (n + 10⁻⁷) there, else g."""
    axes = tuple(axis for axis in range(input.ndim) if axis != dim % input.ndim)
    norm, back = vector_norm(input, p, axes, True)
    larger = np.greater(norm, float(maxnorm))
    inverse = 1.0 / (norm + 1e-7)

    def backward(g: Any) -> Any:
        (through,) = back(np.sum(g * input, axis=axes, keepdims=True))
        return (np.where(larger, inverse * float(maxnorm) * (g - inverse * through), g),)

    return np.where(larger, input * (inverse * float(maxnorm)), input), backward


@rule("nansum")
def nansum(input: Any, dim: Any = None, keepdim: bool = False) -> Any:
    """Σ x without NaN; g to each other term."""
    axes, unknown = axes_of(dim, input.ndim), np.isnan(plain(input))
    y = np.sum(np.where(unknown, 0.0, input), axis=axes, keepdims=keepdim)
    return y, lambda g: (np.where(unknown, 0.0, spread(g, input.shape, axes, keepdim)),)


@rule("trace")
def trace(input: Any) -> Any:
    """The sum of the diagonal; g to each of its elements."""
    one = np.eye(*input.shape) > 0
    return np.sum(mapped(input, np.diagonal)), lambda g: (mapped(g, lambda own: np.where(one, own, 0.0)),)


recorded("argmax", "argmin", "argsort", "any", "all", "nonzero", "searchsorted", "bucketize", "unique_dim", "_unique2")
recorded(
    "eq", "ne", "isnan", "isinf", "isfinite", "_local_scalar_dense", "equal", "is_nonzero", "signbit", "bitwise_xor"
)
