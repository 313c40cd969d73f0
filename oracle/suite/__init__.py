"""The conformance suite: cases by family, built when asked for."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cache
from types import ModuleType

from oracle.case.case import Case, CaseError
from oracle.suite import (
    activations,
    architectures,
    convolution,
    lengths,
    linear,
    losses,
    networks,
    normalization,
    optimizers,
    pooling,
    reshaping,
    special,
    training_steps,
    usual,
    values,
)

# The words with which the names of each family's cases begin, in front of their one "/".
FAMILIES: dict[ModuleType, tuple[str, ...]] = {
    networks: ("digits", "lenet5", "mlp", "worked-example"),
    architectures: ("network",),
    training_steps: ("network",),
    linear: ("linear",),
    convolution: ("conv",),
    pooling: ("pool",),
    normalization: ("norm",),
    activations: ("activation", "kink", "nonfinite"),
    reshaping: ("dropout", "nonfinite", "reshape"),
    losses: ("kink", "loss", "nonfinite"),
    optimizers: ("optimizer",),
    usual: ("usual",),
    values: ("value",),
    lengths: ("length",),
    special: ("batch", "exact", "kink", "layout", "tie"),
}


@cache
def of_family(family: ModuleType) -> dict[str, Case]:
    """A family's cases by name."""
    found: dict[str, Case] = {}
    for case in family.cases():
        word, _, rest = case.name.partition("/")
        assert case.name not in found and word in FAMILIES[family] and "/" not in rest, case.name
        found[case.name] = case
    return found


@cache
def all_cases() -> dict[str, Case]:
    """Every case by name, in the order in which they are run."""
    found: dict[str, Case] = {}
    for family in FAMILIES:
        own = of_family(family)
        assert not found.keys() & own.keys(), found.keys() & own.keys()
        found |= own
    return found


def matching(pattern: str) -> Iterator[Case]:
    """The cases whose name contains the pattern; with * or ?, those whose whole name matches it; for "all" every case.

    Raises: CaseError if there is none.
    """
    if not pattern:
        raise CaseError('a pattern of cases is not empty: all of them are "all"')
    wild = "*" in pattern or "?" in pattern
    chosen = [
        case
        for name, case in _built_for(pattern, wild).items()
        if pattern == "all" or (fnmatchcase(name, pattern) if wild else pattern in name)
    ]
    if not chosen:
        families = sorted({word for words in FAMILIES.values() for word in words})
        raise CaseError(
            f"no case matches {pattern!r}: families are {', '.join(families)}; `oracle list cases` shows all names"
        )
    yield from chosen


def _built_for(pattern: str, wild: bool) -> dict[str, Case]:
    """The cases that can match. If the pattern contains "/", only the families before it are built, since building all cases
    takes seconds."""
    first, slash, _ = pattern.partition("/")
    if not slash or "[" in pattern:
        return all_cases()
    found: dict[str, Case] = {}
    for family, words in FAMILIES.items():
        if any(fnmatchcase(word, first) if wild else word.endswith(first) for word in words):
            found |= of_family(family)
    return found


def named(name: str) -> Case:
    """The case of exactly this name, or the only one whose name contains it. Raises: CaseError if there is none, or several."""
    if name in (built := _built_for(name, False)):
        return built[name]
    found = list(matching(name))
    if len(found) > 1:
        raise CaseError(
            f"{name!r} fits {len(found)} cases, such as {', '.join(case.name for case in found[:4])}; one is expected"
        )
    return found[0]
