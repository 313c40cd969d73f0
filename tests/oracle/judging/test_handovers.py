"""What layers hand to each other and what containers add up: judged on the neighbours' own values, nobody accused twice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from oracle.case.case import Case, Spec
from oracle.judging.case_rows import judge
from oracle.judging.profile import Profile
from oracle.judging.rows import DISCREPANCIES, END_TO_END, IMPRECISE, LOCAL, PASS, UNDECIDED, WRONG, Row
from oracle.subjects import refbp as refbp_subject
from oracle.subjects import torch as torch_subject
from oracle.suite.build import layer, network_case
from oracle.trace import Key, Trace

from ..tampered import Array, Change, at_fault, rows_of, tiny


@pytest.mark.parametrize(
    "change, said",
    [(lambda y: y.astype(np.float64), "dtype float64"), (lambda y: y * np.float32("nan"), "")],
    ids=["another dtype", "NaN"],
)
def test_what_is_wrong_already_may_be_handed_over_as_it_is(change: Change, said: str) -> None:
    """The fault lies with the layer that computed it. The connection passed it on to the bit."""
    rows = rows_of(tiny().astype("float32"), {("first", "output"): change, ("act", "input"): change})
    assert not [row for row in rows if row.quantity == "input"]
    (found,) = [row for row in rows if row.mode == LOCAL and (row.layer, row.quantity) == ("first", "output")]
    assert found.verdict == WRONG and said in found.diagnosis


def test_a_loss_has_the_input_that_the_case_gives() -> None:
    """A subject clamps the input first, and shows that. The loss is right on the clamped input; its value is still wrong."""
    rng = np.random.default_rng(3)
    case = network_case(
        "wired/loss", "", [], inputs=(rng.random((5, 4)),), loss=Spec("BCELoss"), targets=((rng.random((5, 4)),),)
    )
    clamped = replace(case, inputs=(np.clip(case.inputs[0], 0.3, 0.7),))
    rows = judge(case, refbp_subject.run(clamped), refbp_subject)
    assert at_fault(rows) == {("loss", "input", WRONG)}
    assert ("loss", "output", WRONG) in at_fault(rows, END_TO_END)


def test_an_update_has_the_gradients_that_the_case_gives() -> None:
    weight, grad = np.ones((2, 3)), np.arange(6.0).reshape(2, 3)
    case = Case(
        "wired/update", params={"0.weight": weight}, grads=({"0.weight": grad},), optimizer=Spec("SGD", {"lr": 0.1})
    )
    trace = refbp_subject.run(replace(case, grads=({"0.weight": 2 * grad},)))
    trace.record(0, "0", "grad.weight", 2 * grad)
    rows = judge(case, trace, refbp_subject)
    assert at_fault(rows) == {("0", "grad.weight", WRONG)}
    assert at_fault(rows, END_TO_END) == {("0", "param.weight", WRONG)}


def test_what_is_handed_over_as_it_should_be_is_no_row() -> None:
    """Inputs of layers and of the loss, and gradients of an update, have a row only if something is wrong."""
    update = Case(
        "wired/update",
        params={"0.weight": np.ones(2)},
        grads=({"0.weight": np.ones(2)},),
        optimizer=Spec("SGD", {"lr": 0.1}),
    )
    trace = refbp_subject.run(update)
    trace.record(0, "0", "grad.weight", np.ones(2))
    assert {row.quantity for row in judge(update, trace, refbp_subject)} == {"param.weight"}
    assert not [row for row in rows_of(tiny(), {}) if row.quantity == "input"]


def up(array: Array) -> Array:
    """Each element's next neighbour but one, away from zero."""
    for _ in range(2):
        array = np.nextafter(array, np.copysign(np.inf, array))
    return array


def judged(case: Case, trace: Trace, name: str, quantity: str) -> Row:
    (row,) = [
        row
        for row in judge(case, trace, refbp_subject)
        if row.mode == LOCAL and (row.layer, row.quantity) == (name, quantity)
    ]
    return row


@pytest.mark.parametrize("quantity", ["output", "grad_input"])
def test_what_a_container_adds_up_is_held_against_its_bound_too(quantity: str) -> None:
    """One float32 addition errs by at most half a unit in the last place, which is its bound. Many units are beyond it."""
    body = layer("Tanh", name="body")
    case = network_case("wired/residual", "a sum", [layer("Residual", layers=[body], name="sum")], (50, 4))
    case = case.astype("float32")
    trace = refbp_subject.run(case)
    honest = judged(case, trace, "sum", quantity)
    assert honest.verdict == PASS and np.isnan(honest.bound_ratio)  # which needs no bound
    for _ in range(8):
        trace.arrays[Key(0, "sum", quantity)] = up(trace.arrays[Key(0, "sum", quantity)])
    off = judged(case, trace, "sum", quantity)
    assert off.verdict in DISCREPANCIES and off.bound_ratio > 8


@pytest.mark.parametrize("share, verdict", [(0.0, PASS), (0.9, IMPRECISE), (1.5, WRONG)])
def test_a_sum_of_many_branches_is_wrong_only_beyond_its_bound(share: float, verdict: str) -> None:
    """The n = 40 branches of a Concat hand back gradients t. Some order of summation errs by up to (n - 1) u sum |t|."""
    n, name = 40, "all.b{}".format
    branches = [layer("Tanh", name=f"b{index}") for index in range(n)]
    case = network_case("wired/concat", "a sum of forty", [layer("Concat", layers=branches, name="all")], (6, 2))
    case = case.astype("float32")
    trace = refbp_subject.run(case)
    grads = np.array([trace.arrays[Key(0, name(index), "grad_input")] for index in range(n)], np.float64)
    most = (n - 1) * 2.0**-24 * np.abs(grads).sum(0) * np.resize([1, -1], (6, 2))
    trace.record(0, "all", "grad_input", (grads.sum(0) + share * most).astype(np.float32))
    row = judged(case, trace, "all", "grad_input")
    assert row.verdict == verdict
    assert np.isnan(row.bound_ratio) if verdict == PASS else row.bound_ratio == pytest.approx(share, abs=0.05)


def test_zeros_that_are_handed_on_are_all_there_is_to_say() -> None:
    """A layer that adds up only zeros is not tested by an upstream gradient of zeros. The zeros that it hands on are right."""
    case = replace(tiny(), loss=None, targets=(), grad_outputs=(np.zeros((5, 2)),))
    rows = {(row.layer, row.quantity): row.verdict for row in rows_of(case, {}) if row.mode == LOCAL}
    assert rows["act", "grad_output"] == rows["first", "grad_output"] == PASS
    assert rows["act", "grad_input"] == rows["first", "grad_input"] == UNDECIDED


def test_what_a_layer_was_given_excuses_nothing_unless_it_is_shown_where_it_comes_from() -> None:
    """A gradient and an input are both doubled, and the output that gives the input is hidden. The step is wrong end to end."""
    case = tiny()
    trace = refbp_subject.run(case)
    for name in ("input", "grad.weight"):
        trace.arrays[Key(0, "last", name)] = trace.arrays[Key(0, "last", name)] * 2
    assert ("last", "input", WRONG) in at_fault(judge(case, trace, torch_subject))
    profile = Profile(quantities=("grad*",))
    for key in [key for key in trace if not profile.shows(key.quantity) and key.quantity != "input"]:
        del trace.arrays[key]
    rows = judge(case, trace, torch_subject, profile)
    assert not at_fault(rows) and at_fault(rows, END_TO_END) == {("last", "grad.weight", WRONG)}
