"""Norms and dropout, from refbp.functional."""

from __future__ import annotations

from typing import Any

import numpy as np

from oracle.programs.adjoint import plain
from oracle.programs.table import rule
from refbp import functional
from refbp.normalization import layer_norm


@rule("native_layer_norm")
def native_layer_norm(
    input: Any, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> Any:
    """`refbp.functional.layer_norm`, without its checks, which would cast 16-bit gradients to the wider dtype of y."""
    y, back = layer_norm(input, tuple(normalized_shape), weight, bias, eps)

    def backward(g: Any, *_: Any) -> Any:
        grad_input, grad_weight, grad_bias = back(g)
        return grad_input, None, grad_weight, grad_bias

    return (y, None, None), backward


@rule("native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_functional")
def native_batch_norm(
    input: Any, weight: Any, bias: Any, running_mean: Any, running_var: Any, training: bool, momentum: float, eps: float
) -> Any:
    """`refbp.functional.batch_norm`."""
    y, back = functional.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
    return (y, None, None), lambda g, *_: back(g)


@rule("_native_batch_norm_legit.no_stats")
def native_batch_norm_without_statistics(
    input: Any, weight: Any, bias: Any, training: bool, momentum: float, eps: float
) -> Any:
    """`refbp.functional.batch_norm` without running statistics."""
    y, back = functional.batch_norm(input, None, None, weight, bias, training, momentum, eps)
    return (y, None, None), lambda g, *_: back(g)


@rule("native_group_norm")
def native_group_norm(input: Any, weight: Any, bias: Any, N: int, C: int, HxW: int, group: int, eps: float) -> Any:
    """`refbp.functional.group_norm`."""
    y, back = functional.group_norm(input.reshape(N, C, HxW), group, weight, bias, eps)

    def backward(g: Any, *_: Any) -> Any:
        grad_input, grad_weight, grad_bias = back(g.reshape(N, C, HxW))
        return grad_input.reshape(input.shape), grad_weight, grad_bias

    return (y.reshape(input.shape), None, None), backward


@rule("_fused_rms_norm")
def fused_rms_norm(input: Any, normalized_shape: Any, weight: Any = None, eps: float | None = None) -> Any:
    """`refbp.functional.rms_norm`."""
    y, back = functional.rms_norm(input, tuple(normalized_shape), weight, eps)

    def backward(g: Any, *_: Any) -> Any:
        grad_input, grad_weight = back(g)
        return grad_input, None, grad_weight

    return (y, None), backward


@rule("native_dropout", shown=True)
def native_dropout(input: Any, p: float, train: bool | None, *, shown: Any) -> Any:
    """x m / (1 - p) with the mask that was drawn; g m / (1 - p)."""
    if not train:
        return (input, shown[1].numbers), lambda g, _: (g,)
    mask, scale = shown[1].numbers, 0.0 if p == 1 else 1.0 / (1.0 - p)

    def kept(x: Any) -> Any:
        return np.where(mask, x * scale, 0.0)

    return (kept(input), mask), lambda g, _: (kept(g),)


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
