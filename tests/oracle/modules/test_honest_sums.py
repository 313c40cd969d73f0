"""Modules of torch, and legal layers of anybody's, whose sums are sorted by sample or have terms that repeat: none is accused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import oracle
from oracle import check_module


class Summing(torch.autograd.Function):
    """A linear map that adds its gradients up one sample after the other."""

    @staticmethod
    def forward(ctx: Any, x: Any, weight: Any, bias: Any) -> Any:
        ctx.save_for_backward(x, weight)
        return x @ weight.T if bias is None else x @ weight.T + bias

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (x, weight), (g,) = ctx.saved_tensors, grads
        rows, deltas = x.flatten(0, -2), g.flatten(0, -2)
        terms = (deltas[:, :, None] * rows[:, None, :]).numpy()
        grad_bias = torch.from_numpy(np.cumsum(deltas.numpy(), axis=0)[-1].copy()) if ctx.needs_input_grad[2] else None
        return g @ weight, torch.from_numpy(np.cumsum(terms, axis=0)[-1].copy()), grad_bias


class Looped(nn.Linear):
    def forward(self, x: Any) -> Any:
        return Summing.apply(x, self.weight, self.bias)  # type: ignore[no-untyped-call]


class Averaged(nn.Module):
    """A sequence's mean."""

    def forward(self, x: Any) -> Any:
        return x.mean(1)


def images(conv: Any, pool: Any, channels: int = 3) -> nn.Module:
    return nn.Sequential(
        conv(channels, 8, 3, padding=1),
        nn.ReLU(),
        conv(8, 8, 3, padding=1),
        nn.ReLU(),
        pool(1),
        nn.Flatten(),
        nn.Linear(8, 10),
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("build", "shape"),
    [
        pytest.param(lambda: images(nn.Conv2d, nn.AdaptiveAvgPool2d), (4, 3, 32, 32), id="images"),
        pytest.param(lambda: images(nn.Conv2d, nn.AdaptiveMaxPool2d), (4, 3, 32, 32), id="largest"),
        pytest.param(lambda: images(nn.Conv1d, nn.AdaptiveAvgPool1d), (16, 3, 256), id="signals"),
        pytest.param(
            lambda: nn.Sequential(Looped(5, 8), nn.ReLU(), Averaged(), nn.Linear(8, 10)), (8, 300, 5), id="sequences"
        ),
    ],
)
@pytest.mark.parametrize("loss", [nn.CrossEntropyLoss(), nn.L1Loss()])
def test_a_bias_in_front_of_a_global_mean(build: Any, shape: tuple[int, ...], loss: Any, dtype: Any) -> None:
    """Behind a mean the terms of its gradient have as many values as there are samples, and each loop rounds them alike."""
    torch.manual_seed(0)
    net, n = build().to(dtype), shape[0]
    target = torch.arange(n) % 10 if isinstance(loss, nn.CrossEntropyLoss) else torch.zeros(n, 10, dtype=dtype)
    report = check_module(net, torch.rand(shape, dtype=dtype), loss, target)
    assert report.passed, str(report)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("constant", [False, True])
def test_a_linear_layer_that_adds_up_sample_by_sample(dtype: Any, constant: bool) -> None:
    """The terms of one sample cancel the other's, or all are one number: a loop is as legal as a blocked product."""
    torch.manual_seed(0)
    n = 1024
    spread = 0.0 if constant else 0.1
    x = 1.7 + spread * torch.randn(2, n, 3, dtype=dtype)
    upstream = torch.tensor([[1.1], [-1.1]], dtype=dtype)[:, :, None] * (1 + spread * torch.randn(2, n, 2, dtype=dtype))
    for bias in (False, True):
        report = check_module(Looped(3, 2, bias=bias).to(dtype), x, lambda y, t: (y * t).sum(), upstream)
        assert report.passed, str(report)


@pytest.mark.parametrize("n", [1000, 20_000])
def test_a_loss_whose_gradients_have_one_size(n: int) -> None:
    """A loop over equal terms, of which a random order expects far less."""
    torch.manual_seed(0)
    report = check_module(nn.Sequential(Looped(3, 2)), torch.randn(n, 3), nn.L1Loss(), torch.zeros(n, 2) - 100.0)
    assert report.passed, str(report)


def rounded(a: Any, precision: str) -> Any:
    """To eleven bits, or to eight."""
    if precision == "bfloat16":
        return a.bfloat16().float()
    bits = a.contiguous().view(torch.int32)
    return ((bits + 0x1000) & ~0x1FFF).view(torch.float32)


def product_of_rounded(precision: str, product: Any) -> Any:
    """A product of two arrays, and its derivative, of rounded operands: `product` gives both."""

    class Product(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *given: Any) -> Any:
            ctx.save_for_backward(*given)
            return product(*(rounded(own, precision) for own in given))[0]

        @staticmethod
        def backward(ctx: Any, *grads: Any) -> Any:
            return product(*(rounded(own, precision) for own in ctx.saved_tensors))[1](rounded(grads[0], precision))

    return Product.apply


def linear(x: Any, weight: Any) -> Any:
    return x @ weight.T, lambda g: (g @ weight, g.T @ x)


def convolution(x: Any, weight: Any) -> Any:
    def backward(g: Any) -> Any:
        return torch.nn.grad.conv2d_input(x.shape, weight, g), torch.nn.grad.conv2d_weight(x, weight.shape, g)

    return nn.functional.conv2d(x, weight), backward


@pytest.mark.parametrize("precision", ["TF32", "bfloat16"])
@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Linear(64, 12, bias=False), (40, 64)),
        (nn.Linear(4096, 12, bias=False), (40, 4096)),
        (nn.Linear(12, 30, bias=False), (4096, 12)),
        (nn.Conv2d(2, 8, 3, bias=False), (4, 2, 8, 8)),
        (nn.Conv2d(256, 8, 4, bias=False), (4, 256, 6, 6)),
        (nn.Conv2d(4, 8, 1, bias=False), (16, 4, 16, 16)),
    ],
    ids=str,
)
def test_a_product_of_lower_precision_stays_visible(
    precision: str, layer: nn.Module, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A float32 layer that multiplies rounded operands is imprecise, however many terms it adds up, in each of its products."""
    torch.manual_seed(0)
    multiplied = product_of_rounded(precision, convolution if isinstance(layer, nn.Conv2d) else linear)
    monkeypatch.setattr(nn.functional, "linear", lambda x, weight, bias: multiplied(x, weight))
    monkeypatch.setattr(nn.Conv2d, "_conv_forward", lambda self, x, weight, bias: multiplied(x, weight))
    x = torch.randn(shape, requires_grad=True)
    rows = check_module(nn.Sequential(layer), x).table
    verdicts = dict(zip(rows.quantity, rows.verdict, strict=True))
    assert {verdicts[name] for name in ("output", "grad_input", "grad.weight")} == {"imprecise"}, verdicts


class Called(nn.Module):
    """A function of torch as a module, which is judged by its operation."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Any) -> Any:
        return self.function(x)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(
    ("layer", "function"),
    [
        (nn.GELU(), F.gelu),
        (nn.Sigmoid(), torch.sigmoid),
        (nn.ELU(), F.elu),
        (nn.CELU(0.7), lambda x: F.celu(x, 0.7)),
        (nn.SELU(), F.selu),
    ],
    ids=lambda own: type(own).__name__,
)
def test_an_operation_may_be_computed_by_every_formula_of_its_layer(layer: Any, function: Any, dtype: Any) -> None:
    """torch's float32 GELU has a distribution function that is right to seven decimals, in either form."""
    x = (0.3 * torch.randn(2, 160, 12, 12, generator=torch.Generator().manual_seed(0), dtype=dtype)).requires_grad_()
    as_layer, as_operation = (
        check_module(module, x).table.set_index("quantity")["z_max"] for module in (layer, Called(function))
    )
    assert as_operation["output"] == pytest.approx(as_layer["output"], rel=1e-6)
    assert as_operation["grad_input"] == pytest.approx(as_layer["grad_input"], rel=1e-6)


class Bag(nn.Module):
    """The mean of the vectors of a text's words, by one of torch's ways of reading them."""

    def __init__(self, read: str) -> None:
        super().__init__()
        self.words, self.read, self.out = nn.Parameter(torch.randn(5, 8)), read, nn.Linear(8, 3)

    def forward(self, text: Any) -> Any:
        vectors = {
            "embedding": lambda: F.embedding(text, self.words).mean(1),
            "index": lambda: self.words[text].mean(1),
            "embedding_bag": lambda: F.embedding_bag(text, self.words),
            "index_add": lambda: torch.stack(
                [torch.zeros(1, 8).index_add(0, torch.zeros_like(own), self.words[own])[0] / len(own) for own in text]
            ),
        }
        return self.out(vectors[self.read]())


@pytest.mark.parametrize("length", [512, 4096])
@pytest.mark.parametrize("read", ["embedding", "index", "embedding_bag", "index_add"])
def test_words_that_are_read_many_times(read: str, length: int) -> None:
    """The gradient of a word is a sum of equal terms, one after another, each of which rounds the same way; padding is such a
    word in every batch."""
    torch.manual_seed(0)
    text = torch.randint(0, 5, (2, length))
    text[:, length // 2 :] = 0
    report = check_module(Bag(read), text, nn.CrossEntropyLoss(), torch.tensor([0, 1]))
    assert report.passed, report
    assert report.table["z_max"].max() < 3


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_running_sum_of_equal_terms(dtype: torch.dtype) -> None:
    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.step = nn.Parameter(torch.randn(1, 4))

        def forward(self, x: Any) -> Any:
            return torch.cumsum(self.step.expand(3000, 4) * x, 0)

    torch.manual_seed(0)
    report = check_module(Sum().to(dtype), torch.ones(3000, 1, dtype=dtype))
    assert not report.blame, report


class Edges(nn.Module):
    """A convolution whose kernel has a positive and a negative half along a dimension, as an edge filter has."""

    def __init__(self, conv: Any, axis: int) -> None:
        super().__init__()
        self.conv, self.axis = conv, axis
        weight = conv.weight.data.abs_()
        weight.narrow(axis, weight.shape[axis] // 2, weight.shape[axis] - weight.shape[axis] // 2).neg_()

    def forward(self, x: Any) -> Any:
        return self.conv(x)


@pytest.mark.parametrize(
    ("conv", "axis", "shape"),
    [
        (lambda: nn.Conv1d(16, 4, 25, bias=False), 2, (2, 16, 200)),
        (lambda: nn.Conv1d(32, 32, 25, bias=False, groups=2), 2, (2, 32, 120)),
        (lambda: nn.Conv2d(3, 8, 7, stride=2, bias=False), 2, (2, 3, 112, 112)),
        (lambda: nn.Conv2d(16, 4, 11, bias=False), 3, (2, 16, 40, 40)),
        (lambda: nn.ConvTranspose1d(16, 4, 25), 2, (2, 16, 60)),
    ],
)
def test_a_convolution_adds_up_place_by_place_or_channel_by_channel(
    conv: Any, axis: int, shape: tuple[int, ...]
) -> None:
    """Positive data under an edge filter: the partial sums are large in the one order, and cancel in the other."""
    torch.manual_seed(0)
    net, x = Edges(conv(), axis), 5 + torch.rand(*shape)
    for kernel in (x, x.to(memory_format=torch.channels_last) if x.ndim == 4 else x):
        report = check_module(net, kernel)
        assert report.passed, report
        assert not (report.table.verdict == "loose").any()


def test_a_wrong_element_of_an_edge_filter_is_found_all_the_same() -> None:
    torch.manual_seed(0)
    net, x = Edges(nn.Conv1d(16, 4, 25, bias=False), 2), 5 + torch.rand(2, 16, 200)
    expected = oracle.expect(F.conv1d, x, net.conv.weight.detach())
    got = F.conv1d(x, net.conv.weight.detach())
    oracle.assert_close(got, expected.output)
    got[0, 0, 0] += 1e-4 * got.abs().max()
    with pytest.raises(oracle.Discrepancy):
        oracle.assert_close(got, expected.output)
