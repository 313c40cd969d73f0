"""Other correct formulas of norms that take the statistics of their input: one mean and one scale for many elements."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from oracle.case.case import Case, Spec
from oracle.execution.covering import covering
from oracle.running_error.infinities import left_open
from oracle.running_error.model import ErrorModel, Floats, Twofold
from oracle.running_error.stores import with_more
from oracle.trace import Key
from refbp.arrays import machine_epsilon


@dataclass(frozen=True)
class Moments:
    """The statistics of a norm's input.

    Attributes:
        mean: the mean with its error, (1, C, 1, ...) for batch norm.
        scale: 1/σ, of the same shape.
        weight: the weight, of a shape that can be broadcast to the input's.
        axes: the axes over which the statistics are taken.
        summed: the axes over which the gradient of a weight is summed.
        narrow: the error model of the 16-bit dtype that the kernel reads, if it computes in a wider one; else None.
        stored_in: the same model, if the kernel also stores both statistics and its products in that dtype; else None.
    """

    mean: Any
    scale: Floats
    weight: Floats
    axes: tuple[int, ...]
    summed: tuple[int, ...]
    narrow: ErrorModel | None
    stored_in: ErrorModel | None

    @classmethod
    def of(
        cls, x: Any, weight: Any, eps: float, axes: tuple[int, ...], summed: tuple[int, ...], keeps: bool = True
    ) -> Moments:
        """The statistics of an error array.

        weight: a plain array or a number.
        keeps: whether the kernel stores the statistics in the dtype in which it stores x.
        """
        mean = np.mean(x, axis=axes, keepdims=True)
        scale = 1 / np.sqrt(np.var(x.value, axis=axes, keepdims=True) + eps)
        narrow = x.model.of(x.model.stored) if x.model.stored is not None else None
        if keeps and narrow is not None:  # also of a mean that is exact before it is stored
            mean = with_more(mean, narrow.rounding(mean.value))
        return cls(mean, scale, np.asarray(weight, np.float64), axes, summed, narrow, narrow if keeps else None)

    def output(self, x: Any, plain: Any) -> Any:
        """The output, also from a stored mean and scale."""
        if self.stored_in is None:
            return plain
        gain = self.scale * self.weight
        of_mean = self.stored_in.rounding(self.mean.value) * x.model.raised(gain)
        found = covering(plain, with_more(plain, self._of_scale((x.value - self.mean.value) * gain) + of_mean))
        return left_open(found, np.broadcast_to(self._is_lost, found.shape))

    @property
    def _is_lost(self) -> Any:
        """The mask where the dtype in which 1/σ is stored cannot hold it."""
        if self.stored_in is None:
            return np.zeros(self.scale.shape, bool)
        return np.isfinite(self.scale) & (self.scale > self.stored_in.largest)

    def grad_weight(self, x: Any, grad_output: Any, plain: Any) -> Any:
        """Σ g x̂. The error of a mean is common to all elements from which it is subtracted, and so adds up over them."""
        inside = tuple(axis for axis in self.summed if axis in self.axes)
        outside = tuple(axis for axis in self.summed if axis not in self.axes)
        found = plain
        if self.stored_in is not None:
            products = grad_output.value * (x.value - self.mean.value)
            total = np.sum(products, axis=inside, keepdims=True)
            rounded = self.stored_in.rounding(total) + self._of_products(products, inside)
            stored = self._of_scale(total * self.scale) + rounded * x.model.raised(self.scale)
            found = with_more(found, stored.mapped(lambda own: self._as_weight(own, outside, plain)))
        off = x.model.raised(np.sum(grad_output.value, axis=inside, keepdims=True) * self.scale)
        error = (self.mean.error_or_zero * off).mapped(lambda own: self._as_weight(own, outside, plain))
        found = with_more(found, error, self._as_weight(self._terms_of_mean() * off.statistical, outside, plain))
        # As Σ g x less the mean's share, both may be infinite.
        found = covering(plain, left_open(found, np.isinf(plain.value)))
        # Σ g (x - μ) may leave the range before it is multiplied by 1/σ.
        inner = np.sum(np.abs(grad_output.value * x.value), axis=inside, keepdims=True)
        beyond = self._is_lost | ((inner > _inside_kernels(x).largest) & np.isfinite(inner))
        return left_open(found, np.isfinite(plain.value) & (self._as_weight(beyond, outside, plain) > 0))

    @staticmethod
    def _as_weight(share: Floats, outside: tuple[int, ...], plain: Any) -> Floats:
        total: Floats = np.sum(share, axis=outside, keepdims=True).reshape(plain.shape)
        return total

    def grad_input(self, x: Any, grad_output: Any, plain: Any) -> Any:
        """(h - mean(h) - x̂ mean(h x̂)) / σ with h = g w, and the mean's common error in its last term."""
        count = max(1, x.size // max(1, self.mean.size))
        total = np.sum(grad_output.value * self.weight, axis=self.axes, keepdims=True)
        off, share = x.model.raised(total * self.scale), self.scale * self.scale / count
        spread = x.model.raised((x.value - self.mean.value) * share)
        # An error of the mean as large as x - mean counts in both factors of the last term.
        error = self.mean.error_or_zero * off
        common = (error * spread).increased(error * self.mean.error_or_zero * x.model.raised(share))
        terms = spread.statistical
        terms *= self._terms_of_mean() * off.statistical
        found = with_more(plain, common, terms)
        # Infinities meet in other terms if these are arranged in another way. NaN stays NaN.
        certain = np.isnan(grad_output.value).any(self.axes, keepdims=True)
        found = left_open(found, ~np.isfinite(found.value) & ~certain)
        if self.narrow is not None:
            found = self._narrow_grad_input(x, grad_output, plain, found, self.narrow)
        found = covering(plain, found)
        found = with_cube(found, x, grad_output.value * self.weight, self.mean.value, self.scale, self.axes)
        return left_open(found, np.broadcast_to(self._is_lost, found.shape))

    def _narrow_grad_input(self, x: Any, grad_output: Any, plain: Any, found: Any, narrow: ErrorModel) -> Any:
        """The gradient by 16-bit kernels. If g is not contiguous, they store each term and each difference in 16 bits.

        Source: aten/src/ATen/native/Normalization.cpp.
        """
        count = max(1, x.size // max(1, self.mean.size))
        weighted, centred = grad_output.value * self.weight, x.value - self.mean.value
        products, share = weighted * centred, self.scale**3 / count
        along = np.sum(products, axis=self.axes, keepdims=True) * share
        terms = weighted, np.sum(weighted, axis=self.axes, keepdims=True) / count, centred * along / self.scale
        first, mean, last = (narrow.rounding(own) for own in terms)
        found = with_more(found, (first + first + mean + mean + last + last) * x.model.raised(self.scale))
        if self.stored_in is None:
            return found
        # The last term holds 1/σ twice, and the whole once more; the mean is subtracted in it from each element.
        of_mean = self.stored_in.rounding(self.mean.value) * x.model.raised(along)
        in_last = self._of_scale(2 * centred * along)
        of_products = self._of_products(products, self.axes) * x.model.raised(centred * share)
        return with_more(found, in_last + of_mean + of_products + self._of_scale(plain.value))

    def _of_scale(self, product: Floats) -> Twofold:
        """The error of a product with 1/σ: it is stored, and σ² may be taken around the stored mean, which adds (δμ)²."""
        assert self.stored_in is not None
        shift = self.stored_in.rounding(self.mean.value).statistical * np.square(self.scale) / 2
        return self.stored_in.rounding(product) + self.stored_in.raised(product * shift)

    def _of_products(self, products: Floats, axes: tuple[int, ...]) -> Twofold:
        """The rounding of the terms of Σ g (x - μ). If g is not contiguous, a kernel rounds each difference and each product.

        It multiplies by 1/σ afterwards, which may bring a subnormal product back into the normal range.
        """
        assert self.stored_in is not None
        terms = self.stored_in.rounding(products)
        return (terms + terms).mapped(lambda own: np.sum(own, axis=axes, keepdims=True))

    def _terms_of_mean(self) -> Floats:
        terms: Floats = self.mean.scale_or_own + np.square(self.mean.value)
        return terms


def _inside_kernels(x: Any) -> ErrorModel:
    """The model of the dtype in which kernels add up."""
    model: ErrorModel = x.model if x.model.accumulate is None else x.model.of(x.model.accumulate)
    return model


def with_cube(found: Any, x: Any, weighted: Floats, mean: Any, scale: Floats, axes: tuple[int, ...]) -> Any:
    """The gradient of a norm's input as kernels compute it, which multiply D = Σ h x - mean Σ h by 1/σ three times, or by 1/σ³,
    with h = g w. These may leave the range where the gradient does not: then it is open, or loses what underflows.

    Source: cpu/layer_norm_kernel.cpp and cpu/group_norm_kernel.cpp; rsqrt in tools/autograd/derivatives.yaml for RMSNorm.
    """
    model = _inside_kernels(x)
    inner = np.sum(np.abs(weighted * x.value), axis=axes, keepdims=True)
    inner = inner + np.abs(np.sum(weighted, axis=axes, keepdims=True) * mean)
    reach = (np.abs(x.value) + np.abs(mean)) * (inner.size / max(1, x.size))
    beyond = inner > model.largest
    # Products on the way, and what each is multiplied by afterwards.
    for size, factor in (
        (inner * scale, scale**2),
        (inner * scale**2, scale),
        (inner * scale**3, 1.0),
        (scale**3, inner),
    ):
        beyond = beyond | (size > model.largest)
        lost = model.underflow(size)
        if lost is not None:
            found = with_more(found, lost * model.raised(factor * reach))
    given = np.isfinite(weighted).all(axes, keepdims=True) & np.isfinite(x.value).all(axes, keepdims=True)
    return left_open(found, beyond & given & np.isfinite(scale) & np.isfinite(found.value))


def of_rows(x: Any, weight: Any, rank: int, eps: float) -> Moments:
    """The statistics of layer norm, over the last `rank` dimensions; its kernels round nothing to 16 bits but the results.

    weight: a plain array of these dimensions, or a number.
    """
    inner = tuple(range(x.ndim - rank, x.ndim))
    moments = Moments.of(x, weight, eps, inner, tuple(range(x.ndim - rank)), keeps=False)
    return replace(moments, narrow=None)


def of_layer_norm(case: Case, key: Key, spec: Spec, known: Mapping[str, Any]) -> Any:
    """The gradient of layer norm's input."""
    x = known["input"]
    if not x.size:
        return None
    shape = np.atleast_1d(spec.options["normalized_shape"])
    weight = case.params.get(f"{key.layer}.weight", 1.0)
    moments = of_rows(x, weight, len(shape), float(spec.options.get("eps", 1e-5)))
    return moments.grad_input(x, known["grad_output"], known[key.quantity])


def of_rms(x: Any, grad_output: Any, weight: Any, rank: int, eps: float | None, plain: Any) -> Any:
    """The gradient of RMSNorm's input, whose statistics are taken over the last `rank` dimensions.

    weight: a plain array of these dimensions, or a number.
    """
    axes = tuple(range(x.ndim - rank, x.ndim))
    eps = machine_epsilon(x.model.dtype) if eps is None else eps
    scale = 1 / np.sqrt(np.mean(np.square(x.value), axis=axes, keepdims=True) + eps)
    return with_cube(plain, x, grad_output.value * weight, 0.0, scale, axes)


def of_rms_norm(case: Case, key: Key, spec: Spec, known: Mapping[str, Any]) -> Any:
    """The gradient of RMSNorm's input."""
    x = known["input"]
    if not x.size:
        return None
    rank = len(np.atleast_1d(spec.options["normalized_shape"]))
    weight = case.params.get(f"{key.layer}.weight", np.float64(1.0)).astype(np.float64)
    return of_rms(x, known["grad_output"], weight, rank, spec.options.get("eps"), known[key.quantity])


def of_groups(x: Any, weight: Any, groups: int, eps: float, keeps: bool = True) -> tuple[Moments, tuple[int, ...]]:
    """The statistics of group norm, and the shape (N, G, C/G, positions) in which they take arrays like x.

    weight: a plain array of shape (C), or a number.
    """
    samples, channels = x.shape[:2]
    apart = (samples, groups, channels // groups, math.prod(x.shape[2:]))
    own = np.asarray(weight)
    own = own.reshape((*apart[1:3], 1)) if own.ndim else own
    return Moments.of(x.reshape(apart), own, eps, (2, 3), (0, 3), keeps), apart


def of_group_norm(case: Case, key: Key, spec: Spec, known: Mapping[str, Any]) -> Any:
    """A gradient of group norm."""
    x, g, plain = known["input"], known["grad_output"], known[key.quantity]
    if not x.size:
        return None
    weight = case.params.get(f"{key.layer}.weight", 1.0)
    moments, apart = of_groups(x, weight, spec.options["num_groups"], float(spec.options.get("eps", 1e-5)))
    if key.quantity == "grad.weight":
        return moments.grad_weight(x.reshape(apart), g.reshape(apart), plain)
    return moments.grad_input(x.reshape(apart), g.reshape(apart), plain.reshape(apart)).reshape(x.shape)


def of_copies(case: Case, key: Key, spec: Spec, known: Mapping[str, Any]) -> Any:
    """Running statistics of instance norm as torch has them: a copy is updated for each sample, and the mean of these is kept.

    The mean of equal numbers is rounded too, also with a momentum of zero.
    """
    x, plain = known["input"], known[key.quantity]
    if x.ndim < int(spec.type[-2]) + 2 or len(x) < 2:
        return None
    return np.mean(np.broadcast_to(plain, (len(x), *plain.shape)), axis=0)


def of_stored_mean(case: Case, key: Key, spec: Spec, known: Mapping[str, Any]) -> Any:
    """The running variance of batch norm by 16-bit kernels, which take the variance around the mean that they store.

    That adds the squared rounding of the mean to the variance. None if nothing is stored in 16 bits, or no mean is taken.
    """
    x, plain = known["input"], known[key.quantity]
    if x.model.stored is None or not case.training or x.ndim < 2 or not x.size:
        return None
    axes = (0, *range(2, x.ndim))
    mean, count = np.mean(x.value, axis=axes), x.size // x.shape[1]
    momentum = spec.options.get("momentum", 0.1)
    share = (1.0 if momentum is None else momentum) * count / max(count - 1, 1)
    shift = x.model.of(x.model.stored).rounding(mean).statistical * share
    return with_more(plain, x.model.raised(shift))


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
    weight = np.asarray(case.params.get(f"{key.layer}.weight", 1.0))
    weight = weight.reshape([-1 if axis == channels else 1 for axis in range(x.ndim)]) if weight.ndim else weight
    summed = tuple(axis for axis in range(x.ndim) if axis != channels)
    moments = Moments.of(x, weight, float(spec.options.get("eps", 1e-5)), axes, summed)
    if key.quantity == "output":
        return moments.output(x, known["output"])
    made = moments.grad_weight if key.quantity == "grad.weight" else moments.grad_input
    return made(x, known["grad_output"], known[key.quantity])
