"""Other honest formulas of a gradient: what they round is allowed too, beside what refbp's own formula rounds.

Each is computed on error arrays from what the layer or loss was given; the value stays, and the larger of both errors counts.
A convention is another matter: it changes the value, and has a name that a profile declares.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np

from oracle.case.case import Case, Spec, at_step
from oracle.running_error import ErrorArray
from oracle.trace import Key
from refbp.activations import SELU_ALPHA, SELU_SCALE

# What was computed before, by quantity.
Known: TypeAlias = Mapping[str, Any]


def exponential_unit_from_output(spec: Spec, known: Known) -> Any:
    """s α r e^(r z) as r (y + s α) where z < 0, from the output y: what an activation in place has left."""
    alpha, scale = float(spec.options.get("alpha", 1.0)), 1.0
    if spec.type == "SELU":
        alpha, scale = SELU_ALPHA, SELU_SCALE
    rate = 1.0 / alpha if spec.type == "CELU" else 1.0
    output, delta = known["output"], known["grad_output"]
    return np.where(known["input"] > 0, delta * scale, delta * ((output + alpha * scale) * rate))


def cross_entropy_of_textbooks(case: Case, step: int, known: Known) -> Any:
    """w ((1 - t) / (1 - p) - t / p) δ, in which two terms cancel where p is close to t, for w (p - t) / (p (1 - p)) δ."""
    assert case.loss is not None
    p, options = known["input"], case.loss.options
    target, weight = at_step(case.targets, step)[0].astype(np.float64), options.get("weight")
    t = ErrorArray.exact(np.broadcast_to(target, p.shape), p.model)
    delta = np.asarray(1.0 if not case.grad_outputs else at_step(case.grad_outputs, step), np.float64)
    share = ErrorArray.exact(np.broadcast_to(delta, p.shape), p.model)
    if weight is not None:
        share = share * ErrorArray.exact(np.broadcast_to(np.asarray(weight, np.float64), p.shape), p.model)
    if options.get("reduction", "mean") == "mean":
        share = share / float(max(p.size, 1))
    return ((1.0 - t) / (1.0 - p) - t / p) * share


def other_formula(case: Case, key: Key, spec: Spec, known: Known) -> Any:
    """A quantity by another formula than refbp's; None where there is one formula for it."""
    if key.quantity != "grad_input":
        return None
    if spec.type in ("ELU", "CELU", "SELU"):
        return exponential_unit_from_output(spec, known)
    if spec.type == "BCELoss":
        return cross_entropy_of_textbooks(case, key.step, known)
    return None


def covering(plain: ErrorArray, other: ErrorArray) -> ErrorArray:
    """With the larger error of two formulas; where the other one breaks down, with that of the first."""

    def larger(own: Any, else_: Any) -> Any:
        return np.where(np.isfinite(else_), np.maximum(own, else_), own)

    error = plain.error_or_zero.mapped(larger, other.error_or_zero)
    return ErrorArray(
        plain.value, plain.model, error, scale=larger(plain.scale_or_own, other.scale_or_own), guide=plain.guide
    )
