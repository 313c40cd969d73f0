"""The conformance suite: cases by family, built when asked for."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cache

from oracle.case.case import Case, CaseError
from oracle.suite import (
    activations,
    architectures,
    convolution,
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

FAMILIES = (
    networks,
    architectures,
    training_steps,
    linear,
    convolution,
    pooling,
    normalization,
    activations,
    reshaping,
    losses,
    optimizers,
    usual,
    values,
    special,
)


@cache
def all_cases() -> dict[str, Case]:
    """Every case by name, in the order in which they are run."""
    found: dict[str, Case] = {}
    for family in FAMILIES:
        for case in family.cases():
            assert case.name not in found, case.name
            found[case.name] = case
    return found


def matching(pattern: str) -> Iterator[Case]:
    """Cases whose name contains the pattern; with * or ?, cases whose whole name matches it; "all" is every case.

    Raises: CaseError when there is none.
    """
    if not pattern:
        raise CaseError('a pattern of cases is not empty: all of them are "all"')
    wild = "*" in pattern or "?" in pattern
    chosen = [
        case
        for name, case in all_cases().items()
        if pattern == "all" or (fnmatchcase(name, pattern) if wild else pattern in name)
    ]
    if not chosen:
        families = sorted({name.partition("/")[0] for name in all_cases()})
        raise CaseError(
            f"no case matches {pattern!r}: families are {', '.join(families)}; `oracle list cases` shows all names"
        )
    yield from chosen


def named(name: str) -> Case:
    """The case of exactly this name, or the only one that contains it. Raises: CaseError when there is none or no single one."""
    if name in all_cases():
        return all_cases()[name]
    found = list(matching(name))
    if len(found) > 1:
        raise CaseError(
            f"{name!r} fits {len(found)} cases, such as {', '.join(case.name for case in found[:4])}; one is expected"
        )
    return found[0]
