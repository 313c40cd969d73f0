"""Losses as mlx.nn.losses has them."""

from __future__ import annotations

from collections.abc import Callable

import mlx.core as mx
from mlx import nn

from oracle.subjects import composed
from oracle.subjects.shapes import reduced, times_weight
from oracle.subjects.walk import Layer, Op, Tensor
from oracle.trace import Unsupported


def cross_entropy(layer: Layer, x: Tensor, target: Tensor) -> Tensor:
    layer.options.refuse("mlx.nn.losses.cross_entropy, whose weights are of samples,", weight=None)
    dim, smoothing = 0 if x.ndim == 1 else 1, layer.options["label_smoothing"]
    as_classes = mx.issubdtype(target.dtype, mx.integer)
    if as_classes and (target == layer.options["ignore_index"]).any().item():
        raise Unsupported("mlx.nn.losses.cross_entropy ignores no class")
    if not as_classes and smoothing:
        raise Unsupported("mlx.nn.losses.cross_entropy smooths labels that are classes")
    terms = nn.losses.cross_entropy(x, target, axis=dim, label_smoothing=smoothing)
    return reduced(layer, terms)


def nll(layer: Layer, x: Tensor, target: Tensor) -> Tensor:
    layer.options.refuse("mlx.nn.losses.nll_loss", weight=None)
    if (target == layer.options["ignore_index"]).any().item():
        raise Unsupported("mlx.nn.losses.nll_loss ignores no class")
    return reduced(layer, nn.losses.nll_loss(x, target, axis=0 if x.ndim == 1 else 1))


def binary_cross_entropy(layer: Layer, x: Tensor, target: Tensor) -> Tensor:
    layer.options.refuse("mlx.nn.losses.binary_cross_entropy", pos_weight=None)
    with_logits = layer.type == "BCEWithLogitsLoss"
    terms = nn.losses.binary_cross_entropy(x, target, with_logits=with_logits, reduction="none")
    return reduced(layer, times_weight(layer, terms))


def kl_div(layer: Layer, x: Tensor, target: Tensor) -> Tensor:
    how = layer.options["reduction"]
    if not layer.options["log_target"] or how not in ("batchmean", "sum") or x.ndim != 2:
        raise Unsupported("mlx.nn.losses.kl_div_loss takes logarithms, and adds over the classes")
    terms = nn.losses.kl_div_loss(x, target, axis=1)
    return terms.mean() if how == "batchmean" else terms.sum()


def gaussian_nll(layer: Layer, x: Tensor, target: Tensor, var: Tensor) -> Tensor:
    if tuple(x.shape) != tuple(var.shape):
        raise Unsupported("mlx.nn.losses.gaussian_nll_loss takes a variance for each element")
    full, eps, how = (layer.options[option] for option in ("full", "eps", "reduction"))
    return nn.losses.gaussian_nll_loss(x, target, var, full, eps, how)


def cosine_embedding(layer: Layer, x: Tensor, input2: Tensor, target: Tensor) -> Tensor:
    if layer.dtype == "float64":
        raise Unsupported("mlx.nn.losses.cosine_similarity_loss does not add torch's 1e-12, which shows in float64")
    cosine = nn.losses.cosine_similarity_loss(x, input2, axis=-1, reduction="none")
    return reduced(layer, mx.where(target == 1, 1 - cosine, nn.relu(cosine - layer.options["margin"])))


def loss(function: Callable[..., Tensor], *arguments: str) -> Op:
    """A function of mlx.nn.losses, given the loss's arguments and some of its options."""
    return lambda layer, *given: function(*given, *(layer.options[argument] for argument in arguments))


def smooth_l1(layer: Layer, x: Tensor, target: Tensor) -> Tensor:
    beta, how = layer.options["beta"], layer.options["reduction"]
    return nn.losses.smooth_l1_loss(x, target, beta, how) if beta else nn.losses.l1_loss(x, target, how)


LOSSES: dict[str, Op] = {
    **composed.losses(mx),
    "MSELoss": loss(nn.losses.mse_loss, "reduction"),
    "L1Loss": loss(nn.losses.l1_loss, "reduction"),
    "SmoothL1Loss": smooth_l1,
    "HuberLoss": loss(nn.losses.huber_loss, "delta", "reduction"),
    "CrossEntropyLoss": cross_entropy,
    "NLLLoss": nll,
    "BCELoss": binary_cross_entropy,
    "BCEWithLogitsLoss": binary_cross_entropy,
    "KLDivLoss": kl_div,
    "GaussianNLLLoss": gaussian_nll,
    "CosineEmbeddingLoss": cosine_embedding,
    "MarginRankingLoss": loss(nn.losses.margin_ranking_loss, "margin", "reduction"),
}
