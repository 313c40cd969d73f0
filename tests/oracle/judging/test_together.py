"""An array shows what none of its elements does, and a formula is no precision."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import oracle
from oracle.case.case import Case, Spec
from oracle.judging.figures import Expected
from oracle.judging.patterns import MANY
from oracle.judging.rows import DISCREPANCIES, IMPRECISE, LOCAL, PASS, WRONG, Row
from oracle.judging.verdict import MOST_MEAN, MOST_RMS, by_company, compare
from oracle.subjects import refbp as refbp_subject
from oracle.trace import Key, Trace


def judged(z: Any, mode: str = LOCAL, structured: bool = False, value: Any = None) -> Row:
    """A row whose errors are these, in standard deviations."""
    z = np.asarray(z)
    value = np.random.default_rng(5).standard_normal(z.shape) if value is None else value
    expected = Expected(value, np.full(z.shape, 1e-9), np.full(z.shape, 1e-3), np.ones(z.shape))
    row = Row("case", "float64", 0, "0", "Linear", "output", mode, PASS)
    return compare(row, value + 1e-9 * z, expected, structured=structured, no_terms=False)


def signs(n: int) -> Any:
    return np.random.default_rng(7).choice([-1.0, 1.0], n)


@pytest.mark.parametrize("structured", [False, True])
def test_an_array_may_be_off_although_no_element_is(structured: bool) -> None:
    """The rms of z and its mean have limits of their own, however far each element is from lambda."""
    assert judged(0.9 * MOST_RMS * signs(400), structured=structured).verdict == PASS
    far = judged(1.2 * MOST_RMS * signs(400), structured=structured)
    assert (far.verdict, far.n_outside) == (IMPRECISE, 0) and "rms of z is 3" in far.diagnosis
    assert judged(np.full(400, 0.9 * MOST_MEAN), structured=structured).verdict == PASS
    leaning = judged(np.full(400, 1.2 * MOST_MEAN), structured=structured)
    assert leaning.verdict == IMPRECISE and "are biased" in leaning.diagnosis


def test_a_factor_that_only_the_array_shows_is_wrong() -> None:
    """Errors that are proportional to the value are a formula's, at any size."""
    value = np.random.default_rng(5).standard_normal(400)
    assert judged(4 * value, value=value).verdict == WRONG


def test_a_handful_of_elements_has_no_limits_of_its_own() -> None:
    """Neither has what is judged through a whole network, where errors share a cause."""
    assert judged(4 * np.ones(MANY - 1)).verdict == PASS
    assert judged(4 * np.ones(400), mode="end to end").verdict == PASS


@pytest.mark.parametrize("factor", [1 + 3e-5, 1 + 1e-4])
def test_a_uniform_factor_is_caught_that_hides_in_a_long_sum(factor: float) -> None:
    """A weight gradient over 16,384 samples allows each element more than that."""

    class Scaled(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, by: float) -> torch.Tensor:
            ctx.save_for_backward(x, weight)
            ctx.by = by
            return x @ weight.T

        @staticmethod
        def backward(ctx: Any, *grads: Any) -> Any:
            x, weight = ctx.saved_tensors
            return grads[0] @ weight, (grads[0].T @ x) * ctx.by, None

    class Layer(torch.nn.Linear):
        by = 1.0

        def forward(self, input: torch.Tensor) -> torch.Tensor:
            return Scaled.apply(input, self.weight, self.by)  # type: ignore[no-any-return,no-untyped-call]

    torch.manual_seed(0)
    module, x = Layer(8, 8, bias=False), torch.randn(16384, 8)
    assert oracle.check_module(torch.nn.Sequential(module), x).passed
    module.by = factor
    report = oracle.check_module(torch.nn.Sequential(module), x)
    assert not report.passed and {own.quantity for own in report.blame} == {"grad.weight"}


def test_a_few_elements_are_imprecise_in_company_only() -> None:
    """Three numbers that are off by what bfloat16 would be may be off by anything."""
    few = Row("case", "float64", 0, "0", "Linear", "grad.bias", LOCAL, IMPRECISE, "behaves like bfloat16", n=3)
    many = replace(few, quantity="grad.weight", n=300)
    assert [row.verdict for row in by_company([few])] == [WRONG]
    assert by_company([few, many]) == [few, many]


class Sped:
    """SGD whose step is a little too long; what it changes is small beside the parameter."""

    name = "sped"
    profile = oracle.Profile(quantities=("param.*",))

    def run(self, case: Case) -> Trace:
        trace, right = Trace(), refbp_subject.run(case)
        before = case.params["0.weight"]
        after = right.arrays[Key(0, "0", "param.weight")]
        uneven = 1 + 0.01 * np.random.default_rng(3).uniform(0.5, 1.5, before.shape)
        trace.record(0, "0", "param.weight", before + uneven * (after - before))
        return trace


def test_an_update_is_judged_by_its_step() -> None:
    """Beside the parameter any wrong step looks like rounding to fewer bits; it goes along with the right one, though."""
    rng = np.random.default_rng(0)
    case = Case(
        "sped/step",
        params={"0.weight": rng.standard_normal((8, 8))},
        grads=({"0.weight": rng.standard_normal((8, 8))},),
        optimizer=Spec("SGD", {"lr": 0.1}),
    )
    report = oracle.run(Sped(), cases=[case], dtypes=("float64",))
    bad = report.table[report.table["verdict"].isin(DISCREPANCIES)]
    assert len(bad) and set(bad["verdict"]) == {WRONG}, bad


def test_a_cause_that_fits_beats_a_resemblance() -> None:
    """A gradient that was averaged is wrong, however much its error looks like lower precision."""
    rng = np.random.default_rng(1)
    case = Case(
        "resembles/linear",
        layers=(Spec("Linear", {"in_features": 6, "out_features": 5}),),
        params={"0.weight": rng.standard_normal((5, 6)), "0.bias": rng.standard_normal(5)},
        inputs=(rng.standard_normal((257, 6)),),
        grad_outputs=(rng.standard_normal((257, 5)),),
    )

    class Drops:
        name = "drops the last sample"

        def run(self, case: Case) -> Trace:
            trace = refbp_subject.run(case)
            x, g = case.inputs[0][:-1], case.grad_outputs[0][:-1]
            trace.arrays[Key(0, "0", "grad.weight")] = g.T @ x
            return trace

    report = oracle.run(Drops(), cases=[case], dtypes=("float64",))
    (blame,) = report.blame
    assert (blame.quantity, blame.verdict) == ("grad.weight", WRONG), blame
