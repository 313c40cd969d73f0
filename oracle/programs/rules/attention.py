"""Scaled dot product attention in one call."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from oracle.programs.adjoint import matrix_t, plain
from oracle.programs.table import NoRule, rule
from oracle.running_error import ErrorArray
from oracle.running_error.stores import added_in_stores, stored, with_more
from refbp import functional

# The kernel's blocks of keys, and its blocks of queries: a size for each number of queries from which on it is used, in
# decreasing order (aten/src/ATen/native/cpu/FlashAttentionKernel.cpp).
KEYS = 512
QUERIES = ((768, 256), (192, 64), (0, 32))


@rule("_scaled_dot_product_flash_attention_for_cpu")
def flash_attention(
    query: Any, key: Any, value: Any, dropout_p: float = 0.0, is_causal: bool = False, *, attn_mask: Any = None,
    scale: float | None = None,
) -> Any:  # fmt: skip
    """softmax(Q Kᵀ s + mask) V = P V, 0 for a query without keys; with δ = softmax's gradient of g Vᵀ: s δ K, s δᵀ Q, and Pᵀ g. A
    head of K and V may serve a group of consecutive heads of Q, of which it adds the gradients up."""
    if dropout_p:
        raise NoRule("there is no rule for fused attention that drops out")
    group = query.shape[-3] // key.shape[-3]
    key, value = (own if group == 1 else np.repeat(own, group, axis=-3) for own in (key, value))

    def of_group(g: Any) -> Any:
        if group == 1:
            return g
        return np.sum(_by_group(g, group), axis=-3)

    s = 1 / math.sqrt(query.shape[-1]) if scale is None else float(scale)
    scores = query @ matrix_t(key) * s
    if attn_mask is not None:
        scores = scores + attn_mask
    if is_causal:
        scores = np.where(np.tril(np.ones(scores.shape[-2:], bool)), scores, -math.inf)
    none = np.all(plain(scores) == -math.inf, axis=-1, keepdims=True)  # queries without a key, whose output is 0
    weights, _ = functional.softmax(np.where(none, 0.0, scores) if none.any() else scores, -1)
    weights = stored(np.where(none, 0.0, weights) if none.any() else weights)  # as its second product reads it
    output = stored(weights @ value)

    def backward(g: Any, _: Any = None) -> Any:
        # As in the kernel, the row's mean of g Vᵀ comes from the output, whose rounding all keys of a query share: it is taken
        # out of their sum, so that it counts as one error and not as many.
        shares, mean = g @ matrix_t(value), np.sum(g * output, axis=-1, keepdims=True)
        grad_query = (stored(weights * shares) @ key - mean * (weights @ key)) * s
        scaled = stored(weights * (shares - mean) * s)
        grad_query = _in_blocks(grad_query, scaled, matrix_t(key), 1, KEYS)
        rows = next(size for least, size in QUERIES if query.shape[-2] >= least)
        grad_key, grad_value = of_group(matrix_t(scaled) @ query), of_group(matrix_t(weights) @ g)
        grad_key = _in_blocks(grad_key, matrix_t(scaled), matrix_t(query), group, rows)
        return grad_query, grad_key, _in_blocks(grad_value, matrix_t(weights), matrix_t(g), group, rows)

    return (output, None), backward


def _by_group(x: Any, group: int) -> Any:
    """(…, heads, L, D) -> (…, heads / group, group, L, D)."""
    return x.reshape(*x.shape[:-3], x.shape[-3] // group, group, *x.shape[-2:])


def _in_blocks(made: Any, a: Any, b: Any, group: int, size: int) -> Any:
    """A Bᵀ, added up over the heads of a group, of which the kernel adds each block of columns to what it stores in 16 bits."""
    if not isinstance(made, ErrorArray) or made.model.stored is None:
        return made
    a, b = (_by_group(plain(own), group) for own in (a, b))
    blocks = (
        np.s_[..., head, :, first : first + size] for head in range(group) for first in range(0, a.shape[-1], size)
    )
    shares = (a[own] @ matrix_t(b[own]) for own in blocks)
    return with_more(made, added_in_stores(shares, made.value, made.model.of(made.model.stored)))
