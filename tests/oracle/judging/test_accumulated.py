"""Gradients that add up over several steps before an update, and a weight that stands in a network twice, once transposed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import oracle
from oracle import suite
from oracle.case.case import Case, CaseError, Spec
from oracle.case.names import TRANSPOSE
from oracle.exchange.description import case_of, description, named_arrays
from oracle.exchange.introduction import introduction
from oracle.execution.network import check
from oracle.harness import work
from oracle.harness.work import judged_case
from oracle.judging import long_runs
from oracle.judging.case_rows import judge
from oracle.judging.profile import Profile
from oracle.judging.rows import DISCREPANCIES, END_TO_END, LOCAL, PASS, UNDECIDED, UNSUPPORTED, WRONG
from oracle.subjects import refbp as refbp_subject
from oracle.subjects import torch as torch_subject
from oracle.suite.build import generator, layer, network_case
from oracle.trace import Key

from ..tampered import one_off

CASE, TIED = suite.named("network/accumulated"), suite.named("network/tied_autoencoder,transposed")


def with_statistics(steps: int = 4, update_every: int = 2) -> Case:
    """Accumulation with a layer whose buffers move in every step."""
    rng = generator("accumulated with statistics")
    return network_case(
        "mine/accumulated",
        "buffers move where parameters stand still",
        [layer("Linear", 3, 4), layer("BatchNorm1d", 4), layer("Linear", 4, 2)],
        inputs=tuple(rng.standard_normal((5, 3)) for _ in range(3)),
        loss=Spec("MSELoss"),
        targets=tuple((rng.standard_normal((5, 2)),) for _ in range(3)),
        optimizer=Spec("Adam", {"lr": 0.01}),
        steps=steps,
        update_every=update_every,
    )


@pytest.mark.parametrize("subject", [refbp_subject, torch_subject], ids=["refbp", "torch"])
@pytest.mark.parametrize("case", [CASE, TIED, with_statistics(), with_statistics(5, 3)], ids=lambda case: case.name)
def test_who_does_it_right_passes(case: Case, subject: oracle.trace.Subject) -> None:
    """Locally and end to end, in both precisions; an update that has not come yet is not missed.

    End to end Adam divides noise by noise where batch norm takes a bias's gradient away: nobody can say what comes of it.
    """
    for dtype in ("float64", "float32"):
        rows, _ = judged_case(case.astype(dtype), subject, refbp_subject)
        noise = {row for row in rows if (row.layer, row.quantity, row.mode) == ("0", "param.bias", END_TO_END)}
        assert {row.verdict for row in {*rows} - noise} == {PASS}
        assert {row.verdict for row in noise} <= {PASS, UNDECIDED}
        judged = {(row.step, row.mode) for row in rows if row.quantity == "grad.bias" and row.layer == "0"}
        assert judged >= {(step, END_TO_END) for step in range(case.steps)} if case is not TIED else not judged
        updated = {row.step for row in rows if row.quantity.startswith("param.")}
        assert updated == {step for step in range(case.steps) if (step + 1) % case.update_every == 0}


@pytest.mark.parametrize("step", range(4))
@pytest.mark.parametrize("quantity", ["grad.weight", "param.weight"])
def test_what_is_altered_is_wrong_on_its_own_inputs(step: int, quantity: str) -> None:
    """A sum of gradients is judged by all steps that add to it, an update by the sum that the subject shows."""
    trace = refbp_subject.run(CASE)
    key = Key(step, "0", quantity)
    if key not in trace.arrays:
        assert quantity == "param.weight" and step % 2 == 0
        return
    trace.arrays[key] = one_off(trace.arrays[key])
    found = [row for row in judge(CASE, trace, refbp_subject) if row.verdict in DISCREPANCIES and row.mode == LOCAL]
    assert (found[0].step, found[0].layer, found[0].quantity) == (step, "0", quantity)


def test_an_update_whose_state_is_hidden_is_judged_on_the_sums_before_it() -> None:
    """Only the gradients that were applied count, not those on the way to them."""
    profile = Profile(quantities=("output", "grad_*", "grad.*", "param.*"))
    trace = refbp_subject.run(CASE)
    for key in [key for key in trace if key.quantity.startswith("momentum")]:
        del trace.arrays[key]
    rows = judge(CASE, trace, refbp_subject, profile)
    assert {row.verdict for row in rows} == {PASS}
    assert {row.step for row in rows if row.quantity == "param.weight" and row.mode == LOCAL} == {1, 3}


class Plain:
    """Updates after every step, as an engine does that has never heard of accumulation."""

    name = "plain"

    def run(self, case: Case) -> oracle.Trace:
        return refbp_subject.run(replace(case, update_every=1))


class Claiming(Plain):
    accumulates = True


def test_only_who_says_that_it_accumulates_gets_such_a_case() -> None:
    """Nobody is accused of something that was not there when it was written; who claims it and does not do it is."""
    report = oracle.run(Plain(), cases=[CASE], dtypes=["float64"])
    assert list(report.table.verdict) == [UNSUPPORTED] and "accumulates = True" in report.table.diagnosis[0]
    assert oracle.run(Plain(), cases=[TIED], dtypes=["float64"]).passed
    report = oracle.run(Claiming(), cases=[CASE], dtypes=["float64"])
    assert set(report.cases.verdict) == {WRONG} and not report.passed


def test_a_program_says_in_its_introduction_whether_it_accumulates() -> None:
    """Without it such a case is not sent; of a transposed Linear the class's name is asked for, as of every layer."""
    told = {"protocol": 1, "name": "x"}
    assert "accumulates" in introduction(told).lacks(CASE) and not introduction(told).lacks(TIED)
    assert not introduction({**told, "accumulates": True}).lacks(CASE)
    supports = ["Linear", "Tanh", "MSELoss", "SGD"]
    assert introduction({**told, "supports": supports}).lacks(TIED) == f"x has no {TRANSPOSE}"
    assert not introduction({**told, "supports": [*supports, TRANSPOSE]}).lacks(TIED)
    with pytest.raises(ValueError, match="accumulates is true or false, got 1"):
        introduction({**told, "accumulates": 1})


@pytest.mark.parametrize("case", [CASE, TIED], ids=lambda case: case.name)
def test_it_survives_every_form(case: Case) -> None:
    """As a case file, and as what programs read."""
    assert Case.from_json(case.to_json()).to_json() == case.to_json()
    back = case_of(description(case), named_arrays(case))
    assert back.update_every == case.update_every and description(back) == description(case)
    old = {name: value for name, value in description(case).items() if name != "update_every"}
    assert case_of(old, named_arrays(case)).update_every == 1


def test_a_long_run_is_divided_between_updates(monkeypatch: pytest.MonkeyPatch) -> None:
    """No stretch ends with gradients that the next one would have to go on from."""
    for module in (long_runs, work):
        monkeypatch.setattr(module, "STRETCH", 10)
    case = with_statistics(steps=17, update_every=7)
    rows, _ = judged_case(case, refbp_subject, refbp_subject)
    assert {row.verdict for row in rows} <= {PASS} and max(row.step for row in rows) >= 14


@pytest.mark.parametrize(
    "case, said",
    [
        (replace(CASE, update_every=0), "update_every expects a number from 1, got 0"),
        (replace(next(suite.matching("optimizer/SGD*")), update_every=2), "update_every needs a network"),
        (
            replace(TIED, layers=(*TIED.layers[:2], Spec(TRANSPOSE, name="decoder", same_as="code"))),
            "layer decoder is the LinearTranspose of 'code', which is not a Linear",
        ),
    ],
)
def test_what_cannot_be_ends_in_a_sentence(case: Case, said: str) -> None:
    with pytest.raises(CaseError, match=said):
        check(case)


def test_the_shared_weight_gets_both_shares() -> None:
    """By hand: the encoder's own gradient and the transposed one of the decoder."""
    trace = refbp_subject.run(TIED)
    x, h = TIED.inputs[0], trace.arrays[Key(0, "code", "output")]
    delta, into = trace.arrays[Key(0, "encoder", "grad_output")], trace.arrays[Key(0, "decoder", "grad_output")]
    np.testing.assert_allclose(trace.arrays[Key(0, "encoder", "grad.weight")], delta.T @ x + h.T @ into, rtol=1e-12)
    np.testing.assert_allclose(trace.arrays[Key(0, "decoder", "output")], h @ TIED.params["encoder.weight"], rtol=1e-12)
