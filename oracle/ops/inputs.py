"""Finds the arrays among the inputs of a program. Arrays of a kind that cannot be used are refused by name."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from oracle.case.nested import leaves


def is_array(value: Any) -> bool:
    """Whether an input is a tensor or an array, which has a gradient if it is floating-point."""
    torch = sys.modules.get("torch")  # a tensor exists only where torch has been imported
    return isinstance(value, np.ndarray) or (torch is not None and isinstance(value, torch.Tensor))


def arrays_among(inputs: Sequence[Any]) -> list[Any]:
    """The tensors and arrays in all inputs; numbers, texts and None beside them are left out.

    Raises: TypeError for an array of another library, or one without numbers.
    """
    found: list[Any] = []
    for place, value in enumerate(inputs):
        for own in leaves(value):
            why = _why_not(own)
            if why:
                raise TypeError(f"expect takes tensors of torch and arrays of NumPy: input {place} is {why}")
            if is_array(own):
                found.append(own)
    if inputs and not found:
        kinds = ", ".join(type(own).__name__ for own in inputs)
        raise TypeError(f"expect needs a tensor or an array among the inputs, got {kinds}")
    return found


def _why_not(value: Any) -> str:
    """A description of an array with which no program can be recorded; "" for any other value."""
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype}" if value.dtype.kind in "OSUMmT" else ""
    if isinstance(value, np.generic):
        return ""
    if is_array(value):
        if value.is_meta:
            return "a tensor on the meta device, which has no numbers"
        return f"a tensor with the layout {value.layout}" if str(value.layout) != "torch.strided" else ""
    if hasattr(value, "__array__") or hasattr(value, "__dlpack__"):
        return f"{type(value).__module__.partition('.')[0]}'s {type(value).__name__}"
    return ""
