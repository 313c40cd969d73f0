"""Other ways to compute the same loss and its gradient."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from oracle.case.arrays import Array
from oracle.case.case import Spec
from oracle.selftest.variants.variant import Variant, of_loss
from oracle.suite.losses import classes, counts, real, sign, target_and_variance

SHAPE = (500, 40)


def variants() -> Iterator[Variant]:
    def absolute(self: Any, x: Array, t: Array) -> Any:
        d = x - t
        return np.maximum(d, -d).sum() / d.size, lambda g: ((d > 0).astype(x.dtype) - (d < 0)) * (g / d.size)

    def by_masks(self: Any, x: Array, t: Array) -> Any:
        d = x - t
        near = np.abs(d) < 1
        return (
            near * (0.5 * d * d) + ~near * (np.abs(d) - 0.5)
        ).mean(), lambda g: np.where(near, d, np.sign(d)) / d.size * g

    def by_one_hot(self: Any, x: Array, t: Array) -> Any:
        hot = (t[:, None] == np.arange(x.shape[1])).astype(x.dtype)
        return -(x * hot).sum() / len(x), lambda g: hot * (-g / len(x))

    def log_softmax_first(self: Any, x: Array, t: Array) -> Any:
        shifted = x - x.max(1, keepdims=True)
        logs = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
        hot = (t[:, None] == np.arange(x.shape[1])).astype(x.dtype)
        return -logs[np.arange(len(x)), t].mean(), lambda g: (np.exp(logs) - hot) / len(x) * g

    def margin(self: Any, x: Array, t: Array) -> Any:
        return np.logaddexp(x.dtype.type(0), -t * x).mean(), lambda g: -t / (1 + np.exp(t * x)) * (g / x.size)

    def expected_count(self: Any, x: Array, t: Array) -> Any:
        return np.exp(x).mean() - (t * x).mean(), lambda g: (np.exp(x) - t) * (g / x.size)

    def by_deviation(self: Any, x: Array, t: Array, variance: Array) -> Any:
        d = (x - t) / np.sqrt(variance)
        return 0.5 * (np.log(variance) + d * d).mean(), lambda g: d / np.sqrt(variance) * (g / x.size)

    def hinge(self: Any, x: Array, t: Array) -> Any:
        value = np.where(t > 0, x, np.maximum(1 - x, 0)).mean()
        return value, lambda g: ((t > 0).astype(x.dtype) - ((t < 0) & (x < 1))) * (g / x.size)

    def contracted(self: Any, x: Array, t: Array) -> Any:
        d = x - t
        return np.einsum("ij,ij->", d, d) / d.size, lambda g: d * (2 * g / d.size)

    yield of_loss("L1Loss: a maximum", Spec("L1Loss"), SHAPE, real, absolute)
    yield of_loss("SmoothL1Loss: by masks", Spec("SmoothL1Loss"), SHAPE, real, by_masks)
    yield of_loss("HuberLoss: by masks", Spec("HuberLoss"), SHAPE, real, by_masks)
    yield of_loss("NLLLoss: by one-hot", Spec("NLLLoss"), SHAPE, classes, by_one_hot)
    yield of_loss("CrossEntropyLoss: log-softmax first", Spec("CrossEntropyLoss"), SHAPE, classes, log_softmax_first)
    yield of_loss("SoftMarginLoss: by logaddexp", Spec("SoftMarginLoss"), SHAPE, sign, margin)
    yield of_loss("PoissonNLLLoss: two means", Spec("PoissonNLLLoss"), SHAPE, counts, expected_count)
    yield of_loss(
        "GaussianNLLLoss: by the deviation", Spec("GaussianNLLLoss"), SHAPE, target_and_variance, by_deviation
    )
    yield of_loss("HingeEmbeddingLoss: by masks", Spec("HingeEmbeddingLoss"), SHAPE, sign, hinge)
    yield of_loss("MSELoss: contracted", Spec("MSELoss"), SHAPE, real, contracted)
