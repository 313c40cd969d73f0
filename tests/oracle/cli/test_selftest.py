"""`oracle selftest`: each form tells the same in the terminal, as JSON and in its files, and its status is the outcome."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from oracle.cli import main
from oracle.harness import cluster
from oracle.selftest import score as own
from oracle.selftest import sensitivity
from oracle.selftest.corpus import score as corpus
from oracle.selftest.corpus.entry import Op
from oracle.selftest.models import score as models
from oracle.selftest.rivals import score as rivals

VARIANT, PUBLISHED = "linear: plain loop", "torch/nn#345"


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each form has a job or two, done in this process."""
    bug = next(name for name in own.all_bugs() if name.startswith("linear"))
    jobs = [own.Job("bug", bug, "float32"), own.Job("variant", VARIANT, "float32")]
    entry, linear = corpus.all_entries()[PUBLISHED], sensitivity.representatives()["Linear"]
    model = models.Job("resnet18", "float32", "training")
    made = models.Outcome(*model, 48, 0, "", 0.75, 1.0, "", 100, 0.25, 3.5, 8.0, 2.0, "")
    monkeypatch.setattr(cluster, "pool", lambda *_: nullcontext())
    monkeypatch.setattr(own, "_jobs", lambda dtypes: iter(jobs))
    monkeypatch.setattr(own, "PROGRAMS", 1)
    monkeypatch.setattr(rivals, "_jobs", lambda: iter([rivals.Job(True, bug, "float64")]))
    monkeypatch.setattr(corpus, "all_entries", lambda: {PUBLISHED: entry})
    monkeypatch.setattr(models, "all_jobs", lambda: [model])
    monkeypatch.setattr(models, "judged", lambda job: made)
    monkeypatch.setattr(sensitivity, "representatives", lambda: {"Linear": linear})


# Each form with a line of its summary, a heading of its report, and its table if it has one.
FORMS = {
    "": ("planted bugs", "selftest", "selftest.csv"),
    "--rivals": ("torch.testing.assert_close", "rivals", "rivals.csv"),
    "--corpus": ("caught", "corpus", "corpus.csv"),
    "--models": ("false alarms", "models", "models.csv"),
    "--sensitivity": ("factor, float32", "sensitivity", ""),
}


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("form", FORMS)
def test_each_form_says_what_it_found(form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A table for a reader, with the outcome; JSON for a program; a report and its table in the folder."""
    said, name, table = FORMS[form]
    command = ["selftest", *filter(None, [form])]
    assert main([*command, "--out", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert said in shown and (form == "--sensitivity" or "passed in" in shown)
    assert (tmp_path / f"{name}.md").read_text().startswith("# ")
    if table:
        assert len(pd.read_csv(tmp_path / table)) >= 1
    again = ["--resume", "--out", str(tmp_path)] if table else []
    assert main([*command, "--json", *again]) == 0
    found: Any = json.loads(capsys.readouterr().out)
    assert found and (not isinstance(found, dict) or found["passed"])


@pytest.mark.usefixtures("small")
def test_a_missed_target_is_named_and_is_the_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The repaired function in the place of the bug: it is missed, and its twin, the bug, is accused."""
    entry = corpus.all_entries()[PUBLISHED]
    wiring = entry.wiring
    assert isinstance(wiring, Op)
    exchanged = replace(entry, wiring=replace(wiring, make=lambda fixed: wiring.make(not fixed)))
    monkeypatch.setattr(corpus, "all_entries", lambda: {PUBLISHED: exchanged})
    assert main(["selftest", "--corpus"]) == 1
    shown = capsys.readouterr().out
    assert f"missed: {PUBLISHED}" in shown and f"accused: {PUBLISHED}" in shown and "targets missed in" in shown


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--rivals", "--corpus"], "choose one of --rivals, --corpus, --models and --sensitivity"),
        (["--resume"], "--resume needs --out"),
        (["--sensitivity", "--resume", "--out", "here"], "--resume needs --out, and a run other than --sensitivity"),
        (["--minutes", "1"], "--minutes needs one of --rivals, --corpus and --models"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a sentence, before anything is measured."""
    assert main(["selftest", *arguments]) == 2
    assert said in " ".join(capsys.readouterr().err.replace("│", " ").split())
