"""`oracle fuzz` as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from oracle.cli import main

WORKER = ("--workers", "1", "--reference", "refbp")  # one without torch starts sooner


def test_a_campaign_is_begun_and_continued(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The results are on standard output, how fast it was and where the files are on standard error."""
    typed = ["fuzz", "--kinds", "losses", "--seed", "3", *WORKER, "--out", str(tmp_path)]
    assert main([*typed, "--cases", "3"]) == 0
    said = capsys.readouterr()
    assert said.out.split() == ["3", "pass"] and "3 cases in " in said.err and "fuzz.md" in said.err
    assert main([*typed, "--cases", "5", "--resume", "--json"]) == 0
    said = capsys.readouterr()
    assert sum(json.loads(said.out)["verdicts"].values()) == 5 and "2 cases in " in said.err


def test_faults_are_planted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With a table of the smallest that are caught, on standard output and in the folder."""
    typed = ["fuzz", "--mutate", "--kinds", "losses", "--seed", "3", *WORKER, "--out", str(tmp_path)]
    assert main([*typed, "--cases", "2"]) == 0
    said = capsys.readouterr()
    assert "element" in said.out and "largest / u" in said.out and "2 cases in " in said.err
    assert {"mutation.md", "mutation.csv", "mutated.csv"} <= {own.name for own in tmp_path.iterdir()}


@pytest.mark.parametrize("typed", [["--kinds", "programmes"], ["--subject", "nobody"], ["--reference", "jax"]])
def test_what_there_is_not_is_a_sentence(typed: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Before a folder is made."""
    out = tmp_path / "there"
    assert main(["fuzz", "--cases", "3", "--out", str(out), *typed]) == 2
    assert typed[1] in capsys.readouterr().err and not out.exists()
