"""Batch and instance normalisation: statistics per channel, whose running averages the layers may keep for evaluation."""

from __future__ import annotations

import math
from typing import TypeAlias, Unpack

import numpy as np

from refbp.arrays import Array, Backward
from refbp.docstring import documented_by
from refbp.layer import LayerOptions
from refbp.normalization import (
    add_affine,
    affine,
    channel_shape,
    mean_over,
    moments,
    require_several,
    standardized,
    weight_and_bias,
)
from refbp.ranks import OfRank

Statistics: TypeAlias = tuple[Array, Array]


def batch_norm(
    input: Array,
    running_mean: Array | None,
    running_var: Array | None,
    weight: Array | None = None,
    bias: Array | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> tuple[Array, Backward]:
    """y = (x - μ) / √(σ² + eps) w + b per channel: in training with the batch's μ and σ² (biased), else the running ones.

    The op reads the running statistics and never writes them; `refbp.batch_norm.updated_statistics` gives the new ones. The
    momentum has no effect here; it is an argument because torch's function has it. Source: Ioffe and Szegedy, arXiv:1502.03167.

    Shape: input and output (N, C, *); running_mean, running_var, weight, bias (C).
    Gradients, with g = grad_output, x̂ = (x - μ) s and s = 1/√(σ² + eps); backward gives those of input, weight and bias:
        grad_input  = s (g w - mean(g w) - x̂ mean(g w x̂)) in training, the means over batch and positions, else s g w
        grad_weight = Σ g x̂ and grad_bias = Σ g over batch and positions
    Raises: ValueError for a single value per channel or an eps of 0 in training, an eps below 0, missing running statistics in
        evaluation, or another number of channels.
    """
    y, backward, _ = _batch_norm(input, running_mean, running_var, weight, bias, training, eps)
    return y, backward


# Elements that are normalised at a time: few enough that they and the arrays made of them stay in the processor's cache.
BLOCK = 2**16


def _batch_norm(
    input: Array,
    running_mean: Array | None,
    running_var: Array | None,
    weight: Array | None,
    bias: Array | None,
    training: bool,
    eps: float,
) -> tuple[Array, Backward, Statistics]:
    """Output, backward, and the mean and variance used, (1, C, 1, ...). Channels are independent: it takes a few at a time."""
    shape = channel_shape(input, running_mean, running_var, weight, bias, name="batch_norm")
    count = math.prod((input.shape[0], *input.shape[2:]))
    running = None
    if training:
        require_several(count, input, "batch_norm", "channel")
    elif running_mean is None or running_var is None:
        raise ValueError("batch_norm expects running_mean and running_var when not training, got None")
    else:
        running = (running_mean.reshape((1, *shape)), running_var.reshape((1, *shape)))
    if eps < 0 or (training and eps == 0):
        raise ValueError(f"batch_norm expects a positive eps in training, else one of at least 0, got {eps}")
    y, mean, variance = (np.empty_like(input, shape=size) for size in (input.shape, (1, *shape), (1, *shape)))
    width = max(1, BLOCK // max(count, 1))
    parts = [slice(first, first + width) for first in range(0, input.shape[1], width)]
    backwards = []
    for part in parts:
        given = None if running is None else (running[0][:, part], running[1][:, part])
        w, b = (None if param is None else param.reshape((1, *shape))[:, part] for param in (weight, bias))
        y[:, part], backward_part, (mean[:, part], variance[:, part]) = _normalized(input[:, part], w, b, eps, given)
        backwards.append(backward_part)

    def backward(grad_output: Array) -> tuple[Array, Array | None, Array | None]:
        grad_input, weighted, total = (np.empty_like(like) for like in (input, mean, mean))
        for part, backward_part in zip(parts, backwards, strict=True):
            grad_input[:, part], weighted[:, part], total[:, part] = backward_part(grad_output[:, part])
        grad_weight = None if weight is None else weighted.reshape(weight.shape)
        return grad_input, grad_weight, None if bias is None else total.reshape(bias.shape)

    return y, backward, (mean, variance)


def _normalized(
    x: Array, weight: Array | None, bias: Array | None, eps: float, running: Statistics | None
) -> tuple[Array, Backward, Statistics]:
    """y = x̂ w + b with x̂ = (x - μ) s and s = 1/√(σ² + eps), per channel; μ and σ² are x's own moments unless `running`.

    Gradients, with g = grad_output, sums and means over batch and positions:
        own moments: grad_x = s w (g - mean(g) - x̂ mean(g x̂)), the second term through μ, the third through σ²
        running:     grad_x = s w g
        both:        Σ g x̂ for w, Σ g for b
    """
    axes = (0, *range(2, x.ndim))
    mean, variance = moments(x, axes) if running is None else running
    s = 1.0 / np.sqrt(variance + eps)
    # One product and one shift, as in kernels. Where x is close to the mean it rounds differently from (x - mean) s.
    x_hat = x * s - mean * s
    y = x_hat if weight is None else x_hat * weight
    scale = s if weight is None else s * weight
    count = float(max(math.prod(x.shape[axis] for axis in axes), 1))

    def backward(g: Array) -> tuple[Array, Array, Array]:
        total: Array = np.sum(g, axis=axes, keepdims=True)
        weighted: Array = np.sum(g * x_hat, axis=axes, keepdims=True)
        if running is None:
            g = g - total / count - x_hat * (weighted / count)
        return g * scale, weighted, total

    return y if bias is None else y + bias, backward, (mean, variance)


def instance_norm(
    input: Array,
    running_mean: Array | None = None,
    running_var: Array | None = None,
    weight: Array | None = None,
    bias: Array | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> tuple[Array, Backward]:
    """y = (x - μ) / √(σ² + eps) w + b, with μ and σ² (biased) per sample and channel, w and b per channel.

    Without use_input_stats it is batch_norm with the running statistics; the op reads them and never writes them. Source:
    Ulyanov et al., arXiv:1607.08022.

    Shape: input and output (N, C, *); running_mean, running_var, weight, bias (C).
    Gradients: as batch_norm's in training, with means over the positions of a sample and channel; without use_input_stats as
        batch_norm's in evaluation.
    Raises: ValueError for a single position per channel, or another number of channels; without use_input_stats for anything
        that batch_norm refuses in evaluation.
    Conventions: with an eps of 0, as in torch, a constant channel gives y = b, and the gradients of x and w are 0 there.
    """
    if not use_input_stats:
        return batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    shape = channel_shape(input, running_mean, running_var, weight, bias, name="instance_norm")
    require_several(math.prod(input.shape[2:]), input, "instance_norm", "sample and channel")
    x_hat, backward_x = standardized(input, tuple(range(2, input.ndim)), eps, constant=0.0)
    return affine(x_hat, backward_x, weight, bias, shape)


def updated_statistics(
    input: Array,
    running_mean: Array,
    running_var: Array,
    momentum: float = 0.1,
    per_sample: bool = False,
    statistics: Statistics | None = None,
) -> tuple[Array, Array]:
    """The new running mean and variance: running ← (1 - momentum) running + momentum statistic, per channel.

    The statistics are the batch's mean and its *unbiased* variance. An empty batch changes nothing.

    per_sample: True for instance_norm; the statistic is then the mean over the samples' own statistics.
    statistics: the input's mean and biased variance, if they are known already.
    Raises: ValueError for a single value per channel, which has no unbiased variance.
    """
    axes = (*(() if per_sample else (0,)), *range(2, input.ndim))
    count = math.prod(input.shape[axis] for axis in axes)
    require_several(count, input, "updated_statistics", "sample and channel" if per_sample else "channel")
    if input.size == 0:
        return running_mean, running_var
    mean, variance = moments(input, axes) if statistics is None else statistics
    unbiased = variance * (count / (count - 1))

    def update(running: Array, statistic: Array) -> Array:
        new = mean_over(statistic, (0,)).reshape(running.shape).astype(running.dtype, copy=False)
        return momentum * new + (1.0 - momentum) * running

    return update(running_mean, mean), update(running_var, unbiased)


class _RunningStatistics(OfRank):
    """The options, parameters and buffers that batch and instance normalisation share.

    dimensions: the numbers of dimensions that an input may have.
    """

    dimensions: tuple[int, ...]
    buffer_names = ("running_mean", "running_var", "num_batches_tracked")

    def __init__(
        self,
        num_features: int,
        eps: float,
        momentum: float | None,
        affine: bool,
        track_running_stats: bool,
        bias: bool,
        options: LayerOptions,
    ) -> None:
        super().__init__(**options)
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.track_running_stats = track_running_stats
        add_affine(self, (num_features,), affine, bias)
        if track_running_stats:
            initial = np.zeros(num_features, self.dtype), np.ones(num_features, self.dtype), np.zeros((), np.int64)
            self._buffers.update(zip(self.buffer_names, initial, strict=True))

    def check_input(self, input: Array) -> None:
        super().check_input(input)
        if input.ndim not in self.dimensions:
            taken = " or ".join(map(str, self.dimensions))
            raise ValueError(f"{type(self).__name__} expects an input of {taken} dimensions, got shape {input.shape}")

    def running(self, input: Array) -> tuple[Array | None, Array | None]:
        """Running mean and variance in the input's dtype; None if they are not tracked."""
        if not self.track_running_stats:
            return None, None
        mean, variance = self._buffers["running_mean"], self._buffers["running_var"]
        return mean.astype(input.dtype, copy=False), variance.astype(input.dtype, copy=False)

    def track(self, input: Array, momentum: float, per_sample: bool, statistics: Statistics | None = None) -> None:
        """Move the running statistics towards the input's."""
        buffers = self._buffers
        buffers["running_mean"], buffers["running_var"] = updated_statistics(
            input, buffers["running_mean"], buffers["running_var"], momentum, per_sample, statistics
        )


@documented_by(batch_norm)
class _BatchNorm(_RunningStatistics):
    """torch.nn.{name}: `refbp.functional.batch_norm`.

    Parameters: weight, initially 1, and bias, initially 0, both (num_features); neither without affine, no bias with bias=False.
    Buffers: running_mean, initially 0, running_var, initially 1, and num_batches_tracked, unless track_running_stats is False.
        Each forward in training updates the first two: running ← (1 - momentum) running + momentum statistic, with the
        *unbiased* variance. With momentum None they are the averages over all batches so far.
    Raises: ValueError also for an input of another number of dimensions.
    Conventions: in evaluation the running statistics are used; without track_running_stats the batch's, as in training.
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        bias: bool = True,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, bias, options)
        self.dimensions = (2, 3) if self.rank == 1 else (self.rank + 2,)

    def op(self, input: Array, *params: Array) -> tuple[Array, Backward]:
        own_statistics = self.training or not self.track_running_stats
        y, backward, statistics = _batch_norm(
            input, *self.running(input), *weight_and_bias(params), own_statistics, self.eps
        )
        if self.training and self.track_running_stats:
            count = int(self._buffers["num_batches_tracked"]) + 1
            self._buffers["num_batches_tracked"] = np.full((), count, np.int64)
            momentum = 1.0 / count if self.momentum is None else self.momentum
            self.track(input, momentum, per_sample=False, statistics=statistics)
        return y, backward


@documented_by(instance_norm)
class _InstanceNorm(_RunningStatistics):
    """torch.nn.{name}: `refbp.functional.instance_norm`.

    Parameters: weight, initially 1, and bias, initially 0, both (num_features), with affine only; no bias with bias=False.
    Buffers: with track_running_stats running_mean, running_var and num_batches_tracked, as in BatchNorm{rank}d. A batch
        contributes the mean of its samples' statistics.
    Raises: ValueError also for an input of another number of dimensions.
    Conventions: as in torch, num_batches_tracked stays 0, momentum None counts as 0 (running statistics then stay as they are,
        as long as they are finite), and without affine and running statistics any number of channels is accepted. An empty
        batch changes no running statistics, as in batch_norm; torch's become NaN.
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        *,
        bias: bool = True,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, bias, options)
        self.dimensions = (self.rank + 1, self.rank + 2)

    def op(self, input: Array, *params: Array) -> tuple[Array, Backward]:
        batched = input.ndim == max(self.dimensions)
        x = input if batched else np.expand_dims(input, 0)
        own_statistics = self.training or not self.track_running_stats
        y, backward_x = instance_norm(
            x, *self.running(x), *weight_and_bias(params), use_input_stats=own_statistics, eps=self.eps
        )
        if self.training and self.track_running_stats:
            self.track(x, 0.0 if self.momentum is None else self.momentum, per_sample=True)

        def backward(grad_output: Array) -> tuple[Array, Array | None, Array | None]:
            grad_input, grad_weight, grad_bias = backward_x(grad_output.reshape(y.shape))
            return grad_input.reshape(input.shape), grad_weight, grad_bias

        return y.reshape(input.shape), backward


class BatchNorm1d(_BatchNorm, rank=1):
    """The input is (N, C) or (N, C, L).

    >>> layer = refbp.BatchNorm1d(1, eps=1e-12, momentum=0.5)
    >>> layer(np.array([[1.0], [3.0]]))
    array([[-1.],
           [ 1.]])
    >>> layer.buffers["running_mean"], layer.buffers["running_var"]  # halfway from 0 to 2, and from 1 to 2
    (array([1.]), array([1.5]))
    >>> layer.eval()(np.array([[1.0]]))
    array([[0.]])
    """


class BatchNorm2d(_BatchNorm, rank=2):
    """The input is (N, C, H, W)."""


class BatchNorm3d(_BatchNorm, rank=3):
    """The input is (N, C, D, H, W)."""


class InstanceNorm1d(_InstanceNorm, rank=1):
    """The input is (N, C, L) or (C, L)."""


class InstanceNorm2d(_InstanceNorm, rank=2):
    """The input is (N, C, H, W) or (C, H, W)."""


class InstanceNorm3d(_InstanceNorm, rank=3):
    """The input is (N, C, D, H, W) or (C, D, H, W)."""
