"""The suite covers what it says: every class, every kind of data, every bug class."""

from __future__ import annotations

from collections import Counter
from fnmatch import fnmatchcase

import numpy as np
import pytest

from oracle.case.case import CaseError
from oracle.cli.lists import layers
from oracle.suite import FAMILIES, all_cases, matching, named, of_family
from oracle.suite.build import pairs

from .bug_classes import BUG_CLASSES

TAGS = ("kink", "tie", "empty", "non-contiguous", "exact-integer", "extreme", "non-finite", "training", "real-data")


def test_there_are_at_least_1500_cases_each_with_its_reason() -> None:
    """Coverage does not shrink unnoticed, and every case says what it tests."""
    cases = all_cases()
    assert len(cases) >= 1500
    assert all(case.why.strip() for case in cases.values())


@pytest.mark.parametrize("tag", TAGS)
def test_every_kind_of_data_has_cases(tag: str) -> None:
    """Kinks, ties, empty batches and the like are there on purpose."""
    assert sum(tag in case.tags for case in all_cases().values()) >= 2


def test_every_class_has_cases() -> None:
    """No layer, loss or optimizer of refbp is left out; containers stand in networks."""
    counts = {entry["class"]: entry["cases"] for entry in layers()}
    assert [name for name, count in counts.items() if count == 0] == []
    assert len(counts) >= 110


@pytest.mark.parametrize("bug", BUG_CLASSES, ids=lambda bug: bug.report)
def test_every_bug_class_has_cases(bug: tuple[str, str, tuple[str, ...]]) -> None:
    """Each public report of a wrong gradient has cases with what it takes to show it."""
    for pattern in bug[2]:
        assert any(fnmatchcase(name, pattern) for name in all_cases()), pattern


def test_cases_are_the_same_every_time() -> None:
    """A case's numbers come from its name alone."""
    first = named("network/unet")
    of_family.cache_clear()
    second = named("network/unet")
    for name, value in first.params.items():
        np.testing.assert_array_equal(value, second.params[name])


def test_pairs_covers_every_pair_of_levels() -> None:
    """Any two levels of two options occur together, in far fewer rows than all combinations."""
    levels = {name: [0, 1, 2] for name in "abcde"}
    rows = list(pairs(levels))
    seen = Counter(
        (one, row[one], other, row[other]) for row in rows for one in levels for other in levels if one < other
    )
    assert len(seen) == 10 * 9
    assert len(rows) < 30


def test_an_unknown_pattern_names_the_families() -> None:
    """A user who mistypes sees what there is."""
    with pytest.raises(CaseError, match=r"no case matches 'nonsense': families are .*conv"):
        list(matching("nonsense"))
    with pytest.raises(CaseError, match="one is expected"):
        named("conv/Conv2d")


@pytest.mark.parametrize(
    "pattern", ["pool/MaxPool2d", "ool/Max", "*o*/*Pool1d*", "tie/ReLU+MaxPool2d", "k?nk/*", "lo[st]s/MSE*"]
)
def test_a_pattern_finds_the_same_whether_all_are_built_or_not(pattern: str) -> None:
    """Only the families that it can mean are built."""
    wild = "*" in pattern or "?" in pattern
    found = [name for name in all_cases() if (fnmatchcase(name, pattern) if wild else pattern in name)]
    assert found and [case.name for case in matching(pattern)] == found


def test_one_case_does_not_build_the_others() -> None:
    """A run of one case starts in a moment."""
    of_family.cache_clear()
    all_cases.cache_clear()
    assert named("worked-example/plain").name == "worked-example/plain"
    assert of_family.cache_info().currsize == 1 < len(FAMILIES)
