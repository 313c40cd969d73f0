"""Every op of refbp.functional refuses anything but floating-point arrays, and takes a number as an array without dimensions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import refbp
from refbp import functional as F

RULES = {name for name in F.__all__ if getattr(F, name).__module__.endswith(("_rules", ".muon"))}
LOSSES = {name for name in F.__all__ if name.endswith(("_loss", "entropy", "logits")) or name == "kl_div"}
X, IMAGE = np.ones((3, 4)), np.ones((2, 2, 4, 4))


def test_every_op_is_checked() -> None:
    """Exceptions are the losses, whose backward takes a number, and the update rules, which have no backward."""
    assert len(LOSSES) == 18
    for name in set(F.__all__) - RULES - LOSSES:
        assert getattr(F, name).__wrapped__.__name__ == name


# A call on an input, whose output has the shape (3, 4) or (2, 2, 4, 4).
CALLS: dict[str, Callable[[Any], Any]] = {
    "relu": F.relu,
    "sigmoid": F.sigmoid,
    "softmax": F.softmax,
    "layer_norm": lambda x: F.layer_norm(x, 4),
    "linear": lambda x: F.linear(x, np.eye(4)),
    "batch_norm": lambda x: F.batch_norm(x, None, None, training=True),
    "flatten": lambda x: F.flatten(x, 1),
    "conv2d": lambda x: F.conv2d(x, np.ones((2, 2, 1, 1))),
    "max_pool2d": lambda x: F.max_pool2d(x, 1, return_indices=True),
    "identity": F.identity,
}


@pytest.mark.parametrize("name", CALLS)
def test_what_would_be_broadcast_or_cut_off_is_refused(name: str) -> None:
    """Integers, lists and upstream gradients of another shape than the output's: each raises one sentence."""
    x = IMAGE if name.endswith("2d") else X
    for wrong, kind in ((x.astype(int), "an array of int64"), (x.tolist(), "list"), (None, "NoneType")):
        with pytest.raises(ValueError, match=f"^{name} expects a floating-point array, got {kind}$"):
            CALLS[name](wrong)
    _, backward = CALLS[name](x)
    for upstream in (np.ones(x.shape[-1]), np.ones((*x.shape[:-2], x.shape[-1], x.shape[-2], 1)), 1.0):
        with pytest.raises(ValueError, match=rf"^{name}.backward expects grad_output of the output's shape \("):
            backward(upstream)
    with pytest.raises(ValueError, match=f"^{name}.backward expects a floating-point array, got an array of int64"):
        backward(np.ones(x.shape, int))


def test_the_input_may_be_given_by_name() -> None:
    """As in torch."""
    np.testing.assert_array_equal(F.linear(weight=np.eye(4), input=X)[0], X)
    with pytest.raises(ValueError, match="relu expects a floating-point array, got list"):
        F.relu(input=[1.0])  # type: ignore[arg-type]


def test_the_gradient_has_the_outputs_dtype() -> None:
    """It does not depend on the dtype of the upstream gradient, in an op or in a layer."""
    x, upstream = X.astype(np.float32), np.full((3, 4), 0.1)
    layer = refbp.Sequential(refbp.Tanh(), refbp.Concat(refbp.Sigmoid(), dim=0))
    layer(x)
    assert F.tanh(x)[1](upstream).dtype == layer.backward(upstream).dtype == np.float32


ELEMENTWISE = [
    name
    for name in F.__all__
    if name not in RULES | LOSSES
    and getattr(F, name).__module__ in ("refbp.activations", "refbp.piecewise", "refbp.dropout", "refbp.softmax")
    and name not in ("glu", "threshold")
]


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_a_number_stays_an_array(name: str) -> None:
    """It has no dimensions and the input's dtype, forward and backward."""
    more = {
        "prelu": {"weight": np.ones(1, np.float16)},
        "dropout": {"training": True},
        "alpha_dropout": {"training": True},
    }
    for dtype in (np.float16, np.float32, np.float64):
        y, backward = getattr(F, name)(np.array(-0.5, dtype), **more.get(name, {}))
        grads = backward(np.array(2.0, dtype))
        for array in (y, grads[0] if isinstance(grads, tuple) else grads):
            assert isinstance(array, np.ndarray) and array.shape == () and array.dtype == dtype


LAYERS = (
    "Sigmoid",
    "ReLU",
    "GELU",
    "Softsign",
    "Mish",
    "Tanhshrink",
    "Hardsigmoid",
    "PReLU",
    "Softmax",
    "Dropout",
    "ELU",
)


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_of_a_number_gives_an_array(name: str) -> None:
    """Also in half precision."""
    for dtype in (np.float16, np.float64):
        layer = getattr(refbp, name)()
        for array in (layer(np.array(1.0, dtype)), layer.backward(np.array(1.0, dtype))):
            assert isinstance(array, np.ndarray) and array.shape == () and array.dtype == dtype


def test_sizes_may_be_integers_of_numpy() -> None:
    """As in torch."""
    four, two = np.int64(4), np.int32(2)
    for layer in (refbp.LayerNorm(four), refbp.RMSNorm((two, four)), refbp.LayerNorm(np.array([4]))):
        assert layer(IMAGE[:, :, :2]).shape == (2, 2, 2, 4)
    for resized in (refbp.AdaptiveAvgPool2d(two), refbp.AdaptiveMaxPool2d((two, None)), refbp.Upsample((two, four))):
        assert resized(IMAGE).shape[2] == 2
    assert refbp.Upsample(scale_factor=two)(IMAGE).shape == (2, 2, 8, 8)


def test_an_activation_takes_no_arguments_but_its_own() -> None:
    """Python itself refuses the call."""
    for name in ("Sigmoid", "Tanh", "Softsign", "LogSigmoid", "Tanhshrink"):
        with pytest.raises(TypeError, match="takes 1 positional argument but 2 were given"):
            getattr(refbp, name)(3)
