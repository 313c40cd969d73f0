"""Sums whose rounding is counted once for all their terms: what is added up, joined, written over and read on the way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oracle.running_error import ErrorArray, ErrorModel
from oracle.running_error.model import Twofold

MODEL = ErrorModel(np.dtype("float32"), bounds=True)
U = 2.0**-24


def exact(value: Any) -> ErrorArray:
    return ErrorArray.exact(value, MODEL)


def summed(terms: Any, axis: int | None = None) -> ErrorArray:
    result: ErrorArray = np.sum(exact(terms), axis=axis)  # type: ignore[call-overload]
    return result


@dataclass(frozen=True)
class Known:
    """What is to be known of the elements of a sum: kept apart from ErrorArray, each sum a list of what it came from.

    Attributes: value; number of terms, their squares and sizes; variance and bound of what is no rounding of the sum itself;
        the squares of all that was added up on the way.
    """

    value: Any
    number: Any
    squares: Any
    sizes: Any
    variance: Any
    bound: Any
    scale: Any

    def __add__(self, other: Known) -> Known:
        return Known(*(own + others for own, others in zip(vars(self).values(), vars(other).values(), strict=True)))

    def __neg__(self) -> Known:
        return replace(self, value=-self.value)

    def closed(self) -> Known:
        """Read: the rounding of the sum is counted, and what is left is one number."""
        n, gamma = self.number, (self.number - 1) * U / (1 - (self.number - 1) * U)
        own = U**2 * (n / 3 * self.value**2 + (1 + n / 6) * self.squares)
        return Known(
            self.value,
            (self.value != 0) * 1.0,
            self.value**2,
            np.abs(self.value),
            self.variance + np.where(n > 1, own, 0),
            self.bound + np.where(n > 1, gamma * self.sizes, 0),
            self.scale,
        )


WIDTH = 3
ONES = np.ones(WIDTH)
NOTHING = Known(*[0 * ONES] * 7)


def plain(rng: np.random.Generator) -> tuple[ErrorArray, Known]:
    v = rng.standard_normal(WIDTH)
    return exact(v), Known(v, ONES, v**2, np.abs(v), 0 * v, 0 * v, v**2)


def zeros(rng: np.random.Generator) -> tuple[ErrorArray, Known]:
    return exact(0 * ONES), NOTHING


def uncertain(rng: np.random.Generator) -> tuple[ErrorArray, Known]:
    array, known = plain(rng)
    error = rng.uniform(1e-7, 2e-7, WIDTH)
    return ErrorArray(array.value, MODEL, Twofold(error**2, 3 * error)), replace(
        known, variance=error**2, bound=3 * error
    )


def difference(rng: np.random.Generator) -> tuple[ErrorArray, Known]:
    x, y = rng.standard_normal((2, WIDTH))
    v, u = x - y, U * np.abs(x - y)
    return exact(x) - exact(y), Known(v, ONES, v**2, np.abs(v), u**2, u, x**2 + y**2)


def open_sum(rng: np.random.Generator) -> tuple[ErrorArray, Known]:
    terms = rng.standard_normal((5, WIDTH))
    squares, sizes = np.sum(terms**2, axis=0), np.sum(np.abs(terms), axis=0)
    return summed(terms, axis=0), Known(np.sum(terms, axis=0), 5 * ONES, squares, sizes, 0 * ONES, 0 * ONES, squares)


def cancelled(rng: np.random.Generator) -> tuple[ErrorArray, Known]:
    v = rng.standard_normal(WIDTH)
    return summed(np.stack([v, -v]), axis=0), Known(
        0 * ONES, 2 * ONES, 2 * v**2, 2 * np.abs(v), 0 * ONES, 0 * ONES, 2 * v**2
    )


def products(rng: np.random.Generator) -> tuple[ErrorArray, Known]:
    x, y = rng.standard_normal(4), rng.standard_normal((4, WIDTH))
    terms = x[:, None] * y
    squares, sizes = np.sum(terms**2, axis=0), np.sum(np.abs(terms), axis=0)
    return exact(x) @ exact(y), Known(x @ y, 4 * ONES, squares, sizes, U**2 * squares, U * sizes, squares)


def sum_of_products(rng: np.random.Generator) -> tuple[ErrorArray, Known]:
    x, y = rng.standard_normal((2, 4)), rng.standard_normal((4, WIDTH))
    terms = x[:, :, None] * y
    squares, sizes = np.sum(terms**2, axis=(0, 1)), np.sum(np.abs(terms), axis=(0, 1))
    array: ErrorArray = (exact(x) @ exact(y)).sum(axis=0)
    return array, Known(np.sum(x @ y, axis=0), 8 * ONES, squares, sizes, U**2 * squares, U * sizes, squares)


KINDS: dict[str, Callable[[np.random.Generator], tuple[ErrorArray, Known]]] = {
    "plain": plain,
    "zeros": zeros,
    "uncertain": uncertain,
    "difference": difference,
    "open sum": open_sum,
    "cancelled": cancelled,
    "products": products,
    "sum of products": sum_of_products,
}


def check(array: ErrorArray, known: Known) -> None:
    expected = known.closed()
    np.testing.assert_allclose(array.value, expected.value, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(array.scale_or_own, expected.scale, rtol=1e-12)
    np.testing.assert_allclose(array.sigma, np.sqrt(expected.variance), rtol=1e-12)
    np.testing.assert_allclose(array.bound, expected.bound, rtol=1e-12)


@given(kinds=st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=5), seed=st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_whatever_is_added_up_is_one_sum(kinds: list[str], seed: int) -> None:
    """In any order: each term counts once, is rounded as a product if it is one, and keeps the error that it came with."""
    rng = np.random.default_rng(seed)
    total, known = KINDS[kinds[0]](rng)
    total = total.copy()
    for kind in kinds[1:]:
        array, more = KINDS[kind](rng)
        total += array
        known += more
    check(-total, -known)
    check(total, known)


@pytest.mark.parametrize(("first", "second"), list(product(KINDS, KINDS)))
def test_a_row_takes_one_after_the_other(first: str, second: str) -> None:
    """Added in place, or written over; the row beside it is not touched."""
    rng = np.random.default_rng(0)
    (one, known), (other, more) = KINDS[first](rng), KINDS[second](rng)
    added, over = (np.zeros_like(exact(np.ones((2, WIDTH)))) for _ in range(2))
    added[0] += one
    added[0] += other
    over[0] = one
    over[0] = other
    for array, expected in ((added, known + more), (over, more)):
        check(array[0], expected)
        check(array[1], NOTHING)


def test_what_has_been_added_is_not_written_into() -> None:
    """A sum that begins with an array shares its errors at first."""
    first, known = uncertain(np.random.default_rng(0))
    total = exact(0 * ONES)
    total += first
    total[0] = 5.0
    check(first, known)
    first[1] = 5.0
    np.testing.assert_array_equal(total.sigma[1:], np.sqrt(known.variance[1:]))


@dataclass(frozen=True)
class Reading:
    """What is made of the array on the way; of a sum this is one itself, unless it is `closed`, and so may be the array then."""

    read: Callable[[ErrorArray], ErrorArray]
    closed: bool = False
    closes: bool = False

    def __call__(self, array: ErrorArray, rows: list[Known]) -> tuple[ErrorArray, list[Known]]:
        """The result and what is to be known of it."""
        result = self.read(array)
        signs = np.where(result.value == array.value[: len(result)], 1, -1)
        known = [row.closed() if self.closed else row for row in rows]
        return result, [replace(row, value=sign * row.value) for sign, row in zip(signs, known, strict=False)]


READINGS = {
    "the opposite": Reading(lambda x: -x),
    "sizes": Reading(abs, closed=True, closes=True),
    "the opposite of another shape": Reading(lambda x: -x.reshape(-1).reshape(2, WIDTH)),
    "the opposite of a row": Reading(lambda x: -x[:1]),
    "sizes of a row": Reading(lambda x: abs(x[:1]), closed=True),
    "a sum that begins with a row": Reading(lambda x: -(exact(np.zeros((1, WIDTH))).__iadd__(x[:1]))),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", READINGS)
def test_what_was_read_and_what_it_was_read_from_go_separate_ways(name: str, kind: str) -> None:
    """Whatever is added to one of them afterwards, in place or not."""
    rng = np.random.default_rng(0)
    for further in KINDS.values():
        array, rows = np.zeros_like(exact(np.ones((2, WIDTH)))), [NOTHING, NOTHING]
        for _ in range(2):
            addend, more = KINDS[kind](rng)
            array[0] += addend
            rows[0] += more
        result, its = READINGS[name](array, rows)
        rows = [row.closed() for row in rows] if READINGS[name].closes else rows
        for into, known in ((array, rows), (result, its), (array, rows)):
            addend, more = further(rng)
            into[0] += addend
            known[0] += more
        for into, known in ((array, rows), (result, its)):
            check(into[0], known[0])


STEPS = st.one_of(
    st.tuples(st.sampled_from(["add", "set"]), st.integers(0, 1), st.sampled_from(sorted(KINDS))),
    st.tuples(st.just("copy"), st.integers(0, 1), st.just("the other row")),
    st.tuples(st.just("read"), st.just(0), st.sampled_from(sorted(READINGS))),
    st.tuples(st.just("add to what was read"), st.just(0), st.sampled_from(sorted(KINDS))),
)


@given(steps=st.lists(STEPS, min_size=3, max_size=12), seed=st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=300)
def test_writing_and_reading_by_turns(steps: list[tuple[str, int, str]], seed: int) -> None:
    """Additions into a row, some of them in place, and rows written over: each row is the sum of its own, what was read before
    stays as it was, and what becomes of that stays with it."""
    rng = np.random.default_rng(seed)
    array, rows = np.zeros_like(exact(np.ones((2, WIDTH)))), [NOTHING, NOTHING]
    kept: list[tuple[ErrorArray, list[Known]]] = []
    for action, row, name in steps:
        if action == "copy":
            array[row] = array[1 - row]
            rows[row] = rows[1 - row]
        elif action == "read":
            kept.append(READINGS[name](array, rows))
            rows = [known.closed() if READINGS[name].closes else known for known in rows]
        elif kept or action != "add to what was read":
            addend, known = KINDS[name](rng)
            into, its = kept[-1] if action == "add to what was read" else (array, rows)
            if action == "set":
                into[row], its[row] = addend, known
            else:
                into[row] += addend
                its[row] += known
    for result, expected in [*kept, (array, rows)]:
        for i, known in enumerate(expected):
            check(result[i], known)
