"""A report with something in it: refbp with one quantity of one layer changed, on LeNet-5."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import oracle
import refbp.conv
from oracle.arrays import Array
from oracle.case import Case
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


def bug() -> oracle.Report:
    """A convolution whose kernel is not turned on the way back, in refbp itself: with all that follows from it."""
    spread: Any = refbp.conv.spread
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            refbp.conv, "spread", lambda delta, weight, size, g: spread(delta, np.flip(weight, (2, 3)), size, g)
        )
        return oracle.run(cases="lenet5", dtypes=("float32",))


def turned(layer: str = "conv2", quantity: str = "grad.weight") -> oracle.Report:
    """Every kernel of a convolution's weight gradient is turned by 180 degrees."""
    return oracle.run(Altered(layer, quantity, lambda grad: np.flip(grad, (2, 3))), cases="lenet5", dtypes=("float32",))
