"""16-bit numbers: judged against float64 on the same rounded inputs, with accumulation as it is declared."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

import oracle
from oracle import suite
from oracle.case.case import Case
from oracle.judging.case_rows import judge
from oracle.judging.profile import Profile
from oracle.judging.rows import DISCREPANCIES, PASS, UNDECIDED, UNSUPPORTED, WRONG
from oracle.selftest.variants.sums import in_order
from oracle.selftest.variants.variant import substituted
from oracle.subjects import refbp as reference
from oracle.suite import named
from oracle.suite.build import layer, network_case

Array = np.ndarray[Any, np.dtype[Any]]
DTYPES = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16}


def wide_linear() -> Case:
    return network_case("precision/linear", "long sums", [layer("Linear", 200, 8, name="linear")], (16, 200))


def computing(dot: Any) -> Any:
    """refbp with this product in its linear layer."""

    def op(self: Any, input: Array) -> Any:
        weight, bias = self.params["weight"], self.params["bias"]

        def backward(g: Array) -> Any:
            ones = np.ones((1, len(g)), g.dtype)
            return dot(g, weight), {"weight": dot(g.T, input), "bias": dot(ones, g)[0]}

        return (dot(input, weight.T) + bias).astype(input.dtype), backward

    return substituted("Linear", op)


def in_single(a: Array, b: Array) -> Array:
    """Accumulated in float32, rounded once, as tensor units do."""
    return np.asarray((a.astype(np.float32) @ b.astype(np.float32)).astype(a.dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_accumulation_in_float32_is_judged_tightly_when_declared(dtype: str) -> None:
    """With the declaration every row is decided; without it the same sums are too wide to say anything."""
    case = wide_linear().astype(dtype)
    trace = computing(in_single)(case)
    declared = judge(case, trace, reference, Profile(accumulate="float32"))
    assert {row.verdict for row in declared} == {PASS}
    assert all(row.decided == 1 for row in declared)
    undeclared = judge(case, trace, reference)
    assert not {row.verdict for row in undeclared} & DISCREPANCIES
    if dtype == "bfloat16":
        assert UNDECIDED in {row.verdict for row in undeclared}


@pytest.mark.parametrize("dtype", DTYPES)
def test_accumulation_in_the_type_itself_is_honest_and_no_float32(dtype: str) -> None:
    """It passes undeclared; declared as float32 it is a discrepancy."""
    case = wide_linear().astype(dtype)
    trace = computing(in_order(range))(case)
    assert not {row.verdict for row in judge(case, trace, reference)} & DISCREPANCIES
    pretended = judge(case, trace, reference, Profile(accumulate="float32"))
    assert "output" in {row.quantity for row in pretended if row.verdict in DISCREPANCIES}


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_bug_is_found_in_16_bits(dtype: str) -> None:
    """A weight gradient averaged over the batch is wrong in any precision."""
    case = wide_linear().astype(dtype)
    trace = computing(in_single)(case)
    key = oracle.Key(0, "linear", "grad.weight")
    trace.arrays[key] = (trace.arrays[key].astype(np.float32) / 16).astype(DTYPES[dtype])
    rows = judge(case, trace, reference, Profile(accumulate="float32"))
    assert ("grad.weight", WRONG) in {(row.quantity, row.verdict) for row in rows}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["mlp/Tanh+MSELoss", "lenet5/random", "norm/LayerNorm,eps=1e-05*", "network/resnet18"])
def test_torch_conforms_in_16_bits(name: str, dtype: str) -> None:
    """torch's own kernels for bfloat16 and float16 on whole networks; what is not decided is said so."""
    report = oracle.run("torch", "refbp", name, (dtype,))
    assert report.passed, report.blame
    assert (report.table["verdict"] == PASS).mean() > 0.35


def test_what_numpy_does_not_have_is_unsupported() -> None:
    """NumPy would go on in float32, which would look like an error of refbp's."""
    report = oracle.run(cases="worked-example", dtypes=("bfloat16",))
    assert set(report.table["verdict"]) == {UNSUPPORTED}
    assert "refbp has no bfloat16" in report.table["diagnosis"].iloc[0]


def test_a_profile_names_what_there_is() -> None:
    """One sentence for a precision, a convention, a class or a quantity that is none, which an empty trace could conform with."""
    with pytest.raises(ValueError, match="accumulate is one of float64, float32, float16, bfloat16, got 'double'"):
        Profile(accumulate="double")
    with pytest.raises(ValueError, match="conventions are among biased_running_variance"):
        Profile(conventions=("backwards",))
    with pytest.raises(ValueError, match=r"normwise are layers that add up, .*, got 'conv2d'"):
        Profile(normwise=("conv2d",))
    with pytest.raises(ValueError, match=r"accumulate is one of .*, got \['float32'\]"):
        Profile(accumulate=["float32"])  # type: ignore[arg-type]
    for strange in ("outputs", "gradients", "grads.*", "weight", "grad", ""):
        with pytest.raises(ValueError, match=rf"quantities are patterns of output, .* grad\.\*, .*; got '{strange}'$"):
            Profile(quantities=("output", strange))
    with pytest.raises(ValueError, match=r"; got none$"):
        Profile(quantities=())


@pytest.mark.parametrize("field", ["normwise", "conventions", "quantities"])
def test_a_profile_names_several_things_as_several(field: str) -> None:
    """A text alone would be taken letter by letter."""
    for alone in ("Conv2d", ("Conv2d", 1), {"grad.*"}):
        with pytest.raises(ValueError, match=f"a profile's {field} are a tuple of texts, got "):
            Profile(**{field: alone})  # type: ignore[arg-type]


def test_every_quantity_can_be_declared() -> None:
    """Whatever there is in the suite, by its own name, its kind, or a pattern over several."""
    quantities = {
        key.quantity
        for case in suite.matching("all")
        if case.name.startswith(("worked", "optimizer", "norm/BatchNorm", "dropout", "loss/Gaussian", "loss/Cosine"))
        for key in reference.run(case)
    }
    assert {"step.weight", "max_exp_avg_sq.bias", "buffer.num_batches_tracked", "mask", "grad.var"} <= quantities
    for quantity in quantities:
        for pattern in (quantity, quantity.partition(".")[0] + "*", "*" + quantity[-2:]):
            assert Profile(quantities=(pattern,)).shows(quantity)
    assert Profile(quantities=["*"]).quantities == ("*",)  # type: ignore[arg-type]


def test_a_declared_convention_is_shown_by_name_and_counts_when_strict() -> None:
    """The biased running variance of some libraries: wrong undeclared, a convention declared, a discrepancy when strict."""

    class Biased:
        name = "biased"
        profile = Profile(conventions=("biased_running_variance",))

        def run(self, case: Case) -> oracle.Trace:
            trace = reference.run(case)
            for key in trace:
                if key.quantity == "buffer.running_var":
                    x = trace.arrays[key._replace(quantity="input")].astype(np.float64)
                    axes = (0, *range(2, x.ndim))
                    biased = 0.9 * case.params[f"{key.layer}.running_var"] + 0.1 * x.var(axes)
                    trace.arrays[key] = biased.astype(case.dtype)
            return trace

    case = network_case("norm/biased", "", [layer("BatchNorm2d", 3, name="norm")], (4, 3, 5, 5))
    report = oracle.run(Biased(), "refbp", [case])
    assert report.passed
    (row,) = report.table[(report.table["verdict"] == "convention") & (report.table["mode"] == "local")][
        "diagnosis"
    ].unique()
    assert row.startswith("biased_running_variance: the running variance divides by n, not n - 1")
    assert not oracle.run(Biased(), "refbp", [case], strict_conventions=True).passed
    Biased.profile = Profile()
    undeclared = oracle.run(Biased(), "refbp", [case])
    assert undeclared.blame[0].quantity == "buffer.running_var"


def test_a_dampened_first_step_is_a_convention_when_declared() -> None:
    """As some libraries do: the momentum starts as zeros, so that dampening counts from the first step on."""

    class Dampened:
        name = "dampened"
        profile = Profile(conventions=("dampened_first_step",))

        def run(self, case: Case) -> oracle.Trace:
            from dataclasses import replace

            zeros = {name: np.zeros_like(value) for name, value in case.params.items()}
            return reference.run(replace(case, optimizer_state={"momentum": zeros}))

    case = named("optimizer/SGD,momentum+dampening")
    report = oracle.run(Dampened(), "refbp", [case])
    assert report.passed, report.blame
    shown = report.table[report.table["verdict"] == "convention"]
    assert set(shown["step"]) == {0} and {"momentum.weight", "param.weight"} <= set(shown["quantity"])
    Dampened.profile = Profile()
    assert not oracle.run(Dampened(), "refbp", [case]).passed
