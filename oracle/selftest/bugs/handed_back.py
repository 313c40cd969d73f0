"""Bugs of published projects in what a layer returns: misread upstream gradients, missing statistics, lost terms."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from oracle.case.arrays import Array
from oracle.case.case import Spec
from oracle.selftest.bugs.bug import Bug, in_layer
from oracle.selftest.bugs.losses import in_loss
from oracle.selftest.plant import Call
from oracle.suite.build import layer

ROWS, SQUARES = (5, 6), (2, 6, 6)
LAYER, RMS = layer("LayerNorm", 6), layer("RMSNorm", 6)


def bugs() -> Iterator[Bug]:
    yield in_layer(
        "Tanh: upstream gradient multiplied in twice", layer("Tanh"), ROWS, grad_input=lambda g, c: g * c.grad_output
    )
    yield in_loss("MSELoss: upstream gradient read as an array", Spec("MSELoss"), grad_input=first_alone)
    yield in_loss(
        "CrossEntropyLoss: first upstream gradient for all rows",
        Spec("CrossEntropyLoss", {"reduction": "none"}),
        grad_input=lambda g, c: c.rerun(np.full_like(c.grad_output, c.grad_output[0])),
    )
    yield in_layer(
        "layer norm: bias gradient of an overwritten upstream",
        LAYER,
        ROWS,
        bias=lambda g, c: c.rerun(c.grad_output).sum(0),
    )
    yield in_layer(
        "max pool: first window alone hands back", layer("MaxPool2d", 2), (2, 3, 6, 6), grad_input=first_window
    )
    yield in_layer("PReLU: slopes along the last dimension", layer("PReLU", 6), SQUARES, grad_input=last_slopes)
    yield in_layer("rms norm: mean square kept", RMS, ROWS, weight=by_mean_square)
    yield in_layer("layer norm: last terms of the variance alone", LAYER, ROWS, grad_input=last_terms)
    yield in_layer("ELU: the output's derivative at the input", layer("ELU", 0.7), ROWS, grad_input=of_the_output)
    wide = tuple(np.random.default_rng(step).uniform(-9, 9, ROWS) for step in (3, 5))
    yield in_layer(
        "Hardsigmoid: derivative below its lower end",
        layer("Hardsigmoid"),
        ROWS,
        fields={"inputs": wide},
        grad_input=lambda g, c: np.where(c.input < 3, c.grad_output / 6, 0),
    )
    yield in_layer(
        "Softmax: product not summed", layer("Softmax", 1), ROWS, grad_input=lambda g, c: c.output * c.grad_output
    )
    yield in_loss("SmoothL1Loss: threshold of signed differences", Spec("SmoothL1Loss"), output=signed_threshold)


def first_alone(right: Array, call: Call) -> Array:
    wrong = np.zeros_like(right)
    wrong.flat[0] = right.flat[0]
    return wrong


def first_window(right: Array, call: Call) -> Array:
    upstream = np.zeros_like(call.grad_output)
    upstream[..., :1, :1] = call.grad_output[..., :1, :1]
    return call.rerun(upstream)


def last_slopes(right: Array, call: Call) -> Array:
    return np.asarray(np.where(call.input > 0, call.grad_output, call.weight * call.grad_output))


def by_mean_square(right: Array, call: Call) -> Array:
    return np.asarray((call.grad_output * call.input * np.mean(call.input**2, axis=-1, keepdims=True)).sum(0))


def last_terms(right: Array, call: Call) -> Array:
    """The first four terms of mean(g · x̂) are lost, as if blocks of a row had overwritten each other's sums."""
    x, g = call.input, call.grad_output * call.weight
    inverse = 1 / np.sqrt(x.var(-1, keepdims=True) + call.layer.eps)
    hat = (x - x.mean(-1, keepdims=True)) * inverse
    lost: Any = (g * hat)[..., :4].sum(-1, keepdims=True) / x.shape[-1]
    return np.asarray(right + inverse * hat * lost)


def of_the_output(right: Array, call: Call) -> Array:
    return np.asarray(call.grad_output * np.where(call.input > 0, 1, call.input + 0.7))


def signed_threshold(right: Array, call: Call) -> Array:
    d = call.input - call.arguments[0]
    return np.asarray(np.where(d < 1, d * d / 2, np.abs(d) - 0.5).mean())
