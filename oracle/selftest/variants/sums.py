"""The same sums in other orders: the products in fully connected and convolution layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from oracle.case.arrays import Array
from oracle.selftest.changes import rows
from oracle.selftest.variants.variant import Variant, of_layer
from oracle.suite.build import layer
from refbp.columns import Columns, Geometry
from refbp.windows import window_counts

Dot = Callable[[Array, Array], Array]


def wider(dtype: Any) -> Any:
    return np.longdouble if dtype == np.float64 else np.float64


def in_order(order: Callable[[int], Any]) -> Dot:
    """Adds one term after the other, in this order."""

    def dot(a: Array, b: Array) -> Array:
        total = np.zeros((a.shape[0], b.shape[1]), a.dtype)
        for k in order(a.shape[1]):
            total += a[:, k, None] * b[k]
        return total

    return dot


def shuffled(count: int) -> Array:
    return np.random.default_rng(count).permutation(count)


def fused(a: Array, b: Array) -> Array:
    """Fused multiply-add: each product is added in a wider format, and the sum is rounded to the data's."""
    wide = wider(a.dtype)
    total = np.zeros((a.shape[0], b.shape[1]), a.dtype)
    wide_a, wide_b = a.astype(wide), b.astype(wide)
    for k in range(a.shape[1]):
        total = (total + wide_a[:, k, None] * wide_b[k]).astype(a.dtype)
    return total


def compensated(a: Array, b: Array) -> Array:
    """Kahan's compensated summation."""
    total = np.zeros((a.shape[0], b.shape[1]), a.dtype)
    lost = np.zeros_like(total)
    for k in range(a.shape[1]):
        term = a[:, k, None] * b[k] - lost
        new = total + term
        lost = (new - total) - term
        total = new
    return total


def pairwise(a: Array, b: Array) -> Array:
    if a.shape[1] <= 2:
        return in_order(range)(a, b)
    half = a.shape[1] // 2
    return pairwise(a[:, :half], b[:half]) + pairwise(a[:, half:], b[half:])


def blocked(size: int) -> Dot:
    def dot(a: Array, b: Array) -> Array:
        parts = [a[:, k : k + size] @ b[k : k + size] for k in range(0, a.shape[1], size)]
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total

    return dot


def wide_inside(a: Array, b: Array) -> Array:
    wide = wider(a.dtype)
    return np.asarray(a.astype(wide) @ b.astype(wide)).astype(a.dtype)


def interleaved(a: Array, b: Array) -> Array:
    """Keeps eight partial sums, as vector units do, and adds them in pairs at the end."""
    lanes = [in_order(lambda n, lane=lane: range(lane, n, 8))(a, b) for lane in range(8)]  # type: ignore[misc]
    while len(lanes) > 1:
        lanes = [first + second for first, second in zip(lanes[::2], lanes[1::2], strict=True)]
    return lanes[0]


def transposed(a: Array, b: Array) -> Array:
    return np.asarray(np.ascontiguousarray(b.T) @ np.ascontiguousarray(a.T))


DOTS: dict[str, Dot] = {
    "plain loop": in_order(range),
    "reversed loop": in_order(lambda n: range(n - 1, -1, -1)),
    "shuffled loop": in_order(shuffled),
    "pairwise": pairwise,
    "blocks of 16": blocked(16),
    "blocks of 5": blocked(5),
    "eight lanes": interleaved,
    "fused multiply-add": fused,
    "compensated": compensated,
    "wider inside": wide_inside,
    "einsum": lambda a, b: np.einsum("mk,kn->mn", a, b),
    "transposed product": lambda a, b: transposed(a, b).T,
}


def linear(dot: Dot) -> Any:
    def op(self: Any, input: Array) -> Any:
        weight, bias = self.params["weight"], self.params["bias"]
        x = rows(input)

        def backward(g: Array) -> Any:
            ones = np.ones((1, len(g)), g.dtype)
            return dot(g, weight), {"weight": dot(g.T, x), "bias": dot(ones, g)[0]}

        return dot(x, weight.T) + bias, backward

    return op


def convolution(dot: Dot) -> Any:
    """A convolution as one matrix product of the unfolded input."""

    def op(self: Any, input: Array) -> Any:
        weight, bias = self.params["weight"], self.params["bias"]
        g = Geometry(weight.shape[2:], (1, 1), (1, 1), 1)
        columns = Columns(len(input), window_counts(input.shape[2:], *g[:3]), weight, g)
        whole = slice(0, columns.counts[0])
        columns.parts = [whole]
        (patches,) = columns.of(columns.view(input), whole)  # (C*K, P*N)
        kernel = weight.reshape(len(weight), -1)
        z = columns.from_rows(input, len(weight), lambda _: (dot(patches.T, kernel.T) + bias).T)

        def backward(grad_output: Array) -> Any:
            (rows,) = columns.rows(grad_output, whole)  # (F, P*N)
            ones = np.ones((1, rows.shape[1]), rows.dtype)
            size = input.shape[2:]
            grad_input = columns.added_up(grad_output, input.shape[1], size, lambda _: dot(rows.T, kernel).T)
            return grad_input, {
                "weight": dot(np.ascontiguousarray(rows), patches.T).reshape(weight.shape),
                "bias": dot(ones, rows.T)[0],
            }

        return z, backward

    return op


def variants() -> Iterator[Variant]:
    for name, dot in DOTS.items():
        yield of_layer(f"linear: {name}", layer("Linear", 96, 640), (512, 96), linear(dot))
        yield of_layer(f"conv: unfolded, {name}", layer("Conv2d", 6, 24, 3), (4, 6, 42, 42), convolution(dot))
