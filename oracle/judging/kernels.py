"""Predicts the quantities of a layer or loss by how a subject's kernels compute 16-bit numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from fnmatch import fnmatchcase

import numpy as np

from oracle.case.arrays import Array
from oracle.case.case import Case
from oracle.execution.network import Results, execute
from oracle.running_error import ErrorArray, ErrorModel
from oracle.running_error.branches import BranchLog
from oracle.running_error.kernels import Kernels
from oracle.running_error.model import Twofold
from oracle.running_error.stores import added_in_slices, added_in_stores, each_place, with_more
from oracle.trace import Key
from refbp.conv import geometry_of, padding_sides
from refbp.functional import pad


@np.errstate(all="ignore")
def predicted(kernels: Kernels, case: Case, usual: ErrorModel, predicting: Callable[[ErrorModel], Results]) -> Results:
    """The predictions of a case of a single layer or loss, each under the model of its kernels."""
    found = predicting(usual)
    for patterns, model in (
        (kernels.in_16_bits, replace(usual, accumulate=None)),
        (kernels.inside, usual.inside_kernels),
    ):
        own = _fitting(found, patterns)
        if own:
            other = predicting(replace(model, branches=BranchLog()))
            found = {**found, **{key: other[key] for key in own}}
    for patterns, split in ((kernels.by_sample, _samples), (kernels.by_place, _places)):
        for key in _fitting(found, patterns) if usual.rounds else ():
            if split is _places and key.quantity == "grad_input" and _repeats(case):
                more: Twofold | None = _added_at_edges(case, key, usual)
            else:
                more = added_in_stores(_shares(split(case), key), found[key].value, usual)
            found = {**found, key: with_more(found[key], more)}
    for key in _fitting(found, kernels.by_slices) if usual.rounds else ():
        found = {**found, key: with_more(found[key], added_in_slices(found[key], usual))}
    return found


def _fitting(found: Results, patterns: tuple[str, ...]) -> list[Key]:
    return [
        key
        for key, own in found.items()
        if isinstance(own, ErrorArray) and any(fnmatchcase(key.quantity, pattern) for pattern in patterns)
    ]


def _samples(case: Case) -> Iterator[Case]:
    """The case with each sample alone."""
    (x,), grads = case.inputs, case.grad_outputs
    has_batch = x.ndim == 2 + int(case.layers[0].type[-2])  # of Conv2d, for example
    for place in range(len(x) if has_batch else 0):
        own = slice(place, place + 1)
        yield replace(case, inputs=(x[own],), grad_outputs=tuple(grad[own] for grad in grads))


def _places(case: Case) -> Iterator[Case]:
    """The case with the weights of one place of the window at a time (a linear layer: all weights), and then with its bias alone.

    The bias is added to an output last.
    """
    weight, none = case.params["layer.weight"], {name: np.zeros_like(own) for name, own in case.params.items()}
    for alone in each_place(weight):
        yield replace(case, params=none | {"layer.weight": alone})
    if "layer.bias" in none and case.layers[0].type.startswith(("ConvTranspose", "Linear")):
        yield replace(case, params={**case.params, "layer.weight": np.zeros_like(weight)})


def _repeats(case: Case) -> bool:
    """Whether the padding repeats elements of the input."""
    return bool(case.layers[0].options.get("padding_mode", "zeros") != "zeros")


def _added_at_edges(case: Case, key: Key, model: ErrorModel) -> Twofold:
    """The error of a gradient that is stored for the padded input, and then added up at the elements that are repeated."""
    (spec,), (x,), weight = case.layers, case.inputs, case.params["layer.weight"]
    options = dict(spec.options)
    geometry = geometry_of(weight, options.get("stride", 1), options.get("dilation", 1), 1, spec.type)
    sides = padding_sides(options.pop("padding", 0), geometry, spec.type)
    padded, added_back = pad(
        x.astype(np.float64), [own for side in reversed(sides) for own in side], options.pop("padding_mode")
    )
    alone = replace(case, layers=(replace(spec, options=options),), inputs=(padded,))
    (stored,) = _shares((alone,), key)

    inside = added_in_stores(_shares(_places(alone), key), stored, model)
    count, squares, sizes = map(added_back, (np.ones_like(stored), np.square(stored), np.abs(stored)))
    # A stored result, and the largest size of its partial sums.
    partial = np.sqrt(squares + np.maximum(count - 2, 0) * np.square(sizes))
    at_edges = model.rounding(np.where(count > 1, partial, 0.0))
    return at_edges if inside is None else at_edges + inside.mapped(added_back)


def _shares(parts: Iterable[Case], key: Key) -> Iterator[Array]:
    for part in parts:
        yield np.asarray(execute(part.astype("float64"), _as_it_is)[key])


def _as_it_is(array: Array) -> Array:
    return array
