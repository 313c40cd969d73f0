"""Other products for linear maps: interpolation by matrices, a batch in two halves, the bias as one more input."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from oracle.case.arrays import Array
from oracle.selftest.variants.variant import Variant, of_layer
from oracle.suite.build import layer


def variants() -> Iterator[Variant]:
    def as_product(self: Any, input: Array) -> Any:
        """Bilinear interpolation as two matrix products."""
        n = input.shape[-1]
        matrix = np.zeros((2 * n, n), input.dtype)
        for i in range(2 * n):
            position = max((i + 0.5) / 2 - 0.5, 0.0)
            low = int(position)
            matrix[i, low] += 1 - (position - low)
            matrix[i, min(low + 1, n - 1)] += position - low
        return matrix @ input @ matrix.T, lambda g: matrix.T @ g @ matrix

    yield of_layer(
        "Upsample: two matrix products",
        layer("Upsample", scale_factor=2.0, mode="bilinear"),
        (8, 8, 40, 40),
        as_product,
    )

    def split(self: Any, input: Array) -> Any:
        weight, bias = self.params["weight"], self.params["bias"]
        half = len(input) // 2

        def backward(g: Array) -> Any:
            first, second = g[:half].T @ input[:half], g[half:].T @ input[half:]
            return g @ weight, {"weight": first + second, "bias": g[:half].sum(0) + g[half:].sum(0)}

        return np.concatenate([input[:half] @ weight.T, input[half:] @ weight.T]) + bias, backward

    yield of_layer("linear: batch in two halves", layer("Linear", 96, 640), (512, 96), split)

    def bias_first(self: Any, input: Array) -> Any:
        """The bias is the weight of one more input, which is always 1."""
        weight = np.concatenate([self.params["weight"], self.params["bias"][:, None]], 1)
        x = np.concatenate([input, np.ones((len(input), 1), input.dtype)], 1)

        def backward(g: Array) -> Any:
            grads = g.T @ x
            return (g @ weight)[:, :-1], {"weight": grads[:, :-1], "bias": grads[:, -1]}

        return x @ weight.T, backward

    yield of_layer("linear: bias as one more input", layer("Linear", 96, 640), (512, 96), bias_first)
