"""Who errs where torch and refbp differ in double precision: the third witness says so, or says that it cannot."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from oracle import subjects
from oracle.blame.blame import Blame
from oracle.case.arrays import Array
from oracle.case.case import Case
from oracle.fuzz.owner import UNSETTLED, Owner, owner
from oracle.suite.build import layer, network_case
from oracle.trace import Subject, Trace

LOAD = subjects.load
CASE = network_case("owner/one", "", [layer("Linear", 3, 4)], (5, 3)).astype("float32")


class Altered:
    """A subject whose output is another one in one precision."""

    def __init__(self, name: str, change: Callable[[Array], Array], dtype: str = "float64") -> None:
        self.name, self.change, self.dtype = name, change, dtype

    def run(self, case: Case) -> Trace:
        trace = LOAD(self.name).run(case)
        if case.dtype != self.dtype:
            return trace
        arrays = {key: self.change(array) if key.quantity == "output" else array for key, array in trace.arrays.items()}
        return Trace({key: array for key, array in arrays.items() if array is not None})


def told(altered: Altered, monkeypatch: pytest.MonkeyPatch, subject: Subject | None = None) -> Owner:
    """The owner of refbp's output, or a subject's, where one of torch and refbp is altered."""
    monkeypatch.setattr(subjects, "load", lambda name: altered if name == altered.name else LOAD(name))
    mine = LOAD("refbp") if subject is None else subject
    culprit = Blame(CASE.name, "float32", 0, "0", "Linear", "output", "wrong", "")
    return owner(CASE, mine.run(CASE), culprit, mine, subjects.load("torch"))


def refused(_: Array) -> Array:
    raise ArithmeticError("out of luck")


CHANGES: dict[str, Callable[[Array], Any]] = {
    "by a little": lambda own: own * (1 + 1e-7),
    "by a percent": lambda own: own * 1.01,
    "to NaN": lambda own: np.where(own == own.max(), np.nan, own),
    "in its shape": lambda own: own[:-1],
    "to nothing": lambda own: None,
    "to an error": refused,
}


@pytest.mark.parametrize(
    ("name", "dtype", "change", "due", "why"),
    [
        ("torch", "float64", "by a little", "torch", "refbp is nearer to extended precision"),
        ("refbp", "float64", "by a little", "refbp", "torch is nearer to refbp's own formula"),
        ("torch", "float64", "to NaN", "torch", "infinite or NaN where the formula is not"),
        ("refbp", "float64", "to NaN", "refbp", "infinite or NaN where the formula is not"),
        ("torch", "float64", "by a percent", UNSETTLED, "the third witness does not decide"),
        ("torch", "float64", "in its shape", UNSETTLED, "one of another shape"),
        ("torch", "float64", "to nothing", UNSETTLED, "torch or refbp shows no value"),
        ("torch", "float64", "to an error", UNSETTLED, "torch or refbp has no value: out of luck"),
    ],
)
def test_who_differs_in_double_precision(
    name: str, dtype: str, change: str, due: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """refbp's formula convicts of rounding alone; what may be another formula is nobody's fault yet."""
    found = told(Altered(name, CHANGES[change], dtype), monkeypatch)
    assert found.name == due and why in found.why


@pytest.mark.parametrize(
    ("change", "why"), [("to nothing", "shows no value"), ("to an error", "has no value: out of luck")]
)
def test_without_a_third_witness_nothing_is_decided(change: str, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some formulas do not run in extended precision."""

    class Twice(Altered):
        """refbp, with an output of its own in double precision, and none beyond."""

        def run(self, case: Case) -> Trace:
            return Altered("refbp", CHANGES["by a little"]).run(case) if case.dtype == "float64" else super().run(case)

    found = told(Twice("refbp", CHANGES[change], "longdouble"), monkeypatch)
    assert found.name == UNSETTLED and "extended precision" in found.why and why in found.why


def test_a_subject_that_errs_beside_torch_is_told_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch differs a little in double precision; the subject differs from both, by much more."""

    class Mine:
        name = "mine"

        def run(self, case: Case) -> Trace:
            return Altered("refbp", CHANGES["by a percent"], case.dtype).run(case)

    found = told(Altered("torch", CHANGES["by a little"]), monkeypatch, Mine())
    assert found.name == "mine" and "pass here in the same precision" in found.why
