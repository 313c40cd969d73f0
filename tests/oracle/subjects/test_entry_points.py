"""Subjects that other packages register under the entry-point group `oracle.subjects`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import oracle
from oracle import subjects
from oracle.cli import lists

SUBJECT = """
from oracle.subjects import refbp

class Subject:
    name = "theirs"
    run = staticmethod(refbp.run)

subject = Subject()
nothing = 3
"""


def package(folder: Path, name: str, points: dict[str, str], module: str = SUBJECT) -> None:
    """Writes what installing a small package leaves behind: its module, and a .dist-info with its entry points."""
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.py").write_text(module)
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = [f"{point} = {value}" for point, value in points.items()]
    (info / "entry_points.txt").write_text("\n".join(["[oracle.subjects]", *lines, ""]))


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A good subject and four broken ones."""
    monkeypatch.syspath_prepend(str(tmp_path))
    package(tmp_path, "theirs_pkg", {"theirs": "theirs_pkg:subject", "refbp": "theirs_pkg:subject"})
    broken = {
        "gone": "nowhere_pkg:subject",
        "lost": "theirs_pkg:absent",
        "none": "theirs_pkg:nothing",
        "dies": "dying_pkg:x",
    }
    package(tmp_path, "broken_pkg", broken)
    package(tmp_path, "dying_pkg", {}, "raise RuntimeError('no device')")
    return tmp_path


def test_a_registered_subject_is_found_by_its_name(installed: Path) -> None:
    assert oracle.run(subject="theirs", cases="worked-example", dtypes=("float64",)).passed
    assert subjects.load("theirs").name == "theirs"


def test_a_built_in_name_stays_what_it_is(installed: Path) -> None:
    """Another package cannot put itself in the place of a subject of this one."""
    assert subjects.load("refbp").name == "refbp"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gone", "subject 'gone' cannot be imported: ModuleNotFoundError: No module named 'nowhere_pkg'"),
        ("lost", "subject 'lost': module theirs_pkg has no 'absent'"),
        ("none", "subject none needs a string `name`"),
        ("dies", "subject 'dies' cannot be imported: RuntimeError: no device"),
    ],
)
def test_a_broken_one_is_a_sentence_when_it_is_asked_for(installed: Path, name: str, message: str) -> None:
    with pytest.raises(subjects.SubjectError) as raised:
        subjects.load(name)
    assert message in str(raised.value) and "\n" not in str(raised.value)


def test_broken_ones_are_warned_of_and_stop_no_other(installed: Path) -> None:
    """All others are listed; each broken one is named with its package."""
    with pytest.warns(UserWarning) as said:
        listed = [entry["subject"] for entry in lists.entries("subjects")]
    assert listed == [*subjects.BUILT_IN, "theirs"]
    messages = sorted(str(warning.message) for warning in said)
    assert len(messages) == 4 and all(message.startswith("package broken_pkg: subject") for message in messages)


def test_an_unknown_name_lists_the_registered_ones(installed: Path) -> None:
    with pytest.raises(subjects.SubjectError, match=r"known are refbp, torch, .*theirs"):
        subjects.load("theirz")


def test_the_command_lists_them_and_warns_on_standard_error(installed: Path) -> None:
    """As a user sees it, in a process of its own."""
    path = os.pathsep.join([str(installed), str(Path(oracle.__file__).parents[1])])
    command = [sys.executable, "-m", "oracle", "list", "subjects", "--json"]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=True)
    listed = json.loads(done.stdout)
    assert {"subject": "theirs", "installed": "theirs_pkg 1.0"} in listed and len(listed) == len(subjects.BUILT_IN) + 1
    assert done.stderr.count("warning: package broken_pkg") == 4 and "Traceback" not in done.stderr
