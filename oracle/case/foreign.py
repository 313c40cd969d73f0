"""The one place where arrays of other libraries are converted to NumPy's."""

from __future__ import annotations

import sys
from typing import Any

import ml_dtypes
import numpy as np

from oracle.case.arrays import Array


def numpy_of(value: Any) -> Array:
    """The values of a number or of an array of NumPy, torch, JAX, CuPy or any library with DLPack, in the same dtype.

    An array on another device is copied to the processor; a tensor that is part of a graph is detached.

    Raises: TypeError for anything else.
    """
    torch = sys.modules.get("torch")  # whoever has a tensor has imported it
    if torch is not None and isinstance(value, torch.Tensor):
        plain = value.detach().cpu()
        is_foreign = plain.dtype == torch.bfloat16  # which torch and NumPy exchange as integers only
        return np.asarray(
            plain.contiguous().view(torch.int16).numpy().view(ml_dtypes.bfloat16) if is_foreign else plain.numpy()
        )
    if isinstance(value, (np.ndarray, np.generic, bool, int, float)):
        return np.asarray(value)
    if hasattr(value, "__cuda_array_interface__") and hasattr(
        value, "get"
    ):  # CuPy, which refuses to be copied silently
        return np.asarray(value.get())
    if hasattr(value, "__array__"):
        return np.asarray(value)
    if hasattr(value, "__dlpack__"):
        try:
            return np.array(np.from_dlpack(value))
        except (BufferError, RuntimeError):  # on another device
            return np.array(np.from_dlpack(value, device="cpu", copy=True))
    raise TypeError(
        f"got {type(value).__name__}: an array of NumPy, torch, JAX or CuPy is expected, or one that speaks DLPack"
    )
