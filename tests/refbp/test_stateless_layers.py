"""Layers of one input and at most one parameter follow torch.nn in values and gradients, argument by argument."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch

import refbp
from refbp import functional as F

ANY, CHANNELS = (4, 3, 5), (2, 4, 3, 5)
# Class, its arguments by torch's names, the input's shape.
LAYERS: list[tuple[str, dict[str, Any], tuple[int, ...]]] = [
    *((name, {}, ANY) for name in ("Sigmoid", "LogSigmoid", "Tanh", "Tanhshrink", "SiLU", "Mish", "Softsign", "SELU")),
    *((name, {}, ANY) for name in ("ReLU", "ReLU6", "Hardswish", "Hardtanh", "LeakyReLU", "Hardshrink", "Softshrink")),
    ("GELU", {}, ANY),
    ("GELU", {"approximate": "tanh"}, ANY),
    ("Softplus", {}, ANY),
    ("Softplus", {"beta": 2.0, "threshold": 0.5}, ANY),
    ("ELU", {"alpha": 0.5}, ANY),
    ("CELU", {"alpha": 0.5}, ANY),
    ("Hardtanh", {"min_val": -0.25, "max_val": 0.75}, ANY),
    ("Hardtanh", {"min_val": -0.25, "max_val": 1.75, "inplace": False}, ANY),
    ("LeakyReLU", {"negative_slope": 1.5}, ANY),
    ("Hardshrink", {"lambd": 0.1}, ANY),
    ("Softshrink", {"lambd": 0.1}, ANY),
    ("Softshrink", {"lambd": 0.0}, ANY),
    ("Threshold", {"threshold": 0.125, "value": 20.0}, ANY),
    ("PReLU", {}, ANY),
    ("PReLU", {"num_parameters": 3, "init": 0.5}, ANY),
    ("PReLU", {}, (4,)),
    ("PReLU", {}, ()),
    *((name, {"dim": dim}, ANY) for name in ("Softmax", "LogSoftmax", "Softmin") for dim in (0, 1)),
    *((name, {"dim": 0}, ()) for name in ("Softmax", "LogSoftmax")),
    ("Softmax", {"dim": 1}, (2, 0)),
    ("Softmax2d", {}, CHANNELS),
    ("Softmax2d", {}, CHANNELS[1:]),
    ("GLU", {}, (3, 6)),
    ("GLU", {"dim": 1}, CHANNELS),
    ("GLU", {"dim": 2}, (2, 3, 4, 5)),
    ("Identity", {"unused": 1}, ANY),
    ("Flatten", {}, CHANNELS),
    ("Flatten", {"start_dim": 0, "end_dim": 2}, CHANNELS),
    ("Flatten", {"start_dim": 0}, ()),
    ("Unflatten", {"dim": 1, "unflattened_size": (2, 2)}, CHANNELS),
    ("Unflatten", {"dim": -1, "unflattened_size": (5, -1)}, CHANNELS),
    ("PixelShuffle", {"upscale_factor": 2}, (2, 8, 3, 5)),
    ("PixelShuffle", {"upscale_factor": 1}, (8, 3, 5)),
    ("PixelUnshuffle", {"downscale_factor": 2}, (3, 4, 6)),
    ("PixelUnshuffle", {"downscale_factor": 1}, (3, 4, 6)),
    ("PixelUnshuffle", {"downscale_factor": 3}, (1, 2, 3, 6)),
    ("Upsample", {"scale_factor": 2}, CHANNELS),
    ("Upsample", {"size": 7}, ANY),
    ("Upsample", {"scale_factor": (1.5, 0.7), "mode": "bilinear"}, CHANNELS),
    ("Upsample", {"scale_factor": 1.7, "mode": "linear", "recompute_scale_factor": True}, ANY),
    ("Upsample", {"size": 1000, "mode": "linear"}, (1, 1, 1001)),  # positions just above the whole numbers
    ("Upsample", {"size": (7, 1), "mode": "bilinear", "align_corners": True}, CHANNELS),
    ("Upsample", {"size": (3, 4, 2), "mode": "trilinear", "align_corners": False}, (1, 2, 2, 3, 5)),
]


@pytest.mark.parametrize(("name", "arguments", "shape"), LAYERS, ids=str)
def test_follows_torch(name: str, arguments: dict[str, Any], shape: tuple[int, ...]) -> None:
    """Output, input gradient, parameter gradient under a random upstream; nothing is written into."""
    rng = np.random.default_rng(0)
    x = np.array(3 * rng.standard_normal(shape))
    ours, theirs = getattr(refbp, name)(**arguments), getattr(torch.nn, name)(**arguments).double()
    given = torch.tensor(x, requires_grad=True)
    expected = theirs(given)
    upstream = np.array(rng.standard_normal(tuple(expected.shape)))
    expected.backward(torch.tensor(upstream))
    for array in (x, upstream):
        array.flags.writeable = False
    np.testing.assert_allclose(ours(x), expected.detach(), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(ours.backward(upstream), given.grad, rtol=1e-12, atol=1e-13)
    assert ours.grads.keys() == dict(theirs.named_parameters()).keys()
    for key, parameter in theirs.named_parameters():
        np.testing.assert_allclose(ours.grads[key], parameter.grad, rtol=1e-12, atol=1e-13)


def test_hardsigmoid_is_differentiated_rightly() -> None:
    """By differences: torch's own kernel divides by six in single precision."""
    x = np.array([-4.0, -2.5, 0.3, 2.9, 3.5])
    step = 1e-4  # linear pieces: any step that stays on one
    layer = refbp.Hardsigmoid()
    np.testing.assert_allclose(layer(x), [0, 0.5 / 6, 3.3 / 6, 5.9 / 6, 1], rtol=1e-15)
    slope = layer.backward(np.ones(5))
    np.testing.assert_allclose(slope, (layer(x + step) - layer(x - step)) / (2 * step), rtol=1e-11)


def test_the_function_flattens_everything_unless_told_otherwise() -> None:
    """As torch.flatten does; the layer keeps the batch."""
    x = np.arange(24.0).reshape(2, 3, 4)
    np.testing.assert_array_equal(F.flatten(x)[0], np.arange(24.0))


@pytest.mark.parametrize("ndim", range(4))
def test_flatten_takes_the_dimensions_that_torch_takes(ndim: int) -> None:
    """And refuses those that torch refuses: counted from either end, of a number, a vector, a matrix and more."""
    x = np.ones((2, 3, 4)[:ndim])
    for start, end in product(range(-5, 5), repeat=2):
        try:
            expected = tuple(torch.flatten(torch.tensor(x), start, end).shape)
        except (IndexError, RuntimeError):
            with pytest.raises(ValueError, match="flatten expects start_dim <= end_dim within"):
                F.flatten(x, start, end)
        else:
            y, backward = F.flatten(x, start, end)
            assert (y.shape, backward(y).shape) == (expected, x.shape)


def test_a_hardtanh_between_equal_ends_is_a_constant() -> None:
    """Only ends in the wrong order are refused."""
    y, backward = F.hardtanh(np.array([0.0, 1.0, 2.0]), 1.0, 1.0)
    np.testing.assert_array_equal(y, np.ones(3))
    np.testing.assert_array_equal(backward(np.ones(3)), np.zeros(3))


@pytest.mark.parametrize(
    ("op", "place"), [(F.relu, -9.0), (F.relu6, 9.0), (F.hardtanh, -9.0), (F.hardshrink, 0.1), (F.softshrink, 0.1)]
)
def test_where_nothing_passes_infinity_does_not_either(op: Any, place: float) -> None:
    """An exact zero, and no NaN."""
    _, backward = op(np.array([place]))
    np.testing.assert_array_equal(backward(np.array([np.inf])), [0.0])


@pytest.mark.parametrize("ndim", [1, 2, 3, 4])
def test_the_dimension_of_softmax_where_none_is_given(ndim: int) -> None:
    """torch's rule: the first of one or three dimensions, else the second; torch itself warns."""
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5)[:ndim])
    ones = refbp.Softmax()(x).sum(axis=0 if ndim in (1, 3) else 1)
    np.testing.assert_allclose(ones, np.ones_like(ones), rtol=1e-14)


# Op, argument, derivative there: at kinks and at NaN, as the docstrings say.
CONVENTIONS: list[tuple[Any, list[float], list[float]]] = [
    (F.relu, [0.0, np.nan], [0.0, 1.0]),
    (F.relu6, [0.0, 6.0, np.nan], [0.0, 0.0, 0.0]),
    (F.hardtanh, [-1.0, 1.0, np.nan], [0.0, 0.0, 0.0]),
    (lambda z: F.leaky_relu(z, 0.3), [0.0], [0.3]),
    (F.hardsigmoid, [-3.0, 3.0, np.nan], [0.0, 0.0, 0.0]),
    (F.hardswish, [-3.0, 3.0, np.nan], [0.0, 1.0, np.nan]),
    (F.hardshrink, [-0.5, 0.5, np.nan], [0.0, 0.0, 0.0]),
    (F.softshrink, [-0.5, 0.5, np.nan], [0.0, 0.0, 0.0]),
    (lambda z: F.threshold(z, 2.0, 7.0), [2.0, np.nan], [0.0, 1.0]),
    (lambda z: (None, lambda g: F.prelu(z, np.array([0.5]))[1](g)[0]), [0.0], [0.5]),
    (lambda z: F.elu(z, 0.5), [0.0], [0.5]),
    (lambda z: F.celu(z, 0.5), [0.0], [1.0]),
    (F.selu, [0.0], [1.0507009873554805 * 1.6732632423543772]),
    (F.softsign, [0.0], [1.0]),
    (lambda z: F.softplus(z, 2.0, 4.0), [2.0], [1 / (1 + np.exp(-4.0))]),
]


@pytest.mark.parametrize(("op", "places", "slopes"), CONVENTIONS)
def test_the_derivative_at_a_kink(op: Any, places: list[float], slopes: list[float]) -> None:
    """Several derivatives would be right; the documented one is taken."""
    _, backward = op(np.array(places))
    np.testing.assert_allclose(backward(np.ones(len(places))), slopes, rtol=1e-15)


@pytest.mark.parametrize("name", ["Sigmoid", "LogSigmoid", "Tanh", "SiLU", "Mish", "GELU", "Softplus", "ELU", "SELU"])
def test_large_arguments_saturate(name: str) -> None:
    """No exponential overflows on its way to a finite value."""
    layer = getattr(refbp, name)()
    with np.errstate(over="raise", invalid="raise"):
        assert np.isfinite(layer(np.array([-1e4, 1e4]))).all()
        assert np.isfinite(layer.backward(np.ones(2))).all()


@pytest.mark.parametrize("name", ["Softmax", "LogSoftmax", "Softmin"])
def test_each_row_of_a_softmax_has_a_maximum_of_its_own(name: str) -> None:
    """However far a row lies from the others, and however large its numbers are, it keeps its digits."""
    row = np.array([0.0, 1.0, 3.0])
    layer = getattr(refbp, name)(dim=1)
    expected = layer(np.array([row]))[0]
    with np.errstate(over="raise", invalid="raise"):
        for got in layer(np.array([row, row + 2.0**20, row - 2.0**20])):
            np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("name", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize("number", [2.0, np.nan, np.inf, -np.inf])
def test_a_number_is_a_row_of_one(name: str, number: float) -> None:
    """NaN and infinities come out of it as in torch, forward and backward."""
    given = torch.tensor(number, dtype=torch.float64, requires_grad=True)
    expected = getattr(torch.nn, name)(dim=0)(given)
    expected.backward(torch.tensor(3.0, dtype=torch.float64))
    layer = getattr(refbp, name)(dim=0)
    np.testing.assert_array_equal(layer(np.array(number)), expected.detach())
    np.testing.assert_array_equal(layer.backward(np.array(3.0)), given.grad)


FUNCTIONS: list[tuple[str, tuple[tuple[int, ...], ...], dict[str, Any]]] = [
    ("conv3d", ((2, 4, 5, 4, 6), (6, 2, 3, 2, 2), (6,)), {"stride": (1, 2, 1), "padding": 1, "groups": 2}),
    ("conv_transpose3d", ((2, 4, 3, 2, 3), (4, 3, 2, 3, 2), (6,)), {"stride": (1, 2, 1), "padding": 1, "groups": 2}),
    ("avg_pool3d", ((2, 3, 4, 5, 6),), {"kernel_size": (2, 3, 2), "padding": 1}),
    ("lp_pool3d", ((2, 3, 4, 5, 6),), {"norm_type": 2, "kernel_size": 2}),
]


@pytest.mark.parametrize(("name", "shapes", "options"), FUNCTIONS, ids=[name for name, *_ in FUNCTIONS])
def test_functions_of_three_dimensions(name: str, shapes: tuple[tuple[int, ...], ...], options: dict[str, Any]) -> None:
    """Each dimension has its own size, stride and kernel: none is mistaken for another."""
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(shape) for shape in shapes]
    tensors = [torch.tensor(array, requires_grad=True) for array in arrays]
    expected = getattr(torch.nn.functional, name)(*tensors, **options)
    upstream = rng.standard_normal(tuple(expected.shape))
    expected.backward(torch.tensor(upstream))
    y, backward = getattr(F, name)(*arrays, **options)
    np.testing.assert_allclose(y, expected.detach(), rtol=1e-12, atol=1e-13)
    grads = backward(upstream)
    for got, tensor in zip(grads if isinstance(grads, tuple) else (grads,), tensors, strict=True):
        np.testing.assert_allclose(got, tensor.grad, rtol=1e-12, atol=1e-12)
