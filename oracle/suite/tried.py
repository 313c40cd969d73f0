"""The options with which a subject was never tried, and the number of everyday settings in which it was."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any

from oracle.case.case import Case, Spec, named_layers
from oracle.execution.network import LAYERS, LOSSES, OPTIMIZERS
from oracle.execution.options import filled_options
from oracle.suite.usual import TAG

MADE = {**LAYERS, **LOSSES, **OPTIMIZERS}


def options_of(spec: Spec) -> dict[str, Any]:
    """All options of a layer, loss or optimizer, with defaults for those that are not given."""
    return filled_options(MADE, spec)


def set_apart(spec: Spec) -> set[str]:
    """The options that are given and differ from their default, in the spec itself or in a group."""
    defaults = options_of(Spec(spec.type))
    given = [spec.options, *spec.groups]
    return {name for own in given for name, value in own.items() if name in defaults and value != defaults[name]}


def never_tried(chosen: Iterable[Case], left_out: Collection[str]) -> tuple[list[str], str]:
    """For each class that was tried, the options that vary only in unsupported cases; and the number of usual settings tried.

    left_out: the names of the unsupported cases. If there are none, the result is empty.
    """
    asked: dict[str, set[str]] = {}
    tried: dict[str, set[str]] = {}
    usual: dict[bool, int] = {True: 0, False: 0}
    for case in chosen:
        is_tried = case.name not in left_out
        usual[is_tried] += TAG in case.tags
        for spec in _specs(case):
            asked.setdefault(spec.type, set()).update(set_apart(spec))
            if is_tried:
                tried.setdefault(spec.type, set()).update(set_apart(spec))
    if not left_out:
        return [], ""
    classes = [
        f"{type}: {', '.join(sorted(asked[type] - own))} not tried" for type, own in tried.items() if asked[type] - own
    ]
    several = sum(usual.values())
    return classes, f"tried in {usual[True]} of {several} usual settings" if several else ""


def _specs(case: Case) -> Iterator[Spec]:
    yield from (spec for _, spec in named_layers(case.layers) if not spec.same_as)
    yield from (spec for spec in (case.loss, case.optimizer) if spec is not None)
