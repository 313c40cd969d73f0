"""Functions between layers: judged in every dtype that torch has them in, and caught when their gradient is wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import oracle

Op = Callable[[torch.Tensor], torch.Tensor]


def positive(x: torch.Tensor) -> torch.Tensor:
    return x.abs() + 0.3


def share(x: torch.Tensor) -> torch.Tensor:
    return torch.sigmoid(x) * 0.9 + 0.05


OPS: dict[str, Op] = {
    "cumprod": lambda x: torch.cumprod(x, 1),
    "logcumsumexp": lambda x: torch.logcumsumexp(x, 1),
    "cummax": lambda x: torch.cummax(x, 1)[0],
    "cummin": lambda x: torch.cummin(x, 1)[0],
    "lgamma": torch.lgamma,
    "digamma": lambda x: torch.digamma(positive(x)),
    "polygamma": lambda x: torch.polygamma(2, positive(x)),
    "mvlgamma": lambda x: torch.mvlgamma(positive(x) + 1, 2),
    "erfc": torch.erfc,
    "erfinv": lambda x: torch.erfinv(share(x)),
    "erfcx": torch.special.erfcx,
    "log_ndtr": torch.special.log_ndtr,
    "ndtri": lambda x: torch.special.ndtri(share(x)),
    "i0": torch.i0,
    "i0e": torch.special.i0e,
    "i1": torch.special.i1,
    "i1e": torch.special.i1e,
    "entr": lambda x: torch.special.entr(positive(x)),
    "xlog1py": lambda x: torch.special.xlog1py(x, positive(x)),
    "logit": lambda x: torch.logit(share(x)),
    "logit between limits": lambda x: torch.logit(share(x), 0.2),
    "sinc": torch.sinc,
    "acosh": lambda x: torch.acosh(positive(x) + 1),
    "logaddexp2": lambda x: torch.logaddexp2(x, x.flip(0)),
    "hypot": lambda x: torch.hypot(x, x.flip(0)),
    "fmax": lambda x: torch.fmax(x, x.flip(0)),
    "fmin": lambda x: torch.fmin(x, x.flip(0)),
    "fmod": lambda x: torch.fmod(x, positive(x.flip(0))),
    "fmod by a number": lambda x: torch.fmod(x, 0.3),
    "remainder by a number": lambda x: torch.remainder(x, 0.3),
    "copysign": lambda x: torch.copysign(x, x.detach().flip(0)),
    "ldexp": lambda x: torch.ldexp(x, x.flip(0)),
    "frexp": lambda x: torch.frexp(x)[0],
    "nan_to_num": torch.nan_to_num,
    "nextafter": lambda x: torch.nextafter(x, x.detach().flip(0)),
    "deg2rad": torch.deg2rad,
    "rad2deg": torch.rad2deg,
    "median": lambda x: torch.median(x, 1)[0],
    "median of all": torch.median,
    "nanmedian": lambda x: torch.nanmedian(x, 1)[0],
    "kthvalue": lambda x: torch.kthvalue(x, 2, 1)[0],
    "mode": lambda x: torch.mode(x, 1)[0],
    "nansum": lambda x: torch.nansum(x, 1),
    "trace": torch.trace,
    "aminmax": lambda x: torch.stack(torch.aminmax(x, dim=1)),
    "dist": lambda x: torch.dist(x, x.flip(0)),
    "renorm": lambda x: torch.renorm(x, 2, 0, 0.5),
    "softmax of a masked row": lambda x: torch.ops.aten._safe_softmax(x.masked_fill(x < 0, -torch.inf), 1),
    "rrelu": lambda x: F.rrelu(x, training=True),
}


class Between(nn.Module):
    def __init__(self, op: Op) -> None:
        super().__init__()
        self.first, self.op = nn.Linear(6, 6), op

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.op(self.first(x))


def scaled(op: Op, factor: float) -> Op:
    """The same function, whose gradient is too large by a factor."""

    class Scaled(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
            ctx.save_for_backward(x)
            return op(x)

        @staticmethod
        def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
            (x,) = ctx.saved_tensors
            with torch.enable_grad():
                x = x.detach().requires_grad_()
                return torch.autograd.grad(op(x), x, grad * factor)[0]

    return Scaled.apply


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("name", OPS)
def test_a_function_is_judged_and_a_wrong_gradient_is_caught(name: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    op, x = OPS[name], torch.randn(6, 6, dtype=dtype)
    try:
        op(x.clone().requires_grad_()).sum().backward()
    except NotImplementedError:
        pytest.skip("torch does not have it in this dtype")
    report = oracle.check_module(Between(op).to(dtype), x)
    assert report.passed and not report.coverage.unjudged, report
    if name == "rrelu":  # which would draw other slopes in its backward
        return
    factor = 1.01 if dtype in (torch.float64, torch.float32) else 1.1
    wrong = oracle.check_module(Between(scaled(op, factor)).to(dtype), x)
    assert [(own.layer, own.quantity) for own in wrong.blame] == [("Scaled", "grad_input")]


class Halving(nn.Module):
    """A parameter that is changed without autograd before it is used."""

    def __init__(self, change: bool) -> None:
        super().__init__()
        self.weight, self.change = nn.Parameter(torch.randn(5, 3)), change

    def forward(self, index: torch.Tensor) -> torch.Tensor:
        if self.change:
            with torch.no_grad():
                self.weight.mul_(0.5)
        y = F.embedding(index, self.weight, max_norm=None if self.change else 0.5)
        return F.linear(y, self.weight)


@pytest.mark.parametrize("change", [True, False])
def test_a_parameter_that_was_changed_is_judged_as_it_was_read(change: bool) -> None:
    """By the module itself, or by an embedding that shortens the rows that it reads."""
    torch.manual_seed(0)
    report = oracle.check_module(Halving(change).double(), torch.tensor([0, 2, 2, 4]))
    assert report.passed and not report.coverage.unjudged, report
    assert set(report.table["verdict"]) == {"pass"}
