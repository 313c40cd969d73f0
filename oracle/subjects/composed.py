"""Layers and losses that an array library lacks, written as its users write them: the forward pass only.

`np` is the library's namespace of NumPy's functions. So its derivatives of sums, products, powers and choices are tested.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy

from oracle.running_error.model import limits
from oracle.subjects.shapes import channelwise, flattened, reduced, softmax_dim, times_weight, trailing, unflattened
from oracle.subjects.walk import Layer, Op, Tensor


def layers(np: Any, constant: Callable[[Tensor], Tensor]) -> dict[str, Op]:
    """The layers. `constant` gives an array's values without its derivative."""

    def linear(layer: Layer, x: Tensor) -> Tensor:
        z = np.matmul(x, layer.weight.T)
        return z if layer.bias is None else z + layer.bias

    def normalized(layer: Layer, x: Tensor, axes: tuple[int, ...]) -> Tensor:
        centred = x - np.mean(x, axis=axes, keepdims=True)
        variance = np.mean(centred * centred, axis=axes, keepdims=True)
        return centred / np.sqrt(variance + layer.options["eps"])

    def scaled(layer: Layer, y: Tensor, dim: int) -> Tensor:
        y = y if layer.weight is None else y * channelwise(layer.weight, y, dim)
        return y if layer.bias is None else y + channelwise(layer.bias, y, dim)

    def layer_norm(layer: Layer, x: Tensor) -> Tensor:
        y = normalized(layer, x, trailing(layer, x))
        y = y if layer.weight is None else y * layer.weight
        return y if layer.bias is None else y + layer.bias

    def rms_norm(layer: Layer, x: Tensor) -> Tensor:
        eps = float(limits(numpy.dtype(layer.dtype)).eps) if layer.options["eps"] is None else layer.options["eps"]
        y = x / np.sqrt(np.mean(x * x, axis=trailing(layer, x), keepdims=True) + eps)
        return y if layer.weight is None else y * layer.weight

    def group_norm(layer: Layer, x: Tensor) -> Tensor:
        count = layer.options["num_groups"]
        groups = np.reshape(x, (x.shape[0], count, -1)) if x.shape[0] else np.reshape(x, (0, count, 1))
        return scaled(layer, np.reshape(normalized(layer, groups, (2,)), x.shape), 1)

    def batch_norm(layer: Layer, x: Tensor) -> Tensor:
        axes = (0, *range(2, len(x.shape)))
        mean: Tensor = layer.buffers.get("running_mean")
        var: Tensor = layer.buffers.get("running_var")
        if not layer.training and mean is not None:
            centred = x - channelwise(mean, x)
            return scaled(layer, centred / np.sqrt(channelwise(var, x) + layer.options["eps"]), 1)
        if mean is not None:
            layer.buffers["num_batches_tracked"] = count = layer.buffers["num_batches_tracked"] + 1
            momentum = 1 / float(count) if layer.options["momentum"] is None else layer.options["momentum"]
            size = math.prod(x.shape[axis] for axis in axes)
            if size:  # of no samples there are no statistics
                centred = x - np.mean(x, axis=axes, keepdims=True)
                unbiased = np.sum(centred * centred, axis=axes) / (size - 1)
                layer.buffers |= {
                    "running_mean": (1 - momentum) * mean + momentum * np.mean(x, axis=axes),
                    "running_var": (1 - momentum) * var + momentum * unbiased,
                }
        return scaled(layer, normalized(layer, x, axes), 1)

    def instance_norm(layer: Layer, x: Tensor) -> Tensor:
        layer.options.refuse("an instance norm that is composed", track_running_stats=False)
        rank = layer.rank
        y = normalized(layer, x, tuple(range(len(x.shape) - rank, len(x.shape))))
        return scaled(layer, y, len(x.shape) - rank - 1)

    def prelu(layer: Layer, x: Tensor) -> Tensor:
        return np.where(x > 0, x, channelwise(layer.weight, x, min(len(x.shape) - 1, 1)) * x)

    def softplus(layer: Layer, x: Tensor) -> Tensor:
        beta, threshold = layer.options["beta"], layer.options["threshold"]
        return np.where(beta * x > threshold, x, np.logaddexp(beta * x, 0.0) / beta)

    def softmax(layer: Layer, x: Tensor) -> Tensor:
        dim = softmax_dim(layer, x)
        e = np.exp(x - constant(np.max(x, axis=dim, keepdims=True)))
        return e / np.sum(e, axis=dim, keepdims=True)

    def threshold(layer: Layer, x: Tensor) -> Tensor:
        return np.where(x <= layer.options["threshold"], layer.options["value"], x)

    def hardshrink(layer: Layer, x: Tensor) -> Tensor:
        return np.where(np.abs(x) <= layer.options["lambd"], 0.0, x)

    def clipped(low: str | float, high: str | float) -> Op:
        def op(layer: Layer, x: Tensor) -> Tensor:
            ends = [layer.options[end] if isinstance(end, str) else end for end in (low, high)]
            return np.clip(x, *ends)

        return op

    return {
        "Linear": linear,
        "LayerNorm": layer_norm,
        "RMSNorm": rms_norm,
        "GroupNorm": group_norm,
        **{f"BatchNorm{rank}d": batch_norm for rank in (1, 2, 3)},
        **{f"InstanceNorm{rank}d": instance_norm for rank in (1, 2, 3)},
        "Flatten": lambda layer, x: np.reshape(x, flattened(layer, x)),
        "Unflatten": lambda layer, x: np.reshape(x, unflattened(layer, x)),
        "Identity": lambda layer, x: x,
        "PReLU": prelu,
        "Softplus": softplus,
        "Softmax": softmax,
        "Threshold": threshold,
        "Hardshrink": hardshrink,
        "Hardtanh": clipped("min_val", "max_val"),
        "ReLU6": clipped(0.0, 6.0),
        "ReLU": lambda layer, x: np.maximum(x, 0.0),
        "LeakyReLU": lambda layer, x: np.where(x > 0, x, layer.options["negative_slope"] * x),
        "ELU": lambda layer, x: np.where(x > 0, x, layer.options["alpha"] * np.expm1(np.where(x > 0, 0.0, x))),
        "LogSigmoid": lambda layer, x: -np.logaddexp(-x, 0.0),
        "Sigmoid": lambda layer, x: 1 / (1 + np.exp(-x)),
        "Softsign": lambda layer, x: x / (1 + np.abs(x)),
        "Tanh": lambda layer, x: np.tanh(x),
        "Tanhshrink": lambda layer, x: x - np.tanh(x),
    }


def losses(np: Any) -> dict[str, Op]:
    def binary_cross_entropy_with_logits(layer: Layer, x: Tensor, target: Tensor) -> Tensor:
        layer.options.refuse("a binary cross entropy by logaddexp", pos_weight=None)
        return reduced(layer, times_weight(layer, np.logaddexp(x, 0.0) - target * x))

    def huber(error: Tensor, delta: float) -> Tensor:
        size = np.abs(error)
        return np.where(size < delta, 0.5 * error * error, delta * (size - 0.5 * delta))

    def smooth_l1(layer: Layer, x: Tensor, target: Tensor) -> Tensor:
        beta = layer.options["beta"]
        return reduced(layer, huber(x - target, beta) / beta if beta else np.abs(x - target))

    def margin_ranking(layer: Layer, x: Tensor, input2: Tensor, target: Tensor) -> Tensor:
        return reduced(layer, np.maximum(-target * (x - input2) + layer.options["margin"], 0.0))

    return {
        "MSELoss": lambda layer, x, target: reduced(layer, (x - target) ** 2),
        "L1Loss": lambda layer, x, target: reduced(layer, np.abs(x - target)),
        "HuberLoss": lambda layer, x, target: reduced(layer, huber(x - target, layer.options["delta"])),
        "SmoothL1Loss": smooth_l1,
        "BCEWithLogitsLoss": binary_cross_entropy_with_logits,
        "SoftMarginLoss": lambda layer, x, target: reduced(layer, np.logaddexp(-target * x, 0.0)),
        "MarginRankingLoss": margin_ranking,
    }
