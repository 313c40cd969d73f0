"""The examples in docstrings do what they show."""

from __future__ import annotations

import doctest
import pkgutil
from collections.abc import Iterator
from importlib import import_module

import numpy as np
import pytest

import oracle
import refbp

NAMES = {"np": np, "refbp": refbp, "oracle": oracle}  # what examples use without importing it
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
# Those whose docstrings have to show how they are used.
SHOWN = (
    "refbp",
    "refbp.linear.Linear",
    "refbp.conv.Conv2d",
    "refbp.max_pooling.MaxPool2d",
    "refbp.batch_norm.BatchNorm1d",
    "refbp.classification_losses.CrossEntropyLoss",
    "refbp.update_rules.SGD",
    "refbp.containers.Sequential",
    "refbp.conv.conv",
    "oracle.harness.run.run",
    "oracle.case.case.Case",
    "oracle.judging.profile.Profile",
    "oracle.report.report.Report",
    "oracle.trace.Trace",
)


def modules() -> Iterator[str]:
    """refbp's, and those from which oracle's public names come."""
    yield from ("refbp", *(f"refbp.{module.name}" for module in pkgutil.iter_modules(refbp.__path__)))
    yield from ("oracle", *sorted({getattr(oracle, name).__module__ for name in oracle.__all__}))


EXAMPLES = {
    test.name: test
    for name in modules()
    for test in doctest.DocTestFinder().find(import_module(name), extraglobs=NAMES)
    if test.examples
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_example_runs(name: str) -> None:
    """A reader copies it: what it prints is what it says."""
    seen: list[str] = []
    doctest.DocTestRunner(optionflags=FLAGS).run(EXAMPLES[name], out=seen.append)
    assert not seen, "".join(seen)


def test_what_users_meet_first_has_an_example() -> None:
    """And is found here: a collection that found nothing would pass."""
    assert set(SHOWN) <= EXAMPLES.keys()
