"""Resizing reads the inputs that torch reads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from refbp import functional as F


def both(x: np.ndarray[Any, Any], **options: Any) -> tuple[np.ndarray[Any, Any], ...]:
    """Output and gradient under the upstream 1, 2, 3, …: refbp's, then torch's."""
    y, backward = F.upsample(x, **options)
    given = torch.tensor(x, requires_grad=True)
    expected = torch.nn.functional.interpolate(given, **options)
    upstream = np.arange(1.0, y.size + 1).reshape(y.shape).astype(x.dtype)
    expected.backward(torch.tensor(upstream))
    assert given.grad is not None
    return y, backward(upstream), expected.detach().numpy(), given.grad.numpy()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_nearest_input_is_found_in_single_precision(dtype: str) -> None:
    """Over all small sizes, several of which come out one pixel off in exact arithmetic, and in double precision."""
    off = 0
    for n in range(1, 48):
        x = np.arange(float(n)).reshape(1, 1, n, 1).astype(dtype)
        for m in range(1, 64):
            y, grad_input, expected, expected_grad = both(x, size=(m, 1))
            np.testing.assert_array_equal(y, expected)
            np.testing.assert_array_equal(grad_input, expected_grad)
            off += int((y.ravel() != np.arange(m) * n // m).any())
    assert off == 6


@pytest.mark.parametrize("factor", [0.3, 0.7, 0.95, 1.05, 1.1, 1.5, 2.0, 2.1, 2.3, 2.7, 1 / 3])
@pytest.mark.parametrize("recompute", [False, True])
def test_the_nearest_input_by_a_factor(factor: float, recompute: bool) -> None:
    """Where the size stays, or doubles, the factor does not count."""
    for n in range(4, 40):
        x = np.arange(float(n)).reshape(1, 1, n, 1)
        y, grad_input, expected, expected_grad = both(
            x, scale_factor=(factor, 1.0), recompute_scale_factor=recompute, mode="nearest"
        )
        np.testing.assert_array_equal(y, expected)
        np.testing.assert_array_equal(grad_input, expected_grad)


@pytest.mark.parametrize("shape", [(1, 2, 26), (1, 2, 26, 5, 7)])
def test_the_gradient_goes_back_where_torch_sends_it(shape: tuple[int, ...]) -> None:
    """Also over one and three sides, where torch's own forward reads another input here, in double precision."""
    y, grad_input, expected, expected_grad = both(
        np.random.default_rng(0).standard_normal(shape), size=(22, 46, 44)[: len(shape) - 2]
    )
    np.testing.assert_array_equal(grad_input, expected_grad)
    assert (y != expected).any()


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("options", [{"size": 5}, {"scale_factor": 1.1}, {"size": 9}])
def test_a_linear_mode_that_keeps_the_size_copies(options: dict[str, Any], align_corners: bool) -> None:
    """So that no neighbour reaches it, be it NaN; the product with a weight of zero is made all the same."""
    x = np.array([[[1.0, np.inf, 3.0, np.nan, 5.0]]])
    y, grad_input, expected, expected_grad = both(x, mode="linear", align_corners=align_corners, **options)
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_allclose(grad_input, expected_grad, rtol=1e-14)
