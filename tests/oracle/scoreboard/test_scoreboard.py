"""The scoreboard: every run is counted once, in the order that was asked for, and what it says is in reports/."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from oracle import suite
from oracle.blame.details import Detail, place_of
from oracle.cli import main
from oracle.harness import work
from oracle.harness.jobs import Judged
from oracle.harness.run import DTYPES
from oracle.judging.rows import Row
from oracle.report.about import About
from oracle.report.report import Report
from oracle.scoreboard import page, scoreboard
from oracle.scoreboard.scoreboard import COUNTS, Scoreboard
from oracle.subjects import BUILT_IN

REPORTS = Path(__file__).parents[3] / "reports"
STALE = "reports/ is stale: run `oracle scoreboard`"


def row(case: str, verdict: str, z: float = 0.0, **changes: object) -> Row:
    made = Row(case, "float32", 0, "0", "ELU", "grad_input", "local", verdict, "what was seen")
    return replace(made, z_max=z, effective_bits=23.0, **changes)  # type: ignore[arg-type]


def board(*rows: Row, lacking: tuple[str, ...] = ()) -> Scoreboard:
    about = About(subject="jax", reference="torch", cases=3, dtypes=("float32",), versions=(("numpy", "2"),))
    return Scoreboard.of({"jax": Report.of(rows, about, {})}, about, lacking)


def test_a_run_counts_once_by_its_gravest_row() -> None:
    """And the largest z is of what is sound: an error says nothing about how close the rest is."""
    made = board(
        row("a/1", "pass", 2.0),
        row("a/1", "wrong", 1e9),
        row("a/2", "pass", 3.0),
        row("a/2", "convention", 1e8),
        row("b/1", "unsupported"),
    )
    totals = made.totals.iloc[0]
    assert {name: totals[name] for name in COUNTS if totals[name]} == {"convention": 1, "unsupported": 1, "wrong": 1}
    assert totals["runs"] == 3 and totals["z_max"] == 3.0
    assert list(made.scores["family"]) == ["a", "b"]


def test_each_kind_of_fault_is_told_once_with_its_page() -> None:
    """Two runs with the same culprit are one line with a count; what is written up has its link."""
    made = board(row("a/1", "wrong"), row("a/2", "wrong"), row("b/1", "wrong", layer_type="Linear", quantity="output"))
    told = made.faults.set_index("layer_type")
    assert told.loc["ELU", "runs"] == 2 and told.loc["ELU", "finding"] == "expm1-gradient"
    assert told.loc["Linear", "runs"] == 1 and told.loc["Linear", "finding"] == ""
    markdown = page.markdown(made)
    assert "- 2 × a/1/0 (ELU) grad_input wrong" in markdown and "(findings/expm1-gradient.md)" in markdown


def test_what_is_not_installed_is_named() -> None:
    """With the extra that brings it, instead of a row of zeros."""
    markdown = page.markdown(board(row("a/1", "pass"), lacking=("mlx",)))
    assert "Not installed here, and left out: mlx (pip install 'refbp[mlx]')." in markdown


def hide(monkeypatch: pytest.MonkeyPatch, *distributions: str) -> None:
    """As if they were not installed."""
    found = metadata.version

    def version(name: str) -> str:
        if name in distributions:
            raise metadata.PackageNotFoundError(name)
        return found(name)

    monkeypatch.setattr(metadata, "version", version)


def test_installed_subjects_are_judged_and_others_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the order in which they are known; torch is held against refbp, not against itself."""
    hide(monkeypatch, "mygrad")
    cases, seen = [suite.named("worked-example/plain")], []
    with ThreadPoolExecutor(1) as executor:
        made = scoreboard.run(
            cases, DTYPES, executor, lambda *progress: seen.append(progress), ("torch", "mygrad", "autograd", "refbp")
        )
    assert list(made.totals["subject"]) == ["torch", "torch", "autograd", "autograd", "refbp", "refbp"]
    assert made.lacking == ("mygrad",) and made.totals["conform"].sum() == 6
    assert seen[-1][:2] == (6, 6)


def test_a_run_that_ended_early_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each run is made once, half a line again, and the scoreboard is that of one go: with the causes that fit in both dtypes."""
    cases, kept = [suite.named(name) for name in ("kink/ReLU", "worked-example/plain")], tmp_path / "scoreboard.jsonl"
    made: list[str] = []
    judge = work.judged

    def wrong(job: work.Job) -> Judged:
        """As of a subject whose every gradient is twice as large."""
        made.append(job.case.name)
        done = judge(job)
        nothing = np.zeros(())
        causes = (("a", "a"), ("b", "b")) if job.case.dtype == "float64" else (("b", "b"),)
        name, words = causes[0]
        rows = [replace(own, verdict="wrong", cause_name=name, cause=words) for own in done.rows]
        details = [Detail(place_of(own), nothing, nothing, nothing, (), (), causes) for own in rows]
        return done._replace(rows=rows, details=details)

    def run(resume: bool) -> Scoreboard:
        made.clear()
        with ThreadPoolExecutor(1) as executor:
            return scoreboard.run(cases, DTYPES, executor, lambda *_: None, ("refbp",), kept, resume)

    monkeypatch.setattr(work, "judged", wrong)
    whole = run(False)
    assert len(made) == 4 and set(whole.faults["cause"]) == {"b"}
    kept.write_bytes(b"".join(kept.read_bytes().splitlines(keepends=True)[:3])[:-9])
    resumed = run(True)
    assert len(made) == 2
    assert resumed.faults.equals(whole.faults) and resumed.scores.equals(whole.scores)
    assert run(True).scores.equals(whole.scores) and not made


def test_the_command_writes_both_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And shows a row for each subject and precision; an unknown pattern or dtype is a sentence. Without the three that
    compile first, which other tests run."""
    compiling = ("jax", "mlx", "tinygrad")
    hide(monkeypatch, *compiling)
    typed = ["scoreboard", "--cases", "kink/ReLU", "--dtype", "float32", "--workers", "1", "--out", str(tmp_path)]
    assert main(typed) == 0
    shown = capsys.readouterr()
    assert "scoreboard.md" in shown.err and "sklearn" in shown.out
    assert set(pd.read_csv(tmp_path / "scoreboard.csv")["subject"]) == set(BUILT_IN) - set(compiling)
    assert main(["scoreboard", "--cases", "no-such-case", "--out", str(tmp_path)]) == 2
    assert main(["scoreboard", "--dtype", "float128", "--out", str(tmp_path)]) == 2


def test_the_published_scoreboard_says_of_how_many_cases_it_is() -> None:
    """Every subject over the same cases in both precisions: the suite may have grown since, and the page says how large it was.
    Every page that it points to is there."""
    scores = pd.read_csv(REPORTS / "scoreboard.csv")
    runs = scores.groupby(["subject", "dtype"])["runs"].sum()
    assert set(runs.index) == {(subject, dtype) for subject in BUILT_IN for dtype in DTYPES}, STALE
    text = (REPORTS / "scoreboard.md").read_text()
    (count,) = set(runs)
    assert f"\n{count:,} cases in float64 and float32.\n" in text and count <= len(suite.all_cases()), STALE
    pages = set(re.findall(r"\(findings/([\w-]+)\.md\)", text))
    assert pages and pages <= {page.stem for page in (REPORTS / "findings").glob("*.md")}
    unexplained = [line for line in text.splitlines() if re.match(r"- \d+ × ", line) and "(findings/" not in line]
    assert unexplained == [], "a discrepancy of a library is written up before it is published"
