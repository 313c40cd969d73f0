"""Adagrad and related rules: the gradient is divided by the root of a sum, or a running mean, of its squares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from refbp.arrays import Array, machine_epsilon
from refbp.docstring import documented_by
from refbp.optimizer import Optimizer, Params, descent


def rmsprop(
    param: Array,
    grad: Array,
    step: int | None = None,
    square_avg: Array | None = None,
    momentum_buffer: Array | None = None,
    grad_avg: Array | None = None,
    *,
    lr: float,
    alpha: float = 0.99,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    momentum: float = 0.0,
    centered: bool = False,
    maximize: bool = False,
) -> tuple[Array, int, Array, Array | None, Array | None]:
    """One step of RMSprop: the new parameter and the new state.

        d = ±grad + weight_decay W
        s ← α s + (1 - α) d²                              (centered: also g ← g + (1 - α)(d - g), and s - g² for s below)
        W ← W - lr d / (√s + eps)                         (momentum: v ← momentum v + d / (√s + eps), W ← W - lr v)

    Source: Tieleman and Hinton, lecture 6.5 of Neural Networks for Machine Learning, 2012; Graves, arXiv:1308.0850 (centered).

    Shape: param, grad and every state the same; none of them is changed. step counts the steps before this one.
    Conventions: all state is zero before the first step; eps is outside the root.
    """
    d = descent(param, grad, weight_decay, maximize)
    s = alpha * (np.zeros_like(param) if square_avg is None else square_avg) + (1.0 - alpha) * (d * d)
    variance, g, v = s, None, None
    if centered:
        g = np.zeros_like(param) if grad_avg is None else grad_avg
        g = g + (1.0 - alpha) * (d - g)
        variance = s - g * g
    scaled = d / (np.sqrt(variance) + eps)
    if momentum:
        scaled = v = momentum * (np.zeros_like(param) if momentum_buffer is None else momentum_buffer) + scaled
    return param - lr * scaled, int(step or 0) + 1, s, v, g


def adagrad(
    param: Array,
    grad: Array,
    step: int | None = None,
    sum: Array | None = None,
    *,
    lr: float,
    lr_decay: float = 0.0,
    weight_decay: float = 0.0,
    initial_accumulator_value: float = 0.0,
    eps: float = 1e-10,
    maximize: bool = False,
) -> tuple[Array, int, Array]:
    """One step of Adagrad: the new parameter and the new state.

        d = ±grad + weight_decay W
        s ← s + d²                                        (initial_accumulator_value before the first step)
        W ← W - lr / (1 + (t - 1) lr_decay) d / (√s + eps),   t = 1, 2, …

    Source: Duchi et al., Journal of Machine Learning Research 12, 2011.

    Shape: param, grad and sum the same; none of them is changed. step counts the steps before this one.
    """
    t = int(step or 0) + 1
    d = descent(param, grad, weight_decay, maximize)
    s = (np.full_like(param, initial_accumulator_value) if sum is None else sum) + d * d
    return param - lr / (1.0 + (t - 1) * lr_decay) * d / (np.sqrt(s) + eps), t, s


def adadelta(
    param: Array,
    grad: Array,
    step: int | None = None,
    square_avg: Array | None = None,
    acc_delta: Array | None = None,
    *,
    lr: float,
    rho: float = 0.9,
    eps: float = 1e-6,
    weight_decay: float = 0.0,
    maximize: bool = False,
) -> tuple[Array, int, Array, Array]:
    """One step of Adadelta: the new parameter and the new state.

        d = ±grad + weight_decay W
        s ← ρ s + (1 - ρ) d²
        Δ = √(u + eps) / √(s + eps) d
        u ← ρ u + (1 - ρ) Δ²
        W ← W - lr Δ

    Source: Zeiler, arXiv:1212.5701.

    Shape: param, grad and every state the same; none of them is changed. step counts the steps before this one.
    Conventions: s = u = 0 before the first step; eps is inside both roots.
    """
    d = descent(param, grad, weight_decay, maximize)
    s = np.zeros_like(param) if square_avg is None else square_avg
    u = np.zeros_like(param) if acc_delta is None else acc_delta
    s = rho * s + (1.0 - rho) * (d * d)
    delta = np.sqrt(u + eps) / np.sqrt(s + eps) * d
    u = rho * u + (1.0 - rho) * (delta * delta)
    return param - lr * delta, int(step or 0) + 1, s, u


def adafactor(
    param: Array,
    grad: Array,
    step: int | None = None,
    row_var: Array | None = None,
    col_var: Array | None = None,
    variance: Array | None = None,
    *,
    lr: float,
    beta2_decay: float = -0.8,
    eps: tuple[float | None, float] = (None, 1e-3),
    d: float = 1.0,
    weight_decay: float = 0.0,
    maximize: bool = False,
) -> tuple[Array, int, Array | None, Array | None, Array | None]:
    """One step of Adafactor: the new parameter and the new state.

        g = ±grad,   α = max(ε₂, rms(W)) min(lr, 1/√t),   W ← (1 - lr weight_decay) W
        r ← r + t^beta2_decay (rowmeans(g²) - r),   c ← c + t^beta2_decay (colmeans(g²) - c)
        V = r c / max(mean(r), ε₁)                        (of a vector: V ← V + t^beta2_decay (g² - V))
        U = g / √max(V, ε₁²)
        W ← W - α U / max(1, rms(U) / d),   t = 1, 2, …

    Source: Shazeer and Stern, ICML 2018, arXiv:1804.04235.

    Shape: of a matrix: param and grad (…, n, m), row_var (…, n, 1), col_var (…, 1, m), and variance None. Of a vector: param,
        grad and variance (m), row_var and col_var None. None of them is changed. step counts the steps before this one.
    Conventions: r = c = V = 0 before the first step. Weight decay is decoupled. ε₁ = None stands for the machine epsilon of
        the parameter's dtype.
    """
    t = int(step or 0) + 1
    g = -grad if maximize else grad
    eps1, eps2 = (machine_epsilon(param.dtype) if eps[0] is None else eps[0]), eps[1]
    kept = float(t) ** beta2_decay
    rate = np.maximum(np.sqrt(np.mean(np.square(param))), eps2) * min(lr, t**-0.5)
    if weight_decay:
        param = param * (1.0 - lr * weight_decay)
    if grad.ndim > 1:
        rows, columns = (np.mean(np.square(g), axis=axis, keepdims=True) for axis in (-1, -2))
        row_var = kept * rows if row_var is None else row_var + kept * (rows - row_var)
        col_var = kept * columns if col_var is None else col_var + kept * (columns - col_var)
        # (…, n, 1) (…, 1, m) -> (…, n, m)
        estimate = row_var * col_var / np.maximum(np.mean(row_var, axis=-2, keepdims=True), eps1)
    else:
        square = g * g
        variance = kept * square if variance is None else variance + kept * (square - variance)
        estimate = variance
    update = g / np.sqrt(np.maximum(estimate, eps1 * eps1))
    clipped = update / np.maximum(np.sqrt(np.mean(np.square(update))) / d, 1.0)
    return param - rate * clipped, t, row_var, col_var, variance


@documented_by(rmsprop)
class RMSprop(Optimizer):
    """torch.optim.RMSprop: `refbp.functional.rmsprop` for every parameter."""

    rule, state_names = staticmethod(rmsprop), ("step", "square_avg", "momentum_buffer", "grad_avg")

    def __init__(
        self,
        params: Params,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            lr=lr,
            alpha=alpha,
            eps=eps,
            weight_decay=weight_decay,
            momentum=momentum,
            centered=centered,
            maximize=maximize,
        )


@documented_by(adagrad)
class Adagrad(Optimizer):
    """torch.optim.Adagrad: `refbp.functional.adagrad` for every parameter.

    Conventions: as in torch, the constructor's initial_accumulator_value holds for every group.
    """

    rule, state_names = staticmethod(adagrad), ("step", "sum")

    def __init__(
        self,
        params: Params,
        lr: float = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            lr=lr,
            lr_decay=lr_decay,
            weight_decay=weight_decay,
            initial_accumulator_value=initial_accumulator_value,
            eps=eps,
            maximize=maximize,
        )

    def add_param_group(self, group: Mapping[str, Any]) -> None:
        super().add_param_group(group)
        self.param_groups[-1]["initial_accumulator_value"] = self.defaults["initial_accumulator_value"]


@documented_by(adadelta)
class Adadelta(Optimizer):
    """torch.optim.Adadelta: `refbp.functional.adadelta` for every parameter.

    Raises: ValueError for a rho above 1.
    """

    rule, state_names = staticmethod(adadelta), ("step", "square_avg", "acc_delta")

    def __init__(
        self,
        params: Params,
        lr: float = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, lr=lr, rho=rho, eps=eps, weight_decay=weight_decay, maximize=maximize)

    def check_options(self, options: Mapping[str, Any]) -> None:
        super().check_options(options)
        if options["rho"] > 1:
            raise ValueError(f"Adadelta expects rho of at most 1, got {options['rho']}")


@documented_by(adafactor)
class Adafactor(Optimizer):
    """torch.optim.Adafactor: `refbp.functional.adafactor` for every parameter.

    Raises: ValueError for a beta2_decay above 0, or a d below 1.
    """

    rule, state_names = staticmethod(adafactor), ("step", "row_var", "col_var", "variance")

    def __init__(
        self,
        params: Params,
        lr: float = 1e-2,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3),
        d: float = 1.0,
        weight_decay: float = 0,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params, lr=lr, beta2_decay=beta2_decay, eps=eps, d=d, weight_decay=weight_decay, maximize=maximize
        )

    def check_options(self, options: Mapping[str, Any]) -> None:
        super().check_options({**options, "beta2_decay": 0, "eps": tuple(eps or 0 for eps in options["eps"])})
        if not options["beta2_decay"] <= 0:
            raise ValueError(f"Adafactor expects beta2_decay of at most 0, got {options['beta2_decay']}")
        if not options["d"] >= 1:
            raise ValueError(f"Adafactor expects d of at least 1, got {options['d']}")
