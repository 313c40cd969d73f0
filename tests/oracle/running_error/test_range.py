"""Numbers below and beyond what the dtype holds, and errors as large as what they belong to."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import oracle
from oracle.case.case import Case, Spec
from oracle.running_error import LAMBDA, ErrorArray, ErrorModel
from oracle.running_error.model import Twofold, limits
from refbp.special import masked

TINY = float(np.finfo(np.float32).tiny)


def exact(value: Any, dtype: str = "float32") -> ErrorArray:
    return ErrorArray.exact(value, ErrorModel(np.dtype(dtype), bounds=True))


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("n", [1, 9, 300])
def test_every_product_and_sum_may_underflow(dtype: str, n: int) -> None:
    """The error of honest arithmetic, with subnormal numbers or flushed to zero, is within a few deviations and the bound."""
    rng = np.random.default_rng(n)
    smallest = float(limits(np.dtype(dtype)).smallest_subnormal)
    scale = np.sqrt(float(limits(np.dtype(dtype)).tiny))
    x, y = (rng.uniform(0.2, 1.7, (2, n)) * scale / np.sqrt(n) for _ in range(2))
    got = exact(x, dtype) @ exact(y.T, dtype)
    products = x[:, None] * y[None]
    gradual = np.rint(products / smallest).sum(-1) * smallest
    assert got.bound is not None
    flushed = np.where(products < TINY, 0.0, products).sum(-1)
    for came in (gradual,) if dtype == "float16" else (gradual, flushed):
        assert (np.abs(came - got.value) <= got.bound).all()
    assert (np.abs(gradual - got.value) < 3 * got.sigma).all()


def test_what_is_far_above_the_smallest_number_loses_nothing() -> None:
    """There the floor adds nothing to a tolerance, and a sum of zeros is zero."""
    terms = np.random.default_rng(0).uniform(1, 2, 12)
    plain, small = np.sum(exact(terms)), np.sum(exact(terms * 2.0**-80))
    np.testing.assert_allclose(small.sigma, plain.sigma * 2.0**-80, rtol=1e-6)
    assert not np.sum(exact(np.zeros(12)) * 0.1).sigma.any()


@pytest.mark.parametrize(
    "compute",
    [
        lambda x: 1.0 / np.square(x),
        lambda x: np.sqrt(np.square(x)),
        lambda x: x * x * 1e-30,
        lambda x: np.sum(np.square(x)) * 1e-30,
        lambda x: (x * x) @ np.full(5, 1e-30),
        lambda x: np.square(x) - np.square(x) * 0.5,
        lambda x: np.sum(x * 1e17),
    ],
)
def test_what_is_computed_from_a_number_beyond_the_range_is_open(compute: Any) -> None:
    """Everybody who computes it in that dtype has an infinity there; the place is written down."""
    x = exact(np.linspace(1.0, 3.0, 5) * np.array([1, 1, -1, -1, 1]) * 1e22)
    x.model.branches.place = "here"
    result = compute(x)
    assert not np.isfinite(result.sigma).any()
    assert x.model.branches.by_place["here"].out_of_range > 0
    again = compute(exact(x.value, "float64"))
    assert np.isfinite(again.sigma).all()


def test_a_result_beyond_the_range_is_known_to_be_infinite() -> None:
    """As long as nothing is computed from it: its tolerance is that of any number."""
    x = exact([1e22, 3.0])
    assert np.isfinite(np.square(x).sigma).all()
    assert np.isfinite((x * 1e30).sigma).all()
    assert np.isfinite(np.exp(exact([100.0])).sigma).all()


def test_zero_times_a_number_beyond_the_range_is_open() -> None:
    """It is NaN of an infinity, which only a choice leaves at zero: dropped numbers are a product, masked ones a choice."""
    kept = np.array([False, True, False])
    beyond = np.square(exact([1e22, 2.0, 3.0]))
    dropped, chosen = beyond * kept, masked(beyond, kept)
    assert np.isfinite(dropped.sigma).tolist() == [False, True, True]
    np.testing.assert_array_equal(dropped.value, [0.0, 4.0, 0.0])
    assert np.isfinite(chosen.sigma).all() and not chosen.sigma[0]


@pytest.mark.parametrize("large", [1e30 * 1e30, float("inf")])
def test_zero_times_what_is_beyond_the_range_by_a_mask_is_open(large: float) -> None:
    """A dropped element: its product with the mask is zero, or NaN where the number before it became infinite."""
    x = exact([2.0, large]) * 1.5
    dropped = x * np.array([False, False])
    assert dropped.sigma[0] == 0
    assert np.isnan(dropped.value[1]) or dropped.sigma[1] == np.inf


def test_an_infinity_times_what_may_be_zero_is_open() -> None:
    """A normalised number is zero in one implementation, a rounding error in another: NaN, or an infinity of either sign."""
    x = exact([[1.0, 0.1, 0.1, 0.1]]) - exact([[1.0, 0.3, 0.1, 0.1]]) / exact([[1.0, 3.0, 1.0, 1.0]])
    infinite = x * np.array([1.0, np.inf, np.inf, 2.0])
    assert x.sigma[0, 1] > 0 and x.sigma[0, 2] > 0
    assert np.isfinite(infinite.sigma).tolist() == [[True, False, False, True]]
    assert infinite.model.branches.left_range
    certain = exact([[0.0, 1.0]]) * np.array([np.inf, np.inf])
    assert not certain.model.branches.left_range and np.isnan(certain.value[0, 0])


@pytest.mark.parametrize("size", [1e-170, 3e-309])
@pytest.mark.parametrize(
    "sum_up", [lambda x, y: x[None] @ y[:, None], lambda x, y: np.sum(x * y)], ids=["product", "sum"]
)
def test_terms_whose_squares_underflow_round_although_they_cancel(sum_up: Any, size: float) -> None:
    x, y = np.array([1.0, 3.0, -4.0]) * (size / 1e-20), np.full(3, 1e-20)
    total = sum_up(exact(x, "float64"), exact(y, "float64"))
    assert (total.sigma > 0).all() and (total.bound > 0).all()
    nothing = sum_up(exact(x * np.array([0.0, 0.0, 0.0]), "float64"), exact(y, "float64"))
    assert not nothing.sigma.any()


def test_a_zero_exponential_of_what_may_be_infinite_is_open() -> None:
    """1e44 - 2e44 is NaN in float32, and so is its exponential; that of -1e44 alone is zero for everybody."""
    beyond = np.square(exact([1e22]))
    assert not np.isfinite(np.exp(beyond - beyond * 2.0).sigma).any()
    assert (np.exp(-beyond).sigma <= TINY).all()
    huge = exact([1e200], "float64")
    assert (np.exp(huge - huge * 3.0).sigma < 1e-100).all()  # its squared error overflows, and it does not


def noise(size: int, sigma: float, value: float = 0.0) -> ErrorArray:
    model = ErrorModel(np.dtype("float32"))
    return ErrorArray(np.full(size, value), model, Twofold(np.full(size, sigma**2)))


@pytest.mark.parametrize("n", [1, 20, 5000])
def test_squares_of_noise_add_up(n: int) -> None:
    """The variance of a constant is the square of what its mean errs, with one sign, however many elements there are."""
    rng = np.random.default_rng(0)
    variance = np.mean(np.square(noise(n, 1e-3)))
    alike = np.square(1e-3 * rng.standard_normal(1000))
    assert np.sqrt(np.mean(np.square(alike))) < variance.sigma * 1.05
    assert variance.sigma < 1.2e-6 * LAMBDA


def test_an_error_times_an_error_counts() -> None:
    """Of second order: both factors are zero but for their rounding. The largest square is that of the largest error."""
    np.testing.assert_allclose((noise(2, 1e-3) * noise(2, 1e-4)).sigma, 1e-7, rtol=1e-9)
    np.testing.assert_allclose(np.square(noise(2, 1e-3)).sigma, LAMBDA * 1e-6, rtol=1e-9)


def test_a_root_near_zero_is_off_by_no_more_than_the_root_of_the_error() -> None:
    """Its slope is infinite there; away from zero it is the first order."""
    np.testing.assert_allclose(np.sqrt(noise(1, 1e-8)).sigma, 1e-4, rtol=1e-9)
    np.testing.assert_allclose(np.sqrt(noise(1, 1e-3, 4.0)).sigma, np.hypot(2.5e-4, 2 * 2.0**-24), rtol=1e-9)


def test_a_root_of_what_may_be_zero_may_be_zero() -> None:
    """Half of its error's share would be left of the first order, and a quotient by the root would seem to be bounded."""
    assert np.sqrt(noise(1, 1.0, 1.0)).sigma >= 1.0
    assert np.isinf((1.0 / np.sqrt(noise(1, 1.2, 1.0))).sigma).all()
    assert np.isfinite((1.0 / np.sqrt(noise(1, 0.9, 1.0))).sigma).all()


def test_a_quotient_errs_by_what_the_smaller_divisor_makes_of_it() -> None:
    """The first order is what a larger divisor costs. 1 ± 0.9 may be 0.1, and its inverse 10. A small error costs the same."""
    np.testing.assert_allclose((1.0 / noise(1, 0.9, 1.0)).sigma, 9.0, rtol=1e-6)
    np.testing.assert_allclose((3.0 / noise(1, 1e-2, 2.0)).sigma, 1.5 * 5e-3, rtol=1e-6)


@pytest.mark.filterwarnings("ignore:divide by zero")
@pytest.mark.parametrize("kind", ["Adam", "AdamW", "NAdam"])
@pytest.mark.parametrize("eps", [1e-8, 1e-6, 1e-4])
def test_a_second_moment_that_underflows_leaves_the_update_open(kind: str, eps: float) -> None:
    """float16 holds (4e-3)² / 1000 as zero, so the step of an honest optimizer is divided by ε alone, or by zero where that is
    lost too. float32 holds it, and is judged."""
    rng = np.random.default_rng(0)
    case = Case(
        "given",
        params={"0.weight": rng.standard_normal(4)},
        grads=({"0.weight": np.array([1e-3, 4e-3, 1e-2, 0.3])},),
        optimizer=Spec(kind, {"eps": eps, "lr": 0.01}),
    )
    verdicts = [oracle.run("refbp", cases=[case], dtypes=(own,)).table for own in ("float16", "float32")]
    short, long = (own[own["quantity"] == "param.weight"]["verdict"].unique().tolist() for own in verdicts)
    assert (short, long) == (["undecided"], ["pass"])


def test_ordinary_zeros_among_the_terms_change_nothing() -> None:
    """Noise is what has an error larger than itself: the usual sum adds the squares of its terms' errors."""
    rng = np.random.default_rng(0)
    x = exact(rng.standard_normal((40, 9))) * 0.1
    inherited = np.sqrt(np.sum(np.square(x.sigma), axis=1))
    fresh = np.sum(exact(x.value), axis=1).sigma
    np.testing.assert_allclose(np.sum(x, axis=1).sigma, np.hypot(inherited, fresh), rtol=1e-6)


def test_means_of_whole_numbers_are_rounded_on_the_way() -> None:
    """Kept up to date with each element, as running means are: also of four, which divides by three on the way.

    torch's group norm does so. Only of two numbers everybody's formula is exact.
    """
    assert np.mean(exact([0.0, -4.0, 2.0, 2.0, 0.0])).sigma > 0
    assert np.mean(exact([0.0, -4.0, 2.0, 2.0])).sigma > 0
    assert np.mean(exact([0.0, -4.0])).error is None and np.mean(exact([0.5, 0.5, 0.5, 0.5])).error is None
    shifted = exact([0.0, -4.0, 2.0, 2.0, 0.0])
    centred = shifted - np.mean(shifted)
    assert (((centred * 0.3) + 0.7).sigma > 0.7 * 2.0**-24).all()


def test_a_quotient_by_a_power_of_two_may_be_a_product_of_rounded_factors() -> None:
    """g / 4 as g * 9 / 36 rounds; of whole numbers everybody's formula is exact."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal(50).astype(np.float32)
    error = np.abs((x * np.float32(9) / np.float32(36)).astype(float) - x / 4.0)
    assert (error > 0).any()
    assert (error <= 3 * (exact(x) / 4.0).sigma).all()
    assert (exact([3.0, 5.0]) / 4.0).error is None
    assert (exact([0.3]) / 1.0).error is None


def test_a_product_just_above_the_range_may_have_been_below_it() -> None:
    """(g s) x is g (s x), unless g s is subnormal and x brings it back: σ covers what was lost there."""
    rng = np.random.default_rng(0)
    s, x = rng.uniform(1, 2, 4000).astype("f4") * np.float32(2.0**-126), rng.uniform(40, 90, 4000).astype("f4")
    g = rng.uniform(0.02, 0.2, 4000).astype("f4")
    model = ErrorModel(np.dtype("float32"))
    due = ErrorArray.exact(g, model) * (ErrorArray.exact(s, model) * ErrorArray.exact(x, model))
    error = np.abs(((g * s) * x).astype(float) - due.value)
    assert np.max(error / due.sigma) < 2
    assert np.max(error / np.abs(due.value)) > 8 * 2.0**-24


@pytest.mark.parametrize("signs", [(1, -1, 1), (1, 1, 1)])
def test_a_sum_beyond_the_range_of_terms_beyond_it_is_open(signs: tuple[int, ...]) -> None:
    """1e39 - 1e39 + 1e39 is NaN in float32, though the sum itself would be an infinity; a single product is one in any order."""
    x = exact(np.array(signs) * 1e20)
    assert np.isinf((x @ exact(np.full(3, 1e20))).sigma)
    assert np.isfinite((exact(np.full((3, 1), 1e20)) @ exact(np.full((1, 2), 1e20))).sigma).all()


def test_what_the_dtype_holds_as_zero_divides_by_zero() -> None:
    """Adam's eps of 1e-8 in float16: 0 / (0 + eps) is NaN there, and 0 by the formula."""
    zero = exact(np.zeros(2), "float16")
    assert np.isinf((zero / (zero + 1e-8)).sigma).all()
    assert not (zero / (zero + 1e-7)).sigma.any()
    assert not (exact(np.zeros(2)) / 1e-8).sigma.any()


def test_an_exponent_is_rounded_like_any_number() -> None:
    """x^p with a p that float32 does not hold: at 1e18 its rounding costs 40 units in the last place."""
    p = 1.5922
    x = np.array([1e18, 3.0, 1e-18], dtype=np.float32)
    found = exact(x.astype(np.float64)) ** p
    held = np.power(x.astype(np.float64), float(np.float32(p)))
    assert (np.abs(held - found.value) <= 1.01 * found.sigma).all()
    assert ((exact(x.astype(np.float64)) ** 1.5).sigma < 1e-6 * np.abs(x.astype(np.float64)) ** 1.5).all()


def test_a_divisor_that_may_be_zero_leaves_the_quotient_open() -> None:
    """The square of 1e-4 is below float16's smallest number: its root may be 0 there, and 1 / 0 is an infinity."""
    small = exact(np.array([1e-4, 1e-1]), "float16")
    quotient = 1.0 / np.sqrt(np.square(small))
    assert np.isinf(quotient.sigma).tolist() == [True, False]


def test_a_zero_that_rounding_made_divides_as_a_small_number_would() -> None:
    """Where 1 - a is 0 because a rounds to 1, an implementation that rounds otherwise has no infinity. A true zero does."""
    a = exact(np.array([1.0, 0.5]), "float32") * (1 / exact(np.array([3.0, 3.0]), "float32")) * 3.0
    quotient = 1.0 / (a.value[0] - a)
    assert np.isfinite(quotient.value).all() and np.isinf(quotient.sigma).tolist() == [True, False]
    with np.errstate(divide="ignore"):
        certain = 1.0 / exact(np.array([0.0, 2.0]), "float32")
    assert certain.value[0] == np.inf and np.isfinite(certain.sigma).all()


@pytest.mark.parametrize(
    ("function", "pole"), [(np.log, 0.0), (np.log2, 0.0), (np.log10, 0.0), (np.log1p, -1.0), (np.arctanh, 1.0)]
)
def test_a_number_that_may_be_at_a_pole_may_be_infinite(function: Any, pole: float) -> None:
    """As ln(1 - a) where a rounds to 1. Farther from the pole the result is as certain as its slope says."""
    inside = 1 if pole <= 0 else -1
    x = ErrorArray(pole + inside * np.array([1e-9, 0.5]), ErrorModel(np.dtype("float32")), Twofold(np.full(2, 1e-16)))
    made = function(x)
    assert np.isinf(made.sigma[0]) and made.sigma[1] < 1e-6


def test_a_root_of_what_rounding_makes_negative_is_a_number_or_nan() -> None:
    """As of a variance that is a difference of equal squares. What is negative beyond rounding has no root in any precision."""
    x = ErrorArray(np.array([-1e-9, -1.0, 4.0]), ErrorModel(np.dtype("float32")), Twofold(np.full(3, 1e-16)))
    with np.errstate(invalid="ignore"):
        root = np.sqrt(x)
    assert root.value[0] == 0 and np.isnan(root.value[1]) and root.value[2] == 2
    assert np.isinf(root.sigma[0]) and root.sigma[2] < 2e-7
    assert x.model.branches.left_range


@pytest.mark.parametrize("operation", [lambda x: x * 2.0, lambda x: x / 0.5, lambda x: (2.0 * x) / 1.0])
def test_a_power_of_two_overflows_too(operation: Any) -> None:
    """It rounds nothing, but what is computed from a number beyond the range cannot be predicted."""
    whole = exact(np.array([40000.0, 3.0]), "float16")
    assert (operation(whole) * 0.25).sigma.tolist() == [np.inf, 0.0]


@pytest.mark.parametrize("shape", [(), (1,)])
@pytest.mark.parametrize(
    ("fn", "edge", "side"),
    [
        (np.log, 0.0, -1),
        (lambda x: x ** (1 / 3), 0.0, -1),
        (np.arcsin, 1.0, 1),
        (np.arccosh, 1.0, -1),
        (np.sqrt, 0.0, -1),
    ],
    ids=["logarithm", "cube root", "arcsine", "arcosh", "square root"],
)
def test_rounding_alone_may_leave_the_domain_of_a_function(
    fn: Any, edge: float, side: int, shape: tuple[int, ...]
) -> None:
    """The result is then a number or NaN; farther outside it is NaN in every implementation."""
    model = ErrorModel(np.dtype("float32"))

    def at(x: float) -> Any:
        with np.errstate(invalid="ignore"):
            return fn(ErrorArray(np.full(shape, x), model, Twofold(np.full(shape, 1e-14))))

    near, far = at(edge + side * 1e-7), at(edge + side * 1e-6)
    assert np.isfinite(near.value).all() and np.isinf(near.sigma).all()
    assert np.isnan(far.value).all()


def test_powers_that_underflow_in_a_window() -> None:
    """Their negative sum has no root, but float32 makes it zero."""
    torch = pytest.importorskip("torch")
    x = torch.linspace(-1.2, 1, 36).reshape(1, 1, 6, 6) * 1e-20
    report = oracle.check_module(torch.nn.LPPool2d(3.0, 2), x.requires_grad_())
    assert not report.blame, report.blame
