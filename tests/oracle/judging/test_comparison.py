"""A part held against the reference: what is taken for the whole case, how wide the errors are, and which conventions excuse."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from oracle.case.case import Case, Spec
from oracle.execution.network import layer_types
from oracle.execution.predict import predict
from oracle.judging import comparison
from oracle.judging.case_rows import judge
from oracle.judging.comparison import Bench, Comparison
from oracle.judging.figures import Expected, by_norm
from oracle.judging.given import may_overflow
from oracle.judging.in_numbers import with_numbers
from oracle.judging.parts import local_parts
from oracle.judging.profile import Profile
from oracle.judging.rows import CONVENTION, DISCREPANCIES, END_TO_END, LOCAL, PASS, UNDECIDED, WRONG, Row
from oracle.running_error import ErrorArray
from oracle.subjects import refbp as refbp_subject
from oracle.subjects import torch as torch_subject
from oracle.suite.build import layer, network_case
from oracle.trace import Key, Trace

Array = npt.NDArray[Any]


def linear(**fields: Any) -> Case:
    """One linear layer, its upstream gradient given."""
    return network_case("one/linear", "a layer alone", [layer("Linear", 3, 2, name="linear")], (4, 3), **fields)


def update() -> Case:
    """An optimizer alone, its gradients given."""
    rng = np.random.default_rng(4)
    draw: Callable[[], dict[str, Array]] = lambda: {  # noqa: E731
        "0.weight": rng.standard_normal((2, 3)),
        "0.bias": rng.standard_normal(2),
    }
    return Case("one/update", params=draw(), grads=(draw(),), optimizer=Spec("SGD", {"lr": 0.1}))


def loss() -> Case:
    """A loss alone."""
    rng = np.random.default_rng(4)
    targets = ((rng.standard_normal((4, 3)),),)
    return Case("one/loss", inputs=(rng.standard_normal((4, 3)),), loss=Spec("MSELoss"), targets=targets)


def seen(rows: list[Row], mode: str) -> dict[tuple[str, str], str]:
    return {(row.layer, row.quantity): row.verdict for row in rows if row.mode == mode}


MASKED = network_case("one/dropout", "a mask", [layer("Dropout", name="drop")], (4, 3))


@pytest.mark.parametrize("case", [linear(), update(), loss(), MASKED], ids=lambda case: case.name)
def test_a_case_of_one_part_is_predicted_once(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it says end to end is what its only part says."""
    predicted = []
    predict = comparison.predict
    monkeypatch.setattr(comparison, "predict", lambda *arguments: predicted.append(1) or predict(*arguments))
    rows = judge(case, refbp_subject.run(case), refbp_subject)
    assert len(predicted) == 1 and seen(rows, END_TO_END)
    assert {row.verdict for row in rows} == {PASS}


def test_a_part_that_was_given_something_else_is_not_the_whole() -> None:
    """A layer that is right on another input than the case's, an update on other gradients: end to end it is found.

    That the layer is right on its own excuses nothing, since it was not given what it should have been.
    """
    case = linear()
    rows = judge(case, refbp_subject.run(replace(case, inputs=(case.inputs[0] + 0.5,))), refbp_subject)
    assert seen(rows, LOCAL)["linear", "output"] == PASS and seen(rows, END_TO_END)["linear", "output"] == WRONG
    case = update()
    other = {name: 2 * grad for name, grad in case.grads[0].items()}
    trace = refbp_subject.run(replace(case, grads=(other,)))
    for name, grad in other.items():
        trace.arrays[Key(0, "0", f"grad.{name[2:]}")] = grad
    rows = judge(case, trace, refbp_subject)
    assert seen(rows, LOCAL)["0", "param.weight"] == PASS != seen(rows, END_TO_END)["0", "param.weight"]


@pytest.mark.parametrize(
    "case, quantities",
    [
        (
            network_case("one/and-none", "", [layer("Tanh", name="tanh"), layer("Identity", name="same")], (4, 3)),
            {("tanh", "output"), ("same", "output"), ("same", "grad_input")},
        ),
        (linear(optimizer=Spec("SGD", {"lr": 0.1})), {("linear", "output"), ("linear", "param.weight")}),
    ],
    ids=["another layer", "an update"],
)
def test_a_layer_is_not_the_whole_if_anything_follows(case: Case, quantities: set[tuple[str, str]]) -> None:
    """What follows the layer is judged end to end too, whether or not it changes any number."""
    rows = judge(case, refbp_subject.run(case), refbp_subject)
    assert quantities <= set(seen(rows, END_TO_END))


def compared(case: Case, profile: Profile | None = None) -> Comparison:
    """The comparison of the first part of refbp's own trace."""
    blank = Row(case.name, case.dtype, 0, "", "", "", LOCAL, PASS)
    trace = refbp_subject.run(case)
    bench = Bench(trace, refbp_subject, profile or Profile(), layer_types(case), blank)
    return Comparison(next(local_parts(case, trace, 0)), bench)


@pytest.mark.parametrize("dtype, sigma, bound", [("float64", np.sqrt(2.0), 2.0), ("float32", 1.0, 1.0)])
def test_a_reference_that_rounds_as_much_counts_as_much(dtype: str, sigma: float, bound: float) -> None:
    """Of two float64 computations either may err: variances add, and so do bounds. Beside float32 its error is nothing."""
    own, key = compared(linear().astype(dtype)), Key(0, "layer", "output")
    prediction, expected = own.predicted[key], own.expected(key)
    assert isinstance(prediction, ErrorArray) and expected.bound is None
    np.testing.assert_allclose(expected.sigma, sigma * prediction.sigma, rtol=1e-8)
    bounded = predict(own.case, replace(own.model, bounds=True))[key]
    assert isinstance(bounded, ErrorArray) and bounded.bound is not None
    np.testing.assert_array_equal(bounded.sigma, prediction.sigma)
    wrong = prediction.value.astype(dtype)
    wrong[0, 0] += bounded.bound[0, 0] * bound * 100
    own.bench.trace.arrays[Key(0, "layer", "output")] = wrong
    assert own.row(key, "layer").bound_ratio == pytest.approx(100, rel=1e-2)


def test_an_error_by_norm_is_the_same_in_norm_and_everywhere_alike() -> None:
    """FFT and Winograd spread it: an element's tolerance and the terms that it is held against are the array's mean square."""
    sigma, scale = np.array([[1.0, 7.0]]), np.array([[6.0, 8.0]])
    expected = by_norm(Expected(np.array([[2.0, 3.0]]), sigma, 2 * sigma, scale))
    assert np.array_equal(expected.sigma, [[5.0, 5.0]]) and np.allclose(expected.scale, np.sqrt(50.0), rtol=1e-15)
    assert expected.bound is None and np.array_equal(expected.value, [[2.0, 3.0]])
    assert expected.scale.shape == (1, 2)
    empty = np.zeros((0, 3))
    assert by_norm(Expected(empty, empty, None, empty)).sigma.shape == (0, 3)


def test_only_layers_that_are_declared_err_by_norm() -> None:
    """A profile names types of layers."""
    key = Key(0, "layer", "output")
    plain, other = compared(linear()).expected(key), compared(linear(), Profile(normwise=("Conv2d",))).expected(key)
    even = compared(linear(), Profile(normwise=("Linear",))).expected(key)
    assert np.ptp(plain.sigma) > 0 and np.array_equal(other.sigma, plain.sigma)
    assert np.ptp(even.sigma) == 0 and np.isclose(np.sum(even.sigma**2), np.sum(plain.sigma**2))


def test_a_default_that_depends_on_the_dtype_is_the_subjects() -> None:
    """RMSNorm's eps is float32's for float32, and for 16 bits, as kernels compute in that; also within containers, whatever dtype
    the reference computes in."""
    norm = layer("RMSNorm", (6,), name="norm")
    case = network_case(
        "one/rms",
        "its inputs are small beside eps",
        [layer("Sequential", name="block", layers=[norm])],
        inputs=(1e-4 * np.random.default_rng(8).standard_normal((4, 6)),),
    ).astype("float32")
    for own in (case, replace(case, layers=(norm,), params={"norm.weight": case.params["block.norm.weight"]})):
        for reference in (refbp_subject, torch_subject):
            rows = judge(own, torch_subject.run(own), reference)
            assert {row.verdict for row in rows} == {PASS}
    given = replace(case, layers=(layer("RMSNorm", (6,), eps=0.5),))
    assert with_numbers(given) is given
    (half,) = with_numbers(replace(given, layers=(norm,), dtype="float16")).layers
    assert half.options["eps"] == 2.0**-23


def test_adafactors_default_eps_is_the_subjects() -> None:
    """Also in a group, and only where none is given."""
    optimizer = Spec("Adafactor", groups=({"params": ["a"], "eps": (None, 0.5)}, {"params": ["b"], "eps": (0.25, 0.5)}))
    ones = {"a": np.ones(2), "b": np.ones(2)}
    case = with_numbers(Case("eps", params=ones, grads=(ones,), optimizer=optimizer, dtype="float32"))
    assert case.optimizer is not None
    assert case.optimizer.options["eps"] == (2.0**-23, 1e-3)
    assert [group["eps"] for group in case.optimizer.groups] == [(2.0**-23, 0.5), (0.25, 0.5)]


def test_each_step_adopts_its_own_branches() -> None:
    """The masks of step 1 are not those of step 0: each is held against what went into its layers in that step."""
    rng = np.random.default_rng(6)
    layers = [layer("Linear", 3, 5, name="first"), layer("ReLU", name="relu"), layer("Linear", 5, 2, name="last")]
    inputs = (rng.standard_normal((4, 3)), rng.standard_normal((4, 3)))
    case = network_case("two/steps", "other branches in each", layers, inputs=inputs, steps=2)
    trace = refbp_subject.run(case)
    first, second = (trace.arrays[Key(step, "relu", "input")] > 0 for step in (0, 1))
    assert not np.array_equal(first, second)
    rows = judge(case, trace, refbp_subject)
    assert {row.step for row in rows} == {0, 1} and {row.verdict for row in rows} == {PASS}


def test_zeros_say_something_of_an_empty_batch_only() -> None:
    """The gradient of a weight over no sample is 0, a pass; over samples that are all zero it is 0 whatever the kernel does."""
    full, nothing = linear(), np.zeros((0, 3))
    empty = replace(full, inputs=(nothing,), grad_outputs=(np.zeros((0, 2)),))
    zeros = replace(full, inputs=(np.zeros((4, 3)),))
    rows = judge(empty, refbp_subject.run(empty), refbp_subject)
    assert {row.verdict for row in rows} == {PASS}
    rows = judge(zeros, refbp_subject.run(zeros), refbp_subject)
    assert seen(rows, LOCAL)["linear", "grad.weight"] == UNDECIDED
    assert seen(rows, LOCAL)["linear", "grad.bias"] == PASS


def test_a_count_is_held_to_the_bit_and_a_right_one_says_nothing() -> None:
    """How many batches a layer has seen is an integer: no tolerance, and no diagnosis where it is right."""
    case = network_case("one/norm", "counts", [layer("BatchNorm1d", 3, name="norm")], (6, 3))
    key = Key(0, "norm", "buffer.num_batches_tracked")
    trace = refbp_subject.run(case)
    (row,) = [
        row for row in judge(case, trace, refbp_subject) if row.quantity == key.quantity and row.mode == END_TO_END
    ]
    assert (row.verdict, row.diagnosis) == (PASS, "")
    trace = Trace({**trace.arrays, key: trace.arrays[key] + 1})
    rows = judge(case, trace, refbp_subject)
    assert {row.quantity for row in rows if row.verdict in DISCREPANCIES} == {key.quantity}
    assert {row.diagnosis for row in rows if row.quantity == key.quantity} == {"2, expected 1"}


def shared_norm(training: bool) -> Case:
    """A batch norm that stands twice."""
    rng = np.random.default_rng(0)
    params = {"norm.weight": rng.standard_normal(2), "norm.bias": rng.standard_normal(2)}
    params |= {"norm.running_mean": rng.standard_normal(2), "norm.running_var": np.ones(2)}
    norm = Spec("BatchNorm1d", {"num_features": 2}, name="norm")
    return Case(
        "shared/norm",
        layers=(norm, Spec("Tanh", name="act"), replace(norm, name="again", same_as="norm")),
        params={**params, "norm.num_batches_tracked": np.array(3)},
        inputs=(rng.standard_normal((4, 2)),),
        grad_outputs=(rng.standard_normal((4, 2)),),
        training=training,
    )


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_buffers_of_a_layer_that_stands_twice_take_two_updates(dtype: str, training: bool) -> None:
    """Neither place can be told apart from the other: what both make of the buffers is judged through the whole step."""
    case = shared_norm(training).astype(dtype)
    for subject in (refbp_subject, torch_subject):
        rows = judge(case, subject.run(case), torch_subject)
        assert {row.verdict for row in rows} == {PASS}
    trace = refbp_subject.run(case)
    key = Key(0, "norm", "buffer.running_mean")
    trace.arrays[key] = trace.arrays[key] + 0.125
    wrong = [row for row in judge(case, trace, torch_subject) if row.verdict == WRONG]
    assert [(row.quantity, row.mode) for row in wrong] == [("buffer.running_mean", END_TO_END)]


@pytest.mark.filterwarnings("ignore:overflow encountered", "ignore:invalid value")
def test_a_wrong_shape_is_wrong_also_where_the_numbers_leave_the_range() -> None:
    """That much is known of a number which the dtype cannot hold."""
    case = replace(linear(), inputs=(np.full((4, 3), 1e30),), grad_outputs=(np.full((4, 2), 1e30),)).astype("float32")
    trace = refbp_subject.run(case)
    key = Key(0, "linear", "grad.weight")
    assert seen(judge(case, trace, torch_subject), LOCAL)[key[1:]] == UNDECIDED
    other = Trace({**trace.arrays, key: trace.arrays[key][:, :2]})
    assert seen(judge(case, other, torch_subject), LOCAL)[key[1:]] == WRONG


@pytest.mark.filterwarnings("ignore:overflow encountered")
def test_a_product_that_overflows_in_float64_is_undecided() -> None:
    """Infinite or NaN by the order in which its terms are added. Where nothing overflows a wrong element stays one."""
    rng = np.random.default_rng(1)
    upstream = rng.standard_normal((6, 3))
    upstream[:, 0] *= 1e300
    case = Case(
        "overflow",
        layers=(Spec("Linear", {"in_features": 4, "out_features": 3, "bias": False}),),
        params={"0.weight": rng.standard_normal((3, 4))},
        inputs=(rng.standard_normal((6, 4)) * 1e10,),
        grad_outputs=(upstream,),
    )
    with np.errstate(all="ignore"):
        trace = refbp_subject.run(case)
    key = Key(0, "0", "grad.weight")
    other, expected = trace.arrays[key].copy(), torch_subject.run(case).arrays[key][0]
    assert not np.isfinite(expected).any()  # which of both, and so the subject's, depends on the processor
    other[0] = np.inf if np.isnan(expected).any() else np.nan

    def verdict() -> str:
        rows = judge(case, Trace({**trace.arrays, key: other}), torch_subject)
        return seen(rows, LOCAL)["0", "grad.weight"]

    assert verdict() == UNDECIDED
    other[1, 2] *= 1.5
    assert verdict() == WRONG


@pytest.mark.filterwarnings("ignore:overflow encountered", "ignore:invalid value")
def test_an_update_after_its_state_left_the_range_is_undecided() -> None:
    """Infinite or NaN by how a running mean is computed. The first update has made the parameter NaN too."""
    grad = np.zeros((3, 2))
    grad[1, 0] = 1e200
    case = Case(
        "overflow",
        params={"0.weight": np.ones((3, 2))},
        grads=({"0.weight": grad}, {"0.weight": grad[::-1].copy()}),
        optimizer=Spec("Adafactor", {"beta2_decay": -0.3}),
        steps=2,
    )
    trace, key = refbp_subject.run(case), Key(1, "0", "row_var.weight")
    assert np.isnan(trace.arrays[Key(0, "0", "param.weight")]).any()
    assert (np.isfinite(trace.arrays[key]) == [[True], [False], [True]]).all()

    def verdict(array: Array) -> str:
        rows = judge(case, Trace({**trace.arrays, key: array}), torch_subject)
        return next(row.verdict for row in rows if row.quantity == key.quantity and (row.step, row.mode) == (1, LOCAL))

    either = [np.where(np.isfinite(trace.arrays[key]), trace.arrays[key], other) for other in (np.inf, np.nan)]
    assert {verdict(array) for array in either} == {PASS, UNDECIDED}
    assert verdict(np.where(np.isfinite(trace.arrays[key]), 1.0, np.inf)) == WRONG


@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
def test_an_infinite_parameter_that_a_quotient_by_zero_may_change_is_undecided() -> None:
    """Centered RMSprop in float16, whose squares underflow: infinity and infinity make either sign, or NaN.

    The reference's exact s - g² is negative, so that it expects NaN where float16 divides by zero.
    """
    small = np.array([[-3e-6, -8e-6, 1e-5]], np.float16)
    case = Case(
        "underflow/centered",
        dtype="float16",
        params={"0.weight": np.array([[1.0, -0.8, 1.5]], np.float16)},
        grads=({"0.weight": small}, {"0.weight": small}, {"0.weight": -small}),
        optimizer=Spec("RMSprop", {"lr": 0.1, "alpha": 0.5, "centered": True}),
        steps=3,
    )
    for subject in (refbp_subject, torch_subject):
        trace = subject.run(case)
        assert not np.isfinite(trace.arrays[Key(2, "0", "param.weight")]).any()
        rows = [row for row in judge(case, trace, torch_subject) if row.quantity == "param.weight"]
        assert {row.verdict for row in rows} == {UNDECIDED}
        finite = Trace({**trace.arrays, Key(1, "0", "param.weight"): np.ones((1, 3), np.float16)})
        assert WRONG in {row.verdict for row in judge(case, finite, torch_subject)}


def test_a_parameter_that_is_given_as_infinite_has_not_overflown() -> None:
    case = Case(
        "infinite",
        params={"0.weight": np.array([[np.inf, 1.0]])},
        grads=({"0.weight": np.full((1, 2), 1e200)},),
        optimizer=Spec("SGD", {"lr": 1.0}),
    )
    state = {"momentum": {"0.weight": np.array([[1.0, 2.0]])}}
    assert not may_overflow(case, "param.weight")
    assert not may_overflow(replace(case, optimizer_state=state), "param.weight")
    state["momentum"]["0.weight"][0, 1] = np.nan
    assert may_overflow(replace(case, optimizer_state=state), "param.weight")


@pytest.mark.filterwarnings("ignore:overflow encountered", "ignore:invalid value encountered")
@pytest.mark.parametrize("mode", [LOCAL, END_TO_END])
def test_an_output_in_a_network_that_overflows_is_undecided(mode: str) -> None:
    """Also where the loss behind it sends back NaN, and where only the products of several layers leave the range."""
    dense = [Spec("Linear", {"in_features": n, "out_features": m, "bias": False}) for n, m in ((1, 1), (1, 2), (2, 1))]
    case = Case(
        "overflow/network",
        layers=tuple(dense),
        loss=Spec("MSELoss", {"reduction": "mean"}),
        params={
            "0.weight": np.array([[1e100]]),
            "1.weight": np.array([[1e100], [-1e100]]),
            "2.weight": np.array([[1e10, 3e10]]),
        },
        inputs=(np.array([[1e100], [1e-100]]),),
        targets=((np.zeros((2, 1)),),),
    )
    with np.errstate(all="ignore"):
        trace, reference = refbp_subject.run(case), torch_subject.run(case)
    key = Key(0, "2", "output")
    output = reference.arrays[key].copy()
    assert not np.isfinite(output[0]).any() and np.isfinite(output[1]).all()
    output[0] = np.inf if np.isnan(output[0]).any() else np.nan

    def verdict() -> str:
        return seen(judge(case, Trace({**trace.arrays, key: output}), torch_subject), mode)["2", "output"]

    assert verdict() == UNDECIDED
    output[1] *= 1.5
    assert verdict() == WRONG


@pytest.mark.filterwarnings("ignore:invalid value encountered", "ignore:divide by zero")
@pytest.mark.parametrize(("size", "verdict"), [(1e-4, UNDECIDED), (1.0, WRONG)])
def test_an_infinity_may_meet_a_quotient_by_zero(size: float, verdict: str) -> None:
    """The square of 1e-4 is zero in float16, and so is ε: AdamW then adds an infinity to the parameter, which was given as one of
    the other sign. A number in its place is wrong, and so is NaN beside it."""
    case = Case(
        "given infinity",
        params={"0.bias": np.array([-np.inf, 0.5])},
        grads=({"0.bias": np.array([-size, 0.5])},),
        optimizer=Spec("AdamW", {"lr": 0.1, "eps": 1e-8}),
    ).astype("float16")
    trace = refbp_subject.run(case)
    key = Key(0, "0", "param.bias")
    right = trace.arrays[key][1]
    for got, due in (([np.nan, right], verdict), ([1.0, right], WRONG), ([-np.inf, np.nan], WRONG)):
        rows = judge(case, Trace({**trace.arrays, key: np.array(got, np.float16)}), torch_subject)
        assert seen(rows, LOCAL)["0", "param.bias"] == due


@pytest.mark.filterwarnings("ignore:overflow encountered", "ignore:invalid value encountered")
@pytest.mark.parametrize(("size", "verdict"), [(1e30, UNDECIDED), (1.0, WRONG)])
def test_an_infinity_may_meet_an_overflow_of_the_other_sign(size: float, verdict: str) -> None:
    """-inf + 1e40 is NaN in float32, if the terms overflow; the infinity itself was given. A number in its place is wrong."""
    rng = np.random.default_rng(1)
    upstream = rng.uniform(1, 2, (6, 3)) * size
    upstream[2, 1] = -np.inf
    case = Case(
        "given infinity",
        layers=(Spec("Linear", {"in_features": 4, "out_features": 3, "bias": False}),),
        params={"0.weight": rng.uniform(1, 2, (3, 4)) * size},
        inputs=(rng.standard_normal((6, 4)),),
        grad_outputs=(upstream,),
    ).astype("float32")
    trace = refbp_subject.run(case)
    key = Key(0, "0", "grad_input")
    assert np.isneginf(torch_subject.run(case.astype("float64")).arrays[key][2]).all()
    for other, due in ((np.nan, verdict), (1.0, WRONG), (np.inf, WRONG)):
        got = trace.arrays[key].copy()
        got[2] = other
        rows = judge(case, Trace({**trace.arrays, key: got}), torch_subject)
        assert seen(rows, LOCAL)["0", "grad_input"] == due


@pytest.mark.filterwarnings("ignore:overflow encountered")
@pytest.mark.parametrize(("size", "verdict"), [(3e148, UNDECIDED), (3.0, CONVENTION)])
def test_a_formula_of_the_reference_may_leave_the_range_alone(size: float, verdict: str) -> None:
    """The cube of a scale overflows although no product of two given numbers does; otherwise its NaN is an error of its own."""

    class Cubed:
        name = "cubed"

        def run(self, case: Case) -> Trace:
            trace = torch_subject.run(case)
            lost = {key: np.full_like(own, np.nan) for key, own in trace.arrays.items() if key.quantity == "grad_input"}
            return Trace({**trace.arrays, **lost})

    rng = np.random.default_rng(1)
    case = Case(
        "cubed",
        layers=(Spec("LayerNorm", {"normalized_shape": (4,)}),),
        params={"0.weight": rng.standard_normal(4), "0.bias": np.zeros(4)},
        inputs=(rng.standard_normal(4) * size,),
        grad_outputs=(rng.standard_normal(4) * size,),
    )
    rows = judge(case, refbp_subject.run(case), Cubed())
    assert seen(rows, LOCAL)["0", "grad_input"] == verdict


def test_the_mean_of_nothing_is_nan() -> None:
    """That is no overflow: 0 in its place is wrong."""
    options = {"reduction": "mean"}
    case = Case("nothing", loss=Spec("MSELoss", options), inputs=(np.zeros((0, 3)),), targets=((np.zeros((0, 3)),),))
    trace = refbp_subject.run(case)
    key = Key(0, "loss", "output")
    assert np.isnan(trace.arrays[key])
    rows = judge(case, Trace({**trace.arrays, key: np.array(0.0)}), torch_subject)
    assert WRONG in {row.verdict for row in rows if row.quantity == key.quantity}


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_weight_of_a_loss_is_rounded_for_everybody(dtype: str) -> None:
    """1.2617 is no number of either dtype; the gradient is that number and no other."""
    options = {"reduction": "sum", "weight": (1.2617, 0.3)}
    case = Case(
        "weighted", loss=Spec("NLLLoss", options), inputs=(np.full((3, 2), -0.5),), targets=((np.array([0, 1, 0]),),)
    ).astype(dtype)
    for subject in (refbp_subject, torch_subject):
        assert seen(judge(case, subject.run(case), torch_subject), LOCAL)["loss", "grad_input"] == PASS


def test_running_statistics_may_be_the_mean_of_a_copy_for_each_sample() -> None:
    """As torch has instance norm's: with a momentum of zero they change in their last place."""
    rng = np.random.default_rng(0)
    options = {"num_features": 40, "track_running_stats": True, "momentum": 0.0}
    case = Case(
        "instance",
        dtype="float32",
        layers=(Spec("InstanceNorm1d", options, name="0"),),
        params={
            "0.running_mean": rng.standard_normal(40).astype(np.float32),
            "0.running_var": rng.uniform(0.5, 2, 40).astype(np.float32),
            "0.num_batches_tracked": np.zeros((), np.int64),
        },
        inputs=(rng.standard_normal((7, 40, 5)).astype(np.float32),),
        grad_outputs=(rng.standard_normal((7, 40, 5)).astype(np.float32),),
    )
    trace, key = torch_subject.run(case), Key(0, "0", "buffer.running_mean")
    assert (trace.arrays[key] != case.params["0.running_mean"]).any()
    assert {row.verdict for row in judge(case, trace, refbp_subject)} == {PASS}
    off = Trace({**trace.arrays, key: trace.arrays[key] * np.float32(1 + 1e-5)})
    assert WRONG in {row.verdict for row in judge(case, off, refbp_subject) if row.quantity == key.quantity}
