"""The one place where arrays of other libraries are converted to NumPy's."""

from __future__ import annotations

import sys
from typing import Any

import ml_dtypes
import numpy as np

from oracle.case.arrays import Array

# The dtypes that torch and NumPy can only exchange as integers.
FOREIGN: dict[str, np.dtype[Any]] = {
    np.dtype(own).name: np.dtype(own) for own in (ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2)
}


def numpy_of(value: Any) -> Array:
    """The values of a number or of an array of NumPy, torch, JAX, CuPy or any library with DLPack, in the same dtype.

    An array on another device is copied to the processor; a tensor that is part of a graph is detached.

    Raises: TypeError for anything else.
    """
    torch = sys.modules.get("torch")  # a tensor exists only where torch has been imported
    if torch is not None and isinstance(value, torch.Tensor):
        if value.is_meta:
            raise TypeError("got a tensor on the meta device, which has no numbers")
        if value.layout is not torch.strided:
            raise TypeError(f"got a tensor with the layout {value.layout}: to_dense() makes one that can be compared")
        return _of_tensor(torch, value.detach().cpu())
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


def _of_tensor(torch: Any, plain: Any) -> Array:
    if plain._is_zerotensor() or plain.is_neg() or plain.is_conj():  # zero, or the negative or conjugate of its memory
        plain = plain.clone().resolve_neg().resolve_conj()
    foreign = FOREIGN.get(str(plain.dtype).removeprefix("torch."))
    if foreign is None:
        return np.asarray(plain.numpy())
    integers = getattr(torch, f"int{8 * foreign.itemsize}")
    return np.asarray(plain.contiguous().view(integers).numpy().view(foreign))
