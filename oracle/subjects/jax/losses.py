"""Losses as optax has them."""

from __future__ import annotations

from collections.abc import Callable

import jax
import optax
from jax import numpy as jnp

from oracle.subjects import composed
from oracle.subjects.shapes import reduced, times_weight
from oracle.subjects.walk import Layer, Op, Tensor
from oracle.trace import Unsupported


def cross_entropy(layer: Layer, x: Tensor, target: Tensor) -> Tensor:
    options, dim, smoothing = layer.options, 0 if x.ndim == 1 else 1, layer.options["label_smoothing"]
    if jnp.issubdtype(target.dtype, jnp.floating):
        if options["weight"] is not None:
            raise Unsupported("optax.softmax_cross_entropy has no weights of classes")
        smooth = target if not smoothing else target * (1 - smoothing) + smoothing / x.shape[dim]
        terms = optax.softmax_cross_entropy(x, smooth, axis=dim)
        return reduced(layer, terms, max(terms.size, 1) if x.size else None)
    if smoothing:
        if options["weight"] is not None or options["ignore_index"] >= 0:
            raise Unsupported("optax.smooth_labels has neither weights of classes nor an ignored one")
        scores = jnp.moveaxis(x, dim, -1)  # where smooth_labels looks for the classes
        smooth = optax.smooth_labels(jax.nn.one_hot(target, x.shape[dim], dtype=x.dtype), smoothing)
        return reduced(layer, optax.softmax_cross_entropy(scores, smooth))
    return weighted(
        layer, lambda classes: optax.softmax_cross_entropy_with_integer_labels(x, classes, axis=dim), x, target
    )


def nll(layer: Layer, x: Tensor, target: Tensor) -> Tensor:
    dim = 0 if x.ndim == 1 else 1

    def terms(classes: Tensor) -> Tensor:
        return -jnp.squeeze(jnp.take_along_axis(x, jnp.expand_dims(classes, dim), dim), dim)

    return weighted(layer, terms, x, target)


def weighted(layer: Layer, terms: Callable[[Tensor], Tensor], x: Tensor, target: Tensor) -> Tensor:
    """Multiplies optax's terms by per-class weights, and by zero for the ignored class, as its users do."""
    counted = target != layer.options["ignore_index"]
    classes = jnp.where(counted, target, 0)
    if target.size and not counted.any():
        raise Unsupported("a mean over terms of which all are ignored is not defined in optax")
    if layer.options["weight"] is None:
        weight = counted.astype(x.dtype)
    else:
        weight = jnp.where(counted, layer.tensor("weight")[classes], 0)
    return reduced(layer, weight * terms(classes), weight.sum())


def binary_cross_entropy_with_logits(layer: Layer, x: Tensor, target: Tensor) -> Tensor:
    layer.options.refuse("optax.sigmoid_binary_cross_entropy", pos_weight=None)
    return reduced(layer, times_weight(layer, optax.sigmoid_binary_cross_entropy(x, target)))


def kl_div(layer: Layer, x: Tensor, target: Tensor) -> Tensor:
    divergence = (
        optax.losses.kl_divergence_with_log_targets if layer.options["log_target"] else optax.losses.kl_divergence
    )
    terms = divergence(x, target, axis=())
    return terms.sum() / x.shape[0] if layer.options["reduction"] == "batchmean" else reduced(layer, terms)


def smooth_l1(layer: Layer, x: Tensor, target: Tensor) -> Tensor:
    beta = layer.options["beta"]
    return reduced(layer, optax.huber_loss(x, target, delta=beta) / beta if beta else jnp.abs(x - target))


def cosine_embedding(layer: Layer, x: Tensor, input2: Tensor, target: Tensor) -> Tensor:
    if layer.dtype == "float64":
        raise Unsupported("optax.cosine_similarity does not add torch's 1e-12, which shows in float64")
    cosine = optax.cosine_similarity(x, input2)
    return reduced(layer, jnp.where(target == 1, 1 - cosine, jax.nn.relu(cosine - layer.options["margin"])))


LOSSES: dict[str, Op] = {
    **composed.losses(jnp),
    "MSELoss": lambda layer, x, target: reduced(layer, optax.squared_error(x, target)),
    "SmoothL1Loss": smooth_l1,
    "HuberLoss": lambda layer, x, target: reduced(layer, optax.huber_loss(x, target, delta=layer.options["delta"])),
    "CrossEntropyLoss": cross_entropy,
    "NLLLoss": nll,
    "BCEWithLogitsLoss": binary_cross_entropy_with_logits,
    "KLDivLoss": kl_div,
    "CosineEmbeddingLoss": cosine_embedding,
}
