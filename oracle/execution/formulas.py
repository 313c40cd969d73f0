"""Other correct formulas of the same quantity, whose rounding errors are allowed in addition to those of refbp's formula.

Each is computed on error arrays from the inputs of the layer or loss. The value stays, and the larger of both errors counts.
A convention, in contrast, changes the value, and a profile has to declare it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
from scipy.special import ndtr

from oracle.case.case import Case, Spec, at_step
from oracle.execution.covering import covering
from oracle.execution.norm_formulas import of_copies, of_group_norm, of_layer_norm, of_norm, of_rms_norm, of_stored_mean
from oracle.running_error import ErrorArray
from oracle.running_error.elementwise import elementwise
from oracle.running_error.infinities import left_open
from oracle.running_error.stores import with_more
from oracle.trace import Key
from refbp.activations import SELU_ALPHA, SELU_SCALE

# The quantities that were computed before, by name.
Known: TypeAlias = Mapping[str, Any]


def exponential_unit_from_output(quantity: str, spec: Spec, known: Known) -> Any:
    """s α r e^(r z) computed as r (y + s α) where z < 0, from the output y, which is all that an in-place activation keeps."""
    alpha, scale = float(spec.options.get("alpha", 1.0)), 1.0
    if spec.type == "SELU":
        alpha, scale = SELU_ALPHA, SELU_SCALE
    rate = 1.0 / alpha if spec.type == "CELU" else 1.0
    output, delta = known["output"], known["grad_output"]
    return np.where(known["input"] > 0, delta * scale, delta * ((output + alpha * scale) * rate))


def cross_entropy_of_textbooks(case: Case, step: int, known: Known) -> Any:
    """w (p - t) / (p (1 - p)) δ computed as w ((1 - t) / (1 - p) - t / p) δ, whose two terms cancel where p is close to t."""
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


def gelu_from_distribution(quantity: str, spec: Spec, known: Known) -> Any:
    """z Φ(z) with a Φ accurate to 4 units in its last place; refbp's (1 + erf) / 2 is more accurate near z = 0."""
    if spec.options.get("approximate") == "tanh":
        return None
    z = known["input"]
    phi = elementwise(ndtr, lambda x, _: np.exp(-x * x / 2) / math.sqrt(2 * math.pi), 4)(z)
    if quantity == "output":
        return z * phi
    density = np.exp(z * z * -0.5) * (1 / math.sqrt(2 * math.pi))
    return known["grad_output"] * (phi + z * density)


def sigmoid_by_tanh(quantity: str, spec: Spec, known: Known) -> Any:
    """σ(z) computed as (1 + tanh z/2) / 2, as XLA does: its error is relative to 1, not to σ(z)."""
    y = (1.0 + np.tanh(known["input"] * 0.5)) * 0.5
    return y if quantity == "output" else known["grad_output"] * (y * (1.0 - y))


def slope_from_logarithm(quantity: str, spec: Spec, known: Known) -> Any:
    """The slope of ln(1 + e^(β z)) / β computed as e^(β (z - y)), and that of ln σ(z) as e^(y - z).

    This is how logaddexp is differentiated. The error grows with |z|."""
    z, y = known["input"], known["output"]
    power = y - z if spec.type == "LogSigmoid" else (z - y) * float(spec.options.get("beta", 1.0))
    return known["grad_output"] * np.exp(power)


def shrinkage_by_cosh(quantity: str, spec: Spec, known: Known) -> Any:
    """The slope tanh² z computed as 1 - 1 / cosh² z, with a cosh accurate to a few units in its last place."""
    cosh, delta = np.cosh(known["input"]), known["grad_output"]
    return delta - delta / (cosh * cosh)


def softsign_by_terms(quantity: str, spec: Spec, known: Known) -> Any:
    """The slope's two terms multiplied by δ each: infinities then cancel."""
    return left_open(known["grad_input"], np.isinf(known["grad_output"].value))


def with_rounded_constants(known: Known) -> Any:
    """a (x or α') + b with a and b computed in the subject's dtype, each by a power and a few products."""
    y = known["output"]
    return with_more(y, y.model.rounding(y.value, 4))


# For each activation: the quantities that have another formula, and a function of (quantity, spec, known) that computes it.
OfActivation: TypeAlias = Callable[[str, Spec, Known], Any]
ACTIVATIONS: dict[str, tuple[tuple[str, ...], OfActivation]] = {
    "GELU": (("output", "grad_input"), gelu_from_distribution),
    "Sigmoid": (("output", "grad_input"), sigmoid_by_tanh),
    **dict.fromkeys(("ELU", "CELU", "SELU"), (("grad_input",), exponential_unit_from_output)),
    **dict.fromkeys(("Softplus", "LogSigmoid"), (("grad_input",), slope_from_logarithm)),
    "Tanhshrink": (("grad_input",), shrinkage_by_cosh),
    "Softsign": (("grad_input",), softsign_by_terms),
}
# The same for other layers and losses, with a function of (case, key, spec, known).
Formula: TypeAlias = Callable[[Case, Key, Spec, Known], Any]
FORMULAS: dict[str, tuple[tuple[str, ...], Formula]] = {
    "BCELoss": (("grad_input",), lambda case, key, spec, known: cross_entropy_of_textbooks(case, key.step, known)),
    "AlphaDropout": (("output",), lambda case, key, spec, known: with_rounded_constants(known)),
}
# The same for norms, with functions that give the quantity with the errors of all formulas.
NORMS: dict[str, tuple[tuple[str, ...], Formula]] = {
    "GroupNorm": (("grad.weight", "grad_input"), of_group_norm),
    "LayerNorm": (("grad_input",), of_layer_norm),
    "RMSNorm": (("grad_input",), of_rms_norm),
}
for name in (f"{kind}Norm{rank}d" for kind in ("Batch", "Instance") for rank in (1, 2, 3)):
    NORMS[name] = (("output", "grad.weight", "grad_input"), of_norm)
RUNNING = ("buffer.running_mean", "buffer.running_var")


def by_all_formulas(case: Case, key: Key, spec: Spec, known: Known) -> Any:
    """A quantity with the errors of all formulas by which it may be computed; None if only refbp's is known."""
    if key.quantity not in ("output", *RUNNING) and key.layer != "loss" and "grad_output" not in known:
        return None  # a layer that is used twice: the gradients of its parameters begin at its last use
    quantities, formula = NORMS.get(spec.type, ((), None))
    with np.errstate(all="ignore"):  # where another formula gives nothing finite, refbp's error counts
        if formula is not None and key.quantity in quantities:
            return formula(case, key, spec, known)
        other = _other_formula(case, key, spec, known)
        return None if other is None else covering(known[key.quantity], other)


def _other_formula(case: Case, key: Key, spec: Spec, known: Known) -> Any:
    if key.quantity in RUNNING:
        if spec.type.startswith("Instance"):
            return of_copies(case, key, spec, known)
        return of_stored_mean(case, key, spec, known) if key.quantity == "buffer.running_var" else None
    quantities, formula = FORMULAS.get(spec.type, ((), None))
    if formula is None or key.quantity not in quantities:
        return other_activation(key.quantity, spec, known)
    return formula(case, key, spec, known)


def other_activation(quantity: str, spec: Spec, known: Known) -> Any:
    """A quantity of an activation by another formula than refbp's; None if no other is known."""
    quantities, formula = ACTIVATIONS.get(spec.type, ((), None))
    if formula is None or quantity not in quantities:
        return None
    with np.errstate(all="ignore"):
        return formula(quantity, spec, known)
