"""Programs of NumPy with complex numbers and Fourier transforms: output and gradients are those of torch's own derivative."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import oracle
from oracle.case.arrays import Array
from oracle.programs.table import NoRule


def real(*shape: int) -> Array:
    return np.random.default_rng(sum(shape)).standard_normal(shape)


def cplx(*shape: int) -> Array:
    both = real(*shape, 2)
    return both[..., 0] + 1j * both[..., 1]


def written(x: Any) -> Any:
    """Numbers and parts of numbers, written into a new array in three ways."""
    y = np.zeros(x.shape, x.dtype)
    y[1:] = x[:-1] * 2
    y[0, 1] = x[0, 0].conj()
    y.real[2] = 1.0
    y *= 1j
    return y


def written_by_torch(x: torch.Tensor) -> torch.Tensor:
    y = torch.zeros_like(x)
    y[1:] = x[:-1] * 2
    y[0, 1] = x[0, 0].conj()
    y.real[2] = 1.0
    y *= 1j
    return y


F = torch.fft
PROGRAMS: dict[str, tuple[Callable[..., Any], Callable[..., Any], tuple[Array, ...]]] = {
    "product": (lambda x, y: x * y, lambda x, y: x * y, (cplx(3, 4), cplx(4))),
    "real factor": (lambda x, y: x * y, lambda x, y: x * y, (cplx(3, 4), real(4))),
    "phase": (lambda x: np.exp(1j * x), lambda x: torch.exp(1j * x), (real(5),)),
    "quotient": (lambda x, y: x / y, lambda x, y: x / y, (cplx(3), cplx(3))),
    "modulus": (lambda x: np.abs(x) ** 2, lambda x: x.abs() ** 2, (cplx(4),)),
    "angle": (np.angle, torch.angle, (cplx(4),)),
    "sign": (np.sign, torch.sgn, (cplx(4),)),
    "conjugate": (lambda x: np.conj(x) * x, lambda x: x.conj() * x, (cplx(4),)),
    "parts": (lambda x: x.real * 2 + x.imag**2, lambda x: x.real * 2 + x.imag**2, (cplx(4, 2),)),
    "parts by functions": (lambda x: np.real(x) * np.imag(x), lambda x: x.real * x.imag, (cplx(4, 2),)),
    "part of a number": (lambda x: np.sum(x) * x[0, 0].real, lambda x: x.sum() * x[0, 0].real, (cplx(3, 4),)),
    "powers": (lambda x: x**2 + x**3, lambda x: x**2 + x**3, (cplx(3, 4),)),
    "root": (lambda x: np.sqrt(x) + np.log(x), lambda x: torch.sqrt(x) + torch.log(x), (cplx(3, 4),)),
    "choice": (
        lambda x: np.where(x.real > 0, x, 0),
        lambda x: torch.where(x.real > 0, x, torch.zeros_like(x)),
        (cplx(3, 4),),
    ),
    "sums": (
        lambda x: np.sum(x * x, axis=0) + np.mean(x) + np.cumsum(x, axis=1),
        lambda x: (x * x).sum(0) + x.mean() + x.cumsum(1),
        (cplx(3, 4),),
    ),
    "moved": (
        lambda x: np.concatenate([x[[0, 2, 2]].T, x[:, ::-1].T * 2j]),
        lambda x: torch.cat([x[[0, 2, 2]].T, x.flip(1).T * 2j]),
        (cplx(3, 4),),
    ),
    "written": (written, written_by_torch, (cplx(3, 4),)),
    "norm": (np.linalg.norm, torch.linalg.norm, (cplx(4),)),
    "matrices": (lambda x, y: x @ y, lambda x, y: x @ y, (cplx(2, 3, 4), cplx(4, 5))),
    "matrix and vector": (lambda x, y: x @ y, lambda x, y: x @ y, (cplx(3, 4), cplx(4))),
    "real matrix": (lambda x, y: x @ y, lambda x, y: x @ y.to(x.dtype), (cplx(3, 4), real(4, 2))),
    "dot of conjugate": (np.vdot, torch.vdot, (cplx(4), cplx(4))),
    "outer": (np.outer, torch.outer, (cplx(4), cplx(3))),
    "einsum": (
        lambda x, y: np.einsum("bi,oi->bo", x, y),
        lambda x, y: torch.einsum("bi,oi->bo", x, y),
        (cplx(3, 4), cplx(5, 4)),
    ),
    "trace": (lambda x: np.einsum("ii->", x), lambda x: torch.einsum("ii->", x), (cplx(4, 4),)),
    "fft": (np.fft.fft, F.fft, (cplx(3, 8),)),
    "fft of real numbers": (lambda x: np.fft.fft(x, axis=0), lambda x: F.fft(x, dim=0), (real(6, 2),)),
    "fft with zeros": (
        lambda x: np.fft.fft(x, 10, norm="ortho"),
        lambda x: F.fft(x, 10, norm="ortho"),
        (cplx(3, 8),),
    ),
    "fft cut off": (lambda x: np.fft.fft(x, n=5), lambda x: F.fft(x, 5), (cplx(3, 8),)),
    "ifft": (np.fft.ifft, F.ifft, (cplx(3, 7),)),
    "ifft forward": (lambda x: np.fft.ifft(x, norm="forward"), lambda x: F.ifft(x, norm="forward"), (cplx(3, 8),)),
    "rfft": (np.fft.rfft, F.rfft, (real(3, 8),)),
    "irfft": (np.fft.irfft, F.irfft, (cplx(3, 5),)),
    "irfft of odd size": (lambda x: np.fft.irfft(x, 7), lambda x: F.irfft(x, 7), (cplx(3, 5),)),
    "fft2": (np.fft.fft2, F.fft2, (cplx(2, 4, 6),)),
    "rfft2 and back": (
        lambda x: np.fft.irfft2(np.fft.rfft2(x) ** 2, s=x.shape[-2:]),
        lambda x: F.irfft2(F.rfft2(x) ** 2, s=tuple(x.shape[-2:])),
        (real(2, 4, 5),),
    ),
    "fftn, shifted": (lambda x: np.fft.fftshift(np.fft.fftn(x)), lambda x: F.fftshift(F.fftn(x)), (cplx(3, 4),)),
    "convolution": (
        lambda x, w: np.fft.irfft(np.fft.rfft(x, 16) * np.fft.rfft(w, 16), 16)[..., :8],
        lambda x, w: F.irfft(F.rfft(x, 16) * F.rfft(w, 16), 16)[..., :8],
        (real(3, 8), real(8)),
    ),
}


@pytest.mark.parametrize("single", [False, True], ids=["double", "single"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_has_the_gradients_of_torch(name: str, single: bool) -> None:
    """They are within their tolerances, and a gradient that is wrong by a thousandth is not."""
    program, by_torch, arrays = PROGRAMS[name]
    if single:
        arrays = tuple(own.astype(np.complex64 if own.dtype.kind == "c" else np.float32) for own in arrays)
    expected = oracle.expect(program, *arrays)
    oracle.assert_close(program(*arrays), expected)
    tensors = [torch.tensor(own, requires_grad=True) for own in arrays]
    made = by_torch(*tensors)
    grads = torch.autograd.grad(made, tensors, torch.tensor(expected.grad_output).to(made.dtype))
    oracle.assert_close(made.detach().resolve_conj().numpy(), expected)
    for grad, due in zip(grads, expected.grads, strict=True):
        oracle.assert_close(grad.resolve_conj().numpy(), due)
        with pytest.raises(oracle.Discrepancy):
            oracle.assert_close(grad.resolve_conj().numpy() * 1.001, due)


def test_the_gradient_of_a_complex_number_is_not_conjugated() -> None:
    """It is ∂L/∂a + i ∂L/∂b, as torch has it; JAX and others have its conjugate."""
    x, y = cplx(4), cplx(4)
    expected = oracle.expect(np.multiply, x, y)
    g = expected.grad_output
    oracle.assert_close(g * y.conj(), expected.grads[0])
    with pytest.raises(oracle.Discrepancy):
        oracle.assert_close(g.conj() * y, expected.grads[0])


REFUSED: dict[str, tuple[Callable[..., Any], str]] = {
    "power": (lambda x: x**0.5, "a complex number to the power of 0.5"),
    "powers": (lambda x: x**x, "np.power of complex numbers with an array of exponents"),
    "product of all": (np.prod, "prod of complex numbers"),
    "variance": (np.var, "var of complex numbers"),
    "three factors": (lambda x: np.einsum("i,i,i->i", x, x, x), "np.einsum of more than two complex arrays"),
    "one axis twice": (lambda x: np.fft.fftn(x[None], axes=(0, 0)), "along an axis that is given twice"),
    "hfft": (np.fft.hfft, "np.fft.hfft"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_rule_is_named(name: str) -> None:
    """No gradient is made up for it."""
    program, said = REFUSED[name]
    with pytest.raises(NoRule, match=said.replace(".", r"\.")):
        oracle.expect(program, cplx(3))
