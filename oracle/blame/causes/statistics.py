"""Hypotheses about a norm's statistics in its backward pass: another one was kept, or a mean lacks some of its terms."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from oracle.blame.causes.evidence import Evidence, Hypothesis
from oracle.running_error.model import Floats

# Rows longer than this are not tried term by term.
LONGEST = 64


class Rows(NamedTuple):
    """A norm over the last dimensions: its input less its mean, the mean square of that, and what comes back to it."""

    centred: Floats
    square: Floats
    eps: float
    g: Floats
    weight: Floats
    axes: tuple[int, ...]


def hypotheses(e: Evidence) -> Iterator[Hypothesis]:
    rows = rows_of(e)
    if rows is not None:
        yield from of_kept(e, rows)
        if e.quantity == "grad_input":
            yield from of_partial_means(e, rows)


def rows_of(e: Evidence) -> Rows | None:
    spec, g = e.spec, e.upstream
    if spec is None or spec.type not in ("LayerNorm", "RMSNorm") or not e.case.layers or g is None or not e.input.size:
        return None
    x = e.input.astype(np.float64)
    normalized = np.atleast_1d(spec.options["normalized_shape"])
    axes = tuple(range(x.ndim - len(normalized), x.ndim))
    given = {name.rpartition(".")[2]: value.astype(np.float64) for name, value in e.case.params.items()}
    eps = spec.options.get("eps", 1e-5 if spec.type == "LayerNorm" else None)
    centred = x - x.mean(axes, keepdims=True) if spec.type == "LayerNorm" else x
    limit = float(np.finfo(e.case.dtype).eps) if eps is None else float(eps)
    square = np.mean(centred * centred, axis=axes, keepdims=True)
    return Rows(centred, square, limit, g.astype(np.float64), given.get("weight", np.ones(1)), axes)


def of_kept(e: Evidence, rows: Rows) -> Iterator[Hypothesis]:
    """Another statistic is used in place of the inverse standard deviation."""
    for words, kept in {
        "mean square": rows.square,
        "mean square and ε": rows.square + rows.eps,
        "deviation": np.sqrt(rows.square + rows.eps),
        "inverse of the mean square": 1 / (rows.square + rows.eps),
    }.items():
        hat = rows.centred * kept
        said = f"the {words} is kept in the place of the inverse deviation"
        if e.quantity == "grad.weight":
            lead = tuple(range(hat.ndim - rows.weight.ndim))
            terms = rows.g * hat
            value, size = terms.sum(lead), np.abs(terms).sum(lead)
        elif e.quantity == "grad_input":
            value = through(rows, hat, kept, (rows.g * rows.weight * hat).mean(rows.axes, keepdims=True), e)
            size = np.abs(value) + np.max(np.abs(value))
        else:
            return
        yield Hypothesis("statistics", said, value, 8 * e.model.unit_roundoff * size)


def through(rows: Rows, hat: Floats, kept: Floats, product: Floats, e: Evidence) -> Floats:
    """The input's gradient, where `product` is the mean of the terms through the variance."""
    own = rows.g * rows.weight
    mean = own.mean(rows.axes, keepdims=True) if e.spec is not None and e.spec.type == "LayerNorm" else 0.0
    return np.asarray(kept * (own - mean - hat * product))


def of_partial_means(e: Evidence, rows: Rows) -> Iterator[Hypothesis]:
    """The term through the variance, or through the mean, sums up only a part of a row: its first or its last elements."""
    n = rows.centred.shape[-1]
    if len(rows.axes) != 1 or not 2 <= n <= LONGEST:
        return
    kept = 1 / np.sqrt(rows.square + rows.eps)
    hat = rows.centred * kept
    own = rows.g * rows.weight
    terms = own * hat
    full = through(rows, hat, kept, terms.mean(-1, keepdims=True), e)
    sigma = 4 * e.expected.sigma
    for count in range(1, n):
        for words, part in (("last", np.s_[..., -count:]), ("first", np.s_[..., :count])):
            lost = (terms.sum(-1, keepdims=True) - terms[part].sum(-1, keepdims=True)) / n
            said = f"has the {words} {count} of {n} terms only"
            yield Hypothesis("statistics", f"the term through the variance {said}", full + kept * hat * lost, sigma)
            if e.spec is not None and e.spec.type == "LayerNorm":
                lost = (own.sum(-1, keepdims=True) - own[part].sum(-1, keepdims=True)) / n
                yield Hypothesis("statistics", f"the term through the mean {said}", full + kept * lost, sigma)
