"""Linear follows torch in values, gradients, shapes and initial distribution, in every memory layout."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from refbp import Linear
from refbp.functional import linear


def against_torch(x: Any, weight: Any, bias: Any, seed: int = 0, upstream: Any = None) -> None:
    """Output and all gradients under a random upstream gradient."""
    z, backward = linear(x, weight, bias)
    if upstream is None:
        upstream = np.random.default_rng(seed).standard_normal(z.shape)
    tensors = [None if a is None else torch.tensor(a.copy(), requires_grad=True) for a in (x, weight, bias)]
    expected = torch.nn.functional.linear(*tensors)
    expected.backward(torch.tensor(upstream.copy()))
    np.testing.assert_allclose(z, expected.detach(), rtol=1e-12, atol=1e-13)
    for got, tensor in zip(backward(upstream), tensors, strict=True):
        assert (got is None) == (tensor is None)
        if tensor is not None:
            assert got.shape == tensor.shape
            np.testing.assert_allclose(got, tensor.grad, rtol=1e-12, atol=1e-13)


sizes = st.integers(0, 4)


@settings(deadline=None)
@given(st.lists(sizes, max_size=3), sizes, sizes, st.booleans(), st.integers(0, 99))
def test_follows_torch(lead: list[int], in_features: int, out_features: int, has_bias: bool, seed: int) -> None:
    """Any leading dimensions, none at all, empty ones, and no features on either side."""
    rng = np.random.default_rng(seed)
    bias = rng.standard_normal(out_features) if has_bias else None
    against_torch(
        rng.standard_normal((*lead, in_features)), rng.standard_normal((out_features, in_features)), bias, seed
    )


LAYOUTS = {
    "reversed": lambda a: a[::-1, ::-1],
    "strided": lambda a: np.repeat(np.repeat(a, 2, 0), 3, 1)[::2, ::3],
    "transposed": np.asfortranarray,
    "broadcast": lambda a: np.broadcast_to(a[:1], a.shape),
    "scalar": lambda a: np.broadcast_to(a[:1, :1], a.shape),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_memory_layouts(layout: str) -> None:
    """Negative, doubled and zero strides in every argument and in the upstream gradient; nothing is written into."""
    rng, change = np.random.default_rng(1), LAYOUTS[layout]
    arrays = [change(rng.standard_normal(shape)) for shape in ((5, 3), (4, 3), (5, 4))]
    for array in arrays:
        array.flags.writeable = False
    x, weight, upstream = arrays
    against_torch(x, weight, rng.standard_normal(8)[::-2], upstream=upstream)


def test_equations_4_and_5() -> None:
    """For one sample, written with columns as in DERIVATION.md."""
    rng = np.random.default_rng(2)
    W, n, b, delta = (rng.standard_normal(shape) for shape in ((3, 2), (2, 1), (3, 1), (3, 1)))
    z, backward = linear(n.T, W, b[:, 0])
    grad_n, grad_W, grad_b = backward(delta.T)
    np.testing.assert_allclose(z.T, W @ n + b, rtol=1e-14)
    np.testing.assert_allclose(grad_n.T, W.T @ delta, rtol=1e-14)
    np.testing.assert_allclose(grad_W, delta @ n.T, rtol=1e-14)
    np.testing.assert_allclose(grad_b, delta[:, 0], rtol=1e-14)


def test_nan_stays_in_its_row() -> None:
    """Elements that do not depend on the NaN do not become one."""
    x = np.ones((3, 2))
    x[1, 0] = np.nan
    z, backward = linear(x, np.ones((2, 2)), np.ones(2))
    assert np.isnan(z).tolist() == [[False] * 2, [True] * 2, [False] * 2]
    grad_input, grad_weight, grad_bias = backward(np.ones((3, 2)))
    assert np.isfinite(grad_input).all() and np.isfinite(grad_bias).all()
    assert np.isnan(grad_weight).tolist() == [[True, False]] * 2


def test_without_bias() -> None:
    """torch's parameter names: no bias, no gradient of it."""
    layer = Linear(3, 2, bias=False)
    layer(np.ones((4, 3)))
    layer.backward(np.ones((4, 2)))
    assert list(layer.params) == list(layer.grads) == ["weight"]


@pytest.mark.parametrize("in_features", [1, 4, 100])
def test_initial_values(in_features: int) -> None:
    """Uniform within 1/sqrt(in_features), as torch's, and the generator decides them."""
    first = Linear(in_features, 500, rng=np.random.default_rng(3))
    again = Linear(in_features, 500, rng=np.random.default_rng(3))
    bound = 1 / math.sqrt(in_features)
    for name, array in first.params.items():
        reference = getattr(torch.nn.Linear(in_features, 500), name).detach().numpy()
        assert array.shape == reference.shape
        assert abs(array).max() <= bound
        np.testing.assert_allclose([abs(array).max(), array.std()], [abs(reference).max(), reference.std()], rtol=0.1)
        np.testing.assert_array_equal(array, again.params[name])


def test_no_features() -> None:
    """As in torch, the output is the bias. It starts at zero, since there is no fan-in to take a bound from."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch finds nothing to initialise
        assert torch.nn.Linear(0, 3)(torch.ones(2, 0)).tolist() == [[0.0] * 3] * 2
    layer = Linear(0, 3)
    assert layer.params["bias"].tolist() == [0.0] * 3
    layer.params["bias"] = np.arange(3.0)
    np.testing.assert_array_equal(layer(np.ones((2, 0))), [[0.0, 1.0, 2.0]] * 2)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((4, 3), (2, 5), None), r"input \(\*, 5\) for weight \(2, 5\), got \(4, 3\)"),
        (((), (2, 5), None), r"input \(\*, 5\) for weight \(2, 5\), got \(\)"),
        (((4, 3), (3,), None), r"weight \(out_features, in_features\) .* got \(3,\)"),
        (((4, 3), (2, 3), (3,)), r"bias \(out_features\), got \(2, 3\) and \(3,\)"),
        (((4, 3), (2, 3), (1,)), r"bias \(out_features\), got \(2, 3\) and \(1,\)"),
    ],
)
def test_argument_errors(shapes: Any, message: str) -> None:
    """Shapes that do not fit are refused, not broadcast."""
    with pytest.raises(ValueError, match=message):
        linear(*(None if shape is None else np.ones(shape) for shape in shapes))
