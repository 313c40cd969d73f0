"""A table that grows by a row with every outcome, killed at any byte of it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from oracle.harness.kept import FORMATS, Kept


class Outcome(NamedTuple):
    name: str
    z: float


@pytest.mark.parametrize("ending", FORMATS)
def test_a_run_that_was_killed_goes_on(ending: str, tmp_path: Path) -> None:
    """Half a line is nobody's outcome, and half a number is another number: the job is done again, and nothing is lost."""
    jobs = ["first", "second, with a comma", "third"]

    def run(path: Path, resume: bool) -> list[Outcome]:
        kept = Kept(path, resume, Outcome._asdict, lambda row: Outcome(**row))
        return kept.complete(lambda job: Outcome(job, len(job) / 7), jobs, lambda own: own.name)

    whole = run(tmp_path / f"whole{ending}", False)
    text = (tmp_path / f"whole{ending}").read_bytes()
    for length in range(len(text) + 1):
        path = tmp_path / f"cut{ending}"
        path.write_bytes(text[:length])
        assert run(path, True) == whole
        assert path.read_bytes() == text


def test_a_table_of_another_version_is_refused(tmp_path: Path) -> None:
    """A column was renamed since: the sentence names the file and what to do, and the file is left alone."""
    path = tmp_path / "kept.csv"
    path.write_text("name,largest\nfirst,1.0\n")
    with pytest.raises(ValueError, match=r"kept\.csv a table that this version .* got the columns name, largest"):
        Kept(path, True, Outcome._asdict, lambda row: Outcome(**row))
    assert path.read_text() == "name,largest\nfirst,1.0\n"


def test_lines_hold_numbers_of_numpy_and_what_was_not_measured(tmp_path: Path) -> None:
    def run(resume: bool) -> list[Outcome]:
        kept = Kept(tmp_path / "kept.jsonl", resume, Outcome._asdict, lambda row: Outcome(**row))
        return kept.complete(lambda job: Outcome(job, np.float32("nan")), ["first"], lambda own: own.name)

    run(False)
    ((name, z),) = run(True)
    assert name == "first" and math.isnan(z)


@pytest.mark.parametrize("text", ["name,z\nfirst,1.0\n", "[1, 2]\n", '{"name": "first"}\n'])
def test_lines_of_another_kind_are_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "kept.jsonl"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"kept\.jsonl a table that this version of the command wrote"):
        Kept(path, True, Outcome._asdict, lambda row: Outcome(**row))
