"""Other ways to compute a normalisation: other formulas for its statistics and its gradient."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from oracle.case.arrays import Array
from oracle.selftest.variants.variant import PLANE, Op, Variant, of_layer
from oracle.suite.build import layer


def variants() -> Iterator[Variant]:
    yield from of_ranks()
    image, spec = (8, 16, 48, 48), layer("BatchNorm2d", 16)
    for name, moments in (("one pass", one_pass), ("Welford", welford), ("wider statistics", wide_moments)):
        yield of_layer(f"batch norm: {name}", spec, image, normalised(moments, (0, 2, 3)))
    yield of_layer("batch norm: scale and shift folded", spec, image, normalised(two_pass, (0, 2, 3), folded=True))
    yield of_layer(
        "batch norm: gradient times N, divided at the end", spec, image, normalised(two_pass, (0, 2, 3), late=True)
    )
    for name, moments in (("one pass", one_pass), ("Welford", welford), ("wider statistics", wide_moments)):
        yield of_layer(f"layer norm: {name}", layer("LayerNorm", 640), PLANE, normalised(moments, (1,)))
    yield of_layer(
        "layer norm: gradient times N, divided at the end",
        layer("LayerNorm", 640),
        PLANE,
        normalised(two_pass, (1,), late=True),
    )
    yield of_layer(
        "layer norm: scale and shift folded", layer("LayerNorm", 640), PLANE, normalised(two_pass, (1,), folded=True)
    )


def of_ranks() -> Iterator[Variant]:
    """Instance norm without weight and bias in one to three dimensions, and batch norm of rows and volumes."""

    def instance(late: bool) -> Op:
        def op(self: Any, input: Array) -> Any:
            axes = tuple(range(2, input.ndim))
            mean, variance = two_pass(input, axes)
            deviation = np.sqrt(variance + input.dtype.type(self.eps))
            x_hat, count = (input - mean) / deviation, input[0, 0].size

            def backward(g: Array) -> Array:
                if late:
                    total = g.sum(axes, keepdims=True) + x_hat * (g * x_hat).sum(axes, keepdims=True)
                    return np.asarray((count * g - total) / (count * deviation))
                rest = g.mean(axes, keepdims=True) + x_hat * (g * x_hat).mean(axes, keepdims=True)
                return np.asarray((g - rest) / deviation)

            return x_hat, backward

        return op

    for rank, sides in enumerate(((40,), (9, 11), (5, 4, 6)), 1):
        spec, shape = layer(f"InstanceNorm{rank}d", 5), (4, 5, *sides)
        yield of_layer(f"instance norm: divided by the deviation, rank {rank}", spec, shape, instance(False))
        yield of_layer(f"instance norm: gradient times N, rank {rank}", spec, shape, instance(True))
    rows, volumes = layer("BatchNorm1d", 6), layer("BatchNorm3d", 3)
    yield of_layer("batch norm: Welford, rows", rows, (60, 6), normalised(welford, (0,)))
    yield of_layer("batch norm: folded, rows", rows, (60, 6), normalised(two_pass, (0,), folded=True))
    yield of_layer("batch norm: Welford, volumes", volumes, (4, 3, 5, 4, 6), normalised(welford, (0, 2, 3, 4)))
    yield of_layer("batch norm: late, volumes", volumes, (4, 3, 5, 4, 6), normalised(two_pass, (0, 2, 3, 4), late=True))


def two_pass(x: Array, axes: tuple[int, ...]) -> tuple[Array, Array]:
    mean = x.mean(axes, keepdims=True)
    return mean, np.square(x - mean).mean(axes, keepdims=True)


def one_pass(x: Array, axes: tuple[int, ...]) -> tuple[Array, Array]:
    mean = x.mean(axes, keepdims=True)
    return mean, np.square(x).mean(axes, keepdims=True) - np.square(mean)


def wide_moments(x: Array, axes: tuple[int, ...]) -> tuple[Array, Array]:
    wide = np.longdouble if x.dtype == np.float64 else np.float64
    mean, variance = two_pass(x.astype(wide), axes)
    return mean.astype(x.dtype), variance.astype(x.dtype)


def welford(x: Array, axes: tuple[int, ...]) -> tuple[Array, Array]:
    """Welford's algorithm along the first of `axes`, element by element; the other axes are merged afterwards."""
    slices = np.moveaxis(x, axes[0], 0)
    mean, square, count = np.zeros_like(slices[0]), np.zeros_like(slices[0]), 0
    for own in slices:
        count += 1
        delta = own - mean
        mean = mean + delta / count
        square = square + delta * (own - mean)
    mean, square = np.expand_dims(mean, axes[0]), np.expand_dims(square, axes[0])
    total = mean.mean(axes, keepdims=True)
    variance = (square / count + np.square(mean - total)).mean(axes, keepdims=True)
    return total, variance


def normalised(moments: Any, axes: tuple[int, ...], folded: bool = False, late: bool = False) -> Op:
    """Batch or layer normalisation with these moments.

    folded: whether weight and bias become one scale and one shift.
    late: whether the gradient is divided by N at the end.
    """

    def op(self: Any, input: Array) -> Any:
        over_batch = axes[0] == 0
        shape = (1, -1, *(1,) * (input.ndim - 2)) if over_batch else (1, -1)
        others = axes if over_batch else tuple(range(input.ndim - 1))
        weight, bias = self.params["weight"].reshape(shape), self.params["bias"].reshape(shape)
        mean, variance = moments(input, axes)
        s = 1 / np.sqrt(variance + input.dtype.type(self.eps))
        x_hat = (input - mean) * s
        y = input * (weight * s) + (bias - mean * weight * s) if folded else weight * x_hat + bias
        count = input.size // mean.size
        if over_batch and self.training and self.track_running_stats:
            own = self.buffers
            for name, new in (("running_mean", mean), ("running_var", variance * (count / (count - 1)))):
                own[name] = (1 - self.momentum) * own[name] + self.momentum * new.reshape(-1).astype(input.dtype)
            own["num_batches_tracked"] = own["num_batches_tracked"] + 1

        def backward(g: Array) -> Any:
            grads = {"weight": (g * x_hat).sum(others), "bias": g.sum(others)}
            h = g * weight
            if late:
                first = (
                    (count * h - h.sum(axes, keepdims=True) - x_hat * (h * x_hat).sum(axes, keepdims=True)) * s / count
                )
            else:
                first = s * (h - h.mean(axes, keepdims=True) - x_hat * (h * x_hat).mean(axes, keepdims=True))
            return first, grads

        return y, backward

    return op
