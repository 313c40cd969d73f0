"""Choosing between a value and zero."""

from __future__ import annotations

from typing import Any

import numpy as np

from refbp.layer import Array


def masked(x: Array, mask: Any) -> Array:
    """`x` where the mask holds, zero elsewhere.

    A product, in a tenth of the time of a choice, whose branches no processor can predict. Only infinity and NaN need the
    choice: times zero they are not zero.
    """
    result: Array = x * mask if np.isfinite(x).all() else np.where(mask, x, 0.0)
    return result
