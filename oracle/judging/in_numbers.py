"""Writes options that depend on the dtype as numbers, so that a reference that computes in float64 reads the same case."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from oracle.case.case import Case, Spec
from oracle.running_error.model import limits


def with_numbers(case: Case) -> Case:
    """A case with its defaults as numbers and its loss's weights rounded."""
    layers = tuple(_with_numbers(spec, case.dtype) for spec in case.layers)
    optimizer = None if case.optimizer is None else _with_numbers(case.optimizer, case.dtype)
    loss = None if case.loss is None else _with_rounded_weights(case.loss, case.dtype)
    if (layers, optimizer, loss) == (case.layers, case.optimizer, case.loss):
        return case
    return replace(case, layers=layers, optimizer=optimizer, loss=loss)


def _with_rounded_weights(spec: Spec, dtype: str) -> Spec:
    """A loss whose weights are numbers of the dtype, as an implementation holds them."""
    options = {
        name: tuple(np.asarray(value, dtype).astype(np.float64).tolist()) if isinstance(value, (tuple, list)) else value
        for name, value in spec.options.items()
    }
    return replace(spec, options=options)


def _with_numbers(spec: Spec, dtype: str) -> Spec:
    """A layer or optimizer with dtype-dependent defaults written as numbers: eps of RMSNorm and Adafactor."""
    own = np.dtype(dtype)
    if spec.type == "RMSNorm" and spec.options.get("eps") is None:
        computed_in = np.dtype("float32") if own.itemsize == 2 else own
        return replace(spec, options={**spec.options, "eps": float(limits(computed_in).eps)})
    eps = float(limits(own).eps)
    if spec.type == "Adafactor":
        first, second = spec.options.get("eps", (None, 1e-3))
        groups = tuple(
            {**group, "eps": (eps, group["eps"][1])} if group.get("eps", (0,))[0] is None else group
            for group in spec.groups
        )
        options = {**spec.options, "eps": (eps if first is None else first, second)}
        return replace(spec, options=options, groups=groups)
    return replace(spec, layers=tuple(_with_numbers(child, dtype) for child in spec.layers))
