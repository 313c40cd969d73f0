"""What README shows works as it stands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import oracle

README = (Path(__file__).parents[1] / "README.md").read_text()


@pytest.mark.parametrize("code", re.findall(r"```python\n(.*?)```", README, re.DOTALL))
def test_the_python_examples_run(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user copies them; what they write lands in the current folder."""
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})


def test_the_subject_of_a_numpy_function_is_short_and_judged() -> None:
    """Under 15 lines; what it computes is held against torch, and what it lacks is unsupported."""
    (code,) = [code for code in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "class MyLinear" in code]
    body = code.partition("class MyLinear")[2].partition("oracle.run(")[0]
    assert 5 < len([line for line in body.splitlines() if line.strip()]) < 15
    names: dict[str, Any] = {}
    exec(compile(code, "README.md", "exec"), names)
    table = oracle.run(names["MyLinear"](), cases="linear/").table
    for quantity in ("output", "grad_input", "grad.weight", "grad.bias"):
        assert (table[table["quantity"] == quantity]["verdict"] == "pass").sum() > 10
    assert "unsupported" in set(table["verdict"])
    wrong = code.replace("dy @ W)", "dy @ W / 2)")
    assert wrong != code
    with pytest.raises(oracle.Discrepancy, match=r"grad_input wrong"):
        exec(compile(wrong, "README.md", "exec"), {})


def test_every_command_that_readme_names_exists() -> None:
    """`oracle something` in README is a command of the program."""
    from oracle.cli import app

    known = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    known |= {str(group.name) for group in app.registered_groups}
    named = set(re.findall(r"(?:^|bin/)oracle (\w+)", README, re.MULTILINE))
    assert named and named <= known


def test_the_self_test_is_quoted_as_it_was_published() -> None:
    """README's table is the one of reports/selftest.md."""
    published = (Path(__file__).parents[1] / "reports" / "selftest.md").read_text()
    quoted = README.partition("<!-- selftest -->\n")[2].partition("<!-- end of selftest -->")[0]
    assert quoted.strip() and quoted.strip() in published
