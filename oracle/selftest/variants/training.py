"""Other ways to compute the same loss, and the same update."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from oracle.case.arrays import Array
from oracle.case.case import Spec
from oracle.selftest.bugs.losses import softmax
from oracle.selftest.variants.variant import Variant, of_loss, of_rule
from oracle.suite.losses import classes, real, unit

SHAPE = (4000, 40)


def variants() -> Iterator[Variant]:
    yield from of_losses()
    yield from of_updates()


def of_losses() -> Iterator[Variant]:
    def fused(self: Any, x: Array, t: Array) -> Any:
        p = softmax(x)
        value = -np.log(p[np.arange(len(x)), t]).mean()
        hot = (t[:, None] == np.arange(x.shape[1])).astype(x.dtype)
        return value, lambda g: (p - hot) * (g / len(x))

    def log_sum(self: Any, x: Array, t: Array) -> Any:
        size = np.logaddexp.reduce(x, 1)
        value = (size - x[np.arange(len(x)), t]).sum() / len(x)
        hot = (t[:, None] == np.arange(x.shape[1])).astype(x.dtype)
        return value, lambda g: (np.exp(x - size[:, None]) - hot) / len(x) * g

    yield of_loss("CrossEntropyLoss: softmax minus one-hot", Spec("CrossEntropyLoss"), SHAPE, classes, fused)
    yield of_loss("CrossEntropyLoss: by logaddexp", Spec("CrossEntropyLoss"), SHAPE, classes, log_sum)

    def squares(self: Any, x: Array, t: Array) -> Any:
        d = (x - t).ravel()
        return (d @ d) / d.size, lambda g: (x - t) * x.dtype.type(2 / x.size) * g

    def expanded(self: Any, x: Array, t: Array) -> Any:
        d = x - t
        return np.square(d).mean(1).mean(), lambda g: (d + d) / x.size * g

    yield of_loss("MSELoss: a dot product", Spec("MSELoss"), SHAPE, real, squares)
    yield of_loss("MSELoss: a mean of means", Spec("MSELoss"), SHAPE, real, expanded)

    def stable(self: Any, x: Array, t: Array) -> Any:
        value = (np.maximum(x, 0) - x * t + np.log1p(np.exp(-np.abs(x)))).mean()
        return value, lambda g: (1 / (1 + np.exp(-x)) - t) / x.size * g

    def by_logaddexp(self: Any, x: Array, t: Array) -> Any:
        value = ((1 - t) * x + np.logaddexp(x.dtype.type(0), -x)).mean()
        return value, lambda g: (0.5 * (1 + np.tanh(x / 2)) - t) * (g / x.size)

    yield of_loss("BCEWithLogitsLoss: maximum and log1p", Spec("BCEWithLogitsLoss"), SHAPE, unit, stable)
    yield of_loss("BCEWithLogitsLoss: by logaddexp", Spec("BCEWithLogitsLoss"), SHAPE, unit, by_logaddexp)

    def branchless(self: Any, x: Array, t: Array) -> Any:
        d = x - t
        q = np.minimum(np.abs(d), 1)
        return (0.5 * q * q + (np.abs(d) - q)).mean(), lambda g: np.clip(d, -1, 1) / x.size * g

    yield of_loss("HuberLoss: without branches", Spec("HuberLoss"), SHAPE, real, branchless)
    yield of_loss("SmoothL1Loss: without branches", Spec("SmoothL1Loss"), SHAPE, real, branchless)


def of_updates() -> Iterator[Variant]:
    def decay_apart(
        p: Array, g: Array, v: Any = None, *, lr: float, momentum: float, weight_decay: float, **_: Any
    ) -> Any:
        v = g + weight_decay * p if v is None else (momentum * v + weight_decay * p) + g
        return p + (-lr) * v, v

    def nesterov(p: Array, g: Array, v: Any = None, *, lr: float, momentum: float, **_: Any) -> Any:
        v = g.copy() if v is None else momentum * v + g
        return (p - lr * g) - (lr * momentum) * v, v

    def plain(p: Array, g: Array, v: Any = None, *, lr: float, weight_decay: float, **_: Any) -> Any:
        return p * (1 - lr * weight_decay) - lr * g, None

    yield of_rule(
        "SGD: decay added to the buffer first", "SGD", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1}, decay_apart
    )
    yield of_rule("SGD: nesterov in two steps", "SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}, nesterov)
    yield of_rule("SGD: decay as shrinking", "SGD", {"lr": 0.1, "weight_decay": 0.1}, plain)

    def textbook(
        p: Array,
        g: Array,
        step: Any = None,
        m: Any = None,
        v: Any = None,
        largest: Any = None,
        *,
        lr: float,
        betas: Any,
        eps: float,
        **_: Any,
    ) -> Any:
        t, (b1, b2) = int(step or 0) + 1, betas
        m = (1 - b1) * g if m is None else b1 * m + (1 - b1) * g
        v = (1 - b2) * g * g if v is None else v + (1 - b2) * (g * g - v)
        return p - lr * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + eps), t, m, v, None

    yield of_rule("Adam: as in the textbook", "Adam", {"lr": 0.1}, textbook)

    def mean_square(
        p: Array, g: Array, step: Any = None, s: Any = None, *_: Any, lr: float, alpha: float, eps: float, **__: Any
    ) -> Any:
        s = (1 - alpha) * np.square(g) if s is None else s + (1 - alpha) * (np.square(g) - s)
        return p - (lr * g) / (np.sqrt(s) + eps), int(step or 0) + 1, s, None, None

    def adagrad(p: Array, g: Array, step: Any = None, s: Any = None, *, lr: float, eps: float, **_: Any) -> Any:
        s = np.square(g) if s is None else s + np.square(g)
        return p - lr * (g / (np.sqrt(s) + eps)), int(step or 0) + 1, s

    yield of_rule("RMSprop: by differences", "RMSprop", {"lr": 0.1}, mean_square)
    yield of_rule("Adagrad: quotient first", "Adagrad", {"lr": 0.1}, adagrad)
