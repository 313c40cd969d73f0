"""Activations, from refbp.functional."""

from __future__ import annotations

from typing import Any

from oracle.programs.table import rule
from refbp import functional


@rule("relu")
def relu(input: Any) -> Any:
    """`refbp.functional.relu`."""
    return functional.relu(input)


@rule("gelu")
def gelu(input: Any, approximate: str = "none") -> Any:
    """`refbp.functional.gelu`."""
    return functional.gelu(input, approximate)


@rule("silu")
def silu(input: Any) -> Any:
    """`refbp.functional.silu`."""
    return functional.silu(input)


@rule("sigmoid")
def sigmoid(input: Any) -> Any:
    """`refbp.functional.sigmoid`."""
    return functional.sigmoid(input)


@rule("tanh")
def tanh(input: Any) -> Any:
    """`refbp.functional.tanh`."""
    return functional.tanh(input)


@rule("_softmax", "_safe_softmax", "softmax")
def softmax(input: Any, dim: int, half_to_float: Any = False, dtype: Any = None) -> Any:
    """`refbp.functional.softmax`."""
    return functional.softmax(input, dim)


@rule("_log_softmax", "log_softmax")
def log_softmax(input: Any, dim: int, half_to_float: Any = False) -> Any:
    """`refbp.functional.log_softmax`."""
    return functional.log_softmax(input, dim)
