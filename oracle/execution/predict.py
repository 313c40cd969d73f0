"""Runs refbp on error arrays: the expected value of every quantity of a case, and the rounding error allowed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from oracle.case.arrays import Array
from oracle.case.case import Case, named_layers
from oracle.execution import newton_schulz as _rule
from oracle.execution.formulas import by_all_formulas
from oracle.execution.network import Results, execute
from oracle.execution.zero_padding import of_layer
from oracle.running_error import LAMBDA, ErrorArray, ErrorModel
from oracle.running_error.branches import BranchLog
from oracle.running_error.model import Twofold
from oracle.running_error.stores import stored
from oracle.trace import Key

assert _rule  # its import registers the rule
# A relative difference below this is the rounding of float64 itself.
SAME = 1e-9


@np.errstate(all="ignore")
def predict(case: Case, model: ErrorModel, guides: Mapping[Key, Array] | None = None) -> Results:
    """The value of every quantity and the error that an implementation in `model.dtype` may have. Inside kernels that store 16
    bits, each quantity is rounded once, when it is stored.

    guides: the inputs of each of the subject's layers, by which comparisons are decided.
    Raises: CaseError if the case's shapes do not fit together.
    """

    parameters = {id(value) for value in case.params.values()}  # an input may hold equal numbers

    def lift(array: Array) -> Any:
        if array.dtype.kind in "biu":
            return array
        lifted = ErrorArray.exact(array, model)
        lifted.of_samples = id(array) not in parameters
        return lifted

    specs = {name: spec for name, spec in named_layers(case.layers) if not spec.layers}
    if case.loss is not None:
        specs["loss"] = case.loss
    known: dict[str, dict[str, Any]] = {name: {} for name in specs}

    def watch(key: Key, array: Any) -> Any:
        if key.layer in specs:
            array = of_layer(key.quantity, array, specs[key.layer], known[key.layer])
            known[key.layer][key.quantity] = array
            covered = by_all_formulas(case, key, specs[key.layer], known[key.layer])
            if covered is not None:
                return stored(covered)
        if key.quantity in ("input", "grad_output"):
            model.branches.place, model.branches.samples = key.layer, array.shape[0] if array.ndim > 1 else 0
        own = (guides or {}).get(key) if key.quantity == "input" else None
        if own is None or own.shape != array.shape:
            return stored(array)
        guided = array.mapped(lambda component: component)
        guided.guide = own.astype(np.float64)
        return guided

    return execute(case, lift, watch)


def with_open_ties(case: Case, model: ErrorModel, guides: Mapping[Key, Array] | None, plain: Results) -> Results:
    """A plain prediction with a tolerance that also covers other choices at exact kinks and ties. These effects add up linearly,
    because they are not rounding errors."""
    alone = replace(model, bounds=True, open_ties=True, rounds=False, branches=BranchLog())
    ties = predict(case, alone, guides)
    return {key: reaching(prediction, ties[key]) for key, prediction in plain.items()}


def reaching(plain: Any, ties: Any) -> Any:
    """The array with a tolerance that covers these ties, whose value is halfway between the choices."""
    if not isinstance(plain, ErrorArray) or not isinstance(ties, ErrorArray) or ties.bound is None:
        return plain
    deviation = ties.bound
    if not (deviation > SAME * np.sqrt(ties.scale_or_own)).any():
        return plain
    with np.errstate(over="ignore"):  # near the end of the range
        variance = np.square(plain.sigma + deviation * (1 + SAME) / LAMBDA)
    return ErrorArray(ties.value, plain.model, Twofold(variance), scale=ties.scale_or_own)
