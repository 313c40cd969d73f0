"""Dropout drops what its mask says, and scales what is left as torch does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import refbp
from refbp import functional as F

X, UPSTREAM = np.random.default_rng(0).standard_normal((2, 4, 6, 5, 3))


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("Dropout", ()),
        ("Dropout1d", (4, 6, 15)),
        ("Dropout2d", ()),
        ("Dropout2d", (4, 6, 15)),
        ("Dropout3d", (2, 2, 6, 5, 3)),
        ("AlphaDropout", ()),
    ],
)
@pytest.mark.filterwarnings("ignore:dropout2d. Received a 3D input")
def test_follows_torch(name: str, shape: tuple[int, ...]) -> None:
    """Under the mask that torch drew: values and gradients, whole channels where the class says so."""
    torch.manual_seed(0)
    x, upstream = (array.reshape(shape or array.shape) for array in (X, UPSTREAM))
    given = torch.tensor(x, requires_grad=True)
    expected = getattr(torch.nn, name)(0.3)(given)
    expected.backward(torch.tensor(upstream))
    assert given.grad is not None
    kept = given.grad.numpy() != 0
    ours = getattr(refbp, name)(0.3, rng=np.random.default_rng(0))
    ours(x)
    assert ours.mask.shape == (x.shape if name in ("Dropout", "AlphaDropout") else (*x.shape[:2], *(1,) * (x.ndim - 2)))
    ours.imposed_mask = (
        kept if ours.mask.shape == x.shape else kept.reshape(*x.shape[:2], -1).any(-1).reshape(ours.mask.shape)
    )
    np.testing.assert_allclose(ours(x), expected.detach(), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(ours.backward(upstream), given.grad, rtol=1e-12)
    np.testing.assert_array_equal(ours.eval()(x), x)
    np.testing.assert_array_equal(ours.backward(upstream), upstream)
    assert ours.mask is None


@pytest.mark.parametrize("p", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("name", ["Dropout", "AlphaDropout"])
def test_what_is_not_finite_is_multiplied_too(name: str, p: float) -> None:
    """Infinity times zero is NaN, in the output and in the gradient, as in torch, under the mask that torch drew."""
    x, upstream = np.random.default_rng(0).choice([1.0, -2.0, np.inf, -np.inf, np.nan, 0.0], (2, 60))
    theirs = getattr(torch.nn, name)(p)
    torch.manual_seed(0)
    shown = theirs(torch.ones(60, dtype=torch.float64)).numpy()
    ours = getattr(refbp, name)(p)
    ours.imposed_mask = (shown > 0) & (p < 1)
    torch.manual_seed(0)
    given = torch.tensor(x, requires_grad=True)
    expected = theirs(given)
    expected.backward(torch.tensor(upstream))
    np.testing.assert_allclose(ours(x), expected.detach(), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(ours.backward(upstream), given.grad, rtol=1e-12)
    assert np.isnan(ours(x)).sum() > np.isnan(x).sum() or p == 0


@pytest.mark.filterwarnings("ignore:overflow encountered")
@pytest.mark.parametrize("name", ["Dropout", "AlphaDropout"])
def test_what_is_dropped_is_not_scaled(name: str) -> None:
    """The largest number is dropped to zero: scaled first, it would be an infinity, whose product with zero is NaN."""
    ours = getattr(refbp, name)(0.9)
    ours.imposed_mask = np.array([False, True, False])
    x = np.array([65504, 1, -65504], np.float16)
    kept = ours(x)
    assert np.isfinite(kept).all() and kept.dtype == x.dtype
    np.testing.assert_array_equal(ours.backward(x) == 0, [True, False, True])


@pytest.mark.parametrize("shape", [(6, 3), (5, 6, 3)])
def test_three_dimensions_are_a_batch_to_dropout2d_alone(shape: tuple[int, ...]) -> None:
    """One decision per channel of each sample; Dropout1d takes two dimensions as channels and their side."""
    layers = (refbp.Dropout1d(), refbp.Dropout2d(), refbp.Dropout3d())
    for layer, input_shape in zip(layers, (shape, (5, 6, 3), (*shape, 2, 2)), strict=True):
        layer(np.ones(input_shape))
    masks = [layer.mask.shape for layer in layers if layer.mask is not None]
    assert masks == [(*shape[:-1], 1), (5, 6, 1), (*shape[:-1], 1, 1, 1)]


@pytest.mark.parametrize("op", [F.dropout, F.alpha_dropout])
def test_probabilities_of_none_and_all(op: Any) -> None:
    """0 keeps everything and 1 nothing, without a division by zero."""
    for p, expected in ((0.0, X), (1.0, 0 * X)):
        y, backward = op(X, p, True)
        np.testing.assert_allclose(y, expected, atol=1e-15)
        np.testing.assert_array_equal(backward(UPSTREAM), UPSTREAM if p == 0 else 0 * UPSTREAM)
    with pytest.raises(ValueError, match=r"dropout expects a probability from 0 to 1, got -0.1"):
        op(X, -0.1)


@pytest.mark.parametrize("op", [F.dropout, F.alpha_dropout])
def test_a_probability_of_one_drops_what_a_mask_would_keep(op: Any) -> None:
    """Output and gradient are zero, as the docstrings say, also with a mask of the caller's."""
    y, backward = op(X, 1.0, True, mask=np.ones(X.shape, np.bool_))
    np.testing.assert_array_equal(y, 0 * X)
    np.testing.assert_array_equal(backward(UPSTREAM), 0 * UPSTREAM)


def test_dropout_keeps_its_rate_and_scale() -> None:
    """Each call draws a new mask, whole channels where the class says so."""
    layer = refbp.Dropout(0.25, rng=np.random.default_rng(0))
    x = np.ones((100, 100))
    y = layer(x)
    assert set(np.unique(y)) == {0.0, 1 / 0.75}
    assert abs(y.mean() - 1) < 0.05
    first = layer.mask
    layer(x)
    assert not np.array_equal(first, layer.mask)
    channels = refbp.Dropout2d(0.5, rng=np.random.default_rng(0))(np.ones((4, 8, 3, 3)))
    np.testing.assert_array_equal(channels.min((2, 3)), channels.max((2, 3)))


def test_alpha_dropout_keeps_mean_and_variance() -> None:
    """The input has mean 0 and variance 1; the given generator decides the mask."""
    x = np.random.default_rng(1).standard_normal(200_000)
    y, _ = F.alpha_dropout(x, 0.3, True, rng=np.random.default_rng(2))
    assert abs(y.mean()) < 0.01 and abs(y.var() - 1) < 0.02
    again, _ = F.alpha_dropout(x, 0.3, True, rng=np.random.default_rng(2))
    np.testing.assert_array_equal(y, again)
