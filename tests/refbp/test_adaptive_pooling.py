"""Adaptive pooling follows torch: bins of uneven size that may share elements, and where each bin's gradient goes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import refbp
from refbp import functional

NAMES = ("adaptive_avg_pool", "adaptive_max_pool")


def against_torch(name: str, x: Any, output_size: Any, upstream: Any = None) -> Any:
    """Output, winners and gradient under a random upstream gradient."""
    tensor = torch.tensor(x.copy(), requires_grad=True)
    options = {"return_indices": True} if "max" in name else {}
    expected = getattr(torch.nn.functional, name)(tensor, output_size, **options)
    kept = x.copy()
    got, backward = getattr(functional, name)(x, output_size, **options)
    if options:
        (expected, winners), (got, indices) = expected, got
        np.testing.assert_array_equal(indices, winners)
    if upstream is None:
        upstream = np.random.default_rng(1).standard_normal(tuple(expected.shape)).astype(x.dtype)
    expected.backward(torch.tensor(upstream.copy()))
    grad = backward(upstream)
    rtol, atol = (1e-12, 1e-14) if x.dtype == np.float64 else (1e-5, 1e-6)
    for ours, theirs in ((got, expected.detach().numpy()), (grad, tensor.grad.numpy())):
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
        np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=atol)
    np.testing.assert_array_equal(x, kept)
    assert not np.shares_memory(got, x)
    return grad


@st.composite
def poolings(draw: st.DrawFn) -> tuple[int, Any, Any]:
    rank = draw(st.integers(1, 3))
    size = [draw(st.integers(1, 6)) for _ in range(rank)]
    number = st.integers(1, 7)
    each = st.tuples(*[st.none() | number if rank > 1 else number] * rank)
    lead = draw(st.sampled_from([(), (2,), (0,)]))
    rng = np.random.default_rng(draw(st.integers(0, 9)))
    shape = (*lead, 2, *size)
    x = rng.integers(-2, 3, shape) * 0.5 if draw(st.booleans()) else rng.standard_normal(shape)
    return rank, x, draw(number | each)


@settings(deadline=None, max_examples=100)
@given(st.sampled_from(NAMES), poolings())
def test_follows_torch(name: str, case: tuple[int, Any, Any]) -> None:
    """Fewer, as many or more bins than elements, None for as many; with ties, unbatched, and with an empty batch."""
    rank, x, output_size = case
    against_torch(f"{name}{rank}d", x, output_size)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_ties_and_bins_of_minus_infinity(rank: int) -> None:
    """The first element wins a tie, also between infinities, and where bins overlap it wins in both."""
    for value in (0.0, -np.inf):
        against_torch(f"adaptive_max_pool{rank}d", np.full((1, 2, *(5,) * rank), value), 3)


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("name", NAMES)
def test_non_finite_elements(name: str, rank: int) -> None:
    """They stay in their bins: an average of 0 times infinity elsewhere would be NaN; a NaN wins, the last of several."""
    rng = np.random.default_rng(2)
    x = rng.standard_normal((2, 2, *(8,) * rank))  # bins of 3, 4 and 3 elements
    for value in (np.nan, np.inf, -np.inf):
        x[rng.uniform(size=x.shape) < 0.1] = value
    with np.errstate(invalid="ignore"):
        against_torch(f"{name}{rank}d", x, 3)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_layouts_and_float32(name: str, dtype: type) -> None:
    """Reversed, channels-last and broadcast input and upstream gradient, none of them writable; float32 stays float32."""
    rng = np.random.default_rng(3)
    dense = rng.standard_normal((2, 5, 7, 3)).astype(dtype)
    upstream = rng.standard_normal((4, 2, 3, 2)).astype(dtype).T
    for x in (
        np.moveaxis(dense, 3, 1),
        dense.T[::-1, :, ::-1].T[:, :3],
        np.broadcast_to(dense[:, :1, :1, :1], (2, 3, 5, 5)),
    ):
        x.flags.writeable = False
        for delta in (upstream, upstream[::-1, :, ::-1], np.broadcast_to(upstream[:1, :1, :1], upstream.shape)):
            against_torch(f"{name}2d", x, (2, 4), upstream=delta)


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("kind", ["AdaptiveAvgPool", "AdaptiveMaxPool"])
def test_layers(kind: str, rank: int) -> None:
    """torch's constructor, and its pair with return_indices, whose backward takes the output's gradient."""
    x = np.random.default_rng(4).standard_normal((2, 3, *(7, 6, 5)[:rank]))
    layer, module = (getattr(library, f"{kind}{rank}d")(3) for library in (refbp, torch.nn))
    tensor = torch.tensor(x, requires_grad=True)
    expected = module(tensor)
    upstream = np.random.default_rng(5).standard_normal(tuple(expected.shape))
    expected.backward(torch.tensor(upstream))
    np.testing.assert_allclose(layer(x), expected.detach(), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(layer.backward(upstream), tensor.grad, rtol=1e-12, atol=1e-14)
    if kind == "AdaptiveMaxPool":
        with_indices, reference = (
            getattr(library, f"{kind}{rank}d")(3, return_indices=True) for library in (refbp, torch.nn)
        )
        for ours, theirs in zip(with_indices(x), reference(torch.tensor(x)), strict=True):
            np.testing.assert_array_equal(ours, theirs)
        np.testing.assert_allclose(with_indices.backward(upstream), tensor.grad, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", NAMES)
def test_no_bins(name: str) -> None:
    """An output size of zero is an empty output, as in torch, and its gradient is zero everywhere."""
    y, backward = getattr(functional, f"{name}2d")(np.ones((2, 3, 4, 4)), (0, 2))
    assert y.shape == getattr(torch.nn.functional, f"{name}2d")(torch.ones(2, 3, 4, 4), (0, 2)).shape == (2, 3, 0, 2)
    np.testing.assert_array_equal(backward(np.ones((2, 3, 0, 2))), np.zeros((2, 3, 4, 4)))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("shape", "output_size", "message"),
    [
        ((4, 4), 2, r"2d expects 3 or 4 dimensions, got shape \(4, 4\)"),
        ((1, 1, 1, 4, 4), 2, "2d expects 3 or 4 dimensions"),
        ((1, 4, 4), -1, "2d expects output_size as an int or None, or 2 of them, got -1"),
        ((1, 4, 4), (2, 2, 2), "2d expects output_size as an int or None, or 2 of them"),
        ((1, 0, 4), 2, r"at least one element in each dimension, got shape \(1, 0, 4\)"),
    ],
)
def test_argument_errors(name: str, shape: tuple[int, ...], output_size: Any, message: str) -> None:
    """Each of these raises in torch too; here the error says what was expected."""
    with pytest.raises((RuntimeError, ValueError)):
        getattr(torch.nn.functional, f"{name}2d")(torch.ones(shape), output_size)
    with pytest.raises(ValueError, match=message):
        getattr(functional, f"{name}2d")(np.ones(shape), output_size)
