"""Tensors in nested tuples, lists, dicts and dataclasses, as modules take and give them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch

from oracle.case import nested


def tensors_in(value: Any) -> Iterator[torch.Tensor]:
    """All tensors in a nested structure, in order."""
    return (own for own in nested.leaves(value) if isinstance(own, torch.Tensor))


def mapped(value: Any, function: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """The same structure with a function applied to each tensor."""
    return nested.mapped(value, lambda own: function(own) if isinstance(own, torch.Tensor) else own)
