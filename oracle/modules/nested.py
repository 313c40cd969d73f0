"""Tensors in nested tuples, lists, dicts and dataclasses, as modules take and give them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from copy import copy
from dataclasses import fields, is_dataclass
from typing import Any

import torch


def tensors_in(value: Any) -> Iterator[torch.Tensor]:
    """All tensors in a nested structure, in order."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, Mapping):
        for own in value.values():
            yield from tensors_in(own)
    elif isinstance(value, (tuple, list)):
        for own in value:
            yield from tensors_in(own)
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            yield from tensors_in(getattr(value, field.name))


def mapped(value: Any, function: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """The same structure with a function applied to each tensor."""
    if isinstance(value, torch.Tensor):
        return function(value)
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
    return value
