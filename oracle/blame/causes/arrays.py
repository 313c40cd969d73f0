"""Hypotheses about the numbers alone: the right ones scaled, reversed, shifted, permuted, lost, or from another step."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations, product
from typing import Any

import ml_dtypes
import numpy as np

from oracle.blame.causes.evidence import Evidence, Hypothesis
from oracle.running_error.model import LAMBDA, Floats

# How many digits are tried for written numbers, by which share of a unit they may miss it, and how improbable it has to be that
# others come so near to it. A program that writes so computes with more digits than it shows: its results differ by some units
# from those of the numbers that it showed.
MOST_DIGITS, ON_A_GRID, BY_CHANCE, UNITS = 13, 1e-2, 1e-6, 10


def hypotheses(e: Evidence) -> Iterator[Hypothesis]:
    yield from of_time(e)
    yield from lost(e)
    yield from passed_on(e)
    yield from moved(e)
    yield from scaled(e)
    yield from rounded(e)
    yield from written(e)
    yield from in_other_bytes(e)
    yield from exchanged(e)
    yield from in_another_order(e)


def scaled(e: Evidence) -> Iterator[Hypothesis]:
    value, sigma = e.expected.value, e.expected.sigma
    yield Hypothesis("sign", "the sign is wrong", -value, sigma)
    yield Hypothesis("sign", "the sign is lost: absolute values", np.abs(value), sigma)
    known = factors(e)
    for factor, words in known.items():
        yield Hypothesis("factor", f"{words} times the right value", value * factor, rounded_once(e, factor))
    usable = np.isfinite(value) & np.isfinite(e.got)
    norm = float(np.sum(np.square(value[usable])))
    if value.size >= 4 and norm > 0:
        factor = float(np.sum(e.got[usable] * value[usable])) / norm
        named = any(math.isclose(factor, other, rel_tol=1e-3) for other in known)
        if factor and not named and abs(abs(factor) - 1) > 16 * e.model.unit_roundoff:
            said = told_apart(factor, math.copysign(1.0, factor))
            yield Hypothesis("factor", f"a constant factor of {said}", value * factor, rounded_once(e, factor))


def told_apart(number: float, due: float) -> str:
    """A number with enough digits to differ from the right one, so that a text never says that 1 is wrong and should be 1."""
    texts = ((f"{number:.{digits}g}", f"{due:.{digits}g}") for digits in range(7, 17))
    return next((own for own, other in texts if own != other), repr(number))


def rounded_once(e: Evidence, factor: float) -> Floats:
    """The error of the right value times a factor, rounded once more."""
    return np.hypot(e.expected.sigma, 2 * e.model.unit_roundoff * np.abs(e.expected.value)) * abs(factor)


def factors(e: Evidence) -> dict[float, str]:
    """Numbers that are often forgotten or used twice, by value, with the meanings of each value in this case."""
    counts: dict[str, float] = {}
    if e.case.inputs:
        shape = e.input.shape
        counts |= {"the batch size": shape[0] if shape else 1, "the number of elements": e.input.size}
        counts["the number of features"] = math.prod(shape[1:])
        counts["the number of input positions"] = math.prod(shape[2:])
        if len(shape) > 2 and shape[1]:
            counts["the number of values per channel"] = e.input.size / shape[1]
    if e.upstream is not None:
        counts["the number of output positions"] = math.prod(e.upstream.shape[2:])
        counts["the number of output elements"] = e.upstream.size
        if e.upstream.ndim > 2:
            counts["the batch size times the output positions"] = e.upstream.size / max(e.upstream.shape[1], 1)
    if e.case.optimizer is not None:
        counts["the rate"] = float(e.case.optimizer.options.get("lr", 1e-3))
    p = e.spec.options.get("p") if e.spec is not None else None
    if isinstance(p, float) and 0 < p < 1:
        counts["the share that is kept"] = 1 - p
    if e.case.loss is not None and not e.case.layers and e.case.inputs:
        counts["half the number of elements"] = e.input.size / 2
    counts["2"] = 2.0  # last, because a count of this case explains more than a bare number
    found: dict[float, list[str]] = {}
    for words, count in counts.items():
        if count not in (0, 1):
            found.setdefault(float(count), []).append(words)
            found.setdefault(1 / count, []).append(f"1 / {words}")
    return {factor: " or ".join(words) for factor, words in found.items()}


def moved(e: Evidence) -> Iterator[Hypothesis]:
    value, sigma = e.expected.value, e.expected.sigma
    rank = value.ndim
    for first, second in combinations(range(rank), 2):
        if value.shape[first] == value.shape[second] > 1:
            swap: Any = lambda a, i=first, j=second: np.swapaxes(a, i, j)  # noqa: E731
            yield Hypothesis("transposed", f"dimensions {first} and {second} are exchanged", swap(value), swap(sigma))
    if rank >= 2 and value.shape == value.T.reshape(value.shape).shape:
        yield Hypothesis(
            "transposed", "the memory order is another one", value.T.reshape(value.shape), sigma.T.reshape(value.shape)
        )
    for count in range(1, rank + 1):
        for axes in combinations(range(rank), count):
            if all(value.shape[axis] > 1 for axis in axes):
                cause = "turned" if axes[0] >= 2 or rank < 2 else "permuted"
                yield Hypothesis(
                    cause, f"reversed along {dimensions(axes)}", np.flip(value, axes), np.flip(sigma, axes)
                )
    for axis in range(rank):
        for offset in (1, -1, 2, -2):
            if value.shape[axis] > abs(offset):
                yield Hypothesis(
                    "shifted",
                    f"shifted by {offset} along {dimensions((axis,))}",
                    np.roll(value, offset, axis),
                    np.roll(sigma, offset, axis),
                )
                yield Hypothesis(
                    "shifted",
                    f"shifted by {offset} along {dimensions((axis,))}, zeros moved in",
                    pushed(value, offset, axis),
                    pushed(sigma, offset, axis),
                )
    yield from shifted_diagonally(e)
    for axis in range(min(rank, 2)):
        yield from permuted(e, axis)


def shifted_diagonally(e: Evidence) -> Iterator[Hypothesis]:
    """The array shifted by (i, j) along the last two dimensions."""
    value, sigma = e.expected.value, e.expected.sigma
    if value.ndim < 2 or min(value.shape[-2:]) < 2:
        return
    for offsets in product((1, -1), (1, -1)):
        words = f"shifted by {offsets} along the last two dimensions"
        yield Hypothesis("shifted", words, np.roll(value, offsets, (-2, -1)), np.roll(sigma, offsets, (-2, -1)))
        moved_in = [pushed(pushed(array, offsets[0], -2), offsets[1], -1) for array in (value, sigma)]
        yield Hypothesis("shifted", f"{words}, zeros moved in", *moved_in)


def pushed(array: Floats, offset: int, axis: int) -> Floats:
    result = np.roll(array, offset, axis)
    edge: list[Any] = [slice(None)] * array.ndim
    edge[axis] = slice(None, offset) if offset > 0 else slice(offset, None)
    result[tuple(edge)] = 0
    return result


def permuted(e: Evidence, axis: int) -> Iterator[Hypothesis]:
    """Each slice of the received array is another slice of the expected one."""
    value, got = np.moveaxis(e.expected.value, axis, 0), np.moveaxis(e.got, axis, 0)
    if not 2 <= len(value) <= 64 or value[0].size < 2 or not np.isfinite(value).all() or not np.isfinite(got).all():
        return
    flat, own = value.reshape(len(value), -1), got.reshape(len(got), -1)
    order = np.array([int(np.argmin(np.max(np.abs(flat - row), axis=1))) for row in own])
    if len(set(order.tolist())) == len(order) and (order != np.arange(len(order))).any():
        place = (
            "the batch"
            if axis == 0 and not e.quantity.startswith(("grad.", "param.", "momentum."))
            else dimensions((axis,))
        )
        words = f"{place} is in another order: {' '.join(map(str, order.tolist()[:12]))}"
        yield Hypothesis(
            "permuted", words, np.take(e.expected.value, order, axis), np.take(e.expected.sigma, order, axis)
        )


def lost(e: Evidence) -> Iterator[Hypothesis]:
    value, sigma = e.expected.value, e.expected.sigma
    yield Hypothesis("zero", "nothing arrives: zeros", value * 0, 0.0)
    for axis in range(value.ndim):
        for index, words in ((0, "first"), (-1, "last")):
            if value.shape[axis] > 1:
                without, allowed = value.copy(), sigma.copy()
                place = (slice(None),) * axis + (index,)
                if not np.isfinite(value[place]).all():
                    continue  # zeros in place of NaN have another cause
                without[place], allowed[place] = 0, 0
                yield Hypothesis(
                    "slice lost", f"the {words} element of {dimensions((axis,))} is left out", without, allowed
                )

    for axis in range(2, value.ndim - 1):
        for index, words in ((0, "first"), (-1, "last")):
            without, allowed = value.copy(), sigma.copy()
            for own in range(axis, value.ndim):
                edge = (slice(None),) * own + (index,)
                without[edge], allowed[edge] = 0, 0
            said = f"the {words} element of each of {dimensions(tuple(range(axis, value.ndim)))} is left out"
            yield Hypothesis("slice lost", said, without, allowed)


def passed_on(e: Evidence) -> Iterator[Hypothesis]:
    if e.quantity == "grad_input" and e.upstream is not None and e.upstream.shape == e.got.shape:
        yield Hypothesis(
            "derivative omitted",
            "the upstream gradient is passed on as it is: the derivative is left out",
            e.upstream.astype(np.float64),
            0.0,
        )


def of_time(e: Evidence) -> Iterator[Hypothesis]:
    if e.previous is None or e.previous.shape != e.got.shape or e.got.size < 2:  # single numbers agree by chance
        return
    before = e.previous.astype(np.float64)
    yield Hypothesis("stale", "the result of the step before", before, 0.0)
    if e.quantity.startswith("grad"):
        yield Hypothesis(
            "accumulated",
            "the gradient of the step before is still in it (not zeroed)",
            e.expected.value + before,
            np.hypot(e.expected.sigma, e.model.unit_roundoff * np.abs(before)),
        )


def rounded(e: Evidence) -> Iterator[Hypothesis]:
    for dtype, words in ((np.float32, "float32"), (np.float16, "float16"), (ml_dtypes.bfloat16, "bfloat16")):
        if np.dtype(dtype).itemsize < np.dtype(e.case.dtype).itemsize:
            with np.errstate(over="ignore"):
                value = e.expected.value.astype(dtype).astype(np.float64)
            yield Hypothesis("precision", f"stored in {words} on the way", value, e.expected.sigma)


def written(e: Evidence) -> Iterator[Hypothesis]:
    """Numbers that went through a text with too few digits, as those of printf's %f and %g."""
    size = np.abs(e.got)
    if not np.isfinite(size).all():
        return
    first = np.floor(np.log10(np.where(size > 0, size, 1.0))) + 1
    found: list[tuple[float, Hypothesis]] = []
    for places, words in ((np.zeros_like(size), "decimals"), (first, "significant digits")):
        for digits in range(2, MOST_DIGITS):
            unit = 10.0 ** (places - digits)
            steps = e.got / unit
            # Read back, a written number is rounded to the dtype.
            missed = np.maximum(ON_A_GRID, 2 * e.model.unit_roundoff * np.abs(steps))
            if np.prod(np.minimum(2 * missed, 1.0), where=size > 0) > BY_CHANCE:
                break
            if (np.abs(steps - np.round(steps)) <= missed).all():
                sigma = np.hypot(e.expected.sigma, UNITS * unit / LAMBDA)
                own = Hypothesis("digits", f"written with {digits} {words}", e.expected.value, sigma)
                found.append((float(np.sum(places - digits, where=size > 0)), own))
                break
    if found:  # of two grids the finer one fits because the coarser one does
        yield max(found, key=lambda one: one[0])[1]


def in_other_bytes(e: Evidence) -> Iterator[Hypothesis]:
    """Numbers whose bytes are in the other order, as Java's streams write them into a file; some of them may be NaN."""
    swapped = e.got.astype(e.case.dtype).byteswap().astype(np.float64)
    known = ~np.isnan(e.got)
    seen = replace(e, got=np.where(known, swapped, e.expected.value))
    if e.got[known].any() and 2 * known.sum() > known.size and seen.fits(e.expected.value, e.expected.sigma):
        yield Hypothesis("byte order", "the bytes of each number are in reverse order (big-endian)", e.got, 0.0)


def exchanged(e: Evidence) -> Iterator[Hypothesis]:
    """The subject's array is another quantity of the same layer, or one branch of a container alone."""
    for quantity, value in e.siblings.items():
        if value.shape == e.got.shape and not np.array_equal(value, e.expected.value):
            yield Hypothesis(
                "another quantity", f"it holds the {quantity}", value, e.model.unit_roundoff * 8 * np.abs(value)
            )
    shares = [source.astype(np.float64) for source in e.sources]
    if len(shares) == 2 and shares[0].shape == shares[1].shape == e.got.shape:
        for words, value in (
            ("the second path is left out", shares[0]),
            ("the first path is left out", shares[1]),
            ("the second path is subtracted", shares[0] - shares[1]),
            ("the first path is subtracted", shares[1] - shares[0]),
        ):
            noise = 2 * e.model.unit_roundoff * (np.abs(shares[0]) + np.abs(shares[1]))
            yield Hypothesis("path", words, value, np.hypot(e.expected.sigma, noise))


def in_another_order(e: Evidence) -> Iterator[Hypothesis]:
    """The same numbers in other positions."""
    value = e.expected.value
    if value.size < 4 or not np.isfinite(value).all() or not np.isfinite(e.got).all():
        return
    order, own = np.argsort(value, axis=None), np.argsort(e.got, axis=None)
    other, sigma = np.empty(value.size), np.empty(value.size)
    other[own], sigma[own] = np.ravel(value)[order], np.ravel(e.expected.sigma)[order]
    yield Hypothesis(
        "order", "the right numbers in another order", other.reshape(value.shape), sigma.reshape(value.shape)
    )


def dimensions(axes: tuple[int, ...]) -> str:
    return f"dimension {axes[0]}" if len(axes) == 1 else f"dimensions {', '.join(map(str, axes))}"
