"""`judge`: a trace that was tampered with is found out, at the place where it was; honest choices at kinks are not accused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import oracle
from oracle import suite
from oracle.blame.blame import blame
from oracle.case.case import Case, Spec
from oracle.exchange.received import entry_name, received
from oracle.execution.predict import predict
from oracle.harness.judge import CaseStep
from oracle.judging.case_rows import excused, is_right, judge
from oracle.judging.comparison import Comparison, ReferenceFailed
from oracle.judging.conventions import CONVENTIONS
from oracle.judging.figures import Expected
from oracle.judging.profile import Profile
from oracle.judging.rows import (
    CONVENTION,
    DISCREPANCIES,
    END_TO_END,
    LOCAL,
    LOOSE,
    MISSING,
    PASS,
    UNDECIDED,
    WRONG,
    Row,
)
from oracle.judging.verdict import compare
from oracle.running_error import ErrorModel
from oracle.selftest.plant import patched
from oracle.subjects import refbp as refbp_subject
from oracle.subjects import torch as torch_subject
from oracle.suite.build import layer, network_case
from oracle.suite.special import SMALL_CNN
from oracle.trace import Key, Trace

from ..tampered import Array, Change, altered, at_fault, one_off, rows_of, tiny


class Shown:
    """A subject that shows a trace made beforehand for each dtype."""

    name = "shown"

    def __init__(self, make: Callable[[Case], Trace]) -> None:
        self.make = make

    def run(self, case: Case) -> Trace:
        return self.make(case)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_an_honest_trace_passes_in_every_row(dtype: str) -> None:
    """Nothing is found where there is nothing: the twin of all the tests below."""
    rows = rows_of(tiny(steps=2).astype(dtype), {})
    assert {row.verdict for row in rows} == {PASS}
    assert {row.mode for row in rows} == {LOCAL, END_TO_END} and {row.step for row in rows} == {0, 1}


def test_every_promised_quantity_is_judged() -> None:
    """Output, upstream gradient, gradients, parameters and momentum: locally and as a whole step."""
    rows = rows_of(tiny(), {})
    for mode in (LOCAL, END_TO_END):
        seen = {(row.layer, row.quantity) for row in rows if row.mode == mode}
        for name in ("first", "last"):
            for quantity in ("output", "grad_output", "grad_input", "grad.weight", "grad.bias", "param.weight"):
                assert (name, quantity) in seen, (mode, name, quantity)
            assert (name, "momentum.bias") in seen
        assert {("loss", "output"), ("loss", "grad_input"), ("act", "grad_input")} <= seen


@pytest.mark.parametrize(
    "name, quantity",
    [
        ("first", "grad.weight"),
        ("last", "grad.bias"),
        ("first", "param.weight"),
        ("last", "momentum.weight"),
        ("first", "grad_input"),
        ("loss", "output"),
    ],
)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_an_altered_result_is_wrong_where_it_was_altered(name: str, quantity: str, dtype: str) -> None:
    """One element off by a half: wrong locally and end to end, and nothing computed from it in the trace is accused."""
    rows = rows_of(tiny().astype(dtype), {(name, quantity): one_off})
    assert (name, quantity, WRONG) in at_fault(rows)
    assert (name, quantity, WRONG) in at_fault(rows, END_TO_END)
    # What follows was computed from the honest value; the update sees the altered gradient as its own input.
    follows = {"grad.weight": {"momentum.weight"}, "grad.bias": {"momentum.bias"}, "momentum.weight": set()}
    others = {found for found in at_fault(rows) if found[:2] != (name, quantity)}
    assert {found[0] for found in others} <= {name}
    assert {found[1] for found in others} <= follows.get(quantity, set()) | {
        quantity.replace("grad.", "param."),
        quantity.replace("momentum.", "param."),
    }


@pytest.mark.parametrize("name, quantity", [("first", "grad.weight"), ("last", "param.weight"), ("act", "grad_input")])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_thousandth_on_one_element_is_wrong(name: str, quantity: str, dtype: str) -> None:
    """Small errors are no lack of precision where all other elements are right."""

    def slightly(array: Array) -> Array:
        result = array.copy()
        result.flat[0] *= 1.001
        return result

    rows = rows_of(tiny().astype(dtype), {(name, quantity): slightly})
    assert (name, quantity, WRONG) in at_fault(rows)


def test_an_altered_output_is_wrong_at_its_layer_and_breaks_the_wire_behind_it() -> None:
    """The layer's own output does not follow from its input; the next layer was given something else."""
    rows = rows_of(tiny(), {("first", "output"): one_off})
    assert at_fault(rows) == {("first", "output", WRONG), ("act", "input", WRONG)}


@pytest.mark.parametrize("name", ["first", "act", "last"])
def test_an_upstream_gradient_that_the_successor_did_not_hand_back_is_wrong(name: str) -> None:
    """The wiring is judged to the bit, so that an error between two layers has a place."""
    rows = rows_of(tiny(), {(name, "grad_output"): lambda g: np.nextafter(g, np.inf)})
    found = {row.quantity: row for row in rows if row.layer == name and row.mode == LOCAL}
    assert found["grad_output"].verdict == WRONG
    assert found["grad_output"].n_outside == found["grad_output"].n


def test_a_consistent_alteration_of_the_wiring_blames_the_wire_alone() -> None:
    """A gradient doubled between two layers: both layers are honest about what they were given."""
    case = network_case("tiny/chain", "no parameters", [layer("Tanh", name="a"), layer("Sigmoid", name="b")], (4, 3))
    honest = refbp_subject.run(case)
    doubled: dict[tuple[str, str], Change | None] = {
        ("a", "grad_output"): lambda g: 2 * g,
        ("a", "grad_input"): lambda g: 2 * g,
    }
    rows = rows_of(case, doubled)
    assert honest.get(0, "a", "grad_output") is not None
    assert at_fault(rows) == {("a", "grad_output", WRONG)}
    assert at_fault(rows, END_TO_END) == {("a", "grad_output", WRONG), ("a", "grad_input", WRONG)}


@pytest.mark.parametrize(
    "name, quantity", [("first", "output"), ("last", "grad.bias"), ("first", "param.weight"), ("loss", "grad_input")]
)
def test_a_missing_quantity_is_missing(name: str, quantity: str) -> None:
    """What is not delivered is not passed over in silence."""
    rows = rows_of(tiny(), {(name, quantity): None})
    assert (name, quantity, MISSING) in at_fault(rows) | at_fault(rows, END_TO_END)
    assert WRONG not in {row.verdict for row in rows}


def test_a_layer_that_shows_nothing_is_missing_end_to_end() -> None:
    """Without its input a layer cannot be judged locally; the whole step still says that it is lacking."""
    case = tiny()
    hidden = {("act", quantity): None for quantity in ("input", "output", "grad_output", "grad_input")}
    rows = judge(case, altered(case, dict(hidden)), refbp_subject)
    assert ("act", "output", MISSING) in at_fault(rows, END_TO_END)
    assert ("act", "grad_input", MISSING) in at_fault(rows, END_TO_END)


def test_inputs_that_are_not_shown_are_what_the_layer_before_put_out() -> None:
    """A first layer that was secretly given another input is at fault by what the case gave it; nobody else is."""
    case = tiny()
    trace = refbp_subject.run(Case(**{**vars(case), "inputs": (case.inputs[0] + 0.5,)}))
    for key in list(trace):
        if key.quantity in ("input", "grad_output"):
            del trace.arrays[key]
    rows = judge(case, trace, refbp_subject)
    assert at_fault(rows) == {("first", "output", WRONG), ("first", "grad.weight", WRONG)}
    report = oracle.run(Shown(lambda _: trace), "refbp", [case], ("float64",))
    assert not report.passed
    assert (report.blame[0].layer, report.blame[0].quantity) == ("first", "output")


def test_a_trace_of_final_gradients_is_judged_end_to_end() -> None:
    """An implementation that declares to show no more is missed nothing, and is still found out."""
    case, profile = tiny(), Profile(quantities=("grad.*", "param.*"))
    trace = refbp_subject.run(case)
    for key in list(trace):
        if not profile.shows(key.quantity):
            del trace.arrays[key]
    rows = judge(case, trace, refbp_subject, profile)
    assert {row.verdict for row in rows} == {PASS}
    shown = {f"{kind}.{name}" for kind in ("grad", "param") for name in ("weight", "bias")} | {"grad.target"}
    assert {row.quantity for row in rows if row.mode == END_TO_END} == shown
    trace.arrays[Key(0, "first", "grad.weight")] = one_off(trace.arrays[Key(0, "first", "grad.weight")])
    assert ("first", "grad.weight", WRONG) in at_fault(judge(case, trace, refbp_subject, profile), END_TO_END)


def test_an_input_that_the_case_did_not_give_is_a_wrong_wire() -> None:
    """Where the trace does show it, the same is found locally."""
    case = tiny()
    trace = refbp_subject.run(Case(**{**vars(case), "inputs": (case.inputs[0] + 0.5,)}))
    rows = judge(case, trace, refbp_subject)
    assert at_fault(rows) == {("first", "input", WRONG)}


def test_a_later_step_is_judged_on_the_parameters_it_started_from() -> None:
    """An error in step 0's update is not accused once more in step 1."""
    case = tiny(steps=2)
    rows = rows_of(case, {("first", "grad.weight"): one_off}, step=1)
    assert {row.step for row in rows if row.verdict in DISCREPANCIES} == {1}


def test_a_quantity_of_another_shape_is_wrong_and_nothing_raises() -> None:
    """Gradients that are transposed end in rows, not in a traceback."""
    rows = rows_of(tiny(), {("first", "grad.weight"): np.transpose})
    (found,) = [row for row in rows if row.mode == LOCAL and (row.layer, row.quantity) == ("first", "grad.weight")]
    assert found.verdict == WRONG and "shape (3, 4), expected (4, 3)" in found.diagnosis


def misfits(rows: list[Row]) -> list[tuple[str, str, str, str]]:
    found = [row for row in rows if row.diagnosis.startswith("the trace contradicts itself")]
    return [(row.layer, row.layer_type, row.quantity, row.verdict) for row in found]


def test_an_input_of_another_shape_is_wrong_and_nothing_raises() -> None:
    """A layer whose own input and parameters do not fit together is named, with the input."""
    rows = rows_of(tiny(), {("last", "input"): lambda x: x[:, :2]})
    assert misfits(rows) == [("last", "Linear", "input", WRONG)]


def test_rows_come_in_the_order_of_backpropagation_where_the_whole_does_not_fit_together_too() -> None:
    """What the trace shows gives it then: forward through all layers, then back."""
    layers = [layer("Linear", 3, 4, name="first"), layer("Dropout", name="drop"), layer("Linear", 4, 2, name="last")]
    case = network_case("fit/none", "a mask of another shape", layers, (5, 3))
    trace = altered(case, {("drop", "mask"): lambda mask: mask[:, :2]})
    rows = judge(case, trace, refbp_subject)
    assert {row.mode for row in rows} == {LOCAL} and len(rows) > 10
    found = [Key(0, row.layer, row.quantity) for row in rows]
    assert found == [key for key in trace if key in found]


def test_what_the_reference_refuses_of_a_case_that_it_can_run_does_not_fit_together() -> None:
    """The layer whose values it refuses is named; of an update or a whole step it is the layers' fault, and judged there; that
    it was not judged as a whole is said."""

    class Picky:
        name = "picky"

        def __init__(self, refuses: Callable[[Case], bool]) -> None:
            self.refuses = refuses

        def run(self, case: Case) -> Trace:
            if self.refuses(case):
                raise ValueError("not this")
            return refbp_subject.run(case)

    case = tiny(steps=2)
    trace = refbp_subject.run(case)
    rows = judge(case, trace, Picky(lambda part: part.name == "tiny/net/act"))
    assert misfits(rows) == 2 * [("act", "Tanh", "input", WRONG)]
    rows = judge(case, trace, Picky(lambda part: part.name == "tiny/net/update"))
    assert {row.verdict for row in rows} == {PASS} and not [
        row for row in rows if row.mode == LOCAL and "param" in row.quantity
    ]
    rows = judge(case, trace, Picky(lambda part: part.name == "tiny/net" and part.steps == 1))
    assert {(row.mode, row.verdict) for row in rows} == {(LOCAL, PASS), (END_TO_END, UNDECIDED)}
    assert [row.step for row in rows if row.verdict == UNDECIDED] == [0, 1]


def test_an_upstream_gradient_of_another_shape_is_wrong_and_nothing_raises() -> None:
    """A layer whose output and upstream gradient do not fit together is named, with the gradient."""
    rows = rows_of(tiny(), {("act", "grad_output"): lambda grad: grad[:, :2]})
    assert misfits(rows) == [("act", "Tanh", "grad_output", WRONG)]


FORMS: dict[str, Change | None] = {
    "number": lambda a: np.asarray(7.5).astype(a.dtype),
    "one": lambda a: np.ones(1, a.dtype),
    "flat": np.ravel,
    "deeper": lambda a: a[np.newaxis],
    "nothing": lambda a: a[:0] if a.ndim else a[np.newaxis][:0],
    "integers": lambda a: np.zeros(a.shape, np.int64),
    "booleans": lambda a: np.zeros(a.shape, bool),
    "a weight's": lambda a: np.ones((2, 4)),
    "left out": None,
}


@pytest.mark.parametrize("form", FORMS)
def test_whatever_form_a_quantity_has_it_is_found_and_nothing_raises(form: str) -> None:
    """Not by NumPy, not by torch: a gradient that torch would refuse is no reason to call the case unsupported."""
    case = replace(tiny(), steps=2)
    quantities = ("output", "grad_input", "grad_output", "input", "grad.weight", "param.weight", "momentum.weight")
    for quantity in quantities:
        trace = altered(case, {("last", quantity): FORMS[form]})
        rows = judge(case, trace, torch_subject)
        if form != "left out" or "." in quantity:
            assert any(row.verdict in DISCREPANCIES for row in rows), quantity


@pytest.mark.parametrize("quantity", ["step.weight", "square_avg.weight"])
@pytest.mark.parametrize("form", FORMS)
def test_an_optimizers_state_of_any_form_is_found_and_nothing_raises(quantity: str, form: str) -> None:
    """torch refuses to go on from a state in part: that is no reason to call the case unsupported either."""
    case = replace(tiny(), optimizer=Spec("RMSprop", {"lr": 0.1}), steps=2)
    rows = judge(case, altered(case, {("last", quantity): FORMS[form]}), torch_subject)
    assert any(row.verdict in DISCREPANCIES for row in rows)


@pytest.mark.parametrize("form", ["number", "one", "flat", "deeper", "nothing"])
def test_a_mask_of_another_shape_is_wrong_and_nothing_raises(form: str) -> None:
    """Also where whole channels are dropped, whose positions it does not have."""
    case = network_case("drop/2d", "a mask", [layer("Dropout2d", p=0.5)], (3, 4, 2, 2))
    rows = judge(case, altered(case, {("0", "mask"): FORMS[form]}), refbp_subject)
    assert any(row.quantity == "mask" and "expected (3, 4, 2, 2)" in row.diagnosis for row in rows)


@pytest.mark.parametrize("make", [lambda a: a * np.nan, lambda a: a + np.inf], ids=["nan", "inf"])
@pytest.mark.parametrize("quantity", ["output", "grad_input", "grad.weight"])
def test_values_that_are_not_finite_are_wrong(make: Change, quantity: str) -> None:
    """A kernel that writes NaN never slips through a comparison that NaN makes false."""
    rows = rows_of(tiny(), {("last", quantity): make})
    assert ("last", quantity, WRONG) in at_fault(rows)


@pytest.mark.parametrize("name", ["nonfinite/GELU", "nonfinite/ReLU", "nonfinite/Softplus"])
def test_nan_where_infinity_is_due_is_no_convention(name: str) -> None:
    """inf - inf is NaN: so must not become what is expected, or NaN would agree with it."""
    case = suite.named(name)
    rows = judge(case, altered(case, {("0", "output"): lambda a: np.where(np.isinf(a), np.nan, a)}), refbp_subject)
    assert {row.verdict for row in rows if row.quantity == "output"} == {WRONG}


def test_a_reference_that_cannot_run_is_not_the_subjects_fault() -> None:
    """It raises ReferenceFailed, which a run turns into `failed`."""

    class Broken:
        name = "broken"

        def run(self, case: Case) -> Trace:
            raise RuntimeError("out of order")

    case = tiny()
    with pytest.raises(ReferenceFailed, match="broken cannot run it: RuntimeError: out of order"):
        judge(case, refbp_subject.run(case), Broken())
    # Here nobody asks it for the whole step: torch took other branches.
    case = near_kinks(0).astype("float32")
    assert any(row.n_adopted for row in judge(case, torch_subject.run(case), refbp_subject))
    with pytest.raises(ReferenceFailed):
        judge(case, torch_subject.run(case), Broken())
    # And here for nothing else: what went into the loss is not shown.
    case = suite.named("loss/MSELoss,reduction=mean,shape=5x4")
    trace = refbp_subject.run(case)
    del trace.arrays[Key(0, "loss", "input")]
    with pytest.raises(ReferenceFailed):
        judge(case, trace, Broken())


def ones_at_zero(case: Case) -> Trace:
    """ReLU'(0) = 1."""
    trace = refbp_subject.run(case)
    upstream = case.grad_outputs[0]
    trace.arrays[Key(0, "relu", "grad_input")] = np.where(case.inputs[0] >= 0, upstream, 0).astype(case.dtype)
    return trace


def relu_case() -> Case:
    values = np.array([[0.0, 1.0, -2.0, 0.0], [3.0, 0.0, -1.0, 0.5]])
    return network_case("kinks/ReLU", "zeros among the inputs", [layer("ReLU", name="relu")], inputs=(values,))


def last_wins(case: Case) -> Trace:
    """Of equal elements of a pooling window, the last gets the gradient."""
    trace = refbp_subject.run(case)
    x, upstream = case.inputs[0], case.grad_outputs[0]
    grad = np.zeros_like(x)
    for n, c, i, j in np.ndindex(upstream.shape):
        window = x[n, c, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
        last = np.flatnonzero(window == window.max())[-1]
        grad[n, c, 2 * i + last // 2, 2 * j + last % 2] += upstream[n, c, i, j]
    trace.arrays[Key(0, "pool", "grad_input")] = grad
    return trace


def pool_case() -> Case:
    values = np.random.default_rng(2).integers(0, 3, (2, 2, 6, 6)).astype(np.float64)
    return network_case("ties/MaxPool2d", "ties in its windows", [layer("MaxPool2d", 2, name="pool")], inputs=(values,))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("make, case", [(ones_at_zero, relu_case()), (last_wins, pool_case())], ids=["relu", "pool"])
def test_another_one_sided_derivative_is_a_convention(make: Callable[[Case], Trace], case: Case, dtype: str) -> None:
    """Reported, and no discrepancy: neither row nor report fails."""
    name = case.layers[0].name
    honest = refbp_subject.run(case.astype(dtype)).get(0, name, "grad_input")
    other = make(case.astype(dtype)).get(0, name, "grad_input")
    assert honest is not None and other is not None and not np.array_equal(honest, other)
    rows = judge(case.astype(dtype), make(case.astype(dtype)), refbp_subject)
    assert [row.verdict for row in rows if row.mode == LOCAL and row.quantity == "grad_input"] == [CONVENTION]
    report = oracle.run(Shown(make), "refbp", [case], (dtype,))
    assert report.passed, report.blame
    assert list(report.cases["verdict"]) == [CONVENTION]


def test_a_convention_excuses_nothing_away_from_the_kink() -> None:
    """The same choice with one more element wrong is wrong."""
    case = relu_case()

    def also_wrong(case: Case) -> Trace:
        trace = ones_at_zero(case)
        grad = trace.arrays[Key(0, "relu", "grad_input")].copy()
        grad[0, 2] = 0.25  # at -2, where nothing passes
        trace.arrays[Key(0, "relu", "grad_input")] = grad
        return trace

    report = oracle.run(Shown(also_wrong), "refbp", [case], ("float64",))
    assert not report.passed and report.blame[0].quantity == "grad_input"


def test_what_is_outside_the_subdifferential_is_no_convention() -> None:
    """At a kink a slope of 0.5 lies between the two sides, one of 2 and one of -1 do not."""
    case = relu_case()
    zeros = case.inputs[0] == 0

    def sloped(slope: float) -> Callable[[Case], Trace]:
        def make(case: Case) -> Trace:
            trace = refbp_subject.run(case)
            grad = trace.arrays[Key(0, "relu", "grad_input")]
            trace.arrays[Key(0, "relu", "grad_input")] = np.where(zeros, slope * case.grad_outputs[0], grad)
            return trace

        return make

    verdicts = {
        slope: oracle.run(Shown(sloped(slope)), "refbp", [case], ("float64",)).passed for slope in (0.5, 1.0, 2.0, -1.0)
    }
    assert verdicts == {0.5: True, 1.0: True, 2.0: False, -1.0: False}


@pytest.mark.parametrize("rule", CONVENTIONS)
def test_no_declared_rule_lets_every_winner_of_a_pooling_have_it_all(rule: str) -> None:
    """Ties share out the gradient that there is, whatever else a subject declares."""

    def all_win(case: Case) -> Trace:
        trace = refbp_subject.run(case)
        x, y, upstream = case.inputs[0], trace.arrays[Key(0, "pool", "output")], case.grad_outputs[0]
        wide = [np.repeat(np.repeat(array, 2, axis=2), 2, axis=3) for array in (y, upstream)]
        trace.arrays[Key(0, "pool", "grad_input")] = np.where(x == wide[0], wide[1], 0.0)
        return trace

    class Declared(Shown):
        profile = Profile(conventions=(rule,))

    subject = Declared(all_win)
    assert not oracle.run(subject, "refbp", [pool_case()], ("float64",)).passed


def near_kinks(seed: int) -> Case:
    """A conv-relu-maxpool network whose pre-activations lie within a few float32 roundings of zero and of each other."""
    rng = np.random.default_rng(seed)
    image = rng.standard_normal((2, 2, 4, 4))
    case = network_case(f"near/cnn{seed}", "rounding decides branches", SMALL_CNN, inputs=(image,))
    params = dict(case.params)
    # The second input channel nearly repeats the first, its weights have the opposite sign: sums cancel to a few roundings.
    weight = params["conv.weight"].copy()
    weight[:, 1] = -weight[:, 0]
    params["conv.weight"], params["conv.bias"] = weight, np.zeros_like(params["conv.bias"])
    image[:, 1] = image[:, 0] * (1 + 1e-7 * rng.standard_normal(image[:, 0].shape))
    return Case(**{**vars(case), "params": params, "inputs": (image,)})


@pytest.mark.parametrize("seed", range(6))
def test_branches_that_rounding_decides_are_adopted(seed: int) -> None:
    """Values near kinks and ties in float32, computed by torch: other masks and other winners are nobody's fault."""
    case = near_kinks(seed).astype("float32")
    trace = torch_subject.run(case)
    for reference in (refbp_subject, torch_subject):
        rows = judge(case, trace, reference)
        assert not [row for row in rows if row.verdict in DISCREPANCIES]


def test_near_kinks_really_flip_branches() -> None:
    """The twin of the test above: without adopting, its data would leave the reference on other branches."""
    flipped = 0
    for seed in range(6):
        case = near_kinks(seed).astype("float32")
        trace = refbp_subject.run(case)
        guides = {key: trace.arrays[key] for key in trace if key.quantity == "input"}
        model = ErrorModel(np.dtype("float32"))
        predict(case, model, guides)
        seen = model.branches.by_place.values()
        assert not sum(place.inadmissible for place in seen)
        flipped += sum(place.adopted for place in seen)
    assert flipped > 10


def test_a_branch_that_rounding_cannot_explain_is_found() -> None:
    """Adopting is not believing: a mask that lets a clearly negative value pass is a discrepancy."""
    case = network_case("branch/cnn", "", SMALL_CNN, (2, 2, 4, 4)).astype("float32")
    trace = refbp_subject.run(case)
    given, output = trace.get(0, "relu", "input"), trace.get(0, "relu", "output")
    assert given is not None and output is not None
    place = np.unravel_index(np.argmin(given), given.shape)
    passed_on = output.copy()
    passed_on[place] = given[place]
    trace.arrays[Key(0, "relu", "output")] = passed_on
    assert ("relu", "output", WRONG) in at_fault(judge(case, trace, refbp_subject))


def as_if(case: Case, shown_input: Callable[[Array], Array]) -> Trace:
    """A trace in which the relu claims, in all of its quantities, to have been given something else."""
    trace = refbp_subject.run(case)
    given = shown_input(trace.arrays[Key(0, "relu", "input")])
    tail = Case(
        **{
            **vars(case),
            "layers": case.layers[1:],
            "inputs": (given,),
            "params": {name: value for name, value in case.params.items() if not name.startswith("conv")},
        }
    )
    for key, array in refbp_subject.run(tail).arrays.items():
        trace.arrays[key] = array
    upstream = trace.arrays[Key(0, "relu", "grad_input")]
    head = Case(
        **{
            **vars(case),
            "layers": case.layers[:1],
            "grad_outputs": (upstream,),
            "params": {name: value for name, value in case.params.items() if name.startswith("conv")},
        }
    )
    for key, array in refbp_subject.run(head).arrays.items():
        trace.arrays[key] = array
    return trace


def test_an_inadmissible_branch_is_found_end_to_end() -> None:
    """A whole network that goes on from a relu whose input had another sign: its branches may not be adopted in silence."""
    case = network_case("branch/cnn", "", SMALL_CNN, (2, 2, 4, 4)).astype("float32")

    def flipped(given: Array) -> Array:
        changed = given.copy()
        place = np.unravel_index(np.argmax(given), given.shape)
        changed[place] = -changed[place]
        return changed

    rows = judge(case, as_if(case, flipped), refbp_subject)
    assert {row.mode for row in rows if row.verdict == WRONG} == {LOCAL, END_TO_END}


def outwards(op: Callable[..., Any]) -> Callable[..., Any]:
    """Each output away from zero by some 2.5 roundings of float32: within the limits of one layer, in each in the same way."""

    def biased(*args: Any) -> Any:
        output, backward = op(*args)
        return (output.astype(np.float64) * (1 + 2.5 * 2.0**-24)).astype(output.dtype), backward

    return biased


def test_errors_of_one_cause_that_are_right_in_every_layer_are_loose_end_to_end() -> None:
    """Rounding that always goes the same way adds up faster than the statistical model allows: no layer is at fault.

    Only where each layer was judged, and is right: an excess beside a real error stays what it is, and one of a black box.
    """
    layers = [layer("ReLU"), *(layer("Linear", 4, 4) for _ in range(12))]
    case = network_case("bias/deep", "", layers, (5, 4), draw_params=lambda rng, shape: rng.uniform(0.1, 0.4, shape))
    case = case.astype("float32")
    trace = patched("refbp.linear:linear", outwards)(case)
    rows = judge(case, trace, refbp_subject)
    assert not at_fault(rows) and not at_fault(rows, END_TO_END)
    loose = {row.layer for row in rows if (row.mode, row.quantity, row.verdict) == (END_TO_END, "output", LOOSE)}
    assert loose >= {"10", "11", "12"}
    assert all("with a common cause" in row.diagnosis for row in rows if row.verdict == LOOSE)
    box = Profile(quantities=("grad.*",))
    shown = Trace({key: array for key, array in trace.arrays.items() if box.shows(key.quantity)})
    assert ("12", "grad.weight") in {
        found[:2] for found in at_fault(judge(case, shown, refbp_subject, box), END_TO_END)
    }
    trace.arrays[Key(0, "3", "grad.weight")] = one_off(trace.arrays[Key(0, "3", "grad.weight")])
    rows = judge(case, trace, refbp_subject)
    assert at_fault(rows) == {("3", "grad.weight", WRONG)}
    assert {row.layer for row in rows if row.mode == END_TO_END and row.quantity == "output" and row.n_outside} == loose
    assert LOOSE not in {row.verdict for row in rows}


@pytest.mark.parametrize("verdict", [UNDECIDED, WRONG])
def test_an_undecided_gradient_takes_the_excuse_from_its_own_parameter_alone(verdict: str) -> None:
    """Constant data leaves a norm's weight gradient undecided: only the update computes with it. A wrong one excuses nothing."""

    def row(mode: str, quantity: str, verdict: str) -> Row:
        return Row(
            "c", "float64", 0, "0", "BatchNorm2d", quantity, mode, verdict, n_outside=1, max_abs=1e-14, decided=0
        )

    quantities = ("output", "grad.weight", "grad.bias", "param.weight", "param.bias")
    local = [row(LOCAL, own, verdict if own == "grad.weight" else PASS) for own in quantities]
    found = excused([row(END_TO_END, own, WRONG) for own in quantities], local)
    loose = {own.quantity for own in found if own.verdict == LOOSE}
    assert loose == ({"output", "grad.bias", "param.bias"} if verdict == UNDECIDED else set())


@pytest.mark.parametrize(("dtype", "excuses"), [("float32", True), ("float16", False)])
def test_what_underflows_takes_the_excuse_from_no_other_layer(dtype: str, excuses: bool) -> None:
    """A saturated SiLU gives numbers that float32 does not hold. They are too small to matter to the layers before it.

    In float16 a tolerance of the same size relative to the smallest normal number may matter.
    """
    smallest = float(np.finfo(dtype).tiny)
    value = np.array([1.0, 0.0, 0.0, 0.0], dtype)
    sigma = np.array([1e-8, *[1e3 * smallest] * 3])
    due = Expected(value.astype(float), sigma, None, np.abs(value.astype(float)))
    blank = Row("c", dtype, 0, "0", "SiLU", "output", LOCAL, PASS)
    silu = compare(blank, value, due, structured=False, no_terms=False)
    assert (silu.verdict, silu.decided) == (UNDECIDED, 0.25)
    assert silu.diagnosis.startswith("underflow: float32 holds no number so small, at 75%") == excuses
    whole = Row("c", dtype, 0, "1", "Linear", "output", END_TO_END, WRONG, n_outside=1, max_abs=1e-14)
    (found,) = excused([whole], [silu, replace(whole, mode=LOCAL, verdict=PASS)])
    assert found.verdict == (LOOSE if excuses else WRONG)


def test_a_layer_that_stands_twice_leaves_the_others_their_excuse() -> None:
    """Its own gradients, a sum over both places, are judged end to end alone, and have to be right there."""
    layers = [layer("ReLU"), *(layer("Linear", 4, 4) for _ in range(12)), replace(layer("Linear", 4, 4), same_as="12")]
    case = network_case("bias/twice", "", layers, (5, 4), draw_params=lambda rng, shape: rng.uniform(0.1, 0.4, shape))
    case = case.astype("float32")
    trace = patched("refbp.linear:linear", outwards)(case)
    key = Key(0, "12", "grad.weight")
    for own in (key, key._replace(quantity="grad.bias")):  # as if without the errors that add up
        trace.arrays[own] = refbp_subject.run(case).arrays[own]
    rows = judge(case, trace, refbp_subject)
    assert not at_fault(rows) and not at_fault(rows, END_TO_END)
    assert {row.layer for row in rows if row.verdict == LOOSE} >= {"10", "11", "12", "13"}
    trace.arrays[key] = one_off(trace.arrays[key])
    rows = judge(case, trace, refbp_subject)
    assert ("12", "grad.weight", WRONG) in at_fault(rows, END_TO_END) and not at_fault(rows)
    assert LOOSE not in {row.verdict for row in rows}


def test_gradients_of_a_layer_that_stands_twice_are_right_as_the_sum_of_both_places() -> None:
    """They are judged end to end alone, where their errors add up as others do. The subject's own inputs at both places tell
    whether their sum is right. The share of one place alone is wrong, and so is one element."""
    layers = [layer("ReLU"), *(layer("Linear", 4, 4) for _ in range(12)), replace(layer("Linear", 4, 4), same_as="12")]
    case = network_case("bias/twice", "", layers, (5, 4), draw_params=lambda rng, shape: rng.uniform(0.1, 0.4, shape))
    case = case.astype("float32")
    trace = patched("refbp.linear:linear", outwards)(case)
    rows = judge(case, trace, refbp_subject)
    shared = [row.verdict for row in rows if row.layer == "12" and row.quantity.startswith("grad.")]
    assert not at_fault(rows) and not at_fault(rows, END_TO_END) and LOOSE in shared
    key = Key(0, "12", "grad.weight")
    upstream, given = (trace.arrays[key._replace(layer="13", quantity=own)] for own in ("grad_output", "input"))
    for wrong in (one_off(trace.arrays[key]), upstream.T @ given):
        rows = judge(case, Trace({**trace.arrays, key: wrong}), refbp_subject)
        assert ("12", "grad.weight", WRONG) in at_fault(rows, END_TO_END)
        assert LOOSE not in {row.verdict for row in rows}


def test_what_was_not_tested_is_right_and_what_cannot_be_told_is_not() -> None:
    """A sum whose terms are all zero leaves nothing to err; a tolerance that is too wide may hide an error."""
    row = Row("case", "float32", 0, "fc", "Linear", "output", LOCAL, UNDECIDED)
    assert is_right(row) and not is_right(replace(row, decided=0.25)) and not is_right(replace(row, decided=0.0))
    assert not any(is_right(replace(row, verdict=verdict)) for verdict in DISCREPANCIES)


ALONE = ("conv", "norm", "kink", "dropout", "loss", "optimizer", "nonfinite", "tie", "batch")


@pytest.mark.parametrize("family", ALONE)
def test_a_case_of_one_layer_is_judged_end_to_end_as_if_predicted_anew(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a layer's own comparison says end to end is what a second prediction of the whole case would say."""
    cases = [case.astype("float32") for case in suite.matching(f"{family}/*")][::9]
    assert cases
    traces = [refbp_subject.run(case) for case in cases]
    again = [judge(case, trace, torch_subject) for case, trace in zip(cases, traces, strict=True)]
    monkeypatch.setattr(Comparison, "is_all_of", lambda self, case: False)
    anew = [judge(case, trace, torch_subject) for case, trace in zip(cases, traces, strict=True)]
    for one, other in zip(again, anew, strict=True):
        assert [repr(row) for row in one] == [repr(row) for row in other]


OTHER_FORMS: tuple[Change, ...] = (lambda a: a[..., None], np.transpose, lambda a: a[:-1], np.ravel)


@pytest.mark.parametrize("form", OTHER_FORMS, ids=["one dimension more", "transposed", "a row less", "flat"])
@pytest.mark.parametrize("name, after", [("act", ("last", "input")), ("last", ("loss", "input"))])
@pytest.mark.parametrize("shows_given", [True, False])
def test_an_output_of_another_form_is_blamed_as_the_output(
    form: Change, name: str, after: tuple[str, str], shows_given: bool
) -> None:
    """Not as the upstream gradient, which in such a network has that form too, and cannot be put into the layer."""
    given = {(name, "grad_output"): form, after: form, (after[0], "grad_input"): form}
    trace = altered(tiny(), {(name, "output"): form, **(given if shows_given else {})})
    for key in [key for key in trace if key.quantity in ("input", "grad_output") and not shows_given]:
        del trace.arrays[key]
    first = blame(judge(tiny(), trace, refbp_subject), "mine")[0]
    assert (first.layer, first.quantity, first.cause_name) == (name, "output", "shape")


def test_a_program_whose_output_has_another_form_is_blamed_for_the_output() -> None:
    """What comes from outside in another form is named as that, before it goes anywhere."""
    case = tiny()
    arrays = {entry_name(key): array for key, array in refbp_subject.run(case).arrays.items()}
    arrays["0/act/output"] = arrays["0/act/output"].T
    step = CaseStep(case, received(case, arrays, {}), refbp_subject)
    first = blame(step.judged(Profile()), "mine")[0]
    assert (first.layer, first.quantity, first.verdict) == ("act", "output", WRONG)
    assert first.diagnosis == "shape (4, 5), expected (5, 4)"
