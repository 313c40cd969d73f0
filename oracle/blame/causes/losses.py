"""Hypotheses about a loss: a weight of the positive class in the wrong place, a threshold for signed differences, lost signs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from oracle.blame.causes.evidence import Evidence, Hypothesis


def hypotheses(e: Evidence) -> Iterator[Hypothesis]:
    if e.case.loss is None or e.case.layers or e.quantity not in ("output", "grad_input") or len(e.case.inputs) != 1:
        return
    target = np.asarray(e.case.targets[0][0])
    if target.shape != e.input.shape or target.dtype.kind != "f" or not target.size:
        return
    x, t = e.input.astype(np.float64), target.astype(np.float64)
    with np.errstate(all="ignore"):
        yield from of_positive_weight(e, x, t)
        yield from of_signed_threshold(e, x, t)


def of_positive_weight(e: Evidence, x: Any, t: Any) -> Iterator[Hypothesis]:
    """pos_weight scales more, or less, than the terms of the positive class."""
    assert e.case.loss is not None
    weight = e.case.loss.options.get("pos_weight")
    if weight is None or e.case.loss.options.get("weight") is not None:
        return
    p = np.asarray(weight, np.float64)
    softplus = np.log1p(np.exp(-np.abs(x)))
    log_sigmoid, probability = np.maximum(-x, 0) + softplus, 1 / (1 + np.exp(-x))
    plain, slope = (1 - t) * x + log_sigmoid, probability - t
    small = np.exp(-np.abs(x)) / (1 + np.exp(-np.abs(x)))
    trials: dict[str, tuple[Any, Any]] = {
        "is taken for weight: it scales all of an element's loss": (p * plain, p * slope),
        "scales all of an element's loss by 1 + (pos_weight - 1) target": (
            (1 + (p - 1) * t) * plain,
            (1 + (p - 1) * t) * slope,
        ),
        "scales the logarithm alone, without its shift": (
            np.maximum(x, 0) - x * t + p * softplus,
            (x > 0) - t - np.sign(x) * p * small,
        ),
    }
    for words, (losses, slopes) in trials.items():
        yield from reduced(e, "option", f"pos_weight {words}", losses, slopes)


def of_signed_threshold(e: Evidence, x: Any, t: Any) -> Iterator[Hypothesis]:
    """A threshold that is compared with the difference instead of its size."""
    loss = e.case.loss
    assert loss is not None
    if loss.type not in ("SmoothL1Loss", "HuberLoss"):
        return
    smooth = loss.type == "SmoothL1Loss"
    delta = float(loss.options.get("beta" if smooth else "delta", 1.0))
    d = x - t
    losses = np.where(d < delta, d * d / 2, delta * (np.abs(d) - delta / 2))
    slopes = np.where(d < delta, d, delta * np.sign(d))
    scale = 1 / delta if smooth and delta else 1.0
    words = "the threshold is compared with the difference instead of its size"
    yield from reduced(e, "output" if e.quantity == "output" else "derivative", words, losses * scale, slopes * scale)


def reduced(e: Evidence, cause: str, words: str, losses: Any, slopes: Any) -> Iterator[Hypothesis]:
    """The losses of all elements, or their gradients, by the loss's reduction."""
    assert e.case.loss is not None
    reduction = e.case.loss.options.get("reduction", "mean")
    if e.quantity == "grad_input":
        value = slopes * e.upstream_or_one / (losses.size if reduction == "mean" else 1)
        size = np.abs(value) + np.max(np.abs(value), initial=0.0) / 8
    elif reduction == "none":
        value = losses
        size = np.abs(losses) + 1
    else:
        value = np.asarray(losses.sum() if reduction == "sum" else losses.mean())
        size = np.asarray(np.abs(losses).sum() if reduction == "sum" else np.abs(losses).mean())
    yield Hypothesis(cause, words, np.asarray(value), np.hypot(e.expected.sigma, 4 * e.model.unit_roundoff * size))
