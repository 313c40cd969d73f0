"""Two runs held against each other, and many in a row."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import oracle
from oracle.cli import main
from oracle.judging.rows import VERDICTS
from oracle.report import diff
from oracle.report.history import histories

from .. import planted

CASE = "worked-example/plain"


@pytest.fixture(scope="module")
def good() -> oracle.Report:
    return oracle.run(cases=CASE, dtypes=("float32",))


@pytest.fixture(scope="module")
def bad() -> oracle.Report:
    altered = planted.Altered("hidden2", "grad.weight", lambda grad: grad * np.float32(1.01))
    return oracle.run(altered, cases=CASE, dtypes=("float32",))


def test_worse_one_way_is_better_the_other_way(good: oracle.Report, bad: oracle.Report) -> None:
    forward = diff.changes(good.table, bad.table)
    assert {change.kind for change in forward} == {diff.WORSE} and diff.got_worse(forward)
    assert forward[0].first == "step 0 hidden2 grad.weight local" and forward[0].z_after > 8 > forward[0].z_before
    assert (forward[0].before, forward[0].after) == ("pass", "wrong")
    differ = good.table["verdict"].to_numpy() != bad.table["verdict"].to_numpy()
    assert sum(change.rows for change in forward) == differ.sum() > 1
    back = diff.changes(bad.table, good.table)
    assert {change.kind for change in back} == {diff.BETTER} and not diff.got_worse(back)
    assert diff.changes(good.table, good.table) == []


def test_what_appears_counts_only_where_it_is_a_discrepancy(good: oracle.Report, bad: oracle.Report) -> None:
    less = good.table[good.table["layer"] != "hidden2"]
    (appeared,) = diff.changes(less, good.table)
    assert (appeared.kind, appeared.before, appeared.after) == (diff.APPEARED, "", "pass")
    assert np.isnan(appeared.z_before) and 0 <= appeared.z_after < 8
    assert not diff.got_worse([appeared])
    assert diff.got_worse(diff.changes(less, bad.table))
    (vanished,) = diff.changes(good.table, less)
    assert (vanished.kind, vanished.before, vanished.after) == (diff.VANISHED, "pass", "")
    assert vanished.rows == appeared.rows == len(good.table) - len(less)
    assert not diff.got_worse([vanished])


def test_what_is_unsupported_now_got_worse_where_it_had_been_judged(good: oracle.Report) -> None:
    """Its rows vanish, and one appears; a case that is new may be unsupported."""
    lost = good.table.head(1).assign(layer="", quantity="", verdict="unsupported")
    assert diff.got_worse(diff.changes(good.table, lost))
    new = pd.concat([good.table, lost.assign(case="mine/new")])
    assert not diff.got_worse(diff.changes(good.table, new))


def table(verdicts: dict[str, str], rows: int = 1) -> pd.DataFrame:
    """As many rows of each case, all with its verdict."""
    row = dict.fromkeys(diff.PLACE, "") | {"z_max": 1.0}
    return pd.DataFrame(
        [row | {"case": case, "step": step, "verdict": own} for case, own in verdicts.items() for step in range(rows)]
    )


@pytest.mark.parametrize("better, worse", list(pairwise(VERDICTS)))
def test_every_step_from_the_best_verdict_to_the_gravest_is_a_change(better: str, worse: str) -> None:
    """Each way, and rows that changed in the same way are told once."""
    for rows, more in ((1, ""), (2, " and 1 more row"), (3, " and 2 more rows")):
        before, after = table({"net": better}, rows), table({"net": worse}, rows)
        (change,) = diff.changes(before, after)
        assert str(change) == f"worse: net () {better} → {worse}: step 0{more}"
        (change,) = diff.changes(after, before)
        assert str(change) == f"better: net () {worse} → {better}: step 0{more}"


def test_changes_come_the_gravest_first_then_in_the_tables_order() -> None:
    """Worse before appeared before vanished before better; of a kind what is graver now, and else the later table's order."""
    before = {"z": "pass", "m": "pass", "a": "pass", "better": "wrong", "q gone": "pass", "b gone": "wrong"}
    after = {"better": "pass", "y new": "pass", "x new": "pass", "z": "loose", "m": "wrong", "a": "loose"}
    found = diff.changes(table(before), table(after))
    assert [change.case for change in found] == ["m", "z", "a", "y new", "x new", "q gone", "b gone", "better"]
    assert str(found[4]) == "appeared: x new () pass: step 0"
    assert str(found[5]) == "vanished: q gone () pass: step 0"


def test_a_case_that_now_crashes_is_worse(good: oracle.Report) -> None:
    """Its rows vanish and a single one appears: no total hides it."""

    class Raising:
        name = "raising"

        def run(self, case: oracle.Case) -> oracle.Trace:
            raise ZeroDivisionError("no luck")

    crashed = oracle.run(Raising(), cases=CASE, dtypes=("float32",))
    found = diff.changes(good.table, crashed.table)
    assert diff.got_worse(found) and {change.kind for change in found} == {diff.APPEARED, diff.VANISHED}


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


def test_runs_without_a_common_case_cannot_be_compared(
    good: oracle.Report, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As where a pattern of the second run matched something else. It would look as if nothing got worse."""
    good.save(tmp_path / "a")
    oracle.run("refbp", cases="activation/ReLU", dtypes=("float32",)).save(tmp_path / "b")
    assert main(["diff", str(tmp_path / "a"), str(tmp_path / "b")]) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and "have no case in common" in shown.err


def test_history_follows_each_family(good: oracle.Report, bad: oracle.Report) -> None:
    (history,) = histories([good.table, bad.table, good.table.iloc[:0]])
    assert history.z[0] < 8 < history.z[1] and np.isnan(history.z[2])


@pytest.mark.parametrize(
    "line, sentence",
    [
        ("diff /no/such/a /no/such/b", "holds no report"),
        ("report /no/such --history", "is not a folder of reports"),
        ("report {empty} --history", "holds no reports"),
        ("report {kept} --format pdf", "unknown format 'pdf'"),
        ("report {kept} --html /no/such/folder/x.html", "cannot be written"),
        ("report {kept} --html x.html --json", "choose one way to show a report, got --html and --json"),
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
