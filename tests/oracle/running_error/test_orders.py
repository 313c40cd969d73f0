"""The error of sums whose terms are sorted or repeat: it is taken from the terms, where a random order says too little."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from oracle.running_error import LAMBDA, ErrorArray, ErrorModel, orders

MODEL = ErrorModel(np.dtype("float32"), bounds=True)
U = 2.0**-24


def exact(value: Any, model: ErrorModel = MODEL) -> ErrorArray:
    return ErrorArray.exact(value, model)


def random_order(terms: Any) -> Any:
    """What the model of a random order says of sums along the last axis."""
    n = terms.shape[-1]
    return U * np.sqrt(n / 3 * terms.sum(-1) ** 2 + (1 + n / 6) * np.square(terms).sum(-1))


def loop(terms: Any, dtype: Any = np.float32) -> Any:
    """What a plain loop over the last axis errs."""
    return np.cumsum(terms.astype(dtype), axis=-1, dtype=dtype)[..., -1].astype(float) - terms.sum(-1)


def repeating(rng: np.random.Generator, rows: int, n: int) -> Any:
    """Three distinct terms a row, as behind a global mean."""
    return np.take_along_axis(rng.uniform(0.1, 1, (rows, 3)), np.arange(n)[None] * 3 // n, axis=1)


@pytest.mark.parametrize("n", [200, 20_000])
@pytest.mark.parametrize("axis", [0, 1, (0, 2)])
def test_terms_that_repeat_round_the_same_way(n: int, axis: Any) -> None:
    """A plain loop over few distinct terms errs by more than a random order says, and stays within the tolerance."""
    terms = repeating(np.random.default_rng(0), 40, n)
    error = np.abs(loop(terms))
    x = {0: terms.T, 1: terms, (0, 2): np.moveaxis(terms.reshape(40, 2, -1), 1, 0)}[axis]
    sigma = np.sum(exact(x), axis=axis).sigma
    if n > 1000:
        assert np.max(error / random_order(terms)) > LAMBDA
    assert np.max(error / sigma) <= 1
    assert np.max(sigma / random_order(terms)) < 4 * max(1, np.max(error / random_order(terms)))


def sorted_by_sample(rng: np.random.Generator, rows: int, n: int) -> Any:
    """The terms of one sample add up, those of the other cancel them."""
    return np.repeat([1.0, -1.0], n // 2) * (1 + 0.1 * rng.standard_normal((rows, n)))


@pytest.mark.parametrize("n", [64, 4096])
def test_terms_that_are_sorted_have_large_partial_sums(n: int) -> None:
    """σ² is u² times the sum of their squares, which a random order knows nothing of."""
    terms = sorted_by_sample(np.random.default_rng(0), 30, n)
    sigma = np.sum(exact(terms), axis=1).sigma
    partial = U * np.sqrt(np.square(np.cumsum(terms, axis=1)).sum(1) + np.square(terms).sum(1))
    assert (sigma >= partial * 0.999).all()
    assert np.median(sigma / partial) < 1.2
    assert np.median(sigma / random_order(terms)) > 0.6 * np.sqrt(n / 2)


@pytest.mark.parametrize(("rows", "columns"), [(3, 2), (300, 200)])
@pytest.mark.parametrize("last", [False, True])
def test_products_know_the_partial_sums_of_samples(rows: int, columns: int, last: bool) -> None:
    """In a weight's gradient the samples come one after the other, or all of them at each position in turn."""
    rng, n = np.random.default_rng(0), 512
    x, y = 1 + 0.1 * rng.standard_normal((rows, n)), sorted_by_sample(rng, columns, n).T
    order = np.arange(n).reshape(2, -1).T.ravel() if last else np.arange(n)
    model = ErrorModel(MODEL.dtype, bounds=True)
    model.branches.samples = 2
    sigma = (exact(x[:, order], model) @ exact(y[order], model)).sigma
    terms = x[:, None] * y.T
    partial = U * np.sqrt(np.square(np.cumsum(terms, axis=-1)).sum(-1))
    few = columns < 10
    assert (sigma > (0.9 if few else 0.7) * partial).all() or (last and not few)  # of many, one order is looked at
    assert (sigma < 1.5 * partial).all()


def test_a_product_with_a_parameter_adds_up_no_samples() -> None:
    """Its terms are of channels: every eighth of them belongs to no sample, and no kernel adds them up apart."""
    rng, n = np.random.default_rng(0), 512
    y = rng.uniform(0.5, 1, (n, 4)) * np.tile([1.0, -1.0], n // 2)[:, None]
    model = ErrorModel(MODEL.dtype)

    def sigma(samples: int, of_samples: bool) -> Any:
        model.branches.samples = samples
        weight = exact(numbers, model)
        weight.of_samples = of_samples
        return (weight.reshape(64, n) @ exact(y, model)).sigma

    numbers = rng.uniform(0.5, 1, (64, 8, n // 8))
    assert (sigma(2, True) > 1.1 * sigma(0, True)).all()
    np.testing.assert_array_equal(sigma(2, False), sigma(0, False))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_products_whose_terms_repeat(dtype: str) -> None:
    """Constant data: a loop over the samples errs by many times what a random order says, and so may the reference in float64."""
    rng, n = np.random.default_rng(0), 4096
    model = ErrorModel(np.dtype(dtype))
    x, g = np.full((n, 20), 0.7), repeating(rng, 10, n).T
    got = exact(g.T, model) @ exact(x, model)
    terms = g.T[:, None] * x.T
    exactly = terms.astype(np.longdouble).sum(-1)
    error = np.abs(loop(terms, np.dtype(dtype)) + terms.sum(-1) - exactly).astype(float)
    assert np.max(error / (random_order(terms) * model.unit_roundoff / U)) > LAMBDA / 2
    assert np.max(error / got.sigma) < 4


@pytest.mark.parametrize("last", [False, True])
def test_products_whose_terms_repeat_within_each_sample(last: bool) -> None:
    """Constant data behind a norm: each sample has some values of its own, which a look across all samples takes for random."""
    rng, samples, positions = np.random.default_rng(0), 100, 1000
    own = np.concatenate([repeating(rng, 10, positions) for _ in range(samples)], axis=1) * rng.choice(
        [-1.0, 1.0], (10, 1)
    )
    x, n = np.full((samples * positions, 6), 0.7), samples * positions
    order = np.arange(n).reshape(samples, -1).T.ravel() if last else np.arange(n)
    model = ErrorModel(MODEL.dtype)
    model.branches.samples = samples if last else 0
    sigma = (exact(own[:, order], model) @ exact(x, model)).sigma
    terms = own[:, None] * x.T
    assert np.max(np.abs(loop(terms)) / random_order(terms)) > LAMBDA
    assert np.max(np.abs(loop(terms)) / sigma) < 2


def test_random_terms_keep_the_tolerance_of_a_random_order() -> None:
    """Detection costs nothing where nothing repeats: the typical tolerance is wider by less than a tenth."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((60, 700)), rng.standard_normal((700, 50))
    terms = x[:, None] * y.T
    usual = np.hypot(random_order(terms), U * np.sqrt(np.square(terms).sum(-1)))
    ratio = (exact(x) @ exact(y)).sigma / usual
    assert (ratio > 1 - 1e-9).all()
    assert np.median(ratio) < 1.1


@pytest.mark.parametrize("samples", [2, 8])
def test_a_product_of_few_terms_knows_its_samples_too(samples: int) -> None:
    """A 1 x 1 convolution of small images has more weights than positions; the sums of its samples may cancel each other."""
    rng, n = np.random.default_rng(0), 288
    signs = np.repeat([1.0, -1.0], samples // 2)
    x, y = rng.uniform(0.5, 1, (256, n)), rng.uniform(0.5, 1, (64, n)) * np.tile(signs, n // samples)
    model = ErrorModel(np.dtype("float32"))
    model.branches.samples = samples
    sigma = (exact(x, model) @ exact(y.T, model)).sigma
    terms = x[:, None] * y
    error = np.abs(loop(np.concatenate([terms[..., own::samples] for own in range(samples)], axis=-1)))
    assert np.max(error / sigma) < 4


@pytest.mark.parametrize("shape", [(1, 16), (3, 17, 5), (2, 40, 1), (2, 3, 100, 4)])
def test_a_product_in_parts_is_the_product(shape: tuple[int, ...]) -> None:
    """To some roundings of float64, for matrices and stacks of them, however the terms are divided."""
    rng = np.random.default_rng(0)
    *batch, n, columns = shape if len(shape) > 2 else (*shape[1:], shape[0])
    x, y = rng.standard_normal((*batch, 6, n)), rng.standard_normal((n, columns))
    value, _, found = orders.product(x, y, np.square(x) @ np.square(y), MODEL)
    np.testing.assert_allclose(value, x @ y, rtol=1e-12, atol=1e-12)
    assert found is None or (found.in_memory.shape == value.shape and (found.in_memory >= 0).all())


def test_whole_numbers_stay_exact_in_any_order() -> None:
    """No order of summation rounds them, sorted or not, and none of this applies."""
    assert np.sum(exact(np.repeat([1.0, -1.0], 500))).error is None
    assert (exact(np.ones((1, 500))) @ exact(np.repeat([1.0, -1.0], 250).repeat(1)[:, None])).error is None


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rows_that_repeat_among_others_that_do_not(dtype: str) -> None:
    """A clipped loss gives one class few distinct terms: its row alone is wider, and wide enough for a plain loop."""
    rng, n = np.random.default_rng(3), 2000
    g, x = -rng.uniform(0.1, 1, (10, n)), np.repeat(rng.uniform(0.2, 2, (32, 1)), n, axis=1)
    g[4, rng.uniform(size=n) < 0.9] = -0.7
    model = ErrorModel(np.dtype(dtype))
    sigma = (exact(g, model) @ exact(x.T, model)).sigma / (model.unit_roundoff / U)
    terms = g[:, None] * x
    exactly = terms.astype(np.longdouble).sum(-1)
    error = np.abs(loop(terms, np.dtype(dtype)) + terms.sum(-1) - exactly).astype(float) / (model.unit_roundoff / U)
    assert np.max(error / sigma) < 4
    wider = np.median(sigma / random_order(terms), axis=1)
    assert wider[4] > 2
    assert np.max(np.delete(wider, 4)) < 2


def test_the_value_of_a_sum_is_added_up_in_pairs() -> None:
    """In float64 the reference rounds as well: along an outer axis NumPy would add up equal terms one after the other."""
    terms = np.full((20_000, 10), np.random.default_rng(0).uniform(0.1, 1, 10))
    value = np.sum(exact(terms, ErrorModel(np.dtype("float64"))), axis=0).value
    exactly = terms.astype(np.longdouble).sum(0).astype(float)
    plain = np.sum(terms, axis=0)
    assert np.max(np.abs(value - exactly)) < np.max(np.abs(plain - exactly)) / 10


@pytest.mark.parametrize("n", [33, 57])
def test_small_batches_have_orders_too(n: int) -> None:
    """Few samples are sorted, or repeat, as many do."""
    rng = np.random.default_rng(1)
    x, half = np.full((40, n), 0.7), n // 2
    terms = x[:, None] * repeating(rng, 30, n)
    sigma = (exact(x) @ exact(repeating(np.random.default_rng(1), 30, n).T)).sigma
    assert np.max(np.abs(loop(terms)) / sigma) < 3
    y = np.concatenate([np.ones(half), -np.ones(n - half)]) * (1 + 0.1 * rng.standard_normal((30, n)))
    partial = U * np.sqrt(np.square(np.cumsum(y, axis=-1)).sum(-1))
    assert ((exact(1 + 0.1 * rng.standard_normal((40, n))) @ exact(y.T)).sigma > 0.6 * partial).all()


@pytest.mark.parametrize("blocks", [1, 4])
@pytest.mark.parametrize("samples", [2, 3, 8])
def test_a_running_total_of_products_knows_its_samples(blocks: int, samples: int) -> None:
    """A convolution's weight gradient is added up over blocks of positions; the sums of whole samples may cancel each other."""
    rng, positions = np.random.default_rng(0), 8192
    n = samples * positions
    signs = np.tile(np.where(np.arange(samples) < samples / 2, 1.0, -1.0), positions)  # position by position
    x, y = rng.uniform(0.5, 1, (6, n)), rng.uniform(0.5, 1, (5, n)) * signs
    model = ErrorModel(MODEL.dtype)
    model.branches.samples = samples
    total = exact(np.zeros((6, 5)), model)
    for own in np.split(np.arange(n), blocks):
        total += exact(x[:, own], model) @ exact(y[:, own].T, model)
    terms = (x[:, None] * y).reshape(6, 5, positions, samples)
    by_sample = np.swapaxes(terms, -1, -2).reshape(6, 5, n)
    partial = U * np.sqrt(np.square(np.cumsum(by_sample, axis=-1)).sum(-1))
    assert (total.sigma > 0.6 * partial).all()
    assert (total.sigma < 1.5 * partial).all()
    assert np.max(np.abs(loop(by_sample)) / total.sigma) < 4


def test_a_running_total_goes_on_from_what_was_added_before() -> None:
    """The second product's partial sums begin at the first product, which is far larger."""
    rng, n = np.random.default_rng(0), 4096
    x, y = rng.uniform(0.5, 1, (6, n)), np.repeat([1.0, -1.0], n // 2) * rng.uniform(0.5, 1, (5, n))
    whole, total = (exact(x) @ exact(y.T)).sigma, exact(np.zeros((6, 5)))
    for own in np.split(np.arange(n), 2):
        total += exact(x[:, own]) @ exact(y[:, own].T)
    np.testing.assert_allclose(total.sigma, whole, rtol=0.15)


def test_an_operand_keeps_its_error_when_it_joins_a_running_total() -> None:
    """The product that is added to a total may be used again, and then has its own orders' error."""
    rng, n = np.random.default_rng(0), 4096
    x, y = rng.uniform(0.5, 1, (6, n)), np.repeat([1.0, -1.0], n // 2) * rng.uniform(0.5, 1, (5, n))
    alone, product, total = (exact(x) @ exact(y.T)).sigma, exact(x) @ exact(y.T), exact(np.zeros((6, 5)))
    total += product
    total += product
    np.testing.assert_array_equal(product.sigma, alone)


def test_products_near_the_end_of_the_range_raise_no_warning() -> None:
    """Their squares overflow: whoever reads the error of such a sum reads one that is not finite."""
    x = np.full((3, 64), 1e200)
    product = exact(x, ErrorModel(np.dtype("float64"))) @ exact(x.T, ErrorModel(np.dtype("float64")))
    assert not np.isfinite(product.T.sigma).all() and not np.isfinite(product.reshape(-1).scale_or_own).any()
