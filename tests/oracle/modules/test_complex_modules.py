"""Modules that compute with complex numbers: what they do is judged operation by operation, and nothing right is accused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import oracle


class Made(nn.Module):
    """A linear layer and a function behind it."""

    def __init__(self, function: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.layer, self.function = nn.Linear(16, 16), function

    def forward(self, x: torch.Tensor) -> Any:
        return self.function(self.layer(x))


class SpectralConv(nn.Module):
    """Li et al., "Fourier Neural Operator for Parametric Partial Differential Equations", arXiv:2010.08895, section 4."""

    def __init__(self, channels: int, modes: int) -> None:
        super().__init__()
        self.weight, self.modes = nn.Parameter(torch.randn(channels, channels, modes, modes, dtype=torch.cfloat)), modes

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        spectrum, m = torch.fft.rfft2(x), self.modes
        out = torch.zeros_like(spectrum)
        out[:, :, :m, :m] = torch.einsum("bixy,ioxy->boxy", spectrum[:, :, :m, :m], self.weight)
        return torch.fft.irfft2(out, s=x.shape[-2:])


class ComplexLinear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(8, 8, dtype=torch.cfloat), nn.Linear(8, 4, dtype=torch.cfloat)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.first(x)
        return self.second(torch.complex(F.relu(h.real), F.relu(h.imag)))  # type: ignore[no-any-return]


class StateSpace(nn.Module):
    """A diagonal state space as a long convolution: Gu et al., arXiv:2206.11893 (S4D)."""

    def __init__(self, n: int = 4) -> None:
        super().__init__()
        self.decay, self.tone = nn.Parameter(torch.full((n,), -0.5)), nn.Parameter(torch.arange(float(n)))
        self.c = nn.Parameter(torch.randn(n, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a = torch.complex(-torch.exp(self.decay), self.tone)
        powers = torch.exp(a[:, None] * torch.arange(x.shape[-1]) * 0.1)
        kernel = (
            2 * torch.einsum("n,nl->l", torch.view_as_complex(self.c) * (torch.exp(a * 0.1) - 1.0) / a, powers).real
        )
        n = 2 * x.shape[-1]
        return torch.fft.irfft(torch.fft.rfft(x, n=n) * torch.fft.rfft(kernel, n=n), n=n)[..., : x.shape[-1]]


def rotary(h: torch.Tensor) -> torch.Tensor:
    turns = torch.polar(h.new_ones(8), torch.arange(8, dtype=h.dtype) / 3)
    return torch.view_as_real(torch.view_as_complex(h.reshape(-1, 8, 2)) * turns).flatten(1)


def window(h: torch.Tensor) -> torch.Tensor:
    return torch.hann_window(8, dtype=h.dtype)


def spectrogram(h: torch.Tensor) -> torch.Tensor:
    return torch.stft(h, 8, hop_length=4, window=window(h), return_complex=True)


FUNCTIONS: dict[str, Callable[[torch.Tensor], Any]] = {
    "FNet's mixing": lambda h: torch.fft.fft2(h).real,
    "rotary embedding": rotary,
    "spectrogram": lambda h: spectrogram(h).abs().square(),
    "masked spectrogram": lambda h: torch.istft(
        spectrogram(h) * torch.sigmoid(spectrogram(h).abs()), 8, hop_length=4, window=window(h)
    ),
    "phase": lambda h: torch.fft.rfft(h).angle()[..., 1:-1],
    "correlation": lambda h: torch.fft.irfft(torch.fft.rfft(h).conj() * torch.fft.rfft(h.flip(-1)), n=16),
    "complex output": torch.fft.fft,
    "attention between complex numbers": lambda h: torch.softmax(
        (torch.view_as_complex(h.reshape(-1, 8, 2)) @ torch.view_as_complex(h.reshape(-1, 8, 2)).mH).real, -1
    ),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_right_module_is_judged_whole_and_passes(name: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    report = oracle.check_module(Made(FUNCTIONS[name]).to(dtype), torch.randn(4, 16, dtype=dtype))
    assert report.passed, str(report)  # nothing is unjudged


@pytest.mark.parametrize(
    ("make", "x"),
    [
        (lambda: SpectralConv(3, 4), torch.randn(2, 3, 16, 16)),
        (ComplexLinear, torch.randn(5, 8, dtype=torch.cfloat)),
        (StateSpace, torch.randn(3, 24)),
    ],
)
@pytest.mark.parametrize("kind", ["SGD", "Adam"])
def test_a_training_step_with_complex_parameters_passes(make: Any, x: torch.Tensor, kind: str) -> None:
    """Each of their two parts is updated like a real number."""
    torch.manual_seed(0)
    module = make()
    made = {"SGD": lambda own: torch.optim.SGD(own, 0.1, momentum=0.9), "Adam": torch.optim.Adam}[kind]
    report = oracle.check_module(
        module,
        x,
        loss=lambda y, target: (y - target).abs().square().mean(),
        target=torch.zeros_like(module(x)),
        optimizer=made(module.parameters()),
        steps=2,
    )
    assert report.passed, str(report)


class Product(torch.autograd.Function):
    """A product whose backward lacks a conjugate."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x, y)
        return x * y

    @staticmethod
    def backward(ctx: Any, grad_output: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x, y = ctx.saved_tensors
        return grad_output * y, grad_output * x.conj()


def product(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return x * y


@pytest.mark.parametrize("references", [{}, {Product: product}])
def test_a_missing_conjugate_is_named(references: Any) -> None:
    torch.manual_seed(0)
    module = Made(lambda h: Product.apply(torch.fft.fft(h), torch.fft.fft(h * 2)).abs())  # type: ignore[no-untyped-call]
    found = oracle.check_module(module, torch.randn(4, 16), references=references).table
    wrong = found[found.verdict == "wrong"]
    assert [*zip(wrong.layer, wrong.quantity, strict=True)] == [("Product", "grad_input#0")]


def test_a_transform_that_drops_a_scale_is_wrong() -> None:
    class Inverse(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
            return torch.fft.ifft(x)

        @staticmethod
        def backward(ctx: Any, grad_output: torch.Tensor) -> torch.Tensor:
            return torch.fft.fft(grad_output)

    torch.manual_seed(0)
    module = Made(lambda h: Inverse.apply(torch.fft.fft(h)).real)  # type: ignore[no-untyped-call]
    found = oracle.check_module(module, torch.randn(4, 16)).table
    wrong = found[found.verdict == "wrong"]
    assert list(wrong.quantity) == ["grad_input"]
    assert "16" in wrong.cause.iloc[0]


def test_elements_of_complex_operations_are_not_drawn_as_if_they_were_real() -> None:
    """With effort="sample" a large one is judged whole, or said not to be."""
    torch.manual_seed(0)
    report = oracle.check_module(SpectralConv(8, 16), torch.randn(8, 8, 64, 64), effort="sample")
    assert set(report.table.verdict) <= {"pass", "unjudged"}
    assert "too large to be judged whole" in str(report)
