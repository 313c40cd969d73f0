"""Normalisations follow torch in values, gradients, running statistics and errors."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import refbp
from refbp import functional
from refbp.batch_norm import updated_statistics

SHAPES = {1: (3, 4, 5), 2: (3, 4, 2, 3), 3: (2, 4, 2, 2, 3)}


def cases() -> list[Any]:
    """(class, arguments, options, input shape), every combination of the options that change numbers."""
    found: list[tuple[str, tuple[Any, ...], dict[str, Any], tuple[int, ...]]] = []

    def add(name: str, arguments: tuple[Any, ...], shapes: list[tuple[int, ...]], **levels: list[Any]) -> None:
        for shape in shapes:
            for values in product(*levels.values()):
                found.append((name, arguments, dict(zip(levels, values, strict=True)), shape))

    affine = {"affine": [False, True], "bias": [True, False]}
    running = {"momentum": [0.1, None, 0.7], "track_running_stats": [True, False]}
    for rank, shape in SHAPES.items():
        extra = [(5, 4), (2, 4, 1)] if rank == 1 else []
        add(f"BatchNorm{rank}d", (4,), [shape, *extra], **affine, **running)
        add(f"InstanceNorm{rank}d", (4,), [shape, shape[1:]], **affine, **running)
    add("BatchNorm1d", (1,), [(5, 1), (2, 1, 3)], eps=[0.1])
    add("BatchNorm2d", (3, 0.5, 0.3), [(2, 3, 1, 2)])
    elementwise = {"eps": [1e-5, 0.1], "elementwise_affine": [True, False]}
    for normalized, shapes in (
        (5, [(3, 5), (5,), (2, 3, 5)]),
        ((4, 5), [(3, 4, 5), (4, 5), (2, 1, 4, 5)]),
        ((1, 3), [(2, 1, 3), (4, 1, 3)]),
        (1, [(3, 1)]),
    ):
        add("LayerNorm", (normalized,), shapes, **elementwise, bias=[True, False])
        add("RMSNorm", (normalized,), shapes, **elementwise | {"eps": [None, 0.1]})
    for groups in (1, 2, 4):
        shapes = [(3, 4), (1, 4, 3), (2, 4, 1, 3), (2, 4, 2, 2, 2)]
        add("GroupNorm", (groups, 4), shapes, eps=[1e-5, 0.1], **affine)
    for size in (1, 2, 3, 4, 9):
        shapes = [(2, 5, 3), (2, 4, 2, 3), (1, 1, 3), (2, 5, 2, 2, 2)]
        add("LocalResponseNorm", (size,), shapes, alpha=[1e-4, 2.0], beta=[0.75, 1.5], k=[1.0, 0.5])
    return [
        pytest.param(*case, id=f"{case[0]}{case[1]}" + "".join(f",{k}={v}" for k, v in case[2].items()) + f",{case[3]}")
        for case in found
    ]


def close(got: Any, expected: torch.Tensor | None, what: str, rtol: float = 1e-12) -> None:
    """Within rtol of the largest of them: a difference of large terms has their rounding."""
    assert expected is not None
    wanted = expected.detach().numpy()
    assert got.shape == wanted.shape
    largest = float(np.max(np.abs(wanted[np.isfinite(wanted)]), initial=1.0))
    np.testing.assert_allclose(got, wanted, rtol=rtol, atol=rtol * largest, err_msg=what)


def pair(name: str, *arguments: Any, dtype: str = "float64", **options: Any) -> tuple[Any, Any]:
    """Our layer and torch's with the same random parameters and running statistics."""
    ours = getattr(refbp, name)(*arguments, dtype=dtype, **options)
    theirs = getattr(torch.nn, name)(*arguments, **options).to(getattr(torch, dtype))
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for key, value in ours.state_dict().items():
        np.testing.assert_array_equal(value, theirs.state_dict()[key].numpy(), err_msg=f"initial {key}")
    rng = np.random.default_rng(4)
    state = {
        key: value if value.dtype.kind == "i" else rng.uniform(0.5, 2, value.shape).astype(dtype)
        for key, value in ours.state_dict().items()
    }
    ours.load_state_dict(state)
    theirs.load_state_dict({key: torch.tensor(value) for key, value in state.items()})
    return ours, theirs


def compare(ours: Any, theirs: Any, x: Any, upstream: Any, rtol: float = 1e-12) -> None:
    """One forward and backward of both: output, all gradients (added to the earlier ones), all buffers."""
    given_x = torch.tensor(np.array(x), requires_grad=True)
    expected = theirs(given_x)
    expected.backward(torch.tensor(np.array(upstream)))
    close(ours(x), expected, "output", rtol)
    close(ours.backward(upstream), given_x.grad, "grad_input", rtol)
    for key, parameter in theirs.named_parameters():
        close(ours.grads[key], parameter.grad, f"grad.{key}", rtol)
    for key, buffer in theirs.named_buffers():
        close(ours.buffers[key], buffer, key, rtol)


@pytest.mark.parametrize(("name", "arguments", "options", "shape"), cases())
def test_follows_torch(name: str, arguments: Any, options: dict[str, Any], shape: tuple[int, ...]) -> None:
    """Three training steps, then evaluation: output, every gradient, running statistics and their count."""
    ours, theirs = pair(name, *arguments, **options)
    rng = np.random.default_rng(6)
    for training in (True, True, True, False):
        ours.train(training)
        theirs.train(training)
        compare(ours, theirs, 2 * rng.standard_normal(shape) + 1, rng.standard_normal(shape))


ONE_OF_EACH = {
    "BatchNorm1d": ((4,), {}, (5, 4, 3)),
    "BatchNorm2d": ((4,), {}, (5, 4, 3, 2)),
    "InstanceNorm2d": ((4,), {"affine": True, "track_running_stats": True}, (5, 4, 3, 2)),
    "LayerNorm": (((4, 3),), {}, (5, 4, 3)),
    "GroupNorm": ((2, 4), {}, (5, 4, 3)),
    "RMSNorm": (((4, 3),), {}, (5, 4, 3)),
    "LocalResponseNorm": ((3,), {"alpha": 1.0}, (5, 4, 3)),
}
each = pytest.mark.parametrize("name", ONE_OF_EACH)


LAYOUTS = {
    "reversed": lambda a: a[::-1, ::-1],
    "strided": lambda a: np.repeat(a, 2, 1)[:, ::2],
    "channels_last": lambda a: np.moveaxis(np.ascontiguousarray(np.moveaxis(a, 1, -1)), -1, 1),
    "transposed": np.asfortranarray,
    "broadcast": lambda a: np.broadcast_to(a[:, :1], a.shape),
}


@each
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("training", [True, False])
def test_memory_layouts(name: str, layout: str, training: bool) -> None:
    """Negative, doubled and zero strides, channels last, in input and upstream gradient; nothing is written into."""
    arguments, options, shape = ONE_OF_EACH[name]
    rng = np.random.default_rng(8)
    arrays = [LAYOUTS[layout](rng.standard_normal(shape)) for _ in range(2)]
    for array in arrays:
        array.flags.writeable = False
    ours, theirs = pair(name, *arguments, **options)
    compare(ours.train(training), theirs.train(training), *arrays)


@each
@pytest.mark.parametrize("training", [True, False])
def test_float32(name: str, training: bool) -> None:
    """A layer computes in the input's precision, also where its parameters are stored in another."""
    arguments, options, shape = ONE_OF_EACH[name]
    x, upstream = np.random.default_rng(9).standard_normal((2, *shape)).astype("float32")
    ours, theirs = pair(name, *arguments, dtype="float32", **options)
    compare(ours.train(training), theirs.train(training), x, upstream, rtol=1e-5)
    wide = getattr(refbp, name)(*arguments, **options).train(training)
    for layer in (ours, wide):
        assert layer(x).dtype == np.float32
        assert layer.backward(upstream).dtype == np.float32
    assert all(array.dtype == np.float64 for array in wide.grads.values())


@each
@pytest.mark.parametrize("training", [True, False])
def test_an_empty_batch(name: str, training: bool) -> None:
    """Zero gradients in their shapes, and running statistics as they were; a training batch is counted all the same."""
    arguments, options, shape = ONE_OF_EACH[name]
    empty = np.zeros((0, *shape[1:]))
    ours, theirs = pair(name, *arguments, **options)
    before = ours.state_dict()
    ours.train(training)
    if "InstanceNorm" in name:  # torch fails on it; zero gradients are what the others give
        assert ours(empty).shape == ours.backward(empty).shape == empty.shape
        assert not any(grad.any() for grad in ours.grads.values())
    else:
        compare(ours, theirs.train(training), empty, empty)
    for key in ("running_mean", "running_var"):
        if key in before:
            np.testing.assert_array_equal(ours.buffers[key], before[key])


@each
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_goes_where_torch_sends_it(name: str, value: float) -> None:
    """It goes through the statistics to everything normalised by them, and no further."""
    arguments, options, shape = ONE_OF_EACH[name]
    x, upstream = np.random.default_rng(10).standard_normal((2, *shape))
    x[1, 2, 0] = value
    with np.errstate(invalid="ignore"):
        compare(*pair(name, *arguments, **options), x, upstream)


@each
def test_a_constant_input(name: str) -> None:
    """No variance: eps alone keeps the quotient finite, and scales the gradient up."""
    arguments, options, shape = ONE_OF_EACH[name]
    upstream = np.random.default_rng(12).standard_normal(shape)
    compare(*pair(name, *arguments, **options), np.full(shape, 1.1), upstream, rtol=1e-10)


@pytest.mark.parametrize("name", ["BatchNorm1d", "LayerNorm", "GroupNorm"])
def test_a_mean_far_from_zero(name: str) -> None:
    """Two passes: E[x²] - E[x]² would leave nothing of the variance."""
    arguments, options, shape = ONE_OF_EACH[name]
    x, upstream = np.random.default_rng(13).standard_normal((2, *shape))
    ours = getattr(refbp, name)(*arguments, **options)
    near, grad_near = ours(x), ours.backward(upstream)
    np.testing.assert_allclose(ours(x + 1e7), near, rtol=0, atol=1e-7)
    np.testing.assert_allclose(ours.backward(upstream), grad_near, rtol=0, atol=1e-7)


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(1, 3),
    st.lists(st.integers(1, 3), max_size=3),
    st.integers(0, 99),
)
def test_functions_follow_torch(batch: int, groups: int, members: int, spatial: list[int], seed: int) -> None:
    """Any shape, with and without weight and bias, or a bias alone; errors where and only where torch has one."""
    rng = np.random.default_rng(seed)
    channels = groups * members
    shape = (batch, channels, *spatial)
    x, upstream = rng.standard_normal((2, *shape))
    mean, variance = rng.standard_normal(channels), rng.uniform(0.5, 2, channels)
    last = shape[-(1 + seed % len(shape)) :]
    for has_weight, has_bias in product((True, False), repeat=2):
        weight, bias = (rng.standard_normal(channels) if has else None for has in (has_weight, has_bias))
        weight_last, bias_last = (rng.standard_normal(last) if has else None for has in (has_weight, has_bias))
        calls: list[tuple[str, list[Any]]] = [
            ("batch_norm", [x, mean, variance, weight, bias, True]),
            ("batch_norm", [x, None, None, weight, bias, True]),
            ("batch_norm", [x, mean, variance, weight, bias, False]),
            # torch's group_norm cannot go backward with a bias alone: "tensor does not have a device".
            ("group_norm", [x, groups, weight, bias if has_weight else None]),
            ("layer_norm", [x, last, weight_last, bias_last]),
            ("rms_norm", [x, last, weight_last]),
        ]
        if spatial:
            calls += [
                ("instance_norm", [x, None, None, weight, bias]),
                ("instance_norm", [x, mean, variance, weight, bias, False]),
                ("local_response_norm", [x, 1 + seed % 5, 0.5]),
            ]
        for name, arguments in calls:
            function_against_torch(name, arguments, upstream)


def function_against_torch(name: str, arguments: list[Any], upstream: Any) -> None:
    fixed = (1, 2) if name in ("batch_norm", "instance_norm") else ()
    tensors = [
        torch.tensor(a, requires_grad=i not in fixed) if isinstance(a, np.ndarray) else a
        for i, a in enumerate(arguments)
    ]
    try:
        expected = getattr(torch.nn.functional, name)(*tensors)
    except ValueError:
        with pytest.raises(ValueError, match=f"^{name} expects more than 1 value"):
            getattr(functional, name)(*arguments)
        return
    expected.backward(torch.tensor(upstream))
    output, backward = getattr(functional, name)(*arguments)
    close(output, expected, name)
    grads = backward(upstream)
    wanted = [t for i, t in enumerate(tensors) if i not in fixed and (t is None or isinstance(t, torch.Tensor))]
    for got, tensor in zip(grads if isinstance(grads, tuple) else (grads,), wanted, strict=True):
        assert (got is None) == (tensor is None)
        if tensor is not None:
            close(got, tensor.grad, name)


def test_running_variance_is_unbiased() -> None:
    """Divided by n - 1, while the output is normalised with n."""
    x = np.array([[0.0], [2.0]])
    mean, variance = updated_statistics(x, np.zeros(1), np.zeros(1), momentum=1.0)
    assert (mean.tolist(), variance.tolist()) == ([1.0], [2.0])
    y, _ = functional.batch_norm(x, None, None, training=True, eps=1e-30)
    np.testing.assert_allclose(y, [[-1.0], [1.0]])


def test_cumulative_average() -> None:
    """momentum None weighs all batches alike, however many there were."""
    layer = refbp.BatchNorm1d(2, momentum=None)
    batches = np.random.default_rng(14).standard_normal((4, 6, 2))
    for batch in batches:
        layer(batch)
    np.testing.assert_allclose(layer.buffers["running_mean"], batches.mean(axis=(0, 1)), rtol=1e-12)
    expected = batches.var(axis=1, ddof=1).mean(axis=0)
    np.testing.assert_allclose(layer.buffers["running_var"], expected, rtol=1e-12)
    assert layer.buffers["num_batches_tracked"] == 4


def test_evaluation_changes_no_statistics() -> None:
    """And backward of a training step leaves them alone, too."""
    layer = refbp.BatchNorm2d(3)
    x = np.random.default_rng(15).standard_normal((2, 3, 2, 2))
    layer(x)
    state = layer.state_dict()
    layer.backward(x)
    layer.eval()(x)
    for key, value in layer.state_dict().items():
        np.testing.assert_array_equal(value, state[key])


def test_instance_norm_takes_any_channels_without_state() -> None:
    """num_features is not used then; torch warns, the numbers are the same."""
    x = np.random.default_rng(16).standard_normal((2, 3, 4))
    np.testing.assert_array_equal(refbp.InstanceNorm1d(7)(x), refbp.InstanceNorm1d(3)(x))


def ones(*shape: int) -> Any:
    return np.ones(shape)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: refbp.BatchNorm1d(3)(ones(1, 3)), r"batch_norm expects more than 1 value per channel .* \(1, 3\)"),
        (lambda: refbp.BatchNorm2d(3)(ones(1, 3, 1, 1)), "batch_norm expects more than 1 value per channel"),
        (
            lambda: refbp.BatchNorm1d(3, track_running_stats=False).eval()(ones(1, 3)),
            "batch_norm expects more than 1 value per channel",
        ),
        (lambda: refbp.InstanceNorm1d(3)(ones(2, 3, 1)), "instance_norm expects more than 1 value per sample and chan"),
        (lambda: refbp.InstanceNorm1d(3)(ones(3, 1)), "instance_norm expects more than 1 value per sample and chan"),
        (
            lambda: functional.instance_norm(ones(2, 3)),
            "instance_norm expects more than 1 value per sample and channel",
        ),
        (lambda: refbp.GroupNorm(2, 2)(ones(1, 2)), r"group_norm expects more than 1 value per group .* \(1, 2\)"),
        (lambda: updated_statistics(ones(1, 3), ones(3), ones(3)), "updated_statistics expects more than 1 value"),
        (lambda: refbp.BatchNorm1d(3)(ones(3)), r"BatchNorm1d expects an input of 2 or 3 dimensions, got shape \(3,\)"),
        (lambda: refbp.BatchNorm1d(3)(ones(2, 3, 1, 1)), "BatchNorm1d expects an input of 2 or 3 dimensions"),
        (lambda: refbp.BatchNorm2d(3)(ones(2, 3, 1)), "BatchNorm2d expects an input of 4 dimensions"),
        (lambda: refbp.BatchNorm3d(3)(ones(2, 3, 1, 1)), "BatchNorm3d expects an input of 5 dimensions"),
        (lambda: refbp.InstanceNorm2d(3)(ones(2, 3)), "InstanceNorm2d expects an input of 3 or 4 dimensions"),
        (lambda: refbp.BatchNorm1d(5)(ones(2, 3)), r"batch_norm expects input \(N, 5, \*\), got \(2, 3\)"),
        (lambda: refbp.BatchNorm1d(5, affine=False)(ones(2, 3)), r"batch_norm expects input \(N, 5, \*\)"),
        (lambda: refbp.InstanceNorm1d(5, affine=True)(ones(2, 3, 4)), r"instance_norm expects input \(N, 5, \*\)"),
        (lambda: refbp.InstanceNorm1d(5, track_running_stats=True)(ones(2, 3, 4)), r"expects input \(N, 5, \*\)"),
        (
            lambda: functional.batch_norm(ones(2, 3), None, None),
            "running_mean and running_var when not training, got None",
        ),
        (lambda: functional.batch_norm(ones(3), None, None, training=True), "input of at least 2 dimensions"),
        (lambda: refbp.BatchNorm1d(3, eps=0.0)(ones(2, 3)), "positive eps in training"),
        (lambda: refbp.BatchNorm1d(3, eps=-1.0).eval()(ones(2, 3)), "at least 0, got -1.0"),
        (lambda: refbp.GroupNorm(3, 4), "GroupNorm expects num_groups that divide 4 channels, got 3"),
        (lambda: refbp.GroupNorm(0, 4), "GroupNorm expects num_groups that divide 4 channels, got 0"),
        (lambda: refbp.GroupNorm(2, 4)(ones(2, 6, 2)), r"group_norm expects input \(N, 4, \*\), got \(2, 6, 2\)"),
        (lambda: functional.group_norm(ones(2, 4), 3), "group_norm expects groups that divide 4 channels, got 3"),
        (lambda: functional.group_norm(ones(4), 2), "group_norm expects input of at least 2 dimensions"),
        (lambda: refbp.LayerNorm(4)(ones(2, 3)), r"layer_norm expects input \(\*, 4\), got \(2, 3\)"),
        (lambda: refbp.LayerNorm((2, 3))(ones(3)), r"layer_norm expects input \(\*, 2, 3\), got \(3,\)"),
        (lambda: refbp.LayerNorm(()), "LayerNorm expects normalized_shape of at least one dimension"),
        (
            lambda: functional.layer_norm(ones(2, 3), 3, ones(1)),
            r"layer_norm expects weight and bias of shape \(3,\), got \(1,",
        ),
        (lambda: refbp.RMSNorm(4)(ones(2, 3)), r"rms_norm expects input \(\*, 4\), got \(2, 3\)"),
        (lambda: refbp.LocalResponseNorm(2)(ones(2, 3)), "local_response_norm expects 3 or more dimensions"),
        (lambda: refbp.LocalResponseNorm(0)(ones(2, 3, 4)), "a size of at least 1"),
    ],
)
def test_errors(call: Any, message: str) -> None:
    """Where torch refuses, in one sentence with what was expected and what came."""
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("affine", [False, True])
def test_instance_norm_of_a_constant_without_eps(affine: bool) -> None:
    """Zero, and nothing passes back, as in torch; NaN is still NaN, and layer and group norm give NaN."""
    x = np.full((2, 2, 4), 0.5)
    x[0, 1, 2], x[1, 0] = np.nan, (1.0, 2.0, 3.0, 4.0)
    upstream = np.arange(16.0).reshape(x.shape)
    ours, theirs = refbp.InstanceNorm1d(2, eps=0.0, affine=affine), torch.nn.InstanceNorm1d(2, eps=0.0, affine=affine)
    tensor = torch.tensor(x, requires_grad=True)
    expected = theirs.double()(tensor)
    expected.backward(torch.tensor(upstream))
    np.testing.assert_allclose(ours(x), expected.detach(), rtol=1e-12)
    np.testing.assert_allclose(ours.backward(upstream), tensor.grad, rtol=1e-12, atol=1e-12)
    for name, parameter in theirs.named_parameters():
        np.testing.assert_allclose(ours.grads[name], parameter.grad, rtol=1e-12)
    assert np.isnan(refbp.LayerNorm(4, eps=0.0)(x[1, 1])).all()


def test_instance_norm_without_momentum_takes_on_what_is_not_finite() -> None:
    """Zero times infinity; everything else is left as it was, as in torch."""
    x = np.random.default_rng(0).standard_normal((2, 2, 5))
    x[0, 1, 2] = np.inf
    ours = refbp.InstanceNorm1d(2, momentum=None, track_running_stats=True)
    theirs = torch.nn.InstanceNorm1d(2, momentum=None, track_running_stats=True).double()
    ours(x)
    theirs(torch.tensor(x))
    for name, buffer in theirs.named_buffers():
        np.testing.assert_array_equal(ours.buffers[name], buffer)
    assert list(np.isnan(ours.buffers["running_mean"])) == [False, True]


def test_the_epsilon_of_float16_is_that_of_float32() -> None:
    """As in torch, whose kernels compute 16-bit numbers in float32: beside small numbers 2⁻¹⁰ would be large."""
    x = np.full((2, 8), 0.05, np.float16)
    y, _ = refbp.functional.rms_norm(x, 8)
    assert y.dtype == np.float16
    assert np.allclose(y.astype(float), 1.0, atol=2e-3)
