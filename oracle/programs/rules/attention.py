"""Scaled dot product attention in one call."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from oracle.programs.adjoint import matrix_t, summed_to
from oracle.programs.table import NoRule, rule
from oracle.running_error.stores import stored
from refbp import functional


@rule("_scaled_dot_product_flash_attention_for_cpu")
def flash_attention(
    query: Any, key: Any, value: Any, dropout_p: float = 0.0, is_causal: bool = False, *, attn_mask: Any = None,
    scale: float | None = None,
) -> Any:  # fmt: skip
    """softmax(Q Kᵀ s + mask) V = P V; with δ = softmax's gradient of g Vᵀ: s δ K, s δᵀ Q, and Pᵀ g."""
    if dropout_p:
        raise NoRule("there is no rule for fused attention that drops out")
    s = 1 / math.sqrt(query.shape[-1]) if scale is None else float(scale)
    scores = query @ matrix_t(key) * s
    if attn_mask is not None:
        scores = scores + attn_mask
    if is_causal:
        scores = np.where(np.tril(np.ones(scores.shape[-2:], bool)), scores, -math.inf)
    weights, _ = functional.softmax(scores, -1)
    weights = stored(weights)  # as its second product reads it
    output = stored(weights @ value)

    def backward(g: Any, _: Any = None) -> Any:
        # As in the kernel, the row's mean of g Vᵀ comes from the output, whose rounding all keys of a query share: it is taken
        # out of their sum, so that it counts as one error and not as many.
        shares, mean = g @ matrix_t(value), np.sum(g * output, axis=-1, keepdims=True)
        grad_query = (stored(weights * shares) @ key - mean * (weights @ key)) * s
        scaled = stored(weights * (shares - mean) * s)
        return grad_query, matrix_t(scaled) @ query, summed_to(matrix_t(weights) @ g, value)

    return (output, None), backward
