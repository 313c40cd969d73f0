"""The rules of other tools: that each refuses and accepts what it should, and looks at what its tool looks at."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch

from oracle.case.arrays import Array
from oracle.case.case import Case
from oracle.selftest.bugs import all_bugs
from oracle.selftest.rivals import render, score
from oracle.selftest.rivals.finite import NotDifferentiable, refuses
from oracle.selftest.rivals.rules import (
    ASSERT_CLOSE,
    FIXED,
    GRADIENT,
    OUTPUT,
    RULES,
    UPDATE,
    Rule,
    ThreeArrays,
    _by_dtype,
    cosine,
    same,
    wide,
    within,
)
from oracle.selftest.variants import all_variants
from oracle.subjects import refbp
from oracle.trace import Trace

EXACT = np.random.default_rng(0).standard_normal(64)
KINDS = {"float64": np.float64, "float32": np.float32, "bfloat16": ml_dtypes.bfloat16}


def comparison(kind: str, dtype: str, factor: float = 1.0, step: int = 0) -> ThreeArrays:
    eager = EXACT.astype(KINDS[dtype])
    return ThreeArrays(kind, step, (wide(eager) * factor).astype(KINDS[dtype]), eager, EXACT)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule.name))
def test_a_rule_refuses_what_is_wrong_and_accepts_what_is_torchs_own(rule: Rule) -> None:
    """In every dtype in which it says anything; half of the right value is wrong by every rule but that of the cosine."""
    for dtype in rule.dtypes:
        for kind in rule.looks_at:
            assert not rule.catches([comparison(kind, dtype)])
            assert rule.catches([comparison(kind, dtype, -1.0)])
            assert rule.catches([comparison(kind, dtype, 0.5)]) != ("cosine" in rule.name)
            assert rule.catches([comparison(kind, dtype)._replace(got=None)])
            assert rule.catches([comparison(kind, dtype)._replace(got=EXACT[:3].astype(KINDS[dtype]))])


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule.name))
def test_a_rule_sees_only_what_its_tool_looks_at(rule: Rule) -> None:
    """A wrong gradient is nothing to a tool that compares outputs, nor a later step to one that takes the first."""
    wrong = {kind: [comparison(kind, rule.dtypes[0], -1.0)] for kind in (OUTPUT, GRADIENT, UPDATE)}
    assert {kind for kind, found in wrong.items() if rule.catches(found)} == rule.looks_at
    later = comparison(next(iter(rule.looks_at)), rule.dtypes[0], -1.0, step=1)
    assert rule.catches([later]) == (rule.steps is None)


@pytest.mark.parametrize("dtype", ASSERT_CLOSE)
def test_assert_close_is_torchs(dtype: str) -> None:
    """The same answer as `torch.testing.assert_close` with its own defaults, on either side of them."""
    rule = _by_dtype(ASSERT_CLOSE)
    eager = torch.tensor([1.0, -3.0, 0.0, float("nan")], dtype=getattr(torch, dtype))
    for share in (0.5, 4.0):
        rtol, atol = ASSERT_CLOSE[dtype]
        got = eager + share * (rtol * eager.abs() + atol)
        arrays = [tensor.double().numpy().astype(KINDS[dtype]) for tensor in (got, eager)]
        try:
            torch.testing.assert_close(got, eager, equal_nan=True)
            expected = True
        except AssertionError:
            expected = False
        assert rule(ThreeArrays(OUTPUT, 0, arrays[0], arrays[1], arrays[1])) == expected


@pytest.mark.parametrize(("tolerance", "by_cosine"), [(1e-3, False), (1e-4, True)])
def test_same_is_dynamos(tolerance: float, by_cosine: bool) -> None:
    """The same answer as the function itself, for errors of many sizes in float32 and bfloat16."""
    from torch._dynamo.utils import same as dynamos

    rule = cosine(tolerance) if by_cosine else same(tolerance)
    noise = np.random.default_rng(1).standard_normal(64)
    answers = set()
    for dtype in ("float32", "bfloat16"):
        for size in 10.0 ** np.arange(-8, 1):
            own = comparison(OUTPUT, dtype)
            got = (wide(own.eager) + size * noise).astype(KINDS[dtype])
            ref, res = (torch.from_numpy(wide(a)).to(getattr(torch, dtype)) for a in (own.eager, got))
            exact = torch.from_numpy(EXACT)
            expected = dynamos(ref, res, fp64_ref=exact, tol=tolerance, equal_nan=True, cos_similarity=by_cosine)
            assert rule(own._replace(got=got)) == expected, (dtype, size)
            answers.add(expected)
    assert answers == {True, False}


def test_gradcheck_refuses_a_wrong_derivative_and_accepts_the_right_one() -> None:
    """The real `torch.autograd.gradcheck`; an update alone is nothing that it can differentiate."""
    bug = next(own for name, own in all_bugs().items() if name.startswith("linear") and "grad_input" in str(own))
    case = bug.case
    assert not refuses(refbp.run, case)

    def doubled(given: Case) -> Trace:
        trace = refbp.run(given)
        arrays: dict[Any, Array] = {
            key: value * 2 if key.quantity == "grad_input" else value for key, value in trace.arrays.items()
        }
        return replace(trace, arrays=arrays)

    assert refuses(doubled, case)
    update = next(own.case for own in all_bugs().values() if not own.case.layers and own.case.loss is None)
    with pytest.raises(NotDifferentiable):
        refuses(refbp.run, update)


def test_the_best_fixed_tolerance_accuses_nobody() -> None:
    """The smallest such one; a rule that does as well as oracle is named, one that does not is not."""
    jobs = [score.Job(True, "bug", "float32"), score.Job(False, "variant", "float32")]
    names = [rule.name for rule in RULES]

    def outcome(job: score.Job, refusing: set[str]) -> score.Outcome:
        return score.Outcome(
            job, {score.ORACLE: job.is_bug, **{n: n in refusing for n in names}}, 1e-6 if job.is_bug else 1e-7
        )

    good = outcome(jobs[0], {names[0], names[1]})
    result = score.Rivalry([good, outcome(jobs[1], {names[1]})])
    assert result.passed
    assert result.best_fixed("float32") == 1e-7 and "1 of 1, at 1e-07" in result.table().to_string()
    assert all(score.Outcome.of_row(own.as_row()) == own for own in result.outcomes)
    told = render.as_good(result)
    assert f"float32: {names[0]} misses and accuses as few" in told
    assert f"float32: {names[1]} misses as few, and accuses 1" in told
    assert names[2] not in told
    missed = good._replace(refused={**good.refused, score.ORACLE: False})
    assert not score.Rivalry([missed]).passed
    assert score.Rivalry([good, score.Outcome(jobs[0], {})]).passed  # which torch does not run: no rule says anything
    assert names[0] in render.markdown(result, "")


def test_oracle_and_the_rules_on_one_planted_bug() -> None:
    """A gross bug is refused by all that look at it; a job is one that the library has."""
    name = next(name for name, own in all_bugs().items() if "grad" in str(own) and own.family == "linear")
    outcome = score.judged(score.Job(True, name, "float64"))
    assert outcome.refused[score.ORACLE] and outcome.tolerance > FIXED[0]
    assert render.summary_table(score.Rivalry([outcome])).iloc[0, 0] == "float64: 1 bug, 0 legal variants"
    assert set(outcome.refused) >= {rule.name for rule in RULES if "float64" in rule.dtypes}
    assert not within(0, 0)(comparison(OUTPUT, "float64", 2.0))


def test_nobody_is_accused_for_counting_steps_in_integers() -> None:
    """torch counts them in floating-point numbers. Whoever compares what was trained does not look at the count."""
    found = score.judged(score.Job(False, "Rprop: by masks", "float64"))
    assert not found.refused["torch.testing.assert_close"] and found.tolerance < 1e-6


IN_16_BITS = ("linear", "conv", "max pool", "batch norm", "Tanh", "PReLU", "CrossEntropyLoss")


def test_in_bfloat16_the_layer_at_fault_is_judged_by_itself() -> None:
    """The first bug and variant of some families: what is judged is one layer or loss. A bug that 16 bits do not show, an
    optimizer and a wiring have no outcome."""
    first: dict[tuple[str, bool], score.Job] = {}
    for job in score._jobs():
        family = (all_bugs() if job.is_bug else all_variants())[job.name].family
        if job.dtype == "bfloat16":
            first.setdefault((family, job.is_bug), job)
    for family in IN_16_BITS:
        assert score.judged(first[family, True]).refused[score.ORACLE]
        assert not score.judged(first[family, False]).refused.get(score.ORACLE)
    assert not any(score.judged(first[family, True]).refused for family in ("SGD", "wiring", "response norm"))
    part = score.alone(all_bugs()[first["CrossEntropyLoss", True].name])
    assert part is not None and not part.layers and not part.params and part.loss is not None
