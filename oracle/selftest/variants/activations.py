"""Other formulas for activations and their derivatives."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.special import erfc

from oracle.case.arrays import Array
from oracle.selftest.variants.variant import PLANE, Op, Variant, of_layer
from oracle.suite.build import layer


def variants() -> Iterator[Variant]:
    yield from of_activations()
    yield from of_others()
    yield from of_softmax()


def elementwise(f: Any, derivative: Any) -> Op:
    def op(self: Any, input: Array) -> Any:
        y = f(input)
        return y, lambda g: g * derivative(input, y)

    return op


def sigma(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


def of_activations() -> Iterator[Variant]:
    def activation(name: str, type: str, f: Any, derivative: Any, **options: Any) -> Variant:
        return of_layer(f"{type}: {name}", layer(type, **options), PLANE, elementwise(f, derivative))

    yield activation("one formula for both signs", "Sigmoid", sigma, lambda x, y: y - y * y)
    yield activation(
        "by the hyperbolic tangent", "Sigmoid", lambda x: 0.5 * (1 + np.tanh(x / 2)), lambda x, y: y * (1 - y)
    )
    yield activation(
        "derivative from exponentials", "Sigmoid", sigma, lambda x, y: np.exp(-x) / np.square(1 + np.exp(-x))
    )
    yield activation("derivative (1 - y)(1 + y)", "Tanh", np.tanh, lambda x, y: (1 - y) * (1 + y))
    yield activation(
        "slope by the hyperbolic cosine",
        "Tanhshrink",
        lambda x: x - np.tanh(x),
        lambda x, y: 1 - 1 / np.square(np.cosh(x)),
    )
    yield activation("a quotient", "SiLU", lambda x: x / (1 + np.exp(-x)), lambda x, y: sigma(x) + y * (1 - sigma(x)))
    yield activation(
        "by the complementary error function",
        "GELU",
        lambda x: 0.5 * x * erfc(-x * np.sqrt(0.5).astype(x.dtype)),
        gelu_slope,
    )
    yield activation("by the sigmoid", "GELU", gelu_tanh, gelu_tanh_slope, approximate="tanh")
    yield activation("by logaddexp", "Softplus", lambda x: np.logaddexp(x, x.dtype.type(0)), lambda x, y: sigma(x))
    yield activation(
        "slope from the output",
        "Softplus",
        lambda x: np.logaddexp(x, x.dtype.type(0)),
        lambda x, y: np.exp(x - y),
    )
    yield activation(
        "slope from the output", "LogSigmoid", lambda x: -np.logaddexp(x.dtype.type(0), -x), lambda x, y: np.exp(y - x)
    )
    yield activation("rational", "Mish", lambda x: x * ratio(x), mish_slope)
    yield activation("a product with a mask", "ReLU", lambda x: x * (x > 0), lambda x, y: (x > 0).astype(x.dtype))
    yield activation("half of x + |x|", "ReLU", lambda x: (x + np.abs(x)) / 2, lambda x, y: (y > 0).astype(x.dtype))
    yield activation(
        "a maximum",
        "LeakyReLU",
        lambda x: np.maximum(x, x * 0.01),
        lambda x, y: np.where(x > 0, x.dtype.type(1), x.dtype.type(0.01)),
    )
    yield activation("clipped", "Hardtanh", lambda x: np.clip(x, -1, 1), lambda x, y: (np.abs(x) < 1).astype(x.dtype))
    yield activation(
        "by the sign", "Softsign", lambda x: x / (1 + np.abs(x)), lambda x, y: 1 / np.square(1 + np.abs(x))
    )
    yield activation(
        "through softplus", "LogSigmoid", lambda x: -np.logaddexp(x.dtype.type(0), -x), lambda x, y: sigma(-x)
    )
    yield activation(
        "two minimums", "Hardswish", lambda x: x * np.minimum(np.maximum(x + 3, 0), 6) / 6, hardswish_slope
    )


def of_others() -> Iterator[Variant]:
    def activation(name: str, type: str, f: Any, derivative: Any, **options: Any) -> Variant:
        return of_layer(f"{type}: {name}", layer(type, **options), SMALL, elementwise(f, derivative))

    def mask(condition: Array, x: Array) -> Array:
        return condition.astype(x.dtype)

    yield activation(
        "clipped", "Hardsigmoid", lambda x: np.clip(x + 3, 0, 6) / 6, lambda x, y: mask(np.abs(x) < 3, x) / 6
    )
    yield activation(
        "a minimum of a maximum",
        "ReLU6",
        lambda x: np.minimum(np.maximum(x, 0), 6),
        lambda x, y: mask((x > 0) & (x < 6), x),
    )
    yield activation(
        "a product with a mask", "Hardshrink", lambda x: x * (np.abs(x) > 0.5), lambda x, y: mask(np.abs(x) > 0.5, x)
    )
    yield activation(
        "by the sign",
        "Softshrink",
        lambda x: np.sign(x) * np.maximum(np.abs(x) - x.dtype.type(0.5), 0),
        lambda x, y: mask(np.abs(x) > 0.5, x),
    )
    yield activation(
        "derivative factored", "SiLU", lambda x: x * sigma(x), lambda x, y: sigma(x) * (1 + x * (1 - sigma(x)))
    )
    yield activation(
        "by log1p", "LogSigmoid", lambda x: np.minimum(x, 0) - np.log1p(np.exp(-np.abs(x))), lambda x, y: sigma(-x)
    )
    yield activation(
        "by log1p", "Softplus", lambda x: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))), lambda x, y: sigma(x)
    )
    yield activation("two branches", "Sigmoid", branched, lambda x, y: branched(x) * branched(-x))
    yield activation(
        "a sum of two parts",
        "SELU",
        lambda x: SCALE * np.maximum(x, 0) + np.minimum(SCALE * ALPHA * np.expm1(np.minimum(x, 0)), 0),
        lambda x, y: np.where(x > 0, SCALE, SCALE * ALPHA * np.exp(np.minimum(x, 0))),
    )
    yield activation("through softplus", "Mish", lambda x: x * np.tanh(np.log1p(np.exp(x))), mish_slope)
    yield activation(
        "a sum of two parts",
        "ELU",
        lambda x: np.maximum(x, 0) + np.expm1(np.minimum(x, 0)),
        lambda x, y: np.exp(np.minimum(x, 0)),
    )

    def gated(self: Any, input: Array) -> Any:
        value, gate = np.split(input, 2, 1)
        s = sigma(gate)
        return value * s, lambda g: np.concatenate((g * s, g * value * s * (1 - s)), 1)

    def two_parts(self: Any, input: Array) -> Any:
        (w,) = self.params["weight"]

        def backward(g: Array) -> Any:
            return g * np.where(input > 0, 1, w), {"weight": (g * np.minimum(input, 0)).sum().reshape(1)}

        return np.maximum(input, 0) + w * np.minimum(input, 0), backward

    def of_negative(self: Any, input: Array) -> Any:
        e = np.exp(input.min(1, keepdims=True) - input)
        y = e / e.sum(1, keepdims=True)
        return y, lambda g: y * ((g * y).sum(1, keepdims=True) - g)

    yield of_layer("GLU: in halves", layer("GLU", 1), SMALL, gated)
    yield of_layer("PReLU: a sum of two parts", layer("PReLU"), SMALL, two_parts)
    yield of_layer("Softmin: shifted by the minimum", layer("Softmin", 1), SMALL, of_negative)


SMALL = (64, 80)
SCALE, ALPHA = 1.0507009873554805, 1.6732632423543772


def branched(x: Array) -> Array:
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + e), e / (1 + e))


def gelu_slope(x: Array, y: Array) -> Array:
    half = np.sqrt(0.5).astype(x.dtype)
    return np.asarray(0.5 * erfc(-x * half) + x * np.exp(-0.5 * x * x) * (half / np.sqrt(np.pi).astype(x.dtype)))


def gelu_argument(x: Array) -> Array:
    return np.asarray(np.sqrt(2 / np.pi).astype(x.dtype) * x * (1 + 0.044715 * x * x))


def gelu_tanh(x: Array) -> Array:
    return np.asarray(x * sigma(2 * gelu_argument(x)))


def gelu_tanh_slope(x: Array, y: Array) -> Array:
    s = sigma(2 * gelu_argument(x))
    inner = np.sqrt(2 / np.pi).astype(x.dtype) * (1 + 3 * 0.044715 * x * x)
    return np.asarray(s + 2 * x * s * (1 - s) * inner)


def ratio(x: Array) -> Array:
    n = np.exp(x)
    return np.asarray((n * n + 2 * n) / (n * n + 2 * n + 2))


def mish_slope(x: Array, y: Array) -> Array:
    t = ratio(x)
    return np.asarray(t + x * (1 - t) * (1 + t) * sigma(x))


def hardswish_slope(x: Array, y: Array) -> Array:
    return np.where(x <= -3, 0, np.where(x >= 3, 1, (2 * x + 3) / 6)).astype(x.dtype)


def of_softmax() -> Iterator[Variant]:
    def unshifted(self: Any, input: Array) -> Any:
        e = np.exp(input)
        y = e / e.sum(1, keepdims=True)
        return y, lambda g: y * (g - (g * y).sum(1, keepdims=True))

    def unfused(self: Any, input: Array) -> Any:
        y, _ = unshifted(self, input)
        return y, lambda g: y * g - y * (y * g).sum(1, keepdims=True)

    def log_unshifted(self: Any, input: Array) -> Any:
        y = input - np.log(np.exp(input).sum(1, keepdims=True))
        return y, lambda g: g - np.exp(y) * g.sum(1, keepdims=True)

    def log_of_softmax(self: Any, input: Array) -> Any:
        p, _ = unshifted(self, input)
        return np.log(p), lambda g: g - p * g.sum(1, keepdims=True)

    yield of_layer("Softmax: not shifted", layer("Softmax", 1), PLANE, unshifted)
    yield of_layer("Softmax: gradient not fused", layer("Softmax", 1), PLANE, unfused)
    yield of_layer("LogSoftmax: not shifted", layer("LogSoftmax", 1), PLANE, log_unshifted)
    yield of_layer("LogSoftmax: logarithm of the softmax", layer("LogSoftmax", 1), PLANE, log_of_softmax)
