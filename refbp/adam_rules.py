"""Adam and related rules: a running mean of the gradient is divided by a running measure of its size."""

from __future__ import annotations

import math

import numpy as np

from refbp.arrays import Array
from refbp.docstring import documented_by
from refbp.optimizer import Optimizer, Params, descent


def _decayed(
    param: Array, grad: Array, lr: float, weight_decay: float, decoupled: bool, maximize: bool
) -> tuple[Array, Array]:
    """The parameter, and d: weight decay is part of d or, decoupled, is taken off the parameter first."""
    d = descent(param, grad, 0.0 if decoupled else weight_decay, maximize)
    return (param * (1.0 - lr * weight_decay) if decoupled and weight_decay else param), d


def _moments(d: Array, m: Array | None, v: Array | None, beta1: float, beta2: float) -> tuple[Array, Array]:
    """m ← m + (1 - β₁)(d - m),   v ← β₂ v + (1 - β₂) d²,   both 0 before the first step."""
    m = np.zeros_like(d) if m is None else m
    v = np.zeros_like(d) if v is None else v
    return m + (1.0 - beta1) * (d - m), beta2 * v + (1.0 - beta2) * (d * d)


def adam(
    param: Array,
    grad: Array,
    step: int | None = None,
    exp_avg: Array | None = None,
    exp_avg_sq: Array | None = None,
    max_exp_avg_sq: Array | None = None,
    *,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    amsgrad: bool = False,
    maximize: bool = False,
    decoupled_weight_decay: bool = False,
) -> tuple[Array, int, Array, Array, Array | None]:
    """One step of Adam (of AdamW with decoupled_weight_decay): the new parameter and the new state.

        d = ±grad + weight_decay W        (decoupled: d = ±grad, and first W ← (1 - lr weight_decay) W)
        m ← m + (1 - β₁)(d - m),   v ← β₂ v + (1 - β₂) d²
        W ← W - lr / (1 - β₁ᵗ) m / (√v / √(1 - β₂ᵗ) + eps),   t = 1, 2, …

    Source: Kingma and Ba, arXiv:1412.6980; Loshchilov and Hutter, arXiv:1711.05101 (decoupled); Reddi et al., ICLR 2018
    (amsgrad).

    Shape: param, grad and every state the same; none of them is changed. step counts the steps before this one.
    Conventions: m = v = 0 before the first step. amsgrad takes for v the largest v so far, each before bias correction.
    """
    t = int(step or 0) + 1
    beta1, beta2 = map(float, betas)
    param, d = _decayed(param, grad, lr, weight_decay, decoupled_weight_decay, maximize)
    m, v = _moments(d, exp_avg, exp_avg_sq, beta1, beta2)
    largest = None
    if amsgrad:
        largest = v if max_exp_avg_sq is None else np.maximum(max_exp_avg_sq, v)
    denominator = np.sqrt(v if largest is None else largest) / math.sqrt(1.0 - beta2**t) + eps
    return param - lr / (1.0 - beta1**t) * m / denominator, t, m, v, largest


def adamax(
    param: Array,
    grad: Array,
    step: int | None = None,
    exp_avg: Array | None = None,
    exp_inf: Array | None = None,
    *,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    maximize: bool = False,
) -> tuple[Array, int, Array, Array]:
    """One step of Adamax, Adam with a decayed maximum of |d| instead of √v: the new parameter and the new state.

        d = ±grad + weight_decay W
        m ← m + (1 - β₁)(d - m),   u ← max(β₂ u, |d| + eps)
        W ← W - lr / (1 - β₁ᵗ) m / u,   t = 1, 2, …

    Source: Kingma and Ba, arXiv:1412.6980, section 7.1.

    Shape: param, grad and every state the same; none of them is changed. step counts the steps before this one.
    Conventions: m = u = 0 before the first step.
    """
    t = int(step or 0) + 1
    beta1, beta2 = map(float, betas)
    d = descent(param, grad, weight_decay, maximize)
    m = np.zeros_like(param) if exp_avg is None else exp_avg
    u = np.zeros_like(param) if exp_inf is None else exp_inf
    m = m + (1.0 - beta1) * (d - m)
    u = np.maximum(beta2 * u, np.abs(d) + eps)
    return param - lr / (1.0 - beta1**t) * m / u, t, m, u


def nadam(
    param: Array,
    grad: Array,
    step: int | None = None,
    mu_product: Array | None = None,
    exp_avg: Array | None = None,
    exp_avg_sq: Array | None = None,
    *,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    momentum_decay: float = 4e-3,
    decoupled_weight_decay: bool = False,
    maximize: bool = False,
) -> tuple[Array, int, Array, Array, Array]:
    """One step of NAdam, Adam with Nesterov's momentum: the new parameter and the new state.

        d = ±grad + weight_decay W        (decoupled: d = ±grad, and first W ← (1 - lr weight_decay) W)
        μ(t) = β₁ (1 - 0.96^(t momentum_decay) / 2),   Π ← Π μ(t)
        m ← m + (1 - β₁)(d - m),   v ← β₂ v + (1 - β₂) d²
        W ← W - lr ((1 - μ(t)) / (1 - Π) d + μ(t+1) / (1 - Π μ(t+1)) m) / (√(v / (1 - β₂ᵗ)) + eps),   t = 1, 2, …

    Source: Dozat, Incorporating Nesterov Momentum into Adam, ICLR workshop 2016.

    Shape: param, grad and every state the same, mu_product a number; none of them is changed. step counts the steps before
        this one.
    Conventions: m = v = 0 and Π = 1 before the first step.
    """
    t = int(step or 0) + 1
    beta1, beta2 = map(float, betas)
    param, d = _decayed(param, grad, lr, weight_decay, decoupled_weight_decay, maximize)
    mu, mu_next = (beta1 * (1.0 - 0.5 * 0.96 ** (n * momentum_decay)) for n in (t, t + 1))
    product = (np.ones_like(param, shape=()) if mu_product is None else mu_product) * mu
    m, v = _moments(d, exp_avg, exp_avg_sq, beta1, beta2)
    denominator = np.sqrt(v / (1.0 - beta2**t)) + eps
    looked_ahead = lr * (1.0 - mu) / (1.0 - product) * d + lr * mu_next / (1.0 - product * mu_next) * m
    return param - looked_ahead / denominator, t, product, m, v


def radam(
    param: Array,
    grad: Array,
    step: int | None = None,
    exp_avg: Array | None = None,
    exp_avg_sq: Array | None = None,
    *,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    decoupled_weight_decay: bool = False,
    maximize: bool = False,
) -> tuple[Array, int, Array, Array]:
    """One step of RAdam, Adam that divides by √v only once enough steps estimate v: the new parameter and the new state.

        d = ±grad + weight_decay W        (decoupled: d = ±grad, and first W ← (1 - lr weight_decay) W)
        m ← m + (1 - β₁)(d - m),   v ← β₂ v + (1 - β₂) d²
        ρ∞ = 2 / (1 - β₂) - 1,   ρ = ρ∞ - 2 t β₂ᵗ / (1 - β₂ᵗ)
        a = √((ρ - 4)(ρ - 2) ρ∞ / ((ρ∞ - 4)(ρ∞ - 2) ρ)) √(1 - β₂ᵗ) / (√v + eps)  where ρ > 5, else 1
        W ← W - lr / (1 - β₁ᵗ) m a,   t = 1, 2, …

    Source: Liu et al., ICLR 2020, arXiv:1908.03265.

    Shape: param, grad and every state the same; none of them is changed. step counts the steps before this one.
    Conventions: m = v = 0 before the first step. The condition is torch's ρ > 5; the paper's is ρ > 4.
    """
    t = int(step or 0) + 1
    beta1, beta2 = map(float, betas)
    param, d = _decayed(param, grad, lr, weight_decay, decoupled_weight_decay, maximize)
    m, v = _moments(d, exp_avg, exp_avg_sq, beta1, beta2)
    move = lr / (1.0 - beta1**t) * m
    longest = 2.0 / (1.0 - beta2) - 1.0
    length = longest - 2.0 * t * beta2**t / (1.0 - beta2**t)
    if length > 5.0:
        share = (length - 4.0) * (length - 2.0) * longest / ((longest - 4.0) * (longest - 2.0) * length)
        move = move * math.sqrt(share * (1.0 - beta2**t)) / (np.sqrt(v) + eps)
    return param - move, t, m, v


@documented_by(adam)
class Adam(Optimizer):
    """torch.optim.Adam: `refbp.functional.adam` for every parameter."""

    rule, state_names = staticmethod(adam), ("step", "exp_avg", "exp_avg_sq", "max_exp_avg_sq")

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        decoupled_weight_decay: bool = False,
    ) -> None:
        super().__init__(
            params,
            lr=lr,
            betas=betas,
            eps=eps,
            weight_decay=weight_decay,
            amsgrad=amsgrad,
            maximize=maximize,
            decoupled_weight_decay=decoupled_weight_decay,
        )


@documented_by(adam)
class AdamW(Adam):
    """torch.optim.AdamW: `refbp.functional.adam` with decoupled_weight_decay, for every parameter."""

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize, decoupled_weight_decay=True)


@documented_by(adamax)
class Adamax(Optimizer):
    """torch.optim.Adamax: `refbp.functional.adamax` for every parameter."""

    rule, state_names = staticmethod(adamax), ("step", "exp_avg", "exp_inf")

    def __init__(
        self,
        params: Params,
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, maximize=maximize)


@documented_by(nadam)
class NAdam(Optimizer):
    """torch.optim.NAdam: `refbp.functional.nadam` for every parameter."""

    rule, state_names = staticmethod(nadam), ("step", "mu_product", "exp_avg", "exp_avg_sq")

    def __init__(
        self,
        params: Params,
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            lr=lr,
            betas=betas,
            eps=eps,
            weight_decay=weight_decay,
            momentum_decay=momentum_decay,
            decoupled_weight_decay=decoupled_weight_decay,
            maximize=maximize,
        )


@documented_by(radam)
class RAdam(Optimizer):
    """torch.optim.RAdam: `refbp.functional.radam` for every parameter."""

    rule, state_names = staticmethod(radam), ("step", "exp_avg", "exp_avg_sq")

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        decoupled_weight_decay: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            lr=lr,
            betas=betas,
            eps=eps,
            weight_decay=weight_decay,
            decoupled_weight_decay=decoupled_weight_decay,
            maximize=maximize,
        )
