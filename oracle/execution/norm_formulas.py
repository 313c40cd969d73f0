"""Other correct formulas of norms that take the statistics of their input: one mean and one scale for many elements."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from oracle.case.case import Case, Spec
from oracle.running_error.model import ErrorModel, Floats
from oracle.running_error.stores import with_more
from oracle.trace import Key


@dataclass(frozen=True)
class Moments:
    """The statistics of a norm's input.

    Attributes:
        mean: the mean with its error, (1, C, 1, ...) for batch norm.
        scale: 1/σ, of the same shape.
        gain: scale times weight.
        channels: the axis of the channels.
        axes: those that the statistics are taken over.
        stored_in: the model of the 16 bits in which a kernel that computes in a wider dtype keeps both; else None.
    """

    mean: Any
    scale: Floats
    gain: Floats
    channels: int
    axes: tuple[int, ...]
    stored_in: ErrorModel | None

    @classmethod
    def of(cls, x: Any, weight: Any, eps: float, channels: int, axes: tuple[int, ...], keeps: bool = True) -> Moments:
        """Those of an error array. weight: a plain array (C,), or a number. keeps: whether they are stored as x is."""
        mean = np.mean(x, axis=axes, keepdims=True)
        scale = 1 / np.sqrt(np.var(x.value, axis=axes, keepdims=True) + eps)
        weight = np.asarray(weight, np.float64)
        gain = scale * weight.reshape([-1 if axis == channels else 1 for axis in range(x.ndim)] if weight.ndim else ())
        narrow = x.model.of(x.model.stored) if keeps and x.model.stored is not None else None
        if narrow is not None:  # also of a mean that is exact before it is stored
            mean = with_more(mean, narrow.rounding(mean.value))
        return cls(mean, scale, gain, channels, axes, narrow)

    def output(self, x: Any, plain: Any) -> Any:
        """The output from a stored mean and scale; None if they are not stored."""
        if self.stored_in is None:
            return None
        of_mean = self.stored_in.rounding(self.mean.value) * x.model.raised(self.gain)
        return with_more(plain, self.stored_in.rounding((x.value - self.mean.value) * self.gain) + of_mean)

    def grad_weight(self, x: Any, grad_output: Any, plain: Any) -> Any:
        """Σ g x̂. The error of a mean is common to all elements from which it is subtracted, and so adds up over them."""
        others = tuple(axis for axis in range(x.ndim) if axis != self.channels)
        if self.stored_in is not None:
            plain = with_more(plain, self.stored_in.rounding(plain.value))
        off = x.model.raised(np.sum(grad_output.value, axis=self.axes, keepdims=True) * self.scale)
        error = (self.mean.error_or_zero * off).mapped(lambda own: np.sum(own, axis=others))
        return with_more(plain, error, np.sum(self._terms_of_mean() * off.statistical, axis=others))

    def grad_input(self, x: Any, grad_output: Any, plain: Any) -> Any:
        """(g - mean(g) - x̂ mean(g x̂)) w / σ, with the mean's common error in its last term."""
        count = max(1, x.size // max(1, self.mean.size))
        off = x.model.raised(np.sum(grad_output.value, axis=self.axes, keepdims=True) * self.scale)
        centred = x.value - self.mean.value
        spread = x.model.raised(centred * (self.scale * self.gain / count))
        # An error of the mean as large as x - mean counts in both factors of the last term.
        spread_of_mean = self.mean.error_or_zero * x.model.raised(self.scale * self.gain / count)
        found = with_more(
            plain,
            self.mean.error_or_zero * off * (spread + spread_of_mean),
            self._terms_of_mean() * off.statistical * spread.statistical,
        )
        if self.stored_in is None:
            return found
        # The last term holds 1/σ twice, and the whole once more; the mean is subtracted in it from each element.
        along = np.sum(grad_output.value * centred, axis=self.axes, keepdims=True) * (self.scale * self.gain / count)
        in_last = self.stored_in.rounding(2 * centred * along * self.scale)
        of_mean = self.stored_in.rounding(self.mean.value) * x.model.raised(along * self.scale)
        return with_more(found, in_last + of_mean + self.stored_in.rounding(plain.value))

    def _terms_of_mean(self) -> Floats:
        terms: Floats = self.mean.scale_or_own + np.square(self.mean.value)
        return terms


def of_norm(case: Case, key: Key, spec: Spec, known: Mapping[str, Any]) -> Any:
    """A quantity of a batch or instance norm; None if it takes the statistics that it keeps."""
    x = known["input"]
    instance = spec.type.startswith("Instance")
    if x.ndim < 2 or not x.size or not (case.training or instance or not spec.options.get("track_running_stats", True)):
        return None
    if key.quantity == "output" and x.model.stored is None:
        return None
    channels = 0 if instance and x.ndim == int(spec.type[-2]) + 1 else 1  # 0 without a batch
    axes = tuple(range(channels + 1, x.ndim)) if instance else (0, *range(2, x.ndim))
    weight = case.params.get(f"{key.layer}.weight", 1.0)
    moments = Moments.of(x, weight, float(spec.options.get("eps", 1e-5)), channels, axes)
    if key.quantity == "output":
        return moments.output(x, known["output"])
    made = moments.grad_weight if key.quantity == "grad.weight" else moments.grad_input
    return made(x, known["grad_output"], known[key.quantity])
