"""Hypotheses about an optimizer's step: another rule, another order, sign or place of momentum, decay, ε and correction."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from oracle.blame.causes import rules
from oracle.blame.causes.arrays import told_apart
from oracle.blame.causes.evidence import Evidence, Hypothesis
from oracle.blame.causes.reruns import rounded
from oracle.execution.network import OPTIMIZERS
from oracle.execution.options import update_options
from oracle.execution.rules import Rule, rule_replaced


class WrongRule(NamedTuple):
    """A cause, its text, and how it changes the rule of these optimizers."""

    types: tuple[str, ...]
    cause: str
    words: str
    change: Callable[[Rule], Rule]


ALL = tuple(OPTIMIZERS)
ADAMS = ("Adam", "AdamW")
DECAYING = ("Adam", "AdamW", "NAdam", "RAdam")
COUNTING = ("Adam", "AdamW", "Adamax", "NAdam", "RAdam")
COUPLED = tuple(name for name in OPTIMIZERS if name not in ("AdamW", "Rprop", "Adafactor", "Muon"))
MEAN = "the momentum is a mean of gradients, not their sum: the new one is multiplied by 1 - momentum"

WRONG_RULES: tuple[WrongRule, ...] = (
    WrongRule(ALL, "state lost", "the state is begun anew in each step", rules.state_lost),
    WrongRule(
        COUNTING, "state lost", "the state is begun anew in each step, but for its count", rules.state_lost_but_counted
    ),
    WrongRule(ALL, "parameter for gradient", "the parameter stands in for its gradient", rules.parameter_for_gradient),
    WrongRule(("SGD",), "dampened first step", "the first step is dampened too", rules.first_step_dampened),
    WrongRule(("SGD",), "momentum", MEAN, rules.momentum_as_mean(first=True)),
    WrongRule(("SGD",), "momentum", f"{MEAN}, after the first step", rules.momentum_as_mean(first=False)),
    WrongRule(("SGD",), "rate in the buffer", "the rate is inside the buffer", rules.rate_in_the_buffer),
    WrongRule(("RMSprop",), "rate in the buffer", "the rate is inside the buffer", rules.rate_in_the_squares_buffer),
    WrongRule(("SGD",), "buffer", "the buffer of the step before is applied", rules.with_step(rules.buffer_before)),
    WrongRule(
        ("SGD",),
        "momentum on the gradient",
        "the momentum multiplies the new gradient too",
        rules.momentum_on_the_gradient,
    ),
    WrongRule(
        ("SGD",),
        "nesterov",
        "nesterov applies the momentum twice, without the gradient",
        rules.with_step(rules.nesterov_alone),
    ),
    WrongRule(("SGD",), "nesterov", "nesterov's momentum has the wrong sign", rules.with_step(rules.nesterov_sign)),
    WrongRule(
        ("SGD",),
        "nesterov",
        "nesterov multiplies the momentum by the change of the buffer in this step, not by the buffer",
        rules.with_step(rules.nesterov_before),
    ),
    WrongRule(
        DECAYING,
        "decay decoupled",
        "decay is coupled with the gradient where it should be decoupled, or the other way round",
        rules.decay_moved,
    ),
    WrongRule(
        COUPLED,
        "decay after momentum",
        "decay is applied after the momentum",
        rules.decayed(lambda w, lr, c: lr * c * w),
    ),
    WrongRule(
        COUPLED,
        "decay decoupled",
        "decay is decoupled, and not scaled by the rate",
        rules.decayed(lambda w, lr, c: c * w),
    ),
    WrongRule(COUPLED, "decay sign", "decay has the wrong sign", rules.decay_scaled(lambda lr: -1.0)),
    WrongRule(COUPLED, "decay sign", "maximizing turns the sign of the decay too", rules.decay_maximized),
    WrongRule(COUPLED, "decay rate", "decay is scaled by the rate twice", rules.decay_scaled(lambda lr: lr)),
    WrongRule(
        tuple(name for name in OPTIMIZERS if name != "Rprop"),
        "decay order",
        "decay is of the new parameter",
        rules.decayed_last,
    ),
    WrongRule((*DECAYING, "Muon"), "decay rate", "decay is not scaled by the rate", rules.decay_not_scaled),
    WrongRule(
        ("Muon",),
        "decay decoupled",
        "decay is coupled with the gradient where it should be decoupled",
        rules.decay_in_gradient,
    ),
    WrongRule(("Muon",), "momentum", "the momentum is a sum of gradients, not their mean", rules.momentum_as_sum),
    WrongRule(
        ("Muon",),
        "orthogonalization",
        "the step is along the momentum itself",
        rules.with_step(rules.muon_without_orthogonalization),
    ),
    WrongRule(ADAMS, "epsilon", "ε is inside of the root", rules.with_step(rules.epsilon_inside)),
    WrongRule(("RMSprop", "Adagrad"), "epsilon", "ε is inside of the root", rules.with_step(rules.root_with_epsilon)),
    WrongRule(("Adadelta",), "epsilon", "ε is outside of the roots", rules.delta_of(False, False)),
    WrongRule(
        ("Adadelta",), "rate in the buffer", "the accumulated updates contain the rate", rules.delta_of(True, True)
    ),
    WrongRule(
        ADAMS,
        "bias correction",
        "the first moment alone is corrected",
        rules.corrected(lambda one: 1.0 / one, lambda two: 1.0),
    ),
    WrongRule(
        ADAMS,
        "bias correction",
        "the second moment alone is corrected",
        rules.corrected(lambda one: 1.0, lambda two: 1.0 / two),
    ),
    WrongRule(
        ADAMS,
        "bias correction",
        "the moments are multiplied by their correction",
        rules.corrected(lambda one: one, lambda two: two),
    ),
    WrongRule(COUNTING, "bias correction", "the bias is not corrected", rules.counted(lambda step: 10**6)),
    WrongRule(
        COUNTING, "bias correction", "steps are counted from the wrong one", rules.counted(lambda step: step + 1)
    ),
    WrongRule(
        ("Adagrad",), "rate decay", "the rate decays from the first step on", rules.counted(lambda step: step + 1)
    ),
    WrongRule(
        ADAMS,
        "moment",
        "the second moment averages squares of the first moment, not of the gradient",
        rules.second_of_first,
    ),
    WrongRule(
        ("NAdam",),
        "nesterov",
        "Nesterov's step is left out: the step is Adam's",
        rules.with_step(rules.looks_not_ahead),
    ),
    WrongRule(
        ("RAdam",),
        "rectification",
        "the rectification is left out: the step is Adam's",
        rules.with_step(rules.not_rectified),
    ),
    WrongRule(("RAdam",), "rectification", "rectified from ρ > 4 on", rules.rectified_from_four),
    WrongRule(("Adafactor",), "clipping", "the update is not clipped", rules.adafactor_without("clipping")),
    WrongRule(
        ("Adafactor",),
        "factor of rows",
        "rows and columns are not divided by their mean",
        rules.adafactor_without("mean"),
    ),
    WrongRule(
        ("Adafactor",),
        "relative step",
        "the step is not relative to the parameter's size",
        rules.adafactor_without("size"),
    ),
    WrongRule(("Adafactor",), "relative step", "1 / √t does not limit the rate", rules.adafactor_rate),
    WrongRule(("ASGD",), "rate of a step", "the rate is already that of this step", rules.rate_of_this_step),
    WrongRule(("Rprop",), "turned sign", "it moves although the gradient's sign has turned", rules.turned_sign_kept),
    WrongRule(("Rprop",), "buffer", "the step's size is that of the step before", rules.with_step(rules.size_before)),
)


def hypotheses(e: Evidence) -> Iterator[Hypothesis]:
    if e.case.optimizer is None:
        return
    names, e = list(e.case.params), e.of_parameter
    yield from of_state(e)
    yield from of_groups(e)
    yield from of_rules(e)
    yield from of_count(e, names)
    yield from of_a_number(e)
    if e.case.steps == 1:
        yield from of_momentum(e)
        yield from of_correction(e)


def of_rules(e: Evidence) -> Iterator[Hypothesis]:
    """Every wrong rule of this optimizer, applied in all steps of the part."""
    assert e.case.optimizer is not None
    type = e.case.optimizer.type
    for wrong in WRONG_RULES:
        if type in wrong.types:
            with rule_replaced(type, wrong.change):
                found = e.rerun(wrong.cause, wrong.words)
            yield from found


def of_count(e: Evidence, names: list[str]) -> Iterator[Hypothesis]:
    """All parameters share one step count, and each of them increments it."""
    assert e.case.optimizer is not None
    if e.case.optimizer.type not in COUNTING or len(names) < 2 or e.parameter not in names:
        return
    place = names.index(e.parameter)
    with rule_replaced(e.case.optimizer.type, rules.counted(lambda step: step * len(names) + place)):
        found = e.rerun("bias correction", "each parameter counts the step again")
    yield from found


def of_state(e: Evidence) -> Iterator[Hypothesis]:
    """Gradients that are changed before the step; a parameter that is not updated, or in the wrong direction."""
    assert e.case.optimizer is not None
    name = e.parameter
    if any(name not in grads for grads in e.case.grads):
        return
    changes: dict[str, Callable[[Any], Any]] = {
        "rows of the gradient are in reverse order": lambda grad: np.ascontiguousarray(np.flip(grad, 0)),
        "the gradient's sign is wrong": lambda grad: -grad,
    }
    for words, change in changes.items():
        yield from e.rerun(
            "gradient", words, grads=tuple({**grads, name: change(grads[name])} for grads in e.case.grads)
        )
    if e.quantity.startswith("param."):
        before = (e.case.params[name] if e.previous is None else e.previous).astype(np.float64)
        yield Hypothesis("not updated", "the parameter is not updated", before, 0.0)
        yield Hypothesis(
            "sign", "the parameter moves the wrong way", 2 * before - e.expected.value, 2 * e.expected.sigma
        )


def of_groups(e: Evidence) -> Iterator[Hypothesis]:
    """The options of another group, or the defaults."""
    assert e.case.optimizer is not None
    name = e.parameter
    if e.case.optimizer.groups:
        for group in e.case.optimizer.groups:
            if name not in group["params"]:
                alike = tuple(
                    {**group, "params": own["params"]} if name in own["params"] else own
                    for own in e.case.optimizer.groups
                )
                yield from e.rerun(
                    "groups", "another group's options are taken", optimizer=replace(e.case.optimizer, groups=alike)
                )
        bare = tuple({"params": own["params"]} if name in own["params"] else own for own in e.case.optimizer.groups)
        yield from e.rerun(
            "groups", "the group's own options are ignored", optimizer=replace(e.case.optimizer, groups=bare)
        )
        shared = {key: value for own in e.case.optimizer.groups for key, value in own.items() if key == "weight_decay"}
        everywhere = tuple({**own, **shared} for own in e.case.optimizer.groups)
        yield from e.rerun(
            "groups", "decay is applied to every group", optimizer=replace(e.case.optimizer, groups=everywhere)
        )


def of_a_number(e: Evidence) -> Iterator[Hypothesis]:
    """A wrong learning rate: the step, or all steps of the part together, are a constant times the right ones."""
    name = e.parameter
    if not e.quantity.startswith("param.") or name not in e.case.params:
        return
    before = e.case.params[name].astype(np.float64)
    right, own = e.expected.value - before, e.got - before
    size = float(np.sum(right * right))
    if right.size >= 3 and size > 0:
        factor = float(np.sum(own * right)) / size
        if factor and abs(factor - 1) > 16 * e.model.unit_roundoff:
            value = before + factor * right
            noise = e.expected.sigma * max(1.0, abs(factor)) + e.model.unit_roundoff * np.abs(before)
            yield Hypothesis("rate", f"the step is {told_apart(factor, 1.0)} times the right one", value, noise)


def of_momentum(e: Evidence) -> Iterator[Hypothesis]:
    """SGD with another momentum coefficient."""
    name, own = e.parameter, update_options(e.case, e.parameter)
    kept = e.case.optimizer_state.get("momentum", {}).get(name)
    if kept is None or not e.quantity.startswith("momentum.") or name not in e.case.grads[0] or not own.get("momentum"):
        return
    v, mu = kept.astype(np.float64), own["momentum"]
    size = float(np.sum(v * v))
    if size > 0:
        fitted = mu + float(np.sum((e.got - e.expected.value) * v)) / size
        value = e.expected.value + (fitted - mu) * v
        sigma = 4 * e.expected.sigma + 4 * e.model.unit_roundoff * np.abs(e.expected.value)
        yield Hypothesis("momentum", f"as if momentum were {told_apart(fitted, mu)}", value, sigma)


def of_correction(e: Evidence) -> Iterator[Hypothesis]:
    """The corrections computed in the case's dtype, where 1 - β^t inherits the rounding error of β^t."""
    assert e.case.optimizer is not None
    name = e.parameter
    if e.case.optimizer.type not in ADAMS or e.case.dtype == "float64" or not e.quantity.startswith("param."):
        return
    step = int(e.case.optimizer_state.get("step", {}).get(name, np.asarray(0))) + 1
    options = update_options(e.case, e.parameter)
    before = e.case.params[name].astype(np.float64)
    if e.case.optimizer.type == "AdamW":  # its decay is not corrected
        before = before * (1 - options.get("lr", 1e-3) * options.get("weight_decay", 1e-2))
    words = f"the bias correction 1 - β^t is computed in {e.case.dtype}"
    narrow = rounded(e.case.optimizer, np.dtype(e.case.dtype))
    bases = [(e.case.optimizer, e.expected.value)]
    if (others := e.after(optimizer=narrow)) is not None:  # 1 - β, of which the moments are made, is then rounded too
        bases.append((narrow, others.value))
    for (optimizer, due), power in product(bases, (_power, _power_by_products, _rounded_power)):
        betas = update_options(replace(e.case, optimizer=optimizer), name).get("betas", (0.9, 0.999))
        first, second = ((1 - beta**step) / _complement(beta, step, e.case.dtype, power) for beta in betas)
        yield Hypothesis(
            "options rounded", words, before + (due - before) * first / math.sqrt(second), e.expected.sigma
        )


def _complement(beta: float, step: int, dtype: str, power: Callable[[float, int, Any], Any]) -> float:
    """1 - β^t as it comes out in this dtype."""
    one: Any = np.dtype(dtype).type
    return float(one(1) - power(beta, step, one)) or math.inf


def _power(beta: float, step: int, one: Any) -> Any:
    return one(one(beta) ** one(step))


def _power_by_products(beta: float, step: int, one: Any) -> Any:
    made = one(1)
    for _ in range(step):
        made = one(made * one(beta))
    return made


def _rounded_power(beta: float, step: int, one: Any) -> Any:
    return one(beta**step)
