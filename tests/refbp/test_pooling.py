"""Max, average and Lp pooling follow torch: windows, divisors, winners, and where a gradient goes."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import refbp
from refbp import functional
from refbp.max_pooling import PoolWithIndices
from refbp.windows import pool_geometry

NAMES = ("max_pool", "avg_pool", "lp_pool")
TOLERANCES = {np.dtype(np.float64): (1e-12, 1e-14), np.dtype(np.float32): (1e-5, 1e-6)}


def close(got: Any, expected: Any) -> None:
    """Same dtype, same shape, same elements within rounding; NaN and infinities in the same places."""
    expected = expected.detach().numpy()
    assert (got.dtype, got.shape) == (expected.dtype, expected.shape)
    rtol, atol = TOLERANCES[got.dtype]
    np.testing.assert_allclose(got, expected, rtol=rtol, atol=atol)


def against_torch(name: str, x: Any, *arguments: Any, upstream: Any = None, **options: Any) -> Any:
    """Output, winners and gradient under a random upstream gradient."""
    tensor = torch.tensor(x.copy(), requires_grad=True)
    if name.startswith("max"):
        options["return_indices"] = True
    expected = getattr(torch.nn.functional, name)(tensor, *arguments, **options)
    kept = x.copy()
    with np.errstate(all="ignore"):
        got, backward = getattr(functional, name)(x, *arguments, **options)
    if name.startswith("max"):
        (expected, winners), (got, indices) = expected, got
        np.testing.assert_array_equal(indices, winners)
    if upstream is None:
        upstream = np.random.default_rng(1).standard_normal(tuple(expected.shape)).astype(x.dtype)
    expected.backward(torch.tensor(upstream.copy()))
    close(got, expected)
    with np.errstate(all="ignore"):
        grad = backward(upstream)
    close(grad, tensor.grad)
    np.testing.assert_array_equal(x, kept)
    assert not np.shares_memory(got, x)
    return grad


def some(rank: int, least: int, most: int) -> st.SearchStrategy[Any]:
    """One number for all dimensions, or one for each."""
    number = st.integers(least, most)
    return number | st.tuples(*[number] * rank)


def spread_out(value: Any, rank: int) -> tuple[int, ...]:
    return (value,) * rank if isinstance(value, int) else value


@st.composite
def poolings(draw: st.DrawFn, dilated: bool, padded: bool = True) -> tuple[int, Any, dict[str, Any]]:
    """Rank, input with many equal elements, and options."""
    rank = draw(st.integers(1, 3))
    kernel = draw(some(rank, 1, 4))
    options: dict[str, Any] = {
        "kernel_size": kernel,
        "stride": draw(st.none() | some(rank, 1, 4)),
        "ceil_mode": draw(st.booleans()),
    }
    if padded:
        options["padding"] = tuple(draw(st.integers(0, k // 2)) for k in spread_out(kernel, rank))
    dilation = (1,) * rank
    if dilated:
        options["dilation"] = draw(some(rank, 1, 2))
        dilation = spread_out(options["dilation"], rank)
    reach = [d * (k - 1) + 1 for k, d in zip(spread_out(kernel, rank), dilation, strict=True)]
    size = [r + draw(st.integers(0, 3)) for r in reach]
    lead = draw(st.sampled_from([(), (2,), (0,)]))
    rng = np.random.default_rng(draw(st.integers(0, 9)))
    x = rng.integers(-2, 3, (*lead, 2, *size)) * 0.5 if draw(st.booleans()) else rng.standard_normal((*lead, 2, *size))
    return rank, x, options


@pytest.mark.parametrize("n", [3, 4, 5, 6, 7])
@pytest.mark.parametrize("ceil_mode", [False, True])
def test_every_window_of_one_dimension(n: int, ceil_mode: bool) -> None:
    """All kernels, strides and paddings: how many windows there are, and what those at the edge are divided by."""
    x = np.random.default_rng(8).standard_normal((2, 1, n))
    for kernel, stride in product(range(1, 5), range(1, 5)):
        for padding in range(kernel // 2 + 1):
            if n + 2 * padding < kernel:
                continue
            windows = (kernel, stride, padding)
            against_torch("max_pool1d", x, *windows, ceil_mode=ceil_mode)
            for count_include_pad in (True, False):
                against_torch("avg_pool1d", x, *windows, ceil_mode, count_include_pad)


@settings(deadline=None, max_examples=100)
@given(poolings(dilated=True))
def test_max_pooling_follows_torch(case: tuple[int, Any, dict[str, Any]]) -> None:
    """Kernel, stride, padding, dilation and ceil_mode together, with ties; windows overlap, leave gaps, or reach out."""
    rank, x, options = case
    against_torch(f"max_pool{rank}d", x, **options)


@settings(deadline=None, max_examples=100)
@given(poolings(dilated=False), st.booleans(), st.none() | st.sampled_from([1, 3, -2]))
def test_average_pooling_follows_torch(
    case: tuple[int, Any, dict[str, Any]], count_include_pad: bool, divisor_override: int | None
) -> None:
    """The divisor: all of the kernel, what lies in the padded input, what lies in the input, or the one that is given."""
    rank, x, options = case
    if rank > 1:
        options["divisor_override"] = divisor_override
    against_torch(f"avg_pool{rank}d", x, **options, count_include_pad=count_include_pad)


@settings(deadline=None, max_examples=100)
@given(poolings(dilated=False, padded=False), st.sampled_from([1, 2, 3.0, 4, 0.5, 1.5, math.inf, -math.inf]))
def test_lp_pooling_follows_torch(case: tuple[int, Any, dict[str, Any]], norm_type: float) -> None:
    """Also where the sum is zero or negative: the same NaN and zeros as torch's formula."""
    rank, x, options = case
    if rank == 1:  # torch.nn.functional.lp_pool1d fails for a tuple
        options["kernel_size"] = spread_out(options["kernel_size"], 1)[0]
    against_torch(f"lp_pool{rank}d", x, norm_type, **options)


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("count", [2, 3, 5])
def test_ties_go_to_the_first(rank: int, count: int) -> None:
    """Constant input: exactly one element of each window gets all of the gradient, the first in row-major order."""
    x = np.zeros((1, 1, *(count,) * rank))
    grad = against_torch(f"max_pool{rank}d", x, 2, 1)
    assert (grad[(0, 0, *(-1,) * rank)] == 0) and np.count_nonzero(grad) == (count - 1) ** rank


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_padding_never_wins(rank: int) -> None:
    """A window of -inf alone still has a winner among its own elements, which gets the gradient."""
    x = np.full((2, 1, *(4,) * rank), -np.inf)
    grad = against_torch(f"max_pool{rank}d", x, 3, 2, 1)
    assert np.count_nonzero(grad) == 2 * 2**rank


def test_a_window_that_no_element_lies_in() -> None:
    """Dilation may step over a small input; torch's index then lies outside the array, so there is nothing to follow."""
    (y, indices), backward = functional.max_pool1d(np.ones((1, 1, 1)), 2, 2, 1, 3, True, True)
    assert (y.item(), indices.item(), backward(np.ones((1, 1, 1))).item()) == (-np.inf, -1, 0)


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("name", NAMES)
def test_non_finite_elements(name: str, rank: int) -> None:
    """NaN wins a maximum, the last of several; infinities are larger or smaller than all else; sums follow IEEE."""
    rng = np.random.default_rng(2)
    x = rng.standard_normal((2, 2, *(6,) * rank))
    x[rng.uniform(size=x.shape) < 0.1] = np.nan
    x[rng.uniform(size=x.shape) < 0.1] = np.inf
    x[rng.uniform(size=x.shape) < 0.1] = -np.inf
    arguments = (2.0, 3, 2) if name == "lp_pool" else (3, 2)
    against_torch(f"{name}{rank}d", x, *arguments, **({} if name == "lp_pool" else {"padding": 1}))


@pytest.mark.parametrize("name", ["max_pool", "avg_pool"])
def test_a_nan_upstream_stays_in_its_window(name: str) -> None:
    """It is not spread over the zeros of other elements by a multiplication with a mask."""
    upstream = np.ones((1, 1, 3))
    upstream[0, 0, 1] = np.nan
    for x in (np.arange(6.0), -np.arange(6.0)):  # the last or the first element of each window wins
        grad = against_torch(f"{name}1d", x.reshape(1, 1, 6), 2, upstream=upstream)
        assert not np.isnan(grad[0, 0, [0, 1, 4, 5]]).any()


def test_lp_pooling_of_zeros() -> None:
    """The root's slope is infinite there: torch lets no gradient through, not even for p = 1, where it would be 1."""
    x = np.zeros((1, 1, 4))
    x[0, 0, 2:] = [1.0, -1.0]
    for p in (1, 2, 3):
        against_torch("lp_pool1d", x, p, 2)
        assert not functional.lp_pool1d(x[..., :2], p, 2)[1](np.ones((1, 1, 1))).any()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_layouts_and_float32(name: str, dtype: type) -> None:
    """Reversed, channels-last and broadcast input and upstream gradient, none of them writable; float32 stays float32."""
    rng = np.random.default_rng(3)
    dense = rng.standard_normal((2, 6, 8, 3)).astype(dtype)
    arguments = (3.0, 2, 2) if name == "lp_pool" else (2, 2)
    if name == "lp_pool":
        dense = abs(dense)  # an odd power of a negative sum is NaN
    for x in (np.moveaxis(dense, 3, 1), dense[::-1, ::-1, ::2], np.broadcast_to(dense[:1, :1, :1, :1], (2, 3, 4, 4))):
        x.flags.writeable = False
        upstream = rng.standard_normal((x.shape[3] // 2, x.shape[2] // 2, x.shape[1], 2)).astype(dtype).T
        for delta in (upstream, upstream[::-1, :, ::-1], np.broadcast_to(upstream[:1, :1, :1], upstream.shape)):
            against_torch(f"{name}2d", x, *arguments, upstream=delta)


LAYERS: list[tuple[str, dict[str, Any]]] = [
    ("MaxPool", {"kernel_size": 2}),
    ("MaxPool", {"kernel_size": 3, "stride": 2, "padding": 1, "dilation": 2, "ceil_mode": True}),
    ("AvgPool", {"kernel_size": 2}),
    ("AvgPool", {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True, "count_include_pad": False}),
    ("LPPool", {"norm_type": 2, "kernel_size": 3, "stride": 2, "ceil_mode": True}),
]


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize(("kind", "options"), LAYERS)
def test_layers(kind: str, options: dict[str, Any], rank: int) -> None:
    """torch's constructor arguments, by name and in their order, and no parameters."""
    x = np.random.default_rng(4).standard_normal((2, 3, *(7, 6, 8)[:rank]))
    module = getattr(torch.nn, f"{kind}{rank}d")(**options)
    layer = getattr(refbp, f"{kind}{rank}d")(**options)
    tensor = torch.tensor(x, requires_grad=True)
    expected = module(tensor)
    upstream = np.random.default_rng(5).standard_normal(tuple(expected.shape))
    expected.backward(torch.tensor(upstream))
    close(layer(x), expected)
    close(layer.backward(upstream), tensor.grad)
    assert layer.params == {}


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_arguments_by_position(rank: int) -> None:
    """torch's order: MaxPool's return_indices comes before its ceil_mode, and AvgPool's ceil_mode after its padding."""
    x = np.random.default_rng(6).standard_normal((2, 3, *(5,) * rank))
    for kind, arguments in (("MaxPool", (2, 2, 1, 1, False, True)), ("AvgPool", (2, 2, 1, True, False))):
        expected = getattr(torch.nn, f"{kind}{rank}d")(*arguments)(torch.tensor(x))
        close(getattr(refbp, f"{kind}{rank}d")(*arguments)(x), expected)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_layer_with_indices(rank: int) -> None:
    """The output is torch's pair, and the backward takes the gradient of its first part."""
    x = np.random.default_rng(7).standard_normal((2, 3, *(5,) * rank))
    layer = getattr(refbp, f"MaxPool{rank}d")(2, return_indices=True)
    output, indices = layer(x)
    expected, winners = getattr(torch.nn, f"MaxPool{rank}d")(2, return_indices=True)(torch.tensor(x))
    close(output, expected)
    np.testing.assert_array_equal(indices, winners)
    grad = layer.backward(np.ones_like(output))
    flat = grad.reshape(2, 3, -1)
    np.testing.assert_array_equal(np.take_along_axis(flat, indices.reshape(2, 3, -1), 2), 1)
    assert flat.sum() == output.size
    np.testing.assert_array_equal(refbp.Sequential(layer, refbp.Identity())(x), output)


def test_your_own_pooling() -> None:
    """It has to define `pooled`; without it the class says so."""
    with pytest.raises(TypeError, match="PoolWithIndices defines no pooling"):
        PoolWithIndices()(np.ones((1, 1)))


@pytest.mark.parametrize(
    ("name", "shape", "arguments", "options", "message"),
    [
        ("max_pool2d", (5, 5), (2,), {}, r"max_pool2d expects 3 or 4 dimensions, got shape \(5, 5\)"),
        ("avg_pool1d", (2, 2, 3, 5), (2,), {}, "avg_pool1d expects 2 or 3 dimensions"),
        ("max_pool2d", (1, 5, 5), ((2, 2, 2),), {}, "kernel_size of max_pool2d expects .* or 2 of them"),
        ("max_pool2d", (1, 5, 5), (0,), {}, "kernel_size of max_pool2d expects an int of at least 1"),
        ("avg_pool2d", (1, 5, 5), (2, 0), {}, "stride of avg_pool2d expects an int of at least 1"),
        ("max_pool2d", (1, 5, 5), (2,), {"dilation": 0}, "dilation of max_pool2d expects an int of at least 1"),
        ("max_pool2d", (1, 5, 5), (3, 1, 2), {}, "padding of at most half the kernel 3, got 2"),
        ("max_pool2d", (1, 5, 5), (3, 1, 2, 2), {}, "padding of at most half the kernel 3, got 2"),
        ("avg_pool2d", (1, 5, 5), (3, 1, -1), {}, "padding of avg_pool2d expects an int of at least 0"),
        ("max_pool2d", (1, 4, 4), (5,), {}, "an input that holds its window of 5, got size 4 with padding 0"),
        ("max_pool2d", (1, 4, 4), (3,), {"dilation": 2}, "an input that holds its window of 5"),
        ("avg_pool2d", (1, 4, 4), (2,), {"divisor_override": 0}, "a divisor_override other than zero"),
        ("lp_pool2d", (1, 4, 4), (2.0, 5), {}, "avg_pool2d expects an input that holds its window of 5"),
    ],
)
def test_argument_errors(
    name: str, shape: tuple[int, ...], arguments: tuple[Any, ...], options: dict[str, Any], message: str
) -> None:
    """Each of these raises in torch too; here the error says what was expected."""
    with pytest.raises((RuntimeError, ValueError, TypeError)):
        getattr(torch.nn.functional, name)(torch.ones(shape), *arguments, **options)
    with pytest.raises(ValueError, match=message):
        getattr(functional, name)(np.ones(shape), *arguments, **options)


@pytest.mark.parametrize(
    ("size", "padding", "ceil_mode", "sides"),
    [(6, 0, False, (0, 0)), (7, 0, False, (0, 0)), (7, 0, True, (0, 1)), (7, 1, True, (1, 1)), (6, 0, True, (0, 0))],
)
def test_an_input_is_padded_as_far_as_its_windows_reach(
    size: int, padding: int, ceil_mode: bool, sides: tuple[int, int]
) -> None:
    """And no further: what needs no padding is not copied."""
    found = pool_geometry(np.zeros((1, 1, size)), 1, 2, 2, padding, 1, ceil_mode, "pool")
    assert found.sides == [sides]
    assert found.reaches_out == any(sides)


@pytest.mark.parametrize("norm_type", [1.0, 2.0, np.inf, -np.inf])
@pytest.mark.parametrize("values", [[np.nan, 1.0, 2.0, 3.0], [1.0, np.nan, 0.0, 0.0], [np.inf, -np.inf, -1.0, 1.0]])
def test_a_power_average_of_what_is_not_finite(norm_type: float, values: list[float]) -> None:
    """NaN's sign is 0 to torch: a sum that is NaN passes nothing with p = 1, nor does an extreme that is NaN."""
    x, upstream = np.array([[values]]), np.array([[[2.0, 3.0]]])
    ours = refbp.LPPool1d(norm_type, 2)
    tensor = torch.tensor(x, requires_grad=True)
    expected = torch.nn.LPPool1d(norm_type, 2)(tensor)
    expected.backward(torch.tensor(upstream))
    np.testing.assert_allclose(ours(x), expected.detach(), rtol=1e-14)
    np.testing.assert_allclose(ours.backward(upstream), tensor.grad, rtol=1e-14)
