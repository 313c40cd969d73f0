"""Hypotheses about what reaches a backward pass: the upstream gradient taken twice, misread, written over, or of one window."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from oracle.blame.causes.arrays import rounded_once
from oracle.blame.causes.evidence import Evidence, Hypothesis


def hypotheses(e: Evidence) -> Iterator[Hypothesis]:
    if not e.quantity.startswith("grad") or not e.case.inputs:  # an array between layers has no inputs
        return
    yield from ignored_by_a_program(e)
    yield from taken_twice(e)
    yield from misread(e)
    yield from written_over(e)
    yield from of_the_first(e)
    yield from along_the_last_dimension(e)


def ignored_by_a_program(e: Evidence) -> Iterator[Hypothesis]:
    """The gradient of a program that gives one number, as of a fused loss that computes its gradient in the forward pass."""
    g, value = e.upstream, e.expected.value
    if g is None or g.shape or e.case.layers or e.case.loss or g in (0, 1):
        return
    words = "the upstream gradient is ignored, as if it were all ones"
    yield Hypothesis("upstream ignored", words, value / float(g), rounded_once(e, 1 / float(g)))


def taken_twice(e: Evidence) -> Iterator[Hypothesis]:
    """The right gradient times the upstream gradient once more."""
    g, value = e.upstream, e.expected.value
    if e.quantity == "grad_input" and g is not None and g.shape in (value.shape, ()) and not (g == 1).all():
        twice = value * g.astype(np.float64)
        sigma = np.hypot(e.expected.sigma * np.abs(g), 2 * e.model.unit_roundoff * np.abs(twice))
        yield Hypothesis("upstream twice", "the upstream gradient is multiplied in twice", twice, sigma)


def misread(e: Evidence) -> Iterator[Hypothesis]:
    """The upstream gradient misread: one number as an array that goes on with zeros, or an array by its first number."""
    g, value = e.upstream, e.expected.value
    if e.quantity != "grad_input" or value.size < 2 or not (e.case.layers or e.case.loss):
        return
    if g is None or g.size == 1:  # None is a loss's own upstream gradient of 1
        first = np.zeros(value.shape)
        first.flat[0] = value.flat[0]
        words = "the upstream gradient, a single number, is read like an array: it reaches the first element alone"
        yield Hypothesis("upstream misread", words, first, np.where(first != 0, e.expected.sigma, 0.0))
    elif g.size:
        words = "the upstream gradient's first element stands for all of it"
        yield from e.rerun("upstream misread", words, grad_outputs=(np.full_like(g, g.flat[0]),))


def written_over(e: Evidence) -> Iterator[Hypothesis]:
    """A parameter's gradient, computed after the input's gradient has overwritten the upstream gradient."""
    own, g = e.siblings.get("grad_input"), e.upstream
    if e.param and own is not None and g is not None and own.shape == g.shape and e.case.layers:
        words = "the input's gradient has been written over the upstream gradient before that is summed"
        yield from e.rerun("in place", words, grad_outputs=(own.astype(g.dtype),))


def of_the_first(e: Evidence) -> Iterator[Hypothesis]:
    """A loop that ends too early: only the first window, or the first sample, passes its gradient back."""
    g = e.upstream
    if g is None or e.quantity != "grad_input" or not e.case.layers or g.ndim < 2:
        return
    places: dict[str, Any] = {"sample": np.s_[:1]}
    if g.ndim > 2:
        places["window"] = (slice(None), slice(None), *(slice(0, 1),) * (g.ndim - 2))
    for words, place in places.items():
        alone = np.zeros_like(g)
        alone[place] = g[place]
        yield from e.rerun("not summed", f"only the first {words} hands anything back", grad_outputs=(alone,))


def along_the_last_dimension(e: Evidence) -> Iterator[Hypothesis]:
    """Parameters of the channels are looked up by the last dimension, if it is equally long."""
    x, g = e.input, e.upstream
    if g is None or not e.case.layers or x.ndim < 3 or g.shape != x.shape or x.shape[1] != x.shape[-1]:
        return
    if not any(own.shape == (x.shape[1],) for own in e.case.params.values()):
        return
    swapped = (np.ascontiguousarray(np.swapaxes(own, 1, -1)) for own in (x, g))
    words = "the parameters belong to the last dimension instead of dimension 1"
    for found in e.rerun("axis", words, inputs=(next(swapped),), grad_outputs=(next(swapped),)):
        if e.quantity == "grad_input":
            yield found._replace(
                value=np.swapaxes(found.value, 1, -1), sigma=np.swapaxes(np.asarray(found.sigma), 1, -1)
            )
        else:
            yield found
