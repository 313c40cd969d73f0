"""`oracle init` writes a subject that runs."""

from __future__ import annotations

from pathlib import Path

import pytest

import oracle
from oracle.cli import main


def test_what_is_written_runs_and_conforms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a loss, with an upstream gradient, with momentum and without; the rest is unsupported."""
    monkeypatch.syspath_prepend(str(tmp_path))
    assert main(["init", str(tmp_path / "skeleton_of_theirs.py")]) == 0
    assert "oracle run --subject skeleton_of_theirs:subject --cases mlp" in capsys.readouterr().out
    for cases in ("mlp/*MSELoss", "worked-example", "linear/Linear,in_features=3*", "activation/Tanh"):
        report = oracle.run("skeleton_of_theirs:subject", cases=cases, dtypes=("float32",))
        report.raise_for_discrepancy()
        assert "pass" in set(report.cases["verdict"])


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
