"""`oracle list` for a reader: what does not explain itself has a sentence before it, and stands in columns; and other forms."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import oracle
from oracle.blame.causes.names import CAUSES
from oracle.cli import lists, main
from oracle.judging.conventions import CONVENTIONS


@pytest.mark.parametrize(
    "what, known, said", [("conventions", CONVENTIONS, "conventions=("), ("causes", CAUSES, "cause_name")]
)
def test_a_list_says_what_its_words_are_for(
    what: str, known: dict[str, object], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every word is there, under a heading, with what it means in the same column."""
    assert main(["list", what]) == 0
    about, _, table = capsys.readouterr().out.partition("\n\n")
    heading, *lines = table.splitlines()
    assert said in about and heading.startswith(what.removesuffix("s")) and heading.endswith("what")
    assert {line.partition("  ")[0] for line in lines} == set(known)
    place = heading.index("what")
    assert all(line[place - 2 : place] == "  " and line[place] != " " for line in lines)
    assert main(["list", what, "--json"]) == 0
    assert {next(iter(entry.values())) for entry in json.loads(capsys.readouterr().out)} == set(known)


@pytest.mark.parametrize("what, fields", [("layers", ("name", "kind", "number of cases")), ("ops", ("name", "family"))])
def test_a_list_without_headings_says_what_its_fields_are(
    what: str, fields: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["list", what]) == 0
    about, _, lines = capsys.readouterr().out.partition("\n\n")
    assert all(field in " ".join(about.split()) for field in fields) and len(lines.splitlines()) > 100


def test_layers_that_refbp_lacks_are_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Classes that a later torch has: not in the list, and not passed over in silence. For a machine there is the list alone."""
    monkeypatch.setattr(lists, "lacking", lambda: ["Conv9d", "Maxout"])
    assert main(["list", "layers"]) == 0
    assert capsys.readouterr().out.endswith("\nclasses of torch.nn that refbp lacks: Conv9d, Maxout\n")
    assert main(["list", "layers", "--json"]) == 0
    assert "Maxout" not in capsys.readouterr().out


def test_a_form_that_there_is_not_is_named_with_those_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "worked-example/plain", "--format", "pdf"]) == 2
    said = capsys.readouterr()
    assert said.err == "oracle: unknown format 'pdf': known are text, markdown, json, html, svg\n" and not said.out


def test_a_kept_report_is_printed_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All of it, as `oracle run --json` printed it when it was made."""
    report = oracle.run(cases="worked-example/plain", dtypes=("float64",))
    report.save(tmp_path)
    assert main(["report", str(tmp_path), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown == json.loads(json.dumps(report.to_json()))
