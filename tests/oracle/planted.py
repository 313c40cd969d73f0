"""A report with something in it: refbp with one quantity of one layer changed, on LeNet-5."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

import oracle
from oracle.case.arrays import Array
from oracle.case.case import Case
from oracle.selftest.plant import patched
from oracle.subjects import refbp as refbp_subject
from oracle.trace import Trace


class Altered:
    """refbp whose trace shows something else for one quantity."""

    name = "altered"

    def __init__(self, layer: str, quantity: str, change: Callable[[Array], Array]) -> None:
        self.layer, self.quantity, self.change = layer, quantity, change

    def run(self, case: Case) -> Trace:
        trace = refbp_subject.run(case)
        for key in trace:
            if (key.layer, key.quantity) == (self.layer, self.quantity):
                trace.arrays[key] = self.change(trace.arrays[key])
        return trace


class Planted:
    """An implementation with a bug, as a subject."""

    name = "planted"
    accumulates = True  # as refbp does

    def __init__(self, run: Callable[[Case], Trace]) -> None:
        self.run = run


def unturned() -> Planted:
    """refbp with a convolution whose kernel is not turned on the way back."""
    return Planted(
        patched("refbp.conv:spread", lambda right: lambda delta, w, size, g: right(delta, np.flip(w, (2, 3)), size, g))
    )


@cache  # a report takes seconds to make, and many tests only read it
def bug() -> oracle.Report:
    """A LeNet-5 with such convolutions, and all that follows from it."""
    return oracle.run(unturned(), cases="lenet5", dtypes=("float32",))


@cache
def turned() -> oracle.Report:
    """In the weight gradient of the second convolution every kernel is turned by 180 degrees."""
    altered = Altered("conv2", "grad.weight", lambda grad: np.flip(grad, (2, 3)))
    return oracle.run(altered, cases="lenet5", dtypes=("float32",))
