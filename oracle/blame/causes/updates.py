"""Hypotheses about an optimizer's step: another order, sign or place of momentum and decay."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from oracle.blame.causes.evidence import Evidence, Hypothesis


def hypotheses(e: Evidence) -> Iterator[Hypothesis]:
    if e.case.optimizer is None or e.case.steps > 1:  # of several steps, only all can be run again
        return
    yield from of_state(e)
    yield from of_a_number(e)
    if e.case.optimizer.type == "SGD":
        yield from of_sgd(e)
    elif e.case.optimizer.type.startswith("Adam"):
        yield from of_adam(e)


def parameter(e: Evidence) -> str:
    return f"{e.key.layer}.{e.param}" if e.key.layer else e.param


def options(e: Evidence) -> dict[str, Any]:
    """Those of the parameter's own group."""
    assert e.case.optimizer is not None
    name = parameter(e)
    own = next((group for group in e.case.optimizer.groups if name in group["params"]), {})
    return {**e.case.optimizer.options, **{key: value for key, value in own.items() if key != "params"}}


def of_state(e: Evidence) -> Iterator[Hypothesis]:
    """Gradients that reach the step changed; a parameter that is not moved; another group's options."""
    assert e.case.optimizer is not None
    name, grads = parameter(e), e.case.grads[0]
    if name not in grads:
        return
    for words, other in (
        ("rows of the gradient are in reverse order", np.flip(grads[name], 0)),
        ("the gradient's sign is wrong", -grads[name]),
    ):
        yield from e.rerun("gradient", words, grads=({**grads, name: np.ascontiguousarray(other)},))
    if e.quantity.startswith("param."):
        before = e.case.params[name].astype(np.float64)
        yield Hypothesis("not updated", "the parameter is not updated", before, 0.0)
        yield Hypothesis(
            "sign", "the parameter moves the wrong way", 2 * before - e.expected.value, 2 * e.expected.sigma
        )
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
    """Another rate: the step is a constant times the right one."""
    name = parameter(e)
    if not e.quantity.startswith("param.") or name not in e.case.params:
        return
    before = e.case.params[name].astype(np.float64)
    right, own = e.expected.value - before, e.got - before
    size = float(np.sum(right * right))
    if right.size >= 3 and size > 0:
        factor = float(np.sum(own * right)) / size
        if not 0.999999 < factor < 1.000001 or e.case.dtype == "float64":
            value = before + factor * right
            noise = e.expected.sigma * max(1.0, abs(factor)) + e.model.unit_roundoff * np.abs(before)
            yield Hypothesis("rate", f"the step is {factor:.7g} times the right one", value, noise)


def of_sgd(e: Evidence) -> Iterator[Hypothesis]:
    name, own = parameter(e), options(e)
    if name not in e.case.grads[0]:
        return
    w, g = e.case.params[name].astype(np.float64), e.case.grads[0][name].astype(np.float64)
    lr, mu, wd = own.get("lr", 1e-3), own.get("momentum", 0), own.get("weight_decay", 0)
    damp, nesterov = own.get("dampening", 0), own.get("nesterov", False)
    sign = -1.0 if own.get("maximize") else 1.0
    kept = e.case.optimizer_state.get("momentum", {}).get(name)
    v0 = None if kept is None else kept.astype(np.float64)
    sigma = 4 * e.expected.sigma + 4 * e.model.unit_roundoff * np.abs(e.expected.value)

    def step(
        d: Any, decay: Any = 0.0, first: float = 1.0, rate: float = lr, inner: float = 1.0, order: str = ""
    ) -> tuple[Any, Any]:
        v = first * d * inner if v0 is None else mu * v0 + (1 - damp) * d * inner
        move = v
        if nesterov:
            move = mu * v if order == "twice" else d * inner + mu * v
        if order == "before":
            move = d if v0 is None else v0
        return w - rate * move - decay, v

    d = sign * g + wd * w
    trials = {
        "dampened first step": ("the first step is dampened too", step(d, first=1 - damp)),
        "nesterov": ("nesterov applies the momentum twice, without the gradient", step(d, order="twice")),
        "rate in the buffer": ("the rate is inside the buffer", step(d, rate=1.0, inner=lr)),
        "buffer": ("the buffer of the step before is applied", step(d, order="before")),
    }
    if mu:
        v = d if v0 is None else mu * v0 + mu * (1 - damp) * d
        trials["momentum on the gradient"] = ("the momentum multiplies the new gradient too", (w - lr * v, v))
    if wd:
        trials |= {
            "decay after momentum": ("decay is applied after the momentum", step(sign * g, decay=lr * wd * w)),
            "decay decoupled": ("decay is decoupled, and not scaled by the rate", step(sign * g, decay=wd * w)),
            "decay sign": ("decay has the wrong sign", step(sign * g - wd * w)),
            "decay rate": ("decay is scaled by the rate twice", step(sign * g + lr * wd * w)),
        }
    if mu and v0 is not None and e.quantity.startswith("momentum.") and float(np.sum(v0 * v0)) > 0:
        fitted = float(np.sum((e.got - (1 - damp) * d) * v0) / np.sum(v0 * v0))
        trials["momentum"] = (f"as if momentum were {fitted:.6g}", (w, fitted * v0 + (1 - damp) * d))
    for cause, (words, (param, momentum)) in trials.items():
        value = param if e.quantity.startswith("param.") else momentum if e.quantity.startswith("momentum.") else None
        if value is not None:
            yield Hypothesis(cause, words, value, sigma)


def of_adam(e: Evidence) -> Iterator[Hypothesis]:
    assert e.case.optimizer is not None
    other = "Adam" if e.case.optimizer.type == "AdamW" else "AdamW"
    wd = e.case.optimizer.options.get("weight_decay", 0.01 if e.case.optimizer.type == "AdamW" else 0)
    spec = replace(e.case.optimizer, type=other, options={**e.case.optimizer.options, "weight_decay": wd})
    yield from e.rerun("decay decoupled", f"decay as in {other}", optimizer=spec)
    name = parameter(e)
    if name in e.case.grads[0] and e.quantity.startswith("param."):
        counted = dict(e.case.optimizer_state)
        for words, more in (("the bias is not corrected", 10**6), ("steps are counted from the wrong one", 1)):
            steps = {
                key: np.asarray(int(counted.get("step", {}).get(key, np.asarray(0))) + more) for key in e.case.params
            }
            yield from e.rerun("bias correction", words, optimizer_state={**counted, "step": steps})
        if e.case.dtype != "float64":
            yield from of_correction(e, int(counted.get("step", {}).get(name, np.asarray(0))) + 1)
        if e.case.optimizer.type == "AdamW":
            decayed = {**e.case.params, name: e.case.params[name] * (1 - wd)}
            bare = replace(e.case.optimizer, options={**e.case.optimizer.options, "weight_decay": 0.0})
            yield from e.rerun("decay rate", "decay is not scaled by the rate", params=decayed, optimizer=bare)


def of_correction(e: Evidence, step: int) -> Iterator[Hypothesis]:
    """The correction of the second moment in the case's own precision: 1 - β^t loses what β^t is rounded by."""
    _, beta = options(e).get("betas", (0.9, 0.999))
    moved = np.abs(e.expected.value - e.case.params[parameter(e)].astype(np.float64))
    lost = 4 * e.model.unit_roundoff / (1 - beta**step)
    words = f"the bias correction 1 - β^t is computed in {e.case.dtype}"
    yield Hypothesis("options rounded", words, e.expected.value, np.hypot(e.expected.sigma, moved * lost / 2))
