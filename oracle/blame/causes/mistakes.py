"""Hypotheses from public bug reports: weights updated too early, windows overwritten, ignored rows that count."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np

import refbp
from oracle.blame.causes.evidence import Evidence, Hypothesis


def hypotheses(e: Evidence) -> Iterator[Hypothesis]:
    yield from updated_too_early(e)
    yield from summed_over_everything(e)
    yield from row_length(e)
    yield from windows_overwritten(e)
    yield from ignored_rows(e)
    yield from cancelled(e)
    yield from batches(e)
    yield from sign_of_the_weight(e)
    yield from other_mask(e)


def updated_too_early(e: Evidence) -> Iterator[Hypothesis]:
    """The gradient is computed with the parameters after the update."""
    moved = {name: e.updated.get(name, value) for name, value in e.case.params.items()}
    if e.quantity == "grad_input" and e.case.layers and e.updated:
        words = "the weights were updated before the gradient went through them"
        yield from e.rerun("updated too early", words, params=moved)


def batches(e: Evidence) -> Iterator[Hypothesis]:
    """Gradients that should add up over several batches before an update."""
    every = e.case.update_every
    if every < 2 or not e.quantity.startswith("grad."):
        return
    words = "not summed over the batches since the last update: only the last of them"
    yield from e.rerun("not summed", words, update_every=1)
    words = "divided by the number of batches since the last update"
    yield Hypothesis("divisor", words, e.expected.value / every, e.expected.sigma)


def sign_of_the_weight(e: Evidence) -> Iterator[Hypothesis]:
    """A scale that is made positive by its absolute value, whose derivative is the sign."""
    for name, value in e.case.params.items():
        short = name.rpartition(".")[2]
        if short != "weight" or value.ndim != 1 or not (value < 0).any() or not e.case.layers:
            continue
        found = e.after(params={**e.case.params, name: np.abs(value)})
        if found is not None:
            sign = np.sign(value).astype(np.float64) if e.quantity == f"grad.{short}" else 1.0
            yield Hypothesis(
                "sign", "the weight's sign is lost: as if it were |weight|", found.value * sign, found.sigma
            )


def summed_over_everything(e: Evidence) -> Iterator[Hypothesis]:
    value, sigma = e.expected.value, e.expected.sigma
    if e.quantity.startswith("grad") and value.size > 1 and e.got.any():  # an array of zeros is not a sum
        spread = np.hypot(np.sqrt(np.sum(np.square(sigma))), e.model.unit_roundoff * np.sqrt(np.sum(np.square(value))))
        words = "one sum over everything stands in every element"
        yield Hypothesis("summed too far", words, np.full_like(value, value.sum()), np.full_like(value, spread))
        words = "one mean over everything stands in every element"
        yield Hypothesis("summed too far", words, np.full_like(value, value.mean()), np.full_like(value, spread))


def row_length(e: Evidence) -> Iterator[Hypothesis]:
    """The element of row r, column c is at r · height + c instead of r · width + c."""
    value, sigma = e.expected.value, e.expected.sigma
    if value.ndim < 2 or value.shape[-1] == value.shape[-2] or min(value.shape[-2:]) < 2:
        return
    height, width = value.shape[-2:]
    rows, columns = np.indices((height, width))
    places = np.minimum(rows * height + columns, height * width - 1).ravel()
    moved, allowed = (np.zeros((value.size // (height * width), height * width)) for _ in range(2))
    for line, error, own, size in zip(
        moved,
        allowed,
        value.reshape(moved.shape),
        np.broadcast_to(sigma, value.shape).reshape(moved.shape),
        strict=True,
    ):
        np.add.at(line, places, own)
        np.add.at(error, places, np.square(size) + np.square(2 * e.model.unit_roundoff * own))
    words = "the height is used as the length of a row, or the other way round"
    yield Hypothesis("row length", words, moved.reshape(value.shape), np.sqrt(allowed).reshape(value.shape) * 2)


def windows_overwritten(e: Evidence) -> Iterator[Hypothesis]:
    """Of several windows with the same maximum only the last, or the first, passes its gradient."""
    spec, g = e.spec, e.upstream
    if spec is None or g is None or e.quantity != "grad_input" or not spec.type.startswith("MaxPool"):
        return
    pool = getattr(refbp.functional, f"max_pool{spec.type[-2]}d")
    options = {name: value for name, value in spec.options.items() if name != "return_indices"}
    (output, indices), _ = pool(e.input.astype(np.float64), **options, return_indices=True)
    if output.shape != g.shape or not output.size:
        return
    rank = int(spec.type[-2])
    lead = int(np.prod(e.input.shape[:-rank], dtype=int))
    winners, grads = indices.reshape(lead, -1), g.astype(np.float64).reshape(lead, -1)
    for words, order in (("the last", slice(None)), ("the first", slice(None, None, -1))):
        result = np.zeros((lead, e.input.size // lead))
        for line, places, own in zip(result, winners, grads, strict=True):
            line[places[order]] = own[order]
        said = f"windows overwrite each other instead of adding up: {words} stays"
        yield Hypothesis("overwritten", said, result.reshape(e.input.shape), 0.0)


def ignored_rows(e: Evidence) -> Iterator[Hypothesis]:
    """Ignored rows get a gradient, or count in the mean."""
    loss = e.case.loss
    if loss is None or e.case.layers or loss.type not in ("CrossEntropyLoss", "NLLLoss") or e.input.ndim != 2:
        return
    labels, options = np.asarray(e.case.targets[0][0]), loss.options
    ignored = labels == options.get("ignore_index", -100)
    if labels.dtype.kind not in "iu" or not ignored.any() or ignored.all():
        return
    yield from _smoothed(e, ignored)
    kept = 1 - ignored.mean()
    if options.get("reduction", "mean") == "mean" and options.get("weight") is None:
        words = "ignored rows count in the mean"
        yield Hypothesis("ignored rows", words, e.expected.value * kept, 2 * e.expected.sigma)
    if e.quantity != "grad_input" or loss.type != "CrossEntropyLoss":
        return
    x = e.input.astype(np.float64)
    p = np.exp(x - x.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    upstream = _by_row(e)
    shares = {"mean": (1 / (~ignored).sum(), 1 / len(x))}.get(options.get("reduction", "mean"), (1.0,))
    for share in shares:
        for scaled in (1.0, share * (~ignored).sum()):
            own = p * share * upstream
            value = np.where(ignored[:, None], own, e.expected.value * scaled)
            sigma = 2 * e.expected.sigma + 4 * e.model.unit_roundoff * np.abs(own)
            yield Hypothesis("ignored rows", "rows that should be ignored get a gradient", value, sigma)


def _by_row(e: Evidence) -> Any:
    """The upstream gradient of each row as a column, or of the whole loss as a number."""
    upstream = e.upstream_or_one
    return upstream[:, None] if np.ndim(upstream) else upstream


def _smoothed(e: Evidence, ignored: Any) -> Iterator[Hypothesis]:
    """Ignored rows whose part of the label smoothing counts nevertheless, in the value or in the gradient."""
    assert e.case.loss is not None
    options = e.case.loss.options
    smoothing, reduction = float(options.get("label_smoothing", 0.0)), options.get("reduction", "mean")
    if not smoothing or options.get("weight") is not None or e.quantity not in ("output", "grad_input"):
        return
    x = e.input.astype(np.float64)
    z = x - x.max(1, keepdims=True)
    log_p = z - np.log(np.exp(z).sum(1, keepdims=True))
    share = smoothing / ((~ignored).sum() if reduction == "mean" else 1)
    if e.quantity == "output":
        own = np.where(ignored, -share * log_p.mean(1), 0.0)
        added = own if reduction == "none" else own.sum()
        size = np.abs(added)
    else:
        upstream = _by_row(e)
        own = (np.exp(log_p) - 1 / x.shape[1]) * share * upstream
        added = np.where(ignored[:, None], own, 0.0)
        size = np.where(ignored[:, None], share * np.abs(upstream), 0.0)
    sigma = 2 * e.expected.sigma + 4 * e.model.unit_roundoff * size
    words = "rows that should be ignored keep their share of the label smoothing"
    yield Hypothesis("ignored rows", words, e.expected.value + added, sigma)


def cancelled(e: Evidence) -> Iterator[Hypothesis]:
    """exp(x) - 1 computed by subtraction: its error is relative to exp(x), not to the result."""
    spec = e.spec
    if spec is None or spec.type not in ("ELU", "CELU", "SELU") or e.quantity not in ("output", "grad_input"):
        return
    size: Any = 2 * abs(float(spec.options.get("alpha", 1.0))) * e.model.unit_roundoff
    if e.upstream is not None and e.quantity == "grad_input":
        size = size * np.abs(e.upstream.astype(np.float64))
    words = "exp(x) - 1 in the place of expm1(x): digits cancel near zero"
    yield Hypothesis("cancellation", words, e.expected.value, np.hypot(e.expected.sigma, size))


def other_mask(e: Evidence) -> Iterator[Hypothesis]:
    """Dropout whose backward keeps other elements than its forward, or all of them."""
    spec, g = e.spec, e.upstream
    if spec is None or not re.fullmatch(r"Dropout\d?d?", spec.type) or e.quantity != "grad_input":
        return
    p = float(spec.options.get("p", 0.5))
    if g is None or not e.case.training or not 0 < p < 1 or not e.got.any():
        return
    scaled = g.astype(np.float64) / (1 - p)
    sigma = 4 * e.model.unit_roundoff * np.abs(scaled)
    yield Hypothesis("mask", "the mask is not applied on the way back", scaled, sigma)
    yield Hypothesis("mask", "neither mask nor scale is applied on the way back", g.astype(np.float64), 0.0)
    chosen = np.where(e.got == 0, 0.0, scaled)
    yield Hypothesis("mask", "another mask on the way back than on the way forward", chosen, sigma)
