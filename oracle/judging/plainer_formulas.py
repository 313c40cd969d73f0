"""Formulas that lose digits where torch's do not, evaluated on error arrays. They are allowed for subjects that declare them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from oracle.case.arrays import Array
from oracle.case.case import Case, Spec, named_layers
from oracle.execution.network import Results
from oracle.execution.predict import predict
from oracle.running_error import ErrorArray, ErrorModel
from oracle.running_error.model import Twofold
from oracle.trace import Key

Guides = Mapping[Key, Array] | None
# The layers whose statistics may be taken in one pass.
NORMS = ("BatchNorm", "InstanceNorm", "LayerNorm", "GroupNorm")
LEAST_PROBABILITY = 1e-7


def widened(plain: ErrorArray, *sizes: Any) -> ErrorArray:
    """The array with an additional error, given by its standard deviation and, if bounds are kept, its bound."""
    extra = Twofold(np.square(sizes[0]), sizes[1] if plain.model.bounds else None)
    return ErrorArray(plain.value, plain.model, plain.error_or_zero + extra, scale=plain.scale_or_own)


def sizes_of(x: ErrorArray) -> tuple[Any, Any]:
    """The standard deviation and the bound of an array's error."""
    return x.sigma, x.bound if x.bound is not None else x.sigma


class Statistics:
    """How a normalisation takes means of an array, and broadcasts them back."""

    def __init__(self, shape: tuple[int, ...], spec: Spec) -> None:
        rank, self.shape, self.grouped = len(shape), shape, shape
        self.axes: tuple[int, ...] = tuple(range(2, rank))
        if spec.type.startswith("BatchNorm"):
            self.axes = (0, *self.axes)
        elif spec.type == "LayerNorm":
            size = spec.options["normalized_shape"]
            self.axes = tuple(range(rank - (1 if isinstance(size, int) else len(size)), rank))
        elif spec.type == "GroupNorm":
            groups = int(spec.options["num_groups"])
            self.grouped, self.axes = (shape[0], groups, math.prod(shape[1:]) // groups), (2,)

    def mean(self, x: Any) -> Any:
        return np.mean(x.reshape(self.grouped), axis=self.axes, keepdims=True)

    def spread(self, statistic: Any) -> Any:
        return np.broadcast_to(statistic, self.grouped).reshape(self.shape)

    def means(self, x: Any) -> Any:
        return self.spread(self.mean(x))


def one_pass_variance(case: Case, model: ErrorModel, guides: Guides) -> Results:
    """Var x = E[x²] - E[x]², whose terms cancel if the mean is large. Its error scales everything computed from it."""
    results = predict(case, model, guides)
    for name, spec in named_layers(case.layers):
        x, running = results.get(Key(0, name, "input")), not case.training and spec.type.startswith("BatchNorm")
        if not spec.type.startswith(NORMS) or running or not isinstance(x, ErrorArray) or x.ndim < 2:
            continue
        over = Statistics(x.shape, spec)
        variance = over.mean(np.square(x)) - np.square(over.mean(x))  # its error, with exact values
        inverse = 1 / np.sqrt(np.maximum(variance.value, 0) + float(spec.options.get("eps", 1e-5)))
        s = over.spread(inverse)
        x_hat = (x.value - over.means(x.value)) * s
        shares = [over.spread(0.5 * size * np.square(inverse)) for size in sizes_of(variance)]
        own = {key.quantity: key for key in results if key.layer == name and key.step == 0}
        w = _per_channel(case.params.get(f"{name}.weight"), x, spec)
        g = results[own["grad_output"]].value if "grad_output" in own else np.zeros(x.shape)
        product = over.means(g * w * x_hat)
        reach = {
            "output": np.abs(x_hat * w),
            "grad_input": np.abs(s) * (np.abs(g * w - over.means(g * w)) + 3 * np.abs(x_hat * product)),
        }
        for quantity, size in reach.items():
            if quantity in own:
                results[own[quantity]] = widened(results[own[quantity]], *(size * share for share in shares))
        if "grad.weight" in own:
            grad = results[own["grad.weight"]]
            axes = (0, *range(2, x.ndim)) if spec.type != "LayerNorm" else tuple(range(x.ndim - grad.ndim))
            added = (np.sum(np.abs(g * x_hat) * share, axis=axes).reshape(grad.shape) for share in shares)
            results[own["grad.weight"]] = widened(grad, *added)
        if "buffer.running_var" in own:
            kept = results[own["buffer.running_var"]]
            count = max(1, x.size // max(1, kept.size) - 1)
            momentum = spec.options.get("momentum", 0.1)
            rate = (1.0 if momentum is None else float(momentum)) * (count + 1) / count
            moved = (rate * np.mean(size.reshape(-1, kept.size), axis=0) for size in sizes_of(variance))
            results[own["buffer.running_var"]] = widened(kept, *moved)
    return results


def _per_channel(weight: Array | None, x: ErrorArray, spec: Spec) -> Any:
    if weight is None:
        return 1.0
    return weight if spec.type == "LayerNorm" else weight.reshape((1, -1, *[1] * (x.ndim - 2)))


def unshifted_log_softmax(case: Case, model: ErrorModel, guides: Guides) -> Results:
    """x - log Σ e^x, or x - (max + log Σ e^(x - max)): the error is relative to log Σ e^x, not to the difference."""
    results = predict(case, model, guides)
    for name, spec in named_layers(case.layers):
        x = results.get(Key(0, name, "input"))
        if spec.type == "LogSoftmax" and isinstance(x, ErrorArray):
            axis = spec.options.get("dim")
            _unshifted(results, name, x, int(x.ndim not in (0, 1, 3)) if axis is None else int(axis))
    x = results.get(Key(0, "loss", "input"))
    if case.loss is not None and case.loss.type == "CrossEntropyLoss" and isinstance(x, ErrorArray):
        _unshifted_cross_entropy(results, case.loss, x)
    return results


def logarithm(x: ErrorArray, axis: int) -> tuple[ErrorArray, Any]:
    """log Σ e^x with its error, and the softmax's values."""
    log = np.log(np.sum(np.exp(x), axis=axis, keepdims=True))
    shifted = np.exp(x.value - np.max(x.value, axis=axis, keepdims=True))
    return log, shifted / np.sum(shifted, axis=axis, keepdims=True)


def _unshifted(results: Results, name: str, x: ErrorArray, axis: int) -> None:
    log, softmax = logarithm(x, axis)
    output, grad = Key(0, name, "output"), Key(0, name, "grad_input")
    results[output] = widened(results[output], *sizes_of(log))
    if grad in results:
        handed = np.abs(np.sum(results[grad._replace(quantity="grad_output")].value, axis=axis, keepdims=True))
        results[grad] = widened(results[grad], *(softmax * handed * size for size in sizes_of(log)))


def _unshifted_cross_entropy(results: Results, loss: Spec, x: ErrorArray) -> None:
    log, softmax = logarithm(x, 0 if x.ndim == 1 else 1)
    reduction, output, grad = (
        loss.options.get("reduction", "mean"),
        Key(0, "loss", "output"),
        Key(0, "loss", "grad_input"),
    )
    weight = float(np.max(np.asarray(loss.options.get("weight", 1.0), float)))
    share = weight / max(1, log.size) if reduction == "mean" else weight
    if reduction == "none":
        sizes = [weight * size.reshape(results[output].shape) for size in sizes_of(log)]
    else:
        deviation, bound = sizes_of(log)
        sizes = [share * np.sqrt(np.sum(np.square(deviation))), share * np.sum(bound)]
    results[output] = widened(results[output], *sizes)
    if grad in results:
        results[grad] = widened(results[grad], *(share * softmax * size for size in sizes_of(log)))


def clipped_probability(case: Case, model: ErrorModel, guides: Guides) -> Results:
    """Binary cross entropy of a probability that is clipped to [1e-7, 1 - 1e-7]; the derivative is taken at the clipped value."""
    if case.loss is None or case.loss.type != "BCELoss" or case.layers:  # in a network the difference goes on
        return predict(case, model, guides)
    least = np.float64(model.dtype.type(LEAST_PROBABILITY))
    most = np.float64(model.dtype.type(1) - model.dtype.type(LEAST_PROBABILITY))
    inputs = tuple(np.clip(x.astype(np.float64), least, most) for x in case.inputs)
    other, plain = predict(replace(case, inputs=inputs), model, guides), predict(case, model, guides)
    return {key: plain[key] if key.quantity == "input" else other[key] for key in plain}
