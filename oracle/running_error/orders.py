"""The additional rounding error of sums whose real order is worse than the random order of the model.

Real data comes sorted, sample after sample, and its terms repeat. Partial sums are then larger than in a random order, and a
plain loop rounds equal terms the same way each time. Both effects are computed from the terms: the squares of the partial sums
in memory order and sample after sample, and the error of a sequential sum in the subject's own dtype.

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
# Numbers of a row that tell whether they repeat; elements of a product whose terms are then looked at, and their terms, at most.
LOOK, ELEMENTS, TERMS = 64, 64, 2**17
# Square of a sequential sum's error, in variances of the model: less where terms do not repeat.
USUAL = 0.25


def total(x: Floats, axes: tuple[int, ...], squares: Floats, count: Floats, model: ErrorModel) -> tuple[Floats, Any]:
    """The sums of x over `axes`, as a column, and the variance that exceeds a random order's, or None if there is none.

    Args: squares and count are the sum of term² and the number of terms, with an element for each sum.
    """
    n = int(np.prod([x.shape[axis] for axis in axes]))
    rows = np.ascontiguousarray(
        np.moveaxis(x, axes, range(-len(axes), 0)).reshape(-1, n)
    )  # which NumPy adds up in pairs
    value = rows.sum(-1)
    squares, count = squares.reshape(-1), np.broadcast_to(count, squares.shape).reshape(-1)
    real, sequential = np.empty(len(rows)), np.empty(len(rows))
    step = max(1, CHUNK // n)
    for part in (slice(first, first + step) for first in range(0, len(rows), step)):
        terms = rows[part]
        sequential[part] = sequential_error(terms, model)
        partial = np.cumsum(terms, axis=-1)
        added = np.count_nonzero(terms, axis=-1)
        if added.min() < n:  # adding zero does not round
            partial[terms == 0] = 0.0
        real[part] = np.einsum("ij,ij->i", partial, partial) * (count[part] / np.maximum(added, 1))
    random = model.random_order(value, squares, count)
    usual = np.maximum(random, real) + squares
    share = sequential[usual > 0] / usual[usual > 0]
    beyond = np.maximum(real - random, 0.0) + np.where(sequential > USUAL * usual, sequential, 0.0)
    if share.size and np.mean(share) > USUAL:
        beyond += np.mean(share) * usual
    return value, beyond if beyond.any() else None


def sequential_error(terms: Floats, model: ErrorModel) -> Floats:
    """The squared error of a plain loop over the last axis."""
    low = np.cumsum(terms.astype(model.dtype_of_sums), axis=-1, dtype=model.dtype_of_sums)[..., -1]
    return squared_error(low, terms, model)


def squared_error(sums: Floats, terms: Floats, model: ErrorModel) -> Floats:
    error: Floats = np.square((sums - np.sum(terms, axis=-1)) / model.roundoff_of_sums)
    return np.where(np.isfinite(error), error, 0.0)


def product(x: Floats, y: Floats, squares: Floats, model: ErrorModel) -> tuple[Floats, Floats | None]:
    """x @ y, and the variance that exceeds a random order's, or None if there is none. `squares` holds the sums of term²."""
    n, samples = x.shape[-1], model.branches.samples
    if n < FEW or not squares.size or x.ndim < 2 or y.ndim < 2:
        return x @ y, None
    # As many parts as cost little beside the product itself.
    room = (x.size + y.size) // (4 * squares.size)
    parts = min(PARTS, max(room, min(n // FEW, 4), 1))
    by_sample = 1 < samples < n and n % samples == 0
    value, beyond = np.empty(squares.shape), np.zeros(squares.shape)
    step = max(1, CHUNK * squares.shape[-2] // squares.size)
    for own in (np.s_[..., first : first + step, :] for first in range(0, squares.shape[-2], step)):
        value[own], real = partial_sums(in_memory_order(x[own], y, parts))
        if by_sample:
            real = np.maximum(real, partial_sums(sample_by_sample(x[own], y, samples, min(parts, samples)))[1])
        if parts > 1:
            beyond[own] = np.maximum(real - model.random_order(value[own], squares[own], n), 0.0)
    alike = alike_in_both(x, y, samples if by_sample else 1)
    if alike is not None and alike.any():
        usual = model.random_order(value[alike], squares[alike], n) + beyond[alike] + 2 * squares[alike]
        few = min(len(usual), ELEMENTS, max(4, TERMS // n))
        some = np.arange(few) * len(usual) // few
        terms = terms_of(x, y, value.shape, tuple(index[some] for index in np.nonzero(alike)))
        error = np.maximum(sequential_error(terms, model), squared_error(value[alike][some], terms, model))
        if by_sample:
            error = np.maximum(error, sequential_error(sample_after_sample(terms, samples), model))
        # Of some elements it is far larger than of others, and nobody knows of which.
        beyond[alike] += np.max(error / np.maximum(usual[some], np.finfo(float).tiny)) * usual
    return value, beyond if beyond.any() else None


def partial_sums(factors: Iterator[tuple[Floats, Floats]]) -> tuple[Floats, Floats]:
    """The sum of all products, and the sum of its squared partial sums, estimated from those between two parts."""
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
    """The parts in the order of samples, for terms that lie position by position, and within a position sample by sample."""
    rows, columns = (a.reshape(*a.shape[:-1], -1, samples) for a in (x, np.swapaxes(y, -1, -2)))
    for part in range(parts):
        own = slice(part * samples // parts, (part + 1) * samples // parts)
        one, other = (a[..., own].reshape(*a.shape[:-2], -1) for a in (rows, columns))
        yield one, np.swapaxes(other, -1, -2)


def alike_in_both(x: Floats, y: Floats, samples: int) -> Floats | None:
    """The mask of elements of x @ y whose terms repeat, because both factors' numbers do; None if there are none."""
    rows = repeating(x, samples)
    columns = repeating(np.swapaxes(y, -1, -2), samples) if rows.any() else rows
    return rows[..., :, None] & columns[..., None, :] if columns.any() else None


def repeating(x: Floats, samples: int) -> Any:
    """Whether many nonzero numbers of each row are equal to others, judged by a selection from all and from one sample.

    Args: samples is the number of samples whose terms alternate; 1 if samples follow each other.
    """
    n = x.shape[-1]
    one = max(n // samples - LOOK, 0) // 2 * samples + samples // 2  # of the sample in the middle, from its middle
    return looks_repeating(x[..., :: max(n // LOOK, 1)][..., :LOOK]) | looks_repeating(x[..., one::samples][..., :LOOK])


def looks_repeating(few: Floats) -> Any:
    few = np.sort(few, axis=-1)
    equal = (few[..., 1:] == few[..., :-1]) & (few[..., 1:] != 0)
    return np.count_nonzero(equal, axis=-1) > 0.25 * np.count_nonzero(few, axis=-1)


def terms_of(x: Floats, y: Floats, shape: tuple[int, ...], places: tuple[Any, ...]) -> Any:
    """The terms of the given elements of x @ y, a row for each element."""
    *batch, row, column = places
    rows = np.broadcast_to(x, (*shape[:-2], *x.shape[-2:]))[(*batch, row)]
    columns = np.broadcast_to(np.swapaxes(y, -1, -2), (*shape[:-2], y.shape[-1], y.shape[-2]))[(*batch, column)]
    return rows * columns


def sample_after_sample(terms: Floats, samples: int) -> Floats:
    """Rows of terms that lie position by position, reordered sample by sample."""
    return np.swapaxes(terms.reshape(len(terms), -1, samples), 1, 2).reshape(terms.shape)
