"""Rules of distances between vectors, and of their cross product."""

from __future__ import annotations

from typing import Any

import numpy as np

from oracle.programs.adjoint import matrix_t, plain, summed_to
from oracle.programs.geometry import mapped
from oracle.programs.rules.reductions import vector_norm
from oracle.programs.table import rule
from oracle.running_error import ErrorArray
from oracle.running_error.model import Twofold
from oracle.running_error.stores import with_more


@rule("_cdist_forward")
def cdist(x1: Any, x2: Any, p: float, compute_mode: int | None = None) -> Any:
    """‖x - y‖ of each row x and each row y; g times the norm's derivative, summed over the rows of the other."""
    difference = np.expand_dims(x1, -2) - np.expand_dims(x2, -3)  # (…, P, R, M)
    y, back = vector_norm(difference, p if difference.shape[-1] else 2.0, -1)  # a norm of nothing is 0

    def backward(g: Any) -> Any:
        (grad,) = back(g)
        return summed_to(np.sum(grad, axis=-2), x1), summed_to(-np.sum(grad, axis=-3), x2)

    return y, backward


@rule("_euclidean_dist")
def euclidean_dist(x1: Any, x2: Any) -> Any:
    """√(|x|² + |y|² - 2 x y) of each row x and each row y; with r = g / the distance, 0 where it is 0: x Σ r - r Y, and
    y Σ r - rᵀ X."""
    squares = [np.sum(np.square(own), axis=-1, keepdims=True) for own in (x1, x2)]
    y = np.sqrt(np.maximum((x1 * -2.0) @ matrix_t(x2) + squares[0] + matrix_t(squares[1]), 0.0))

    def backward(g: Any) -> Any:
        ratio = _ratio(g, y)
        grad_x1 = x1 * np.sum(ratio, axis=-1, keepdims=True) - ratio @ x2
        grad_x2 = x2 * matrix_t(np.sum(ratio, axis=-2, keepdims=True)) - matrix_t(ratio) @ x1
        return summed_to(grad_x1, x1), summed_to(grad_x2, x2)

    return y, backward


def _ratio(g: Any, y: Any) -> Any:
    """g / y, 0 where y is 0; of an unknown size where rounding leaves open whether it is."""
    is_zero = plain(y) == 0
    ratio = np.where(is_zero, 0.0, g / np.where(is_zero, 1.0, y))
    if not isinstance(ratio, ErrorArray):
        return ratio
    unknown = np.where(is_zero & (y.sigma > 0), np.inf, 0.0)
    return with_more(ratio, Twofold(unknown, unknown.copy() if ratio.model.bounds else None))


@rule("_pdist_forward")
def pdist(input: Any, p: float = 2.0) -> Any:
    """‖x - y‖ of each two rows; g times the norm's derivative added to both."""
    first, second = np.triu_indices(input.shape[0], 1)
    difference = mapped(input, lambda own: own[first]) - mapped(input, lambda own: own[second])
    y, back = vector_norm(difference, p, -1)

    def backward(g: Any) -> Any:
        (grad,) = back(g)
        whole = np.zeros_like(input)
        np.add.at(whole, (first,), grad)
        np.add.at(whole, (second,), -grad)
        return (whole,)

    return y, backward


def _crossed(a: Any, b: Any, axis: int) -> Any:
    def turned(x: Any, by: int) -> Any:
        return mapped(x, lambda own: np.roll(own, by, axis))

    return turned(a, -1) * turned(b, -2) - turned(a, -2) * turned(b, -1)


@rule("linalg_cross")
def cross(input: Any, other: Any, dim: int = -1) -> Any:
    """x × y; y × g, and g × x."""
    shape = np.broadcast_shapes(input.shape, other.shape)
    a, b = (mapped(own, lambda part: np.broadcast_to(part, shape)) for own in (input, other))
    axis = dim % len(shape)
    return _crossed(a, b, axis), lambda g: (
        summed_to(_crossed(b, g, axis), input),
        summed_to(_crossed(g, a, axis), other),
    )
