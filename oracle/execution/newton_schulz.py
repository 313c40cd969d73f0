"""The error of Muon's Newton-Schulz iterations, which compute in bfloat16 whatever the dtype of the parameter is.

Each iteration maps the singular values, s ← a s + b s³ + c s⁵, and keeps the singular vectors. Propagated from product to product
as if they were independent, errors would grow tenfold in each iteration, though the iterations that follow damp most of them. So
each iteration's own rounding errors are propagated at once through all iterations that follow, by the derivative of a function of
singular values (Daleckii and Krein): in the basis of the singular vectors it multiplies the symmetric part of a change at i, j by
(f(sᵢ) - f(sⱼ)) / (sᵢ - sⱼ), the antisymmetric part by (f(sᵢ) + f(sⱼ)) / (sᵢ + sⱼ), and what leaves the row space by f(sᵢ) / sᵢ.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from oracle.running_error import ErrorArray
from oracle.running_error.dispatch import FUNCTIONS
from oracle.running_error.model import Floats, Twofold, added
from refbp.muon import newton_schulz

# Significant bits of a bfloat16.
BITS = 8
# Two singular values whose relative difference is below this count as equal.
SAME = 1e-6


@dataclass(frozen=True)
class Iterations:
    """The singular values before and after each iteration, and how a change at one of these places reaches the end.

    Attributes:
        left, right: the singular vectors, as columns.
        values: the singular values of X, one array for each iteration and one at the end.
        slopes: the derivatives of the last values by each of these.
    """

    left: Floats
    right: Floats
    values: list[Floats]
    slopes: list[Floats]

    @classmethod
    def of(cls, x: Floats, norm: float, coefficients: tuple[float, float, float], steps: int) -> Iterations:
        left, first, right = np.linalg.svd(x, full_matrices=False)
        a, b, c = coefficients
        values: list[Floats] = [first / norm]
        for _ in range(steps):
            s = values[-1]
            values.append(a * s + b * s**3 + c * s**5)
        slopes: list[Floats] = [np.ones_like(first)]
        for s in reversed(values[:-1]):
            slopes.append(slopes[-1] * (a + 3 * b * s**2 + 5 * c * s**4))
        return cls(left, right.T, values, slopes[::-1])

    def matrix(self, singular: Floats) -> Floats:
        """The matrix with these singular values."""
        return (self.left * singular) @ self.right.T

    def gains(self, place: int) -> tuple[Floats, Floats, Floats]:
        """The factors of the symmetric part, of the antisymmetric part, and of what leaves the row space."""
        now, end, slope = self.values[place], self.values[-1], self.slopes[place]
        alike = (slope[:, None] + slope) / 2

        def quotient(above: Floats, below: Floats, limit: Floats) -> Floats:
            near = np.abs(below) <= SAME * np.max(np.abs(now))
            return np.where(near, limit, above / np.where(near, 1.0, below))

        return (
            quotient(end[:, None] - end, now[:, None] - now, alike),
            quotient(end[:, None] + end, now[:, None] + now, alike),
            quotient(end, now, slope),
        )

    def reached(self, error: Twofold, place: int) -> Twofold:
        """The error at the end that independent errors at a place cause; a bound holds for the norm of the whole matrix.

        The mean of all gains multiplies each element's own error; what the gains differ by mixes the elements.
        """
        even, odd, outside = self.gains(place)
        to_left, to_right = np.square(self.left), np.square(self.right)
        rows, columns = error.statistical.shape
        own, other = (even + odd) / 2, (even - odd) / 2
        mean = (np.sum(own) + (columns - rows) * np.sum(outside)) / error.statistical.size
        variance = to_left.T @ error.statistical
        inside = variance @ to_right
        mixed = to_left @ (np.square(own - mean) * inside + np.square(other) * inside.T) @ to_right.T
        if columns > rows:
            left_over = (1.0 - to_right.sum(1)).clip(0.0)
            lost = variance @ left_over / (columns - rows) * np.square(outside - mean)
            mixed = mixed + np.outer(to_left @ lost, left_over)
        found = mean**2 * error.statistical + mixed
        if error.worst is None:
            return Twofold(found)
        largest = max(float(np.max(np.abs(gain))) for gain in (even, odd, outside))
        return Twofold(found, np.full(found.shape, largest * np.sqrt(np.sum(np.square(error.worst)))))


def iterated(x: Any, coefficients: tuple[float, float, float], steps: int, eps: float) -> Any:
    """Newton-Schulz iterations of an error array: the value without rounding, and the errors of bfloat16.

    Products that are scaled and added count as rounded each time; a kernel that rounds their sum once is more accurate. The
    reference computes in bfloat16 too, so that the errors count twice.
    """
    with np.errstate(all="ignore"):
        if not np.isfinite(x.value).all():
            error = Twofold(np.full(x.shape, np.inf), np.full(x.shape, np.inf) if x.model.bounds else None)
            return ErrorArray(newton_schulz(x.value, coefficients, steps, eps), x.model, error)
        if not x.size or (not np.any(x.value) and x.error is None):
            return ErrorArray(np.zeros(x.shape), x.model, quantum=np.inf)
        if x.shape[0] > x.shape[1]:
            return _iterated(x.T, coefficients, steps, eps).T
        return _iterated(x, coefficients, steps, eps)


def _iterated(x: ErrorArray, coefficients: tuple[float, float, float], steps: int, eps: float) -> ErrorArray:
    inside = replace(x.model, dtype=np.dtype("float32"), accumulate=None, stored=None)
    given = rounded(ErrorArray(x.value, inside, x.error))
    length: Any = rounded(np.sqrt(np.sum(np.square(given))))
    norm = rounded(np.maximum(length, eps))
    course = Iterations.of(x.value, float(norm.value), coefficients, steps)
    total = course.reached(rounded(given / float(norm.value)).error_or_zero, 0)
    # The error of the norm is one factor for all singular values.
    total = total + norm.error_or_zero * x.model.raised(course.matrix(course.values[0] * course.slopes[0]) / norm.value)
    for place in range(steps):
        before = course.matrix(course.values[place])
        worst = error_of_step(before, coefficients, 1) if x.model.bounds else None
        own = Twofold(error_of_step(before, coefficients, 2), worst) * x.model.constant(x.model.rounds, x.model.rounds)
        total = total + course.reached(own, place + 1)
    return ErrorArray(course.matrix(course.values[-1]), x.model, total * x.model.constant(2.0, 2.0))


def error_of_step(x: Floats, coefficients: tuple[float, float, float], power: int) -> Floats:
    """The error of an iteration of which every product and sum is rounded to bfloat16: variances for the power 2, bounds for 1.
    Sums are added up in float32, whose own error is nothing beside it."""
    a, b, c = coefficients
    gram = x @ x.T
    square = gram @ gram
    update = b * gram + c * square

    def size(value: Any) -> Any:
        return np.abs(value) ** power

    def store(value: Floats) -> Floats:
        return distribution(value, power)

    of_gram = store(gram)
    of_square = of_gram @ size(gram) + size(gram) @ of_gram + store(square)
    of_update = size(b) * of_gram + store(b * gram) + size(c) * of_square + store(c * square) + store(update)
    moved = update @ x
    error: Floats = of_update @ size(x) + store(moved) + store(a * x) + store(a * x + moved)
    return error


def distribution(value: Floats, power: int) -> Floats:
    """The error of rounding to bfloat16, which is distributed evenly over the distance of two neighbours: its variance for the
    power 2, its bound for 1."""
    distance = np.where(value == 0, 0.0, np.ldexp(1.0, np.frexp(value)[1] - BITS))
    error: Floats = distance**2 / 12 if power == 2 else distance / 2
    return error


def rounded(x: ErrorArray) -> ErrorArray:
    """The array rounded to bfloat16."""
    model, worst = x.model, distribution(x.value, 1) if x.model.bounds else None
    error = Twofold(distribution(x.value, 2), worst) * model.constant(model.rounds, model.rounds)
    return ErrorArray(x.value, model, added(x.error, error))


FUNCTIONS[newton_schulz] = iterated
