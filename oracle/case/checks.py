"""Checks of a Case before a network is built of it: that fields are present, of the right type, and consistently named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from oracle.case.case import PER_STEP, Case, CaseError, Spec, named_layers, require_present


def require_fields(case: Case) -> None:
    """Raises: CaseError for a case that lacks a field that it needs, or has a value of a wrong type in one."""
    if not isinstance(case.name, str) or not case.name:
        raise CaseError(f"a case needs a name, a non-empty string, got {case.name!r}")
    for name in ("steps", "update_every"):
        value = getattr(case, name)
        if not isinstance(value, int) or value < 1:
            raise CaseError(f"case {case.name}: {name} expects a number from 1, got {value!r}")
    if case.grads and case.update_every > 1:
        raise CaseError(f"case {case.name}: update_every needs a network, whose gradients add up; these are given")
    _require_specs(case.name, "layers", case.layers)
    for name in ("loss", "optimizer"):
        if getattr(case, name) is not None:
            _require_specs(case.name, name, (getattr(case, name),))
    require_present(case.name, vars(case), backward=False)
    _require_names(case)
    _require_used(case)


def _require_names(case: Case) -> None:
    names = [name for name, _ in named_layers(case.layers)] + ["loss"] * (case.loss is not None)
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise CaseError(f"case {case.name} has several layers of the name {twice[0]!r} (the loss is the layer 'loss')")
    strange = sorted(case.masks.keys() - set(names))
    if strange:
        raise CaseError(f"case {case.name}: masks names the layer {strange[0]!r}, known: {', '.join(names)}")


def _require_used(case: Case) -> None:
    """Raises: CaseError for a field that the case would ignore, since somebody must have given it for a reason."""
    for name in PER_STEP:
        if (count := len(getattr(case, name))) > case.steps:
            raise CaseError(
                f"case {case.name} has {count} {name}, and no more steps than {case.steps} that would take them"
            )
    for name, without in (("targets", "loss"), ("optimizer_state", "optimizer")):
        if getattr(case, name) and getattr(case, without) is None:
            raise CaseError(f"case {case.name} has {name}, and no {without} that would take them")
    layers = dict(named_layers(case.layers))
    for name in case.masks:
        if name not in layers or "Dropout" not in layers[name].type:
            raise CaseError(f"case {case.name}: masks names {name!r}, which is not a dropout layer")
    for grads in case.grads:
        if strange := sorted(grads.keys() - case.params.keys()):
            raise CaseError(f"case {case.name}: grads names {strange[0]!r}, known: {', '.join(case.params)}")
    alone = [(what, spec) for what, spec in (("loss", case.loss), ("optimizer", case.optimizer)) if spec is not None]
    for what, spec in [*layers.items(), *alone]:
        fields = (
            ["groups"] if what in layers else ["name", "layers", "same_as", *["groups"] * (spec is not case.optimizer)]
        )
        for field in fields:
            if getattr(spec, field):
                raise CaseError(f"case {case.name}: {spec.type}, {what}, takes no {field!r}")


def _require_specs(case: str, where: str, specs: Any) -> None:
    if not isinstance(specs, (tuple, list)):
        raise CaseError(f"case {case}: {where} expects a tuple of oracle.Spec, got {type(specs).__name__}")
    for spec in specs:
        if not isinstance(spec, Spec):
            raise CaseError(f"case {case}: {where} expects oracle.Spec, got {type(spec).__name__}")
        if not isinstance(spec.name, str):
            raise CaseError(f"case {case}: the name of {spec.type} in {where} expects a string, got {spec.name!r}")
        if not isinstance(spec.options, Mapping):
            raise CaseError(f"case {case}: options of {spec.type} in {where} expects a mapping, got {spec.options!r}")
        _require_specs(case, f"layers of {spec.type} in {where}", spec.layers)
