"""Hypotheses about single formulas: a wrong derivative, missing couplings, a loss's gradient without one of its parts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from oracle.blame.causes.evidence import Evidence, Hypothesis
from oracle.running_error.model import Floats
from refbp.activations import SELU_ALPHA, SELU_SCALE


def hypotheses(e: Evidence) -> Iterator[Hypothesis]:
    if e.quantity == "grad_input" and e.case.layers and e.upstream is not None:
        if e.upstream.shape == e.input.shape:
            yield from of_elementwise(e)
            yield from of_pieces(e)
        yield from of_crops(e)
    if e.quantity == "grad_input" and e.case.inputs and e.input.shape == e.expected.value.shape:
        words = "nothing comes back where the input is exactly zero, as from a clamp or a sign"
        yield Hypothesis("derivative", words, np.where(e.input == 0, 0.0, e.expected.value), e.expected.sigma)
    if e.quantity == "output" and e.case.layers:
        yield from of_outputs(e)
    if e.quantity == "grad_input" and e.case.loss is not None and not e.case.layers:
        yield from of_losses(e)
    if e.quantity == "grad.weight" and e.case.layers:
        yield from of_weights(e)


def sigmoid(x: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-x)))


def allowed(e: Evidence, value: Floats) -> Floats:
    """A tolerance for a formula: a few roundings of its terms."""
    typical = float(np.max(np.abs(value[np.isfinite(value)]), initial=0.0))
    return np.asarray(4 * e.model.unit_roundoff * (np.abs(value) + 0.1 * typical))


def of_elementwise(e: Evidence) -> Iterator[Hypothesis]:
    output = e.after_output()
    if output is None or output.shape != e.input.shape or e.upstream is None:
        return
    x, y, g = e.input.astype(np.float64), output, e.upstream.astype(np.float64)
    positive = x > 0
    is_coupled = e.case.layers[0].type in ("Softmax", "Softmin", "Softmax2d")
    if is_coupled:
        yield Hypothesis(
            "coupling", "y g: the product with the upstream gradient is not summed", g * y, allowed(e, g * y)
        )
    for words, slope in {
        "x (1 - x) instead of y (1 - y)": x * (1 - x),
        "1 - x² instead of 1 - y²": 1 - x * x,
        "1 - |y|": 1 - np.abs(y),
        "1 - y": 1 - y,
        **({} if is_coupled else {"y": y}),
        "y / x: a term is missing": y / x,
        "the sigmoid: a term is missing": sigmoid(x),
        "1 / (1 + |x|): a square is missing": 1 / (1 + np.abs(x)),
        "1 where x > 0, else 0": positive.astype(float),
        "0 where x > 0, else 1": (~positive).astype(float),
        "1 where the element before is positive": np.roll(positive, 1).astype(float),
        "1 where the upstream gradient is positive": (g > 0).astype(float),
    }.items():
        value = g * slope
        if not (slope == 1).all():  # a slope of 1 is more likely one that is left out
            yield Hypothesis("derivative", f"the derivative is {words}", value, allowed(e, value))
    for axis in range(x.ndim):
        total = np.sum(g * y, axis=axis, keepdims=True)
        for words, value in (
            ("elements are not coupled", g * y * (1 - y)),
            (f"coupled as a softmax along dimension {axis} is", y * (g - total)),
            ("the sum of the upstream gradient is missing", g - np.exp(y)),
            ("the probabilities are added, without the sum of the upstream gradient", g + np.exp(y)),
            ("the probabilities are left out", g - np.sum(g, axis=axis, keepdims=True)),
        ):
            yield Hypothesis("coupling", words, value, allowed(e, value))


def of_pieces(e: Evidence) -> Iterator[Hypothesis]:
    """Piecewise functions: a piece's derivative is taken at another argument, or used beyond the end of the piece."""
    spec, g, y = e.spec, e.upstream, e.after_output()
    if spec is None or g is None or y is None:
        return
    x, up = e.input.astype(np.float64), g.astype(np.float64)
    alpha = float(spec.options.get("alpha", 1.0))
    below: dict[str, Any] = {}
    if spec.type in ("LeakyReLU", "ELU", "CELU", "SELU") and not (x > 0).all():
        below["the output"] = y
    if spec.type in ("ELU", "CELU"):
        below["that of the output, written for the input"] = x + alpha if spec.type == "ELU" else x / alpha + 1
    if spec.type == "SELU":
        below["scale times (output + alpha): the output holds the scale already"] = SELU_SCALE * (y + SELU_ALPHA)
    for words, slope in below.items():
        value = up * np.where(x > 0, SELU_SCALE if spec.type == "SELU" else 1.0, slope)
        yield Hypothesis("derivative", f"the derivative of what is not positive is {words}", value, allowed(e, value))
    ends = {
        "ReLU6": (0.0, 6.0, 1.0),
        "Hardsigmoid": (-3.0, 3.0, 1 / 6),
        "Hardtanh": (float(spec.options.get("min_val", -1.0)), float(spec.options.get("max_val", 1.0)), 1.0),
    }
    if spec.type in ends:
        low, high, slope = ends[spec.type]
        for words, inside in (("lower", x < high), ("upper", x > low)):
            value = np.where(inside, slope * up, 0.0)
            yield Hypothesis("derivative", f"the derivative goes on behind the {words} end", value, allowed(e, value))


def of_crops(e: Evidence) -> Iterator[Hypothesis]:
    """A part of the upstream gradient, unchanged: the gradients of padded or repeated elements are lost."""
    g, shape = e.upstream, e.input.shape
    if g is None or g.ndim != len(shape) or g.shape == shape or any(a < b for a, b in zip(g.shape, shape, strict=True)):
        return
    starts = {
        "its middle": [(a - b) // 2 for a, b in zip(g.shape, shape, strict=True)],
        "its first corner": [0] * g.ndim,
        "its last corner": [a - b for a, b in zip(g.shape, shape, strict=True)],
    }
    for words, start in starts.items():
        place = tuple(slice(a, a + b) for a, b in zip(start, shape, strict=True))
        yield Hypothesis(
            "not added back", f"only a part of the upstream gradient arrives, {words}", g[place].astype(np.float64), 0.0
        )
    steps = [a // b if a % b == 0 else 0 for a, b in zip(g.shape, shape, strict=True)]
    if all(steps):
        place = tuple(slice(None, None, step) for step in steps)
        yield Hypothesis(
            "not added back", "only one of the copies gives its gradient back", g[place].astype(np.float64), 0.0
        )


def of_outputs(e: Evidence) -> Iterator[Hypothesis]:
    x = e.input.astype(np.float64)
    if x.shape == e.got.shape:
        for words, value in (("the absolute value", np.abs(x)), ("the input itself", x)):
            yield Hypothesis("output", f"the output is {words}", value, allowed(e, value))
    y = e.expected.value
    params = {name.rpartition(".")[2]: value.astype(np.float64) for name, value in e.case.params.items()}
    if {"weight", "bias"} <= params.keys() and params["weight"].ndim == 1 and y.ndim > 1:
        shape = (1, -1, *(1,) * (y.ndim - 2))
        if y.shape[1] == params["bias"].size:
            weight, bias = params["weight"].reshape(shape), params["bias"].reshape(shape)
            words = "the bias is added before scaling"
            yield Hypothesis("bias scaled", words, y - bias + weight * bias, 4 * e.expected.sigma)
    if y.ndim and x.size:
        for axis in range(y.ndim):
            mean = y.mean(axis, keepdims=True)
            yield Hypothesis(
                "mean subtracted",
                f"the mean along dimension {axis} is subtracted",
                y - mean,
                4 * e.expected.sigma + allowed(e, y),
            )


def of_losses(e: Evidence) -> Iterator[Hypothesis]:
    """Gradients of common losses without one of their parts, with the mean over all elements or over the batch."""
    x, targets = e.input.astype(np.float64), [np.asarray(t) for t in e.case.targets[0]]
    t = targets[0]
    trials: dict[str, Any] = {}
    if t.shape == x.shape and t.dtype.kind == "f":
        d = x - t
        trials |= {
            "the difference": d,
            "the sign of the difference": np.sign(d),
            "the difference below a threshold of one, its sign above, signs not looked at": np.where(
                d < 1, d, np.sign(d)
            ),
            "the difference within a threshold of one, nothing beyond": np.where(np.abs(d) < 1, d, 0),
            "that of the positive part alone": -t / x,
            "the exponential alone": np.exp(x),
            "one, whatever the sign of the difference": np.ones_like(x),
        }
        trials["minus its size: the label's sign is lost"] = -np.abs(e.expected.value) * x.size
    if t.dtype.kind in "iu" and x.ndim == 2 and t.shape == x.shape[:1]:
        hot = t[:, None] == np.arange(x.shape[1])
        p = np.exp(x - x.max(1, keepdims=True))
        p = p / p.sum(1, keepdims=True)
        trials |= {
            "the probabilities: the one-hot target is not subtracted": p,
            "that with respect to probabilities": np.where(hot, -1 / p, 0.0),
            "the input minus the one-hot target: the softmax is left out": x - hot,
            "the same for all classes": -np.ones_like(x),
        }
    trials["that of the targets alone"] = np.minimum(e.expected.value, 0) * x.size
    upstream = float(e.upstream) if e.upstream is not None and e.upstream.ndim == 0 else 1.0
    for words, value in trials.items():
        for count in dict.fromkeys((x.size, len(x) if x.ndim else 1, 1)):
            scaled = value * upstream / max(count, 1)
            yield Hypothesis("derivative", f"the gradient is {words}", scaled, allowed(e, scaled))


def of_weights(e: Evidence) -> Iterator[Hypothesis]:
    """The gradient of a scale, computed from the input without normalisation."""
    x, g = e.input.astype(np.float64), e.upstream
    if g is None or g.shape != x.shape or not x.ndim or e.got.ndim != 1:
        return
    others = (
        tuple(axis for axis in range(x.ndim) if axis != 1) if e.got.size == (x.shape[1] if x.ndim > 1 else 1) else None
    )
    for words, product in (
        ("from the input instead of the normalised input", x * g),
        ("from positive elements", np.where(x > 0, x * g, 0)),
        (
            "of the first sample",
            np.where(np.arange(len(x)).reshape(-1, *(1,) * (x.ndim - 1)) == 0, np.where(x > 0, 0, x * g), 0),
        ),
    ):
        value = product.sum(others).reshape(e.got.shape) if others is not None else product.sum().reshape(1)
        if value.shape == e.got.shape:
            size = np.sqrt(np.square(product).sum()) * e.model.unit_roundoff * np.sqrt(product.size)
            yield Hypothesis("derivative", f"the weight's gradient is taken {words}", value, size)
