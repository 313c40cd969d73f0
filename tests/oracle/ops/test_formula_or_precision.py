"""A formula that is wrong by the size of a lower precision's rounding is `wrong`; a lower precision is `imprecise`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import oracle

HEADS: dict[str, Any] = dict.fromkeys("qkv", (2, 8, 64))
NORM: dict[str, Any] = {"x": (16, 32), "w": (32,), "b": (32,)}


def attention(scale: float) -> Callable[..., Any]:
    return lambda q, k, v: F.scaled_dot_product_attention(q, k, v, scale=scale)


def layer_norm(x: Any, w: Any, b: Any) -> Any:
    return F.layer_norm(x, (x.shape[-1],), w, b, 1e-5)


def wrong_norm(x: Any, w: Any, b: Any) -> Any:
    """A LayerNorm that divides a sum of its backward by n - 1."""
    r = 1 / np.sqrt(x.var(-1, keepdims=True) + x.dtype.type(1e-5))
    h = (x - x.mean(-1, keepdims=True)) * r

    def backward(dy: Any) -> Any:
        g = dy * w
        projection = h * (g * h).sum(-1, keepdims=True) / x.dtype.type(x.shape[-1] - 1)
        return r * (g - g.mean(-1, keepdims=True) - projection), (dy * h).sum(0), dy.sum(0)

    return h * w + b, backward


def inside(dtype: torch.dtype, fn: Callable[..., Any]) -> Any:
    return oracle.from_torch(lambda *arrays: fn(*(own.to(dtype) for own in arrays)).to(arrays[0].dtype))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_wrong_formulas(dtype: str) -> None:
    """Errors of 0.1 to 3 % in all elements, also by name."""
    for scale in (1 / 8.1, 1 / 8.008):
        report = oracle.check_op(attention(1 / 8), oracle.from_torch(attention(scale)), **HEADS, dtypes=(dtype,))
        assert set(report.table["verdict"]) == {"wrong"}, report
    assert oracle.check_op(layer_norm, wrong_norm, **NORM, dtypes=(dtype,)).blame[0].verdict == "wrong"
    arrays = {name: np.random.default_rng(0).standard_normal(shape) for name, shape in NORM.items()}
    named = oracle.check_op(
        "layer_norm",
        wrong_norm,
        normalized_shape=32,
        x=arrays["x"],
        weight=arrays["w"],
        bias=arrays["b"],
        dtypes=(dtype,),
    )
    assert [(blame.quantity, blame.verdict) for blame in named.blame] == [("grad_input", "wrong")]


@pytest.mark.parametrize(
    ("dtype", "own"),
    [
        ("float64", torch.float32),
        ("float64", torch.bfloat16),
        ("float32", torch.bfloat16),
        ("float32", torch.float16),
    ],
)
@pytest.mark.parametrize(("fn", "arrays"), [(attention(1 / 8), HEADS), (layer_norm, NORM)], ids=["attention", "norm"])
def test_lower_precisions(fn: Any, arrays: Any, dtype: str, own: torch.dtype) -> None:
    """All that a kernel in another precision gives: outputs, gradients, sums over the batch."""
    table = oracle.check_op(fn, inside(own, fn), **arrays, dtypes=(dtype,)).table
    assert set(table["verdict"]) == {"imprecise"}, table[["quantity", "verdict", "diagnosis"]]


def test_an_operand_in_float32_inside_float64() -> None:
    """A matrix that a kernel holds in float32 has the same errors for all inputs, and is a lower precision."""
    matrix = torch.randn(32, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    held = oracle.from_torch(lambda x: x @ matrix.float().double())
    report = oracle.check_op(lambda x: x @ matrix, held, x=(16, 32), dtypes=("float64",))
    assert set(report.table["verdict"]) == {"imprecise"}, report


def test_a_formula_that_cancels_digits() -> None:
    """(e^x - e^-x) / (e^x + e^-x) of small numbers loses as many digits in float64 as in float32."""

    def tanh(x: Any) -> Any:
        up, down = np.exp(x), np.exp(-x)
        y = (up - down) / (up + down)
        return y, lambda dy: dy * (1 - y * y)

    x = 1e-3 * np.random.default_rng(0).standard_normal((3, 8))
    table = oracle.check_op(torch.tanh, tanh, x=x).table.query("quantity == 'output'").set_index("dtype")
    assert set(table["verdict"]) == {"wrong"}, table
    assert (
        table.loc["float32", "diagnosis"]
        == "float64 loses about as many digits: the formula is less exact than the reference's"
    )


def squared_distances(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return (x[:, None] - y).square().sum(-1)


def by_products(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return x.square().sum(1)[:, None] + y.square().sum(1) - 2 * x @ y.T


def decayed(x: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    """A sum that decays by e^g: at first by none of it, so that the first g has no gradient."""
    total = torch.zeros_like(x[0])
    for own, rate in zip(x, g, strict=True):
        total = total * torch.exp(rate) + own
    return total


def decayed_at_once(x: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    """The same from running sums of g. The gradient of the first is a difference of equal numbers."""
    sums = g.cumsum(0)
    return (torch.exp(sums[-1:]) * torch.exp(-sums) * x).sum(0)


@pytest.mark.parametrize("dtypes", [("float64",), ("float32",), ("float64", "float32")])
@pytest.mark.parametrize(
    ("reference", "fn", "shapes"),
    [
        (squared_distances, by_products, {"x": (12, 4), "y": (15, 4)}),
        (decayed, decayed_at_once, {"x": (40, 9), "g": (40, 9)}),
    ],
)
def test_a_cancelling_formula_is_told_from_a_mistake(
    reference: Any, fn: Any, shapes: Any, dtypes: tuple[str, ...]
) -> None:
    """A few elements out of many were "a single element", "an index of a dimension", or nothing known. A mistake is as large in
    float64 as in float32; the errors of such a formula are smaller by as much as the roundoff is."""
    report = oracle.check_op(reference, oracle.from_torch(fn), **shapes, dtypes=dtypes)
    assert report.blame and {own.cause_name for own in report.blame} == {"cancellation"}, report
    assert all("loses about as many digits" in own.diagnosis for own in report.blame)
    mistaken = oracle.from_torch(lambda x, y: fn(x, y) + 1e-3 * (fn(x, y).detach() > 1))
    found = {
        own.quantity: own.cause_name for own in oracle.check_op(reference, mistaken, **shapes, dtypes=dtypes).blame
    }
    assert found["output"] != "cancellation"


def variance(x: torch.Tensor) -> torch.Tensor:
    return x.var(-1, correction=0)


def moments(x: torch.Tensor) -> torch.Tensor:
    return x.square().mean(-1) - x.mean(-1).square()


def product(x: torch.Tensor) -> torch.Tensor:
    return x.prod(-1)


def by_logarithms(x: torch.Tensor) -> torch.Tensor:
    return x.log().sum(-1).exp()


POSITIVE = np.random.default_rng(3).uniform(0.3, 0.5, (3, 60))


@pytest.mark.parametrize(
    ("reference", "fn", "x", "dtype"),
    [
        (variance, moments, NEAR_TEN := 10 + 0.1 * np.random.default_rng(1).standard_normal((4, 64)), "float32"),
        (variance, moments, NEAR_TEN, "float16"),
        (squared_distances, by_products, 10 + np.random.default_rng(2).standard_normal((6, 8)), "bfloat16"),
        (product, by_logarithms, POSITIVE, "float64"),
        (product, by_logarithms, POSITIVE, "float32"),
    ],
)
def test_a_formula_that_loses_most_digits_is_told_from_a_mistake(reference: Any, fn: Any, x: Any, dtype: str) -> None:
    """More than half of them; or in a few elements; or so few that only all elements together are beyond their limit. No cause
    was known then."""
    arrays = {"x": x, "y": x[:5] + 1} if reference is squared_distances else {"x": x}
    report = oracle.check_op(reference, oracle.from_torch(fn), **arrays, dtypes=(dtype,))
    assert report.blame and {own.cause_name for own in report.blame} <= {"cancellation", "precision"}, report
    assert any("loses about as many digits" in own.diagnosis for own in report.blame), report
    mistaken = oracle.check_op(reference, oracle.from_torch(lambda *own: 1.5 * fn(*own)), **arrays, dtypes=(dtype,))
    assert not {own.cause_name for own in mistaken.blame if own.quantity == "output"} & {"cancellation", "precision"}


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
def test_a_number_that_is_not_finite_is_not_lost_digits(dtype: str) -> None:
    """sin x / x is NaN at 0, in every dtype. The errors of all other elements are rounding errors."""
    x = 0.3 * np.random.default_rng(0).standard_normal(64)
    x[5] = 0
    report = oracle.check_op(
        lambda x: torch.sinc(x / torch.pi), oracle.from_torch(lambda x: torch.sin(x) / x), x=x, dtypes=(dtype,)
    )
    found = next(own for own in report.blame if own.quantity == "output")
    assert (found.verdict, found.cause_name) == ("wrong", "not finite"), report


@pytest.mark.parametrize(("size", "together"), [(4096, 4), (512, 1)])
def test_a_sum_in_16_bits_is_imprecise_if_all_of_a_row_share_its_error(size: int, together: int) -> None:
    """Of a softmax whose powers are added up in turn. Such a sum stops growing, and slightly other numbers have the same errors.
    One row may have larger ones than the other. Both were taken for mistakes."""

    def softmax(x: torch.Tensor) -> torch.Tensor:
        powers = torch.exp(x - x.amax(-1, keepdim=True))
        total = torch.zeros_like(powers[..., :1])
        for own in powers.split(together, -1):
            total = total + own.sum(-1, keepdim=True)
        return powers / total

    x = np.random.default_rng(2).standard_normal((2, 4096))
    report = oracle.check_op(
        lambda x: torch.softmax(x, -1), oracle.from_torch(softmax), x=x[:, :size], dtypes=("float16",)
    )
    assert {own.verdict for own in report.blame} == {"imprecise"}, report


def test_an_error_far_beyond_the_precision_that_it_resembles() -> None:
    """The terms inside of an LSTM are so much larger than its gradients that any error is a small share of them."""
    rng = np.random.default_rng(0)
    shapes = ((5, 3, 4), (12, 4), (12, 3), (12,), (12,))
    x, *weights = (torch.tensor(rng.standard_normal(shape)) for shape in shapes)
    start = torch.zeros(1, 3, 3, dtype=torch.float64)

    def lstm(x: Any, *own: Any) -> Any:
        return torch._VF.lstm(x, (start, start), list(own), True, 1, 0.0, False, False, False)[0]

    due = oracle.expect(lstm, x, *weights).grads[2]
    for size in (1, 10):
        with pytest.raises(oracle.Discrepancy) as raised:
            oracle.assert_close(due.value + size * due.value.std() * rng.standard_normal(due.shape), due)
        assert "behaves like" not in str(raised.value)


def test_errors_of_many_roundoffs_of_a_lower_precision() -> None:
    """Of a contrastive loss in one direction instead of both: a tenth of each gradient, which bfloat16 does not explain."""

    def loss(a: Any, b: Any, t: Any, both: bool = True) -> Any:
        scores = F.normalize(a, dim=-1) @ F.normalize(b, dim=-1).T * t.exp()
        labels = torch.arange(len(a))
        forth, back = F.cross_entropy(scores, labels), F.cross_entropy(scores.T, labels)
        return (forth + back) / 2 if both else forth

    arrays = {"a": (5, 4), "b": (5, 4), "t": np.array(1.0)}
    one_way = oracle.from_torch(lambda a, b, t: loss(a, b, t, both=False))
    report = oracle.check_op(loss, one_way, **arrays, dtypes=("float64",))
    assert set(report.table["verdict"]) == {"wrong"}, report.table[["quantity", "verdict", "diagnosis"]]
