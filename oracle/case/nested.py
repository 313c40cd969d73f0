"""Arguments and results that hold several arrays: tuples, lists, dicts and dataclasses, one in another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import fields, is_dataclass
from typing import Any


def leaves(value: Any) -> list[Any]:
    """Everything in a nested structure that is not None and not a container itself, in order."""
    if value is None:
        return []
    if isinstance(value, Mapping):
        return [own for part in value.values() for own in leaves(part)]
    if isinstance(value, (tuple, list)):
        return [own for part in value for own in leaves(part)]
    if is_dataclass(value) and not isinstance(value, type):
        return [own for field in fields(value) for own in leaves(getattr(value, field.name))]
    return [value]


def arrays_in(value: Any) -> list[Any]:
    """The arrays of any library in a nested structure, in order, without numbers beside them."""
    return [own for own in leaves(value) if hasattr(own, "shape")]


def mapped(value: Any, function: Callable[[Any], Any]) -> Any:
    """The same structure with a function applied to all of its leaves."""
    if value is None:
        return None
    if isinstance(value, Mapping):
        filled: Any = copy(value)
        for name, own in value.items():
            filled[name] = mapped(own, function)
        return filled
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(mapped(own, function) for own in value))
    if isinstance(value, (tuple, list)):
        return type(value)(mapped(own, function) for own in value)
    if is_dataclass(value) and not isinstance(value, type):
        made = copy(value)
        for field in fields(value):
            object.__setattr__(made, field.name, mapped(getattr(value, field.name), function))
        return made
    return function(value)
