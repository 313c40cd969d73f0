"""The figures of a row: gathered in blocks and in any memory layout they are those of the whole array."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from oracle.judging import figures
from oracle.judging.figures import Expected, measured
from oracle.judging.rows import Row
from oracle.judging.verdict import compare

SPECIAL = (np.nan, np.inf, -np.inf, 0.0, 3e38, 1e-42)


def sample(seed: int, special: bool) -> tuple[Any, Expected]:
    """float32 numbers about what is expected, some far outside, some not finite."""
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(1, 6, rng.integers(1, 4)))
    value = rng.standard_normal(shape)
    sigma = np.where(rng.uniform(size=shape) < 0.2, 0.0, 1e-7 * rng.uniform(0.1, 2, shape))
    got = value + sigma * rng.standard_normal(shape) * rng.choice([0, 1, 30], shape)
    if special:
        for array in (got, value):
            chosen = rng.uniform(size=shape) < 0.2
            array[chosen] = rng.choice(SPECIAL, int(chosen.sum()))
    with np.errstate(over="ignore"):
        return got.astype(np.float32), Expected(value, sigma, 4 * sigma, np.abs(value) + 1e-3)


@given(seed=st.integers(0, 2**32 - 1), special=st.booleans(), block=st.integers(1, 7))
@settings(max_examples=150, deadline=None)
def test_blocks_come_to_the_same_as_the_whole(seed: int, special: bool, block: int) -> None:
    """No figure depends on where the blocks end."""
    got, expected = sample(seed, special)
    whole, size = row_of(got, expected), figures.BLOCK
    try:
        figures.BLOCK = block
        in_blocks = row_of(got, expected)
    finally:
        figures.BLOCK = size
    for name, figure in whole.items():
        assert in_blocks[name] == pytest.approx(figure, rel=1e-12, nan_ok=True) if is_number(figure) else True, name
    assert in_blocks["verdict"] == whole["verdict"]
    assert in_blocks["worst_index"] == whole["worst_index"]


@given(seed=st.integers(0, 2**32 - 1), special=st.booleans())
@settings(max_examples=100, deadline=None)
def test_the_worst_element_is_where_it_is_said_to_be(seed: int, special: bool) -> None:
    """Whatever order the prediction has in memory, the index is that of the array, and got and expected stand there."""
    got, expected = sample(seed, special)
    turned = Expected(*(np.asfortranarray(getattr(expected, name)) for name in ("value", "sigma", "bound", "scale")))
    with np.errstate(all="ignore"):
        plain, other = measured(got, expected), measured(got, turned)
    assert other.z_max == pytest.approx(plain.z_max, nan_ok=True)
    assert other.worst == pytest.approx(plain.worst, nan_ok=True)
    assert other.got == pytest.approx(float(got[other.index]), nan_ok=True)


def is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def row_of(got: Any, expected: Expected) -> dict[str, Any]:
    row = Row("case", "float32", 0, "layer", "Linear", "output", "local", "pass")
    return vars(compare(row, got, expected, structured=False, no_terms=False))


def test_an_equal_array_has_a_cosine_of_one_and_no_error() -> None:
    """What is right to the bit needs no further figures, and has them all the same."""
    got = np.float32([[1.5, -2.0], [0.25, 8.0]])
    value = got.astype(float)
    figures = measured(got, Expected(value, np.zeros((2, 2)), np.zeros((2, 2)), np.abs(value)))
    assert (figures.max_abs, figures.z_max, figures.bound_ratio, figures.n_decided) == (0.0, 0.0, 0.0, 4)
    assert (figures.got, figures.expected, figures.tolerance, figures.index) == (1.5, 1.5, 0.0, (0, 0))
    assert figures.products == figures.squares == figures.expected_squares == 1.5**2 + 2.0**2 + 0.25**2 + 8.0**2


@pytest.mark.parametrize("size", [1e-250, 1e-160, 1e-95, 1.0, 1e95, 1e120, 1e300])
def test_the_cosine_does_not_depend_on_the_size(size: float) -> None:
    """That of 60 degrees is a half, also of numbers whose squares cannot be held; of zeros there is none."""
    got, expected = np.array([1.0, 0.0]), np.array([0.5, math.sqrt(0.75)])

    def cosine_of(got: Any, expected: Any) -> float:
        row = Row("case", "float64", 0, "", "", "output", "local", "pass")
        exact = Expected(expected, np.zeros(2), None, np.abs(expected))
        return compare(row, got, exact, structured=False, no_terms=True).cosine

    assert cosine_of(size * got, size * expected) == pytest.approx(0.5)
    assert cosine_of(-size * got, size * expected) == pytest.approx(-0.5)
    assert cosine_of(got, size * expected) == pytest.approx(0.5)
    assert cosine_of(size * got, expected) == pytest.approx(0.5)
    assert cosine_of(np.zeros(2), size * expected) == 0 and math.isnan(cosine_of(np.zeros(2), np.zeros(2)))


@given(seed=st.integers(0, 2**32 - 1), special=st.booleans(), turned=st.booleans())
@example(seed=291, special=True, turned=False)  # whose scale is NaN
@settings(max_examples=100, deadline=None)
def test_an_array_in_which_nothing_rounds_has_the_figures_of_any_other(seed: int, special: bool, turned: bool) -> None:
    """It takes a shorter way, if it is right to the bit and finite, and no other array does."""
    got, expected = sample(seed, special)
    value = got.astype(float)
    value[np.random.default_rng(seed).uniform(size=got.shape) < 0.05] += 1.0
    expected = replace(expected, value=np.asfortranarray(value) if turned else value, sigma=np.zeros(got.shape))
    with np.errstate(all="ignore"), pytest.MonkeyPatch.context() as patch:
        short = measured(got, expected)
        patch.setattr(figures.Figures, "add_exact", lambda *_: False)
        usual = measured(got, expected)
    for name, figure in vars(usual).items():
        assert getattr(short, name) == pytest.approx(figure, rel=1e-12, nan_ok=True), name
