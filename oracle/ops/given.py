"""A case made of the arrays and options that a user gives for an op."""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import Any

import numpy as np

from oracle.case.arrays import Array
from oracle.case.case import Case, Spec, loss_arguments
from oracle.execution.network import LOSSES, check, upstream_shape
from oracle.ops.suite_cases import GRADIENT, REFUSALS, Given, Op, OpError, options_of, reason_of, training_of
from oracle.suite.build import generator, network_case


def called(function: Any, otherwise: str = "fn") -> str:
    """The name of a function as code would write it; a lambda has none, and gets the name of the argument."""
    name = getattr(function, "__name__", "")
    return name if name.isidentifier() else otherwise


def described(value: Any) -> str:
    """The type of what a function returned, and the types in it if it is a tuple."""
    inside = f" of {', '.join(type(own).__name__ for own in value)}" if isinstance(value, tuple) else ""
    return f"{type(value).__name__}{inside}"


def own_case(op: Op, given: Given) -> Case:
    """A case of the user's arrays. Raises: OpError if they do not fit together, or one is missing."""
    try:
        case = _of_arrays(op, given)
        upstream = upstream_shape(case)
        if GRADIENT in given.arrays or upstream or not op.is_loss:
            drawn = generator(case.name).standard_normal(upstream)
            case = replace(case, grad_outputs=(_float64(given.arrays.get(GRADIENT, drawn)),))
        check(case)
    except OpError:
        raise
    except REFUSALS as error:
        raise OpError(f"{op.name}: arrays and options do not fit together: {reason_of(error)}") from error
    return case


def _of_arrays(op: Op, given: Given) -> Case:
    """The case without its upstream gradient."""
    x = given.arrays["input"]
    kind = _class_for(op, x)
    name = f"{op.name}/given"
    if op.is_loss:
        names = loss_arguments(kind)
        lacking = [own for own in names if own not in given.arrays]
        if lacking:
            raise OpError(f"{op.name} needs {', '.join(f'{own}=…' for own in lacking)} beside x")
        known = inspect.signature(LOSSES[kind]).parameters
        spec = Spec(kind, {own: value for own, value in given.options.items() if own in known})
        targets = (tuple(_float64(given.arrays[own]) for own in names),)
        return Case(name, loss=spec, inputs=(_float64(x),), targets=targets)
    spec = Spec(kind, {**options_of(op, given, Spec(kind)), **_sizes(op, kind, given)})
    own = {f"0.{own}": _float64(value) for own, value in given.arrays.items() if own in op.arrays[1:]}
    case = Case(name, layers=(spec,), inputs=(_float64(x),), training=training_of(op, given, Case(name)))
    drawn = network_case(name, "", case.layers, inputs=case.inputs, training=case.training).params
    return replace(case, params={**drawn, **own})


def _class_for(op: Op, x: Array) -> str:
    if len(op.classes) == 1:
        return op.classes[0]
    return op.classes[min(max(x.ndim - 3, 0), len(op.classes) - 1)]


def _sizes(op: Op, kind: str, given: Given) -> dict[str, Any]:
    """The constructor arguments that follow from the arrays' shapes."""
    x, weight = given.arrays["input"], given.arrays.get("weight")
    needs_weight = kind.startswith(("Conv", "Linear", "PReLU"))
    if needs_weight and weight is None:
        raise OpError(f"{op.name} needs weight=… beside x")
    if needs_weight and weight is not None:
        rank = 1 if kind == "PReLU" else 2 if kind == "Linear" else 2 + int(kind[-2])
        if weight.ndim != rank:
            raise OpError(f"{op.name} expects a weight of {rank} dimensions, got shape {weight.shape}")
    sizes: dict[str, Any] = {}
    if weight is not None and needs_weight and "bias" in op.arrays:
        sizes["bias"] = "bias" in given.arrays
    groups = int(given.options.get("groups", 1))
    if kind.startswith("ConvTranspose") and weight is not None:
        sizes |= {
            "in_channels": weight.shape[0],
            "out_channels": weight.shape[1] * groups,
            "kernel_size": weight.shape[2:],
        }
    elif kind.startswith("Conv") and weight is not None:
        sizes |= {
            "in_channels": weight.shape[1] * groups,
            "out_channels": weight.shape[0],
            "kernel_size": weight.shape[2:],
        }
    elif kind == "Linear" and weight is not None:
        sizes |= {"in_features": weight.shape[-1], "out_features": weight.shape[0]}
    elif kind == "PReLU" and weight is not None:
        sizes["num_parameters"] = weight.size
    elif kind.startswith(("BatchNorm", "InstanceNorm", "GroupNorm")):
        sizes["num_channels" if kind == "GroupNorm" else "num_features"] = x.shape[1] if x.ndim > 1 else x.size
    return sizes


def _float64(array: Array) -> Array:
    """A floating-point array in float64, in which cases are kept; indices unchanged."""
    return array if array.dtype.kind in "biu" else np.asarray(array, np.float64)
