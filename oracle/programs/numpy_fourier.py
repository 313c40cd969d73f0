"""Translates NumPy's discrete Fourier transforms into calls of the rules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from oracle.programs.numpy_arrays import NumpyRecording, values
from oracle.programs.rules.fourier import BY_N, BY_ROOT, NONE
from oracle.programs.table import NoRule

# The division of a transform, and of an inverse one, by numpy's `norm`.
DIVISIONS = {None: (NONE, BY_N), "backward": (NONE, BY_N), "ortho": (BY_ROOT, BY_ROOT), "forward": (BY_N, NONE)}


def _sized(x: Any, sizes: Sequence[int] | None, axes: Sequence[int]) -> Any:
    """The array cut, or extended by zeros, to these sizes along these axes; None keeps it."""
    if sizes is None:
        return x
    for size, axis in zip(sizes, axes, strict=True):
        along = axis % x.ndim
        if size < x.shape[along]:
            x = x[(slice(None),) * along + (slice(0, size),)]
        elif size > x.shape[along]:
            missing = [(0, size - x.shape[along] if own == along else 0) for own in range(x.ndim)]
            x = np.pad(x, missing)
    return x


def _axes(x: Any, sizes: Any, axes: Any) -> list[int]:
    """The axes of a transform of several dimensions. Raises: NoRule for an axis that comes twice."""
    found = list(range(x.ndim))[-len(sizes) :] if axes is None and sizes is not None else axes
    found = list(range(x.ndim)) if found is None else [int(own) % x.ndim for own in found]
    if len(set(found)) < len(found):
        raise NoRule("there is no rule for a Fourier transform along an axis that is given twice")
    return found


def _made(
    recording: NumpyRecording, name: str, function: Callable[[Any], Any], x: Any, axes: list[int], *extra: Any
) -> Any:
    if not axes:
        return x.copy()
    return recording.call(name, function, (x,), (axes, *extra))


def _complex(recording: NumpyRecording, x: Any, s: Any, axes: Any, norm: Any, inverse: bool) -> Any:
    x, transform = recording.lifted(x), np.fft.ifftn if inverse else np.fft.fftn
    axes = _axes(x, s, axes)
    x = _sized(x, s, axes)
    return _made(
        recording,
        "_fft_c2c",
        lambda own: transform(own, axes=axes, norm=norm),
        x,
        axes,
        DIVISIONS[norm][inverse],
        not inverse,
    )


def _of_real(recording: NumpyRecording, x: Any, s: Any, axes: Any, norm: Any) -> Any:
    x = recording.lifted(x)
    axes = _axes(x, s, axes)
    x = _sized(x, s, axes)
    return _made(
        recording, "_fft_r2c", lambda own: np.fft.rfftn(own, axes=axes, norm=norm), x, axes, DIVISIONS[norm][0], True
    )


def _to_real(recording: NumpyRecording, x: Any, s: Any, axes: Any, norm: Any) -> Any:
    x = recording.lifted(x)
    axes = _axes(x, s, axes)
    if not all(x.shape[axis] for axis in axes):  # NumPy errs: reports/findings/numpy-irfft-empty.md
        raise NoRule("there is no rule for an inverse Fourier transform of an empty axis to real numbers")
    sizes = [x.shape[axis] for axis in axes] if s is None else list(s)
    if s is None:
        sizes[-1] = 2 * (sizes[-1] - 1)
    x = _sized(x, [*sizes[:-1], sizes[-1] // 2 + 1], axes)
    return _made(
        recording,
        "_fft_c2r",
        lambda own: np.fft.irfftn(own, sizes, axes, norm),
        x,
        axes,
        DIVISIONS[norm][1],
        sizes[-1],
    )


Transform = Callable[[NumpyRecording, Any, Any, Any, Any], Any]


def _forward(recording: NumpyRecording, x: Any, s: Any, axes: Any, norm: Any) -> Any:
    return _complex(recording, x, s, axes, norm, False)


def _inverse(recording: NumpyRecording, x: Any, s: Any, axes: Any, norm: Any) -> Any:
    return _complex(recording, x, s, axes, norm, True)


def _along_one(transform: Transform) -> Callable[..., Any]:
    def adapted(recording: NumpyRecording, a: Any, n: Any = None, axis: Any = -1, norm: Any = None) -> Any:
        return transform(recording, a, None if n is None else [values(n)], [axis], norm)

    return adapted


def _along_several(transform: Transform, default: Any = None) -> Callable[..., Any]:
    def adapted(recording: NumpyRecording, a: Any, s: Any = None, axes: Any = default, norm: Any = None) -> Any:
        return transform(recording, a, s, axes, norm)

    return adapted


ADAPTED: dict[str, Callable[..., Any]] = {}
for _name, _transform in (("fft", _forward), ("ifft", _inverse), ("rfft", _of_real), ("irfft", _to_real)):
    ADAPTED[f"fft.{_name}"] = _along_one(_transform)
    ADAPTED[f"fft.{_name}2"] = _along_several(_transform, (-2, -1))
    ADAPTED[f"fft.{_name}n"] = _along_several(_transform)
