"""The error of a fast Fourier transform along one dimension. Real and imaginary parts lie in the last dimension.

A transform of n numbers consists of smaller ones, in any order of its stages. A rounding error of a stage that works on
transforms of m numbers, or on every m-th of them, reaches those results k whose number is the same modulo m, and all of these
alike: its variance is u² times the mean of |X|² over them (Parseval). So the error of a result is a sum over the divisors m of n
that its stages have. This agrees with the mean over all results, u² log n Σ|x|²: J. C. Schatzman, "Accuracy of the discrete
Fourier transform and the fast Fourier transform", SIAM J. Sci. Comput. 17 (1996).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from oracle.running_error.array import ErrorArray
from oracle.running_error.model import ErrorModel, Floats, Twofold

# A length with a larger prime factor is computed as a convolution of at least twice that length, by three transforms.
LARGEST_FACTOR = 13
# Equal numbers, as of a constant or a tone, make equal rounding errors in all butterflies, which do not cancel. This share of the
# largest result, in roundoffs, makes λ σ twice the largest error that torch's kernels had on such numbers.
COHERENT = 0.5
# The worst error of a butterfly, a product of complex numbers and a sum, in roundoffs.
WORST = 4


def transformed(x: Any, axis: int, inverse: bool = False) -> Any:
    """Σ x e^(∓2πi jk/n) over an axis, without a factor. The sign is + if `inverse`. x has the shape (…, 2)."""
    value = _values(x.value if isinstance(x, ErrorArray) else x, axis, inverse)
    if not isinstance(x, ErrorArray):
        return value
    n, error, model = x.shape[axis], x.error, x.model
    arrived = None if error is None else error.mapped(x.broadcast)
    given = np.square(x.value).sum(-1, keepdims=True)
    scale = np.broadcast_to(given.sum(axis, keepdims=True), x.shape)
    if n < 2:
        return ErrorArray(value, model, arrived, scale=scale)
    power = np.square(value).sum(-1)
    u = model.unit_roundoff
    together = COHERENT**2 * power.max(axis, keepdims=True)
    variance = np.repeat(np.expand_dims(u * u * (over_stages(power, axis) + together), -1), 2, -1)
    if arrived is not None:
        variance += _spread(arrived.statistical, axis)
    return ErrorArray(value, model, Twofold(variance, _worst(x, arrived, axis, model)), scale=scale)


def _values(x: Floats, axis: int, inverse: bool) -> Floats:
    numbers = x[..., 0] + 1j * x[..., 1]
    made = np.fft.ifft(numbers, axis=axis, norm="forward") if inverse else np.fft.fft(numbers, axis=axis)
    return np.stack([made.real, made.imag], -1)


def over_stages(power: Floats, axis: int) -> Floats:
    """Σ over the stages of a transform of the mean of |X|² over the results that a rounding error there reaches.

    The stages take the prime factors of the length in an order that is not known: the one with the largest error counts.
    """
    n = power.shape[axis]
    moved = np.moveaxis(power, axis, -1)
    total = _up_to(n, moved, {})
    if max(factors(n)) > LARGEST_FACTOR:
        total = total + 3 * math.log2(4 * n) * moved.mean(-1, keepdims=True)
    return np.moveaxis(total, -1, axis)


def _up_to(m: int, power: Floats, known: dict[int, Floats]) -> Floats:
    """The same up to the stage whose results are alike modulo m."""
    if m not in known:
        n = power.shape[-1]
        rows = power.reshape((*power.shape[:-1], n // m, m)).mean(-2, keepdims=True)
        alike = np.broadcast_to(rows, (*power.shape[:-1], n // m, m)).reshape(power.shape)
        before = [_up_to(m // factor, power, known) for factor in set(factors(m)) if m > 1]
        known[m] = alike + np.maximum.reduce(before) if before else alike
    return known[m]


def factors(n: int) -> list[int]:
    """The prime factors of n, in rising order; [1] of 1."""
    found: list[int] = []
    factor = 2
    while factor * factor <= n:
        if n % factor:
            factor += 1
        else:
            found.append(factor)
            n //= factor
    return [*found, n] if n > 1 or not found else found


def _spread(variance: Floats, axis: int) -> Floats:
    """The variance of the results from that of the numbers, a and b: Σ a cos² + b sin², and Σ b cos² + a sin².

    Since cos² θ = (1 + cos 2θ) / 2, it is a transform of a - b at twice the frequency.
    """
    n = variance.shape[axis]
    of_real, of_imaginary = variance[..., 0], variance[..., 1]
    half = (of_real + of_imaginary).sum(axis, keepdims=True) / 2
    difference = np.fft.fft((of_real - of_imaginary) / 2, axis=axis).real
    at_twice = np.take(difference, 2 * np.arange(n) % n, axis)
    both = np.stack([half + at_twice, half - at_twice], -1)
    return np.where(np.isfinite(both), np.maximum(both, 0.0), np.inf)


def _worst(x: ErrorArray, arrived: Twofold | None, axis: int, model: ErrorModel) -> Floats | None:
    if not model.bounds:
        return None
    n = x.shape[axis]
    size = np.abs(x.value).sum(-1, keepdims=True).sum(axis, keepdims=True)
    rounds = 3 * math.log2(4 * n) if max(factors(n)) > LARGEST_FACTOR else len(factors(n))
    bound = WORST * model.unit_roundoff * (1 + rounds) * size
    if arrived is not None and arrived.worst is not None:
        bound = bound + arrived.worst.sum(-1, keepdims=True).sum(axis, keepdims=True)
    return np.broadcast_to(bound, x.shape).copy()


def in_any_order(x: Any, axes: Sequence[int], inverse: bool = False) -> Any:
    """`transformed` along several axes, in an order that is not known: with the larger error of the first and the last."""
    made = _in_order(x, axes, inverse)
    if not isinstance(made, ErrorArray) or len(axes) < 2:
        return made
    other = _in_order(x, axes[::-1], inverse)
    error = made.error_or_zero.mapped(np.maximum, other.error_or_zero)
    return ErrorArray(made.value, made.model, error, scale=made.scale)


def _in_order(x: Any, axes: Sequence[int], inverse: bool) -> Any:
    for axis in axes:
        x = transformed(x, axis, inverse)
    return x
