"""`oracle list` for a reader: what does not explain itself has a sentence before it, and stands in columns."""

from __future__ import annotations

import json

import pytest

from oracle.blame.causes.names import CAUSES
from oracle.cli import main
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
