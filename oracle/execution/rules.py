"""Replaces an optimizer's update rule while a case is predicted under a convention."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import numpy as np

from oracle.execution.network import OPTIMIZERS

# (param, grad, *state, **options) -> (param, *state), on arrays or on error arrays.
Rule: TypeAlias = Callable[..., Any]


@contextmanager
def rule_replaced(type: str, change: Callable[[Rule], Rule]) -> Iterator[None]:
    """Inside, the rule of this optimizer is change(rule)."""
    owner: Any = OPTIMIZERS[type]
    kept = vars(owner).get("rule")
    owner.rule = staticmethod(change(owner.rule))
    try:
        yield
    finally:
        if kept is None:  # it is inherited
            del owner.rule
        else:
            owner.rule = kept


def epsilon_uncorrected(rule: Rule) -> Rule:
    """Adam's short form (Kingma and Ba, section 2): ε is added to √v before bias correction, which divides it by √(1 - β₂ᵗ)."""

    def other(param: Any, grad: Any, step: Any = None, *state: Any, eps: float, betas: Any, **options: Any) -> Any:
        larger = eps / math.sqrt(1.0 - betas[1] ** (int(step or 0) + 1))
        return rule(param, grad, step, *state, eps=larger, betas=betas, **options)

    return other


def zeros_for(param: Any, kept: Any) -> Any:
    return np.zeros_like(param) if kept is None else kept


def velocity_with_rate(rule: Rule) -> Rule:
    """SGD with v ← momentum v + lr d and W ← W - v (Sutskever et al., ICML 2013), whose v is lr times torch's."""

    def other(param: Any, grad: Any, velocity: Any = None, *, lr: float, **options: Any) -> Any:
        if not lr:
            return rule(param, grad, velocity, lr=lr, **options)
        new, kept = rule(param, grad, None if velocity is None else velocity / lr, lr=lr, **options)
        return new, None if kept is None else kept * lr

    return other


def epsilon_inside_root(type: str) -> Callable[[Rule], Rule]:
    """d / √(s + ε) in place of torch's d / (√s + ε): s before the step is increased by the amount that decays to ε in it."""

    def change(rule: Rule) -> Rule:
        def rmsprop(
            param: Any, grad: Any, step: Any = None, s: Any = None, *state: Any, eps: float, **options: Any
        ) -> Any:
            plain = rule(param, grad, step, s, *state, eps=eps, **options)
            larger = zeros_for(param, s) + eps / (options["alpha"] or 1.0)
            new = rule(param, grad, step, larger, *state, eps=0.0, **options)
            return (new[0], *plain[1:3], *new[3:])

        def adagrad(param: Any, grad: Any, step: Any = None, s: Any = None, *, eps: float, **options: Any) -> Any:
            plain = rule(param, grad, step, s, eps=eps, **options)
            before = np.full_like(param, options["initial_accumulator_value"]) if s is None else s
            return (rule(param, grad, step, before + eps, eps=0.0, **options)[0], *plain[1:])

        def adam(
            param: Any, grad: Any, step: Any = None, m: Any = None, v: Any = None, most: Any = None, **options: Any
        ) -> Any:
            plain = rule(param, grad, step, m, v, most, **options)
            beta2 = options["betas"][1]
            eps = options.pop("eps") * (1.0 - beta2 ** (int(step or 0) + 1))
            larger = zeros_for(param, v) + eps / (beta2 or 1.0)
            most = None if most is None else most + eps
            return (rule(param, grad, step, m, larger, most, eps=0.0, **options)[0], *plain[1:])

        return {"RMSprop": rmsprop, "Adagrad": adagrad}.get(type, adam)

    return change
