"""A cause has to fit in each precision in which the quantity is wrong, and one that explains more goes first."""

from __future__ import annotations

import numpy as np
import pytest

import oracle
from oracle.blame.agreement import Named, agreed
from oracle.blame.details import Detail, RowKey, place_of
from oracle.judging.rows import IMPRECISE, LOCAL, WRONG, Row
from oracle.subjects import refbp as honest

OPTION, OTHER = ("option", "as if eps were 0"), ("statistics", "eps is forgotten")
HALF, ALMOST, THIRD = (("factor", f"a constant factor of {number}") for number in ("0.5", "0.5000004", "0.3333333"))


def row(dtype: str, cause: Named | None, verdict: str = WRONG, quantity: str = "output") -> Row:
    plain = Row("mine/case", dtype, 0, "norm", "LayerNorm", quantity, LOCAL, verdict)
    name, words = cause or ("", "no known one: 60 % of the elements are wrong")
    return plain.found(verdict, cause_name=name, cause=words)


def detail(own: Row, *causes: Named) -> Detail:
    array = np.ones(1)
    return Detail(place_of(own), array, array, array, (1,), (0,), causes)


def said(double: tuple[Named, ...], single: tuple[Named, ...], verdict: str = WRONG) -> list[tuple[str, str]]:
    rows = [
        row("float64", double[0] if double else None),
        row("float32", single[0] if single else None, verdict),
        row("float32", OTHER, quantity="grad_input"),
    ]
    details = [detail(rows[0], *double), detail(rows[1], *single), detail(rows[2], OTHER)]
    found = agreed(rows, details)
    assert found[2] == rows[2]  # wrong in one precision alone
    return [(own.cause_name, own.cause) for own in found[:2]]


def test_what_fits_in_one_precision_only_goes() -> None:
    """float32 is coarse: a wrong hypothesis fits there, which float64 rules out."""
    assert said((OPTION,), (OTHER, OPTION)) == [OPTION, OPTION]
    assert said((OPTION, OTHER), (OTHER, OPTION)) == [
        ("option", f"{OPTION[1]}; or: {OTHER[1]}"),
        ("statistics", f"{OTHER[1]}; or: {OPTION[1]}"),
    ]


def test_where_none_fits_in_all_none_is_known() -> None:
    """The words say what fits where, and a row that had none keeps its description."""
    assert said((OPTION,), (OTHER,)) == [
        ("", f"no known one: {OPTION[1]}, but not in float32"),
        ("", f"no known one: {OTHER[1]}, but not in float64"),
    ]
    assert said((OPTION,), ()) == [
        ("", f"no known one: {OPTION[1]}, but not in float32"),
        ("", "no known one: 60 % of the elements are wrong"),
    ]


def test_fitted_numbers_agree_as_far_as_the_coarser_precision_tells() -> None:
    assert said((HALF,), (ALMOST,)) == [HALF, ALMOST]
    assert [name for name, _ in said((HALF,), (THIRD,))] == ["", ""]


def test_what_is_not_wrong_in_both_is_left_alone() -> None:
    """An imprecise row has a cause of another kind."""
    assert said((OPTION,), (("precision", "behaves like bfloat16"),), IMPRECISE)[0] == OPTION


class AdamOfOneCount:
    """Adam's count is raised once for each parameter, so that the first is right in its first step and the second is not."""

    name = "one count"
    profile = oracle.Profile(quantities=("param.*",))

    def run(self, case: oracle.Case) -> oracle.Trace:
        trace, (beta1, beta2) = oracle.Trace(), (0.9, 0.999)
        params, m, v, count = dict(case.params), dict.fromkeys(case.params, 0.0), dict.fromkeys(case.params, 0.0), 0
        for step in range(case.steps):
            for name, grad in case.grads[step % len(case.grads)].items():
                count += 1
                m[name] = beta1 * m[name] + (1 - beta1) * grad
                v[name] = beta2 * v[name] + (1 - beta2) * grad * grad
                root = np.sqrt(v[name] / (1 - beta2**count)) + 1e-8
                params[name] = params[name] - 0.1 * (m[name] / (1 - beta1**count)) / root
                trace.record(step, "", f"param.{name}", params[name].astype(case.dtype))
        return trace


@pytest.fixture(scope="module")
def counted() -> oracle.Report:
    rng = np.random.default_rng(3)
    case = oracle.Case(
        "mine/Adam",
        params={name: rng.standard_normal(4) for name in ("weight", "bias")},
        grads=tuple({name: rng.standard_normal(4) for name in ("weight", "bias")} for _ in range(3)),
        optimizer=oracle.Spec("Adam", {"lr": 0.1}),
        steps=3,
    )
    assert oracle.run(honest, reference="refbp", cases=[case]).passed
    return oracle.run(AdamOfOneCount(), reference="refbp", cases=[case])


def test_what_explains_the_other_parameters_too_goes_first(counted: oracle.Report) -> None:
    """The second parameter alone looks as if the count began at another number."""
    assert {culprit.quantity for culprit in counted.blame} == {"param.weight", "param.bias"}
    for culprit in counted.blame:
        assert culprit.cause.startswith("each parameter counts the step again"), culprit


def test_the_places_of_a_report_are_those_of_its_rows(counted: oracle.Report) -> None:
    """Causes are found by the place of a row, and there is one for each culprit."""
    places = {own.place for own in counted.details}
    assert {RowKey(own.case, own.dtype, own.step, own.layer, own.quantity, LOCAL) for own in counted.blame} <= places
