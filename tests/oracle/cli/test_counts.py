"""Counts in what the commands print: one of a thing is not several."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from oracle.cli import main

# Of a reference whose workers start without torch.
ONE = ("--cases", "worked-example/plain", "--dtype", "float64", "--reference", "refbp")


def test_one_of_a_thing_is_told_in_the_singular(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the commands that work on cases, on one case each."""
    monkeypatch.chdir(tmp_path)
    assert main(["vectors", "export", "vectors", *ONE]) == 0
    assert main(["run", *ONE, "--workers", "1", "--out", "runs/1"]) == 0
    assert main(["report", "runs", "--history"]) == 0
    assert main(["report", "runs/1", "--format", "markdown"]) == 0
    assert main(["fuzz", "--cases", "1", "--workers", "1", "--reference", "refbp"]) in (0, 2)
    said = "".join(capsys.readouterr()) + Path("fuzz/fuzz.md").read_text()
    assert "1 case in" in said and "1 run, 1 to 1" in said and "1 case of layers" in said
    assert not re.findall(r"(?<!of )(?<![\d,.])\b1 (?:cases|runs|files|pages|groups|quantities)\b", said), said
