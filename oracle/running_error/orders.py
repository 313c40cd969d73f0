"""What the order in which a sum is really taken adds to the model of a random order.

Real data comes sorted, sample after sample, and its terms repeat. Partial sums are then larger than those of a random order, and
a plain loop rounds equal terms the same way each time. So both are taken from the terms themselves: the squares of the partial
sums in memory order and sample after sample, and how far a sequential sum in the subject's own dtype ends from the exact one.

All variances here are in units of the squared roundoff of sums.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from oracle.running_error.model import ErrorModel, Floats

# Of fewer terms no order is far from a random one.
FEW = 16
# Parts of a product's terms after which its partial sums are looked at, at most.
PARTS = 16
# Elements that are added up together: they stay in a processor's second cache.
CHUNK = 2**15
# Elements of a product whose terms are looked at one by one, and how many terms these have together, at most.
ELEMENTS, TERMS = 64, 2**13
# Square of a sequential sum's error, in variances of the model: less where terms do not repeat.
USUAL = 0.25
GOLDEN_RATIO = 0.618033988749895


def beyond_sum(x: Floats, axes: tuple[int, ...], squares: Floats, count: Floats, model: ErrorModel) -> Floats | None:
    """Variance of the sum of x over `axes` beyond that of a random order, as a column; None where there is none.

    Args: squares and count are the sum of term² and the number of terms, an element for each sum.
    """
    n = int(np.prod([x.shape[axis] for axis in axes]))
    if n < FEW or not x.size:
        return None
    rows = np.moveaxis(x, axes, range(-len(axes), 0)).reshape(-1, n)
    squares, count = squares.reshape(-1), np.broadcast_to(count, squares.shape).reshape(-1)
    random, real, sequential = (np.empty(len(rows)) for _ in range(3))
    step = max(1, CHUNK // n)
    for part in (slice(first, first + step) for first in range(0, len(rows), step)):
        terms = rows[part]
        sequential[part] = sequential_error(terms, model)
        partial = np.cumsum(terms, axis=-1)
        random[part] = model.random_order(partial[:, -1], squares[part], count[part])
        added = np.count_nonzero(terms, axis=-1)
        if added.min() < n:  # adding zero does not round
            partial[terms == 0] = 0.0
        real[part] = np.einsum("ij,ij->i", partial, partial) * (count[part] / np.maximum(added, 1))
    usual = np.maximum(random, real) + squares
    beyond = np.maximum(real - random, 0.0) + repeated(sequential, usual) * usual
    beyond += np.where(sequential > USUAL * usual, sequential, 0.0)
    return beyond if beyond.any() else None


def sequential_error(terms: Floats, model: ErrorModel) -> Floats:
    """Square of what a plain loop over the last axis errs."""
    low = np.cumsum(terms.astype(model.dtype_of_sums), axis=-1, dtype=model.dtype_of_sums)[..., -1]
    error: Floats = np.square((low - np.sum(terms, axis=-1)) / model.roundoff_of_sums)
    return np.where(np.isfinite(error), error, 0.0)


def repeated(sequential: Floats, usual: Floats) -> float:
    """What sequential errors say of all elements of an array: a share of the usual variance, 0 where they are as usual."""
    known = usual > 0
    share = float(np.mean(sequential[known] / usual[known])) if known.any() else 0.0
    return share if share > USUAL else 0.0


def product(x: Floats, y: Floats, squares: Floats, model: ErrorModel) -> tuple[Floats, Floats | None]:
    """x @ y, and its variance beyond that of a random order; None where there is none. `squares` are the sums of term²."""
    n, samples = x.shape[-1], model.branches.samples
    if n < FEW or not squares.size or x.ndim < 2 or y.ndim < 2:
        return x @ y, None
    # As many parts as cost little beside the product itself.
    room = (x.size + y.size) // (4 * squares.size)
    parts = min(PARTS, max(room, min(n // 32, 4), 1))
    by_sample = room > 1 and 1 < samples < n and n % samples == 0
    value, beyond = np.empty(squares.shape), np.zeros(squares.shape)
    step = max(1, CHUNK * squares.shape[-2] // squares.size)
    for own in (np.s_[..., first : first + step, :] for first in range(0, squares.shape[-2], step)):
        value[own], real = partial_sums(in_memory_order(x[own], y, parts))
        if by_sample:
            real = np.maximum(real, partial_sums(sample_by_sample(x[own], y, samples, min(parts, samples)))[1])
        if parts > 1:
            beyond[own] = np.maximum(real - model.random_order(value[own], squares[own], n), 0.0)
    places = some_of(value.shape, min(value.size, ELEMENTS, max(4, TERMS // n)))
    usual = model.random_order(value[places], squares[places], n) + beyond[places] + 2 * squares[places]
    share = repeated(sequential_errors(x, y, value, places, model), usual)
    if share:
        beyond += share * (model.random_order(value, squares, n) + beyond + 2 * squares)
    return value, beyond if beyond.any() else None


def partial_sums(factors: Iterator[tuple[Floats, Floats]]) -> tuple[Floats, Floats]:
    """The sum of all products, and the sum of the squares of its partial sums: of those after a factor for those around it."""
    x, y = next(factors)
    total, length = x @ y, x.shape[-1]
    squares, square = np.zeros_like(total), np.empty_like(total)
    for x, y in factors:
        np.multiply(total, total, out=square)
        square *= (length + x.shape[-1]) / 2
        squares += square
        total += x @ y
        length = x.shape[-1]
    return total, squares


def in_memory_order(x: Floats, y: Floats, parts: int) -> Iterator[tuple[Floats, Floats]]:
    n = x.shape[-1]
    for part in range(parts):
        own = slice(part * n // parts, (part + 1) * n // parts)
        yield x[..., own], y[..., own, :]


def sample_by_sample(x: Floats, y: Floats, samples: int, parts: int) -> Iterator[tuple[Floats, Floats]]:
    """Of terms that lie position after position, and in each the samples."""
    rows, columns = (a.reshape(*a.shape[:-1], -1, samples) for a in (x, np.swapaxes(y, -1, -2)))
    for part in range(parts):
        own = slice(part * samples // parts, (part + 1) * samples // parts)
        one, other = (a[..., own].reshape(*a.shape[:-2], -1) for a in (rows, columns))
        yield one, np.swapaxes(other, -1, -2)


def some_of(shape: tuple[int, ...], count: int) -> tuple[Any, ...]:
    """Index of elements that lie all over an array."""
    size = int(np.prod(shape))
    return np.unravel_index((np.arange(count) * GOLDEN_RATIO * size % size).astype(int), shape)


def sequential_errors(x: Floats, y: Floats, value: Floats, places: tuple[Any, ...], model: ErrorModel) -> Floats:
    """Square of what a plain loop errs in these elements of x @ y, in memory order or sample by sample, or the product itself."""
    n, samples = x.shape[-1], model.branches.samples
    *batch, row, column = places
    rows = np.broadcast_to(x, (*value.shape[:-2], *x.shape[-2:]))[(*batch, row)]
    columns = np.broadcast_to(np.swapaxes(y, -1, -2), (*value.shape[:-2], y.shape[-1], n))[(*batch, column)]
    terms = rows * columns
    worst: Floats = np.square((value[places] - np.sum(terms, axis=-1)) / model.roundoff_of_sums)
    worst = np.maximum(worst, sequential_error(terms, model))
    if 1 < samples < n and n % samples == 0:
        by_sample = np.swapaxes(terms.reshape(len(terms), -1, samples), 1, 2).reshape(len(terms), n)
        worst = np.maximum(worst, sequential_error(by_sample, model))
    return worst
