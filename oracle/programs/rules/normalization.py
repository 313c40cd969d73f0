"""Norms and dropout, from refbp.functional."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from oracle.execution.norm_formulas import Moments, of_groups, of_rms, of_rows
from oracle.programs.adjoint import plain
from oracle.programs.table import rule
from oracle.running_error import ErrorArray
from oracle.running_error.stores import with_more
from refbp import functional
from refbp.dropout import dropout
from refbp.normalization import layer_norm


@rule("native_layer_norm")
def native_layer_norm(
    input: Any, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> Any:
    """`refbp.functional.layer_norm`, without its checks, which would cast 16-bit gradients to the wider dtype of y; μ and 1/σ."""
    y, back = layer_norm(input, tuple(normalized_shape), weight, bias, eps)
    rank, moments = len(normalized_shape), None
    if isinstance(input, ErrorArray) and input.size:
        moments = of_rows(input, 1.0 if weight is None else plain(weight), rank, eps)
    average, rstd, of_statistics = _statistics(input, tuple(range(input.ndim - rank, input.ndim)), eps)

    def backward(g: Any, g_average: Any, g_rstd: Any) -> Any:
        grad_input, grad_weight, grad_bias = (None, None, None) if g is None else back(g)
        if grad_input is not None and moments is not None:
            grad_input = moments.grad_input(input, g, grad_input)
        return of_statistics(grad_input, g_average, g_rstd), None, grad_weight, grad_bias

    return (y, average, rstd), backward


def _statistics(x: Any, axes: tuple[int, ...], eps: float) -> Any:
    """The mean and 1/σ over dimensions, which are kept, and a function that adds their gradients to another of x."""
    count = float(math.prod(x.shape[axis] for axis in axes))
    average = np.sum(x, axis=axes, keepdims=True) / count
    deviation = x - average
    rstd = 1.0 / np.sqrt(np.sum(np.square(deviation), axis=axes, keepdims=True) / count + eps)

    def added(grad: Any, g_average: Any, g_rstd: Any) -> Any:
        if g_average is not None:
            share = np.broadcast_to(g_average / count, x.shape)
            grad = share if grad is None else grad + share
        if g_rstd is not None:
            share = deviation * (g_rstd * rstd**3 / -count)
            grad = share if grad is None else grad + share
        return grad

    return average, rstd, added


@rule("native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_functional")
def native_batch_norm(
    input: Any, weight: Any, bias: Any, running_mean: Any, running_var: Any, training: bool, momentum: float, eps: float
) -> Any:
    """`refbp.functional.batch_norm`, in every formula by which the layer may be computed."""
    made: Any = functional.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
    y, back = made
    if not training or not isinstance(input, ErrorArray) or not input.size:
        return (y, None, None), lambda g, *_: back(g)
    given = [own for own in (weight, bias, running_mean, running_var) if own is not None]
    keeps = all(own.model.stored is not None for own in given)  # with float32 parameters the statistics are float32
    others = (0, *range(2, input.ndim))
    scaled_by = 1.0 if weight is None else plain(weight).reshape(-1, *[1] * (input.ndim - 2))
    moments = Moments.of(input, scaled_by, eps, others, others, keeps)

    def backward(g: Any, *_: Any) -> Any:
        grad_input, grad_weight, grad_bias = back(g)
        grad_input = moments.grad_input(input, g, grad_input)
        if grad_weight is not None:
            grad_weight = moments.grad_weight(input, g, grad_weight)
        if grad_bias is not None and moments.narrow is not None:
            # Σ g is stored in g's 16 bits if g is not contiguous: reports/findings/torch-batch-norm-strided-gradient.md.
            grad_bias = with_more(grad_bias, moments.narrow.rounding(grad_bias.value))
        return grad_input, grad_weight, grad_bias

    return (moments.output(input, y), None, None), backward


@rule("_native_batch_norm_legit.no_stats")
def native_batch_norm_without_statistics(
    input: Any, weight: Any, bias: Any, training: bool, momentum: float, eps: float
) -> Any:
    """`refbp.functional.batch_norm` without running statistics."""
    return native_batch_norm(input, weight, bias, None, None, training, momentum, eps)


@rule("native_group_norm")
def native_group_norm(input: Any, weight: Any, bias: Any, N: int, C: int, HxW: int, group: int, eps: float) -> Any:
    """`refbp.functional.group_norm`, also from the statistics that its kernels store for the gradients; μ and 1/σ."""
    made: Any = functional.group_norm(input.reshape(N, C, HxW), group, weight, bias, eps)
    y, back = made
    moments = None
    if isinstance(input, ErrorArray) and input.size:
        keeps = all(own is None or own.model.stored is not None for own in (weight, bias))
        scaled_by = 1.0 if weight is None else plain(weight)
        moments, apart = of_groups(input.reshape(N, C, HxW), scaled_by, group, eps, keeps)

    average, rstd, of_statistics = _statistics(input.reshape(N, group, C // group * HxW), (2,), eps)

    def backward(g: Any, g_average: Any, g_rstd: Any) -> Any:
        if g_average is not None or g_rstd is not None:
            shaped = (None if own is None else own.reshape(N, group, 1) for own in (g_average, g_rstd))
            more = of_statistics(None, *shaped).reshape(input.shape)
            grad_input, *others = (None, None, None) if g is None else backward(g, None, None)
            return more if grad_input is None else grad_input + more, *others
        grad_input, grad_weight, grad_bias = back(g.reshape(N, C, HxW))
        if moments is not None:
            x, g, grad_input = (own.reshape(apart) for own in (input, g, grad_input))
            grad_input = moments.grad_input(x, g, grad_input)
            if grad_weight is not None:
                grad_weight = moments.grad_weight(x, g, grad_weight)
        return grad_input.reshape(input.shape), grad_weight, grad_bias

    return (y.reshape(input.shape), average.reshape(N, group), rstd.reshape(N, group)), backward


@rule("_fused_rms_norm")
def fused_rms_norm(input: Any, normalized_shape: Any, weight: Any = None, eps: float | None = None) -> Any:
    """`refbp.functional.rms_norm`."""
    y, back = functional.rms_norm(input, tuple(normalized_shape), weight, eps)

    def backward(g: Any, *_: Any) -> Any:
        grad_input, grad_weight = back(g)
        if isinstance(input, ErrorArray) and input.size:
            scaled_by = 1.0 if weight is None else plain(weight)
            grad_input = of_rms(input, g, scaled_by, len(normalized_shape), eps, grad_input)
        return grad_input, None, grad_weight

    return (y, None), backward


@rule("native_dropout", shown=True)
def native_dropout(input: Any, p: float, train: bool | None, *, shown: Any) -> Any:
    """`refbp.dropout.dropout` with the mask that was drawn: a product, so that an infinity that is dropped gives NaN."""
    mask = shown[1].numbers
    if train is not None and not train:
        return (input, mask), lambda g, _: (g,)
    y, back = dropout(input, p, mask=mask)
    return (y, mask), lambda g, _: (back(g),)


@rule("_weight_norm_interface")
def weight_norm(v: Any, g: Any, dim: int = 0) -> Any:
    """g v / ‖v‖ for each slice; g δ / ‖v‖ without its part along v, and Σ δ v / ‖v‖."""
    axes = tuple(axis for axis in range(v.ndim) if axis != dim % v.ndim)
    norms = np.sqrt(np.sum(np.square(v), axis=axes, keepdims=True))
    unit = v / norms

    def backward(delta: Any, _: Any = None) -> Any:
        along = np.sum(delta * unit, axis=axes, keepdims=True)
        return (delta - unit * along) * (g / norms), along

    return (unit * g, norms.reshape(plain(g).shape)), backward
