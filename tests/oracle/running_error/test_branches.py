"""Comparisons and choices of error arrays: which way they go, where rounding may turn them, and what that costs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from oracle.running_error import LAMBDA, ErrorArray, ErrorMask, ErrorModel
from oracle.running_error.branches import Branches
from oracle.running_error.model import BESIDE, LARGEST, Twofold

MODEL = ErrorModel(np.dtype("float32"), bounds=True)


def uncertain(value: Any, error: Any, guide: Any = None) -> ErrorArray:
    """A value whose error has this standard deviation, and as much as a bound."""
    return ErrorArray(
        np.array(value),
        MODEL,
        Twofold(np.square(error), np.array(error)),
        guide=None if guide is None else np.array(guide),
    )


def test_the_sign_of_what_may_be_zero_is_open() -> None:
    """-1, 0 or 1, exactly; where rounding can turn it, the tolerance reaches the other side, however uncertain x is: by at most
    the distance of each of the two choices, of below zero or not and above zero or not."""
    sign = np.sign(uncertain([-2.0, 0.0, 3.0, 1e-9, 0.0, -1e-9, 1.0], [0, 0, 0, 1e-8, 1e-8, 1e-8, 1e3]))
    np.testing.assert_array_equal(sign.value, [-1, 0, 1, 1, 0, -1, 1])
    for tolerance, margin in ((LAMBDA * sign.sigma, BESIDE), (sign.bound, 1.0)):
        np.testing.assert_array_equal(tolerance[:3], 0)
        assert (tolerance[3:] >= [2, 1, 2, 2]).all() and (tolerance[3:] <= 3.0001 * margin).all()


def test_masks_combine_as_truth_values_do() -> None:
    """And, or, not, by operator and by name; what is open in one stays open where the other does not decide."""
    x, zero = ErrorArray.exact(np.array([-1.0, 2.0, 5.0]), MODEL), ErrorArray.exact(np.zeros(3), MODEL)
    positive, small = x > zero, x < zero + 3.0
    for both in (positive & small, np.logical_and(positive, small), np.bitwise_and(positive, small)):
        np.testing.assert_array_equal(np.where(both, x, 0.0).value, [0, 2, 0])
    for either in (positive | small, np.logical_or(positive, small), np.bitwise_or(positive, small)):
        np.testing.assert_array_equal(np.where(either, x, 0.0).value, x.value)
    np.testing.assert_array_equal(np.where(positive, 1.0, 2.0), [2, 1, 1])
    for neither in (~positive, np.logical_not(positive), np.invert(positive)):
        np.testing.assert_array_equal(np.where(neither, x, 0.0).value, [-1, 0, 0])


def test_a_mask_that_is_written_to_is_open_where_it_was_kept() -> None:
    """And where what was written is open: in either model for itself, whichever of the two has open elements."""
    for bounds in (True, False):
        model = ErrorModel(np.dtype("float32"), bounds=bounds)

        def compared(values: list[float], model: ErrorModel = model) -> ErrorMask:
            error = Twofold(np.full(3, 0.01), np.full(3, 0.02) if model.bounds else None)
            return ErrorArray(np.array(values), model, error) > 1.0

        open_, clear = compared([1.0, 1.01, 0.99]), ErrorMask(np.array([True, True, False]), None)
        open_[1:] = False
        clear[:2] = compared([0.99, 5.0, 0.99])[:2]
        for mask, value in ((open_, [False, False, False]), (clear, [False, True, False])):
            np.testing.assert_array_equal(mask.value, value)
            assert mask.ambiguous is not None and (mask.ambiguous.worst is not None) == bounds
            for found in (mask.ambiguous.statistical, mask.ambiguous.worst if bounds else None):
                assert found is None or found.tolist() == [True, False, False]
        plain = ErrorMask(np.array([True, True]), None)
        plain[0] = False
        assert plain.ambiguous is None and plain.value.tolist() == [False, True]


def test_what_is_open_in_one_mask_is_open_in_both() -> None:
    """In either model for itself; a mask without doubt adds none."""
    one, other = uncertain([1e-4, 1.0, 1.0], [1e-3] * 3) > 0.0, uncertain([1.0, 1e-4, 1.0], [1e-3] * 3) > 0.0
    sure = ErrorArray.exact(np.ones(3), MODEL) > 0.0
    for both in (one & other, one | other, np.logical_and(one, other)):
        assert both.ambiguous is not None
        np.testing.assert_array_equal(both.ambiguous.statistical, [True, True, False])
        np.testing.assert_array_equal(both.ambiguous.worst, [True, True, False])
    for single in (one & sure, sure & one, one & np.ones(3, bool), ~one):
        assert single.ambiguous is not None
        np.testing.assert_array_equal(single.ambiguous.statistical, [True, False, False])
    assert (sure & sure).ambiguous is None


def test_each_element_has_the_error_of_its_branch() -> None:
    """An exact branch has none, whichever of the two it is."""
    mask, x = np.array([True, False]), uncertain([1.0, 2.0], [1e-3, 2e-3])
    np.testing.assert_allclose(np.where(mask, x, 0.5).sigma, [1e-3, 0], rtol=1e-12)  # type: ignore[call-overload]
    np.testing.assert_allclose(np.where(mask, 0.5, x).sigma, [0, 2e-3], rtol=1e-12)  # type: ignore[call-overload]


def test_a_choice_that_only_the_worst_case_leaves_open_widens_only_the_bound() -> None:
    """Each model has its own doubt."""
    x = ErrorArray(np.array([0.5, 2.0]), MODEL, Twofold(np.full(2, 1e-12), np.full(2, 1.0)))
    chosen = np.where(x > 0, ErrorArray.exact(np.full(2, 3.0), MODEL), 0.0)
    np.testing.assert_array_equal(chosen.sigma, 0)
    assert chosen.bound is not None
    np.testing.assert_allclose(chosen.bound, [3.0, 0.0], rtol=1e-5)


@pytest.mark.parametrize("noise", [1e-6, 1e-3, 0.1, 1.0, 10.0])
def test_what_is_computed_from_an_open_choice_may_be_off_by_both(noise: float) -> None:
    """By the difference between its branches, and by an error of its own on top, in a sum and in a product."""
    mask = uncertain([1e-4], [1e-3]) > 0.0
    chosen = np.where(mask, 0.0, ErrorArray.exact(np.ones(1), MODEL))  # type: ignore[call-overload]
    assert (LAMBDA * (chosen + uncertain([2.0], [noise])).sigma >= 1 + LARGEST * noise).all()
    if noise < 0.1:
        assert (LAMBDA * (chosen * uncertain([1.0], [noise])).sigma >= 1 + LARGEST * noise).all()


def test_an_open_tie_is_halfway_and_reaches_both_sides() -> None:
    """As what rounding can flip, too; elsewhere the choice is made."""
    model = ErrorModel(np.dtype("float32"), open_ties=True)
    x = ErrorArray(np.array([0.0, 1e-4, 1.0, np.inf]), model, Twofold(np.array([0.0, 1e-6, 1e-6, 0.0])))
    y = ErrorArray.exact(np.array([0.0, 0.0, 0.0, np.inf]), model)
    chosen = np.where(x > y, ErrorArray.exact(np.full(4, 5.0), model), 1.0)
    np.testing.assert_array_equal(chosen.value, [3, 3, 5, 1])
    np.testing.assert_allclose(LAMBDA * chosen.sigma, [2, 2, 0, 0], rtol=1e-5)


def test_labels_have_no_tie() -> None:
    """Equality is a test of labels, which leaves no choice open; an order at equality is a kink, and does."""
    model = ErrorModel(np.dtype("float32"), open_ties=True)
    x, y = ErrorArray.exact(np.array([1.0, 2.0]), model), ErrorArray.exact(np.array([1.0, 3.0]), model)
    assert not np.where(x == y, 4.0 * x, x).sigma.any() and not np.where(x != y, 4.0 * x, x).sigma.any()
    assert (np.where(x > y, 4.0 * x, x).sigma > 0).tolist() == [True, False]


def test_branches_are_counted_where_they_are_taken() -> None:
    """How many were compared, can flip, are wider for it, were adopted, and are not to be explained."""
    model = ErrorModel(np.dtype("float32"))
    model.branches.place = "act"
    value, error = np.array([1e-8, 1e-8, -1.0, 2.0]), Twofold(np.full(4, 1e-16))
    for guide, expected in ((None, (4, 2, 2, 0, 0)), (np.array([-1e-8, 1e-8, 1.0, 2.0]), (4, 2, 0, 2, 1))):
        model.branches.by_place.clear()
        ErrorArray(value, model, error, guide=guide) > 0.0  # noqa: B015
        seen = model.branches.by_place["act"]
        assert (seen.compared, seen.ambiguous, seen.widened, seen.adopted, seen.inadmissible) == expected
        np.less(0.0, ErrorArray(value, model, error, guide=guide))
        assert (seen.compared, seen.ambiguous, seen.widened, seen.adopted, seen.inadmissible) == tuple(
            2 * np.array(expected)
        )
        for continuous in (np.maximum, np.minimum):  # no branch hangs on which of the two it is
            continuous(ErrorArray(value, model, error, guide=guide), 0.0)
        assert seen.compared == 2 * expected[0]


def test_of_exact_numbers_no_branch_is_counted_as_open() -> None:
    """Compared they are, and nothing more, at a tie too."""
    model = ErrorModel(np.dtype("float32"))
    assert (ErrorArray.exact(np.array([-1.0, 0.0, 2.0]), model) > 0.0).ambiguous is None
    seen = model.branches.here()
    assert seen == Branches(compared=3)


def test_what_counts_is_the_distance_of_the_two() -> None:
    """Large numbers that lie closer than their error can change places, small ones that lie further apart cannot; an error of
    zero leaves no doubt, at a tie neither."""
    x = uncertain([5.0, 0.5, -5.0, 5.0, 3.0], [1e-3, 1e-3, 1e-3, 0.0, 1e-3])
    y = uncertain([5.0 + 1e-4, -0.5, 5.0, 5.0, 3.0 - 1e-4], [1e-3, 1e-3, 1e-3, 0.0, 1e-3])
    for mask in (x > y, x < y, x >= y, x <= y):
        assert mask.ambiguous is not None
        for open_ in (mask.ambiguous.statistical, mask.ambiguous.worst):
            np.testing.assert_array_equal(open_, [True, False, False, False, True])


def test_the_doubt_reaches_as_far_as_the_tolerance() -> None:
    """Statistically λ times both errors in squares, in the worst case their sum."""
    distance, error = np.array([0.9, 1.1, 2.1]), 1e-3
    reach = np.hypot(error, error)
    statistical = uncertain(5.0 + distance * LAMBDA * reach, np.full(3, error)) > uncertain(
        np.full(3, 5.0), np.full(3, error)
    )
    worst = uncertain(5.0 + distance * 2 * error, np.full(3, error)) > uncertain(np.full(3, 5.0), np.full(3, error))
    assert statistical.ambiguous is not None and worst.ambiguous is not None
    np.testing.assert_array_equal(statistical.ambiguous.statistical, [True, False, False])
    np.testing.assert_array_equal(worst.ambiguous.worst, [True, False, False])


def test_only_an_open_choice_has_the_larger_scale() -> None:
    """Each other element that of its own branch."""
    condition = uncertain([1e-4, 1.0, -1.0, -1e-4], [1e-3] * 4) > 0.0
    x = ErrorArray(np.full(4, 3.0), MODEL, scale=np.array([9.0, 16.0, 25.0, 36.0]))
    chosen = np.where(condition, x, ErrorArray(np.full(4, 30.0), MODEL))
    np.testing.assert_array_equal(chosen.scale_or_own, [900, 16, 900, 900])
    other = np.where(condition, ErrorArray(np.full(4, 1.0), MODEL), x)
    np.testing.assert_array_equal(other.scale_or_own, [9, 1, 25, 36])


@pytest.mark.parametrize("choose", [np.maximum, np.minimum])
def test_nan_in_the_subject_is_the_larger_and_the_smaller(choose: Any) -> None:
    """Its number is open where it left the range, and its own NaN goes on: it is not the other number, which has no error."""
    x = uncertain([-1.0, 1.0], [np.inf, np.inf], [np.nan, np.nan])
    assert np.isinf(choose(x, 0.0).sigma).all()


@pytest.mark.parametrize("guided", ["x", "y", "both"])
def test_what_the_subject_had_is_known_behind_a_choice_too(guided: str) -> None:
    """A second comparison adopts the subject's branch, whichever side it comes from; where nothing is known, all stays open."""
    guides = {name: [-0.1, 0.1] if guided in (name, "both") else None for name in "xy"}
    x, y = uncertain([1e-4, 0.1], [1e-3] * 2, guides["x"]), uncertain([0.1, 1e-4], [1e-3] * 2, guides["y"])
    mask = np.array([True, False])
    branch = np.where(mask, x, y) > 0.0
    expected = {"x": [False, True], "y": [True, True], "both": [False, True]}[guided]
    np.testing.assert_array_equal(branch.value, expected)
    unknown = np.where(mask, uncertain([1e-4, 0.1], [1e-3] * 2), uncertain([0.1, 1e-4], [1e-3] * 2)) > 0.0
    assert unknown.ambiguous is not None and unknown.ambiguous.statistical.all()


def test_what_the_subject_had_is_known_in_an_array_that_it_is_written_into() -> None:
    """A padded input, for example: the padding has no other value than its own, and what is added to is known no longer."""
    x = uncertain([1e-4, -1e-4, 1e-4], [1e-3] * 3, [-0.1, 0.1, 0.2])
    padded: Any = np.full_like(x, -2.0, shape=(5,))
    padded[0] = -3.0
    padded[1:4] = x
    np.testing.assert_array_equal((padded > 0.0).value, [False, False, True, True, False])
    assert (padded > 0.0).ambiguous is None
    padded[0] = uncertain(1e-4, 1e-3, 0.3)
    padded[3:] = uncertain([1e-4, -3.0], [1e-3] * 2)
    np.testing.assert_array_equal((padded > 0.0).value, [True, False, True, True, False])
    for addend, positive in ((0.0, True), (-2.0, False), (4.0, True)):
        padded[1] += uncertain(addend + 9.0, 1e-3)
        padded[1] += uncertain(-9.0, 1e-3)
        np.testing.assert_array_equal((padded > 0.0).value, [True, positive, True, True, False])
    unknown: Any = np.zeros_like(x)
    unknown[:] = uncertain([1e-4, -1e-4, 0.0], [1e-3] * 3)
    assert (unknown > 0.0).ambiguous.statistical.all()


@pytest.mark.parametrize(
    ("turned", "expected"),
    [
        (lambda x: -x, [True, False]),
        (abs, [True, True]),
        (lambda x: np.concatenate([x, x])[2:], [False, True]),
        (lambda x: np.stack([x, x])[1], [False, True]),
        (lambda x: np.flip(np.flip(x)), [False, True]),
    ],
)
def test_the_subjects_value_goes_along(turned: Callable[[Any], Any], expected: list[bool]) -> None:
    """With its sign: what is made of it without rounding is known too."""
    branch = turned(uncertain([1e-4, -1e-4], [1e-3] * 2, [-0.1, 0.1])) > 0.0
    np.testing.assert_array_equal(branch.value, expected)
    assert branch.ambiguous is None
    branch = turned(uncertain([1e-4, -1e-4], [1e-3] * 2)) > 0.0
    assert branch.ambiguous is not None and branch.ambiguous.statistical.all()


def test_an_error_that_is_unknown_leaves_its_branch_open() -> None:
    """Zero times an infinite error is NaN: behind it nobody can say which side of a kink is right."""
    mask = uncertain([1.0, -2.0], [np.nan, 1e-9]) > 0.0
    for near in (mask.ambiguous.statistical, mask.ambiguous.worst):
        assert near.tolist() == [True, False]
