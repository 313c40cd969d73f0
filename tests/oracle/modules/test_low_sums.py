"""Kernels that add up in bfloat16 where float32 is due are `imprecise`, and named; a formula that is wrong by 2 % is `wrong`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import oracle


def added_up(terms: Tensor) -> Tensor:
    """A loop over the last axis in bfloat16."""
    total = torch.zeros_like(terms[..., 0])
    for place in range(terms.shape[-1]):
        total = total + terms[..., place]
    return total


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return added_up(x[:, None] * weight) + bias


def convolution(x: Tensor, weight: Tensor, bias: Tensor, *_: Any) -> Tensor:
    side = x.shape[-1] - weight.shape[-1] + 1
    windows = F.unfold(x.float(), weight.shape[-1]).bfloat16().mT
    made = added_up(windows[:, None] * weight.flatten(1)[:, None]) + bias[:, None]
    return made.unflatten(-1, (side, side))


def layer_norm(x: Tensor, shape: Any, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    off = x - (added_up(x) / x.shape[-1])[..., None]
    variance = added_up(off * off) / x.shape[-1]
    return off / (variance + eps).sqrt()[..., None] * weight + bias


def softmax(x: Tensor, *_: Any, **__: Any) -> Tensor:
    powers = (x - x.amax(-1, keepdim=True)).exp()
    return powers / added_up(powers)[..., None]


Kernel = Callable[..., Tensor]
CASES: dict[str, tuple[Kernel, Kernel, Callable[[], nn.Module], tuple[int, ...]]] = {
    "linear": (F.linear, linear, lambda: nn.Linear(256, 32), (16, 256)),
    "long linear": (F.linear, linear, lambda: nn.Linear(4096, 8), (8, 4096)),
    "conv2d": (F.conv2d, convolution, lambda: nn.Conv2d(8, 16, 3), (4, 8, 10, 10)),
    "layer_norm": (F.layer_norm, layer_norm, lambda: nn.LayerNorm(256), (16, 256)),
    "softmax": (F.softmax, softmax, lambda: nn.Softmax(-1), (16, 256)),
}


def with_forward(real: Kernel, forward: Kernel) -> Kernel:
    """The kernel with another forward, and its own backward."""

    def kernel(*args: Any, **options: Any) -> Tensor:
        given = [own for own in args if isinstance(own, Tensor)]

        class Replaced(torch.autograd.Function):
            @staticmethod
            def forward(ctx: Any, *_: Tensor) -> Tensor:
                return forward(*args, **options)

            @staticmethod
            def backward(ctx: Any, *grads: Tensor) -> Any:
                with torch.enable_grad():
                    fresh = [own.detach().requires_grad_() for own in given]
                    rest = iter(fresh)
                    again = real(*(next(rest) if isinstance(own, Tensor) else own for own in args), **options)
                return torch.autograd.grad(again, fresh, grads[0])

        return Replaced.apply(*given)  # type: ignore[no-untyped-call,no-any-return]

    return kernel


def judged(name: str, kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> Any:
    real, _, make, shape = CASES[name]
    torch.manual_seed(0)
    layer, x = make().bfloat16(), torch.randn(shape).bfloat16().requires_grad_()
    monkeypatch.setattr(F, real.__name__, kernel)
    return oracle.check_module(layer, x).table.set_index("quantity")


@pytest.mark.parametrize("name", CASES)
def test_sums_in_bfloat16_are_imprecise_and_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the output: the gradients are torch's own."""
    real, low, *_ = CASES[name]
    table = judged(name, with_forward(real, low), monkeypatch)
    assert table["verdict"]["output"] == "imprecise"
    assert "sums added up in bfloat16, where float32 is due" in table["diagnosis"]["output"]
    assert set(table["verdict"].drop("output")) <= {"pass", "undecided"}


@pytest.mark.parametrize("name", CASES)
def test_a_formula_that_is_wrong_by_two_percent_is_wrong(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two units in the last place or three of bfloat16, which all elements together show."""
    real = CASES[name][0]
    table = judged(name, lambda *args, **options: real(*args, **options) * 1.02, monkeypatch)
    assert table["verdict"]["output"] == "wrong"


def test_a_gradient_of_cross_entropy_that_is_wrong_by_four_percent_is_wrong() -> None:
    """Two percent are within its tolerance, since torch computes it from logarithms that it stored in bfloat16."""

    class Scaled(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, *grads: Tensor) -> Any:
            return grads[0] * 1.04

    real = F.cross_entropy
    torch.manual_seed(0)
    x = torch.randn(64, 256).bfloat16().requires_grad_()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(F, "cross_entropy", lambda x, *args, **options: real(Scaled.apply(x), *args, **options))  # type: ignore[no-untyped-call]
        report = oracle.check_module(nn.Identity(), x, nn.CrossEntropyLoss(), torch.arange(64))
    assert [(own.layer, own.quantity, own.verdict) for own in report.blame] == [("loss", "grad_input", "wrong")]
