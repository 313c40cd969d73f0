"""A table that grows by a row with every outcome, killed at any byte of it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from oracle.harness.kept import Kept


class Outcome(NamedTuple):
    name: str
    z: float


def test_a_run_that_was_killed_goes_on(tmp_path: Path) -> None:
    """Half a line is nobody's outcome, and half a number is another number: the job is done again, and nothing is lost."""
    jobs = ["first", "second, with a comma", "third"]

    def run(path: Path, resume: bool) -> list[Outcome]:
        kept = Kept(path, resume, Outcome._asdict, lambda row: Outcome(**row))
        return kept.complete(lambda job: Outcome(job, len(job) / 7), jobs, lambda own: own.name)

    whole = run(tmp_path / "whole.csv", False)
    text = (tmp_path / "whole.csv").read_bytes()
    for length in range(len(text) + 1):
        path = tmp_path / "cut.csv"
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
