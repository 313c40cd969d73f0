"""An upstream gradient that has overflown, as under a loss scale: what torch makes of infinities is known, and not accused."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import oracle
from oracle.programs.execution import Plain, Run
from oracle.programs.torch_calls import record

INF = float("inf")
X = torch.tensor([[1.0, 3.0, 2.0], [4.0, 0.0, 4.0]])
# Functions that choose, round or mask, of which each has its own way with zero times infinity.
FUNCTIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "amax": lambda x: x.amax(1),
    "amax of all": lambda x: x.amax(),
    "amin": lambda x: x.amin(1),
    "max of all": lambda x: x.max(),
    "max": lambda x: x.max(1)[0],
    "aminmax": lambda x: torch.aminmax(x, dim=1)[0],
    "median": lambda x: x.median(),
    "kthvalue": lambda x: x.kthvalue(2, 1)[0],
    "cummax": lambda x: x.cummax(1)[0],
    "topk": lambda x: x.topk(1)[0],
    "norm": lambda x: torch.linalg.vector_norm(x, dim=1),
    "norm of zeros": lambda x: torch.linalg.vector_norm(x * 0.0, dim=1),
    "largest absolute value": lambda x: torch.linalg.vector_norm(x, INF, 1),
    "norm of order 1/2": lambda x: torch.linalg.vector_norm(x, 0.5, 1),
    "relu": torch.relu,
    "clamp": lambda x: x.clamp(1, 3),
    "maximum": lambda x: torch.maximum(x, torch.full_like(x, 2.0)),
    "where": lambda x: torch.where(x > 2, x, x * 0.0),
    "masked_fill": lambda x: x.masked_fill(x > 2, 0.0),
    "mask": lambda x: x * (x > 2),
    "tril": torch.tril,
    "round": torch.round,
    "floor": lambda x: x.floor() * x,
    "sign": lambda x: x.sign() + x,
    "whole quotient": lambda x: torch.div(x, 2.0, rounding_mode="trunc"),
    "filled": lambda x: (x * 1.0).fill_(2.0) + x,
    "copied": lambda x: (x * 1.0).copy_(x.flip(1)),
    "hardtanh": F.hardtanh,
    "hardshrink": F.hardshrink,
    "prod": lambda x: x.prod(1),
    "max_pool": lambda x: F.max_pool1d(x[None], 2),
    "gather": lambda x: x.gather(1, torch.tensor([[0], [1]])),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_where_infinities_and_nan_arrive_is_torch_s(name: str) -> None:
    fn = FUNCTIONS[name]
    x = X.double().requires_grad_()
    y = fn(x)
    upstream = torch.full_like(y, INF)
    if upstream.dim():
        upstream[-1] = 1.0
    (due,) = torch.autograd.grad(y, x, upstream, allow_unused=True)
    (got,) = Run(record(fn, x)[0], Plain()).gradients([upstream.numpy()])
    shown = np.zeros(X.shape) if got is None else got
    np.testing.assert_array_equal(shown, np.zeros(X.shape) if due is None else due.numpy())


# Functions that compare, with which NaN is neither above nor below nor equal.
COMPARING: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "clamp": lambda x: x.clamp(1, 3),
    "clamp_min": lambda x: x.clamp_min(1),
    "clamp_max": lambda x: x.clamp_max(3),
    "clamp by tensors": lambda x: torch.clamp(x, x.flip(1) - 1, x.flip(1) + 1),
    "maximum": lambda x: torch.maximum(x, x.flip(1)),
    "minimum": lambda x: torch.minimum(x, x.flip(1)),
    "topk": lambda x: x.topk(2, 1)[0],
    "smallest": lambda x: x.topk(2, 1, largest=False)[0],
    "sort": lambda x: x.sort(1, descending=True)[0],
    "amax": lambda x: x.amax(1),
    "median": lambda x: x.median(1)[0],
    "cummax": lambda x: x.cummax(1)[0],
    "where": lambda x: torch.where(x > 2, x, x * 0.5),
    "relu": torch.relu,
    "ctc_loss": lambda x: F.ctc_loss(
        x.reshape(3, 1, 2), torch.tensor([[1]]), torch.tensor([3]), torch.tensor([1]), zero_infinity=True
    ),
}


@pytest.mark.parametrize("name", COMPARING)
def test_what_a_comparison_makes_of_nan_is_torch_s(name: str) -> None:
    fn = COMPARING[name]
    x = X.double()
    x[0, 1] = torch.nan
    x.requires_grad_()
    y = fn(x)
    (due,) = torch.autograd.grad(y, x, torch.ones_like(y))
    run = Run(record(fn, x)[0], Plain())
    np.testing.assert_array_equal(run.outputs[0], y.detach().numpy())
    np.testing.assert_array_equal(run.gradients([np.ones(y.shape)])[0], due.numpy())


# Layers and functions whose slope underflows at one end.
SATURATED: dict[str, Any] = {
    "Sigmoid": nn.Sigmoid(),
    "GELU": nn.GELU(),
    "ELU": nn.ELU(),
    "SELU": nn.SELU(),
    "Softplus": nn.Softplus(),
    "SiLU": nn.SiLU(),
    "Mish": nn.Mish(),
    "LogSigmoid": nn.LogSigmoid(),
    "Softmax": nn.Softmax(1),
    "LogSoftmax": nn.LogSoftmax(1),
    "sigmoid": torch.sigmoid,
    "gelu": F.gelu,
    "elu": F.elu,
    "softplus": F.softplus,
    "exp": torch.exp,
    "erf": torch.erf,
    "logsumexp": lambda x: x.logsumexp(1),
    "glu": lambda x: F.glu(torch.cat([x, x], 1), 1),
    "logaddexp": lambda x: torch.logaddexp(x, x - 300),
    "cross_entropy": lambda x: F.cross_entropy(x, torch.tensor([0, 1]), reduction="none"),
    "normalize": lambda x: F.normalize(x * 0.0),
}


class Saturated(nn.Module):
    def __init__(self, own: Any) -> None:
        super().__init__()
        self.layer, self.own = nn.Linear(3, 3), own
        self.layer.bias.data = torch.tensor([-200.0, -20.0, 150.0])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.own(self.layer(x))  # type: ignore[no-any-return]


def overflows(y: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return (y.float() * 3e38 * 3e38).sum()


@pytest.mark.parametrize("name", SATURATED)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_slope_that_underflows_is_not_accused(name: str, dtype: torch.dtype) -> None:
    """Zero times infinity is NaN, where the exact slope gives an infinity."""
    torch.manual_seed(0)
    module = Saturated(SATURATED[name]).to(dtype)
    report = oracle.check_module(module, torch.randn(2, 3).to(dtype), loss=overflows, target=torch.zeros(1))
    assert set(report.table.verdict) <= {"pass", "undecided"}, str(report)


class Dropped(torch.autograd.Function):
    """ReLU whose backward makes infinities finite."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        return x.clamp(0)

    @staticmethod
    def backward(ctx: Any, grad_output: torch.Tensor) -> torch.Tensor:
        (x,) = ctx.saved_tensors
        return grad_output.nan_to_num() * (x > 0)


def test_an_infinity_that_is_lost_is_wrong() -> None:
    torch.manual_seed(0)
    module = Saturated(Dropped.apply)  # type: ignore[no-untyped-call]
    report = oracle.check_module(module, torch.randn(2, 3), loss=overflows, target=torch.zeros(1))
    wrong = report.table[report.table.verdict == "wrong"]
    assert [*zip(wrong.layer, wrong.quantity, strict=True)] == [("Dropped", "grad_input")]


class Attention(nn.Module):
    """A row that is masked altogether is NaN, which is hidden in the forward pass."""

    def __init__(self, masked: float) -> None:
        super().__init__()
        self.q, self.masked = nn.Linear(4, 4), masked

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, mask = self.q(x), torch.tensor([[True] * 3, [False, False, True], [False] * 3])
        return ((q @ q.mT).masked_fill(mask, self.masked).softmax(-1) @ q).nan_to_num()


def test_the_report_says_where_gradients_stop_being_finite() -> None:
    """Each operation is right, and the parameter's gradient is NaN."""
    torch.manual_seed(0)
    x = torch.randn(1, 3, 4)
    report = oracle.check_module(Attention(-INF), x)
    report.raise_for_discrepancy()
    assert "NaN or an infinity begins in the gradients at bmm#2 (aten.bmm, test_infinite_gradients.py:" in str(report)
    assert "begins" not in str(oracle.check_module(Attention(-1e9), x))


def with_one(y: torch.Tensor, number: float, place: int) -> torch.Tensor:
    """A weight for each number of y, of which one is not finite, and so is its gradient."""
    weights = torch.randn(y.shape, dtype=y.dtype)
    weights.view(-1)[place] = number
    return weights


def weighted(y: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    return (y * weights).sum()


class Resized(nn.Module):
    """Resizes by a function of torch, which makes one call of it."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.options = options

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.interpolate(x, **self.options)


class Correlated(nn.Module):
    """A convolution as a function, which is judged as an operation."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 4, 3, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.conv2d(x, self.weight, padding=1)


IMAGE, VOLUME = (2, 4, 6, 7), (2, 4, 4, 5, 3)
# Layers in which an infinity meets zeros that some kernels leave out, or others of both signs.
MIXING: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "Conv1d": (lambda: nn.Conv1d(4, 4, 3, padding=1), (2, 4, 9)),
    "Conv2d": (lambda: nn.Conv2d(4, 4, 3, padding=1), IMAGE),
    "Conv2d of 2 groups": (lambda: nn.Conv2d(4, 4, 3, padding=1, groups=2), IMAGE),
    "depthwise Conv2d": (lambda: nn.Conv2d(4, 8, 3, padding=1, groups=4), IMAGE),
    "Conv2d with stride": (lambda: nn.Conv2d(4, 4, 3, padding=2, stride=2, dilation=2), IMAGE),
    "Conv3d": (lambda: nn.Conv3d(4, 4, 3, padding=1), VOLUME),
    "conv2d": (Correlated, IMAGE),
    "ConvTranspose2d": (lambda: nn.ConvTranspose2d(4, 4, 3, padding=1, stride=2), IMAGE),
    "GroupNorm": (lambda: nn.GroupNorm(2, 4), IMAGE),
    "LayerNorm": (lambda: nn.LayerNorm(7), IMAGE),
    "BatchNorm2d": (lambda: nn.BatchNorm2d(4), IMAGE),
    "InstanceNorm2d": (lambda: nn.InstanceNorm2d(4, affine=True), IMAGE),
    "RMSNorm": (lambda: nn.RMSNorm(7), IMAGE),
    "bicubic": (lambda: Resized(scale_factor=2, mode="bicubic"), IMAGE),
    "bicubic from corner to corner": (lambda: Resized(size=(11, 13), mode="bicubic", align_corners=True), IMAGE),
    "bilinear with a widened filter": (lambda: Resized(size=(3, 4), mode="bilinear", antialias=True), IMAGE),
    "nearest-exact": (lambda: Resized(scale_factor=2, mode="nearest-exact"), IMAGE),
}


@pytest.mark.parametrize("name", MIXING)
@pytest.mark.parametrize("number", [INF, float("nan")])
@pytest.mark.parametrize("place", [0, 16])
def test_one_number_that_is_not_finite_accuses_no_layer(name: str, number: float, place: int) -> None:
    """An overflow under a loss scale is an everyday event. What it makes of a sum may depend on the kernel, and is then open."""
    torch.manual_seed(0)
    made, shape = MIXING[name]
    for layout in (torch.contiguous_format, torch.channels_last) if len(shape) == 4 else (torch.contiguous_format,):
        x = torch.randn(shape).to(memory_format=layout).requires_grad_()
        module = made().to(memory_format=layout)
        report = oracle.check_module(module, x, loss=weighted, target=with_one(module(x), number, place))
        assert set(report.table.verdict) <= {"pass", "undecided"}, str(report)


def test_two_factors_and_an_infinity_are_not_accused() -> None:
    torch.manual_seed(0)
    module, x = nn.Bilinear(8, 8, 3), (torch.randn(5, 8), torch.randn(5, 8))
    report = oracle.check_module(module, x, loss=weighted, target=with_one(module(*x), INF, 0))
    assert set(report.table.verdict) <= {"pass", "undecided"}, str(report)


class Flushed(torch.autograd.Function):
    """A convolution that loses the infinities of its upstream gradient."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x, weight)
        return F.conv2d(x, weight, padding=1)

    @staticmethod
    def backward(ctx: Any, grad_output: torch.Tensor) -> Any:
        x, weight = ctx.saved_tensors
        finite = grad_output.nan_to_num(posinf=0.0)
        return (
            torch.nn.grad.conv2d_input(x.shape, weight, grad_output, padding=1),
            torch.nn.grad.conv2d_weight(x, weight.shape, finite, padding=1),
        )


class Lossy(Correlated):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return Flushed.apply(x, self.weight)  # type: ignore[no-any-return, no-untyped-call]


def test_where_an_infinity_meets_the_image_it_must_arrive() -> None:
    """Open is only what meets the padding: four of nine places of the kernel lie on the image at its corner."""
    torch.manual_seed(0)
    module, x = Lossy(), torch.randn(IMAGE)
    report = oracle.check_module(module, x, loss=weighted, target=with_one(module(x), INF, 0))
    wrong = report.table[report.table.verdict == "wrong"]
    assert [*zip(wrong.layer, wrong.quantity, strict=True)] == [("Flushed", "grad.weight")], str(report)


BEYOND = {"input": (3e4, 1.0), "gradient": (1.0, 3e4), "infinite input": (INF, 1.0), "infinite gradient": (1.0, INF)}


@pytest.mark.parametrize("sizes", BEYOND.values(), ids=list(BEYOND))
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32], ids=str)
@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(2, 3, 3),
        nn.ConvTranspose2d(2, 3, 3),
        nn.BatchNorm2d(2),
        nn.InstanceNorm2d(2, affine=True),
        nn.LayerNorm(6),
    ],
    ids=lambda own: type(own).__name__,
)
def test_numbers_beyond_the_range_warn_of_nothing(
    layer: nn.Module, dtype: torch.dtype, sizes: tuple[float, float]
) -> None:
    """Infinities of both signs that meet in the reference reached the user as NumPy's warnings (here they would be errors)."""
    torch.manual_seed(0)
    layer, x = deepcopy(layer).to(dtype), (torch.randn(4, 2, 6, 6) * sizes[0]).to(dtype).requires_grad_()
    upstream = torch.randn(layer(x).shape) * sizes[1]
    report = oracle.check_module(nn.Sequential(layer), x, lambda y, g: (y.float() * g).sum(), upstream)
    assert not report.blame, report
