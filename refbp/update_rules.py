"""Update rules that step along the gradient or its sign, and the classes that apply them to parameter groups."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from refbp.arrays import Array
from refbp.docstring import documented_by
from refbp.optimizer import Optimizer, Params, descent


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

    With weight_decay=1 for weights, 0 for biases, and no momentum this is eq. (6), W ← W - lr (δ nᵀ + W), whose "+ W" is
    the weight decay. Momentum is that of Sutskever et al., ICML 2013, with lr outside of v.

    Shape: param, grad and momentum_buffer the same; none of them is changed.
    Conventions: the first step (momentum_buffer None) ignores dampening. Without momentum v = d.
    """
    d = descent(param, grad, weight_decay, maximize)
    if not momentum:
        return param - lr * d, None
    new = (1.0 - dampening) * d if dampening else d
    v = d.copy() if momentum_buffer is None else momentum * momentum_buffer + new
    # The product comes first, so that NumPy adds the parameter in its memory.
    return -lr * (d + momentum * v if nesterov else v) + param, v


def asgd(
    param: Array,
    grad: Array,
    step: int | None = None,
    eta: Array | None = None,
    mu: Array | None = None,
    ax: Array | None = None,
    *,
    lr: float,
    lambd: float = 1e-4,
    alpha: float = 0.75,
    t0: float = 1e6,
    weight_decay: float = 0.0,
    maximize: bool = False,
) -> tuple[Array, int, Array, Array, Array]:
    """One step of averaged stochastic gradient descent: the new parameter and the new state.

        d = ±grad + weight_decay W
        W ← (1 - lambd η) W - η d
        a ← a + μ (W - a)                                 (a ← W while μ is 1)
        η ← lr / (1 + lambd lr t)^alpha,   μ ← 1 / max(1, t - t0),   t = 1, 2, …

    Source: Polyak and Juditsky, SIAM Journal on Control and Optimization 30, 1992; Bottou, Stochastic Gradient Descent
    Tricks, 2012 (the rate).

    Shape: param, grad and ax the same, eta and mu numbers; none of them is changed. step counts the steps before this one.
    Conventions: η = lr and μ = 1 before the first step. The average a is returned as the state `ax`; it never replaces W.
    """
    t = int(step or 0) + 1
    d = descent(param, grad, weight_decay, maximize)
    eta = np.full_like(param, lr, shape=()) if eta is None else eta
    new = (1.0 - lambd * eta) * param - eta * d
    averaged = new if ax is None or mu is None else np.where(mu == 1, new, ax + mu * (new - ax))
    eta = np.full_like(param, lr, shape=()) / (1.0 + lambd * lr * t) ** alpha
    return new, t, eta, np.ones_like(param, shape=()) / max(1.0, t - t0), averaged


def rprop(
    param: Array,
    grad: Array,
    step: int | None = None,
    prev: Array | None = None,
    step_size: Array | None = None,
    *,
    lr: float,
    etas: tuple[float, float] = (0.5, 1.2),
    step_sizes: tuple[float, float] = (1e-6, 50.0),
    maximize: bool = False,
) -> tuple[Array, int, Array, Array]:
    """One step of resilient backpropagation: the new parameter and the new state.

        d = ±grad
        s ← s η⁺ where d d₋₁ > 0,   s η⁻ where d d₋₁ < 0,   clipped to step_sizes          (etas are η⁻ and η⁺)
        d ← 0 where d d₋₁ < 0
        W ← W - s sign(d)

    Source: Riedmiller and Braun, ICNN 1993.

    Shape: param, grad and every state the same; none of them is changed. step counts the steps before this one.
    Conventions: s = lr and d₋₁ = 0 before the first step. Where the sign of the gradient changes, d is stored as 0, so that
        the next step keeps s.
    """
    d = -grad if maximize else grad
    s = np.full_like(param, lr) if step_size is None else step_size
    agreement = np.zeros_like(param) if prev is None else d * prev
    s = np.where(agreement > 0, s * etas[1], np.where(agreement < 0, s * etas[0], s))
    s = np.minimum(np.maximum(s, step_sizes[0]), step_sizes[1])
    d = np.where(agreement < 0, np.zeros_like(d), d)
    return param - s * np.sign(d), int(step or 0) + 1, d, s


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


@documented_by(asgd)
class ASGD(Optimizer):
    """torch.optim.ASGD: `refbp.functional.asgd` for every parameter."""

    rule, state_names = staticmethod(asgd), ("step", "eta", "mu", "ax")

    def __init__(
        self,
        params: Params,
        lr: float = 1e-2,
        lambd: float = 1e-4,
        alpha: float = 0.75,
        t0: float = 1e6,
        weight_decay: float = 0,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, lr=lr, lambd=lambd, alpha=alpha, t0=t0, weight_decay=weight_decay, maximize=maximize)


@documented_by(rprop)
class Rprop(Optimizer):
    """torch.optim.Rprop: `refbp.functional.rprop` for every parameter.

    Raises: ValueError for etas that are not 0 < η⁻ < 1 < η⁺.
    """

    rule, state_names = staticmethod(rprop), ("step", "prev", "step_size")

    def __init__(
        self,
        params: Params,
        lr: float = 1e-2,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50),
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, lr=lr, etas=etas, step_sizes=step_sizes, maximize=maximize)

    def check_options(self, options: Mapping[str, Any]) -> None:
        super().check_options(options)
        if not 0.0 < options["etas"][0] < 1.0 < options["etas"][1]:
            raise ValueError(f"Rprop expects etas below and above 1, got {options['etas']}")
