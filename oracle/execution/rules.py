"""An optimizer's update rule exchanged for another one, for as long as a case is predicted under it."""

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
    """The rule of this optimizer replaced by change(rule)."""
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
    """Adam's short form (Kingma and Ba, section 2): √v + ε before v is corrected, so that ε counts 1 / √(1 - β₂ᵗ) times."""

    def other(param: Any, grad: Any, step: Any = None, *state: Any, eps: float, betas: Any, **options: Any) -> Any:
        larger = eps / math.sqrt(1.0 - betas[1] ** (int(step or 0) + 1))
        return rule(param, grad, step, *state, eps=larger, betas=betas, **options)

    return other


def zeros_for(param: Any, kept: Any) -> Any:
    return np.zeros_like(param) if kept is None else kept
