"""What there is to run: cases, subjects, layers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from oracle import subjects, suite
from oracle.case import named_layers
from oracle.network import LAYERS, LOSSES, OPTIMIZERS


def entries(what: str, pattern: str = "all") -> list[dict[str, Any]]:
    """One entry per case, subject or layer. Raises: ValueError for anything else."""
    kinds: dict[str, Callable[[], list[dict[str, Any]]]] = {
        "cases": lambda: cases(pattern),
        "subjects": lambda: [{"subject": name} for name in subjects.BUILT_IN],
        "layers": layers,
    }
    if what not in kinds:
        raise ValueError(f"unknown list {what!r}: known are {', '.join(kinds)}")
    return kinds[what]()


def cases(pattern: str) -> list[dict[str, Any]]:
    return [{"case": case.name, "why": case.why} for case in suite.matching(pattern)]


def layers() -> list[dict[str, Any]]:
    """Every class of layer, loss and optimizer, and how many cases exercise it."""
    counts: Counter[str] = Counter()
    for case in suite.all_cases().values():
        types = {spec.type for _, spec in named_layers(case.layers)}
        types |= {spec.type for spec in (case.loss, case.optimizer) if spec is not None}
        counts.update(types)
    kinds = (("layer", LAYERS), ("loss", LOSSES), ("optimizer", OPTIMIZERS))
    return [{"class": name, "kind": kind, "cases": counts[name]} for kind, known in kinds for name in known]
