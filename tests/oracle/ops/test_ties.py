"""Several derivatives are right at a kink or tie of a program; each is a convention, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import oracle
from oracle.ops.ties import TO_EACH

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
    for reference, fn in [(meant, other), (other, meant)]:
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
    assert all(blame.diagnosis.endswith(TO_EACH) for blame in report.blame)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_kink_that_a_program_writes_as_a_comparison(dtype: str) -> None:
    """The slopes of both sides are right, and what lies between them; another is not."""
    x = np.array([-1.0, 0.0, 2.0, 0.0])
    for slope in (-1, 0, 1, 2):
        right = slopes(lambda x, at=slope: np.where(x == 0, at, np.sign(x)), np.abs)  # type: ignore[misc]
        row = oracle.check_op(lambda x: np.where(x > 0, x, -x), right, x=x, dtypes=(dtype,)).table.loc[1]
        assert row["verdict"] == ("wrong" if slope == 2 else "pass" if slope == -1 else "convention"), row


@pytest.mark.parametrize("slope", [0.75, 1.0])
def test_no_gradient_between_is_right_at_a_jump(slope: float) -> None:
    """x / 2 below zero, and x + 1 above: the slope at zero is the one of the side to which zero belongs."""

    def jumping(x: Any) -> Any:
        return torch.where(x > 0, x + 1, x * 0.5)

    at = slopes(
        lambda x: np.where(x > 0, 1.0, np.where(x < 0, 0.5, slope)),
        lambda x: np.where(x > 0, x + 1, x * x.dtype.type(0.5)),
    )
    report = oracle.check_op(jumping, at, x=KINK, dtypes=("float32",))
    assert [culprit.quantity for culprit in report.blame] == ["grad_input"]


def test_no_gradient_is_right_on_the_other_side_of_a_jump() -> None:
    """A threshold, a mask that is an array of its own, and a maximum that stays one wherever it is."""
    x, mask = np.array([[0.0, 1.0, -1.0, 2.0]]), np.array([[0.0, 1.0, 0.0, 2.0]])
    above = lambda at: slopes(at, lambda x: np.where(x > 1, x, 0))  # noqa: E731
    assert oracle.check_op(lambda x: np.where(x > 1, x, 0), above(lambda x: x > 1), x=x).passed
    assert not oracle.check_op(lambda x: np.where(x > 1, x, 0), above(lambda x: x >= 1), x=x).passed

    def masked(x: Any, mask: Any) -> Any:
        return np.where(mask > 0, x, 0), lambda dy: (dy * (mask >= 0), 0 * mask)

    assert not oracle.check_op(lambda x, mask: np.where(mask > 0, x, 0), masked, x=x, mask=mask).passed

    def of_largest(x: Any) -> Any:
        return np.where(x - x.max() >= 0, x, 0).sum(), lambda dy: dy * (x > x.max())

    assert not oracle.check_op(lambda x: np.where(x - x.max() >= 0, x, 0).sum(), of_largest, x=x).passed


@pytest.mark.parametrize("meant", [torch.maximum, np.maximum, lambda x, y: np.where(x > y, x, y)])
def test_a_tie_between_two_arrays(meant: Any) -> None:
    """Each array may get all of the gradient, none or a half; both together get what arrives."""
    x = np.array([[0.0, 1.0, -1.0, 2.0], [1.0, 1.0, 0.0, -3.0]])
    y = np.array([[0.0, 1.0, 3.0, 1.0], [1.0, 2.0, 0.0, -3.0]])

    def sharing(of_x: float, of_y: float) -> Any:
        def fn(x: Any, y: Any) -> Any:
            def backward(dy: Any) -> Any:
                shares = [np.where(x == y, own, a > b) for own, a, b in ((of_x, x, y), (of_y, y, x))]
                return tuple((dy * own).astype(x.dtype) for own in shares)

            return np.maximum(x, y), backward

        return fn

    for of_x, of_y in ((1, 0), (0, 1), (0.5, 0.5)):
        assert oracle.check_op(meant, sharing(of_x, of_y), x=x, y=y).passed
    for of_x, of_y in ((1, 1), (0, 0)):
        report = oracle.check_op(meant, sharing(of_x, of_y), x=x, y=y, dtypes=("float64",))
        assert {blame.verdict for blame in report.blame} == {"wrong"}
        assert "at a tie between elements of several arrays" in str(report)


def test_a_wrong_gradient_of_a_single_number_is_called_wrong() -> None:
    """Kinks beside a number without dimensions are looked for too."""

    def scaled(x: Any, t: Any) -> Any:
        return x * t.exp()

    doubled = oracle.from_torch(lambda x, t: 2 * scaled(x, t))
    report = oracle.check_op(scaled, doubled, x=KINK, t=torch.tensor(1.0), dtypes=("float64",))
    assert [own.cause for own in report.blame] == 3 * ["2 times the right value"]
