"""Update rules as pure functions without state, and above them the classes that apply them to parameter groups."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from refbp.arrays import Array
from refbp.docstring import documented_by
from refbp.optimizer import Optimizer, Params


def _descent(param: Array, grad: Array, weight_decay: float, maximize: bool) -> Array:
    """d = ±grad + weight_decay W, minus when maximizing: L2 decay is part of the gradient, and never turns its sign."""
    d = -grad if maximize else grad
    return d + weight_decay * param if weight_decay else d


def sgd(
    param: Array,
    grad: Array,
    momentum_buffer: Array | None = None,
    *,
    lr: float,
    momentum: float = 0.0,
    dampening: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
    maximize: bool = False,
) -> tuple[Array, Array | None]:
    """One step of stochastic gradient descent: the new parameter and the new momentum buffer (None without momentum).

        d = ±grad + weight_decay W                           (minus when maximizing)
        v ← momentum v + (1 - dampening) d                   (v ← d on the first step)
        W ← W - lr (d + momentum v  if nesterov, else v)

    With weight_decay=1 on the weights, 0 on the biases and no momentum this is eq. (6), W ← W - lr (δ nᵀ + W): its
    "+ W" is the decay. Momentum as in Sutskever et al., ICML 2013, with lr outside of v.

    Shape: param, grad and momentum_buffer the same; none of them is changed.
    Conventions: on the first step (momentum_buffer None) dampening does not count.
    """
    d = _descent(param, grad, weight_decay, maximize)
    if not momentum:
        return param - lr * d, None
    new = (1.0 - dampening) * d if dampening else d
    v = d.copy() if momentum_buffer is None else momentum * momentum_buffer + new
    # The product first: NumPy then adds in its memory.
    return -lr * (d + momentum * v if nesterov else v) + param, v


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
    """One step of Adam, or with decoupled_weight_decay of AdamW: the new parameter and the new state.

        d = ±grad + weight_decay W        (decoupled: d = ±grad, and first W ← (1 - lr weight_decay) W)
        m ← m + (1 - β₁)(d - m),   v ← β₂ v + (1 - β₂) d²
        W ← W - lr / (1 - β₁ᵗ) m / (√v / √(1 - β₂ᵗ) + eps),   t = 1, 2, …

    Source: Kingma and Ba, arXiv:1412.6980; Loshchilov and Hutter, arXiv:1711.05101 (decoupled); Reddi et al., ICLR 2018
    (amsgrad).

    Shape: param, grad and every state the same; none of them is changed. step counts the steps before this one.
    Conventions: m = v = 0 before the first step; amsgrad divides by the largest v so far, itself not bias-corrected.
    """
    t = int(step or 0) + 1
    beta1, beta2 = map(float, betas)
    d = _descent(param, grad, 0.0 if decoupled_weight_decay else weight_decay, maximize)
    if decoupled_weight_decay and weight_decay:
        param = param * (1.0 - lr * weight_decay)
    m = np.zeros_like(param) if exp_avg is None else exp_avg
    v = np.zeros_like(param) if exp_avg_sq is None else exp_avg_sq
    m = m + (1.0 - beta1) * (d - m)
    v = beta2 * v + (1.0 - beta2) * (d * d)
    largest = None
    if amsgrad:
        largest = v if max_exp_avg_sq is None else np.maximum(max_exp_avg_sq, v)
    denominator = np.sqrt(v if largest is None else largest) / math.sqrt(1.0 - beta2**t) + eps
    return param - lr / (1.0 - beta1**t) * m / denominator, t, m, v, largest


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
        s ← α s + (1 - α) d²,   centered also g ← g + (1 - α)(d - g) and s - g² in place of s below
        W ← W - lr d / (√s + eps),   with momentum: v ← momentum v + d / (√s + eps), W ← W - lr v

    Source: Tieleman and Hinton, lecture 6.5 of Neural Networks for Machine Learning, 2012; Graves, arXiv:1308.0850 (centered).

    Shape: param, grad and every state the same; none of them is changed. step counts the steps before this one.
    Conventions: all state is zero before the first step; eps is outside the root.
    """
    d = _descent(param, grad, weight_decay, maximize)
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
    d = _descent(param, grad, weight_decay, maximize)
    s = (np.full_like(param, initial_accumulator_value) if sum is None else sum) + d * d
    return param - lr / (1.0 + (t - 1) * lr_decay) * d / (np.sqrt(s) + eps), t, s


@documented_by(sgd)
class SGD(Optimizer):
    """torch.optim.SGD: `refbp.functional.sgd` for every parameter.

    Raises: ValueError for nesterov without momentum or with dampening.

    >>> layer = refbp.Linear(1, 1)
    >>> layer.load_state_dict({"weight": [[3.0]], "bias": [1.0]})
    >>> optimizer = refbp.SGD(layer, lr=0.25)
    >>> loss = refbp.MSELoss()
    >>> for step in range(2):
    ...     optimizer.zero_grad()
    ...     print(float(loss(layer(np.array([[1.0]])), np.array([[2.0]]))))
    ...     grad_input = layer.backward(loss.backward())
    ...     optimizer.step()
    4.0
    0.0
    >>> layer.params["weight"], layer.params["bias"]  # the first step moved both by -lr 2 (4 - 2)
    (array([[2.]]), array([0.]))

    Groups have options of their own; this is eq. (6), decay on the weights alone:

    >>> weights = [p for p in layer.parameters() if p.name == "weight"]
    >>> biases = [p for p in layer.parameters() if p.name == "bias"]
    >>> optimizer = refbp.SGD([{"params": weights, "weight_decay": 1.0}, {"params": biases}], lr=0.1)
    """

    rule, state_names = staticmethod(sgd), ("momentum_buffer",)

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            lr=lr,
            momentum=momentum,
            dampening=dampening,
            weight_decay=weight_decay,
            nesterov=nesterov,
            maximize=maximize,
        )

    def check_options(self, options: Mapping[str, Any]) -> None:
        super().check_options(options)
        if options["nesterov"] and (options["momentum"] <= 0 or options["dampening"] != 0):
            raise ValueError(
                f"SGD expects a momentum and no dampening with nesterov, got momentum {options['momentum']} and "
                f"dampening {options['dampening']}"
            )


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
