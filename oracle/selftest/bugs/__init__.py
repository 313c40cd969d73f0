"""The library of planted bugs, a file per family. Each bug is a small, named change to a correct implementation."""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path

from oracle.selftest.bugs import (
    activations,
    adaptive_optimizers,
    containers,
    convolution,
    dense,
    dropout,
    handed_back,
    losses,
    muon,
    normalization,
    optimizers,
    options,
    pooling,
    reported,
    reshaping,
    wiring,
)
from oracle.selftest.bugs.bug import Bug

FAMILIES = (
    dense,
    convolution,
    pooling,
    normalization,
    activations,
    reshaping,
    losses,
    optimizers,
    adaptive_optimizers,
    muon,
    options,
    reported,
    handed_back,
    containers,
    dropout,
    wiring,
)


@cache
def expected_causes() -> dict[str, tuple[str, ...]]:
    """The accepted names of each bug's cause, written down by hand; empty if the report knows no right cause."""
    with (Path(__file__).parent / "causes.csv").open(encoding="utf-8") as file:
        return {own["bug"]: tuple(own["cause"].split("|")) if own["cause"] else () for own in csv.DictReader(file)}


@cache
def all_bugs() -> dict[str, Bug]:
    """Every bug by name."""
    found: dict[str, Bug] = {}
    for family in FAMILIES:
        for bug in family.bugs():
            assert bug.name not in found, bug.name
            found[bug.name] = bug
    return found
