"""Bugs in activations: the derivative is missing, evaluated at the wrong place, or uses another option."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from oracle.case.arrays import Array
from oracle.case.case import Spec
from oracle.selftest.bugs.bug import Bug, in_layer, option_ignored
from oracle.selftest.changes import (
    factor,
    negated,
    one_element_off,
    passed_through,
    shifted,
    slightly_scaled,
    stale,
    upstream_ignored,
    zero,
)
from oracle.selftest.plant import Call, changed
from oracle.suite.build import layer, network_case

SHAPE = (5, 8)
# Types whose derivative is not one everywhere.
SMOOTH = ("Sigmoid", "Tanh", "SiLU", "Mish", "GELU", "Softsign", "LogSigmoid", "Tanhshrink", "SELU")
PIECEWISE = ("ReLU", "ReLU6", "Hardtanh", "Hardsigmoid", "Hardswish", "Hardshrink", "Softshrink")


def bugs() -> Iterator[Bug]:
    for type in (*SMOOTH, *PIECEWISE):
        yield in_layer(f"{type}: derivative left out", layer(type), SHAPE, grad_input=passed_through)
    for type in ("Sigmoid", "Tanh", "GELU", "ELU", "Softplus"):
        yield in_layer(f"{type}: input gradient, one element off", layer(type), SHAPE, grad_input=one_element_off)
        yield in_layer(f"{type}: upstream ignored", layer(type), SHAPE, grad_input=upstream_ignored)
    yield from at_the_wrong_place()
    yield from of_another_option()
    yield from of_rows()
    yield from of_learnt_slopes()


def sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


def at_the_wrong_place() -> Iterator[Bug]:
    yield in_layer(
        "Sigmoid: derivative taken at the input as if it were the output",
        layer("Sigmoid"),
        SHAPE,
        grad_input=lambda g, c: c.grad_output * c.input * (1 - c.input),
    )
    yield in_layer(
        "Sigmoid: derivative taken at the output",
        layer("Sigmoid"),
        SHAPE,
        grad_input=lambda g, c: c.grad_output * sigmoid(c.output) * (1 - sigmoid(c.output)),
    )
    yield in_layer(
        "Tanh: derivative 1 - x²", layer("Tanh"), SHAPE, grad_input=lambda g, c: c.grad_output * (1 - c.input**2)
    )
    yield in_layer(
        "Tanh: derivative 1 - |y|", layer("Tanh"), SHAPE, grad_input=lambda g, c: c.grad_output * (1 - np.abs(c.output))
    )
    yield in_layer(
        "ReLU: mask of the upstream gradient",
        layer("ReLU"),
        SHAPE,
        grad_input=lambda g, c: np.where(c.grad_output > 0, c.grad_output, 0),
    )
    yield in_layer(
        "ReLU: mask inverted", layer("ReLU"), SHAPE, grad_input=lambda g, c: np.where(c.input > 0, 0, c.grad_output)
    )
    yield in_layer(
        "ReLU: mask shifted by one",
        layer("ReLU"),
        SHAPE,
        grad_input=lambda g, c: np.where(np.roll(c.input, 1) > 0, c.grad_output, 0),
    )
    yield in_layer("ReLU: input gradient stale on the second call", layer("ReLU"), SHAPE, grad_input=stale)
    yield in_layer("ReLU: absolute value instead", layer("ReLU"), SHAPE, output=lambda y, c: np.abs(c.input))
    yield in_layer(
        "GELU: term z φ(z) missing", layer("GELU"), SHAPE, grad_input=lambda g, c: c.grad_output * c.output / c.input
    )
    yield in_layer(
        "SiLU: term z σ' missing", layer("SiLU"), SHAPE, grad_input=lambda g, c: c.grad_output * sigmoid(c.input)
    )
    yield in_layer("SELU: scale missing backward", layer("SELU"), SHAPE, grad_input=factor(1 / 1.0507009873554805))
    yield in_layer(
        "Softsign: square missing",
        layer("Softsign"),
        SHAPE,
        grad_input=lambda g, c: c.grad_output / (1 + np.abs(c.input)),
    )
    yield in_layer(
        "LogSigmoid: sign of the derivative's argument",
        layer("LogSigmoid"),
        SHAPE,
        grad_input=lambda g, c: c.grad_output * sigmoid(c.input),
    )
    yield in_layer("Hardsigmoid: slope 1", layer("Hardsigmoid"), SHAPE, grad_input=factor(6.0))
    yield in_layer("Mish: slightly scaled", layer("Mish"), SHAPE, grad_input=slightly_scaled)
    yield in_layer(
        "Softshrink: shifted the wrong way",
        layer("Softshrink"),
        SHAPE,
        output=lambda y, c: np.where(y != 0, 2 * c.input - y, 0),
    )


def of_another_option() -> Iterator[Bug]:
    def ignored(type: str, option: str, given: Any, taken: Any, quantity: str = "grad_input") -> Bug:
        name = f"{type}: {option} {taken} instead of {given}, {quantity}"
        return option_ignored(name, layer(type, **{option: given}), SHAPE, quantity, **{option: taken})

    yield ignored("LeakyReLU", "negative_slope", 0.2, 0.01)
    yield ignored("LeakyReLU", "negative_slope", 0.0, 1.0)
    yield ignored("ELU", "alpha", 0.5, 1.0)
    yield ignored("CELU", "alpha", 0.5, 1.0)
    yield ignored("CELU", "alpha", 0.5, 1.0, "output")
    yield ignored("GELU", "approximate", "none", "tanh")
    yield ignored("GELU", "approximate", "none", "tanh", "output")
    yield ignored("GELU", "approximate", "tanh", "none")
    yield ignored("Softplus", "beta", 2.0, 1.0)
    yield ignored("Softplus", "threshold", 1.0, 20.0)
    yield ignored("Hardtanh", "max_val", 0.5, 1.0)
    yield ignored("Hardshrink", "lambd", 0.2, 0.5)
    yield ignored("Softshrink", "lambd", 0.2, 0.5, "output")
    two = layer("Threshold", 0.1, 0.7)
    yield option_ignored("Threshold: another value below it", two, SHAPE, "output", value=0.0)
    yield option_ignored("Threshold: another threshold backward", two, SHAPE, threshold=-0.4)


def of_rows() -> Iterator[Bug]:
    softmax, log_softmax = layer("Softmax", 1), layer("LogSoftmax", 1)
    yield in_layer(
        "Softmax: elements not coupled",
        softmax,
        SHAPE,
        grad_input=lambda g, c: c.grad_output * c.output * (1 - c.output),
    )
    yield in_layer(
        "Softmax: sum over the batch",
        softmax,
        SHAPE,
        grad_input=lambda g, c: c.output * (c.grad_output - (c.grad_output * c.output).sum(0)),
    )
    yield in_layer("Softmax: derivative left out", softmax, SHAPE, grad_input=passed_through)
    yield in_layer(
        "Softmax: over the other dimension",
        softmax,
        SHAPE,
        output=lambda y, c: np.exp(c.input) / np.exp(c.input).sum(0),
    )
    yield in_layer(
        "LogSoftmax: sum of the upstream missing",
        log_softmax,
        SHAPE,
        grad_input=lambda g, c: c.grad_output - np.exp(c.output),
    )
    yield in_layer(
        "LogSoftmax: probabilities left out",
        log_softmax,
        SHAPE,
        grad_input=lambda g, c: c.grad_output - c.grad_output.sum(1, keepdims=True),
    )
    yield in_layer("LogSoftmax: natural for base two", log_softmax, SHAPE, output=lambda y, c: y / np.log(2))
    large = np.random.default_rng(9).standard_normal((5, 8)) * 400
    yield overflowing("LogSoftmax: overflows without the shift", log_softmax, large)
    yield in_layer("Softmin: sign lost backward", layer("Softmin", 1), SHAPE, grad_input=negated)
    yield in_layer(
        "Softmax2d: over positions instead of channels", layer("Softmax2d"), (2, 3, 4, 4), grad_input=shifted(1)
    )
    gate = layer("GLU", 1)
    yield in_layer("GLU: halves exchanged", gate, SHAPE, grad_input=lambda g, c: np.roll(g, 4, 1))
    yield in_layer("GLU: gate's derivative missing", gate, SHAPE, grad_input=gate_passed)
    yield in_layer(
        "GLU: output of the other half", gate, SHAPE, output=lambda y, c: c.input[:, 4:] / (1 + np.exp(-c.input[:, :4]))
    )


def of_learnt_slopes() -> Iterator[Bug]:
    one, many = layer("PReLU"), layer("PReLU", 8)
    yield in_layer(
        "PReLU: slope's gradient from positive elements",
        one,
        SHAPE,
        weight=lambda g, c: np.where(c.input > 0, c.input * c.grad_output, 0).sum().reshape(1),
    )
    yield in_layer(
        "PReLU: slope's gradient of the first sample",
        many,
        SHAPE,
        weight=lambda g, c: np.where(c.input > 0, 0, c.input * c.grad_output)[0],
    )
    yield in_layer("PReLU: slope's gradient zero", one, SHAPE, weight=zero)
    yield in_layer(
        "PReLU: slope ignored backward", many, SHAPE, grad_input=lambda g, c: np.where(c.input > 0, c.grad_output, 0)
    )
    yield in_layer(
        "PReLU: slopes shifted by a channel",
        many,
        SHAPE,
        grad_input=lambda g, c: np.where(c.input > 0, c.grad_output, np.roll(c.weight, 1) * c.grad_output),
    )


def overflowing(name: str, spec: Spec, input: Array) -> Bug:
    def naive(right: Array, call: Call) -> Array:
        with np.errstate(all="ignore"):
            return np.asarray(call.input - np.log(np.exp(call.input).sum(1, keepdims=True)))

    case = network_case(f"selftest/{name}", "large inputs", [replace(spec, name="target")], inputs=(input,))
    return Bug(name, case, changed(spec.type, output=naive), quantity="output")


def gate_passed(right: Array, call: Call) -> Array:
    value, gate = call.input[:, :4], 1 / (1 + np.exp(-call.input[:, 4:]))
    return np.concatenate([call.grad_output * gate, call.grad_output * value], 1)
