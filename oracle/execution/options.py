"""All options of a case's classes, with torch's defaults for those that the case leaves out."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

from oracle.case.case import Case, Spec
from oracle.execution.network import LAYERS, LOSSES, OPTIMIZERS

# Arguments of constructors that are not options.
NO_OPTIONS = ("dtype", "rng", "params")


@cache
def defaults(kind: type) -> Mapping[str, Any]:
    """The defaults of a class of refbp by name, without arguments that have none."""
    parameters = inspect.signature(kind).parameters.values()
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    return {p.name: p.default for p in named if p.default is not p.empty and p.name not in NO_OPTIONS}


def filled_options(kinds: Mapping[str, type], spec: Spec) -> dict[str, Any]:
    """All arguments of the class by name; for a class that refbp lacks, those that are given."""
    known = defaults(kinds[spec.type]) if spec.type in kinds else {}
    return {**known, **spec.options}


def filled(case: Case) -> Case:
    """The case with every option of every class written out."""
    loss = case.loss and replace(case.loss, options=filled_options(LOSSES, case.loss))
    optimizer = case.optimizer and replace(case.optimizer, options=filled_options(OPTIMIZERS, case.optimizer))
    return replace(case, layers=tuple(map(_filled, case.layers)), loss=loss, optimizer=optimizer)


def _filled(spec: Spec) -> Spec:
    return replace(spec, options=filled_options(LAYERS, spec), layers=tuple(map(_filled, spec.layers)))


def with_group(optimizer: Spec, group: Mapping[str, Any]) -> dict[str, Any]:
    """The optimizer's options in a parameter group, whose own override the others."""
    return {**optimizer.options, **{name: value for name, value in group.items() if name != "params"}}


def update_options(case: Case, name: str) -> dict[str, Any]:
    """The optimizer's options for a parameter; none without an optimizer."""
    if case.optimizer is None:
        return {}
    own = next((group for group in case.optimizer.groups if name in group.get("params", ())), {})
    return with_group(case.optimizer, own)
