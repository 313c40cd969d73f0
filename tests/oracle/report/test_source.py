"""An annotation stands at the line where the subject is written, found without running any of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from oracle.report.source import source_of

MINE = '''"""Importing this would raise."""
raise SystemExit


class Net:
    name = "net"

    def run(self, case):
        return case


class Table:
    run = staticmethod(print)


def make():
    return Net()


net = Net()
typed: Net = Net()
made = make()
table = Table()
other, same = Net(), net
alias = net
'''
ALONE = 'name = "alone"\n\n\ndef run(case):\n    return case\n'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "theirs_alone.py").write_text(ALONE)
    (tmp_path / "theirs_broken.py").write_text("def run(:\n")
    package = tmp_path / "theirs_package"
    (package / "inner").mkdir(parents=True)
    (package / "__init__.py").write_text('raise SystemExit\nname = "package"\n')
    (package / "mine.py").write_text(MINE)
    (package / "inner" / "__init__.py").write_text(ALONE)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("subject", "file", "line"),
    [
        ("theirs_package.mine:net", "mine.py", 8),  # the class's `run`
        ("theirs_package.mine:typed", "mine.py", 8),
        ("theirs_package.mine:Net", "mine.py", 8),
        ("theirs_package.mine:made", "mine.py", 16),  # the function that makes it
        ("theirs_package.mine:table", "mine.py", 12),  # the class, whose `run` is no function of its own
        ("theirs_package.mine:alias", "mine.py", 25),
        ("theirs_package.mine:nothing", "mine.py", 1),
        ("theirs_package.inner", "inner/__init__.py", 4),
        ("theirs_alone", "theirs_alone.py", 4),
    ],
)
def test_the_line_of_a_subject(subject: str, file: str, line: int, folder: Path) -> None:
    found = source_of(subject)
    assert found is not None and str(found.file).endswith(file) and found.line == line


@pytest.mark.parametrize(
    "subject",
    ["torch", "theirs_package", "theirs_broken:net", "theirs_package.gone:net", "theirs_gone:net", "sys:path"],
)
def test_a_subject_without_a_source_has_no_line(subject: str, folder: Path) -> None:
    """A name of oracle's, a package that is no subject, and a file that is not there or cannot be read."""
    assert source_of(subject) is None
