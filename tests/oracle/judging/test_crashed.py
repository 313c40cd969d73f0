"""What is said of a subject that raised: where, why where that is known, and what it had computed rightly until then."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from oracle.blame.details import place_of
from oracle.case.case import Case
from oracle.harness.judge import CaseStep
from oracle.harness.work import judged_case
from oracle.judging.case_rows import crashed, unjudged
from oracle.judging.profile import Profile
from oracle.judging.rows import CONVENTION, CRASHED, DISCREPANCIES, END_TO_END, LOCAL, PASS, UNSUPPORTED, Row
from oracle.selftest.plant import patched
from oracle.subjects import torch as torch_subject
from oracle.suite.build import layer, network_case
from oracle.trace import Key, Trace

Op = Callable[..., Any]


def case() -> Case:
    layers = [layer("Linear", 3, 4, name="first"), layer("ReLU", name="kink"), layer("Tanh", name="act")]
    return network_case("fell/net", "", [*layers, layer("Linear", 4, 2, name="last")], (5, 3))


def overwriting(op: Op) -> Op:
    def wrong(input: Any) -> Any:
        input += 1
        return op(input)

    return wrong


def raising(op: Op) -> Op:
    def wrong(input: Any) -> Any:
        output, _ = op(input)

        def backward(grad_output: Any) -> Any:
            raise ArithmeticError("no luck")

        return output, backward

    return wrong


def raised(run: Callable[[Case], Trace]) -> Exception:
    with pytest.raises(Exception) as caught:
        run(case())
    return caught.value


def test_a_case_without_a_trace_has_one_row() -> None:
    """`crashed` and `unsupported` carry the subject's own words, and say of no step or layer more than they know."""
    fell = crashed(case(), ValueError("no luck"))
    lacks = unjudged(case(), UNSUPPORTED, "no Tanh")
    assert (fell.verdict, fell.diagnosis) == (CRASHED, "ValueError: no luck")
    assert (lacks.verdict, lacks.diagnosis) == (UNSUPPORTED, "no Tanh")
    for row in (fell, lacks):
        assert (row.case, row.dtype, row.step, row.mode) == ("fell/net", "float64", 0, LOCAL)
        assert (row.layer, row.layer_type, row.quantity, row.cause) == ("", "", "", "")


def seen(rows: list[Row]) -> set[tuple[str, str]]:
    return {(row.layer, row.quantity) for row in rows}


FORWARD = {("first", "output"), ("kink", "output")}


@pytest.mark.parametrize(
    "change, quantity, before",
    [
        (overwriting, "output", FORWARD),
        (raising, "grad_input", FORWARD | {("act", "output"), ("last", "output"), ("last", "grad.weight")}),
    ],
)
def test_a_crash_comes_with_its_place_and_what_was_right_before_it(
    change: Callable[[Op], Op], quantity: str, before: set[tuple[str, str]]
) -> None:
    """Layer, type and quantity; before it the rows of all that was computed, and none for what was not."""
    error = raised(patched("refbp.activations:Tanh.function", change))
    *so_far, last = CaseStep(case(), error.trace, torch_subject, error).judged(Profile())  # type: ignore[attr-defined]
    assert (last.verdict, last.step, last.layer, last.layer_type, last.quantity) == (
        CRASHED,
        0,
        "act",
        "Tanh",
        quantity,
    )
    assert seen(so_far) >= before and {row.verdict for row in so_far} == {PASS}
    assert {row.mode for row in so_far} == {LOCAL, END_TO_END}
    assert ("act", quantity) not in seen(so_far) and "branches" not in {row.quantity for row in so_far}
    assert place_of(crashed(case(), error)) == place_of(last)


def test_what_came_before_a_crash_is_judged_by_what_is_declared() -> None:
    """A variance over n elements, not n - 1: no error of a subject that says so and crashes later."""

    class Biased:
        name = "biased, and falls"
        profile = Profile(conventions=("biased_running_variance",))

        def run(self, case: Case) -> Trace:
            trace = torch_subject.run(case)
            key = Key(0, "0", "buffer.running_var")
            kept = 0.9 * case.params["0.running_var"]
            trace.arrays[key] = (kept + (trace.arrays[key] - kept) * 23 / 24).astype(case.dtype)
            error = RuntimeError("no luck")
            error.trace = trace  # type: ignore[attr-defined]
            raise error

    def found(subject: Biased) -> dict[str, str]:
        case = network_case("biased/norm", "a variance", [layer("BatchNorm1d", 3)], (24, 3)).astype("float32")
        rows, _ = judged_case(case, subject, torch_subject)
        assert rows[-1].verdict == CRASHED
        return {row.quantity: row.verdict for row in rows[:-1]}

    declared, undeclared = found(Biased()), Biased()
    undeclared.profile = Profile()
    assert declared["buffer.running_var"] == CONVENTION and set(declared.values()) == {PASS, CONVENTION}
    assert found(undeclared)["buffer.running_var"] in DISCREPANCIES


def test_a_crash_that_is_raised_anew_in_other_words_keeps_its_place() -> None:
    """A subject may say what happened in its own words: where it happened is known from what it says them of.

    A place that the case does not know has no type.
    """
    cause = raised(patched("refbp.activations:Tanh.function", raising))
    error = RuntimeError("it did not work")
    error.__cause__ = cause
    row = crashed(case(), error)
    assert (row.layer, row.quantity, row.diagnosis) == ("act", "grad_input", "RuntimeError: it did not work")
    cause.place = ("elsewhere", "output")  # type: ignore[attr-defined]
    row = crashed(case(), error)
    assert (row.layer, row.layer_type) == ("elsewhere", "")


def test_a_write_into_what_was_given_is_a_cause_of_its_own() -> None:
    """The one crash whose reason its words tell."""
    row = crashed(case(), raised(patched("refbp.activations:Tanh.function", overwriting)))
    assert (row.cause_name, row.cause) == ("in place", "it writes into the array that it was given")
    row = crashed(case(), raised(patched("refbp.activations:Tanh.function", raising)))
    assert row.cause_name == ""
