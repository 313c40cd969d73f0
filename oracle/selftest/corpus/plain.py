"""Formulas that several of the rebuilt projects share, in plain NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from oracle.case.arrays import Array

Backward = Callable[[Array], Any]


def drawn(*shape: int, seed: int = 0) -> Array:
    """Standard normal data, in place of the reporter's. The same seed gives the same data."""
    values: Array = np.random.default_rng(seed).standard_normal(shape)
    return values


def sigmoid(x: Array) -> Array:
    """The sigmoid, without overflow for large inputs of either sign."""
    e = np.exp(-np.abs(x))
    y: Array = np.where(x >= 0, 1, e) / (1 + e)
    return y


def softmax(x: Array, axis: int = -1) -> Array:
    e = np.exp(x - x.max(axis, keepdims=True))
    y: Array = e / e.sum(axis, keepdims=True)
    return y


def log_softmax(x: Array, axis: int = -1) -> Array:
    z = x - x.max(axis, keepdims=True)
    y: Array = z - np.log(np.exp(z).sum(axis, keepdims=True))
    return y


def all_but(axis: int, ndim: int) -> tuple[int, ...]:
    return tuple(i for i in range(ndim) if i != axis)


def per_channel(v: Array, ndim: int) -> Array:
    """Reshapes a vector so that it broadcasts over dimension 1 of an array with `ndim` dimensions."""
    return v.reshape(1, -1, *(1,) * (ndim - 2))


def normalized(x: Array, axes: tuple[int, ...], eps: float = 1e-5) -> tuple[Array, Array]:
    """x normalised to mean 0 and variance 1 over these axes, and the inverse standard deviation."""
    mean = x.mean(axes, keepdims=True)
    inverse = 1 / np.sqrt(((x - mean) ** 2).mean(axes, keepdims=True) + x.dtype.type(eps))
    return (x - mean) * inverse, inverse


def through_norm(g: Array, x_hat: Array, inverse: Array, axes: tuple[int, ...]) -> Array:
    """The input gradient of `normalized`, for the upstream gradient g of its first result."""
    centred = g - g.mean(axes, keepdims=True) - x_hat * (g * x_hat).mean(axes, keepdims=True)
    result: Array = inverse * centred
    return result


def windows(x: Array, kernel: int, stride: int, axes: tuple[int, ...] = (-2, -1)) -> Array:
    """The sliding windows over these axes, by default (…, H, W) -> (…, OH, OW, kernel, kernel)."""
    step = [slice(None)] * x.ndim
    for axis in axes:
        step[axis % x.ndim] = slice(None, None, stride)
    seen: Array = sliding_window_view(x, (kernel,) * len(axes), axes)[tuple(step)]
    return seen
