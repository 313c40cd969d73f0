"""Findings stay true: each reproducer still shows what its page says, and each mark in the code has a page."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

from oracle.findings import FINDINGS, mark_known
from oracle.verdict import CONVENTION, WRONG, Row

PAGES = sorted((Path(__file__).parents[2] / "reports" / "findings").glob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_reproducer_runs(page: Path) -> None:
    """When it fails, the implementation has been mended: take the finding and its mark away."""
    (code,) = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    exec(compile(code, str(page), "exec"), {})


def test_every_mark_has_its_page() -> None:
    """What a report points to is there."""
    assert {finding.report for finding in FINDINGS} <= {page.stem for page in PAGES}


def row(**changes: object) -> Row:
    known: dict[str, object] = {"layer_type": "Hardsigmoid", "quantity": "grad_input", "dtype": "float64"}
    result = Row("case", "float64", 0, "0", "", "", "local", WRONG)
    result.max_rel = 2.0**-25
    for name, value in (known | changes).items():
        setattr(result, name, value)
    return result


def test_a_mark_excuses_only_what_it_explains() -> None:
    """The known error is a convention; anything larger, NaN for a number, elsewhere, or of another implementation stays wrong."""
    rows = [row(), row(max_rel=1e-3), row(max_rel=math.inf), row(quantity="output"), row(dtype="float32")]
    mark_known(rows, {"refbp", "torch"})
    assert [entry.verdict for entry in rows] == [CONVENTION, WRONG, WRONG, WRONG, WRONG]
    mine = [row()]
    mark_known(mine, {"refbp", "mine"})
    assert mine[0].verdict == WRONG
