"""refbp on error arrays: what every quantity of a case should be, and how far honest rounding may take it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from oracle.case.arrays import Array
from oracle.case.case import Case
from oracle.execution.network import Results, execute
from oracle.running_error import ErrorArray, ErrorModel
from oracle.trace import Key


def predict(case: Case, model: ErrorModel, guides: Mapping[Key, Array] | None = None) -> Results:
    """The value of every quantity and the error that an implementation in `model.dtype` may have.

    guides: what went into each layer of the subject; its branches are adopted.
    Raises: CaseError where the case's shapes do not fit together.
    """

    def lift(array: Array) -> Any:
        return array if array.dtype.kind in "biu" else ErrorArray.exact(array, model)

    def watch(key: Key, array: Any) -> Any:
        if key.quantity in ("input", "grad_output"):
            model.branches.place, model.branches.samples = key.layer, array.shape[0] if array.ndim > 1 else 0
        own = (guides or {}).get(key) if key.quantity == "input" else None
        if own is None or own.shape != array.shape:
            return array
        guided = array.mapped(lambda component: component)
        guided.guide = own.astype(np.float64)
        return guided

    return execute(case, lift, watch)
