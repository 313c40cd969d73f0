"""A small network, its trace with some quantities changed, and what the judge then says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from oracle.case.case import Case, Spec
from oracle.judging.case_rows import judge
from oracle.judging.rows import DISCREPANCIES, LOCAL, Row
from oracle.subjects import refbp as refbp_subject
from oracle.suite.build import layer, network_case
from oracle.trace import Key, Trace

Array = npt.NDArray[Any]
Change = Callable[[Array], Array]


def tiny(**fields: Any) -> Case:
    """Two linear layers around a tanh, with a loss and an optimizer."""
    rng = np.random.default_rng(5)
    layers = [layer("Linear", 3, 4, name="first"), layer("Tanh", name="act"), layer("Linear", 4, 2, name="last")]
    return network_case(
        "tiny/net",
        "two layers and what lies between them",
        layers,
        (5, 3),
        loss=Spec("MSELoss"),
        targets=((rng.standard_normal((5, 2)),),),
        optimizer=Spec("SGD", {"lr": 0.1, "momentum": 0.9}),
        **fields,
    )


def altered(case: Case, changes: dict[tuple[str, str], Change | None], step: int = 0) -> Trace:
    """refbp's trace of the case with some quantities changed; None removes one."""
    trace = refbp_subject.run(case)
    for (name, quantity), change in changes.items():
        key = Key(step, name, quantity)
        if change is None:
            del trace.arrays[key]
        else:
            trace.arrays[key] = change(trace.arrays[key])
    return trace


def rows_of(case: Case, changes: dict[tuple[str, str], Change | None], step: int = 0) -> list[Row]:
    return judge(case, altered(case, changes, step), refbp_subject)


def at_fault(rows: list[Row], mode: str = LOCAL) -> set[tuple[str, str, str]]:
    """Layer, quantity and verdict of what was found in this mode."""
    return {(row.layer, row.quantity, row.verdict) for row in rows if row.mode == mode and row.verdict in DISCREPANCIES}


def one_off(array: Array) -> Array:
    """The same array with its first element off by a half."""
    result = array.copy()
    result.flat[0] *= 1.5
    return result
