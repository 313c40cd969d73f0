"""The pages of several runs, and what every page owes to people who do not see it, or not as its maker does."""

from __future__ import annotations

from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import oracle
from oracle.cli import main
from oracle.report import pages
from oracle.selftest.models.language import language_model, tokens

from .. import planted

CASE = "worked-example/plain"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs: one that conforms, and one with a planted mistake."""
    folder = tmp_path_factory.mktemp("runs")
    good = oracle.run(cases=CASE, dtypes=("float32",))
    good = replace(good, about=replace(good.about, date="2026-11-01 08:00 UTC", commit="0123456789ab"))
    good.save(folder / "first")
    altered = planted.Altered("hidden2", "grad.weight", lambda grad: grad * np.float32(1.01))
    oracle.run(altered, cases=CASE, dtypes=("float32",)).save(folder / "second")
    return folder


def test_two_runs_as_a_page(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What differs between them, by kind and row by row, with dates and commits; the status is that of the text."""
    page = runs / "diff.html"
    assert main(["diff", str(runs / "first"), str(runs / "second"), "--html", str(page)]) == 1
    text = page.read_text()
    for said in ("something got worse", "2026-11-01 08:00 UTC", "0123456789ab", "hidden2", "grad.weight", CASE):
        assert said in text, said
    assert '<span class="tag v-wrong">wrong</span>' in text and "src=" not in text and "<link" not in text
    assert main(["diff", str(runs / "second"), str(runs / "first"), "--html", str(page)]) == 0
    assert "nothing got worse" in page.read_text()
    assert main(["diff", str(runs / "first"), str(runs / "second"), "--html", "x.html", "--json"]) == 2
    assert "choose one way to show a comparison" in capsys.readouterr().err


def test_the_history_as_a_page(runs: Path) -> None:
    """Each run with its date and how it ended, each family as a course; a run above the limit has another shape."""
    page = runs / "history.html"
    assert main(["report", str(runs), "--history", "--html", str(page)]) == 0
    text = page.read_text()
    for said in (
        "2 runs, first to second",
        "2026-11-01 08:00 UTC",
        "discrepancies found",
        "worked-example",
        "conforms",
    ):
        assert said in text, said
    assert text.count('class="beyond"') == 1 and text.count('class="within"') == 1


def test_a_badge_says_how_it_ended(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, said in (("first", "✓ conforms"), ("second", "✗ 2 kinds of discrepancies")):
        assert main(["report", str(runs / name), "--format", "badge"]) == 0
        picture = capsys.readouterr().out
        assert picture.startswith("<svg ") and f'aria-label="backpropagation: {said}"' in picture


def test_no_page_has_a_serious_fault_of_access(browser: Any, runs: Path, tmp_path: Path) -> None:
    """By axe: roles, names, contrast, what scrolls; in light and in dark, and on a phone."""
    bug = planted.bug()
    bug.to_html(tmp_path / "report.html")
    second = oracle.load_report(runs / "second")
    (tmp_path / "diff.html").write_text(pages.diff_page(("first", oracle.load_report(runs / "first")), ("second", bug)))
    (tmp_path / "history.html").write_text(pages.history_page([("first", second), ("second", bug)]))
    (tmp_path / "walk.html").write_text(oracle.explain(CASE).to_html())
    oracle.check_module(language_model("GPT-2"), tokens(1, seed=0)).to_html(tmp_path / "module.html")
    axe = resources.files("axe_core_python").joinpath("axe.min.js").read_text(encoding="utf-8")
    for page in sorted(tmp_path.glob("*.html")):
        for theme, width in (("light", 1300), ("dark", 400)):
            scheme = {"features": [{"name": "prefers-color-scheme", "value": theme}]}
            browser.execute_cdp_cmd("Emulation.setEmulatedMedia", scheme)
            browser.set_window_size(width, 1000)
            browser.get(page.as_uri())
            browser.execute_script(axe)
            found = browser.execute_async_script("axe.run({resultTypes: ['violations']}).then(arguments[0])")
            grave = [own for own in found["violations"] if own["impact"] in ("serious", "critical")]
            assert not grave, (page.name, theme, width, [(own["id"], own["nodes"][0]["html"][:200]) for own in grave])
            assert found["violations"] or len(browser.find_elements("css selector", "main h1, header h1")) == 1
            wide = browser.execute_script("return document.documentElement.scrollWidth > innerWidth")
            assert not wide, (page.name, width)
