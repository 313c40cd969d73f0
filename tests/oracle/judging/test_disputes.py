"""Before a subject is accused the reference is asked again: who differs from a reference that errs is not to blame for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import oracle
from oracle import Case, Spec
from oracle.case.arrays import Array
from oracle.judging import witness
from oracle.judging.case_rows import judge
from oracle.judging.rows import CONVENTION, DISCREPANCIES, LOCAL, PASS, WRONG, Row
from oracle.running_error import LAMBDA
from oracle.subjects import refbp, torch
from oracle.trace import Key, Trace


def channels_last(array: Array) -> Array:
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(array, 1, -1)), -1, 1)


def norm_of_one(kind: str, *, training: bool, of_input: bool = False) -> Case:
    """A norm of a single sample, whose upstream gradient, or else its input, lies channels last."""
    rng = np.random.default_rng(0)
    shape = (1, 2, 3, 4) if kind.endswith("2d") else (1, 2, 2, 3, 4)
    params = {"0.weight": rng.standard_normal(2), "0.bias": rng.standard_normal(2)}
    options: dict[str, Any] = {"num_features": 2}
    if kind.startswith("Batch"):
        params |= {"0.running_mean": np.zeros(2), "0.running_var": np.ones(2), "0.num_batches_tracked": np.array(0)}
    else:
        options["affine"] = True
    x, grad = rng.standard_normal(shape), rng.standard_normal(shape)
    return Case(
        "one",
        layers=(Spec(kind, options),),
        params=params,
        inputs=(channels_last(x) if of_input else x,),
        grad_outputs=(grad if of_input else channels_last(grad),),
        training=training,
    )


class Changed:
    """A subject or reference with a quantity changed."""

    name = "changed"

    def __init__(self, quantity: str, change: Callable[[Array], Array]) -> None:
        self.quantity, self.change = quantity, change

    def run(self, case: Case) -> Trace:
        trace = refbp.run(case)
        for key in list(trace):
            if key.quantity == self.quantity:
                trace.arrays[key] = self.change(trace.arrays[key]).astype(trace.arrays[key].dtype)
        return trace


@pytest.mark.parametrize(
    ("kind", "of_input"),
    [("BatchNorm2d", False), ("BatchNorm2d", True), ("BatchNorm3d", False), ("InstanceNorm2d", False)],
)
@pytest.mark.parametrize("training", [True, False])
def test_torch_is_asked_again_in_another_layout(kind: str, training: bool, of_input: bool) -> None:
    """Its norms of one sample go wrong in mixed memory formats: refbp is not to blame, and the rows say who is."""
    report = oracle.run("refbp", cases=[norm_of_one(kind, training=training, of_input=of_input)])
    assert report.passed, report
    said = set(report.table[report.table["verdict"] == CONVENTION]["diagnosis"])
    assert said == {"torch errs here: in another memory layout it agrees with the subject"}


@pytest.mark.parametrize("quantity", ["grad.weight", "grad.bias", "grad_input"])
def test_an_error_of_the_reference_excuses_no_other(quantity: str) -> None:
    """Who differs from what torch says in the plain layout too is wrong there."""
    case = norm_of_one("BatchNorm2d", training=True)
    report = oracle.run(Changed(quantity, lambda grad: grad * 1.5), cases=[case], dtypes=("float64",))
    assert {(culprit.quantity, culprit.verdict) for culprit in report.blame} == {(quantity, WRONG)}


def rows(case: Case, subject: Any, reference: Any) -> dict[str, str]:
    """Local verdicts by quantity."""
    case = case.astype("float64")
    return {row.quantity: row.verdict for row in judge(case, subject.run(case), reference) if row.mode == LOCAL}


def linear() -> Case:
    rng = np.random.default_rng(0)
    return Case(
        "linear",
        layers=(Spec("Linear", {"in_features": 3, "out_features": 2}),),
        params={"0.weight": rng.standard_normal((2, 3)), "0.bias": rng.standard_normal(2)},
        inputs=(rng.standard_normal((5, 3)),),
        grad_outputs=(rng.standard_normal((5, 2)),),
    )


@pytest.mark.parametrize("quantity", ["grad.weight", "grad.bias", "grad_input"])
def test_a_third_witness_decides(quantity: str) -> None:
    """Differences of the forward pass: a wrong reference accuses nobody, a right one whoever is wrong, and two that are wrong do
    not excuse each other."""
    wrong, worse = Changed(quantity, lambda grad: grad * (1 + 1e-6)), Changed(quantity, lambda grad: grad * (1 - 1e-6))
    assert rows(linear(), refbp, wrong)[quantity] == CONVENTION
    assert rows(linear(), wrong, torch)[quantity] in DISCREPANCIES
    assert rows(linear(), worse, wrong)[quantity] in DISCREPANCIES
    assert set(rows(linear(), refbp, torch).values()) == {PASS}


def test_of_several_directions_the_worst_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what the gradient claims along it, what the differences say, and how far apart these may be."""
    case, offsets = linear(), [0.0, 3.0, *[0.5] * witness.DIRECTIONS]
    grad = refbp.run(case).arrays[Key(0, "0", "grad.weight")]
    seen: list[float] = []

    def derivative(case: Case, argument: str, direction: Array) -> tuple[float, float, bool]:
        seen.append(float(np.sum(grad * direction)) + offsets[len(seen)])
        return seen[-1], 0.0, True

    monkeypatch.setattr(witness, "directional_derivative", derivative)
    row = Row("linear", "float64", 0, "0", "Linear", "grad.weight", LOCAL, PASS)
    row = witness.along_directions(case, "0.weight", grad, np.full(grad.shape, 1e-9), row)
    assert (row.verdict, row.n_outside, row.expected) == (WRONG, witness.DIRECTIONS - 1, seen[1])
    assert (row.got, row.max_abs) == (pytest.approx(seen[1] - 3), pytest.approx(3))
    assert row.z_max == pytest.approx(3 / row.tolerance * LAMBDA)


def test_of_an_output_nobody_else_knows() -> None:
    """No differences tell who is right about the forward pass itself."""
    assert rows(linear(), refbp, Changed("output", lambda value: value * (1 + 1e-6)))["output"] == WRONG


def test_the_gradient_of_an_empty_output_is_zero() -> None:
    """torch's ReflectionPad3d leaves there whatever was in memory."""
    pad = Spec("ReflectionPad3d", {"padding": (0, -3, 0, 0, 0, 0)})
    case = Case("empty", layers=(pad,), inputs=(np.ones((1, 2, 3, 3, 3)),), grad_outputs=(np.ones((1, 2, 3, 3, 0)),))
    assert not oracle.run("refbp", cases=[case]).blame


@pytest.mark.parametrize(
    ("case", "page"),
    [
        (
            Case(
                "celu",
                layers=(Spec("CELU", {"alpha": 0.8}),),
                inputs=(np.linspace(-9, -1, 12),),
                grad_outputs=(np.linspace(1, 2, 12),),
            ),
            "torch-celu-float64",
        ),
        (
            Case(
                "cosine",
                loss=Spec("CosineEmbeddingLoss"),
                inputs=(np.eye(3) * 1e-6,),
                targets=((np.ones((3, 3)) * 1e-6, np.array([1.0, -1.0, 1.0])),),
            ),
            "torch-cosine-embedding-float64",
        ),
    ],
    ids=lambda own: own if isinstance(own, str) else "",
)
def test_an_error_that_is_written_up_is_shown_with_its_page(case: Case, page: str) -> None:
    """Which says more than that somebody errs."""
    report = oracle.run("refbp", cases=[case])
    assert report.passed, report
    said = set(report.table[report.table["verdict"] == CONVENTION]["diagnosis"])
    assert said == {f"known error of torch: reports/findings/{page}.md"}


def test_a_reference_that_rounds_a_copy_does_not_accuse() -> None:
    """Without a momentum torch's InstanceNorm takes the mean of equal running statistics, which are then an ulp off; refbp keeps
    them. A subject that changes them by more is wrong all the same."""
    rng = np.random.default_rng(3)
    options = {"num_features": 17, "track_running_stats": True, "momentum": None}
    params = {"0.running_mean": rng.standard_normal(17), "0.running_var": rng.uniform(1, 2, 17)}
    case = Case(
        "copied",
        layers=(Spec("InstanceNorm1d", options),),
        params=params | {"0.num_batches_tracked": np.array(0)},
        inputs=(rng.standard_normal((5, 17, 6)),),
        grad_outputs=(rng.standard_normal((5, 17, 6)),),
    )
    theirs = torch.run(case).get(0, "0", "buffer.running_mean")
    assert theirs is not None and (theirs != params["0.running_mean"]).any()
    assert not [row for row in judge(case, refbp.run(case), torch) if row.verdict in DISCREPANCIES]
    changed = Changed("buffer.running_mean", lambda array: array * (1 + 1e-12))
    found = [row for row in judge(case, changed.run(case), torch) if row.verdict in DISCREPANCIES]
    assert {row.quantity for row in found} == {"buffer.running_mean"}


def test_a_reference_may_round_a_kept_number_beside_others() -> None:
    """Adafactor's mean of squares in the last column does not change, and refbp keeps it; torch takes a root and its square.
    In the other column both round."""
    weight = np.linspace(-1, 1, 8).reshape(4, 2)
    grads = [np.array([[a, 3.0], [1.0, -2.0], [b, -1.0], [3.0, -2.0]]) for a, b in ((-2.0, 4.0), (1.0, -3.0))]
    case = Case(
        "kept",
        params={"0.weight": weight},
        grads=tuple({"0.weight": own} for own in grads),
        optimizer=Spec("Adafactor", {"lr": 0.1, "beta2_decay": -0.3}),
        steps=2,
    ).astype("float32")
    assert not [row for row in judge(case, refbp.run(case), torch) if row.verdict in DISCREPANCIES]
    for column in (0, 1):
        change = np.where(np.arange(2) == column, 1 + 1e-5, 1.0)
        changed = Changed("col_var.weight", lambda array, change=change: array * change)  # type: ignore[misc]
        found = [row for row in judge(case, changed.run(case), torch) if row.verdict in DISCREPANCIES]
        assert "col_var.weight" in {row.quantity for row in found}


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_norm_without_a_batch_is_judged(rank: int, channels: int) -> None:
    """Its channels come first: the error of a mean goes to the weight of its channel, whatever the number of either."""
    rng = np.random.default_rng(rank)
    shape = (channels, *(4, 5, 3)[:rank])
    case = Case(
        "unbatched",
        layers=(Spec(f"InstanceNorm{rank}d", {"num_features": channels, "affine": True}),),
        params={"0.weight": rng.standard_normal(channels), "0.bias": rng.standard_normal(channels)},
        inputs=(rng.standard_normal(shape),),
        grad_outputs=(rng.standard_normal(shape),),
    ).astype("float32")
    assert {row.verdict for row in judge(case, refbp.run(case), torch)} == {PASS}


def test_a_reference_that_loses_its_state_to_an_empty_batch_does_not_accuse() -> None:
    """torch's InstanceNorm makes its running statistics NaN; refbp keeps them, and one that changes them is still wrong."""
    case = Case(
        "none",
        layers=(Spec("InstanceNorm1d", {"num_features": 2, "track_running_stats": True}),),
        params={"0.running_mean": np.ones(2), "0.running_var": np.ones(2), "0.num_batches_tracked": np.array(0)},
        inputs=(np.zeros((0, 2, 3)),),
        grad_outputs=(np.zeros((0, 2, 3)),),
    )
    rows = {row.quantity: row for row in judge(case, refbp.run(case), torch) if row.mode == LOCAL}
    assert rows["buffer.running_mean"].verdict == CONVENTION
    assert rows["buffer.running_mean"].diagnosis == "torch errs here: it gives NaN for an empty input"
    changed = Changed("buffer.running_mean", lambda array: array + 1)
    found = [row for row in judge(case, changed.run(case), torch) if row.verdict in DISCREPANCIES]
    assert {row.quantity for row in found} == {"buffer.running_mean"}
