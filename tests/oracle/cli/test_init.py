"""`oracle init` writes a subject that runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import oracle
from oracle import suite
from oracle.cli import main
from oracle.subjects import skeleton


def test_what_is_written_runs_and_conforms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Under its new name, which its first lines and its name as a subject take over."""
    monkeypatch.syspath_prepend(str(tmp_path))
    assert main(["init", str(tmp_path / "skeleton_of_theirs.py")]) == 0
    assert "oracle run --subject skeleton_of_theirs:subject --cases mlp" in capsys.readouterr().out
    report = oracle.run("skeleton_of_theirs:subject", cases="mlp/Tanh+MSELoss", dtypes=("float32",))
    report.raise_for_discrepancy()
    assert list(report.cases["verdict"]) == ["pass"]


def test_a_module_with_a_subject_in_it_is_named_with_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A user who forgets `:subject` reads what to write."""
    monkeypatch.syspath_prepend(str(tmp_path))
    assert main(["init", str(tmp_path / "frame_of_theirs.py")]) == 0
    capsys.readouterr()
    assert main(["run", "--subject", "frame_of_theirs", "--cases", "mlp/Tanh+MSELoss", "--out", str(tmp_path)]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.endswith("a method `run(case) -> Trace`; the module has one: frame_of_theirs:subject")


def test_the_frame_is_right_in_all_that_it_takes() -> None:
    """With a loss, with an upstream gradient, with a momentum and without, without a bias, of no samples: a beginner's first
    report shows no fault that is not theirs."""
    patterns = (
        "mlp/*+MSELoss",
        "worked-example",
        "linear/Linear,in_features=3*",
        "activation/Tanh",
        "batch/Linear,batch=0",
    )
    cases = [case for pattern in patterns for case in suite.matching(pattern) if not refused(case)]
    report = oracle.run("oracle.subjects.skeleton:subject", cases=cases, dtypes=("float32",))
    report.raise_for_discrepancy()
    assert len(report.cases) == len(cases) > 20


def refused(case: oracle.Case) -> str:
    try:
        skeleton.refuse(case)
    except oracle.Unsupported as error:
        return str(error)
    return ""


LINEAR = oracle.Spec("Linear", {"in_features": 2, "out_features": 2}, "a")
SGD = oracle.Spec("SGD", {"lr": 0.1})


@pytest.mark.parametrize(
    "change, words",
    [
        ({"layers": (oracle.Spec("GELU"),)}, "no GELU here"),
        ({"layers": (LINEAR, oracle.Spec("Linear", {}, "b", same_as="a"))}, "no Linear here"),
        ({"inputs": ()}, "no forward pass"),
        ({"loss": None}, "no forward pass"),
        ({"loss": oracle.Spec("L1Loss")}, "no loss but"),
        ({"loss": oracle.Spec("MSELoss", {"reduction": "sum"})}, "no loss but"),
        ({"optimizer": oracle.Spec("Adam")}, "no optimizer but SGD"),
        ({"optimizer": oracle.Spec("SGD", {"lr": 0.1, "weight_decay": 0.1})}, "no optimizer but SGD"),
        ({"optimizer": oracle.Spec("SGD", {"lr": 0.1, "weight_decay": 0.0})}, ""),
        (
            {"optimizer": replace(SGD), "optimizer_state": {"momentum": {"a.weight": np.zeros((2, 2))}}},
            "no optimizer but",
        ),
    ],
)
def test_the_frame_refuses_what_it_would_get_wrong(change: dict[str, Any], words: str) -> None:
    """A case that it cannot do and does not refuse would be a discrepancy, in a file of which nobody changed a line yet."""
    case = oracle.Case("mine", layers=(LINEAR,), inputs=(np.eye(2),), loss=oracle.Spec("MSELoss"), optimizer=SGD)
    assert not refused(case)
    assert refused(replace(case, **change)).startswith(words) and bool(words) == bool(refused(replace(case, **change)))


def test_nothing_is_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nor written where it could not be imported."""
    (tmp_path / "mine.py").write_text("years of work")
    assert main(["init", str(tmp_path / "mine.py")]) == 2
    assert capsys.readouterr().err.endswith("mine.py cannot be written: File exists\n")
    assert (tmp_path / "mine.py").read_text() == "years of work"
    assert main(["init", str(tmp_path / "my-subject.py")]) == 2
    assert main(["init", str(tmp_path / "nowhere" / "mine.py")]) == 2
    assert list(tmp_path.iterdir()) == [tmp_path / "mine.py"]


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"oracle {oracle.__version__}\n"
