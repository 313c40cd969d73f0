"""What lies under reports/ is what the project says today; `oracle run && oracle selftest --out reports` writes it anew."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

import oracle
from oracle import suite
from oracle.harness.run import DTYPES
from oracle.judging.rows import DISCREPANCIES, FAILED
from oracle.selftest.bugs import all_bugs
from oracle.selftest.variants import all_variants

REPORTS = Path(__file__).parents[1] / "reports"
STALE = "reports/ is stale: run `oracle run && oracle selftest --out reports`"


def test_the_report_is_of_the_suite_as_it_is() -> None:
    """Every case in both precisions, none that is gone, and no discrepancy."""
    cases = pd.read_csv(REPORTS / "cases.csv")
    expected = {(name, dtype) for name in suite.all_cases() for dtype in DTYPES}
    assert set(zip(cases["case"], cases["dtype"], strict=True)) == expected, STALE
    summary = (REPORTS / "report.md").read_text()
    assert summary.startswith("# refbp against torch: conforms"), STALE
    assert f"{len(suite.all_cases()):,} cases in float64 and float32" in summary, STALE


def test_a_sample_of_the_report_comes_out_the_same() -> None:
    """Verdicts and numbers of rows of every fortieth case, judged again."""
    kept = pd.read_csv(REPORTS / "cases.csv", keep_default_na=False)
    names = [name for name in suite.all_cases() if not name.startswith(("digits", "network"))][::40]
    again = oracle.run(cases=[suite.named(name) for name in names]).cases
    merged = again.merge(kept, on=["case", "dtype"], suffixes=("", "_kept"))
    assert len(merged) == len(again)
    for column in ("verdict", "rows", "undecided", "layer", "quantity"):
        assert list(merged[column]) == list(merged[f"{column}_kept"]), (column, STALE)


def test_the_self_test_is_of_the_libraries_as_they_are() -> None:
    """Every bug in each of its precisions; the variants by their number."""
    bugs = pd.read_csv(REPORTS / "selftest.csv", keep_default_na=False)
    expected = {(name, dtype) for name, bug in all_bugs().items() for dtype in bug.dtypes}
    assert set(zip(bugs["bug"], bugs["dtype"], strict=True)) == expected, STALE
    published = (REPORTS / "selftest.md").read_text()
    assert f"| {len(all_bugs())} planted bugs, in each precision: caught |" in published, STALE
    assert f"| {len(all_variants())} legal variants, in each precision: accused |" in published, STALE


def test_every_finding_is_told_and_has_a_reproducer() -> None:
    """A finding is a page with a title and code that can be run."""
    pages = sorted((REPORTS / "findings").glob("*.md"))
    assert pages
    for page in pages:
        text = page.read_text()
        assert text.startswith("# ") and re.search(r"```python\n", text), page.name


@pytest.mark.parametrize("page", sorted((REPORTS / "fuzz").glob("*.md")), ids=lambda page: page.stem)
def test_the_page_on_random_cases_gives_the_figures_of_its_campaigns(page: Path) -> None:
    """How many cases, how many discrepancies, and a finding that exists for each kind of them."""
    counts = dict(re.findall(r"^\| (\w+) \| ([\d,]+) \|$", page.read_text(), re.MULTILINE))
    numbers = {verdict: int(number.replace(",", "")) for verdict, number in counts.items()}
    found = sum(number for verdict, number in numbers.items() if verdict in (*DISCREPANCIES, FAILED))
    summary = (REPORTS / "fuzz.md").read_text()
    assert f"(fuzz/{page.name})" in summary
    assert re.search(rf"\(fuzz/{page.name}\)[^|]*\| {sum(numbers.values()):,} \| {found:,} \|", summary)
    for finding in re.findall(r"\(findings/([\w-]+\.md)\)", summary):
        assert (REPORTS / "findings" / finding).exists()
