"""Nothing that is written is forgotten in the two lists of public names, `refbp` and `refbp.functional`."""

from __future__ import annotations

import inspect
import pkgutil
import re
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import refbp

# What others are made of.
BASES = {"Activation", "ConvNd", "PoolWithIndices", "WeightedLoss"}


def defined() -> Iterator[tuple[str, Any]]:
    """Name and object of everything that some module of refbp defines for others to use."""
    for module in pkgutil.iter_modules(refbp.__path__):
        home = import_module(f"refbp.{module.name}")
        for name, value in vars(home).items():
            if getattr(value, "__module__", None) == home.__name__ and not name.startswith("_"):
                yield name, value


def is_op(value: Any) -> bool:
    """Whether it takes an input, of any rank, and returns an output with its backward; or updates a parameter."""
    if not inspect.isfunction(value):
        return False
    signature = inspect.signature(value)
    first = next(iter(signature.parameters), "")
    differentiates = "Backward]" in str(signature.return_annotation) and "rank" not in signature.parameters
    return first == "param" or (first in ("input", "input1") and differentiates)


def test_every_class_is_exported() -> None:
    """Layers, losses and optimizers, by refbp."""
    kinds = (refbp.Layer, refbp.Loss, refbp.Optimizer)
    written = {name for name, value in defined() if inspect.isclass(value) and issubclass(value, kinds)}
    assert len(written) > 100
    assert written - BASES == set(refbp.__all__) - {"Parameter", "functional"}


def test_every_op_is_exported() -> None:
    """By refbp.functional."""
    written = {name for name, value in defined() if is_op(value)}
    assert len(written) > 80
    assert written == set(refbp.functional.__all__)


def test_every_docstring_says_what_the_gradient_is() -> None:
    """A class's too, by taking in its op's: `help` of it is enough."""
    derivative = re.compile(r"f'|grad|∂|Gradients|W ←")
    for module in (refbp, refbp.functional):
        for name in module.__all__:
            assert derivative.search(getattr(module, name).__doc__ or ""), name
