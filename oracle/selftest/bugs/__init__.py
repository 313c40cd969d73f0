"""The library of planted bugs, a file per family: each a small, named change to a correct implementation."""

from __future__ import annotations

from functools import cache

from oracle.selftest.bugs import (
    activations,
    convolution,
    dense,
    losses,
    normalization,
    optimizers,
    pooling,
    reshaping,
    structure,
)
from oracle.selftest.plant import Bug

FAMILIES = (dense, convolution, pooling, normalization, activations, reshaping, losses, optimizers, structure)


@cache
def all_bugs() -> dict[str, Bug]:
    """Every bug by name."""
    found: dict[str, Bug] = {}
    for family in FAMILIES:
        for bug in family.bugs():
            assert bug.name not in found, bug.name
            found[bug.name] = bug
    return found
