"""A layer costs what its elements cost: the work grows with the input's size and not faster."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import refbp


class Counted(np.ndarray):
    """An array that counts the elements that NumPy makes of it, in `Counted.made`."""

    made = 0

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        plain = [np.asarray(x) if isinstance(x, Counted) else x for x in inputs]
        out = {"out": tuple(np.asarray(x) for x in kwargs.pop("out", ()))}
        result = getattr(ufunc, method)(*plain, **kwargs, **(out if out["out"] else {}))
        read = max(np.size(x) for x in inputs) if method == "reduce" else 0
        Counted.made += max(np.size(result), read)
        return inputs[0] if out["out"] else np.asarray(result).view(Counted)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        result = super().__array_function__(function, types, args, kwargs)
        Counted.made += np.size(result)
        return result


def work(layer: refbp.Layer, shape: tuple[int, ...]) -> tuple[int, int]:
    """How many elements a forward and a backward make."""
    rng = np.random.default_rng(0)
    Counted.made = 0
    output, backward = layer.apply(rng.standard_normal(shape).view(Counted))
    forward = Counted.made
    backward(rng.standard_normal(output.shape).view(Counted))
    return forward, Counted.made - forward


@pytest.mark.parametrize("output_size", [1, 3, 7])
@pytest.mark.parametrize("kind", ["AdaptiveAvgPool2d", "AdaptiveMaxPool2d"])
def test_adaptive_pooling_grows_with_its_elements(kind: str, output_size: int) -> None:
    """Four times the side is sixteen times the elements, and no more work than that, forward and backward."""
    layer = getattr(refbp, kind)(output_size)
    small, large = work(layer, (1, 2, 16, 16)), work(layer, (1, 2, 64, 64))
    for less, more in zip(small, large, strict=True):
        assert math.log(more / less) / math.log(16) < 1.1
