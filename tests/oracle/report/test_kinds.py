"""One fault is told once, with its smallest case, however many cases show it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import oracle
from oracle.blame.details import MOST_PER_REPORT
from oracle.case.arrays import Array
from oracle.case.case import Case
from oracle.subjects import refbp as refbp_subject
from oracle.trace import Key, Trace

from .. import planted


def changed(change: Callable[[Key, str, Array], Array]) -> planted.Planted:
    """refbp with its arrays changed, by key and layer type."""

    def run(case: Case) -> Trace:
        trace, types = refbp_subject.run(case), {spec.name or "0": spec.type for spec in case.layers}
        for key in list(trace):
            trace.arrays[key] = np.asarray(change(key, types.get(key.layer, ""), trace.arrays[key]))
        return trace

    return planted.Planted(run)


@pytest.fixture(scope="module")
def report() -> oracle.Report:
    """One fault in many cases: a linear layer's bias gradient doubled."""

    def change(key: Key, type: str, value: Array) -> Array:
        return value * 2 if type == "Linear" and key.quantity == "grad.bias" else value

    return oracle.run(changed(change), cases="linear/*batch=2x3", dtypes=("float64",))


def test_each_fault_is_one_kind(report: oracle.Report) -> None:
    """But where there is a single number, of which no cause is known."""
    table = report.kinds
    assert len(report.blame) == 4 and len(table) <= 2
    assert set(zip(table["layer_type"], table["quantity"], strict=True)) == {("Linear", "grad.bias")}
    assert table["count"].sum() == len(report.blame)


def test_the_example_is_the_smallest_case(report: oracle.Report) -> None:
    sizes = report.table.groupby("case")["n"].sum()
    for kind, record in zip(report.grouped, report.kinds.to_dict(orient="records"), strict=True):
        assert sizes[kind.example.case] == min(sizes[culprit.case] for culprit in kind.culprits)
        assert kind.example.case in record["reproduce"] and record["cases"] == len(kind.cases)
        assert len(kind.others) == len(kind.culprits) - 1 and kind.example not in kind.others


def test_arrays_are_kept_for_the_example_of_every_kind() -> None:
    """Not for a hundred cases of the kind that comes first."""

    def change(key: Key, type: str, value: Array) -> Array:
        return value + 1 if key.quantity == "output" and key.layer != "loss" else value

    report = oracle.run(changed(change), cases="activation", dtypes=("float64",))
    assert len(report.details) <= MOST_PER_REPORT < len(report.blame)
    kept = {(detail.place.case, detail.place.layer, detail.place.quantity) for detail in report.details}
    shown = [any((own.case, own.layer, own.quantity) in kept for own in kind.culprits) for kind in report.grouped]
    assert 20 < len(shown) < MOST_PER_REPORT and all(shown)


def test_a_report_that_conforms_has_no_kind() -> None:
    report = oracle.run("refbp", cases="worked-example/plain", dtypes=("float32",))
    assert report.kinds.empty and list(report.kinds.columns)[:3] == ["layer_type", "quantity", "verdict"]


def test_another_dtype_is_one_kind_in_whatever_layers() -> None:
    """A framework that computes in float64 has one fault, not one for each of its classes."""
    report = oracle.run(
        changed(lambda key, _, value: value.astype(np.float64)),
        cases="activation/S*",
        dtypes=("float32",),
    )
    assert len({own.layer_type for own in report.blame}) > 3
    (kind,) = report.grouped
    assert kind.example.diagnosis == "dtype float64, expected float32" and len(kind.culprits) == len(report.blame)
