"""Padding and windows take the elements that they say they take, and each adjoint is the transpose of its map."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refbp.windows import (
    add_windows,
    added_back,
    batch_last,
    empty_batch_last,
    inside,
    padded,
    padding_sources,
    sizes,
    taken,
    taps,
    window_counts,
    windows,
)

NUMPY_MODES = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def transposed(forward: Any, adjoint: Any, x: Any, seed: int) -> None:
    """<A x, y> = <x, Aᵀ y> for a random y."""
    y = np.random.default_rng(seed).standard_normal(forward(x).shape)
    back = adjoint(y)
    assert back.shape == x.shape
    np.testing.assert_allclose(np.sum(forward(x) * y), np.sum(x * back), rtol=1e-12, atol=1e-12)


def added_to_zeros(grads: Any, shape: tuple[int, ...], geometry: Any) -> Any:
    result = np.zeros(shape, grads.dtype)
    add_windows(result, grads, *geometry)
    return result


@st.composite
def window_cases(draw: st.DrawFn) -> tuple[Any, ...]:
    """An array and windows that fit into it, over its last one to three dimensions."""
    rank = draw(st.integers(1, 3))
    kernel, stride, dilation = (tuple(draw(st.integers(1, 3)) for _ in range(rank)) for _ in range(3))
    spare = [draw(st.integers(0, 3)) for _ in range(rank)]
    size = tuple(d * (k - 1) + 1 + more for k, d, more in zip(kernel, dilation, spare, strict=True))
    lead = draw(st.sampled_from([(), (2,), (2, 1), (0, 2)]))
    return np.random.default_rng(0).standard_normal((*lead, *size)), kernel, stride, dilation


@settings(deadline=None)
@given(window_cases())
def test_windows_follow_their_definition(case: tuple[Any, ...]) -> None:
    """Tap t of window o is element o * stride + t * dilation, and the windows are a view, not a copy."""
    x, kernel, stride, dilation = case
    view = windows(x, kernel, stride, dilation)
    rank = len(kernel)
    counts = window_counts(x.shape[-rank:], kernel, stride, dilation)
    assert view.shape == (*x.shape[:-rank], *counts, *kernel)
    assert x.size == 0 or np.shares_memory(view, x)
    for window, tap in product(product(*map(range, counts)), product(*map(range, kernel))):
        place = tuple(o * s + t * d for o, s, t, d in zip(window, stride, tap, dilation, strict=True))
        np.testing.assert_array_equal(view[(..., *window, *tap)], x[(..., *place)])


@settings(deadline=None)
@given(window_cases())
def test_adding_windows_is_the_adjoint(case: tuple[Any, ...]) -> None:
    """Overlapping windows add up, and what no window covers stays zero."""
    x, *geometry = case
    transposed(lambda a: windows(a, *geometry), lambda g: added_to_zeros(g, x.shape, geometry), x, 1)


@settings(deadline=None)
@given(window_cases(), st.integers(0, 3))
def test_windows_are_added_in_parts(case: tuple[Any, ...], split: int) -> None:
    """The first windows and then those from number `split` on come to the same sum, to the bit."""
    x, *geometry = case
    grads = np.random.default_rng(1).integers(-4, 5, windows(x, *geometry).shape).astype(float)
    rank = len(geometry[0])
    axis = grads.ndim - 2 * rank
    split = min(split, grads.shape[axis])
    first, second = np.split(grads, [split], axis)
    result = np.zeros_like(x)
    add_windows(result, first, *geometry)
    add_windows(result, second, *geometry, split)
    np.testing.assert_array_equal(result, added_to_zeros(grads, x.shape, geometry))


@settings(deadline=None)
@given(window_cases())
def test_taps_are_the_windows_elements_in_row_major_order(case: tuple[Any, ...]) -> None:
    """Pooling and convolution see the same windows; the order decides which of equal elements is the first."""
    x, *geometry = case
    rank = len(geometry[0])
    view = windows(x, *geometry)
    found = list(taps(*geometry, window_counts(x.shape[-rank:], *geometry)))
    assert [tap for tap, _ in found] == list(np.ndindex(geometry[0]))
    for tap, positions in found:
        np.testing.assert_array_equal(x[positions], view[(..., *tap)])


sides_of_two = st.tuples(*[st.tuples(st.integers(0, 2), st.integers(0, 2))] * 2)


@settings(deadline=None)
@given(sides_of_two, st.sampled_from([0.0, 1.0, -np.inf]), st.sampled_from([(), (2,), (0,)]))
def test_padded(sides: Any, value: float, lead: tuple[int, ...]) -> None:
    """Every side has its own width and the constant; `inside` finds the array again."""
    x = np.random.default_rng(2).standard_normal((*lead, 3, 4))
    got = padded(x, sides, value)
    np.testing.assert_array_equal(got, np.pad(x, [(0, 0)] * len(lead) + list(sides), constant_values=value))
    np.testing.assert_array_equal(got[inside((3, 4), sides)], x)


@settings(deadline=None)
@given(sides_of_two, st.sampled_from(sorted(NUMPY_MODES)), st.sampled_from([(), (2,), (0,)]))
def test_padding_with_own_elements(sides: Any, mode: str, lead: tuple[int, ...]) -> None:
    """It takes the elements that np.pad takes, and the adjoint adds each gradient to the element that it comes from."""
    x = np.random.default_rng(3).standard_normal((*lead, 3, 4))
    sources = padding_sources((3, 4), sides, mode)
    expected = np.pad(x, [(0, 0)] * len(lead) + list(sides), mode=NUMPY_MODES[mode])  # type: ignore[call-overload]
    np.testing.assert_array_equal(taken(x, sources), expected)
    transposed(lambda a: taken(a, sources), lambda g: added_back(g, (3, 4), sources), x, 4)


def test_adjoints_accept_any_layout() -> None:
    """A gradient with zero or negative strides, that may not be written."""
    grads = np.broadcast_to(np.float32(2.0), (2, 3, 2))  # windows at 0, 2, 4 of 2 taps
    np.testing.assert_array_equal(added_to_zeros(grads, (2, 7), ((2,), (2,), (1,))), [[2, 2, 2, 2, 2, 2, 0]] * 2)
    flipped = np.arange(8.0)[::-1]  # 7, 6, ... 0, taken from 2, 3, 0, 1, 2, 3, 0, 1
    np.testing.assert_array_equal(added_back(flipped, (4,), padding_sources((4,), [(2, 2)], "circular")), [6, 4, 10, 8])


@pytest.mark.parametrize(
    ("value", "rank", "expected"),
    [(2, 3, (2, 2, 2)), ((1, 2), 2, (1, 2)), ([3], 2, (3, 3)), (np.int64(4), 1, (4,)), ((np.int32(1), 2), 2, (1, 2))],
)
def test_sizes(value: Any, rank: int, expected: tuple[int, ...]) -> None:
    """An int, NumPy's included, or one per dimension."""
    assert sizes(value, rank, "stride") == expected


@pytest.mark.parametrize("value", [-1, (1, -1), (1, 2, 3), (), 1.5, (1, 2.0), "ab", None])
def test_sizes_refuses(value: Any) -> None:
    """Anything else raises one sentence that says what was expected and what was received."""
    with pytest.raises(ValueError, match="stride expects an int of at least 0, or 2 of them, got"):
        sizes(value, 2, "stride")


@pytest.mark.parametrize(
    ("mode", "sides"),
    [("reflect", (4, 0)), ("reflect", (0, 4)), ("circular", (5, 0)), ("circular", (-2, 3)), ("replicate", (-2, -2))],
)
def test_too_much_padding(mode: str, sides: tuple[int, int]) -> None:
    """Elements that the array does not have are not made up, and something has to be left."""
    with pytest.raises(ValueError, match=f"{mode} padding expects sides that .*, got"):
        padding_sources((4,), [sides], mode)


@pytest.mark.parametrize("shape", [(3, 4, 5), (1, 2), (0, 3, 2), (4,)])
def test_batch_last_changes_the_memory_alone(shape: tuple[int, ...]) -> None:
    """Same values in the same places; what lies so already is handed on without a copy."""
    x = np.random.default_rng(0).standard_normal(shape)
    moved = batch_last(x)
    np.testing.assert_array_equal(moved, x)
    assert np.moveaxis(moved, 0, -1).flags.c_contiguous
    assert x.size == 0 or np.shares_memory(batch_last(moved), moved)
    assert np.moveaxis(empty_batch_last(x, (2, *shape[1:])), 0, -1).flags.c_contiguous
    assert empty_batch_last(x.astype(np.float32), shape).dtype == np.float32
