"""A failure inside the harness or inside a subject ends one case only: the run goes on, and the report says where it failed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import oracle
import refbp
from oracle import suite
from oracle.case.case import Case, CaseError
from oracle.cli import main
from oracle.harness import judge as door
from oracle.judging.rows import CRASHED, DISCREPANCIES, FAILED, WRONG, Row
from oracle.subjects import refbp as refbp_subject
from oracle.trace import Trace

NAMES = "worked-example/"


def fails_in(case: Case, *rest: Any) -> Any:
    if case.name == "worked-example/plain":
        raise ZeroDivisionError("by nothing")
    return JUDGE(case, *rest)


JUDGE = door.judge


@pytest.mark.contained
def test_a_failure_of_the_harness_costs_its_case_and_no_more(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The other cases are judged, no subject is blamed, the conclusion asks for a report, and the command exits with 3."""
    monkeypatch.setattr(door, "judge", fails_in)
    report = oracle.run(cases=NAMES, dtypes=("float64",))
    found = dict(zip(report.cases["case"], report.cases["verdict"], strict=True))
    assert found.pop("worked-example/plain") == FAILED and set(found.values()) == {"pass"}
    assert not report.passed and not report.blame
    said = "the harness itself failed in 1 run, please report this: worked-example/plain (float64): ZeroDivisionError: by nothing"
    assert said in report.conclusion and "judge.py:" in report.conclusion
    with pytest.raises(oracle.Discrepancy, match="the harness itself failed"):
        report.raise_for_discrepancy()
    assert main(["run", "--cases", NAMES, "--out", str(tmp_path)]) == 3
    kept = oracle.load_report(tmp_path)
    assert "ZeroDivisionError: by nothing" in kept.cases["diagnosis"].iloc[0]
    assert FAILED in set(kept.table["verdict"]) and '<error message="ZeroDivisionError' in kept.to_junit()
    assert "✗ the harness itself failed" in (tmp_path / "report.html").read_text()


class OneWrong:
    """refbp with a wrong bias gradient."""

    name = "one wrong"

    def run(self, case: Case) -> Trace:
        trace = refbp_subject.run(case)
        for key in trace:
            if key.quantity == "grad.bias":
                trace.arrays[key] = 2 * trace.arrays[key]
        return trace


def test_a_failure_of_the_harness_fails_whatever_test_it_happens_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row of a failure is easily overlooked, so such a row raises in every test that is not marked `contained`."""
    monkeypatch.setattr(door, "judge", fails_in)
    with pytest.raises(ZeroDivisionError):
        oracle.run(cases="worked-example/plain", dtypes=("float64",))


@pytest.mark.contained
def test_a_failing_search_for_causes_costs_the_cause_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Verdict, layer and quantity stay as they are. The cause says that the search for it failed, and how."""

    def fails(*arguments: Any) -> Any:
        raise KeyError("no such hypothesis")

    monkeypatch.setattr(door, "explained", fails)
    report = oracle.run(OneWrong(), cases="worked-example/plain", dtypes=("float64",))
    culprit = report.blame[0]
    assert (culprit.verdict, culprit.quantity) == (WRONG, "grad.bias")
    assert re.fullmatch(
        r"not found: the search for it failed, please report this: KeyError: 'no such hypothesis'.*", culprit.cause
    )


class Falling(OneWrong):
    """The same subject, but it raises an error that carries the trace computed so far."""

    def run(self, case: Case) -> Trace:
        error = ArithmeticError("no luck")
        error.trace = super().run(case)  # type: ignore[attr-defined]
        raise error


class Calling:
    """A subject that calls refbp, which raises; the message has several lines."""

    name = "calling"

    def run(self, case: Case) -> Trace:
        try:
            refbp.functional.linear(case.inputs[0], np.ones((1, 7)))
        except ValueError as error:
            error.args = (f"first\n  second: {error}",)
            raise
        return Trace()


def test_a_crash_is_placed_in_the_subjects_own_code() -> None:
    """One line names the place in the subject's file, not the place in a library that it calls, even if that is refbp."""
    report = oracle.run(Calling(), cases="worked-example/plain", dtypes=("float64",))
    said = report.blame[0].diagnosis
    assert re.fullmatch(r"ValueError: first second: linear expects .* \(test_contained.py:\d+, in run\)", said), said


def test_what_was_wrong_before_a_crash_has_its_cause() -> None:
    """A wrong gradient that was shown before the crash is blamed with its cause; the crash is told with file and line."""
    report = oracle.run(Falling(), cases="worked-example/plain", dtypes=("float64",))
    wrong = next(culprit for culprit in report.blame if culprit.verdict == WRONG)
    assert wrong.quantity == "grad.bias" and "2" in wrong.cause
    (fell,) = report.table[report.table["verdict"] == CRASHED]["diagnosis"]
    assert re.fullmatch(r"ArithmeticError: no luck \(test_contained.py:\d+, in run\)", fell)
    assert report.details


class Spoiling:
    """A right subject that spoils the case it was given: it overwrites arrays, replaces parameters and removes options."""

    name = "spoiling"

    def run(self, case: Case) -> Trace:
        trace = refbp_subject.run(case)
        for array in case.params.values():
            array.fill(9)
        for name in case.params:
            case.params[name] = np.zeros(1)  # type: ignore[index]
        for spec in case.layers:
            spec.options.clear()  # type: ignore[attr-defined]
        case.inputs[0].setflags(write=True)
        case.inputs[0].fill(7)
        return trace


def test_a_subject_cannot_change_the_case_by_which_it_is_judged() -> None:
    """Each subject is handed a copy of its own; the suite's case stays as it was."""
    before = json.dumps(suite.named("worked-example/plain").to_json())
    report = oracle.run(Spoiling(), cases="worked-example/plain", dtypes=("float64",))
    assert report.passed, report
    assert json.dumps(suite.named("worked-example/plain").to_json()) == before


@pytest.mark.parametrize("name", ["layout/Linear,reversed", "lenet5/random"])
def test_a_copy_for_a_subject_differs_in_nothing(name: str) -> None:
    """Values, memory layouts and specs are the same. The copy's parameters can be written to, its inputs cannot."""
    case = next(suite.matching(name))
    copy = case.handed_out()
    assert copy.to_json() == case.to_json()
    assert [array.strides for array in copy.inputs] == [array.strides for array in case.inputs]
    assert all(array.flags.writeable for array in copy.params.values())
    assert not any(array.flags.writeable for array in (*copy.inputs, *case.params.values()))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"cases": []}, "cases expects at least one case, got an empty list"),
        (
            {"cases": ["lenet5"]},
            "a list of cases holds oracle.Case, got 'lenet5': one of the suite is oracle.suite.named(…)",
        ),
        ({"cases": [suite.named("worked-example/plain")] * 2}, "2 cases have the same name 'worked-example/plain'"),
        ({"cases": 5}, "cases expects a pattern or a list of cases, got int"),
        ({"workers": 0}, "workers expects a whole number of at least 1, got 0"),
        ({"workers": "2"}, "workers expects a whole number of at least 1, got '2'"),
        ({"reference": Case("mine/one")}, "unknown reference "),
        ({"cases": Case("mine/one")}, "cases expects a pattern or a list of cases, got the case mine/one itself"),
        (
            {"dtypes": "float32"},
            "dtypes expects a list of at least one of float64, float32, float16, bfloat16, got 'float32'",
        ),
        ({"dtypes": ()}, "dtypes expects a list of at least one of float64, float32, float16, bfloat16, got ()"),
    ],
)
def test_a_run_of_nothing_is_refused(arguments: dict[str, Any], sentence: str) -> None:
    """A run that judges nothing would look like a run that finds nothing wrong."""
    with pytest.raises(ValueError, match=re.escape(sentence)):
        oracle.run(**arguments)


def test_all_unsupported_is_no_success(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command exits with 2 and says why nothing was judged."""
    status = main(["run", "--cases", "worked-example/plain", "--dtype", "bfloat16", "--out", str(tmp_path)])
    said = "nothing was judged (1 run of 1 case, all unsupported), the first since: refbp has no bfloat16"
    assert status == 2 and said in capsys.readouterr().out


def test_all_undecided_is_no_success(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An undecided row is not a pass. A run of undecided rows alone does not conform, also when it is loaded again."""
    case = "loss/NLLLoss,reduction=sum,all_ignored"
    status = main(["run", "--cases", case, "--dtype", "float32", "--out", str(tmp_path)])
    assert status == 2
    assert "nothing was decided (1 run of 1 case, every row is undecided)" in capsys.readouterr().out
    with pytest.raises(oracle.Discrepancy, match="nothing was decided"):
        oracle.load_report(tmp_path).raise_for_discrepancy()


def test_a_trace_from_a_dictionary_is_recorded_like_any_other() -> None:
    """Lists become arrays, and arrays are copied. A wrong place, or a value that is not an array, is refused in a sentence."""
    own = np.ones(2)
    trace = oracle.Trace({oracle.Key(0, "0", "output"): own, oracle.Key(0, "0", "grad_input"): [1.0, 2.0]})
    own[:] = 5
    assert [array.tolist() for array in trace.arrays.values()] == [[1, 1], [1, 2]]
    for place, array, sentence in (
        (
            ("0", "0", "output"),
            1.0,
            "by step, layer name and quantity, such as (0, '0', 'output'), got ('0', '0', 'output')",
        ),
        ((0, 0, "output"), 1.0, "got (0, 0, 'output')"),
        (
            (0, "0", "output"),
            [[1.0], [1.0, 2.0]],
            "0 output at step 0 is not an array: setting an array element with a sequence",
        ),
        ((0, "0", "output"), ["x"], "0 output at step 0 holds <U1, expected real numbers"),
        ((0, "0", "output"), None, "0 output at step 0 is not an array: got NoneType: an array of NumPy, torch"),
        ((1.5, "0", "output"), 1.0, "got (1.5, '0', 'output')"),
    ):
        with pytest.raises(TypeError, match=re.escape(sentence)):
            trace.record(*place, array)  # type: ignore[arg-type]


def test_a_trace_takes_tensors_as_they_are() -> None:
    """A tensor may be part of a graph, or hold bfloat16, which NumPy does not have by itself."""
    trace = oracle.Trace()
    trace.record(0, "0", "output", torch.ones(2, requires_grad=True) * 2)
    trace.record(np.int64(0), "0", "grad_input", torch.tensor([1.5, 3]).bfloat16())
    (output, grad_input) = trace.arrays.values()
    assert (output.dtype, output.tolist()) == ("float32", [2, 2])
    assert (grad_input.dtype.name, grad_input.tolist()) == ("bfloat16", [1.5, 3])


X, LINEAR = np.ones((2, 2)), oracle.Spec("Linear", {"in_features": 2, "out_features": 1, "bias": False})


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({}, "case mine lacks the field 'layers'"),
        ({"layers": (LINEAR,), "params": {"0.weight": X[:1]}}, "case mine lacks the field 'inputs'"),
        ({"loss": oracle.Spec("MSELoss"), "inputs": (X,)}, "case mine lacks the field 'targets', which its loss needs"),
        ({"inputs": X}, "case mine: inputs expects a tuple, got ndarray"),
        ({"inputs": ([1.0],)}, "case mine: inputs[0] expects a NumPy array, got list"),
        ({"steps": 0}, "case mine: steps expects a number from 1, got 0"),
        ({"steps": 1.5}, "case mine: steps expects a number from 1, got 1.5"),
        ({"name": ""}, "a case needs a name, a non-empty string, got ''"),
        ({"layers": LINEAR}, "case mine: layers expects a tuple of oracle.Spec, got Spec"),
        ({"layers": ("Linear",)}, "case mine: layers expects oracle.Spec, got str"),
        ({"loss": "MSELoss"}, "case mine: loss expects oracle.Spec, got str"),
        ({"layers": (oracle.Spec("Linear", 3),)}, "case mine: options of Linear in layers expects a mapping, got 3"),
        (
            {"layers": (oracle.Spec("Sequential", layers=("ReLU",)),)},
            "case mine: layers of Sequential in layers expects oracle.Spec, got str",
        ),
        ({"params": [X]}, "case mine: params expects a mapping of arrays by name, got list"),
        ({"targets": (X,)}, "case mine: targets[0] expects a tuple, got ndarray"),
    ],
)
def test_a_case_that_cannot_be_run_names_what_it_lacks(fields: dict[str, Any], sentence: str) -> None:
    """The case is refused before anything runs: otherwise the subject would be blamed."""
    with pytest.raises(CaseError, match=re.escape(sentence)):
        oracle.run(cases=[Case(**{"name": "mine", **fields})])


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"layers": (LINEAR, LINEAR), "name": ""}, "a case needs a name"),
        (
            {"layers": (oracle.Spec("ReLU", name="a"), oracle.Spec("ReLU", name="a"))},
            "case mine has several layers of the name 'a'",
        ),
        (
            {"layers": (oracle.Spec("ReLU", name="loss"),)},
            "has several layers of the name 'loss' (the loss is the layer",
        ),
        ({"layers": (oracle.Spec("ReLU", name=1),)}, "the name of ReLU in layers expects a string, got 1"),
        (
            {"layers": (oracle.Spec("ReLU", name="a.b"),)},
            "case mine cannot be run: ValueError: Sequential expects names",
        ),
        ({"masks": {"drop": X > 0}}, "case mine: masks names the layer 'drop', known: 0, loss"),
        ({"params": {"0.weight": np.ones((1, 2), int)}}, "case mine: 0.weight expects float64 numbers, got int64"),
        ({"targets": ((),)}, "case mine cannot be run: TypeError: "),
        ({"targets": ((X[:, :1], X),)}, "case mine cannot be run: TypeError: "),
        (
            {"optimizer_state": {"momentum": {"none": X}}},
            "case mine: optimizer_state['momentum'] names 'none', known: 0.weight",
        ),
    ],
)
def test_a_case_whose_parts_do_not_fit_is_refused(fields: dict[str, Any], sentence: str) -> None:
    """The error is a CaseError of one line that says what is wrong with the case; the whole case itself passes."""
    whole: dict[str, Any] = {
        "name": "mine",
        "layers": (LINEAR,),
        "params": {"0.weight": X[:1]},
        "inputs": (X,),
        "loss": oracle.Spec("MSELoss"),
        "targets": ((X[:, :1],),),
        "optimizer": oracle.Spec("SGD", {"lr": 0.1, "momentum": 0.9}),
    }
    with pytest.raises(CaseError, match=re.escape(sentence)) as refused:
        oracle.run(cases=[Case(**{**whole, **fields})])
    assert "\n" not in str(refused.value)
    assert oracle.run(cases=[Case(**whole)]).passed


def test_a_case_that_cannot_be_saved_or_had_says_so(tmp_path: Path) -> None:
    """The path is a folder, the dtype is unknown, or a case's name is given in place of the case."""
    case = suite.named("worked-example/plain")
    with pytest.raises(CaseError, match="cannot be written: Is a directory"):
        case.save(tmp_path)
    with pytest.raises(CaseError, match="unknown dtype 'float8'"):
        case.astype("float8")
    with pytest.raises(CaseError, match=r"shrink expects an oracle\.Case, got 'worked-example/plain'"):
        oracle.shrink(case.name, "refbp")  # type: ignore[arg-type]


def test_rows_of_failures_are_no_discrepancies() -> None:
    """The harness failed there, so the row is not evidence against the subject."""
    assert Row("a/b", "float64", 0, "", "", "", "local", FAILED).verdict not in DISCREPANCIES
