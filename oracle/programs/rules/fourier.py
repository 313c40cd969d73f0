"""Rules of fast Fourier transforms. Real and imaginary parts lie in the last dimension of complex arrays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from oracle.programs.table import NoRule, rule
from oracle.running_error.fourier import in_any_order, transformed

# ATen's numbers for norm="backward", "ortho" and "forward" of the direction that is divided.
NONE, BY_ROOT, BY_N = range(3)


def _scaled(x: Any, sizes: Sequence[int], normalization: int) -> Any:
    n = math.prod(sizes)
    return x if normalization == NONE else x * (1 / (n if normalization == BY_N else math.sqrt(n)))


def _axes(dim: Sequence[int], ndim: int) -> list[int]:
    return [axis % ndim for axis in dim]


@rule("complex::_fft_c2c")
def fft_c2c(self: Any, dim: Any, normalization: int, forward: bool) -> Any:
    """X = Σ x e^(∓2πi jk/n); the same of g, with the other sign."""
    axes = _axes(dim, self.ndim - 1)
    sizes = [self.shape[axis] for axis in axes]

    def made(x: Any, inverse: bool) -> Any:
        return _scaled(in_any_order(x, axes, inverse), sizes, normalization)

    return made(self, not forward), lambda g: (made(g, forward),)


@rule("complex::_fft_r2c")
def fft_r2c(self: Any, dim: Any, normalization: int, onesided: bool) -> Any:
    """X = Σ x e^(-2πi jk/n) of real numbers, up to n/2 if it is one-sided; Re Σ g e^(2πi jk/n)."""
    *others, last = axes = _axes(dim, self.ndim)
    sizes = [self.shape[axis] for axis in axes]
    n = sizes[-1]
    kept = n // 2 + 1 if onesided else n
    made = _part(transformed(_with_no_imaginary_part(self), last), last, 0, kept)

    def backward(g: Any) -> Any:
        whole = _extended(in_any_order(g, others, inverse=True), last, n)
        return (_scaled(transformed(whole, last, inverse=True), sizes, normalization)[..., 0],)

    return _scaled(in_any_order(made, others), sizes, normalization), backward


@rule("complex::_fft_c2r")
def fft_c2r(self: Any, dim: Any, normalization: int, last_dim_size: int) -> Any:
    """x = Re Σ w X e^(2πi jk/n), with w = 1 for the numbers 0 and n/2, and 2 for the others; w Σ g e^(-2πi jk/n)."""
    *others, last = axes = _axes(dim, self.ndim - 1)
    n, kept = last_dim_size, last_dim_size // 2 + 1
    if self.shape[last] != kept:
        raise NoRule(f"there is no rule for _fft_c2r of {self.shape[last]} numbers to {n}")
    sizes = [n if axis == last else self.shape[axis] for axis in axes]
    twice = np.where((np.arange(kept) == 0) | (2 * np.arange(kept) == n), 1.0, 2.0)
    weight = twice.reshape([kept if axis == last else 1 for axis in range(self.ndim)])
    half = in_any_order(self, others, inverse=True) * weight
    made = transformed(_extended(half, last, n), last, inverse=True)[..., 0]

    def backward(g: Any) -> Any:
        spectrum = _part(transformed(_with_no_imaginary_part(g), last), last, 0, kept) * weight
        return (_scaled(in_any_order(spectrum, others), sizes, normalization),)

    return _scaled(made, sizes, normalization), backward


def _with_no_imaginary_part(x: Any) -> Any:
    return np.stack([x, np.zeros_like(x)], axis=-1)


def _part(x: Any, axis: int, first: int, last: int) -> Any:
    return x[(slice(None),) * axis + (slice(first, last),)]


def _extended(x: Any, axis: int, size: int) -> Any:
    """The array with zeros after its numbers along an axis."""
    missing = size - x.shape[axis]
    if not missing:
        return x
    shape = tuple(missing if place == axis else own for place, own in enumerate(x.shape))
    return np.concatenate([x, np.zeros_like(x, shape=shape)], axis=axis)
