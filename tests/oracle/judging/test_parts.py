"""A traced step taken apart: each piece gets what the subject itself had there, and is judged only where the trace shows that."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from oracle import suite
from oracle.case.case import Case, Spec
from oracle.harness.work import judged_case
from oracle.judging.case_rows import judge
from oracle.judging.parts import local_parts, state_before
from oracle.judging.profile import Profile
from oracle.judging.rows import DISCREPANCIES, END_TO_END, LOCAL, MISSING, PASS, UNDECIDED, WRONG, Row
from oracle.subjects import refbp as refbp_subject
from oracle.subjects import torch as torch_subject
from oracle.suite.build import integers, layer, network_case
from oracle.trace import Key, Trace

from ..tampered import Change, altered, at_fault, one_off, rows_of, tiny

PARAMETERS = {("first", "weight"), ("first", "bias"), ("last", "weight"), ("last", "bias")}
WITHOUT_STATE = Profile(quantities=("output", "grad_*", "grad.*", "param.*"))


def showing(case: Case, profile: Profile) -> Trace:
    """refbp's trace of the case, with what the profile says can be shown, and what went into the layers."""
    trace = refbp_subject.run(case)
    for key in list(trace):
        if not profile.shows(key.quantity) and key.quantity != "input":
            del trace.arrays[key]
    return trace


def updates(rows: list[Row], mode: str = LOCAL) -> list[Row]:
    return [row for row in rows if row.mode == mode and row.quantity.startswith("param.")]


BIASES, WEIGHTS = ({"params": [f"{name}.{kind}" for name in ("first", "last")]} for kind in ("bias", "weight"))


@pytest.mark.parametrize(
    "optimizer",
    [
        Spec("SGD", {"lr": 0.1, "momentum": 0.9}),
        Spec("SGD", {"lr": 0.1}, groups=({**WEIGHTS, "momentum": 0.9}, BIASES)),
        Spec("RMSprop", {"lr": 0.1}),
        Spec("SGD", {"lr": 0.1}),
    ],
    ids=["momentum", "momentum of a group", "RMSprop", "nothing to hide"],
)
def test_an_update_whose_state_is_hidden_is_judged_on_all_steps_up_to_it(optimizer: Spec) -> None:
    """The parameters of a step follow from all gradients so far. Right ones pass, and an altered one is wrong at its step.

    End to end the parameters of a step are not judged if the state before it is unknown.
    """
    case = replace(tiny(steps=3), optimizer=optimizer)
    trace = showing(case, WITHOUT_STATE)
    rows = judge(case, trace, refbp_subject, WITHOUT_STATE)
    assert {row.verdict for row in rows} == {PASS}
    seen = {(row.step, row.layer, row.quantity) for row in updates(rows)}
    assert seen == {(step, name, f"param.{kind}") for step in range(3) for name, kind in PARAMETERS}
    hides = optimizer.type != "SGD" or "momentum" in str(optimizer)
    assert {row.step for row in updates(rows, END_TO_END)} == ({0} if hides else {0, 1, 2})
    key = Key(2, "first", "param.weight")
    trace.arrays[key] = one_off(trace.arrays[key])
    (found,) = [row for row in judge(case, trace, refbp_subject, WITHOUT_STATE) if row.verdict in DISCREPANCIES][:1]
    assert (found.step, found.layer, found.quantity, found.mode) == (2, "first", "param.weight", LOCAL)


@pytest.mark.parametrize(
    "type, options, state",
    [
        ("SGD", {"momentum": 0.9}, "momentum"),
        ("Adam", {}, "exp_avg"),
        ("Adam", {}, "step"),
        ("RMSprop", {}, "square_avg"),
    ],
)
def test_an_update_whose_state_is_shown_is_judged_from_it(type: str, options: dict[str, Any], state: str) -> None:
    """In both modes and every step. If the shown state is not the one that was used, it is wrong, and so is the next update."""
    case = replace(tiny(steps=3), optimizer=Spec(type, {"lr": 0.1, **options}))
    trace = refbp_subject.run(case)
    rows = judge(case, trace, torch_subject)
    assert {row.verdict for row in rows} == {PASS}
    for mode in (LOCAL, END_TO_END):
        assert {row.step for row in updates(rows, mode)} == {0, 1, 2}
    kinds = {"SGD": {"momentum"}, "Adam": {"step", "exp_avg", "exp_avg_sq"}, "RMSprop": {"step", "square_avg"}}
    assert state_before(case, trace, 1).keys() == kinds[type]
    key = Key(1, "first", f"{state}.weight")
    trace.record(*key, 2 * trace.arrays[key])
    assert {row.step for row in judge(case, trace, torch_subject) if row.verdict in DISCREPANCIES} == {1, 2}


@pytest.mark.parametrize("reference", [refbp_subject, torch_subject])
@pytest.mark.parametrize("hidden", ["exp_avg", "exp_avg_sq", "step"])
def test_an_update_whose_state_is_shown_in_part_is_judged_as_if_it_were_hidden(hidden: str, reference: Any) -> None:
    """Nothing can be computed from a part of the state. A correct subject is not accused, and a wrong one is still found."""
    case = replace(tiny(steps=3), optimizer=Spec("Adam", {"lr": 0.1}))
    kinds = {"exp_avg", "exp_avg_sq", "step"} - {hidden}
    profile = Profile(quantities=(*WITHOUT_STATE.quantities, *(f"{kind}.*" for kind in kinds)))
    trace = showing(case, profile)
    rows = judge(case, trace, reference, profile)
    assert {row.verdict for row in rows} == {PASS}
    assert {row.step for row in updates(rows)} == {0, 1, 2} and {row.step for row in updates(rows, END_TO_END)} == {0}
    trace.record(2, "first", "param.bias", 1.001 * trace.arrays[Key(2, "first", "param.bias")])
    assert ("first", "param.bias", WRONG) in at_fault(judge(case, trace, reference, profile))


@pytest.mark.parametrize("reference", [refbp_subject, torch_subject])
@pytest.mark.parametrize("change", [lambda own: own.ravel(), lambda own: own.astype(np.int64), None])
def test_a_state_that_is_of_no_use_is_at_fault_where_it_is_shown_and_no_later(
    change: Change | None, reference: Any
) -> None:
    """The state of one parameter is flattened, made integers or left out. The next update is judged on the updates before it."""
    case = replace(tiny(steps=2), optimizer=Spec("RMSprop", {"lr": 0.1}))
    rows = judge(case, altered(case, {("last", "square_avg.weight"): change}), reference)
    assert {(row.step, row.layer, row.quantity) for row in rows if row.verdict != PASS} == {
        (0, "last", "square_avg.weight")
    }
    assert {row.step for row in updates(rows)} == {0, 1}


def test_a_state_that_a_case_gives_is_what_its_first_step_begins_with() -> None:
    """A long run continues with such a state. Without it each parameter would be wrong."""
    momentum = {name: np.full_like(value, 0.5) for name, value in tiny().params.items()}
    case = replace(tiny(steps=2), optimizer_state={"momentum": momentum})
    rows = judge(case, refbp_subject.run(case), torch_subject)
    assert {row.verdict for row in rows} == {PASS}
    for mode in (LOCAL, END_TO_END):
        assert {row.step for row in updates(rows, mode)} == {0, 1}
    without = judge(case, refbp_subject.run(tiny(steps=2)), torch_subject)
    for mode in (LOCAL, END_TO_END):
        wrong = {(row.step, row.layer, row.quantity) for row in updates(without, mode) if row.verdict == WRONG}
        assert wrong == {(0, name, f"param.{kind}") for name, kind in PARAMETERS}


def test_an_update_alone_is_a_whole_step() -> None:
    """A case with only an optimizer has a row for each parameter, in both modes and under its own name."""
    case = next(case for case in suite.matching("optimizer/*") if case.steps > 1)
    rows = judge(case, refbp_subject.run(case), torch_subject)
    for mode in (LOCAL, END_TO_END):
        assert {tuple(name.rpartition(".")[::2]) for name in case.params} == {
            (row.layer, row.quantity.removeprefix("param.")) for row in updates(rows, mode)
        }
        assert {row.step for row in updates(rows, mode)} == set(range(case.steps))


def test_a_parameter_whose_gradient_is_hidden_stays_out_of_the_update() -> None:
    """The other parameters of its group are judged as usual."""
    case = replace(tiny(), optimizer=Spec("SGD", {"lr": 0.1}, groups=({**WEIGHTS, "weight_decay": 0.5}, BIASES)))
    trace = refbp_subject.run(case)
    del trace.arrays[Key(0, "last", "grad.weight")]
    shown = {(row.layer, row.quantity): row.verdict for row in updates(judge(case, trace, refbp_subject))}
    assert shown == {(name, f"param.{kind}"): PASS for name, kind in PARAMETERS - {("last", "weight")}}
    trace.arrays[Key(0, "first", "param.weight")] = one_off(trace.arrays[Key(0, "first", "param.weight")])
    assert ("first", "param.weight", WRONG) in at_fault(judge(case, trace, refbp_subject))


WITHOUT_PARAMETERS = Profile(quantities=("output", "grad_*", "grad.*"))


@pytest.mark.parametrize("optimizer, steps", [(Spec("SGD", {"lr": 0.1}), {0}), (None, {0, 1})], ids=["trained", "kept"])
def test_a_layer_is_judged_where_the_parameters_before_it_are_known(optimizer: Spec | None, steps: set[int]) -> None:
    """Hidden parameters are the case's until an update. After that the layer is judged end to end only. A layer without
    parameters is judged as usual."""
    case = replace(tiny(steps=2), optimizer=optimizer)
    rows = judge(case, showing(case, WITHOUT_PARAMETERS), refbp_subject, WITHOUT_PARAMETERS)
    assert {row.verdict for row in rows} == {PASS}
    seen = {
        (mode, name): {row.step for row in rows if row.mode == mode and row.quantity == name}
        for mode in (LOCAL, END_TO_END)
        for name in ("grad.weight", "output")
    }
    assert seen[LOCAL, "grad.weight"] == steps
    assert all(seen[place] == {0, 1} for place in seen if place != (LOCAL, "grad.weight"))


@pytest.mark.parametrize("reference", [refbp_subject, torch_subject])
@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
def test_steps_whose_beginning_is_hidden_go_on_from_the_last_that_is_known(reference: Any, optimizer: str) -> None:
    """They start from the case's parameters, or from the last shown ones. Each later step is judged, and errors are found."""
    case = replace(tiny(steps=4), optimizer=Spec(optimizer, {"lr": 0.1}))
    trace = showing(case, WITHOUT_PARAMETERS)
    full = refbp_subject.run(case)
    for shown in (False, True):
        if shown:
            for key in full:
                if key.step == 1:
                    trace.record(*key, full.arrays[key])
        honest = judge(case, trace, reference, WITHOUT_PARAMETERS)
        assert {row.verdict for row in honest} == {PASS}
        assert {row.step for row in honest if row.quantity == "grad.weight"} == {0, 1, 2, 3}
        local = {row.step for row in honest if row.quantity == "grad.weight" and row.mode == LOCAL}
        assert local == ({0, 2} if shown else {0})
        for step in range(1, 4):
            key = Key(step, "first", "grad.weight")
            kept = trace.arrays[key]
            trace.arrays[key] = one_off(kept)
            found = [row for row in judge(case, trace, reference, WITHOUT_PARAMETERS) if row.verdict in DISCREPANCIES]
            assert found[0].step == step and (found[0].layer, found[0].quantity) == ("first", "grad.weight")
            trace.arrays[key] = kept


def test_parameters_that_came_of_a_wrong_update_are_found_though_they_are_hidden() -> None:
    """A subject uses a tenth of the rate and shows no parameter. Every step after the first is wrong."""
    case = tiny(steps=3)
    slow = replace(case, optimizer=Spec("SGD", {"lr": 0.01, "momentum": 0.9}))
    rows = judge(case, showing(slow, WITHOUT_PARAMETERS), refbp_subject, WITHOUT_PARAMETERS)
    assert {row.step for row in rows if row.verdict == WRONG} == {1, 2}


@pytest.mark.parametrize("hidden", [None, (3, 4)])
def test_a_parameter_that_is_not_shown_in_its_form_is_gone_on_with(hidden: tuple[int, ...] | None) -> None:
    """Its own row says what is wrong with it. The steps after it are judged on the reference's parameter, like all others."""
    case = tiny(steps=3)
    trace = refbp_subject.run(case)
    key = Key(0, "first", "param.weight")
    kept = trace.arrays.pop(key)
    if hidden is not None:
        trace.record(*key, kept.reshape(hidden))
    rows = judge(case, trace, torch_subject)
    assert {(row.step, row.layer, row.quantity) for row in rows if row.verdict != PASS} == {key}
    for name in ("output", "grad.weight", "param.weight", "momentum.weight"):
        assert {row.step for row in rows if (row.layer, row.quantity) == ("first", name)} == {0, 1, 2}


def test_parameters_that_nothing_moves_are_those_of_the_case() -> None:
    """The trace cannot change them: a subject that trains without an optimizer is wrong in the next step."""
    case = replace(tiny(steps=2), optimizer=None)
    trace = refbp_subject.run(case)
    trace.record(0, "first", "param.weight", np.zeros((3, 4)))
    rows = judge(case, trace, refbp_subject)
    assert {row.verdict for row in rows} == {PASS} and {row.step for row in rows if row.quantity == "grad.weight"} == {
        0,
        1,
    }
    trained = refbp_subject.run(tiny(steps=2))
    rows = judge(case, trained, refbp_subject)
    assert {row.step for row in rows if row.verdict == WRONG} == {1}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("hidden", ["buffer.", "buffer.num_batches_tracked"])
def test_hidden_buffers_hide_nothing_else(training: bool, hidden: str) -> None:
    """In training nothing else depends on them, and in evaluation they do not change. So each layer is judged in every step.

    A shown buffer may depend on a hidden one of the same layer. The layer is then judged end to end.
    """
    layers = [layer("Linear", 3, 4, name="first"), layer("BatchNorm1d", 4, momentum=None, name="norm")]
    case = network_case(
        "hidden/norm", "buffers", layers, (6, 3), optimizer=Spec("SGD", {"lr": 0.1}), steps=3, training=training
    )
    trace = refbp_subject.run(case)
    shown = tuple({key.quantity for key in trace if not key.quantity.startswith(hidden)})
    for key in [key for key in trace if key.quantity.startswith(hidden)]:
        del trace.arrays[key]
    profile = Profile(quantities=shown)
    rows = judge(case, trace, torch_subject, profile)
    assert {row.verdict for row in rows} == {PASS}
    outputs = {(row.step, row.mode) for row in rows if (row.layer, row.quantity) == ("norm", "output")}
    alone = {0} if training and hidden != "buffer." else {0, 1, 2}
    assert outputs == {(step, LOCAL) for step in alone} | {(step, END_TO_END) for step in range(3)}
    trace.arrays[Key(2, "first", "grad.weight")] = one_off(trace.arrays[Key(2, "first", "grad.weight")])
    assert at_fault(judge(case, trace, torch_subject, profile))


def test_what_cannot_be_gone_on_with_is_said_to_be_unjudged() -> None:
    """A hidden parameter cannot be followed through new dropout masks in each step. Each step has an undecided row."""
    layers = [layer("Linear", 3, 4, name="first"), layer("Dropout", name="drop")]
    case = network_case("hidden/drop", "masks", layers, (6, 3), optimizer=Spec("SGD", {"lr": 0.1}), steps=3)
    trace = refbp_subject.run(case)
    for key in [key for key in trace if key.quantity.startswith("param.")]:
        del trace.arrays[key]
    profile = Profile(quantities=("output", "grad*"))
    rows = judge(case, trace, torch_subject, profile)
    unjudged = [row for row in rows if row.verdict == UNDECIDED]
    assert [(row.step, row.layer, row.quantity) for row in unjudged] == [(1, "", ""), (2, "", "")]
    assert all(row.diagnosis.startswith("not judged end to end: the trace does not show") for row in unjudged)
    (quiet,) = {row.diagnosis for row in judge(tiny(), Trace(), torch_subject, Profile(quantities=("mask",)))}
    assert quiet == "not judged end to end: the profile declares none of its quantities"
    (told,) = judge(replace(case, steps=1, optimizer=None), Trace(), torch_subject, Profile(quantities=("mask",)))
    assert told.diagnosis == quiet  # an upstream gradient is the case's, and no merit of the trace


def test_a_subject_without_an_optimizer_ends_after_the_first_step() -> None:
    """It shows nothing of the later steps, which are undecided. If it declares parameters, all quantities are missing."""
    case = tiny(steps=3)
    trace = showing(case, WITHOUT_PARAMETERS)
    for key in [key for key in trace if key.step > 0]:
        del trace.arrays[key]
    rows = judge(case, trace, torch_subject, WITHOUT_PARAMETERS)
    assert [(row.step, row.layer, row.verdict) for row in rows if row.verdict != PASS] == [
        (1, "", UNDECIDED),
        (2, "", UNDECIDED),
    ]
    assert rows[-1].diagnosis.endswith(
        "it shows the first step only, and its profile declares no state that a step passes to the next"
    )
    declared = judge(case, trace, torch_subject, WITHOUT_STATE)
    assert {row.verdict for row in declared if row.step > 0} == {MISSING}
    trace.record(2, "first", "output", np.zeros((5, 4)))
    assert {row.verdict for row in judge(case, trace, torch_subject, WITHOUT_PARAMETERS) if row.step == 2} == {
        MISSING,
        WRONG,
    }


def test_what_neighbours_tell_is_no_row_of_its_own() -> None:
    """An upstream gradient that a subject does not show is its neighbour's result, and is counted there once."""
    case = tiny()
    trace = showing(case, Profile(quantities=("output", "grad_input", "grad.*", "param.*", "momentum.*")))
    rows = judge(case, trace, torch_subject)
    assert {row.verdict for row in rows} == {PASS}
    assert not [row for row in rows if row.quantity == "grad_output"]


@pytest.mark.parametrize("training", [True, False])
def test_each_step_has_its_own_batch_and_the_buffers_that_the_one_before_it_left(training: bool) -> None:
    """Two batches go through a BatchNorm. The running statistics of the second begin where those of the first end."""
    rng = np.random.default_rng(3)
    layers = [layer("Linear", 3, 4, name="first"), layer("BatchNorm1d", 4, name="norm")]
    inputs, upstream = (tuple(rng.standard_normal((2, 6, size))) for size in (3, 4))
    case = network_case(
        "batches/norm",
        "two batches",
        layers,
        inputs=inputs,
        grad_outputs=upstream,
        optimizer=Spec("SGD", {"lr": 0.1, "momentum": 0.9}),
        steps=2,
        training=training,
    )
    trace = refbp_subject.run(case)
    rows = judge(case, trace, torch_subject)
    assert {row.verdict for row in rows} == {PASS}
    for mode in (LOCAL, END_TO_END):
        found = {row.step for row in rows if row.mode == mode and row.quantity == "buffer.running_mean"}
        assert found == {0, 1}


def test_integers_stand_for_the_numbers_that_they_are() -> None:
    """The fault lies with the layer that handed them over. The layer that received them is judged on their values."""
    layers = [layer("Linear", 3, 4, name="first"), layer("Tanh", name="act")]
    case = network_case("integers/net", "small integers", layers, (5, 3), draw=integers)
    rows = rows_of(case, {("first", "input"): lambda x: x.astype(np.int64)})
    assert at_fault(rows) == {("first", "input", WRONG)}
    assert [row.verdict for row in rows if (row.layer, row.quantity, row.mode) == ("first", "output", LOCAL)] == [PASS]


def test_pieces_keep_what_the_case_says_of_its_data() -> None:
    """The verdict of an excess within the bound depends on whether the data is random. A loss may have an upstream gradient."""
    case = replace(tiny(), structured=True)
    parts = list(local_parts(case, refbp_subject.run(case), 0))
    assert len(parts) == 5 and all(part.case.structured for part in parts)
    upstream = np.random.default_rng(4).standard_normal((5, 2))
    case = replace(tiny(), loss=Spec("MSELoss", {"reduction": "none"}), grad_outputs=(upstream,))
    rows = judge(case, refbp_subject.run(case), torch_subject)
    assert {row.verdict for row in rows} == {PASS}
    assert ("loss", "grad_input", LOCAL) in {(row.layer, row.quantity, row.mode) for row in rows}


def test_a_layer_that_stands_twice_is_not_judged_on_one_of_its_places() -> None:
    """The gradients of its parameters are sums over both places. They are right end to end, and are judged only there."""
    case = suite.named("network/shared_layer")
    trace = refbp_subject.run(case)
    rows = judge(case, trace, torch_subject)
    assert {row.verdict for row in rows} == {PASS}
    shared = {row.mode for row in rows if row.layer == "shared" and row.quantity.startswith("grad.")}
    assert shared == {END_TO_END}
    assert {(row.layer, row.quantity) for row in rows if row.mode == LOCAL} >= {
        ("shared", "output"),
        ("again", "output"),
        ("again", "grad_input"),
    }
    trace.arrays[Key(0, "shared", "grad.weight")] = one_off(trace.arrays[Key(0, "shared", "grad.weight")])
    assert ("shared", "grad.weight", WRONG) in at_fault(judge(case, trace, torch_subject), END_TO_END)


@pytest.mark.parametrize("subject, reference", [(refbp_subject, torch_subject), (torch_subject, refbp_subject)])
def test_masks_that_a_subject_drew_are_taken_over_in_every_step(subject: Any, reference: Any) -> None:
    """They are used locally and through the whole network: with other masks the network would be another function."""
    layers = [layer("Linear", 8, 40, name="first"), layer("Dropout", 0.5, name="drop"), layer("Linear", 40, 2)]
    case = network_case("masks/drawn", "a dropout between two layers", layers, (6, 8), steps=2)
    trace = subject.run(case)
    drawn = [trace.get(step, "drop", "mask") for step in range(2)]
    own = reference.run(case).get(0, "drop", "mask")
    assert drawn[0] is not None and not np.array_equal(drawn[0], own)
    rows = judge(case, trace, reference)
    assert {row.verdict for row in rows} == {PASS}
    assert {row.step for row in rows if row.mode == END_TO_END and row.layer == "2"} == {0, 1}


COUNTS = [-1.0, 0.5, float("nan"), float("inf"), 1e30, [1.0], True]


@pytest.mark.parametrize("count", COUNTS, ids=str)
@pytest.mark.parametrize("optimizer", ["Adam", "RMSprop"])
def test_what_cannot_be_a_number_of_steps_is_wrong_where_it_is_shown(count: Any, optimizer: str) -> None:
    """It is not used as an input. Nothing raises, and the next step is judged on all gradients before it."""
    case = replace(tiny(steps=2), optimizer=Spec(optimizer, {"lr": 0.1}))
    trace = refbp_subject.run(case)
    key = Key(0, "first", "step.weight")
    trace.record(*key, np.array(count))
    rows = judge(case, trace, torch_subject)
    if count is not True:  # which is equal to 1
        assert {(row.step, row.layer, row.quantity) for row in rows if row.verdict != PASS} == {key}
    assert {row.step for row in updates(rows) if row.layer == "first"} == {0, 1}


@pytest.mark.parametrize("count", COUNTS, ids=str)
def test_what_cannot_be_a_number_of_batches_is_wrong_where_it_is_shown(count: Any) -> None:
    """A cumulative average divides by this number."""
    layers = [layer("BatchNorm1d", 4, momentum=None, name="norm")]
    case = network_case("counted/norm", "batches", layers, (6, 4), steps=2)
    trace = refbp_subject.run(case)
    key = Key(0, "norm", "buffer.num_batches_tracked")
    trace.record(*key, np.array(count))
    rows, _ = judged_case(case, Shown(trace), torch_subject)
    if count is not True:
        assert {(row.step, row.layer, row.quantity) for row in rows if row.verdict != PASS} == {key}
    assert {row.step for row in rows if row.quantity == "buffer.running_mean"} == {0, 1}
    trace.record(*key, np.array(1.0))
    assert {row.verdict for row in judge(case, trace, torch_subject)} == {PASS}


@pytest.mark.parametrize("training", [True, False])
def test_a_count_of_no_batches_and_a_wrong_variance_have_a_verdict(training: bool) -> None:
    """The convention of a biased variance, which is tried as a cause, divides by the count."""
    layers = [layer("BatchNorm1d", 4, momentum=None, name="norm")]
    case = network_case("counted/norm", "batches", layers, (6, 4), steps=2, training=training)
    trace = refbp_subject.run(case)
    trace.record(0, "norm", "buffer.num_batches_tracked", np.array(-1))
    for step in range(2):
        key = Key(step, "norm", "buffer.running_var")
        trace.arrays[key] = trace.arrays[key] * 2
    rows, _ = judged_case(case, Shown(trace), torch_subject)
    assert ("norm", "buffer.running_var", WRONG) in at_fault(rows)


class Shown:
    """A subject with a trace that is already there."""

    name = "shown"

    def __init__(self, trace: Trace) -> None:
        self.trace = trace

    def run(self, case: Case) -> Trace:
        return self.trace


@pytest.mark.parametrize("made", ["SGD", "Adam", "AdamW", "RMSprop"])
def test_a_parameter_without_a_gradient_is_left_alone(made: str) -> None:
    """As in torch it gets no decay and no momentum, and its steps are not counted. A gradient of zeros is different."""
    rng = np.random.default_rng(0)
    params = {name: rng.standard_normal((3, 4)) for name in ("0.weight", "1.weight")}
    optimizer = Spec(made, {"lr": 0.1, "weight_decay": 0.1})
    late = Case(
        "late/step", params=params, grads=({"0.weight": params["1.weight"]}, params), optimizer=optimizer, steps=3
    )
    zeros = replace(late, grads=({"0.weight": params["1.weight"], "1.weight": np.zeros((3, 4))}, params))
    trace = refbp_subject.run(late)
    assert np.array_equal(trace.arrays[Key(0, "1", "param.weight")], params["1.weight"])
    assert {row.verdict for row in judge(late, trace, torch_subject)} == {PASS}
    assert any(row.verdict in DISCREPANCIES for row in judge(late, refbp_subject.run(zeros), torch_subject))
