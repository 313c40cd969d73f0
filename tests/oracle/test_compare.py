"""Two runs held against each other, and many in a row."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import oracle
from oracle import compare
from oracle.cli import main
from oracle.history import courses

from . import planted

CASE = "worked-example/plain"


@pytest.fixture(scope="module")
def good() -> oracle.Report:
    return oracle.run(cases=CASE, dtypes=("float32",))


@pytest.fixture(scope="module")
def bad() -> oracle.Report:
    altered = planted.Altered("hidden2", "grad.weight", lambda grad: grad * np.float32(1.01))
    return oracle.run(altered, cases=CASE, dtypes=("float32",))


def kinds(before: pd.DataFrame, after: pd.DataFrame) -> list[str]:
    return [change.kind for change in compare.changes(before, after)]


def test_worse_one_way_is_better_the_other_way(good: oracle.Report, bad: oracle.Report) -> None:
    forward = compare.changes(good.table, bad.table)
    assert {change.kind for change in forward} == {compare.WORSE} and compare.got_worse(forward)
    assert "hidden2 grad.weight local" in forward[0].first and forward[0].z_after > 8 > forward[0].z_before
    back = compare.changes(bad.table, good.table)
    assert {change.kind for change in back} == {compare.BETTER} and not compare.got_worse(back)
    assert kinds(good.table, good.table) == []


def test_what_appears_counts_only_where_it_is_a_discrepancy(good: oracle.Report, bad: oracle.Report) -> None:
    less = good.table[good.table["layer"] != "hidden2"]
    assert kinds(less, good.table) == [compare.APPEARED]
    assert not compare.got_worse(compare.changes(less, good.table))
    assert compare.got_worse(compare.changes(less, bad.table))
    assert kinds(good.table, less) == [compare.VANISHED]
    assert not compare.got_worse(compare.changes(good.table, less))


def test_a_case_that_now_crashes_is_worse(good: oracle.Report) -> None:
    """Its rows vanish and a single one appears: no total hides it."""

    class Raising:
        name = "raising"

        def run(self, case: oracle.Case) -> oracle.Trace:
            raise ZeroDivisionError("no luck")

    crashed = oracle.run(Raising(), cases=CASE, dtypes=("float32",))
    found = compare.changes(good.table, crashed.table)
    assert compare.got_worse(found) and {change.kind for change in found} == {compare.APPEARED, compare.VANISHED}


def test_the_command_says_what_differs_and_exits_with_1(
    good: oracle.Report, bad: oracle.Report, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good.save(tmp_path / "a")
    bad.save(tmp_path / "b")
    assert main(["diff", str(tmp_path / "a"), str(tmp_path / "b")]) == 1
    assert "worse: worked-example/plain (float32) pass → wrong" in capsys.readouterr().out
    assert main(["diff", str(tmp_path / "b"), str(tmp_path / "a"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["worse"] is False
    assert main(["report", str(tmp_path), "--history"]) == 0
    shown = capsys.readouterr().out
    assert "2 runs, a to b" in shown and "worked-example" in shown
    assert not set(shown) & set("▁▂▃▄▅▆▇█")


def test_history_follows_each_family(good: oracle.Report, bad: oracle.Report) -> None:
    (course,) = courses([good.table, bad.table, good.table.iloc[:0]])
    assert course.z[0] < 8 < course.z[1] and np.isnan(course.z[2])


@pytest.mark.parametrize(
    "line, sentence",
    [
        ("diff /no/such/a /no/such/b", "holds no report"),
        ("report /no/such --history", "is no folder of reports"),
        ("report {empty} --history", "holds no reports"),
        ("report {kept} --format pdf", "unknown format 'pdf'"),
        ("report {kept} --html /no/such/folder/x.html", "cannot be written"),
        ("report {kept} --html x.html --json", "one way to show a report at a time, got --html and --json"),
    ],
)
def test_wrong_input_ends_in_one_sentence(
    line: str, sentence: str, good: oracle.Report, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    good.save(tmp_path / "kept")
    arguments = line.format(empty=tmp_path / "empty", kept=tmp_path / "kept").split()
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and sentence in shown.err and shown.err.count("\n") == 1
