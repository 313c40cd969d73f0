"""Bugs in operations between layers: there are many, and whoever misses one is told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from oracle.selftest import render
from oracle.selftest.between.bugs import all_bugs
from oracle.selftest.between.planted import met
from oracle.selftest.result import SelfTest

ONE_OF_EACH_WAY = ("Residual: drops its branch", "OwnSoftmax: not divided by its sum", "detach: a branch is cut off")


def test_there_are_at_least_forty_of_many_operations() -> None:
    assert len(all_bugs()) >= 40
    assert len({bug.operation for bug in all_bugs().values()}) >= 30


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", dict.fromkeys([*ONE_OF_EACH_WAY, *list(all_bugs())[::8]]))
def test_an_operation_is_blamed_with_its_quantity_and_its_twin_is_not(name: str) -> None:
    """By a wrong backward, by wrong code beside a reference, and in plain code of torch."""
    found = met(all_bugs()[name])
    assert found.named and not found.twin, found


def test_what_is_missed_fails_the_self_test_and_is_told() -> None:
    """A wrong place, and a twin that is accused."""
    right = met(all_bugs()[ONE_OF_EACH_WAY[0]])
    assert not SelfTest(between=[right]).unmet
    result = SelfTest(between=[replace(right, blamed="", named=False), replace(right, twin="somebody")])
    assert len(result.unmet) == 2 and not result.passed
    told = render.failures(result)
    assert f"between layers: {right.name} is at Residual grad_input#1, blamed is nobody" in told
    assert f"accused: the repaired twin of {right.name}: somebody" in told
