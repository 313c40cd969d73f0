"""Bugs in normalisation: missing terms through the statistics, wrong variances, eps and running statistics."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

import refbp
from oracle.case.arrays import Array
from oracle.case.case import Spec
from oracle.selftest.bugs.bug import Bug, in_layer, option_ignored, with_layer
from oracle.selftest.changes import (
    batch_reversed,
    channels_reversed,
    factor,
    of_channels,
    one_element_off,
    passed_through,
    slightly_scaled,
    stale,
    upstream_ignored,
    zero,
)
from oracle.selftest.plant import Call, changed, patched
from oracle.suite import named
from oracle.suite.build import layer

BATCH2D, BATCH1D = layer("BatchNorm2d", 3), layer("BatchNorm1d", 4)
IMAGE, VECTOR = (4, 3, 5, 5), (9, 4)
LAYER, GROUP, INSTANCE = layer("LayerNorm", 6), layer("GroupNorm", 2, 4), layer("InstanceNorm2d", 3, affine=True)
RMS, RESPONSE = layer("RMSNorm", 6), layer("LocalResponseNorm", 3, alpha=0.5)


def bugs() -> Iterator[Bug]:
    yield from of_batch_norm()
    yield from of_running_statistics()
    yield from of_layer_norm()
    yield from of_others()


def statistics(call: Call, axes: tuple[int, ...]) -> tuple[Array, Array]:
    """The normalised input x̂ and 1/√(σ² + eps)."""
    mean = call.input.mean(axes, keepdims=True)
    s = 1 / np.sqrt(call.input.var(axes, keepdims=True) + call.layer.eps)
    return (call.input - mean) * s, s


def without(*terms: str, axes: tuple[int, ...] = (0, 2, 3)) -> Any:
    """The input gradient of a normalisation over `axes` without the terms through the mean or the variance."""

    def change(right: Array, call: Call) -> Array:
        x_hat, s = statistics(call, axes)
        weight = call.layer.params.get("weight")
        channels = call.input.ndim > 2
        g = call.grad_output
        if weight is not None:
            g = g * (of_channels(weight, g) if channels else weight)
        result = g * s
        if "mean" not in terms:
            result = result - s * g.mean(axes, keepdims=True)
        if "variance" not in terms:
            result = result - s * x_hat * (g * x_hat).mean(axes, keepdims=True)
        return np.asarray(result)

    return change


def output_from(scale: Any) -> Any:
    """The output of batch normalisation with another 1/σ; `scale` computes it from (variance, count, eps)."""

    def change(right: Array, call: Call) -> Array:
        x, params = call.input, call.layer.params
        variance = x.var((0, 2, 3), keepdims=True)
        s = scale(variance, x.size // x.shape[1], call.layer.eps)
        y = (x - x.mean((0, 2, 3), keepdims=True)) * s
        return np.asarray(y * of_channels(params["weight"], x) + of_channels(params["bias"], x))

    return change


def of_batch_norm() -> Iterator[Bug]:
    yield in_layer(
        "batch norm: batch statistics taken as constants", BATCH2D, IMAGE, grad_input=without("mean", "variance")
    )
    yield in_layer("batch norm: term through the mean missing", BATCH2D, IMAGE, grad_input=without("mean"))
    yield in_layer("batch norm: term through the variance missing", BATCH2D, IMAGE, grad_input=without("variance"))
    yield in_layer(
        "batch norm: term through the mean missing for vectors", BATCH1D, VECTOR, grad_input=without("mean", axes=(0,))
    )
    yield in_layer(
        "batch norm: weight left out backward", BATCH2D, IMAGE, grad_input=lambda g, c: g / of_channels(c.weight, g)
    )
    yield in_layer(
        "batch norm: unbiased variance normalises",
        BATCH2D,
        IMAGE,
        output=output_from(lambda v, n, eps: 1 / np.sqrt(v * n / (n - 1) + eps)),
    )
    yield in_layer(
        "batch norm: eps outside the root", BATCH2D, IMAGE, output=output_from(lambda v, n, eps: 1 / (np.sqrt(v) + eps))
    )
    yield in_layer("batch norm: eps forgotten", BATCH2D, IMAGE, output=output_from(lambda v, n, eps: 1 / np.sqrt(v)))
    yield in_layer(
        "batch norm: weight gradient from x instead of x̂",
        BATCH2D,
        IMAGE,
        weight=lambda g, c: (c.grad_output * c.input).sum((0, 2, 3)),
    )
    yield in_layer("batch norm: weight gradient averaged", BATCH2D, IMAGE, weight=factor(0.01))
    yield in_layer(
        "batch norm: bias gradient of one sample", BATCH2D, IMAGE, bias=lambda g, c: c.grad_output[0].sum((1, 2))
    )
    yield in_layer("batch norm: bias gradient zero", BATCH2D, IMAGE, bias=zero)
    yield in_layer("batch norm: input gradient, one element off", BATCH2D, IMAGE, grad_input=one_element_off)
    yield in_layer("batch norm: statistics of each sample", BATCH2D, IMAGE, output=per_sample)
    yield in_layer("batch norm: bias added before scaling", BATCH2D, IMAGE, output=bias_scaled)
    yield in_layer("batch norm: input gradient stale on the second call", BATCH2D, IMAGE, grad_input=stale)
    name = "batch norm: channels-last memory read as contiguous"
    case = named("layout/BatchNorm2d,channels_last")
    yield Bug(name, case, changed("BatchNorm2d", output=memory_in_order), "0", "output")
    evaluated = {"training": False}
    yield in_layer(
        "batch norm: evaluation's gradient takes the batch's statistics",
        BATCH2D,
        IMAGE,
        fields=evaluated,
        grad_input=without(),
    )
    yield in_layer(
        "batch norm: slightly wrong in evaluation only",
        BATCH2D,
        IMAGE,
        when=lambda c: not c.layer.training,
        fields=evaluated,
        grad_input=slightly_scaled,
    )
    yield in_layer(
        "batch norm: evaluation takes the batch's statistics",
        BATCH2D,
        IMAGE,
        fields=evaluated,
        output=output_from(lambda v, n, eps: 1 / np.sqrt(v + eps)),
    )


def memory_in_order(right: Array, call: Call) -> Array:
    """The input is read in the order of its memory, and its strides are ignored."""
    raw = np.ravel(call.input, order="K").reshape(call.input.shape)
    params = call.layer.params
    return refbp.functional.batch_norm(raw, None, None, params["weight"], params["bias"], training=True)[0]


def of_running_statistics() -> Iterator[Bug]:
    def tracked(name: str, quantity: str, wrong: Any, spec: Spec = BATCH2D) -> Bug:
        case = with_layer(f"selftest/{name}", spec, IMAGE)
        return Bug(
            name,
            case,
            patched("refbp.batch_norm:updated_statistics", lambda op: wrong_statistics(op, wrong)),
            quantity=f"buffer.{quantity}",
        )

    def wrong_statistics(op: Any, wrong: Any) -> Any:
        def update(
            input: Array, mean: Array, var: Array, momentum: float = 0.1, per_sample: bool = False, *_: Any
        ) -> Any:
            return wrong(op, input, mean, var, momentum, per_sample)

        return update

    def biased(op: Any, x: Array, mean: Array, var: Array, m: float, per_sample: bool) -> Any:
        n = x.size // x.shape[1]
        new_mean, new_var = op(x, mean, var, m, per_sample)
        return new_mean, ((new_var - (1 - m) * var) * ((n - 1) / n) + (1 - m) * var).astype(var.dtype)

    yield tracked("batch norm: running variance is biased", "running_var", biased)
    yield tracked(
        "batch norm: momentum counts for the old value",
        "running_mean",
        lambda op, x, mean, var, m, p: op(x, mean, var, 1 - m, p),
    )
    yield tracked(
        "batch norm: running statistics not updated", "running_mean", lambda op, x, mean, var, m, p: (mean, var)
    )
    yield tracked(
        "batch norm: running mean holds the variance",
        "running_mean",
        lambda op, x, mean, var, m, p: op(x, mean, var, m, p)[::-1],
    )
    average = layer("BatchNorm2d", 3, momentum=None)
    yield tracked(
        "batch norm: cumulative average taken as momentum 0.1",
        "running_mean",
        lambda op, x, mean, var, m, p: op(x, mean, var, 0.1, p),
        average,
    )


def of_layer_norm() -> Iterator[Bug]:
    last = (1,)
    yield in_layer(
        "layer norm: statistics taken as constants", LAYER, (5, 6), grad_input=without("mean", "variance", axes=last)
    )
    yield in_layer("layer norm: term through the mean missing", LAYER, (5, 6), grad_input=without("mean", axes=last))
    yield in_layer(
        "layer norm: term through the variance missing", LAYER, (5, 6), grad_input=without("variance", axes=last)
    )
    yield in_layer(
        "layer norm: weight gradient of one row",
        LAYER,
        (5, 6),
        weight=lambda g, c: g * 0 + (c.grad_output * statistics(c, last)[0])[0],
    )
    yield in_layer("layer norm: bias gradient averaged", LAYER, (5, 6), bias=factor(0.2))
    yield in_layer("layer norm: output without bias", LAYER, (5, 6), output=lambda y, c: y - c.layer.params["bias"])
    yield in_layer("layer norm: upstream ignored", LAYER, (5, 6), grad_input=upstream_ignored)
    yield in_layer(
        "layer norm: unbiased variance",
        LAYER,
        (5, 6),
        output=lambda y, c: (y - c.layer.params["bias"]) * np.sqrt(5 / 6) + c.layer.params["bias"],
    )
    yield in_layer("layer norm: input gradient, one element off", LAYER, (5, 6), grad_input=one_element_off)
    yield option_ignored("layer norm: gradient with another eps", layer("LayerNorm", 6, eps=0.1), (5, 6), eps=1e-5)


def of_others() -> Iterator[Bug]:
    yield option_ignored("group norm: statistics of all groups together", GROUP, (3, 4, 4), num_groups=1)
    yield option_ignored("group norm: forward with one channel a group", GROUP, (3, 4, 4), "output", num_groups=4)
    yield in_layer("group norm: weight gradient reversed", GROUP, (3, 4, 4), weight=lambda g, c: g[::-1])
    yield in_layer("group norm: input gradient, one element off", GROUP, (3, 4, 4), grad_input=one_element_off)
    yield in_layer(
        "instance norm: statistics taken as constants",
        INSTANCE,
        IMAGE,
        grad_input=without("mean", "variance", axes=(2, 3)),
    )
    yield in_layer(
        "instance norm: statistics of the batch",
        INSTANCE,
        IMAGE,
        output=output_from(lambda v, n, eps: 1 / np.sqrt(v + eps)),
    )
    yield in_layer("instance norm: samples exchanged", INSTANCE, IMAGE, grad_input=batch_reversed)
    yield option_ignored("rms norm: gradient with another eps", layer("RMSNorm", 6, eps=0.1), (5, 6), eps=1e-5)
    yield in_layer("rms norm: root of the mean square left out backward", RMS, (5, 6), grad_input=passed_through)
    yield in_layer("rms norm: mean subtracted", RMS, (5, 6), output=lambda y, c: y - y.mean(-1, keepdims=True))
    yield in_layer("rms norm: weight gradient, one element off", RMS, (5, 6), weight=one_element_off)
    yield option_ignored("response norm: alpha ignored backward", RESPONSE, IMAGE, alpha=1e-4)
    yield option_ignored("response norm: another window", RESPONSE, IMAGE, size=2)
    yield option_ignored("response norm: exponent ignored forward", RESPONSE, IMAGE, "output", beta=1.0)
    yield in_layer("response norm: channels reversed", RESPONSE, IMAGE, grad_input=channels_reversed)


def per_sample(right: Array, call: Call) -> Array:
    x, params = call.input, call.layer.params
    y = (x - x.mean((2, 3), keepdims=True)) / np.sqrt(x.var((2, 3), keepdims=True) + call.layer.eps)
    return np.asarray(y * of_channels(params["weight"], x) + of_channels(params["bias"], x))


def bias_scaled(right: Array, call: Call) -> Array:
    weight, bias = (of_channels(call.layer.params[name], right) for name in ("weight", "bias"))
    return np.asarray(right - bias + weight * bias)
