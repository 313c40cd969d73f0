"""The position of an array in its memory."""

from __future__ import annotations

import numpy as np
import pytest

from oracle.programs.geometry import Geometry, flat, gathered, viewed


@pytest.mark.parametrize("strides", [(40, 4, 1), (1, 40, 4), (-40, -4, 1), (0, 4, 1)])
@pytest.mark.parametrize("shape", [(0, 9, 4), (3, 0, 4), (3, 9, 0)])
def test_an_array_of_no_elements_covers_no_memory(shape: tuple[int, ...], strides: tuple[int, ...]) -> None:
    own, x = Geometry(shape, strides, 7), np.zeros(shape)
    low, high = own.ends
    assert low == high
    assert flat(x, own).size == 0
    other = Geometry((0, 5), (5, 1), 7)
    assert viewed(x, own, other).shape == other.shape
    assert gathered(np.zeros(other.shape), own, other).shape == shape
