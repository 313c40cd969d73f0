"""Formulas that people write and torch does not: tolerances cover what they round, and no wrong number hides beside them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import refbp
from oracle import Case, Profile, Spec, Trace, Unsupported, check_module, check_op, run
from oracle.execution.predict import predict
from oracle.running_error import ErrorModel
from oracle.trace import Key

BINARY = {
    "close": lambda rng, p: np.clip(p + 0.001 * rng.standard_normal(p.shape), 0, 1),
    "random": lambda rng, p: rng.uniform(0, 1, p.shape),
    "labels": lambda rng, p: rng.integers(0, 2, p.shape).astype(float),
}


def textbook(factor: float = 1.0, reduction: str = "mean", weight: Any = None) -> Any:
    """Binary cross entropy as automatic differentiation has it."""

    def loss(p: Any, t: Any) -> Any:
        n = p.dtype.type(p.size if reduction == "mean" else 1)
        w = p.dtype.type(1) if weight is None else weight.astype(p.dtype)
        value = -(w * (t * np.log(p) + (1 - t) * np.log(1 - p))).sum() / n

        def backward(g: Any) -> Any:
            grad = (g / n) * w * ((1 - t) / (1 - p) - t / p)
            return factor * grad, (g / n) * w * (np.log(1 - p) - np.log(p))

        return value, backward

    return loss


@pytest.mark.parametrize("target", BINARY)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_binary_cross_entropy_as_in_textbooks(target: str, reduction: str) -> None:
    """Its two terms cancel where the probability is close to the label; a wrong factor is caught all the same."""
    rng = np.random.default_rng(0)
    p = rng.uniform(0.05, 0.95, 200)
    t = BINARY[target](rng, p)
    own = textbook(reduction=reduction)
    report = check_op("binary_cross_entropy", own, x=p, target=t, reduction=reduction)
    assert report.passed, str(report)
    wrong = textbook(1.0001, reduction)
    assert not check_op("binary_cross_entropy", wrong, x=p, target=t, reduction=reduction).passed


@pytest.mark.parametrize("name", ["gelu", "sigmoid", "elu", "celu", "selu", "softplus", "logsigmoid", "tanhshrink"])
def test_another_formula_excuses_no_small_error(name: str) -> None:
    """Where other formulas are known, a gradient that is too large by 300 roundoffs is wrong beside numbers of usual size."""
    x = np.linspace(-3, 3, 101)[:, None] + 0.01

    def off(factor: float) -> Any:
        def fn(x: Any) -> Any:
            y, backward = getattr(refbp.functional, name)(x)
            return y, lambda dy: (backward(dy) * x.dtype.type(factor)).astype(x.dtype)

        return fn

    assert check_op(name, off(1.0), x=x, dtypes=("float32",)).passed
    report = check_op(name, off(1 + 2e-5), x=x, dtypes=("float32",))
    assert [culprit.quantity for culprit in report.blame] == ["grad_input"]
    assert report.table.n_outside.max() > len(x) / 2


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_slope_from_the_logarithm(dtype: str) -> None:
    """As logaddexp is differentiated: the difference of z and y loses digits where both are large."""

    def softplus(z: Any) -> Any:
        y = np.logaddexp(z, z.dtype.type(0))
        return y, lambda dy: dy * np.exp(z - y)

    def logsigmoid(z: Any) -> Any:
        y = -np.logaddexp(-z, z.dtype.type(0))
        return y, lambda dy: dy * np.exp(y - z)

    z = np.linspace(-40, 40, 999)[:, None]
    for name, own, options in (("softplus", softplus, {"threshold": 100}), ("logsigmoid", logsigmoid, {})):
        report = check_op(name, own, x=z, dtypes=(dtype,), **options)
        assert report.passed, str(report)


@pytest.mark.parametrize("name", ["ELU", "CELU", "SELU"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_derivative_from_the_output(name: str, dtype: Any) -> None:
    """An activation in place has nothing else left; torch takes e^x as y + alpha then."""
    x = torch.linspace(-30, 5, 40, dtype=dtype).reshape(4, 10).requires_grad_()
    options = {} if name == "SELU" else {"alpha": 0.75}
    for inplace in (False, True):
        layer = getattr(torch.nn, name)(inplace=inplace, **options)
        report = check_module(torch.nn.Sequential(torch.nn.Identity(), layer), x)
        assert report.passed, str(report)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_normal_distribution_by_another_function(dtype: Any) -> None:
    """torch's GELU is off by some units of the factor near zero, where an erf by itself is not."""
    x = torch.linspace(-0.3, 0.3, 4000, dtype=dtype).reshape(4, 1000).requires_grad_()
    report = check_module(torch.nn.GELU(), x)
    assert report.passed, str(report)
    assert report.table.z_max.max() < 4


def test_one_mean_is_subtracted_from_all_elements() -> None:
    """A legal batch norm that adds its mean up in a loop, before gradients of one sign: the error goes into each term."""
    rng, n, single = np.random.default_rng(0), 3000, np.float32
    x, g = (rng.standard_normal((n, 4)) + 50.0).astype(single), (1 + 0.1 * rng.standard_normal((n, 4))).astype(single)
    params = {"0.weight": np.ones(4), "0.bias": np.zeros(4), "0.running_mean": np.zeros(4), "0.running_var": np.ones(4)}
    case = Case(
        "shifted",
        layers=(Spec("BatchNorm1d", {"num_features": 4}),),
        params={**params, "0.num_batches_tracked": np.array(0)},
        inputs=(x,),
        grad_outputs=(g,),
        dtype="float32",
    )
    due = predict(case, ErrorModel(np.dtype(single)))[Key(0, "0", "grad.weight")]
    d = x - np.cumsum(x, axis=0)[-1] / single(n)
    s = single(1) / np.sqrt(np.cumsum(d * d, axis=0)[-1] / single(n) + single(1e-5))
    error = np.abs((g * d * s).sum(0).astype(float) - due.value)
    alone = np.sqrt(np.sum(np.square(2.0**-24 * g.astype(float) * x * s), axis=0))  # of each element by itself
    assert (error > 8 * alone).any()
    assert (error < 3 * due.sigma).all()


def last_of_the_largest(x: Any, kernel: int, stride: int) -> Any:
    """Max pooling in which the last of several equal elements wins."""
    starts = range(0, x.shape[-1] - kernel + 1, stride)
    winners = [i + kernel - 1 - int(np.argmax(x[0, 0, i : i + kernel][::-1])) for i in starts]

    def backward(g: Any) -> Any:
        grad = np.zeros_like(x)
        for place, winner in enumerate(winners):
            grad[0, 0, winner] += g[0, 0, place]
        return (grad,)

    return x[:, :, winners], backward


@pytest.mark.parametrize(
    ("data", "upstream", "kernel", "stride"),
    [
        ([1.0, 0, 1, 0, 1], [1.0, 0.5, -1], 3, 1),
        ([0.0] * 6, [1.0, 2, 3, -4], 3, 1),
        ([2.0, 2, 1, 2, 2, 0], [1.0, -1, 0.25, 3], 3, 1),
        ([3.0] * 9, [1.0, 1, 1, 1, 1], 5, 1),
        ([1.0, 1, 0, 1, 1, 1, 0], [2.0, 3, 5], 3, 2),
    ],
)
def test_another_winner_in_each_of_several_windows(data: Any, upstream: Any, kernel: int, stride: int) -> None:
    """In each window by itself a valid choice; an element that stands in several gets the difference of all of them."""
    x, g = np.array([[data]]), np.array([[upstream]])

    def own(x: Any) -> Any:
        return last_of_the_largest(x, kernel, stride)

    report = check_op("max_pool1d", own, kernel_size=kernel, stride=stride, x=x, grad_output=g)
    assert report.passed, str(report)

    def more(x: Any) -> Any:
        y, backward = own(x)
        return y, lambda g: (backward(g)[0] * 1.5,)

    report = check_op("max_pool1d", more, kernel_size=kernel, stride=stride, x=x, grad_output=g)
    assert not report.passed


def test_a_mean_by_the_sizes_of_input_and_output() -> None:
    """g * size_out / size_in rounds where g / 4 does not."""

    def pool(x: Any) -> Any:
        n, c, h, w = x.shape
        y = x.reshape(n, c, h // 2, 2, w // 2, 2).mean((3, 5))
        share = x.dtype.type(y.size), x.dtype.type(x.size)
        return y, lambda g: (np.repeat(np.repeat(g, 2, 2), 2, 3) * share[0] / share[1],)

    x = np.random.default_rng(0).standard_normal((2, 3, 6, 6))
    report = check_op("avg_pool2d", pool, kernel_size=2, x=x)
    assert report.passed, str(report)


@pytest.mark.parametrize("subject", ["refbp", "torch"])
def test_whole_numbers_one_of_which_is_their_mean(subject: str) -> None:
    """A running mean does not come out at zero, and the last place of the shift turns with it."""
    w, b = np.array([0.8155, 0.9364, 1.2952, 0.1142, -0.7885]), np.array([-0.3809, -1.0083, -1.0842, -0.3065, 0.05158])
    case = Case(
        "whole",
        layers=(Spec("LayerNorm", {"normalized_shape": 5}),),
        params={"0.weight": w, "0.bias": b},
        inputs=(np.array([[0.0, -4, 2, 2, 0]]),),
        grad_outputs=(np.ones((1, 5)),),
    )
    assert run(subject, cases=[case]).passed


class Recorded:
    """Dropout in evaluation that says which elements it keeps."""

    name = "dropout with a mask"
    profile = Profile(quantities=("output", "grad_input"))

    def __init__(self, lost: int) -> None:
        self.lost = lost

    def run(self, case: Case) -> Trace:
        if [spec.type for spec in case.layers] != ["Dropout"] or case.training:
            raise Unsupported("Dropout in evaluation only")
        (x,), (g,), trace = case.inputs, case.grad_outputs, Trace()
        mask = np.arange(x.size).reshape(x.shape) >= self.lost
        for quantity, array in (("mask", mask), ("output", x), ("grad_input", g)):
            trace.record(0, "0", quantity, array)
        return trace


def dropout(shape: tuple[int, ...], training: bool) -> Case:
    x, g = np.random.default_rng(0).standard_normal((2, *shape))
    return Case("drop", layers=(Spec("Dropout", {"p": 0.3}),), inputs=(x,), grad_outputs=(g,), training=training)


def test_a_mask_of_evaluation_keeps_everything() -> None:
    """An all-true one is the truth, whatever the rate; one that drops an element is not."""
    case = dropout((20,), training=False)
    assert run(Recorded(0), cases=[case]).passed
    report = run(Recorded(1), cases=[case])
    assert not report.passed
    assert "drops 1 of 20 elements in evaluation" in str(report)


@pytest.mark.parametrize("subject", ["refbp", "torch"])
@pytest.mark.parametrize("training", [True, False])
def test_a_number_without_dimensions_may_be_dropped(subject: str, training: bool) -> None:
    """Its mask has none either. If it is dropped, no gradient is decided, and nothing is called wrong."""
    report = run(subject, cases=[dropout((), training)])
    assert not report.blame
    assert report.passed or training
