"""The benchmarks of the judge measure what they say: shares add up, and growth is found."""

from __future__ import annotations

import numpy as np
import pytest

from oracle import suite
from oracle.bench import scale
from oracle.bench.suite import ClockedRun


def test_the_implementations_own_time_is_part_of_the_whole() -> None:
    """Subject and reference are both clocked, and leave a share for the harness."""
    whole, subject, reference = ClockedRun(
        [case.astype("float32") for case in suite.matching("linear/*")][:4]
    ).seconds()
    assert 0 < subject < whole
    assert 0 < reference < whole
    assert subject + reference < whole


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_the_power_of_growth_is_found(power: float) -> None:
    """Seconds that grow with a power of the work show that power."""
    assert scale.growth([(adds, 3e-9 * adds**power) for adds in (1e4, 1e5, 1e6)]) == pytest.approx(power)


@pytest.mark.parametrize("kind", scale.LAYERS)
@pytest.mark.parametrize("decade", [4, 6])
def test_a_layer_has_about_the_work_that_was_asked_for(kind: str, decade: int) -> None:
    """The axis of the plot shows the layer's own number of multiply-adds."""
    found = scale.multiply_adds(*scale.LAYERS[kind](10.0**decade))
    assert abs(np.log10(found) - decade) < 0.2
