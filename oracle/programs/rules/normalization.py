"""Norms, from refbp.functional."""

from __future__ import annotations

from typing import Any

from oracle.programs.table import rule
from refbp import functional


@rule("native_layer_norm")
def native_layer_norm(
    input: Any, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> Any:
    """`refbp.functional.layer_norm`."""
    y, back = functional.layer_norm(input, tuple(normalized_shape), weight, bias, eps)

    def backward(g: Any, *_: Any) -> Any:
        grad_input, grad_weight, grad_bias = back(g)
        return grad_input, None, grad_weight, grad_bias

    return (y, None, None), backward
