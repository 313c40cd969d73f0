"""Other ways to pool: how the maximum is found, and when the average is divided."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from oracle.case.arrays import Array
from oracle.selftest.variants.variant import Variant, of_layer
from oracle.suite.build import layer


def variants() -> Iterator[Variant]:
    shape = (8, 12, 64, 64)

    def blocks(x: Array) -> Array:
        n, c, h, w = x.shape
        return np.moveaxis(x.reshape(n, c, h // 2, 2, w // 2, 2), 3, 4).reshape(n, c, h // 2, w // 2, 4)

    def joined(x: Array) -> Array:
        n, c, h, w, _ = x.shape
        return np.moveaxis(x.reshape(n, c, h, w, 2, 2), 4, 3).reshape(n, c, 2 * h, 2 * w)

    def by_index(self: Any, input: Array) -> Any:
        view = blocks(input)
        winner = view.argmax(-1)[..., None]

        def backward(g: Array) -> Array:
            result = np.zeros_like(view)
            np.put_along_axis(result, winner, g[..., None], -1)
            return joined(result)

        return np.take_along_axis(view, winner, -1)[..., 0], backward

    def by_comparison(self: Any, input: Array) -> Any:
        view = blocks(input)
        y = view.max(-1)
        return y, lambda g: joined(np.where(view == y[..., None], g[..., None], 0))

    def reciprocal(self: Any, input: Array) -> Any:
        third = input.dtype.type(1 / 9)
        n, c, h, w = input.shape
        view = input.reshape(n, c, h // 3, 3, w // 3, 3)
        return view.sum((3, 5)) * third, lambda g: np.repeat(np.repeat(g * third, 3, 2), 3, 3)

    def running(self: Any, input: Array) -> Any:
        n, c, h, w = input.shape
        view = input.reshape(n, c, h // 3, 3, w // 3, 3) / input.dtype.type(9)
        total = np.zeros_like(view[:, :, :, 0, :, 0])
        for i, j in np.ndindex(3, 3):
            total = total + view[:, :, :, i, :, j]
        return total, lambda g: np.repeat(np.repeat(g / 9, 3, 2), 3, 3)

    yield of_layer("max pool: winners by index", layer("MaxPool2d", 2), shape, by_index)
    yield of_layer("max pool: winners by comparison", layer("MaxPool2d", 2), shape, by_comparison)
    yield of_layer("avg pool: a product with the reciprocal", layer("AvgPool2d", 3), (8, 12, 63, 63), reciprocal)
    yield of_layer("avg pool: divided before adding", layer("AvgPool2d", 3), (8, 12, 63, 63), running)
