"""Bugs from public reports: weights updated too early, a term taken twice, ignored rows that count."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

import refbp
from oracle.case.arrays import Array
from oracle.case.case import Case, Spec
from oracle.selftest.bugs.bug import Bug, in_layer
from oracle.selftest.bugs.losses import case_of
from oracle.selftest.changes import factor
from oracle.selftest.plant import Call, changed
from oracle.subjects import refbp as honest
from oracle.suite.build import generator, layer, network_case
from oracle.trace import Trace

IMAGE = (3, 2, 5, 7)


def bugs() -> Iterator[Bug]:
    yield updated_too_early()
    yield in_layer(
        "linear: one sum in every element of the bias gradient",
        layer("Linear", 5, 4),
        (6, 5),
        bias=lambda own, call: np.full_like(own, own.sum()),
    )
    convolution = layer("Conv2d", 2, 3, 3)
    yield in_layer(
        "conv: weight gradient averaged over batch and positions", convolution, IMAGE, weight=factor(1 / (3 * 3 * 5))
    )
    for name, twice in (("mean", mean_term), ("variance", variance_term)):
        yield in_layer(
            f"batch norm: the {name}'s term twice",
            layer("BatchNorm2d", 2),
            IMAGE,
            grad_input=lambda own, call, twice=twice: own - twice(call),  # type: ignore[misc]
        )
    yield in_layer("max pool: height taken for a row's length", layer("MaxPool2d", 2), IMAGE, grad_input=by_height)
    yield in_layer("avg pool: height taken for a row's length", layer("AvgPool2d", 2), IMAGE, grad_input=by_height)
    yield from near_zero()
    yield from ignored()
    yield in_layer("max pool: winners assigned", layer("MaxPool2d", 3, stride=1), IMAGE, grad_input=winners_assigned)
    slopes: dict[str, dict[str, Any]] = {"LeakyReLU": {"negative_slope": -0.3}, "PReLU": {"init": -0.3}}
    for type, options in slopes.items():
        yield in_layer(
            f"{type}: negative slopes told apart by the output", layer(type, **options), (4, 6), grad_input=by_output
        )


def updated_too_early() -> Bug:
    name = "linear: weights updated before the gradient goes through"
    rng = generator(name)
    case = network_case(
        f"selftest/{name}",
        "a planted bug",
        [layer("Linear", 5, 4, name="target"), layer("Tanh", name="after")],
        inputs=tuple(rng.standard_normal((3, 5)) for _ in range(2)),
        steps=2,
        optimizer=Spec("SGD", {"lr": 0.1, "momentum": 0.9}),
    )

    def run(given: Case) -> Trace:
        trace = honest.run(given)
        for step in range(given.steps):
            upstream, weight = (trace.get(step, "target", quantity) for quantity in ("grad_output", "param.weight"))
            assert upstream is not None and weight is not None
            trace.record(step, "target", "grad_input", upstream @ weight)
        return trace

    return Bug(name, case, run)


def scale_and_rest(call: Call) -> tuple[Array, Array]:
    """γ / √(σ² + eps), and the normalised input x̂."""
    axes = (0, *range(2, call.input.ndim))
    shape = (1, -1, *(1,) * (call.input.ndim - 2))
    deviation = np.sqrt(call.input.var(axes, keepdims=True) + call.layer.eps)
    return call.weight.reshape(shape) / deviation, (call.input - call.input.mean(axes, keepdims=True)) / deviation


def mean_term(call: Call) -> Array:
    scale, _ = scale_and_rest(call)
    return np.asarray(scale * call.grad_output.mean((0, 2, 3), keepdims=True))


def variance_term(call: Call) -> Array:
    scale, rest = scale_and_rest(call)
    return np.asarray(scale * rest * (call.grad_output * rest).mean((0, 2, 3), keepdims=True))


def by_height(right: Array, call: Call) -> Array:
    """The gradient of row r, column c goes to index r · height + c instead of r · width + c."""
    height, width = right.shape[-2:]
    wrong = np.zeros((right.size // (height * width), height * width), right.dtype)
    for line, own in zip(wrong, right.reshape(len(wrong), height, width), strict=True):
        for r in range(height):
            for c in range(width):
                line[min(r * height + c, height * width - 1)] += own[r, c]
    return wrong.reshape(right.shape)


def near_zero() -> Iterator[Bug]:
    for type in ("ELU", "CELU", "SELU"):
        name = f"{type}: exp(x) - 1 near zero"
        rng = generator(name)
        case = network_case(
            f"selftest/{name}",
            "a planted bug",
            [layer("Identity", name="before"), layer(type, name="target")],
            inputs=(1e-3 * rng.standard_normal((4, 6)),),
        )
        scale, alpha = (1.0507009873554805, 1.6732632423543772) if type == "SELU" else (1.0, 1.0)

        def output(right: Array, call: Call, scale: float = scale, alpha: float = alpha) -> Array:
            x = call.input
            return np.asarray(np.where(x > 0, scale * x, scale * alpha * (np.exp(x) - 1)))

        yield Bug(name, case, changed(type, output=output), quantity="output")


def ignored() -> Iterator[Bug]:
    def case(name: str) -> Case:
        plain = case_of(name, Spec("CrossEntropyLoss"))
        labels = plain.targets[0][0].copy()
        labels[1::2] = -100
        return replace(plain, targets=((labels,),))

    def given(own: Array, call: Call) -> Array:
        x, (labels,) = call.input, call.arguments
        p = np.exp(x - x.max(1, keepdims=True))
        p = p / p.sum(1, keepdims=True)
        wrong: Any = np.where((labels == -100)[:, None], p / (labels != -100).sum() * call.grad_output, own)
        return np.asarray(wrong)

    def averaged(own: Array, call: Call) -> Array:
        (labels,) = call.arguments
        return np.asarray(own * (labels != -100).mean())

    for name, change in (("get a gradient", given), ("count in the mean backward", averaged)):
        full = f"CrossEntropyLoss: ignored rows {name}"
        yield Bug(full, case(full), changed("CrossEntropyLoss", grad_input=change), "loss")


def by_output(right: Array, call: Call) -> Array:
    """The slope applies where the output is negative, instead of where the input is."""
    slope = call.weight[0] if call.layer.params else -0.3
    return np.asarray(np.where(call.output > 0, call.grad_output, slope * call.grad_output))


def winners_assigned(right: Array, call: Call) -> Array:
    """Each window assigns its gradient to its maximum, and so replaces the gradients of earlier windows there."""
    (_, indices), _ = refbp.functional.max_pool2d(call.input, 3, 1, return_indices=True)
    wrong = np.zeros((right.shape[0] * right.shape[1], right[0, 0].size), right.dtype)
    lines = indices.reshape(len(wrong), -1), call.grad_output.reshape(len(wrong), -1)
    for line, places, own in zip(wrong, *lines, strict=True):
        line[places] = own
    return wrong.reshape(right.shape)
