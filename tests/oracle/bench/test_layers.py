"""A layer costs what its elements cost: the work grows with the input's size and not faster, forward and backward."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from oracle.bench.examples import Example, examples
from oracle.bench.layers import EXPONENT, passes
from oracle.case.case import CONTAINERS
from oracle.execution.network import LAYERS, LOSSES

EXAMPLES = {example.name: example for example in examples(part=512)}


class Counted(np.ndarray):
    """An array that counts the elements that NumPy makes of it or reads to add them up, in `Counted.made`."""

    made = 0

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        plain = [np.asarray(x) if isinstance(x, Counted) else x for x in inputs]
        out = kwargs.pop("out", ())
        if out:
            kwargs["out"] = tuple(np.asarray(x) for x in out)
        result = getattr(ufunc, method)(*plain, **kwargs)
        Counted.made += max(np.size(result), *(np.size(x) for x in inputs))
        return out[0] if out else np.asarray(result).view(Counted)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        result = super().__array_function__(function, types, args, kwargs)
        Counted.made += np.size(result)
        return result


def counted(x: Any) -> Any:
    return np.asarray(x).view(Counted)


def work(example: Example) -> tuple[int, int]:
    """How many elements a forward and a backward make."""
    found = []
    for action in passes(example, counted):
        Counted.made = 0
        action()
        found.append(Counted.made)
    return found[0], found[1]


def exponents(example: Example) -> list[float]:
    pairs = zip(work(example.grown(2)), work(example.grown(16)), strict=True)
    return [math.log(more / less, 8) for less, more in pairs if less]  # some rearrange and make nothing


def test_every_class_has_an_example() -> None:
    """A class that is added later is measured too, without a word."""
    assert {example.kind for example in EXAMPLES.values()} == (LAYERS.keys() | LOSSES.keys()) - set(CONTAINERS)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_work_grows_with_the_elements(name: str) -> None:
    """Eight times the elements are no more than eight times the work."""
    assert all(exponent <= EXPONENT for exponent in exponents(EXAMPLES[name]))


def test_growth_is_noticed() -> None:
    """A layer that looks at all of its input for each of its columns fails."""
    example = EXAMPLES["AdaptiveAvgPool2d, to 1"]

    def worse(self: Any, input: Any, *params: Any) -> Any:
        total = sum(np.sum(input * (np.arange(input.shape[-1]) == column)) for column in range(input.shape[-1]))
        return total, lambda grad_output: grad_output * input

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LAYERS[example.kind], "op", worse)
        assert max(exponents(example)) > EXPONENT
