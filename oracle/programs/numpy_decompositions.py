"""Translates NumPy's decompositions of matrices into calls of the rules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from oracle.programs.numpy_arrays import NumpyRecording, values
from oracle.programs.table import NoRule

# The bound that NumPy takes by default, as a share of the largest singular value.
RCOND = 1e-15


def _eigh(recording: NumpyRecording, a: Any, UPLO: Literal["L", "U"] = "L") -> Any:
    return recording.call_of_several("_linalg_eigh", lambda own: np.linalg.eigh(own, UPLO), (a,), (UPLO,))


def _eigvalsh(recording: NumpyRecording, a: Any, UPLO: Literal["L", "U"] = "L") -> Any:
    def function(own: Any) -> Any:
        return np.linalg.eigvalsh(own, UPLO)

    return recording.call("_linalg_eigh", function, (a,), (UPLO, False), results=2)


def _svd(
    recording: NumpyRecording, a: Any, full_matrices: bool = True, compute_uv: bool = True, hermitian: bool = False
) -> Any:
    if hermitian:
        raise NoRule("there is no rule for np.linalg.svd with hermitian=True")
    if not compute_uv:
        return _svdvals(recording, a)
    return recording.call_of_several(
        "_linalg_svd", lambda own: np.linalg.svd(own, full_matrices), (a,), (full_matrices,)
    )


def _svdvals(recording: NumpyRecording, x: Any) -> Any:
    def function(own: Any) -> Any:
        return np.linalg.svd(own, compute_uv=False)

    return recording.call("_linalg_svd", function, (x,), (False, False), results=3, place=1)


def _qr(recording: NumpyRecording, a: Any, mode: str = "reduced") -> Any:
    if mode in ("reduced", "complete"):
        qr: Any = np.linalg.qr
        return recording.call_of_several("linalg_qr", lambda own: qr(own, mode), (a,), (mode,))
    if mode == "r":
        return recording.call("linalg_qr", lambda own: np.linalg.qr(own, "r"), (a,), ("r",), results=2, place=1)
    raise NoRule(f"there is no rule for np.linalg.qr with mode={mode!r}")


def _pinv(recording: NumpyRecording, a: Any, rcond: Any = None, hermitian: bool = False, **rtol: Any) -> Any:
    if hermitian:
        raise NoRule("there is no rule for np.linalg.pinv with hermitian=True")
    due = np.linalg.pinv(values(a), rcond, **rtol)
    share = rtol.get("rtol", RCOND) if rcond is None else rcond
    if share is None:
        share = max(due.shape[-2:]) * np.finfo(due.dtype).eps
    return recording.call("linalg_pinv", lambda _: due, (a,), named={"rtol": np.asarray(share)})


def _lstsq(recording: NumpyRecording, a: Any, b: Any, rcond: Any = None) -> Any:
    """The solution is followed; the residuals, the rank and the singular values are plain numbers."""
    if rcond is not None and rcond < 0:
        raise NoRule("there is no rule for np.linalg.lstsq with a negative rcond")
    x, *rest = np.linalg.lstsq(values(a), values(b), rcond)
    share = None if rcond is None else float(rcond)
    return (recording.call("linalg_lstsq", lambda *_: x, (a, b), named={"rcond": share}, results=4), *rest)


ADAPTED: dict[str, Callable[..., Any]] = {
    "linalg.eigh": _eigh,
    "linalg.eigvalsh": _eigvalsh,
    "linalg.svd": _svd,
    "linalg.svdvals": _svdvals,
    "linalg.qr": _qr,
    "linalg.pinv": _pinv,
    "linalg.lstsq": _lstsq,
}
