"""The lists of `oracle list`: cases, subjects, layers, rules for the operations of programs, conventions, causes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

from oracle import subjects, suite
from oracle.blame.causes.names import CAUSES
from oracle.case.case import Case, Spec, named_layers
from oracle.case.names import is_buffer, quantity_of
from oracle.execution.network import LAYERS, LOSSES, OPTIMIZERS
from oracle.judging.conventions import CONVENTIONS
from oracle.subjects import libraries

# The text before a list whose entries do not explain themselves.
ABOUT = {
    "layers": "The classes of layers, losses and optimizers: name, kind, number of cases, the options that these set, and the "
    "quantities that are judged.",
    "ops": "The operations of torch that can be judged between and inside layers: name, family, and the rule.",
    "conventions": "An implementation that differs from torch on purpose declares the convention in its profile, by the word in "
    'the first column: profile = oracle.Profile(conventions=("biased_running_variance",)). These quantities are then judged '
    "by that rule.",
    "causes": "The causes that a report can name for a discrepancy. A cause is named if the mistake, applied to the right "
    "numbers, gives the subject's numbers. The word is in the column cause_name of the report's table.",
}

TABLES = ("conventions", "causes")  # the lists whose entries are narrow enough for columns with headings


def entries(what: str, pattern: str = "all") -> list[dict[str, Any]]:
    """One entry per case, subject, class, convention or cause.

    Raises: ValueError for another list, or for a pattern with a list that holds no cases.
    """
    kinds: dict[str, Callable[[], list[dict[str, Any]]]] = {
        "cases": lambda: cases(pattern),
        "subjects": subject_entries,
        "layers": layers,
        "ops": ops,
        "conventions": conventions,
        "causes": causes,
    }
    if what not in kinds:
        raise ValueError(f"unknown list {what!r}: known are {', '.join(kinds)}")
    if pattern != "all" and what != "cases":
        raise ValueError(f"--cases chooses from the list of cases, got --cases {pattern} for the list of {what}")
    return kinds[what]()


def conventions() -> list[dict[str, Any]]:
    """The conventions that a subject may declare: their names, the quantities that they change, and their rules."""
    return [
        {"convention": name, "quantities": list(own.quantities), "what": own.what} for name, own in CONVENTIONS.items()
    ]


def causes() -> list[dict[str, Any]]:
    """The causes that a report may name, each with its meaning."""
    return [{"cause": name, "what": what} for name, what in sorted(CAUSES.items())]


def subject_entries() -> list[dict[str, Any]]:
    """This package's subjects, then those of other packages. The latter are loaded, and a broken one causes a warning."""
    found = [{"subject": name, "installed": libraries.installed(name)} for name in subjects.BUILT_IN]
    for other in subjects.registered():
        if problem := subjects.problem(other):
            warnings.warn(problem, stacklevel=2)
        else:
            found.append({"subject": other.name, "installed": f"{other.package} {other.version}"})
    return found


def ops() -> list[dict[str, Any]]:
    """The table of rules: the family of each operation, and its rule, that is its formula and its gradients."""
    from oracle.programs import rules
    from oracle.programs.table import RULES

    assert rules  # fills the table
    ordered = sorted(RULES.values(), key=lambda own: (own.family, own.name))
    return [{"op": own.name, "family": own.family, "rule": own.words} for own in ordered]


def cases(pattern: str) -> list[dict[str, Any]]:
    return [{"case": case.name, "why": case.why, "tags": list(case.tags)} for case in suite.matching(pattern)]


def layers() -> list[dict[str, Any]]:
    """Every class of layer, loss and optimizer: the number of its cases, the options that they vary, the quantities judged."""
    uses: dict[str, list[tuple[Case, Spec]]] = {}
    for case in suite.all_cases().values():
        for spec in specs_of(case):
            uses.setdefault(spec.type, []).append((case, spec))
    kinds = (("layer", LAYERS), ("loss", LOSSES), ("optimizer", OPTIMIZERS))
    return [
        {
            "class": name,
            "kind": kind,
            "cases": len({case.name for case, _ in uses.get(name, ())}),
            "options": sorted({option for _, spec in uses.get(name, ()) for option in spec.options}),
            "quantities": quantities(kind, name, uses.get(name, [])),
        }
        for kind, known in kinds
        for name in sorted(known)
    ]


def specs_of(case: Case) -> Iterator[Spec]:
    for _, spec in named_layers(case.layers):
        if not spec.same_as:
            yield spec
    for other in (case.loss, case.optimizer):
        if other is not None:
            yield other


def quantities(kind: str, type: str, uses: list[tuple[Case, Spec]]) -> list[str]:
    """The quantities that are judged of a class, over all of its cases."""
    if kind == "optimizer":
        return ["param", *map(quantity_of, OPTIMIZERS[type].state_names)]  # type: ignore[attr-defined]
    judged = {"output", "grad_input"} | ({"grad_output"} if kind == "layer" else set())
    for case, spec in uses:
        for name, own in named_layers(case.layers):
            if own is spec:
                judged |= {
                    ("buffer." if is_buffer(key) else "grad.") + key.rpartition(".")[2]
                    for key in case.params
                    if key.rpartition(".")[0] == name
                }
    return sorted(judged)


def lacking() -> list[str]:
    """Layers and losses of torch.nn that refbp lacks; empty where torch is not installed."""
    try:
        module = subjects.load("torch")
    except subjects.SubjectError:
        return []
    known = LAYERS.keys() | LOSSES.keys()
    return [name for name in module.class_names() if name not in known]  # type: ignore[attr-defined]
