"""How small an error is caught: measured for every class, and small."""

from __future__ import annotations

import math

import pytest

from oracle.execution.network import LAYERS, LOSSES, OPTIMIZERS
from oracle.selftest import sensitivity


def test_every_class_has_a_case() -> None:
    """A case of its own, so that nothing else is measured."""
    lacking = {*LAYERS, *LOSSES, *OPTIMIZERS} - sensitivity.representatives().keys()
    assert lacking <= {"Sequential", "Residual", "Concat"}, lacking


@pytest.mark.parametrize("name", ["Linear", "Conv2d", "BatchNorm2d", "CrossEntropyLoss", "Adam"])
def test_errors_of_some_units_are_caught(name: str) -> None:
    """In both precisions, in every quantity, a uniform factor and a single element."""
    case = sensitivity.representatives()[name]
    found = [one for dtype in sensitivity.DTYPES for one in sensitivity.measure(name, case, dtype)]
    assert len({one.quantity for one in found}) >= 2
    for one in found:
        assert 1 <= one.factor <= 512 and 1 <= one.element <= 4096, one


def test_what_is_never_caught_is_infinite() -> None:
    """And the errors double until one is caught."""
    assert sensitivity.smallest(lambda error: False, 0.5, 24) == math.inf
    assert sensitivity.smallest(lambda error: error >= 3, 0.5, 24) == 8
