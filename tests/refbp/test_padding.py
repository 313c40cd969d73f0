"""Padding follows torch in every mode: order of the sides, cropping, shapes, and where a gradient goes back to."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import refbp
from refbp.functional import pad

MODES = ("constant", "reflect", "replicate", "circular")


def against_torch(x: Any, sides: Any, mode: str = "constant", value: float | None = None, upstream: Any = None) -> None:
    """Output and gradient under a random upstream gradient; both move elements and add at most a few of them."""
    tensor = torch.tensor(x.copy(), requires_grad=True)
    expected = torch.nn.functional.pad(tensor, sides, mode, value)
    if upstream is None:
        upstream = np.random.default_rng(1).standard_normal(tuple(expected.shape)).astype(x.dtype)
    expected.backward(torch.tensor(upstream.copy()))
    kept = x.copy()
    got, backward = pad(x, sides, mode, value)
    np.testing.assert_array_equal(got, expected.detach())
    grad = backward(upstream)
    assert (got.dtype, grad.dtype) == (x.dtype, x.dtype)
    np.testing.assert_allclose(grad, tensor.grad, rtol=1e-12 if x.dtype == np.float64 else 1e-6, atol=1e-14)
    np.testing.assert_array_equal(x, kept)
    assert not np.shares_memory(got, x) and not np.shares_memory(grad, upstream)


@settings(deadline=None, max_examples=200)
@given(
    st.sampled_from(MODES),
    st.lists(st.integers(-2, 3), min_size=2, max_size=6).filter(lambda sides: len(sides) % 2 == 0),
    st.sampled_from([(), (2,), (0,)]),
)
def test_follows_torch(mode: str, sides: list[int], lead: tuple[int, ...]) -> None:
    """Sides from the last dimension on, each with its own width, cropped or padded; batched, unbatched, empty batch."""
    inner = (4, 5, 4)[: len(sides) // 2]
    kept = [n + min(a, 0) + min(b, 0) for n, a, b in zip(inner[::-1], sides[::2], sides[1::2], strict=True)]
    if mode == "circular":  # beyond what is left, torch reads memory that it has not written yet
        assume(all(max(pair) <= n for n, *pair in zip(kept, sides[::2], sides[1::2], strict=True)))
    assume(all(n + max(a, 0) + max(b, 0) > 0 for n, a, b in zip(kept, sides[::2], sides[1::2], strict=True)))
    against_torch(np.random.default_rng(0).standard_normal((*lead, 3, *inner)), sides, mode)


@pytest.mark.parametrize("shape", [(), (4,), (2, 3), (2, 3, 2, 3, 2, 2), (2, 0, 4)])
@pytest.mark.parametrize("sides", [(), (1, 2), (0, 0), (-1, 1, 2, -1)])
@pytest.mark.parametrize("value", [None, 2.5, -np.inf, np.nan])
def test_constant_on_any_shape(shape: tuple[int, ...], sides: Any, value: float | None) -> None:
    """A constant needs no batch or channels, and may be infinite or NaN."""
    if len(sides) // 2 > len(shape) or (sides[2:] and 0 in shape):
        return
    against_torch(np.random.default_rng(2).standard_normal(shape), sides, "constant", value)


@pytest.mark.parametrize("sides", [(-5, 0), (-5, 3), (-2, -3)])
def test_a_constant_may_replace_everything(sides: tuple[int, int]) -> None:
    """As in torch, all elements may be cropped away: what is left is the constant, and the gradient zero."""
    against_torch(np.arange(10.0).reshape(2, 5), sides, "constant", 7.0)


@pytest.mark.parametrize("mode", MODES)
def test_layouts_and_float32(mode: str) -> None:
    """Negative and zero strides of input and upstream gradient, neither of them writable; float32 stays float32."""
    x = np.random.default_rng(3).standard_normal((2, 8, 5)).astype(np.float32)[::-1, ::2, ::-1]
    x.flags.writeable = False
    for upstream in (np.broadcast_to(np.float32(0.7), (2, 4, 8)), np.ones((8, 4, 2), np.float32).T[:, ::-1]):
        against_torch(x, (2, 1), mode, upstream=upstream)


@pytest.mark.parametrize("mode", MODES)
def test_non_finite_elements_stay_where_they_are(mode: str) -> None:
    """NaN and infinities are copied like any element, and leave no trace in the gradient."""
    against_torch(np.array([[[np.nan, 1.0, np.inf, -np.inf]]]), (1, 2), mode)


LAYERS = {
    "ZeroPad": {},
    "ConstantPad": {"value": -1.5},
    "ReflectionPad": {},
    "ReplicationPad": {},
    "CircularPad": {},
}


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("single", [True, False])
def test_layers(kind: str, rank: int, single: bool) -> None:
    """torch's constructors: one number for all sides or one for each, the last dimension first."""
    sides = 1 if single else (1, 2, 0, 1, 2, 0)[: 2 * rank]
    x = np.random.default_rng(4).standard_normal((2, 3, 4, 5, 4)[: 2 + rank])
    layer = getattr(refbp, f"{kind}{rank}d")(sides, **LAYERS[kind])
    tensor = torch.tensor(x, requires_grad=True)
    expected = getattr(torch.nn, f"{kind}{rank}d")(sides, **LAYERS[kind])(tensor)
    upstream = np.random.default_rng(5).standard_normal(tuple(expected.shape))
    expected.backward(torch.tensor(upstream))
    np.testing.assert_array_equal(layer(x), expected.detach())
    np.testing.assert_allclose(layer.backward(upstream), tensor.grad, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("shape", "arguments"),
    [
        ((2, 2, 4, 2), ((-1, -1, -1, -1), "reflect")),
        ((2, 2, 2, 1), ((-2, 1, 0, 2), "replicate")),
        ((2, 4, 2), ((-1, -1), "circular")),
        ((2, 4, 0), ((0, 0), "circular")),
        ((0, 4, 3), ((1, 1), "reflect")),
    ],
)
def test_what_torch_leaves_empty_is_empty(shape: tuple[int, ...], arguments: tuple[Any, ...]) -> None:
    """One side may be cropped to nothing while another stays; a circle may be nothing at all."""
    y, backward = pad(np.ones(shape), *arguments)
    assert y.shape == torch.nn.functional.pad(torch.ones(shape), *arguments).shape
    np.testing.assert_array_equal(backward(np.ones_like(y)), np.zeros(shape))


@pytest.mark.parametrize(
    ("shape", "arguments", "message"),
    [
        ((2, 3, 0), ((0, 0), "reflect"), "reflect padding expects sides that leave something of \\(0,\\)"),
        ((2, 3, 0), ((1, 1), "circular"), "circular padding expects sides that a size of 0 can fill"),
        ((2, 3, 4, 1), ((-1, -1, -4, 0), "replicate"), "expects sides that leave something of \\(4, 1\\)"),
        ((2, 3, 4), ((1, 1, 1),), r"two numbers per dimension of \(2, 3, 4\), got \(1, 1, 1\)"),
        ((4,), ((1, 1, 1, 1),), r"two numbers per dimension of \(4,\)"),
        ((2, 3, 4), ((1.5, 1),), "pad expects an int, or 2 of them"),
        ((2, 3, 4), ((-3, -2),), r"to crop at most what there is of \(2, 3, 4\), got sides \[\(-3, -2\)\]"),
        ((2, 3, 4), ((1, 1), "mirror"), "mode constant, reflect, replicate, circular, got 'mirror'"),
        ((2, 3, 4), ((1, 1), "reflect", 2.0), "a value with mode constant only, got 2.0 with reflect"),
        ((4,), ((1, 1), "reflect"), r"expects 2 or 3 dimensions, got shape \(4,\)"),
        ((1, 1, 1, 4), ((1, 1), "circular"), r"expects 2 or 3 dimensions, got shape \(1, 1, 1, 4\)"),
        ((2, 3, 4), ((4, 0), "reflect"), "reflect padding expects sides that a size of 4 can fill"),
        ((2, 3, 4), ((0, 5), "circular"), "circular padding expects sides that a size of 4 can fill"),
    ],
)
def test_argument_errors(shape: tuple[int, ...], arguments: tuple[Any, ...], message: str) -> None:
    """Each of these raises in torch too; here the error says what was expected."""
    with pytest.raises((RuntimeError, ValueError, NotImplementedError, TypeError)):
        torch.nn.functional.pad(torch.ones(shape), *arguments)
    with pytest.raises(ValueError, match=message):
        pad(np.ones(shape), *arguments)


def test_layers_refuse_a_wrong_number_of_sides() -> None:
    """Found when the layer is made, not when it is used."""
    with pytest.raises(ValueError, match="padding of ReflectionPad2d expects an int, or 4 of them, got"):
        refbp.ReflectionPad2d((1, 2))
