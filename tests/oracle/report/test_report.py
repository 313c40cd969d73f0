"""A report keeps what was found: to the bit, whole or not at all, and readable."""

from __future__ import annotations

import io
import json
import math
import os
import re
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

import oracle
from oracle.blame import details
from oracle.blame.blame import Blame
from oracle.judging.rows import DISCREPANCIES, FAILURES, VERDICTS, Row
from oracle.judging.training import TrainingRun
from oracle.report import github, terminal
from oracle.report.about import About
from oracle.report.diff import WORSE, Change
from oracle.report.history import FamilyHistory
from oracle.report.report import Report, ReportError, load_report
from oracle.wording.figures import exact_share, figure
from tests.programs import program

FILES = ["cases.csv", "details.npz", "report.html", "report.json", "report.md", "table.csv", "table.parquet"]
ABOUT = About(
    blas="openblas 0.3",
    cases=2,
    dtypes=("float64", "float32"),
    platform="Linux",
    processor="a | processor",
    python="3.11",
    reference="torch",
    seeds="by name",
    subject="mine",
    processors=2,
    versions=(("numpy", "2.0"),),
    not_trained_freely=("digits/cnn: no",),
)
FREE = TrainingRun("digits/mlp", "float32", 2, "mine", "torch", (0.0, 1e-9, math.inf), ((0.5, math.nan),), 0.9, 0.95)


def row(verdict: str = "pass", layer: str = "0", quantity: str = "grad_input", **fields: Any) -> Row:
    """A row with figures that are neither round nor alike."""
    made = Row("tiny/one", "float32", 0, layer, "Linear", quantity, "local", verdict, shape=(2, 3), n=6)
    figures = {"max_abs": 1 / 3, "z_max": math.pi, "z_rms": 1e-310, "worst_index": (1, 2)}
    return replace(made, **(figures | fields))


def mixed() -> Report:
    """Rows of two cases with NaN, both infinities, the smallest numbers, text that needs quoting, and a free training run."""
    rows = [
        row(),
        row("wrong", "1", "grad.weight", got=math.nan, expected=math.inf, tolerance=0.0, n_outside=2, decided=1 / 7),
        row("imprecise", "1", "grad.bias", got=-math.inf, max_abs=math.inf, max_rel=5e-324, diagnosis='a, "b"\n| c'),
        row("undecided", case="tiny/two", step=3, diagnosis="too wide", shape=(), n=1, worst_index=()),
        row("loose", case="tiny/two", shape=(0,), n=0, z_max=1e-300),
    ]
    return Report.of(rows, ABOUT, {("tiny/one", "float32"): 0.5, ("tiny/two", "float32"): 0.25}, [FREE])


def passing() -> Report:
    return Report.of([row(), row("loose"), row("convention"), row("unsupported"), row("undecided")], ABOUT, {})


def test_a_printed_report_says_who_is_to_blame_and_how_it_ended() -> None:
    """What an interactive session shows of it, and a failing assertion."""
    *culprits, outcome = repr(mixed()).splitlines()
    assert culprits[0].startswith("tiny/one/1 (Linear) grad.weight wrong, float32")
    assert outcome == "mine against torch: discrepancies in 1 of 2 runs (5 rows, 20 % undecided, largest z 3.14)"


def test_where_nothing_was_judged_no_share_was_decided(tmp_path: Path) -> None:
    """No figure stands in any form of the report, where "100 %" would praise what was not looked at."""
    lacking = replace(row("unsupported", diagnosis="no Linear"), shape=(), n=0, z_max=math.nan, max_abs=math.nan)
    report = Report.of([lacking], ABOUT, {})
    assert report.cases["decided"].isna().all() and report.families["decided"].isna().all()
    report.to_html(tmp_path / "page.html")
    page = re.sub(r"<(script|style).*?</\1>", "", (tmp_path / "page.html").read_text(), flags=re.DOTALL)
    for text in (str(report), report.to_markdown(), page):
        assert "100 %" not in text and "nan %" not in text


def test_what_was_not_judged_does_not_count_as_conforming() -> None:
    """Neither a whole run, nor layers of one that was judged otherwise."""
    lacking = row("unsupported")
    for rows, said in (
        ([row(), row(case="tiny/two")], "conforms in 2 runs of 2 cases (2 rows, 0 % undecided, largest z 3.14)"),
        ([row(), lacking], "conforms in 1 run of 2 cases (2 rows, 0 % undecided, 1 unsupported, largest z 3.14)"),
        ([row(), replace(lacking, case="tiny/two")], "conforms in 1 run of 2 cases, 1 more unsupported (2 rows"),
        ([lacking], "nothing was judged (1 run of 2 cases, all unsupported)"),
    ):
        assert f"mine against torch: {said}" in repr(Report.of(rows, ABOUT, {}))


def test_the_conclusion_names_the_first_that_was_not_judged() -> None:
    """Also where nothing else was judged, which read as if discrepancies had been looked for."""
    alone, open_ = row("unjudged", diagnosis="no rule for svd"), row("undecided")
    for rows, said in (
        ([alone], "nothing was judged (1 row, "),
        ([alone, open_], "nothing was decided (1 run of 2 cases, "),
    ):
        shown = Report.of(rows, ABOUT, {}).conclusion
        assert shown.startswith(f"mine against torch: {said}") and "): no rule for svd" in shown
    assert "every row is undecided or unjudged" in shown


def test_a_printed_report_is_no_longer_than_a_screen_or_two() -> None:
    rows = [row("wrong", case=f"tiny/{number}", n_outside=1) for number in range(25)]
    assert "\nand 5 more\nmine against torch: discrepancies in 25 of 25 runs" in repr(Report.of(rows, ABOUT, {}))


def printed(show: Any, *given: Any, is_terminal: bool = False) -> str:
    out = Console(file=io.StringIO(), width=120, force_terminal=is_terminal, no_color=True, highlight=False)
    show(out, *given)
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue()


def test_the_terminal_shows_the_first_kinds_and_how_a_free_training_ended() -> None:
    """Of more kinds than a screen holds it says how many are left; a gap between parameters has its step."""
    most = terminal.MOST_BLAMES
    rows = [row("wrong", case=f"tiny/{n}", layer_type=f"Kind{n}", n_outside=1) for n in range(most + 3)]
    shown = printed(terminal.show_report, Report.of(rows, ABOUT, {}, [FREE]))
    assert f"(Kind{most - 1})" in shown and f"(Kind{most})" not in shown
    assert "\nand 3 kinds more, in the report's cases.csv\n" in shown
    (line,) = [line for line in shown.splitlines() if line.startswith("digits/mlp")]
    assert re.split(" {2,}", line.strip()) == ["digits/mlp", "2", "90.00%", "95.00%", "0 (step 1), inf (step 3)"]
    assert "free training" not in printed(terminal.show_report, Report.of(rows[:1], ABOUT, {}))


def test_the_terminal_shows_the_gravest_changes_and_counts_all() -> None:
    change = Change(WORSE, "net", "float32", "pass", "wrong", "step 0", 2, 1.5, math.nan)
    shown = printed(terminal.show_changes, [change] * (terminal.MOST_CHANGES + 2))
    assert shown.count("(largest z 1.5)") == terminal.MOST_CHANGES
    assert shown.endswith(f"2 more groups of rows, with --json\n{2 * terminal.MOST_CHANGES + 4} rows worse\n")
    assert printed(terminal.show_changes, []) == "no verdict differs\n"


def test_a_history_is_drawn_in_a_terminal_alone() -> None:
    """In a pipe there are its first and last figures."""
    courses = [FamilyHistory("conv", (1.0, 2.0, 4.0), (20.0, math.nan, 10.0))]
    plain, drawn = (
        printed(lambda out: out.print(terminal.history_table(courses, out)), is_terminal=own) for own in (False, True)
    )
    assert "1 → 4" in plain and "20 → 10" in plain and not set(plain) & set(terminal.BLOCKS)
    assert "▁" in drawn and "█" in drawn and "·" in drawn and "1 → 4" in drawn


def test_a_terminal_has_its_own_width_and_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe is wide enough for a table, and has no colour."""
    monkeypatch.setenv("COLUMNS", "70")
    assert terminal.console().width == 120 and terminal.console().no_color
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("NO_COLOR", raising=False)
    made = terminal.console()
    assert made.is_terminal and made.width == 70 and not made.no_color


def test_a_summary_has_the_free_training_and_an_annotation_the_failure() -> None:
    """A run in which the harness failed is an error on the page of its check, although nobody is to blame."""
    failed = Report.of([row("failed", diagnosis="disk full")], ABOUT, {})
    (line,) = github.workflow_commands([], failed.table)
    assert line.startswith("::error") and "disk full" in line
    _, training = github.summary(mixed()).split("### Free training on digits")
    assert "digits/mlp" in training
    assert "Free training" not in github.summary(failed)


def test_a_report_says_when_and_how_it_was_made_and_how_to_make_a_part_of_it_again() -> None:
    """Of a run over the suite: the date, the commit, the command, and one case in its dtype; what a case holds is kept."""
    program("git")
    report = oracle.run(cases="linear/Linear,in_features=3*batch=5", dtypes=("float32",))
    text, name = report.to_markdown(), str(report.cases["case"].iloc[0])
    assert re.search(r"Run on \d{4}-\d\d-\d\d \d\d:\d\d UTC, commit [0-9a-f]{12}(-dirty)?\.\\\n", text)
    assert "All of it again: `oracle run --subject refbp --reference torch --cases" in text
    assert f"One case again: `oracle run --cases {name} --dtype float32 --subject refbp`" in text
    assert dict(report.described[name].layers)["0"].startswith("in_features=3, out_features=4")


def test_a_call_that_shows_it_again_can_be_run() -> None:
    """A lambda has no name, and a report's no code: what stands there is the argument's name, and the dtypes are there."""
    half = oracle.check_op("relu", lambda x: (np.maximum(x, 0), lambda dy: dy * (x > 0) / 2), x=np.ones((2, 3)))
    assert {own.reproduce for own in half.blame} == {
        f"oracle.check_op('relu', fn, x=x, dtypes=('{dtype}',))" for dtype in ("float64", "float32")
    }
    again = eval(half.blame[0].reproduce, {"oracle": oracle, "x": np.ones((2, 3)), "fn": lambda x: (x, lambda dy: dy)})
    assert again.passed and set(again.cases["dtype"]) == {half.blame[0].dtype}


def test_every_file_of_a_report_is_written(tmp_path: Path) -> None:
    """These and no others: nothing of the writing stays behind."""
    mixed().save(tmp_path / "deep" / "down")
    assert sorted(path.name for path in (tmp_path / "deep" / "down").iterdir()) == FILES


def test_a_report_comes_back_as_it_was(tmp_path: Path) -> None:
    """Tables, blame, environment and training: NaN, infinities, subnormals and empty shapes included."""
    report = mixed()
    report.save(tmp_path)
    back = load_report(tmp_path)
    pd.testing.assert_frame_equal(back.table, report.table, check_exact=True)
    pd.testing.assert_frame_equal(back.cases, report.cases, check_exact=True)
    pd.testing.assert_frame_equal(back.families, report.families, check_exact=True)
    assert (back.blame, back.about, back.passed) == (report.blame, report.about, report.passed)
    assert repr(back.training) == repr(report.training)  # NaN differs from itself
    assert back.to_json() == report.to_json() and back.to_markdown() == report.to_markdown()


def test_a_report_that_was_loaded_can_be_saved_again(tmp_path: Path) -> None:
    """Twice through the files changes nothing in them."""
    mixed().save(tmp_path / "first")
    load_report(tmp_path / "first").save(tmp_path / "second")
    for name in set(FILES) - {"table.parquet"}:
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes(), name


def test_every_attribute_of_a_run_comes_back(tmp_path: Path) -> None:
    """Also one that is added to `About` alone: it is written, read, and of its own type."""
    given = {"int": 7, "int | None": 7, "str": "said", "tuple[str, ...]": ("one", "two")}
    given["tuple[tuple[str, str], ...]"] = (("numpy", "2.0"),)
    about = About(**{own.name: given[str(own.type)] for own in fields(About)})
    Report.of([row()], about, {}).save(tmp_path)
    back = load_report(tmp_path)
    assert back.about == about and len(back.environment) == len(fields(About))
    assert {"never tried", "usual settings", "not trained freely", "left changed"} <= back.environment.keys()


def test_what_a_later_version_says_of_a_run_is_passed_over(tmp_path: Path) -> None:
    """And what an earlier one did not say is unknown."""
    mixed().save(tmp_path)
    kept = json.loads((tmp_path / "report.json").read_text())
    kept["environment"] = {"subject": "a", "reference": "b", "dtypes": ["float32"], "cases": 2, "weather": "fine"}
    (tmp_path / "report.json").write_text(json.dumps(kept))
    assert load_report(tmp_path).about == About(subject="a", reference="b", dtypes=("float32",), cases=2)


def test_a_report_without_rows_comes_back(tmp_path: Path) -> None:
    """No case, no row: an empty report is still one."""
    report = Report.of([], ABOUT, {})
    report.save(tmp_path)
    back = load_report(tmp_path)
    assert not back.passed and len(back.table) == 0 and list(back.table.columns) == list(report.table.columns)
    assert list(back.cases.columns) == list(report.cases.columns)


def test_a_report_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    """A figure that it did not have yet is unknown, so that runs of both can be compared."""
    report = mixed()
    report.save(tmp_path)
    pd.read_parquet(tmp_path / "table.parquet").drop(columns="digits_left").to_parquet(tmp_path / "table.parquet")
    back = load_report(tmp_path)
    assert back.table["digits_left"].isna().all()
    assert list(back.table["verdict"]) == list(report.table["verdict"])


def test_csv_holds_every_figure(tmp_path: Path) -> None:
    """What a spreadsheet reads is what was found, not something rounded."""
    report = mixed()
    report.save(tmp_path)
    read = pd.read_csv(tmp_path / "table.csv")
    for name in ("max_abs", "max_rel", "z_max", "z_rms", "got", "expected", "tolerance", "decided", "effective_bits"):
        np.testing.assert_array_equal(read[name].to_numpy(float), report.table[name].to_numpy(float), name)
    assert list(read["verdict"]) == list(report.table["verdict"])
    assert list(read["diagnosis"].fillna("")) == list(report.table["diagnosis"])


def test_parquet_holds_every_figure(tmp_path: Path) -> None:
    """Without the oracle's help: any reader of Parquet sees the same table."""
    report = mixed()
    report.save(tmp_path)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "table.parquet"), report.table, check_exact=True)


def test_json_is_json(tmp_path: Path) -> None:
    """Strict parsers read it: NaN and infinities are spelled out, nothing is lost."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    report = mixed()
    report.save(tmp_path)
    kept = json.loads((tmp_path / "report.json").read_text(), parse_constant=refuse)
    assert kept == report.to_json()
    assert (kept["format"], kept["passed"]) == (2, False)
    assert kept["table"]["got"][1:3] == ["nan", "-inf"] and kept["table"]["max_rel"][2] == 5e-324
    assert kept["training"][0]["gaps"] == [0.0, 1e-9, "inf"]


def test_committed_files_do_not_change_with_the_clock(tmp_path: Path) -> None:
    """A diff of the tables and the Markdown shows a change of behaviour, not of speed."""
    slow = {("tiny/one", "float32"): 100.0}
    for name, seconds in (("a", {("tiny/one", "float32"): 0.1}), ("b", slow)):
        Report.of([row(), row("wrong")], ABOUT, seconds).save(tmp_path / name)
    for name in ("table.csv", "cases.csv", "report.md"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


WRITERS = [(pd.DataFrame, "to_parquet"), (pd.DataFrame, "to_csv"), (details, "save"), (Path, "write_text")]


@pytest.mark.parametrize("owner, method", WRITERS, ids=[method for _, method in WRITERS])
def test_whole_or_not_at_all(owner: Any, method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever file the disk fills up at, the report that was there stays, and nothing else is left."""
    passing().save(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(owner, method, full)
        with pytest.raises(ReportError, match="cannot be written: No space left on device"):
            mixed().save(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("lacking", [(), ("report.json", "cases.csv"), FILES], ids=len)
def test_whole_or_not_at_all_when_files_cannot_take_their_places(
    lacking: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a new report beside half an old one would be a report that nobody made. What was not there before goes again."""
    passing().save(tmp_path)
    for name in lacking:
        (tmp_path / name).unlink()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    moved: list[Path] = []
    honest = Path.replace

    def third_fails(self: Path, target: Any) -> Any:
        moved.append(self)
        if len(moved) == 3:
            raise OSError(5, "Input/output error")
        return honest(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", third_fails)
        with pytest.raises(ReportError, match="Input/output error"):
            mixed().save(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_an_error_that_is_no_disk_error_leaves_nothing_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistake in the report's own code passes through, and the folder stays clean."""

    def broken(self: Report) -> str:
        raise RuntimeError("bug")

    monkeypatch.setattr(Report, "to_markdown", broken)
    with pytest.raises(RuntimeError, match="bug"):
        mixed().save(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_report_may_replace_another(tmp_path: Path) -> None:
    """Saving twice into the same folder leaves the second."""
    mixed().save(tmp_path)
    passing().save(tmp_path)
    assert load_report(tmp_path).passed
    assert sorted(path.name for path in tmp_path.iterdir()) == FILES


def test_what_a_killed_process_left_is_removed_a_day_later(tmp_path: Path) -> None:
    """Not before, since somebody may still be writing there; and nothing that a link leads to."""
    elsewhere = tmp_path / "elsewhere"
    for name in (".report-old", ".report-new", "elsewhere"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "table.csv").write_text("half")
    (tmp_path / ".report-link").symlink_to(elsewhere)
    for name in (".report-old", "elsewhere"):
        os.utime(tmp_path / name, (0, 0))
    os.utime(tmp_path / ".report-link", (0, 0), follow_symlinks=False)
    mixed().save(tmp_path)
    left = sorted(path.name for path in tmp_path.iterdir() if path.name not in FILES)
    assert left == [".report-link", ".report-new", "elsewhere"] and (elsewhere / "table.csv").exists()


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    """In one sentence that names it."""
    (tmp_path / "taken").write_text("mine")
    for folder in (tmp_path / "taken", tmp_path / "taken" / "below"):
        with pytest.raises(ReportError, match=r"taken.* cannot be written: ") as raised:
            mixed().save(folder)
        assert "\n" not in str(raised.value)
    assert (tmp_path / "taken").read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_folder_without_permission_is_refused(tmp_path: Path) -> None:
    """The operating system's reason is passed on."""
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(ReportError, match="Permission denied"):
            mixed().save(tmp_path / "new")
    finally:
        tmp_path.chmod(0o700)


def damaged(folder: Path, name: str, content: bytes | None) -> None:
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)


DAMAGES: list[tuple[str, bytes | None]] = [
    ("report.json", None),
    ("report.json", b""),
    ("report.json", b"{"),
    ("report.json", b"[1]"),
    ("report.json", b"null"),
    ("report.json", b"{}"),
    ("report.json", b'{"format": 2}'),
    ("report.json", b'{"format": 2}'),
    ("report.json", b'{"format": 2, "environment": {}, "cases": 3, "blame": [], "training": []}'),
    ("report.json", b'{"format": 2, "environment": {}, "cases": [], "blame": [{"who": 1}], "training": []}'),
    ("report.json", b"\xff\xfe\x00"),
    ("table.parquet", None),
    ("table.parquet", b""),
    ("table.parquet", b"no parquet at all"),
]


@pytest.mark.parametrize("name, content", DAMAGES, ids=[f"{name}:{content!r}"[:50] for name, content in DAMAGES])
def test_a_damaged_folder_is_refused_in_a_sentence(name: str, content: bytes | None, tmp_path: Path) -> None:
    """Never another exception, never a report that is not the one that was written."""
    mixed().save(tmp_path)
    damaged(tmp_path, name, content)
    with pytest.raises(ReportError) as raised:
        load_report(tmp_path)
    assert str(tmp_path) in str(raised.value)
    assert "\n" not in str(raised.value) and ": None" not in str(raised.value)


def test_a_table_without_its_columns_is_refused_in_a_sentence(tmp_path: Path) -> None:
    """As one that another program wrote again; what it lacks is named."""
    report = mixed()
    report.save(tmp_path)
    report.table.drop(columns=["mode", "z_max"]).to_parquet(tmp_path / "table.parquet")
    with pytest.raises(ReportError, match=r"its files are damaged \(they lack mode, z_max\)"):
        load_report(tmp_path)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """The commonest mistake: another working directory."""
    with pytest.raises(ReportError, match=r"nowhere holds no report: No such file or directory \(report\.json\)"):
        load_report(tmp_path / "nowhere")


def test_markdown_shows_tiny_figures_as_what_they_are() -> None:
    """1e-300 is not 0, and 0 is 0."""
    rows = [row(case="tiny/small", z_max=1e-300, verdict="loose"), row(case="tiny/none", z_max=0.0, verdict="loose")]
    text = Report.of(rows, ABOUT, {}).to_markdown()
    cells = {
        cell[1]: cell
        for line in text.splitlines()
        if line.startswith("| tiny/")
        for cell in [[part.strip() for part in line.split("|")]]
    }
    assert "1.0e-300" in cells["tiny/small"] and "0" not in cells["tiny/small"][-3:-2]
    assert "0" in cells["tiny/none"]


def test_markdown_tables_stay_tables() -> None:
    """A diagnosis with bars and line ends breaks neither its row nor its column."""
    text = mixed().to_markdown()
    tables = [block for block in text.split("\n\n") if block.startswith("| ")]
    assert len(tables) >= 3
    for block in tables:
        widths = {line.replace("\\|", "").count("|") for line in block.splitlines()}
        assert len(widths) == 1, block


def test_markdown_names_what_was_found() -> None:
    """Who is held against whom, the culprits, what is undecided and why, free training."""
    text = mixed().to_markdown()
    assert text.startswith("# mine against torch: discrepancies found")
    assert "tiny/one/1 (Linear) grad.weight wrong, float32: " in text
    assert "## Undecided" in text and "too wide" in text
    assert "digits/mlp" in text and "0 after step 1" in text and "inf after step 3" in text


def test_markdown_of_a_passing_report_says_that_it_conforms() -> None:
    """No discrepancy, no section about them."""
    text = passing().to_markdown()
    assert text.startswith("# mine against torch: conforms")
    assert "## Discrepancies" not in text


def test_the_page_does_not_blame_networks_that_drift_apart(tmp_path: Path) -> None:
    """A free training is not judged: its gap has no colour of a verdict, and the page says why there is one."""
    apart = replace(FREE, losses=((0.5, 0.5), (0.5, 0.6)))
    Report.of([row()], ABOUT, {}, [apart]).to_html(tmp_path / "page.html")
    shown = (tmp_path / "page.html").read_text().partition('<section id="training">')[2].partition("</section>")[0]
    assert "losses differ by more than 1 % from step 2 on" in shown and "a gap alone is not a discrepancy" in shown
    assert "v-wrong" not in shown


def test_markdown_lists_the_other_runs_only_where_there_are_any() -> None:
    assert Report.of([row()], ABOUT, {}).to_markdown().endswith("## Cases\n\nEvery run passes in every row.\n")
    assert "0 of 1 runs pass in every row. The others:" in passing().to_markdown()


@pytest.mark.parametrize(
    "value, text",
    [
        (0.0, "0"),
        (-0.0, "-0"),
        (5e-324, "4.9e-324"),
        (1e-9, "1.0e-09"),
        (0.5, "0.5"),
        (math.inf, "inf"),
        (math.nan, ""),
    ],
)
def test_figures_are_short_and_never_a_false_zero(value: float, text: str) -> None:
    """Three digits, with an exponent where it is needed; an empty cell only where there is no figure."""
    assert figure(value) == text


@pytest.mark.parametrize(
    "value, text",
    [(0.0, "0 %"), (1e-12, "<0.1 %"), (0.5, "50 %"), (1 - 1e-12, ">99.9 %"), (1.0, "100 %"), (math.nan, "")],
)
def test_shares_read_0_or_100_only_when_they_are(value: float, text: str) -> None:
    """One element among millions shows."""
    assert exact_share(value) == text


@pytest.mark.parametrize("verdict", VERDICTS)
def test_passed_means_no_discrepancy(verdict: str) -> None:
    """A discrepancy makes a report fail and blames somebody; where the harness failed, or something was not judged, nobody."""
    report = Report.of([row(), row(verdict)], ABOUT, {})
    assert report.passed is (verdict not in {*FAILURES, "unjudged"})
    assert bool(report.blame) is (verdict in DISCREPANCIES)
    assert report.to_json()["passed"] is report.passed


def test_raise_for_discrepancy_says_the_blame() -> None:
    """Its message is what a user would look up: each culprit, what it looks like, and how to see it again."""
    report = mixed()
    with pytest.raises(oracle.Discrepancy) as raised:
        report.raise_for_discrepancy()
    assert str(raised.value) == "\n".join(culprit.in_full() for culprit in report.blame)
    assert "  reproduce: oracle run --cases tiny/one --dtype float32 --subject mine" in str(raised.value)
    assert isinstance(raised.value, AssertionError)
    assert "got nan, expected inf" in str(raised.value)


def test_raise_for_discrepancy_is_silent_when_there_is_none() -> None:
    """`loose`, `convention`, `undecided` and `unsupported` raise nothing."""
    passing().raise_for_discrepancy()


def test_blame_has_the_names_that_are_promised() -> None:
    """Users write code against .case .layer .layer_type .quantity .verdict .diagnosis."""
    (first, *_) = mixed().blame
    assert isinstance(first, Blame)
    assert (first.case, first.layer, first.layer_type) == ("tiny/one", "1", "Linear")
    assert (first.quantity, first.verdict) == ("grad.weight", "wrong")
    assert first.diagnosis.startswith("33.3 % of 6 elements; worst at (1, 2): got nan, expected inf ± 0")
    assert first.reproduce == "oracle run --cases tiny/one --dtype float32 --subject mine"


def test_a_local_culprit_comes_before_its_consequences() -> None:
    """End to end rows are blamed only where no local row is at fault."""
    whole = row("wrong", "0", "grad_input", mode="end to end")
    both = Report.of([whole, row("wrong", "2", "grad.weight")], ABOUT, {})
    assert [(culprit.layer, culprit.quantity) for culprit in both.blame] == [("2", "grad.weight")]
    alone = Report.of([whole], ABOUT, {})
    assert [(culprit.layer, culprit.quantity) for culprit in alone.blame] == [("0", "grad_input")]


def test_what_follows_stands_under_the_nearest_culprit_that_it_can_come_from() -> None:
    """Two culprits: a later layer's input gradient, and a weight gradient that leads to nothing but its own update."""
    whole: dict[str, Any] = {"mode": "end to end", "n_outside": 1}
    rows = [
        row("wrong", "2", "grad.weight", n_outside=1),
        row("wrong", "2", "grad_input", n_outside=1),
        row("wrong", "2", "grad_input", **whole),
        row("wrong", "1", "grad_output", **whole),
        row("wrong", "1", "grad.weight", **whole),
        row("wrong", "2", "momentum.weight", **whole),
        row("imprecise", "1", "param.weight", **whole),
        row("wrong", "1", "grad_output", step=1, **whole),
    ]
    weight, handed_on = Report.of(rows, ABOUT, {}).blame
    assert (weight.quantity, weight.follows) == ("grad.weight", ("2 momentum.weight",))
    assert handed_on.follows == ("1 grad_output", "1 grad.weight", "1 param.weight")
    assert "wrong because of it: 1 grad_output, 1 grad.weight, 1 param.weight" in handed_on.remarks


def test_what_shows_end_to_end_only_is_told_with_its_evidence() -> None:
    """A black box that gives final gradients: the first that is wrong, and the last before it that is right; no more."""
    whole: dict[str, Any] = {"mode": "end to end"}
    wrong = row("wrong", "1", "grad.weight", n_outside=1, **whole)
    (closed_in,) = Report.of([row("pass", "2", "grad.bias", **whole), wrong], ABOUT, {}).blame
    assert closed_in.diagnosis.endswith(
        "seen end to end only; 2 grad.bias, the last that the trace shows before it, is right"
    )
    (alone,) = Report.of([wrong], ABOUT, {}).blame
    assert alone.diagnosis.endswith("the trace shows nothing before it that is right")


def test_a_culprit_is_named_once() -> None:
    """The steps that follow its first one say nothing new."""
    rows = [row("wrong", "1", "grad.bias", step=step, n_outside=1) for step in (2, 3, 4)]
    report = Report.of([row(), *rows], ABOUT, {})
    assert [(culprit.step, culprit.quantity) for culprit in report.blame] == [(2, "grad.bias")]
    assert "at step 2" in str(report.blame[0])


def test_cases_have_the_gravest_verdict_of_their_rows() -> None:
    """One row per case and dtype, with its culprit."""
    cases = mixed().cases.set_index("case")
    assert cases.loc["tiny/one", "verdict"] == "wrong" and cases.loc["tiny/one", "quantity"] == "grad.weight"
    assert cases.loc["tiny/two", "verdict"] == "loose" and cases.loc["tiny/two", "layer"] == ""
    assert cases.loc["tiny/two", "undecided"] == 1


def test_the_gravest_verdict_is_the_cases_even_when_a_milder_one_comes_first() -> None:
    """An imprecise first layer does not hide a wrong second one in the table of cases."""
    report = Report.of([row("imprecise", "0"), row("wrong", "1")], ABOUT, {})
    assert list(report.cases["verdict"]) == ["wrong"]
