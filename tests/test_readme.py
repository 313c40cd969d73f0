"""README, and the documents that it points to, work as they stand."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import oracle
from oracle.running_error import LAMBDA

ROOT = Path(__file__).parents[1]
DOCUMENTS = {
    path: (ROOT / path).read_text()
    for path in ("README.md", "oracle/GUIDE.md", "oracle/TOLERANCES.md", "oracle/PROTOCOL.md", "CONTRIBUTING.md")
}
README, GUIDE = DOCUMENTS["README.md"], DOCUMENTS["oracle/GUIDE.md"]


def examples() -> Iterator[Any]:
    for path in ("README.md", "oracle/GUIDE.md", "oracle/TOLERANCES.md"):
        for place, code in enumerate(re.findall(r"```python\n(.*?)```", DOCUMENTS[path], re.DOTALL)):
            yield pytest.param(code, id=f"{path}-{place}")


@pytest.mark.parametrize("code", list(examples()))
def test_the_python_examples_run(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user copies them; what they write lands in the current folder."""
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "example", "exec"), {})


def test_readme_is_short_and_shows_at_once_how_to_check_your_own_code() -> None:
    """Of a first screen, 40 lines, the example is a part; what it says of a mistake is what comes out."""
    lines = README.splitlines()
    assert len(lines) <= 180
    assert lines.index('oracle.check_op("linear", linear).raise_for_discrepancy()') < 40
    (code,) = re.findall(r"(def linear.*?)\n\n\n", README, re.DOTALL)
    names: dict[str, Any] = {}
    wrong = code.replace("rows.sum(0)", "rows.mean(0) if len(rows) else rows.sum(0)")
    assert wrong != code
    exec(wrong, names)
    said = str(oracle.check_op("linear", names["linear"]))
    quoted = README.partition("the first check says\n\n```\n")[2].partition("```")[0]
    assert quoted and quoted in said + "\n"


def test_the_subject_of_a_numpy_function_is_short_and_judged() -> None:
    """Under 15 lines; what it computes is held against torch, and what it lacks is unsupported."""
    (code,) = [code for code in re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL) if "class MyLinear" in code]
    body = code.partition("class MyLinear")[2].partition("oracle.run(")[0]
    assert 5 < len([line for line in body.splitlines() if line.strip()]) < 15
    names: dict[str, Any] = {}
    exec(compile(code, "GUIDE.md", "exec"), names)
    table = oracle.run(names["MyLinear"](), cases="linear/").table
    for quantity in ("output", "grad_input", "grad.weight", "grad.bias"):
        assert (table[table["quantity"] == quantity]["verdict"] == "pass").sum() > 10
    assert "unsupported" in set(table["verdict"])
    wrong = code.replace("dy @ W)", "dy @ W / 2)")
    assert wrong != code
    with pytest.raises(oracle.Discrepancy, match=r"grad_input wrong"):
        exec(compile(wrong, "GUIDE.md", "exec"), {})


@pytest.mark.parametrize("path", DOCUMENTS)
def test_every_command_that_is_named_exists(path: str) -> None:
    """`oracle something` is a command of the program."""
    from oracle.cli import app

    known = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    known |= {str(group.name) for group in app.registered_groups}
    named = set(re.findall(r"(?:^|bin/|-m |`)oracle (\w+)", DOCUMENTS[path], re.MULTILINE))
    assert named <= known and (named or path == "oracle/PROTOCOL.md")


@pytest.mark.parametrize("path", DOCUMENTS)
def test_every_link_leads_somewhere(path: str) -> None:
    """To a file of the repository and, where it names one, to a heading in it."""
    links = re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", DOCUMENTS[path])
    for target, anchor in links:
        found = (ROOT / path).parent / target if target else ROOT / path
        assert found.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", found.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}, anchor
    assert links or path in ("CONTRIBUTING.md", "oracle/PROTOCOL.md")


def test_the_self_test_is_quoted_as_it_was_published() -> None:
    """README's table is the one of reports/selftest.md."""
    published = (ROOT / "reports" / "selftest.md").read_text()
    quoted = README.partition("<!-- selftest -->\n")[2].partition("<!-- end of selftest -->")[0]
    assert quoted.strip() and quoted.strip() in published


def test_the_other_measurements_are_quoted_as_they_were_published() -> None:
    """README's rows on rivals, corpus and models are rows of their reports, in the words that stand there; and what limits them
    is said."""
    block = README.partition("<!-- proof -->\n")[2].partition("<!-- end of proof -->")[0]
    published = {
        name: (ROOT / "reports" / f"{name}.md").read_text().splitlines()
        for name in ("rivals", "corpus", "models")
        if (ROOT / "reports" / f"{name}.md").exists()
    }
    rows = [line for line in block.splitlines() if line.startswith("|")][2:]
    quoted = {name: sum(row in lines for row in rows) for name, lines in published.items()}
    assert sum(quoted.values()) == len(rows) and min(quoted.values()) >= 3, quoted
    for limit in ("the project's own", "made after results had been seen", "random weights"):
        assert limit in README, limit


def test_the_largest_z_is_quoted_as_it_was_published() -> None:
    """The figures from which λ was chosen, in TOLERANCES.md: those of the self-test and of other people's models."""
    stated = DOCUMENTS["oracle/TOLERANCES.md"]
    rows = re.findall(r"^\| [^|]* \| ([\d.]+) · 10([⁰¹²³⁴⁵⁶⁷⁸⁹]+) \| ([\d.]+) \|$", stated, re.MULTILINE)
    told = [(float(digits) * 10 ** int(unicodedata.normalize("NFKC", power)), float(z)) for digits, power, z in rows]
    models = pd.read_csv(ROOT / "reports" / "models.csv")
    narrow = models["dtype"].isin(("bfloat16", "autocast"))
    published = (ROOT / "reports" / "selftest.md").read_text()
    sections = {
        name: published.partition(f"## {name}\n")[2].partition("\n## ")[0]
        for name in ("Ordinary programs", "Legal variants")
    }
    found = []
    for section in sections.values():
        cells = [line.split("|") for line in section.splitlines() if re.match(r"\| [^|]* \| \d", line)]
        found.append((sum(int(own[3]) for own in cells), max(float(own[-3]) for own in cells)))
    found += [(own["elements"].sum(), own["z_max"].max()) for own in (models[~narrow], models[narrow])]
    assert len(told) == len(found) == 4
    for (elements, z), (due, largest) in zip(told, found, strict=True):
        assert elements == pytest.approx(due, rel=0.03) and z == pytest.approx(largest, abs=0.006)
    assert f"{LAMBDA / told[3][1]:.1f} times torch's largest on an Intel processor" in stated
    ratio = LAMBDA / max(z for _, z in told[:3])
    assert f"λ is {ratio:.1f} times the largest z in these tables" in stated
    assert f"{LAMBDA / max(told[0][1], told[2][1]):.1f} times the largest of torch" in stated
