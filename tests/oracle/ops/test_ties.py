"""Several derivatives are right at a kink or tie of a program; each is a convention, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import oracle

KINK = torch.tensor([-1.0, 0.0, 2.0, 0.0])
TIE = torch.tensor([[1.0, 1.0, 0.0], [2.0, 2.0, 2.0]])
IMAGE = torch.tensor([[[[1.0, 1.0, 0.0, 2.0], [0.0, 1.0, 2.0, 2.0]]]])


def by_maximum(x: Any) -> Any:
    return torch.maximum(x, torch.zeros_like(x))


def over_windows(x: Any) -> Any:
    return x.unfold(2, 2, 2).unfold(3, 2, 2).amax((-1, -2))


def slopes(at: Callable[[Any], Any], y: Callable[[Any], Any]) -> Callable[..., Any]:
    """An element-wise function with these slopes."""
    return lambda x: (y(x).astype(x.dtype), lambda dy: (dy * at(x)).astype(x.dtype))


def to_largest(share: float) -> Callable[..., Any]:
    """The maximum of each row, with a share of the gradient at each of its largest elements."""

    def fn(x: Any) -> Any:
        y = x.max(-1, keepdims=True)
        return y[..., 0], lambda dy: (dy[..., None] * (x == y) * share).astype(x.dtype)

    return fn


@pytest.mark.parametrize(
    ("meant", "other", "x"),
    [
        (F.relu, by_maximum, KINK),
        (F.relu, lambda x: torch.where(x >= 0, x, 0 * x), KINK),
        (lambda x: F.relu(x) * x.cos(), lambda x: by_maximum(x) * x.cos(), KINK),
        (lambda x: x.clamp(0, 2), lambda x: torch.minimum(by_maximum(x), torch.full_like(x, 2)), KINK),
        (lambda x: x.amax(-1), lambda x: x.max(-1).values, TIE),
        (lambda x: x.amin(-1), lambda x: x.min(-1).values, -TIE),
        (lambda x: x.amax(-1), lambda x: x.max(-1).values, torch.zeros(3, 100)),
        (lambda x: F.max_pool2d(x, 2), over_windows, IMAGE),
    ],
    ids=["ReLU", "where", "behind it", "clamp", "maximum", "minimum", "many", "pooling"],
)
@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
def test_other_one_sided_derivatives(meant: Any, other: Any, x: torch.Tensor, dtype: str) -> None:
    """Whichever of two programs is the reference."""
    pairs = (
        [(meant, other), (other, meant)] if torch.where.__name__ not in other.__code__.co_names else [(meant, other)]
    )
    for reference, fn in pairs:
        report = oracle.check_op(reference, oracle.from_torch(fn), x=x, dtypes=(dtype,))
        row = report.table.set_index("quantity").loc["grad_input"]
        assert report.passed and row["verdict"] == "convention", report
        assert row["diagnosis"] == "another one-sided derivative at a kink or tie"


def test_one_result_at_a_kink() -> None:
    """`assert_close` takes any slope between 0 and 1, and no other."""
    x = KINK.double()
    expected = oracle.expect(F.relu, x)
    for slope in (0.0, 0.5, 1.0):
        oracle.assert_close(np.where(x == 0, slope, x > 0) * expected.grad_output, expected.grads[0])
    with pytest.raises(oracle.Discrepancy, match="50 % of 4 elements"):
        oracle.assert_close(np.where(x == 0, 1.1, x > 0) * expected.grad_output, expected.grads[0])


def test_slopes_between_those_of_both_sides() -> None:
    """|x| at 0 and hardsigmoid at ±3: the slopes of either side."""
    right = slopes(lambda x: np.where(x >= 0, 1, -1), np.abs)
    assert oracle.check_op(torch.abs, right, x=KINK).passed
    hard = slopes(lambda x: ((x >= -3) & (x <= 3)) / 6, lambda x: np.clip(x / 6 + 0.5, 0, 1))
    assert oracle.check_op(F.hardsigmoid, hard, x=torch.tensor([-3.0, 3.0, 1.0]), dtypes=("float64",)).passed


@pytest.mark.parametrize(
    ("meant", "fn", "x"),
    [
        (torch.abs, slopes(lambda x: np.where(x > 0, 1, np.where(x < 0, -1, 1.25)), np.abs), KINK),
        (F.relu, slopes(lambda x: np.where(x > 0, 1, np.where(x < 0, 0, -0.25)), lambda x: np.maximum(x, 0)), KINK),
        (F.relu, slopes(lambda x: np.where(x > 0, 1, np.where(x < 0, 0.1, 0.5)), lambda x: np.maximum(x, 0)), KINK),
        (lambda x: x.amax(-1), to_largest(1), TIE),
        (lambda x: x.amax(-1), to_largest(0), TIE),
        (lambda x: x.max(-1).values, to_largest(1), TIE),
        (lambda x: x.max(-1).values, to_largest(1 / 4), TIE),
    ],
    ids=["steeper", "negative", "elsewhere", "all of it to each", "nothing", "all, by index", "a part is lost"],
)
@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
def test_gradients_that_no_choice_gives(meant: Any, fn: Any, x: torch.Tensor, dtype: str) -> None:
    """A slope outside of both sides', an error away from the kink, and elements of a tie that do not share the gradient."""
    report = oracle.check_op(meant, fn, x=x, dtypes=(dtype,))
    assert report.table.set_index("quantity").loc["grad_input", "verdict"] == "wrong", report


def test_a_pooling_that_gives_all_equal_elements_the_whole_gradient() -> None:
    def pooling(x: Any) -> Any:
        blocks = x.reshape(1, 1, 1, 2, 2, 2)
        y = blocks.max((3, 5), keepdims=True)

        def backward(dy: Any) -> Any:
            return (dy[:, :, :, None, :, None] * (blocks == y)).reshape(x.shape)

        return y[:, :, :, 0, :, 0], backward

    report = oracle.check_op(lambda x: F.max_pool2d(x, 2), pooling, x=IMAGE)
    assert [blame.verdict for blame in report.blame] == ["wrong", "wrong"]
