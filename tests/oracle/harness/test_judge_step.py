"""The one door to the judge: whoever goes through it finds the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import FrozenInstanceError, dataclass

import numpy as np
import pytest

import oracle
from oracle.blame.causes import Evidence
from oracle.blame.search import Evidenced
from oracle.case.arrays import Array
from oracle.case.case import Case
from oracle.harness.judge import CaseStep, judge_step, tried
from oracle.judging.figures import Expected
from oracle.judging.profile import Profile
from oracle.judging.rows import CONVENTION, DISCREPANCIES, LOCAL, PASS, WRONG, Row
from oracle.judging.verdict import compare
from oracle.running_error import ErrorArray, ErrorModel
from oracle.subjects import refbp as refbp_subject
from oracle.subjects import torch as torch_subject
from oracle.suite import named
from oracle.suite.build import layer, network_case
from oracle.trace import Key, Trace


def test_a_known_error_is_known_to_whoever_asks() -> None:
    """torch's float64 Hardsigmoid is a finding: a run says so, and so there is nothing to shrink."""
    case = named("kink/Hardsigmoid")
    report = oracle.run("torch", reference="refbp", cases=[case], dtypes=["float64"])
    assert report.passed and CONVENTION in set(report.table["verdict"])
    with pytest.raises(ValueError, match="does not fail in float64"):
        oracle.shrink(case, "torch", reference="refbp")


def tampered() -> tuple[Case, Trace]:
    case = network_case("door/net", "", [layer("Linear", 3, 4, name="first"), layer("Tanh", name="act")], (5, 3))
    trace = refbp_subject.run(case)
    key = Key(0, "first", "grad.weight")
    trace.arrays[key] = 2 * trace.arrays[key]
    return case, trace


def test_what_was_found_cannot_be_changed() -> None:
    """Rows are values, with the cause filled in and the arrays of what is wrong at hand."""
    found = judge_step(CaseStep(*tampered(), torch_subject), Profile(), ())
    (wrong,) = (row for row in found.rows if row.mode == LOCAL and row.verdict in DISCREPANCIES)
    assert (wrong.layer, wrong.quantity, wrong.cause_name) == ("first", "grad.weight", "factor")
    kept = found.behind(wrong)
    assert kept is not None and np.allclose(kept.got, 2 * kept.expected)
    assert found.behind(found.rows[0]) is None
    with pytest.raises(FrozenInstanceError):
        wrong.verdict = PASS  # type: ignore[misc]


def test_verdicts_do_not_depend_on_the_search_for_causes() -> None:
    """Whoever only counts them need not wait for it."""
    step = CaseStep(*tampered(), torch_subject)
    sought, unsought = (judge_step(step, Profile(), (), causes=causes) for causes in (True, False))
    assert [row.verdict for row in sought.rows] == [row.verdict for row in unsought.rows]
    assert unsought.details == () and all(not row.cause for row in unsought.rows)


@dataclass(frozen=True)
class Doubled:
    """An operation of some program: it has no case and no layer, only what it was given, what came, and what should have."""

    input: Array
    grad_output: Array
    came: dict[str, Array]

    def judged(self, profile: Profile) -> Iterator[Row]:
        for quantity, got in self.came.items():
            row = Row("program", "float32", 0, "block.add#2", "add", quantity, LOCAL, PASS)
            yield compare(row, got, self._expected(quantity), structured=False, no_terms=False)

    def _expected(self, quantity: str) -> Expected:
        model = ErrorModel(np.dtype("float32"))
        given = ErrorArray.exact(self.input if quantity == "output" else self.grad_output, model)
        result = given * 3.0
        return Expected(result.value, result.sigma, None, np.sqrt(np.broadcast_to(result.scale_or_own, result.shape)))

    def behind(self, rows: Sequence[Row], profile: Profile) -> Iterator[Evidenced]:
        for row in rows:
            got, key = self.came[row.quantity], Key(0, row.layer, row.quantity)
            nothing, model = Case("program", dtype="float32"), ErrorModel(np.dtype("float32"))
            evidence = Evidence(nothing, key, got.astype(np.float64), self._expected(row.quantity), model)
            yield row, evidence, got


def test_an_operation_goes_through_the_same_door() -> None:
    """It gets rows, a cause and arrays like a layer of a case."""
    rng = np.random.default_rng(0)
    x, g = (rng.standard_normal((4, 5)).astype(np.float32) for _ in range(2))
    right = judge_step(Doubled(x, g, {"output": 3 * x, "grad_input": 3 * g}), Profile(), ())
    assert [row.verdict for row in right.rows] == [PASS, PASS]
    wrong = judge_step(Doubled(x, g, {"output": 3 * x, "grad_input": -3 * g}), Profile(), ())
    assert [row.verdict for row in wrong.rows] == [PASS, WRONG]
    assert wrong.rows[1].cause_name == "sign" and wrong.behind(wrong.rows[1]) is not None


def test_a_run_that_ends_early_is_judged_as_far_as_it_came() -> None:
    """The trace so far is kept, and nobody goes on from it."""

    class Falls:
        name = "falls"

        def run(self, case: Case) -> Trace:
            error = ArithmeticError("no luck")
            error.trace = Trace({Key(0, "first", "output"): np.zeros((5, 4))})  # type: ignore[attr-defined]
            raise error

    case, _ = tampered()
    trial = tried(case, Falls(), torch_subject)
    assert not trial.ended_well and len(trial.trace) == 1
    assert [row.verdict for row in trial.judgement.rows if row.mode == LOCAL][-1] == "crashed"


def test_what_goes_into_a_layer_that_the_case_does_not_have_is_not_judged() -> None:
    """A subject may show inputs, masks and upstream gradients of more places than the case names; a result there is wrong."""
    case, _ = tampered()
    trace = refbp_subject.run(case)
    for quantity in ("input", "mask", "grad_output"):
        trace.record(0, "inner", quantity, np.zeros(3, np.float32))
    step = CaseStep(case, trace, torch_subject)
    assert not any(row.layer == "inner" or row.verdict in DISCREPANCIES for row in step.judged(Profile()))
    trace.record(0, "inner", "output", np.zeros(3, np.float32))
    (row,) = (row for row in step.judged(Profile()) if row.verdict in DISCREPANCIES)
    assert (row.quantity, row.diagnosis) == ("output", "extra: the case has no quantity 0/inner/output")
