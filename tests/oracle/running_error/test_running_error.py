"""The error array: its values are NumPy's, its errors cover what float32 really does, and exact stays exact."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oracle.running_error import LAMBDA, ErrorArray, ErrorModel
from oracle.running_error.model import Twofold

FLOAT32 = np.dtype("float32")


def lifted(array: Any) -> ErrorArray:
    return ErrorArray.exact(array, ErrorModel(FLOAT32, bounds=True))


def tolerances(result: ErrorArray) -> tuple[Any, Any]:
    """Of the statistical model and of the worst case."""
    return LAMBDA * result.sigma, result.bound


def orders_of_summation(terms: np.ndarray) -> dict[str, np.float32]:
    """The sum of float32 terms in several honest ways."""
    reverse = np.float32(0)
    for term in terms[::-1]:
        reverse = np.float32(reverse + term)
    forward = np.float32(0)
    for term in terms:
        forward = np.float32(forward + term)
    blocks = [np.float32(block.sum(dtype=np.float32)) for block in np.array_split(terms, max(1, len(terms) // 16))]
    blocked = np.float32(0)
    for block in blocks:
        blocked = np.float32(blocked + block)
    return {
        "forward": forward,
        "reverse": reverse,
        "blocked": blocked,
        "pairwise": terms.sum(dtype=np.float32),
        "float64 inside": np.float32(terms.sum(dtype=np.float64)),
    }


@given(seed=st.integers(0, 2**32 - 1), size=st.integers(2, 400), positive=st.booleans())
@settings(max_examples=60, deadline=None)
def test_every_order_of_summation_stays_within_both_models(seed: int, size: int, positive: bool) -> None:
    """No honest sum is accused, whatever its order: lambda sigma for random data, the bound for any."""
    rng = np.random.default_rng(seed)
    terms = rng.standard_normal(size).astype(np.float32)
    terms = np.abs(terms) if positive else terms
    total: Any = np.sum(lifted(terms))  # type: ignore[arg-type]
    for name, value in orders_of_summation(terms).items():
        error = abs(float(value) - float(total.value))
        assert all(error <= tolerance for tolerance in tolerances(total)), name


OPERATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "add": lambda x, y: x + y,
    "subtract": lambda x, y: x - y,
    "multiply": lambda x, y: x * y,
    "divide": lambda x, y: x / (y * y + 1.0),
    "scalar": lambda x, y: x * 0.1 + y * 3.0,
    "square": lambda x, y: (x * x - 2.0 * y) ** 2,
    "exp": lambda x, y: np.exp(-abs(x)) * y,
    "log": lambda x, y: np.log(x * x + 1.0) - np.log1p(y * y),
    "sqrt": lambda x, y: np.sqrt(x * x + y * y + 0.5),
    "tanh": lambda x, y: np.tanh(x * y),
    "trigonometric": lambda x, y: np.sin(x) + np.cos(y),
    "where": lambda x, y: np.where(x > 0, x * y, 0.3 * y),
    "maximum": lambda x, y: np.maximum(x, y) - np.minimum(x, y),
    "softmax": lambda x, y: np.exp(x - np.max(x, axis=1, keepdims=True)) / np.sum(np.exp(y), axis=1, keepdims=True),
    "mean": lambda x, y: x - np.mean(y, axis=0, keepdims=True),
    "concatenate": lambda x, y: np.concatenate([x, y * 2.0], axis=1),
    "rearranged": lambda x, y: np.moveaxis(x[:, ::2], 0, 1).reshape(-1) * np.transpose(y)[::2].reshape(-1),
    "windows": lambda x, y: np.lib.stride_tricks.sliding_window_view(x, (2, 2), axis=(0, 1)) * 0.5,
}


@pytest.mark.parametrize("name", OPERATIONS)
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=10, deadline=None)
def test_operations_have_numpys_value_and_cover_float32s_error(name: str, seed: int) -> None:
    """Each rule: the value is float64's, and a float32 computation of the same stays within both models, not far below."""
    rng = np.random.default_rng(seed)
    x, y = (rng.standard_normal((6, 8)).astype(np.float32) for _ in range(2))
    operation = OPERATIONS[name]
    single = operation(x, y)
    assert single.dtype == np.float32
    result = operation(lifted(x), lifted(y))
    np.testing.assert_allclose(result.value, operation(x.astype(float), y.astype(float)), rtol=1e-13, atol=1e-300)
    for tolerance in tolerances(result):
        assert (np.abs(single - result.value) <= tolerance).all()


def test_an_operation_without_a_rule_is_refused() -> None:
    """Nothing is exact only because nobody thought of it."""
    with pytest.raises(TypeError):
        np.nextafter(lifted([1.0]), lifted([2.0]))
    with pytest.raises(TypeError):
        np.cumsum(lifted([1.0, 2.0]))
    row = lifted([[1.0, 2.0]])[0]
    with pytest.raises(TypeError, match="read at an index"):
        row[1] = 3.0


def test_integer_data_is_exact_until_the_dtype_cannot_hold_it() -> None:
    """sigma is zero where no order of summation rounds, and no further."""
    small = np.arange(-8.0, 8.0).reshape(4, 4)
    assert (lifted(small) @ lifted(small)).error is None
    large = small * 2.0**11
    product = lifted(large) @ lifted(large)
    assert product.error is not None
    further = product + 1.0
    np.testing.assert_allclose(further.sigma, np.hypot(product.sigma, 2.0**-24 * further.value), rtol=1e-12)


def test_accumulation_counts_only_what_is_added() -> None:
    """`+=` into zeros is one open sum: exact for a single term, wider for many."""
    rng = np.random.default_rng(1)
    terms = rng.standard_normal((12, 3))
    once = np.zeros_like(lifted(terms), shape=(3,))
    once += lifted(terms[0])
    assert not once.sigma.any()
    many = np.zeros_like(lifted(terms), shape=(3,))
    for term in terms:
        many += lifted(term)
    summed = np.sum(lifted(terms), axis=0)
    np.testing.assert_allclose(many.sigma, summed.sigma, rtol=1e-12)


def test_a_branch_that_rounding_can_flip_widens_only_its_own_element() -> None:
    """Elements at a kink get the other branch's difference as tolerance; their neighbours stay tight."""
    x = lifted([1.0, 2.0, 3.0]) * 0.1
    y = x - lifted(np.float32([0.1, 0.1, 0.1]).astype(float))
    gate = np.where(y > 0, lifted([5.0, 5.0, 5.0]), 0.0)
    for tolerance in tolerances(gate):
        assert tolerance[0] >= 5.0
        assert (tolerance[1:] == 0).all()


def test_a_guide_decides_the_branch_and_is_checked() -> None:
    """The implementation's own branch is adopted; one that rounding cannot explain is counted as inadmissible."""
    model = ErrorModel(FLOAT32)
    near = ErrorArray(np.array([1e-9, 1.0]), model, Twofold(np.full(2, 1e-14)), guide=np.array([-1e-9, 1.0]))
    chosen = np.where(near > 0, lifted_in(model, [7.0, 7.0]), 0.0)
    assert chosen.value.tolist() == [0.0, 7.0]
    seen = model.branches.here()
    assert (seen.compared, seen.adopted, seen.inadmissible) == (2, 1, 0)
    far = ErrorArray(np.array([1.0]), model, Twofold(np.full(1, 1e-14)), guide=np.array([-1.0]))
    np.where(far > 0, lifted_in(model, [7.0]), 0.0)
    assert seen.inadmissible == 1


def lifted_in(model: ErrorModel, values: Any) -> ErrorArray:
    return ErrorArray.exact(values, model)


def test_what_was_read_before_stays_when_an_array_is_written_into() -> None:
    """Additions happen in place only where no other array shares the error: -x and an error that was read keep theirs."""
    rng = np.random.default_rng(2)
    result = np.zeros_like(lifted(rng.standard_normal((4, 3))))
    result[0] += lifted(rng.standard_normal(3)) * 0.1
    result[1] = lifted(rng.standard_normal(3)) * 0.1
    negative, sigma = -result, result.sigma.copy()
    result[0] += lifted(rng.standard_normal(3)) * 0.1
    result[:2] += lifted(rng.standard_normal((2, 3)))
    np.testing.assert_array_equal(negative.sigma, sigma)
    assert (result.sigma[:2] > sigma[:2]).all()
    assert not result.sigma[2:].any()


@given(seed=st.integers(0, 2**32 - 1), parts=st.integers(1, 4), bias=st.booleans())
@settings(max_examples=30, deadline=None)
def test_a_sum_in_parts_is_the_sum(seed: int, parts: int, bias: bool) -> None:
    """Products added up a part at a time, with a bias among them or not, have the error of all of their few terms."""
    rng = np.random.default_rng(seed)
    a, b, c = (lifted(rng.standard_normal(shape)) for shape in ((3, 14), (14, 2), (3, 2)))
    total = np.zeros_like(a, shape=(3, 2))
    for part in np.array_split(np.arange(14), parts):
        total[:] += a[:, part] @ b[part]
    whole = a @ b
    if bias:
        total += c
        whole += c
    np.testing.assert_allclose(total.value, whole.value, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(total.sigma, whole.sigma, rtol=1e-12)
    np.testing.assert_allclose(total.bound, whole.bound, rtol=1e-12)


@pytest.mark.parametrize("name", OPERATIONS)
def test_bounds_beside_it_change_nothing_in_the_statistical_model(name: str) -> None:
    """Values and standard deviations are the same to the bit, whether bounds are kept beside them or not."""
    rng = np.random.default_rng(3)
    x, y = (rng.standard_normal((6, 8)).astype(np.float32) for _ in range(2))
    with_bounds = OPERATIONS[name](lifted(x), lifted(y))
    model = ErrorModel(FLOAT32)
    without = OPERATIONS[name](lifted_in(model, x), lifted_in(model, y))
    np.testing.assert_array_equal(with_bounds.value, without.value)
    np.testing.assert_array_equal(with_bounds.sigma, without.sigma)
    assert without.bound is None


METHODS: dict[str, Any] = {
    "T": lambda x: x.T,
    "transpose": lambda x: x.transpose(1, 2, 0),
    "swapaxes": lambda x: x.swapaxes(0, 2),
    "squeeze": lambda x: x.squeeze(1),
    "reshape": lambda x: x.reshape(4, -1),
    "copy": lambda x: x.copy(),
    "index": lambda x: x[1:, 0],
}


@pytest.mark.parametrize("name", METHODS)
def test_what_moves_elements_moves_their_errors_along(name: str) -> None:
    """Each element keeps its own sigma and bound and what the subject had there, a mask's elements their own doubt."""
    rng = np.random.default_rng(0)
    x = lifted(rng.standard_normal((2, 1, 4)).astype(np.float32)) * 0.1
    x.guide = x.value + rng.uniform(size=x.shape)
    moved = METHODS[name](x)
    for component in ("value", "sigma", "bound", "guide"):
        np.testing.assert_array_equal(getattr(moved, component), METHODS[name](getattr(x, component)))
    if name in ("reshape", "index"):
        mask = x - x[0, 0, 0] > 0
        moved = METHODS[name](mask)
        np.testing.assert_array_equal(moved.value, METHODS[name](mask.value))
        for model in ("statistical", "worst"):
            doubt = getattr(mask.ambiguous, model)
            assert doubt.any() and not doubt.all()
            np.testing.assert_array_equal(getattr(moved.ambiguous, model), METHODS[name](doubt))


@pytest.mark.parametrize("name", ["sum", "mean"])
def test_methods_are_numpys_functions(name: str) -> None:
    """An op may spell it either way."""
    x = lifted(np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32))
    assert getattr(x, name)(axis=1).shape == (3,)
    for keepdims, shape in ((False, (3,)), (True, (3, 1))):
        one, other = getattr(x, name)(axis=1, keepdims=keepdims), getattr(np, name)(x, axis=1, keepdims=keepdims)
        assert one.shape == other.shape == shape
        np.testing.assert_array_equal(one.value, other.value)
        np.testing.assert_array_equal(one.sigma, other.sigma)
    assert len(x) == 3


def test_astype_copies_unless_told_otherwise() -> None:
    """As NumPy's, but for the dtype, which is the model's."""
    x = lifted([1.0, 2.0])
    x.astype(np.float32)[0] = 5.0
    assert x.value.tolist() == [1.0, 2.0]
    assert x.astype(np.float32, copy=False) is x


def test_subtracting_in_place_is_adding_the_opposite() -> None:
    """With the same errors."""
    start, taken = (np.random.default_rng(seed).standard_normal(5).astype(np.float32) for seed in (0, 1))
    one, other = lifted(start) * 0.1, lifted(start) * 0.1
    one -= lifted(taken)
    other += -lifted(taken)
    np.testing.assert_array_equal(one.value, other.value)
    np.testing.assert_array_equal(one.sigma, other.sigma)
    np.testing.assert_allclose(one.value, (start.astype(float) * 0.1) - taken)
