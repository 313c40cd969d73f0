"""The action of .github/actions/oracle: its script as a runner of GitHub starts it, and where it puts its annotations."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from oracle.report.source import source_of
from tests.programs import program

ROOT = Path(__file__).parents[1]
STEPS: list[Any] = yaml.safe_load((ROOT / ".github" / "actions" / "oracle" / "action.yml").read_text())["runs"]["steps"]
SUBJECT = """
from oracle.subjects import refbp
import oracle

class Wrong:
    name = "wrong"

    def run(self, case):
        trace = refbp.run(case)
        for key, array in dict(trace.arrays).items():
            if key.quantity == "grad.weight":
                trace.record(*key, array / 2)
        return trace

subject = Wrong()
right = refbp
"""


def run_action(folder: Path, subject: str) -> tuple[subprocess.CompletedProcess[str], str]:
    """Its first step, and what it hands to the last one."""
    (folder / "bin").mkdir(exist_ok=True)
    command = folder / "bin" / "oracle"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m oracle "$@"\n')
    command.chmod(0o755)
    given = {
        "SUBJECT": subject,
        "CASES": "linear/Linear,in_features=3*batch=5",
        "FOLDER": "out",
        "ARGUMENTS": "--dtype float32",
    }
    environment = {
        **os.environ,
        **given,
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "GITHUB_OUTPUT": str(folder / "output"),
        "GITHUB_STEP_SUMMARY": str(folder / "summary"),
        "GITHUB_WORKSPACE": str(folder),
    }
    script = [program("bash"), "-e", "-o", "pipefail", "-c", STEPS[0]["run"]]
    done = subprocess.run(script, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return done, (folder / "output").read_text()


def test_a_discrepancy_is_annotated_at_its_file_and_line(tmp_path: Path) -> None:
    """The step goes on, so that the page is kept; the last step ends with the status."""
    (tmp_path / "mine.py").write_text(SUBJECT)
    done, handed = run_action(tmp_path, "mine:subject")
    assert (done.returncode, handed) == (0, "status=1\n"), done.stderr
    line = SUBJECT.splitlines().index("    def run(self, case):") + 1
    errors = [said for said in done.stdout.splitlines() if said.startswith("::error ")]
    assert errors and all(said.startswith(f"::error file=mine.py,line={line},title=linear/Linear") for said in errors)
    assert "Culprits, worst first" in (tmp_path / "summary").read_text()
    assert (tmp_path / "out" / "report.html").is_file()
    assert "✗ 1 kind of discrepancies" in (tmp_path / "out" / "badge.svg").read_text()
    assert STEPS[1]["if"] == "always()" and STEPS[2]["run"] == 'exit "$STATUS"'


def test_a_subject_that_cannot_be_had_is_no_success(tmp_path: Path) -> None:
    """There is no report then, and nothing to show."""
    done, handed = run_action(tmp_path, "nowhere:subject")
    assert (done.returncode, handed) == (0, "status=2\n")
    assert "::error" not in done.stdout


@pytest.mark.parametrize(
    ("subject", "line"),
    [("pack.inner:subject", 8), ("pack.inner:Wrong", 8), ("pack.inner:right", 16), ("pack.inner:absent", 1)],
)
def test_the_place_is_read_and_nothing_is_run(
    subject: str, line: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a module inside a package too."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "__init__.py").write_text("raise RuntimeError('was run')")
    (tmp_path / "pack" / "inner.py").write_text(SUBJECT)
    assert source_of(subject) == (tmp_path / "pack" / "inner.py", line)


@pytest.mark.parametrize("subject", ["refbp", "nowhere:subject", "math:pi", "pytest.nowhere:x"])
def test_where_there_is_no_source_there_is_no_place(subject: str) -> None:
    assert source_of(subject) is None


@pytest.mark.parametrize("path", sorted((ROOT / ".github").rglob("*.yml")), ids=lambda path: str(path.name))
def test_every_file_for_github_can_be_read(path: Path) -> None:
    """As YAML, with what its kind needs."""
    read = yaml.safe_load(path.read_text())
    if path.parent.name == "ISSUE_TEMPLATE" and path.name != "config.yml":
        assert {"name", "description", "body"} <= read.keys()
        assert all(field["attributes"]["label"] for field in read["body"])
