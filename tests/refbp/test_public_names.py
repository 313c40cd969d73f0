"""Every class and every op is in one of the two lists of public names, `refbp` and `refbp.functional`."""

from __future__ import annotations

import inspect
import pkgutil
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

import refbp

# Base classes, which are not public.
BASES = {"Activation", "ConvNd", "InplaceActivation", "OfRank", "PoolWithIndices", "WeightedLoss"}


def defined() -> Iterator[tuple[str, Any]]:
    """Name and object of everything that some module of refbp defines for others to use."""
    for module in pkgutil.iter_modules(refbp.__path__):
        home = import_module(f"refbp.{module.name}")
        for name, value in vars(home).items():
            if getattr(value, "__module__", None) == home.__name__ and not name.startswith("_"):
                yield name, value


def ops(name: str, value: Any) -> list[str]:
    """The ops that a function is. An op takes an input and returns an output with its backward, or it updates a parameter.

    A function whose first argument is a rank is three ops.
    """
    if not inspect.isfunction(value):
        return []
    signature = inspect.signature(value)
    first, second, *_ = *signature.parameters, "", ""
    returned = str(signature.return_annotation)
    if first == "param":
        return [name] if returned.startswith("tuple[") else []
    if "Backward]" not in returned:
        return []
    if (first, second) == ("rank", "input"):
        return [f"{name}{rank}d" for rank in (1, 2, 3)]
    return [name] if first in ("input", "input1") else []


def test_every_class_is_exported() -> None:
    """Layers, losses and optimizers, by refbp."""
    kinds = (refbp.Layer, refbp.Loss, refbp.Optimizer)
    written = {name for name, value in defined() if inspect.isclass(value) and issubclass(value, kinds)}
    assert len(written) > 100
    assert written - BASES == set(refbp.__all__) - {"Parameter", "functional"}


@pytest.mark.parametrize("name", sorted(set(refbp.__all__) - {"Parameter", "functional"}))
def test_every_class_has_a_test_here(name: str) -> None:
    """One that names it, or all of its ranks: MaxPool2d as f"MaxPool{rank}d"."""
    written = "\n".join(
        path.read_text() for path in Path(__file__).parent.glob("test_*.py") if path.name != Path(__file__).name
    )
    stem = re.sub(r"\dd$", "", name)
    assert re.search(rf'\b{name}\b|["\'.]{stem}(?:\{{|["\'])', written)


def test_every_op_is_exported() -> None:
    """By refbp.functional."""
    written = {op for name, value in defined() for op in ops(name, value)}
    assert len(written) > 80
    assert written == set(refbp.functional.__all__)


def defaults(value: Any) -> dict[str, Any]:
    """Argument -> default, in their order; nothing for what is written in C."""
    try:
        parameters = inspect.signature(value).parameters.values()
    except (TypeError, ValueError):
        return {}
    return {p.name: p.default for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}


def torchs(name: str) -> dict[str, Any]:
    """The defaults of torch's layer, loss, optimizer or function of this name."""
    homes = (torch.nn, torch.optim, torch.nn.functional)
    return next((defaults(getattr(home, name)) for home in homes if hasattr(home, name)), {})


CLASSES = {name.lower(): name for name in refbp.__all__ if inspect.isclass(getattr(refbp, name))}
# torch's function flattens everything, its layer keeps the batch.
OPS = [name for name in refbp.functional.__all__ if name != "flatten"]


@pytest.mark.parametrize("name", CLASSES.values())
def test_arguments_of_a_class_have_torchs_defaults(name: str) -> None:
    """And torch's order: what is left out or given by position means the same on both sides."""
    own, expected = defaults(getattr(refbp, name)), torchs(name)
    shared = [(argument, default) for argument, default in expected.items() if argument in own]
    assert [(argument, default) for argument, default in own.items() if argument in expected] == shared


@pytest.mark.parametrize("name", OPS)
def test_arguments_of_an_op_have_torchs_defaults(name: str) -> None:
    """They are those of torch's function or, where that is written in C, of the class that applies the op."""
    own, expected = defaults(getattr(refbp.functional, name)), torchs(name)
    if expected:
        assert [a for a in own if a in expected] == [a for a in expected if a in own]
    else:
        expected = defaults(getattr(refbp, CLASSES.get(name.replace("_", ""), "Layer")))
    optional = {argument for argument, default in own.items() if default is not inspect.Parameter.empty} - {"bias"}
    assert {a: own[a] for a in optional & expected.keys()} == {a: expected[a] for a in optional & expected.keys()}


@pytest.mark.parametrize("name", refbp.functional.__all__)
def test_an_op_takes_its_data_first(name: str) -> None:
    """`help(F.conv2d)` shows the arguments that one has to give: the number of dimensions is in the name already."""
    assert next(iter(defaults(getattr(refbp.functional, name)))) in {"input", "input1", "param"}


def test_every_docstring_says_what_the_gradient_is() -> None:
    """A class's docstring includes that of its op, so that `help` of the class is enough."""
    derivative = re.compile(r"f'|grad|∂|Gradients|W ←")
    for module in (refbp, refbp.functional):
        for name in module.__all__:
            assert derivative.search(getattr(module, name).__doc__ or ""), name


@pytest.mark.parametrize(
    "name", [name for name in CLASSES.values() if torchs(name) and name not in {"Optimizer", "Parameter"}]
)
def test_a_docstring_starts_with_the_class_of_torch(name: str) -> None:
    """The op's docstring is added to the class's own and does not replace it."""
    assert re.match(r"torch\.(nn|optim)\.", getattr(refbp, name).__doc__), name
