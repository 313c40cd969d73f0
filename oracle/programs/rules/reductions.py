"""Sums and means over dimensions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from oracle.programs.adjoint import axes_of, spread
from oracle.programs.table import rule


@rule("sum")
def sum(input: Any, dim: Any = None, keepdim: bool = False) -> Any:
    """Σ x; g to each term."""
    axes = axes_of(dim, input.ndim)
    return np.sum(input, axis=axes, keepdims=keepdim), lambda g: (spread(g, input.shape, axes, keepdim),)


@rule("mean")
def mean(input: Any, dim: Any = None, keepdim: bool = False) -> Any:
    """Σ x / n; g / n to each term."""
    axes = axes_of(dim, input.ndim)
    count = float(math.prod(input.shape[axis] for axis in axes))
    total = np.sum(input, axis=axes, keepdims=keepdim)
    return total / count, lambda g: (spread(g, input.shape, axes, keepdim) / count,)
