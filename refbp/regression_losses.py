"""Losses of regression and of distributions: squared, absolute, smooth, Huber, Kullback-Leibler, Poisson and Gaussian."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from refbp.arrays import Array, Backward
from refbp.blocks import in_blocks
from refbp.checks import as_target
from refbp.docstring import documented_by
from refbp.loss import Gradients, Loss, LossBackward, reduced, shaped
from refbp.special import sign, where


def mse_loss(input: Array, target: Array, *, reduction: str = "mean") -> tuple[Array, LossBackward]:
    """(x - t)².

    Shape: target as input, any.
    Gradients, with delta the gradient of each term: grad_input = 2 (x - t) delta, grad_target = -grad_input.
    Raises: ValueError for a target of another shape.

    >>> value, backward = refbp.functional.mse_loss(np.array([1.0, 5.0]), np.array([0.0, 1.0]))
    >>> float(value)
    8.5
    >>> grad_input, grad_target = backward()
    >>> grad_input
    array([1., 4.])
    """
    difference = input - as_target("mse_loss", input, target)

    def gradients(delta: Array) -> Gradients:
        grad_input = 2 * difference * delta
        return grad_input, -grad_input

    return reduced(np.square(difference), gradients, (input, target), reduction)


@documented_by(mse_loss)
class MSELoss(Loss):
    """torch.nn.MSELoss: `refbp.functional.mse_loss`.

    >>> loss = refbp.MSELoss()
    >>> float(loss(np.array([1.0, 5.0]), np.array([0.0, 1.0])))
    8.5
    >>> loss.backward()
    array([1., 4.])
    """

    def op(self, input: Array, target: Array) -> tuple[Array, LossBackward]:
        return mse_loss(input, target, reduction=self.reduction)


def l1_loss(input: Array, target: Array, *, reduction: str = "mean") -> tuple[Array, LossBackward]:
    """|x - t|,  ∂/∂x = sign(x - t) = -∂/∂t.

    Shape: target as input, any.
    Raises: ValueError for a target of another shape.
    Conventions: sign(0) = 0, and sign(NaN) = 0.
    """
    difference = input - as_target("l1_loss", input, target)

    def gradients(delta: Array) -> Gradients:
        grad_input = sign(difference) * delta
        return grad_input, -grad_input

    return reduced(abs(difference), gradients, (input, target), reduction)


def smooth_l1_loss(
    input: Array, target: Array, *, reduction: str = "mean", beta: float = 1.0
) -> tuple[Array, LossBackward]:
    """d²/(2β) where |d| < β, else |d| - β/2, with d = x - t;  ∂/∂x = d/β or sign(d) = -∂/∂t. β = 0 is l1_loss.

    Source: Girshick, arXiv:1504.08083, for β = 1.

    Shape: target as input, any.
    Raises: ValueError for a target of another shape or a negative beta.
    """
    if beta < 0:
        raise ValueError(f"smooth_l1_loss expects a beta of at least 0, got {beta}")
    if beta == 0:
        return l1_loss(input, target, reduction=reduction)
    terms, backward = _smooth_l1(input - as_target("smooth_l1_loss", input, target), beta)

    def gradients(delta: Array) -> Gradients:
        grad_input = backward(delta)
        return grad_input, -grad_input

    return reduced(terms, gradients, (input, target), reduction)


@in_blocks
def _smooth_l1(d: Array, beta: float) -> tuple[Array, Backward]:
    size = abs(d)
    near = size < beta
    terms = where(near, 0.5 * (d * d) / beta, size - 0.5 * beta)
    return terms, lambda delta: where(near, d * delta / beta, np.sign(d) * delta)


def huber_loss(
    input: Array, target: Array, *, reduction: str = "mean", delta: float = 1.0
) -> tuple[Array, LossBackward]:
    """d²/2 where |d| <= δ, else δ (|d| - δ/2), with d = x - t;  ∂/∂x = d, or δ sign(d), = -∂/∂t.

    Source: Huber, Annals of Mathematical Statistics 35, 1964.

    Shape: target as input, any.
    Raises: ValueError for a target of another shape or a delta that is not positive.
    """
    if delta <= 0:
        raise ValueError(f"huber_loss expects a delta above 0, got {delta}")
    terms, backward = _huber(input - as_target("huber_loss", input, target), delta)

    def gradients(delta: Array) -> Gradients:
        grad_input = backward(delta)
        return grad_input, -grad_input

    return reduced(terms, gradients, (input, target), reduction)


@in_blocks
def _huber(d: Array, threshold: float) -> tuple[Array, Backward]:
    size = abs(d)
    near = size <= threshold
    terms = where(near, 0.5 * (d * d), threshold * (size - 0.5 * threshold))
    return terms, lambda delta: where(near, d * delta, np.sign(d) * (threshold * delta))


def kl_div(
    input: Array, target: Array, *, reduction: str = "mean", log_target: bool = False
) -> tuple[Array, LossBackward]:
    """t (ln t - x) for log-probabilities x and probabilities t, or e^t (t - x) for log-probabilities t (log_target).

    Source: Kullback and Leibler, Annals of Mathematical Statistics 22, 1951.

    Args: reduction may also be "batchmean", the sum over the size of the first dimension.
    Shape: target as input, any.
    Gradients: ∂/∂x = -t or -e^t; ∂/∂t = ln t + 1 - x or e^t (t - x + 1).
    Raises: ValueError for a target of another shape.
    Conventions: 0 ln 0 = 0.
    """
    t = as_target("kl_div", input, target)
    if log_target:
        probability = np.exp(t)
        terms = probability * (t - input)
    else:
        probability = t
        terms = where(t == 0, 0.0, t * np.log(t)) - t * input
    divisor: int | None = None
    if reduction == "batchmean":
        reduction, divisor = "mean", input.shape[0] if input.ndim else 1

    def gradients(delta: Array) -> Gradients:
        grad_target = probability * (t - input + 1.0) if log_target else np.log(t) + 1.0 - input
        return -probability * delta, grad_target * delta

    return reduced(terms, gradients, (input, target), reduction, divisor)


def poisson_nll_loss(
    input: Array,
    target: Array,
    log_input: bool = True,
    full: bool = False,
    *,
    eps: float = 1e-8,
    reduction: str = "mean",
) -> tuple[Array, LossBackward]:
    """e^x - t x if x is the logarithm of the rate (log_input), or x - t ln(x + eps) if it is the rate.

    `full` adds Stirling's approximation of ln t!, t ln t - t + ln(2 π t) / 2, where t > 1.

    Shape: target as input, any.
    Gradients: ∂/∂x = e^x - t or 1 - t / (x + eps); ∂/∂t = -x or -ln(x + eps), with `full` + ln t + 1 / (2 t) where t > 1.
    Raises: ValueError for a target of another shape.
    """
    t = as_target("poisson_nll_loss", input, target)
    log_rate = input if log_input else np.log(input + eps)
    terms = (np.exp(input) if log_input else input) - t * log_rate
    large = t > 1
    safe = where(large, t, 1.0)
    if full:
        stirling = safe * np.log(safe) - safe + 0.5 * np.log(2 * math.pi * safe)
        terms = terms + where(large, stirling, 0.0)

    def gradients(delta: Array) -> Gradients:
        grad_input = np.exp(input) - t if log_input else 1.0 - t / (input + eps)
        grad_target = -log_rate
        if full:
            grad_target = grad_target + where(large, np.log(safe) + 0.5 / safe, 0.0)
        return grad_input * delta, grad_target * delta

    return reduced(terms, gradients, (input, target), reduction)


def gaussian_nll_loss(
    input: Array, target: Array, var: Array, full: bool = False, eps: float = 1e-6, *, reduction: str = "mean"
) -> tuple[Array, LossBackward]:
    """(ln v + (x - t)² / v) / 2 with v = max(var, eps); `full` adds ln(2 π) / 2.

    Shape: target as input, any; var as input, or with a last dimension of 1, or without it.
    Gradients: ∂/∂x = (x - t) / v = -∂/∂t; ∂/∂var = (1 - (x - t)² / v) / (2 v).
    Raises: ValueError for shapes that do not fit, a negative variance, or an eps that is not positive.
    Conventions: as in torch the gradient ignores the clamp: below eps it is the gradient at v = eps.
    """
    name = "gaussian_nll_loss"
    difference = input - as_target(name, input, target)
    if eps <= 0:
        raise ValueError(f"{name} expects an eps above 0, got {eps}")
    v = var.reshape((*var.shape, 1)) if var.shape == input.shape[:-1] and input.ndim else var
    if v.shape not in (input.shape, (*input.shape[:-1], 1)):
        raise ValueError(
            f"{name} expects var of the input's shape {input.shape}, or without its last size, got {var.shape}"
        )
    if np.where(v < 0, 1, 0).any():
        raise ValueError(f"{name} expects variances of at least 0, got a negative one")
    v = np.maximum(v.astype(input.dtype, copy=False), eps)
    ratio = difference * difference / v
    terms = 0.5 * (np.log(v) + ratio) + (0.5 * math.log(2 * math.pi) if full else 0.0)

    def gradients(delta: Array) -> Gradients:
        grad_input = difference / v * delta
        grad_var: Any = 0.5 * (1.0 - ratio) / v * delta
        if v.shape != input.shape:
            grad_var = np.sum(grad_var, axis=-1, keepdims=True)
        return grad_input, -grad_input, shaped(grad_var, var.shape)

    return reduced(terms, gradients, (input, target, var), reduction)


@documented_by(l1_loss)
class L1Loss(Loss):
    """torch.nn.L1Loss: `refbp.functional.l1_loss`."""

    def op(self, input: Array, target: Array) -> tuple[Array, LossBackward]:
        return l1_loss(input, target, reduction=self.reduction)


@documented_by(smooth_l1_loss)
class SmoothL1Loss(Loss):
    """torch.nn.SmoothL1Loss: `refbp.functional.smooth_l1_loss`."""

    def __init__(
        self,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
        beta: float = 1.0,
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.beta = beta

    def op(self, input: Array, target: Array) -> tuple[Array, LossBackward]:
        return smooth_l1_loss(input, target, reduction=self.reduction, beta=self.beta)


@documented_by(huber_loss)
class HuberLoss(Loss):
    """torch.nn.HuberLoss: `refbp.functional.huber_loss`."""

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction=reduction)
        self.delta = delta

    def op(self, input: Array, target: Array) -> tuple[Array, LossBackward]:
        return huber_loss(input, target, reduction=self.reduction, delta=self.delta)


@documented_by(kl_div)
class KLDivLoss(Loss):
    """torch.nn.KLDivLoss: `refbp.functional.kl_div`."""

    def __init__(
        self,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
        log_target: bool = False,
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.log_target = log_target

    def op(self, input: Array, target: Array) -> tuple[Array, LossBackward]:
        return kl_div(input, target, reduction=self.reduction, log_target=self.log_target)


@documented_by(poisson_nll_loss)
class PoissonNLLLoss(Loss):
    """torch.nn.PoissonNLLLoss: `refbp.functional.poisson_nll_loss`."""

    def __init__(
        self,
        log_input: bool = True,
        full: bool = False,
        size_average: bool | None = None,
        eps: float = 1e-8,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.log_input, self.full, self.eps = log_input, full, eps

    def op(self, input: Array, target: Array) -> tuple[Array, LossBackward]:
        return poisson_nll_loss(input, target, self.log_input, self.full, eps=self.eps, reduction=self.reduction)


@documented_by(gaussian_nll_loss)
class GaussianNLLLoss(Loss):
    """torch.nn.GaussianNLLLoss: `refbp.functional.gaussian_nll_loss`. `backward` returns (grad_input, grad_var)."""

    predictions = (0, 2)

    def __init__(self, *, full: bool = False, eps: float = 1e-6, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)
        self.full, self.eps = full, eps

    def op(self, input: Array, target: Array, var: Array) -> tuple[Array, LossBackward]:
        return gaussian_nll_loss(input, target, var, full=self.full, eps=self.eps, reduction=self.reduction)
