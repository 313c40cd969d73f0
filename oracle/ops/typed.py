"""Compares a user's layer with a class of refbp: a case of one layer, and the layer's results as its trace."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from oracle.case.arrays import Array
from oracle.case.case import Case, Spec
from oracle.execution.network import LAYERS
from oracle.trace import Trace

# The usual names of what a layer adds, beside those of what it multiplies by.
BIASES = ("bias", "beta", "b", "shift", "offset")


class Made(Protocol):
    """A layer's inputs and results."""

    before: Any
    input: Array
    output: Array | None
    upstream: Array | None
    made: dict[str, Any]


def specs_of(types: Sequence[str | Spec | None], names: Sequence[str]) -> dict[str, Spec]:
    """The spec of each layer that has a type. Raises: ValueError for a class that refbp lacks."""
    found = {}
    for place, (name, given) in enumerate(zip(names, types, strict=True)):
        if given is None:
            continue
        spec = given if isinstance(given, Spec) else Spec(given)
        if spec.type not in LAYERS:
            raise ValueError(
                f"types[{place}] names {spec.type!r}, which refbp lacks: `oracle list layers` shows its classes"
            )
        found[name] = spec
    return found


def typed_case(case: str, name: str, spec: Spec, part: Made) -> tuple[Case, Trace]:
    """The case and the trace. Weights that are stored as (in, out) are transposed, and so are their gradients.

    Raises: ValueError if the class needs options that were not given.
    """
    params: dict[str, Array] = dict(getattr(part.before, "params", None) or vars(part.before))
    arrays = {key: own for key, own in params.items() if isinstance(own, np.ndarray)}
    weight = next((key for key, own in arrays.items() if own.ndim >= 2), None)
    bias = next((key for key, own in arrays.items() if own.ndim == 1), None)
    options = dict(spec.options)
    if spec.type == "Linear" and not options and weight is not None and part.output is not None:
        options = {"in_features": part.input.shape[-1], "out_features": part.output.shape[-1], "bias": bias is not None}
    try:
        made = LAYERS[spec.type](**options)
    except TypeError as error:
        raise ValueError(
            f"layer {name}: {spec.type} needs options, as oracle.Spec({spec.type!r}, {{…}}): {error}"
        ) from error
    due = made.params
    if "weight" in due and due["weight"].ndim == 1:  # of a norm: all of its arrays have one dimension
        vectors = [key for key, own in arrays.items() if own.ndim == 1]
        bias = next((key for key in vectors if key.lower() in BIASES), None)
        weight = next((key for key in vectors if key != bias), None)
    own_names = dict(zip(("weight", "bias"), (weight, bias), strict=True))
    turned = {
        key: _is_turned(arrays[own], due[key].shape, part) for key, own in own_names.items() if own and key in due
    }
    held = {key: arrays[own].T if turned[key] else arrays[own] for key, own in own_names.items() if own and key in due}
    lacking = [key for key in due if key not in held]
    if lacking:
        its = ", ".join(f"{key} {own.shape}" for key, own in arrays.items()) or "none"
        raise ValueError(
            f"layer {name}: {spec.type} has {lacking[0]} {due[lacking[0]].shape}, and no array of the layer fits it: {its}"
        )
    buffers = {f"{name}.{key}": value for key, value in getattr(made, "buffers", {}).items()}
    own_case = Case(
        case,
        layers=(Spec(spec.type, options, name),),
        params={f"{name}.{key}": value for key, value in held.items()} | buffers,
        inputs=(part.input,),
        grad_outputs=() if part.upstream is None else (part.upstream,),
        dtype=part.input.dtype.name,
        structured=True,
    )
    trace = Trace()
    trace.record(0, name, "output", part.output)
    trace.record(0, name, "grad_output", part.upstream)
    if part.made.get("grad_input") is not None:
        trace.record(0, name, "grad_input", np.asarray(part.made["grad_input"]))
    for key in held:
        grad = part.made.get(f"grad.{own_names[key]}")
        if grad is not None:
            trace.record(0, name, f"grad.{key}", np.asarray(grad).T if turned[key] else np.asarray(grad))
    return own_case, trace


def _is_turned(own: Array, due: tuple[int, ...], part: Made) -> bool:
    """Whether a matrix is stored as (in, out): by its shape, or, if it is square, by which order gives the layer's output."""
    if own.ndim != 2 or own.shape[::-1] != due:
        return False
    if own.shape != due or part.output is None:
        return True
    rows = part.input.reshape(-1, part.input.shape[-1])
    straight, across = rows @ own.T, rows @ own
    given = part.output.reshape(-1, part.output.shape[-1])
    spread = [np.ptp(given - made, axis=0).sum() for made in (straight, across)]  # a bias is the same in every row
    return bool(spread[1] < spread[0])
