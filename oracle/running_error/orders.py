"""The additional rounding error of sums whose real order is worse than the random order of the model.

Real data comes sorted, sample after sample, and its terms repeat. Partial sums are then larger than in a random order, and a
plain loop rounds equal terms the same way each time. Both effects are computed from the terms: the squares of the partial sums
in memory order and sample after sample, and the error of a sequential sum in the subject's own dtype.

All variances here are in units of the squared roundoff of sums.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from oracle.running_error.model import ErrorModel, Floats, Twofold

# With fewer terms every order is close to a random one.
FEW = 16
# The largest number of parts of a product's terms; partial sums are looked at after each part.
PARTS = 16
# The largest number of groups of terms along a dimension.
GROUPS = 8
# Elements that are added up together: they stay in a processor's second cache.
CHUNK = 2**15
# Limits of the search for terms that repeat: numbers of a row, elements of a product, and terms of these elements.
LOOK, ELEMENTS, TERMS = 64, 64, 2**17
# The squared error of a sequential sum, in variances of the model. It is smaller where terms do not repeat.
USUAL = 0.25


def in_order(beyond: Floats | None, value: Floats, model: ErrorModel) -> Twofold | None:
    """The variance beyond a random order as an error of these sums; the worst-case bound already holds for every order."""
    if beyond is None:
        return None
    variance = beyond.reshape(value.shape) * model.roundoff_of_sums**2
    variance = np.where(np.isfinite(variance), variance, 0.0)
    return Twofold(variance, np.zeros_like(variance) if model.bounds else None)


class Orders(NamedTuple):
    """The partial sums of products that are added up, as far as they can be larger than a random order's.

    Attributes:
        in_memory: the sum of their squares, in the order of the terms in memory.
        by_group: for each other order the sums of its groups of terms, one after the other. If terms come sample by sample, these
            are groups of samples, in the dtype of the subject's sums.
    """

    in_memory: Floats
    by_group: tuple[tuple[Floats, ...], ...] = ()

    def part(self, index: Any) -> Orders:
        """The partial sums of the sums at an index."""
        return Orders(self.in_memory[index], tuple(tuple(own[index] for own in groups) for groups in self.by_group))

    def of_fewer(self, share: Floats) -> Orders:
        """The orders of sums of which only this share of the terms is not zero, spread among the others."""
        return Orders(self.in_memory * share, self.by_group)

    def followed_by(self, total: Floats, other: Orders, value: Floats, count: Floats | int) -> Orders:
        """The orders of a running total, after it was `total` and another sum of `count` terms was added, which is `value`.

        The other's partial sums begin at the total: on average over them, (total + s)² is total² + total · value + s².
        """
        line = other.in_memory + count * (total * (total + value))
        alike = len(self.by_group) == len(other.by_group)
        pairs = zip(self.by_group, other.by_group, strict=True) if alike else ()
        return Orders(self.in_memory + np.maximum(line, 0.0), tuple(both(*pair) for pair in pairs))

    def beyond(self, value: Floats, squares: Floats, count: Floats | int, model: ErrorModel) -> Floats | None:
        """The variance that exceeds a random order's, or None if there is none."""
        real = self.in_memory
        for groups in self.by_group:
            real = np.maximum(real, squared_partial_sums(groups, count))
        beyond: Floats = np.maximum(real - model.random_order(value, squares, count), 0.0)
        return beyond if beyond.any() else None


def both(one: tuple[Floats, ...], other: tuple[Floats, ...]) -> tuple[Floats, ...]:
    """The sums of groups that have the terms of both."""
    fewer = min(len(one), len(other))
    return tuple(a + b for a, b in zip(joined(one, fewer), joined(other, fewer), strict=True))


def joined(groups: tuple[Floats, ...], fewer: int) -> tuple[Floats, ...]:
    """The sums of fewer groups, of which each is some of these. The groups are single samples or a power of two, or none."""
    n = len(groups)
    bounds = [own * n // fewer for own in range(fewer + 1)] if fewer else []
    return tuple(sum(groups[first + 1 : last], groups[first]) for first, last in pairwise(bounds))


def squared_partial_sums(groups: tuple[Floats, ...], count: Floats | int) -> Floats:
    """The sum of the squares of all partial sums, estimated from the partial sums after each group of terms."""
    total, squares = groups[0].astype(np.float64), np.zeros(groups[0].shape)
    for group in groups[1:]:
        squares += total * total
        total += group
    squares *= count / len(groups)
    return squares


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
    beyond = np.maximum(real - random, 0.0) + repeated(sequential, np.maximum(random, real) + squares)
    return value, beyond if beyond.any() else None


def repeated(sequential: Floats, usual: Floats) -> Floats:
    """The variance by which sums in a plain loop err more than usual, as sums of equal terms do.

    Args: sequential is the squared error of the loop. It is that of one order, so its mean counts for all if that is large.
    """
    share = sequential[usual > 0] / usual[usual > 0]
    beyond = np.where(sequential > USUAL * usual, sequential, 0.0)
    return beyond + np.mean(share) * usual if share.size and np.mean(share) > USUAL else beyond


def scattered(
    start: Floats, to: Any, terms: Floats, squares: Floats, model: ErrorModel
) -> tuple[Floats, Floats | None]:
    """The sums of terms that are added to elements one after another, and the variance that exceeds a random order's.

    Args: start has the elements before, `to` the flat position of each term's element, squares the sums of all terms².
    """
    value, to, terms = start.reshape(-1).copy(), to.reshape(-1), terms.reshape(-1)
    np.add.at(value, to, terms)
    count: Floats = np.bincount(to, minlength=value.size).astype(np.float64)
    if not count.size or count.max() < FEW:
        return value.reshape(start.shape), None
    dtype = np.dtype(model.accumulate or model.dtype)
    low = start.reshape(-1).astype(dtype)
    np.add.at(low, to, terms.astype(dtype))
    order = np.argsort(to, kind="stable")
    behind, partial = to[order], np.cumsum(terms[order])
    first = (np.cumsum(count) - count).astype(np.int64)  # the place of each element's first term
    before = np.where(first > 0, partial[np.maximum(first - 1, 0)], 0.0)
    real = np.bincount(behind, np.square(partial - before[behind] + start.reshape(-1)[behind]), value.size)
    random = model.random_order(value, squares.reshape(-1), count)
    sequential = np.square((low.astype(np.float64) - value) / model.roundoff_of_sums)
    sequential = np.where(np.isfinite(sequential), sequential, 0.0)
    beyond = np.maximum(real - random, 0.0) + repeated(sequential, np.maximum(random, real) + squares.reshape(-1))
    return value.reshape(start.shape), beyond if beyond.any() else None


def sequential_error(terms: Floats, model: ErrorModel) -> Floats:
    """The squared error of a plain loop over the last axis, in 16 bits too, in which a sum soon stops growing."""
    dtype = np.dtype(model.accumulate or model.dtype)
    low = np.cumsum(terms.astype(dtype), axis=-1, dtype=dtype)[..., -1]
    return squared_error(low.astype(np.float64), terms, model)


def squared_error(sums: Floats, terms: Floats, model: ErrorModel) -> Floats:
    error: Floats = np.square((sums - np.sum(terms, axis=-1)) / model.roundoff_of_sums)
    return np.where(np.isfinite(error), error, 0.0)


def parts_of(given: int, made: int, terms: int) -> int:
    """How many parts a product is cut into to look at its partial sums: so few that this costs little compared with the product.

    Args: the numbers of elements of its two factors together and of the result, and of the terms of an element.
    """
    return min(PARTS, max(given // (4 * made), min(terms // FEW, 4), 1))


def product(
    x: Floats, y: Floats, squares: Floats, model: ErrorModel, samples: int = 0, inner: tuple[int, ...] = ()
) -> tuple[Floats, Floats | None, Orders | None]:
    """x @ y, the variance by which terms that repeat exceed a random order's, or None if there is none, and the orders.

    Args: squares holds the sums of term², samples is the number of samples whose terms are added up; 0 if these are no samples'.
        inner has the sizes of the dimensions over which they are added up, in the order of memory, if there are several.
    """
    n = x.shape[-1]
    if n < FEW or not squares.size or x.ndim < 2 or y.ndim < 2:
        return x @ y, None, None
    parts = parts_of(x.size + y.size, squares.size, n)
    by_sample = 1 < samples < n and n % samples == 0
    value, real = np.empty(squares.shape), np.empty(squares.shape)
    step = max(1, CHUNK * squares.shape[-2] // squares.size)
    for own in (np.s_[..., first : first + step, :] for first in range(0, squares.shape[-2], step)):
        value[own], real[own] = partial_sums(in_memory_order(x[own], y, parts))
    others: tuple[tuple[Floats, ...], ...] = ()
    if by_sample:
        others = (tuple(sums_by_sample(x, y, samples, parts, model.dtype_of_sums)),)
    if model.every_order:
        others += tuple(tuple(sums_along(x, y, inner or (n,), axis)) for axis in range(len(inner) > 1, len(inner) or 1))
    found = Orders(real, others) if parts > 1 or others else None
    alike = alike_in_both(x, y, samples if by_sample else 1)
    if alike is None or not alike.any():
        return value, None, found
    beyond = found.beyond(value, squares, n, model) if found is not None else None
    usual = model.random_order(value[alike], squares[alike], n) + 2 * squares[alike]
    if beyond is not None:
        usual += beyond[alike]
    few = min(len(usual), ELEMENTS, max(4, TERMS // n))
    some = np.arange(few) * len(usual) // few
    terms = terms_of(x, y, value.shape, tuple(index[some] for index in np.nonzero(alike)))
    error = np.maximum(sequential_error(terms, model), squared_error(value[alike][some], terms, model))
    if by_sample:
        error = np.maximum(error, sequential_error(sample_after_sample(terms, samples), model))
    # Some elements have a far larger error than others, and it is not known which.
    repeated = np.zeros(squares.shape)
    repeated[alike] = np.max(error / np.maximum(usual[some], np.finfo(float).tiny)) * usual
    return value, repeated, found


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


def sums_by_sample(x: Floats, y: Floats, samples: int, parts: int, dtype: Any) -> Iterator[Floats]:
    """The sums of single samples, or of a power of two of groups if there are more than `parts`, whose terms lie position by
    position. Their squares matter, so the subject's dtype of sums is precise enough."""
    groups = samples if samples <= parts else 1 << (parts.bit_length() - 1)
    rows = sample_after_sample(x.astype(dtype, copy=False), samples)
    columns = np.swapaxes(sample_after_sample(np.swapaxes(y, -1, -2).astype(dtype, copy=False), samples), -1, -2)
    positions = x.shape[-1] // samples
    for group in range(groups):
        own = slice(group * samples // groups * positions, (group + 1) * samples // groups * positions)
        yield rows[..., own] @ columns[..., own, :]


def sums_along(x: Floats, y: Floats, inner: tuple[int, ...], axis: int) -> Iterator[Floats]:
    """The sums of groups of terms along one of the dimensions over which they are added up, which is outermost in a loop."""
    rows = x.reshape(*x.shape[:-1], *inner)
    columns = y.reshape(*y.shape[:-2], *inner, y.shape[-1])
    size = inner[axis]
    groups = min(size, GROUPS)
    for group in range(groups):
        own = (slice(None),) * axis + (slice(group * size // groups, (group + 1) * size // groups),)
        rest = (slice(None),) * (len(inner) - axis - 1)
        left = rows[(..., *own, *rest)]
        yield left.reshape(*x.shape[:-1], -1) @ columns[(..., *own, *rest, slice(None))].reshape(
            *y.shape[:-2], -1, y.shape[-1]
        )


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
    by_position = terms.reshape(*terms.shape[:-1], -1, samples)
    return np.swapaxes(by_position, -1, -2).reshape(terms.shape)
