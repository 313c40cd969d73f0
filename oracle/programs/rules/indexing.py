"""Reading and writing at indices, and by masks."""

from __future__ import annotations

from typing import Any

import numpy as np

from oracle.programs.adjoint import summed_to
from oracle.programs.geometry import mapped
from oracle.programs.table import rule


@rule("embedding")
def embedding(
    weight: Any, indices: Any, padding_idx: int = -1, scale_grad_by_freq: bool = False, sparse: bool = False
) -> Any:
    """Rows of a table; g added to the rows that were read, none to padding_idx."""

    def backward(g: Any) -> Any:
        rows, grads = indices.reshape(-1), g.reshape(-1, weight.shape[1])
        if scale_grad_by_freq:
            grads = grads / np.bincount(rows)[rows].astype(float).reshape(-1, 1)
        kept = rows != padding_idx
        grad_weight = np.zeros_like(weight)
        np.add.at(grad_weight, rows[kept], mapped(grads, lambda own: own[kept]))
        return (grad_weight,)

    return mapped(weight, lambda own: own[indices]), backward


@rule("where")
def where(condition: Any, input: Any, other: Any) -> Any:
    """x where the condition holds, else y; g where each was taken."""
    return np.where(condition, input, other), lambda g: (
        None,
        summed_to(np.where(condition, g, 0.0), input),
        summed_to(np.where(condition, 0.0, g), other),
    )


@rule("masked_fill")
def masked_fill(input: Any, mask: Any, value: Any) -> Any:
    """A value where the mask holds, else x; g where x was kept, and the sum of the others."""
    return np.where(mask, value, input), lambda g: (
        summed_to(np.where(mask, 0.0, g), input),
        None,
        summed_to(np.where(mask, g, 0.0), value),
    )
