"""Reports for JUnit and GitHub: discrepancies and unjudged rows are failures; a list that is cut says how much is left out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

import oracle
from oracle.blame.blame import Blame
from oracle.cli import main
from oracle.judging.rows import Row
from oracle.report import github, junit
from oracle.report.about import About
from oracle.report.coverage import Coverage, Unjudged

from .. import planted


@pytest.fixture(scope="module")
def report() -> oracle.Report:
    return planted.turned()


class Crashing:
    name = "crashing"

    def run(self, case: oracle.Case) -> oracle.Trace:
        raise RuntimeError("escape \x1b[31m & <tag> ]]>")


class Lacking:
    name = "lacking"

    def run(self, case: oracle.Case) -> oracle.Trace:
        raise oracle.Unsupported("no layers at all")


def parsed(report: oracle.Report) -> ET.Element:
    return ET.fromstring(report.to_junit())


def test_a_discrepancy_is_a_failure(report: oracle.Report) -> None:
    (failure,) = parsed(report).iter("failure")
    assert failure.get("type") == "wrong" and "lenet5/random/conv2" in str(failure.get("message"))
    assert "reproduce: oracle.run(subject, cases=" in str(failure.text)
    assert [parsed(report).get(name) for name in ("tests", "failures", "errors", "skipped")] == ["1", "1", "0", "0"]


def test_an_unjudged_row_is_a_failure_unless_it_is_allowed() -> None:
    """Each form of the report names the operation, the date and the command. A pass in JUnit would hide the gap."""
    about = About(subject="Net", reference="refbp", dtypes=("float64",), cases=1, date="2026-11-28 08:00 UTC")
    row = Row(
        "Net", "float64", 0, "svd", "aten.svd", "", "local", "unjudged", "there is no rule for svd", shape=(), n=0
    )
    coverage = Coverage(0.5, 0.75, 0.5, 48, 2, (Unjudged("svd", "aten.svd", "there is no rule for svd"),))
    judged = replace(row, layer="0", quantity="grad_input", verdict="pass", diagnosis="", n=4, shape=(4,))
    report = replace(oracle.Report.of([judged, row], about, {}), coverage=coverage)
    report = report.reproduced_by("oracle.check_module(module, x)")
    (failure,) = parsed(report).iter("failure")
    assert (failure.get("type"), failure.get("message")) == ("unjudged", "there is no rule for svd")
    allowed = replace(report, about=replace(report.about, unjudged="allow"))
    assert parsed(allowed).get("failures") == "0"
    summary = github.summary(report)
    for text in (report.to_markdown(), summary, report._repr_html_()):
        assert "svd (aten.svd): there is no rule for svd" in text and "75 % of 48 gradient elements" in text
        assert "2026-11-28 08:00 UTC" in text
    assert "All of it again: `oracle.check_module(module, x)`" in report.to_markdown()


def test_a_crash_is_an_error_with_any_message() -> None:
    crashed = oracle.run(Crashing(), cases="worked-example", dtypes=("float64",))
    root = parsed(crashed)
    assert (root.get("errors"), root.get("tests")) == ("2", "2")
    assert all("& <tag> ]]>" in str(error.get("message")) for error in root.iter("error"))


def test_unsupported_and_undecided_rows_are_skipped_with_the_reason() -> None:
    root = parsed(oracle.run(Lacking(), cases="worked-example", dtypes=("float64",)))
    assert {element.get("message") for element in root.iter("skipped")} == {"unsupported: no layers at all"}
    undecided = oracle.run(cases="activation/Softmin*", dtypes=("float64",))
    verdicts = list(undecided.cases["verdict"])
    assert len(list(parsed(undecided).iter("skipped"))) == verdicts.count("undecided") + verdicts.count("unsupported")


def blames(number: int, verdict: str = "wrong") -> list[Blame]:
    return [
        Blame(f"c{i}", "float32", 0, "l", "T", "output", verdict, "50 % of 2:\n, x" + "y" * 300) for i in range(number)
    ]


def test_there_are_as_many_annotations_as_github_shows_the_worst_first(report: oracle.Report) -> None:
    lines = github.workflow_commands([*blames(30, "imprecise"), *blames(1, "crashed")], report.table)
    errors = [line for line in lines if line.startswith("::error")]
    assert len(errors) == github.MOST_ANNOTATIONS and "crashed" in errors[0]
    assert "and 22 more culprits" in errors[-1]
    assert all("\n" not in line and "50 %25 of 2:%0A" in line for line in errors[:-1])
    assert len(github.workflow_commands(blames(10), report.table)) == 10
    assert github.workflow_commands([], report.table) == []


def test_undecided_rows_are_a_warning(report: oracle.Report) -> None:
    table = report.table.assign(verdict=["undecided", *report.table["verdict"][1:]])
    (line,) = github.workflow_commands([], table)
    assert line.startswith("::warning") and "1 of 560 rows (0.179 %25)" in line


def test_a_summary_is_not_longer_than_github_allows(report: oracle.Report) -> None:
    text = github.summary(replace(report, blame=blames(5000)))
    assert len(text.encode()) < 1024 * 1024 and "more, in the report's cases.csv" in text
    small = github.summary(report)
    assert "more, in" not in small and "conv2" in small
    assert "discrepancies: 1 culprit\n" in github.summary(replace(report, blame=blames(1)))


def test_the_command_writes_the_summary_to_the_file_that_github_names(
    report: oracle.Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    report.save(tmp_path)
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    assert main(["report", str(tmp_path), "--format", "github"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("::error") and "##" not in shown
    assert (tmp_path / "summary.md").read_text().startswith("## altered against torch: discrepancies")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "/no/such/folder/file")
    assert main(["report", str(tmp_path), "--format", "github"]) == 2
    capsys.readouterr()
    monkeypatch.delenv("GITHUB_STEP_SUMMARY")
    assert main(["report", str(tmp_path), "--format", "github"]) == 0
    assert "## altered against torch" in capsys.readouterr().out
    assert main(["report", str(tmp_path), "--format", "junit"]) == 0
    assert ET.fromstring(capsys.readouterr().out).get("failures") == "1"
    assert main(["report", str(tmp_path), "--format", "markdown"]) == 0
    assert capsys.readouterr().out.startswith("# altered against torch")


def test_markdown_does_not_round_a_share_below_one_to_100_percent(report: oracle.Report) -> None:
    cases = report.cases.assign(decided=0.999999)
    assert ">99.9 %" in replace(report, cases=cases).to_markdown()


def test_the_xml_holds_no_control_characters(report: oracle.Report) -> None:
    text = junit.document(replace(report, about=replace(report.about, subject="\x00")))
    assert "\x00" not in text and ET.fromstring(text).get("name")
