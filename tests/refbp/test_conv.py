"""Convolutions and their transposes follow torch in values and in all gradients, for every combination of options."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import refbp
from refbp.functional import conv1d, conv2d, conv_transpose1d, conv_transpose2d

TOLERANCES = {np.dtype(np.float64): (1e-12, 1e-14), np.dtype(np.float32): (1e-5, 1e-6)}


def close(got: Any, expected: Any) -> None:
    """Same dtype, same shape, and elements within rounding of the largest one."""
    expected = expected.detach().numpy()
    assert (got.dtype, got.shape) == (expected.dtype, expected.shape)
    rtol, atol = TOLERANCES[got.dtype]
    np.testing.assert_allclose(got, expected, rtol=0, atol=atol + rtol * abs(expected).max(initial=0))


def against_torch(kind: str, x: Any, *arguments: Any, upstream: Any = None, **options: Any) -> Any:
    """Output and all gradients of a layer with torch's own initial values, under a random upstream gradient."""
    torch_dtype = torch.float64 if x.dtype == np.float64 else torch.float32
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Using padding='same' with even kernel")
        module = getattr(torch.nn, kind)(*arguments, **options, dtype=torch_dtype)
        tensor = torch.tensor(x.copy(), requires_grad=True)
        expected = module(tensor)
    if upstream is None:
        upstream = np.random.default_rng(1).standard_normal(tuple(expected.shape)).astype(x.dtype)
    expected.backward(torch.tensor(upstream.copy()))
    layer = getattr(refbp, kind)(*arguments, **options, dtype=x.dtype)
    layer.load_state_dict({name: value.numpy() for name, value in module.state_dict().items()})
    kept = x.copy()
    close(layer(x), expected)
    close(layer.backward(upstream), tensor.grad)
    np.testing.assert_array_equal(x, kept)
    for name, parameter in module.named_parameters():
        close(layer.grads[name], parameter.grad)
    return layer


def some(rank: int, least: int, most: int) -> st.SearchStrategy[Any]:
    """One number for all dimensions, or one for each."""
    number = st.integers(least, most)
    return number | st.tuples(*[number] * rank)


def spread_out(value: Any, rank: int) -> tuple[int, ...]:
    return (value,) * rank if isinstance(value, int) else value


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[int, Any, tuple[int, ...], dict[str, Any]]:
    """Rank, input, (in_channels, out_channels, kernel_size) and options that torch accepts."""
    rank = draw(st.integers(1, 3))
    groups = draw(st.integers(1, 3))
    channels = groups * draw(st.integers(1, 2)), groups * draw(st.integers(1, 2))
    kernel, dilation = draw(some(rank, 1, 3)), draw(some(rank, 1, 2))
    padding = draw(some(rank, 0, 2) | st.sampled_from(["same", "valid"]))
    reach = [d * (k - 1) + 1 for k, d in zip(spread_out(kernel, rank), spread_out(dilation, rank), strict=True)]
    size = [max(r, 3) + draw(st.integers(0, 2)) for r in reach]  # at least 3: what two reflected elements need
    lead = draw(st.sampled_from([(), (2,), (0,)]))
    options = {
        "stride": 1 if padding == "same" else draw(some(rank, 1, 3)),
        "padding": padding,
        "dilation": dilation,
        "groups": groups,
        "bias": draw(st.booleans()),
        "padding_mode": draw(st.sampled_from(["zeros", "reflect", "replicate", "circular"])),
    }
    x = np.random.default_rng(0).standard_normal((*lead, channels[0], *size))
    return rank, x, (*channels, kernel), options


@settings(deadline=None, max_examples=100)
@given(convolutions())
def test_convolution_follows_torch(case: tuple[int, Any, tuple[int, ...], dict[str, Any]]) -> None:
    """Stride, padding, dilation, groups, bias and padding mode together; batched, unbatched, and an empty batch."""
    rank, x, arguments, options = case
    against_torch(f"Conv{rank}d", x, *arguments, **options)


@st.composite
def transposes(draw: st.DrawFn) -> tuple[int, Any, tuple[int, ...], dict[str, Any]]:
    rank = draw(st.integers(1, 3))
    groups = draw(st.integers(1, 3))
    channels = groups * draw(st.integers(1, 2)), groups * draw(st.integers(1, 2))
    kernel, stride, dilation = (draw(some(rank, 1, 3)) for _ in range(3))
    steps = zip(spread_out(stride, rank), spread_out(dilation, rank), strict=True)
    options = {
        "stride": stride,
        "padding": draw(some(rank, 0, 1)),
        "output_padding": tuple(draw(st.integers(0, max(pair) - 1)) for pair in steps),
        "groups": groups,
        "bias": draw(st.booleans()),
        "dilation": dilation,
    }
    lead = draw(st.sampled_from([(), (2,), (0,)]))
    size = [draw(st.integers(3, 4)) for _ in range(rank)]
    return rank, np.random.default_rng(2).standard_normal((*lead, channels[0], *size)), (*channels, kernel), options


@settings(deadline=None, max_examples=100)
@given(transposes())
def test_transpose_follows_torch(case: tuple[int, Any, tuple[int, ...], dict[str, Any]]) -> None:
    """Also where output_padding exceeds what the last window reaches, and reads nothing back from there."""
    rank, x, arguments, options = case
    against_torch(f"ConvTranspose{rank}d", x, *arguments, **options)


@pytest.mark.parametrize("kernel", [2, 3, 4])
@pytest.mark.parametrize("dilation", [1, 2, 3])
def test_same_padding_puts_the_odd_element_last(kernel: int, dilation: int) -> None:
    """An even reach cannot be padded alike on both sides: torch's output is shifted to one side, not the other."""
    x = np.random.default_rng(3).standard_normal((1, 1, 12))
    layer = against_torch("Conv1d", x, 1, 1, kernel, padding="same", dilation=dilation)
    assert layer(x).shape == x.shape


def test_the_kernel_is_turned_in_the_input_gradient() -> None:
    """Eq. (9) for a stride of 1, written out: the full convolution of delta with the kernel turned by 180 degrees."""
    rng = np.random.default_rng(4)
    x, weight, delta = (rng.standard_normal(shape) for shape in ((1, 1, 5, 6), (1, 1, 2, 3), (1, 1, 4, 4)))
    grad_input, grad_weight, grad_bias = conv2d(x, weight)[1](delta)
    turned = np.flip(weight, (2, 3))
    full = np.pad(delta, [(0, 0), (0, 0), (1, 1), (2, 2)])
    np.testing.assert_allclose(grad_input, conv2d(full, turned)[0], rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(grad_weight, conv2d(x, delta)[0], rtol=1e-13, atol=1e-14)
    assert grad_bias is None


@pytest.mark.parametrize("stride", [1, 2])
def test_the_transpose_is_the_convolutions_input_gradient(stride: int) -> None:
    """And the convolution is the transpose's input gradient."""
    rng = np.random.default_rng(5)
    x, weight = rng.standard_normal((2, 3, 7)), rng.standard_normal((4, 3, 3))
    z, backward = conv1d(x, weight, stride=stride)
    back, forward = conv_transpose1d(z, weight, stride=stride)
    np.testing.assert_array_equal(back, backward(z)[0])
    np.testing.assert_array_equal(forward(x)[0], z)


@pytest.mark.parametrize("kind", ["Conv2d", "ConvTranspose2d"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_layouts_and_float32(kind: str, dtype: type) -> None:
    """Reversed, channels-last and broadcast input and upstream gradient, none of them writable; float32 stays float32."""
    rng = np.random.default_rng(6)
    dense = rng.standard_normal((2, 5, 6, 4)).astype(dtype)
    inputs = (np.moveaxis(dense, 3, 1), dense.transpose(0, 3, 1, 2)[::-1, :, ::-1, ::-1], dense[:, ::-1, :4][:, :4])
    for x in inputs:
        x.flags.writeable = False
        side = [(n - 1) // 2 + 1 if kind == "Conv2d" else 2 * n - 1 for n in x.shape[2:]]
        upstream = rng.standard_normal((side[1], side[0], 6, 2)).astype(dtype).T
        for delta in (upstream, upstream[::-1, :, ::-1], np.broadcast_to(upstream[:1, :1, :1], upstream.shape)):
            against_torch(kind, x, 4, 6, 3, stride=2, padding=1, groups=2, upstream=delta)


@pytest.mark.parametrize("op", [conv2d, conv_transpose2d])
def test_weights_of_any_layout(op: Any) -> None:
    """The kernel may be a view too, and neither it nor the bias is changed."""
    rng = np.random.default_rng(7)
    x, dense, bias = rng.standard_normal((2, 4, 5, 5)), rng.standard_normal((3, 2, 4, 4)), rng.standard_normal(8)
    weight = dense.T[:, :, ::-1, ::-1]  # (4, 4, 2, 3), all strides reversed or turned
    for array in (weight, bias):
        array.flags.writeable = False
    z, backward = op(x, weight, bias[::2])
    upstream = rng.standard_normal(z.shape)
    tensors = [torch.tensor(a.copy(), requires_grad=True) for a in (x, weight, bias[::2])]
    expected = getattr(torch.nn.functional, op.__name__)(*tensors)
    expected.backward(torch.tensor(upstream))
    close(z, expected)
    for got, tensor in zip(backward(upstream), tensors, strict=True):
        close(got, tensor.grad)


@pytest.mark.parametrize("kind", ["Conv2d", "ConvTranspose2d"])
def test_gradients_add_up_over_calls(kind: str) -> None:
    """Two backwards add; a backward may be called twice, as nothing in it is used up."""
    x = np.random.default_rng(8).standard_normal((2, 3, 5, 5))
    layer = getattr(refbp, kind)(3, 4, 3)
    upstream = np.random.default_rng(9).standard_normal(layer(x).shape)
    first = layer.backward(upstream)
    once = {name: grad.copy() for name, grad in layer.grads.items()}
    np.testing.assert_array_equal(layer.backward(upstream), first)
    for name, grad in layer.grads.items():
        np.testing.assert_array_equal(grad, 2 * once[name])


def test_nan_reaches_only_its_windows() -> None:
    """Elements whose windows hold no NaN stay numbers, forward and backward."""
    x = np.ones((1, 1, 6))
    x[0, 0, 0] = np.nan
    z, backward = conv1d(x, np.ones((1, 1, 2)))
    assert np.isnan(z[0, 0]).tolist() == [True] + [False] * 4
    delta = np.ones((1, 1, 5))
    delta[0, 0, 4] = np.nan
    grad_input, grad_weight, _ = backward(delta)
    assert np.isnan(grad_input[0, 0]).tolist() == [False] * 4 + [True] * 2
    assert np.isnan(grad_weight).all()


@pytest.mark.parametrize(
    "kind", ["Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"]
)
def test_initial_values(kind: str) -> None:
    """Uniform within torch's bound, whose fan_in is counted on the weight's second dimension, transposed or not."""
    arguments: Any = (4, 200, 2) if kind.endswith("3d") else (4, 300, 3)
    first = getattr(refbp, kind)(*arguments, groups=2, rng=np.random.default_rng(3))
    again = getattr(refbp, kind)(*arguments, groups=2, rng=np.random.default_rng(3))
    module = getattr(torch.nn, kind)(*arguments, groups=2)
    bound = 1 / math.sqrt(math.prod(module.weight.shape[1:]))
    for name, reference in module.named_parameters():
        array, expected = first.params[name], reference.detach().numpy()
        assert array.shape == expected.shape
        assert 0.95 * bound < abs(array).max() <= bound
        np.testing.assert_allclose(array.std(), expected.std(), rtol=0.15)
        np.testing.assert_array_equal(array, again.params[name])


def of_shapes(op: Any, x: Any, weight: Any, bias: Any = None, **options: Any) -> Any:
    return op(np.ones(x), np.ones(weight), None if bias is None else np.ones(bias), **options)


@pytest.mark.parametrize(
    ("op", "shapes", "options", "message"),
    [
        (
            conv2d,
            ((2, 3, 5, 5), (4, 2, 3, 3)),
            {},
            r"expects input \(N, 2, H, W\) or \(2, H, W\), got shape \(2, 3, 5, 5\)",
        ),
        (conv2d, ((5, 5), (4, 3, 3, 3)), {}, r"expects input \(N, 3, H, W\)"),
        (conv1d, ((2, 3, 5), (4, 3, 3, 3)), {}, r"conv1d expects a weight of 3 dimensions, got shape \(4, 3, 3, 3\)"),
        (conv2d, ((2, 3, 5, 5), (4, 3, 3, 3), (3,)), {}, r"expects bias \(4,\) for weight \(4, 3, 3, 3\), got \(3,\)"),
        (conv2d, ((2, 3, 5, 5), (4, 3, 3, 3), (1,)), {}, r"expects bias \(4,\)"),
        (conv2d, ((2, 3, 5, 5), (4, 1, 3, 3)), {"groups": 3}, "groups to divide the weight's first dimension 4, got 3"),
        (conv2d, ((2, 3, 5, 5), (4, 3, 3, 3)), {"groups": 0}, "groups to divide"),
        (conv2d, ((2, 3, 2, 5), (4, 3, 3, 3)), {}, r"kernel \(3, 3\) with dilation \(1, 1\), padded input \(2, 5\)"),
        (conv2d, ((2, 3, 5, 5), (4, 3, 3, 3)), {"dilation": 3, "stride": 4}, r"kernel \(3, 3\) with dilation \(3, 3\)"),
        (conv2d, ((2, 3, 5, 5), (4, 3, 3, 3)), {"padding": "same", "stride": 2}, "stride 1 with padding='same'"),
        (conv2d, ((2, 3, 5, 5), (4, 3, 3, 3)), {"padding": "full"}, "'same' or 'valid', got 'full'"),
        (conv2d, ((2, 3, 5, 5), (4, 3, 3, 3)), {"padding": -1}, "padding of conv2d expects an int of at least 0"),
        (conv2d, ((2, 3, 5, 5), (4, 3, 3, 3)), {"stride": (1, 2, 3)}, "stride of conv2d expects .* or 2 of them"),
        (conv2d, ((2, 3, 5, 5), (4, 3, 3, 3)), {"stride": 0}, "stride of conv2d expects an int of at least 1"),
        (conv2d, ((2, 3, 5, 5), (4, 3, 3, 3)), {"dilation": 0}, "dilation of conv2d expects an int of at least 1"),
        (conv_transpose2d, ((2, 3, 5, 5), (4, 3, 3, 3)), {}, r"expects input \(N, 4, H, W\)"),
        (
            conv_transpose2d,
            ((2, 3, 5, 5), (3, 4, 3, 3)),
            {"output_padding": 1},
            "output_padding below stride or dilation",
        ),
        (conv_transpose2d, ((2, 3, 2, 2), (3, 4, 2, 2)), {"padding": 2}, "an output of at least one element"),
        (conv_transpose2d, ((2, 3, 5, 5), (3, 4, 3, 3)), {"groups": 2}, "groups to divide"),
    ],
)
def test_argument_errors(op: Any, shapes: Any, options: dict[str, Any], message: str) -> None:
    """Shapes that do not fit are refused, not broadcast or cut; each of these raises in torch too."""
    with pytest.raises((RuntimeError, ValueError)):
        getattr(torch.nn.functional, op.__name__)(*map(torch.ones, shapes), **options)
    with pytest.raises(ValueError, match=message):
        of_shapes(op, *shapes, **options)


@pytest.mark.parametrize("name", [f"conv{kind}{rank}d" for kind in ("", "_transpose") for rank in (1, 2, 3)])
def test_an_op_is_of_one_rank(name: str) -> None:
    """Input and weight that fit each other, but another op."""
    rank = int(name[-2])
    for other in {1, 2, 3, 4} - {rank}:
        with pytest.raises(ValueError, match=f"{name} expects a weight of {rank + 2} dimensions"):
            of_shapes(getattr(refbp.functional, name), (1, 2, *[3] * other), (2, 2, *[1] * other))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: refbp.Conv2d(3, 4, 3, groups=2), "Conv2d expects groups to divide 3 and 4 channels, got 2"),
        (lambda: refbp.Conv2d(4, 3, 3, groups=2), "Conv2d expects groups to divide 4 and 3 channels, got 2"),
        (lambda: refbp.Conv2d(4, 4, 3, groups=0), "Conv2d expects groups to divide"),
        (lambda: refbp.Conv2d(4, 4, 0), "kernel_size of Conv2d expects an int of at least 1"),
        (lambda: refbp.Conv2d(4, 4, 3, padding_mode="mirror"), "padding_mode zeros, .* got 'mirror'"),
        (lambda: refbp.Conv2d(4, 4, 3, padding="same", stride=2), "stride 1 with padding='same'"),
        (lambda: refbp.ConvTranspose2d(4, 4, 3, padding_mode="reflect"), "padding_mode zeros, got 'reflect'"),
        (lambda: refbp.ConvTranspose2d(4, 3, 3, groups=2), "ConvTranspose2d expects groups to divide"),
    ],
)
def test_constructor_errors(make: Any, message: str) -> None:
    """Found when the layer is made, not when it is used."""
    with pytest.raises(ValueError, match=message):
        make()
