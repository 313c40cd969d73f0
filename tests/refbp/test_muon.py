"""Muon follows torch.optim.Muon, which computes in bfloat16: state as every optimizer, steps as far as bfloat16 goes."""

from __future__ import annotations

from itertools import product
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch

import refbp
from refbp.arrays import dispatched, in_bfloat16
from refbp.layer import Layer, Parameter
from refbp.muon import COEFFICIENTS, Muon, newton_schulz

pytestmark = pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this torch has no Muon")

# An element of an orthogonalized update by two kernels for bfloat16, which add up in another order.
NEAR = 0.05


def layer_of(*shape: int, dtype: str = "float64") -> Layer:
    layer = Layer(dtype=dtype)
    layer.add_param("weight", np.random.default_rng(3).standard_normal(shape).astype(dtype))
    return layer


@pytest.mark.parametrize("shape", [(4, 3), (3, 5), (1, 7), (1, 1), (24, 16)])
@pytest.mark.parametrize(
    ("weight_decay", "momentum", "nesterov", "adjust_lr_fn"),
    list(product((0.1, 0.5), (0.95, 0.5, 0.0), (True, False), (None, "original", "match_rms_adamw"))),
)
def test_follows_torch(
    shape: tuple[int, int], weight_decay: float, momentum: float, nesterov: bool, adjust_lr_fn: str | None
) -> None:
    """Parameter and momentum after each of four steps, of wide and tall matrices."""
    options = {
        "lr": 0.05,
        "weight_decay": weight_decay,
        "momentum": momentum,
        "nesterov": nesterov,
        "adjust_lr_fn": adjust_lr_fn,
    }
    follow(layer_of(*shape), **options)


def follow(layer: Layer, **options: Any) -> None:
    """Four steps on the same gradients, by both."""
    parameter, rng = Parameter(layer, "weight"), np.random.default_rng(5)
    twin = torch.nn.Parameter(torch.tensor(layer.params["weight"]))
    ours, theirs = Muon(layer, **options), torch.optim.Muon([twin], **options)
    largest = options.get("lr", 1e-3) * NEAR * max(1.0, *(0.2 * side**0.5 for side in twin.shape))
    for _ in range(4):
        layer.grads["weight"] = rng.standard_normal(twin.shape).astype(layer.dtype)
        twin.grad = torch.tensor(layer.grads["weight"])
        ours.step()
        theirs.step()
        assert layer.params["weight"].dtype == layer.dtype
        np.testing.assert_allclose(layer.params["weight"], twin.detach().numpy(), rtol=1e-6, atol=largest)
        kept = theirs.state[twin]
        assert ours.state[parameter].keys() == kept.keys() == {"momentum_buffer"}
        np.testing.assert_allclose(
            ours.state[parameter]["momentum_buffer"], kept["momentum_buffer"].numpy(), rtol=1e-6, atol=1e-7
        )
        layer.params["weight"] = twin.detach().numpy().copy()  # so that bfloat16's errors do not add up


@pytest.mark.parametrize(
    "options",
    [
        {"ns_steps": 0},
        {"ns_steps": 2},
        {"ns_coefficients": (2.0, -1.5, 0.5)},
        {"eps": 5.0},
        {"eps": 0.0},
        {"lr": np.float64(0.05)},
    ],
)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_options_of_the_iterations(options: dict[str, Any], dtype: str) -> None:
    """They decide how singular values change, and how small the norm may be."""
    follow(layer_of(6, 4, dtype=dtype), **{"lr": 0.05, **options})


def test_defaults_are_torchs() -> None:
    """They include a weight decay, which most optimizers leave at zero."""
    assert Muon(layer_of(2, 2)).defaults == torch.optim.Muon([torch.nn.Parameter(torch.ones(2, 2))]).defaults


def test_every_number_is_a_bfloat16() -> None:
    """The update has 8 significant bits, whichever dtype the parameter has."""
    x = np.random.default_rng(0).standard_normal((5, 7))
    made = newton_schulz(x, COEFFICIENTS, 5, 1e-7)
    assert made.dtype == np.float64
    assert np.array_equal(made, made.astype(ml_dtypes.bfloat16).astype(np.float64))
    singular = np.linalg.svd(made, compute_uv=False)
    assert 0.5 < singular.min() < singular.max() < 1.5


@pytest.mark.parametrize("dtype", ["float16", ml_dtypes.bfloat16])
def test_a_16_bit_parameter_keeps_its_dtype(dtype: Any) -> None:
    """The norm of float16 gradients may be out of float16's range, as that of these is."""
    x = np.full((3, 4), 3e4, dtype)
    made = newton_schulz(x, COEFFICIENTS, 5, 1e-7)
    assert made.dtype == dtype
    np.testing.assert_allclose(
        made.astype(np.float64), newton_schulz(x.astype(np.float64), COEFFICIENTS, 5, 1e-7), rtol=2**-7
    )


@pytest.mark.parametrize("shape", [(0, 3), (3, 0)])
def test_no_elements(shape: tuple[int, int]) -> None:
    """torch divides by the number of columns; there is nothing to divide."""
    layer = layer_of(*shape)
    Muon(layer).step()
    assert layer.params["weight"].shape == shape


def test_rounds_as_bfloat16_does() -> None:
    """Halves to even, the subnormal numbers, infinities and NaN included."""
    rng = np.random.default_rng(0)
    x = np.concatenate(
        [
            rng.standard_normal(1000) * 10.0 ** rng.integers(-45, 38, 1000),
            [0.0, -0.0, 1 + 2**-8, 1 + 3 * 2**-8, 2.0**-133, 1.5 * 2.0**-134, 3e38, np.inf, -np.inf, np.nan],
        ]
    ).astype(np.float32)
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(in_bfloat16(x), x.astype(ml_dtypes.bfloat16).astype(np.float32))
    assert in_bfloat16(x).dtype == np.float32


def test_the_range_is_bfloat16s() -> None:
    """A float64 holds numbers that no bfloat16 does; halfway to 2^128 is the first that becomes infinite."""
    halfway = 2.0**128 - 2.0**119
    x = np.array([halfway, np.nextafter(halfway, 0), 1e149, -1e300, 2.0**128, np.inf, np.nan, 0.0])
    largest = float(ml_dtypes.finfo(ml_dtypes.bfloat16).max)
    np.testing.assert_array_equal(in_bfloat16(x), [np.inf, largest, np.inf, -np.inf, np.inf, np.inf, np.nan, 0.0])
    assert in_bfloat16(x).dtype == np.float64


@pytest.mark.filterwarnings("ignore:invalid value")
def test_a_gradient_beyond_the_range_of_bfloat16() -> None:
    """The update of a float64 parameter is then NaN, as torch's is: it divides an infinity by an infinite norm."""
    layer = layer_of(4, 3)
    twin = torch.nn.Parameter(torch.tensor(layer.params["weight"]))
    layer.grads["weight"] = np.full((4, 3), 1e149)
    twin.grad = torch.tensor(layer.grads["weight"])
    Muon(layer).step()
    torch.optim.Muon([twin]).step()
    np.testing.assert_array_equal(layer.params["weight"], twin.detach().numpy())
    assert np.isnan(layer.params["weight"]).all()


def test_arrays_of_another_type_may_have_their_own_rule() -> None:
    """NumPy's protocol: NotImplemented leaves the function as it is."""

    class Other:
        def __init__(self, answer: Any) -> None:
            self.answer = answer

        def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
            return self.answer

    @dispatched
    def called(x: Any, more: int) -> int:
        return more

    assert called(Other("own rule"), 2) == "own rule"
    assert called(Other(NotImplemented), 2) == called(np.ones(2), more=2) == called(1.0, 2) == 2


@pytest.mark.parametrize(
    "options",
    [
        {"lr": -0.1},
        {"momentum": -0.1},
        {"weight_decay": -0.1},
        {"adjust_lr_fn": "spectral"},
    ],
)
def test_rejects_what_torch_rejects(options: dict[str, Any]) -> None:
    """One sentence names the optimizer and the option."""
    with pytest.raises(ValueError):
        torch.optim.Muon([torch.nn.Parameter(torch.ones(2, 2))], **options)
    with pytest.raises(ValueError, match=rf"^Muon expects .*{next(iter(options))}"):
        Muon(layer_of(2, 2), **options)


@pytest.mark.parametrize("options", [{"ns_steps": 100}, {"ns_coefficients": (1.0, 2.0)}, {"ns_steps": -1}])
def test_rejects_at_once_what_torch_rejects_in_the_step(options: dict[str, Any]) -> None:
    """The constructor names the option, before any gradient is computed."""
    with pytest.raises(ValueError, match=rf"^Muon expects .*{next(iter(options))}"):
        Muon(layer_of(2, 2), **options)


def test_only_matrices() -> None:
    """torch refuses at once too, but not in a group that joins later."""
    linear = refbp.Linear(3, 2)
    with pytest.raises(ValueError, match="2D parameters"):
        torch.optim.Muon(torch.nn.Linear(3, 2).parameters())
    with pytest.raises(ValueError, match=r"^Muon expects each parameter as a matrix, got bias of shape \(2,\)$"):
        Muon(linear)
    optimizer = Muon(Parameter(linear, "weight"))
    with pytest.raises(ValueError, match="got bias of shape"):
        optimizer.add_param_group({"params": Parameter(linear, "bias")})
    assert len(optimizer.param_groups) == 1
    with pytest.raises(ValueError, match="got param of shape"):
        refbp.functional.muon(np.ones(3), np.ones(3), lr=0.1)
