"""Names and reasons of anybody's are shown as they are, and do nothing, wherever a report is read."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

import oracle
from oracle import suite
from oracle.cli import main
from oracle.report import github, terminal

from . import subjects

# Text, and what must stand nowhere in what is shown.
TEXTS = {
    "closing markup": ("[/nope]", ""),
    "a list": ("[left, right]", ""),
    "opening markup": ("[bold red]x[/bold red]", ""),
    "a link of rich's": ("[link=file:///etc/passwd]x[/link]", ""),
    "a smiley": (":smile:", "😄"),
    "colours": ("\x1b[31mred\x1b[0m", "\x1b"),
    "a title of the terminal": ("\x1b]0;title\x07", "\x1b"),
    "a bell": ("\a\b\r", "\a"),
    "C1 controls": ("\x9b31m", "\x9b"),
    "half a character": ("\ud800\udfff", ""),
    "an undecodable name": (b"\xff\xfe".decode("utf-8", "surrogateescape"), ""),
    "the other way round": ("\u202egnp.exe", "\u202e"),
    "ends of lines": ("a\n::error::b\r\n\u2028c\x85d", "\u2028"),
    "a script": ("<script>alert(1)</script>", "<script>alert"),
    "the end of a script": ("</script><img src=x onerror=alert(1)>", "<img"),
    "an attribute": ('" onmouseover="alert(1)', ""),
    "a formula": ('=HYPERLINK("http://x","y")', ""),
    "other formulas": ("@SUM(1)", ""),
    "a table": ("a | b | c", ""),
    "a link": ("[x](javascript:alert(1))", "](javascript"),
    "a template": ("{{ 7777 * 7777 }}{% raw %}", "60481729"),
    "an XML end": ("]]></testcase>\x00\x0b", "\x00"),
    "a workflow command": ("%0A::set-output name=a::b", ""),
    "a format": ("{0.__class__} %s %n", ""),
}


def report_of(text: str) -> oracle.Report:
    """The text as a subject's name, a case's and a layer's, an unknown quantity's and a crash's message."""
    first = replace(suite.named("worked-example/plain"), name=f"{text}/plain")
    second = replace(suite.named("worked-example/decay"), name=f"{text}/decay")

    def attack(trace: oracle.Trace) -> oracle.Trace:
        if len(trace) > 30:  # of the second
            raise ValueError(text)
        trace.record(0, text, f"grad.{text}", [1.0])
        return trace

    subject = subjects.Right(after=attack)
    subject.name = text
    return oracle.run(subject, "refbp", [first, second], ("float64",))


@pytest.mark.parametrize("what", TEXTS)
def test_text_is_shown_as_it_is(what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In the terminal, in Markdown, CSV, JUnit's XML, GitHub's commands and HTML; saved and loaded again."""
    text, forbidden = TEXTS[what]
    report = report_of(text)
    assert not report.passed
    report.save(tmp_path)
    files = [path for path in tmp_path.iterdir() if path.suffix in (".md", ".csv")]
    shown = {path.name: path.read_text(encoding="utf-8") for path in files}
    out = io.StringIO()
    console = terminal.console()
    console.file = out
    terminal.show_report(console, oracle.load_report(tmp_path))
    commands = github.workflow_commands(report.blame, report.table)
    summary = github.summary(report)
    rendered = {"report.md": shown["report.md"], "notebook": report._repr_html_(), "summary": summary}
    shown |= rendered | {"terminal": out.getvalue(), "commands": "\n".join(commands)}
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    places = shown if len(forbidden) == 1 else {"report.md": 1, "summary": 1} if "](" in forbidden else rendered
    for where, content in ((where, shown[where]) for where in places):
        assert not (forbidden and forbidden in content), where
    for where, content in shown.items():
        assert all(sign.isprintable() or sign == "\n" for sign in content), where
    assert "alert(1)</script>" not in page and "<img src=x" not in page
    ET.fromstring(report.to_junit())
    assert all(
        command.startswith(("::error title=", "::warning title=")) and "\n" not in command for command in commands
    )
    assert main(["report", str(tmp_path)]) == 0
    assert main(["diff", str(tmp_path), str(tmp_path)]) == 0
    if text.isascii() and text.isprintable():
        assert text in capsys.readouterr().out


def test_no_cell_is_a_formula(tmp_path: Path) -> None:
    """Of every text that begins like one."""
    for text in ("=1+1", "+1", "-1", "@SUM(1)"):
        report_of(text).save(tmp_path)
        for name in ("table.csv", "cases.csv"):
            with (tmp_path / name).open(encoding="utf-8", newline="") as file:
                cells = [cell for row in csv.DictReader(file) for key, cell in row.items() if not _is_number(cell)]
            assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t"))]


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


SOURCES = sorted(
    path for package in ("oracle", "refbp") for path in (Path(oracle.__file__).parents[1] / package).rglob("*.py")
)


def test_every_text_file_names_its_encoding() -> None:
    """A locale of another encoding changes no file: what opens one as text says UTF-8. The list shows that the test can fail."""
    import ast

    def calls(source: str) -> list[int]:
        found = []
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Call) and isinstance(node.func, (ast.Attribute, ast.Name)):
                name = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
                words = {keyword.arg for keyword in node.keywords}
                modes = [arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
                binary = name == "open" and any("b" in mode for mode in modes if set(mode) <= set("rwaxbt+"))
                if name in ("read_text", "write_text", "open") and "encoding" not in words and not binary:
                    found.append(node.lineno)
        return found

    assert calls("path.write_text(x)\nopen(p, 'rb')\np.open('w')") == [1, 3]
    others = ("os.open",)
    texts = {path: path.read_text(encoding="utf-8") for path in SOURCES}
    strange = [
        f"{path.name}:{line}"
        for path, text in texts.items()
        if any(name in text for name in ("open(", "read_text(", "write_text("))
        for line in calls(text)
        if not any(other in text.splitlines()[line - 1] for other in others)
    ]
    assert not strange


def test_a_terminal_gets_what_it_can_show(tmp_path: Path) -> None:
    """An ASCII terminal, and files in UTF-8 all the same."""
    environment = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    path = str(Path(oracle.__file__).parents[1])
    words = [sys.executable, "-m", "oracle", "run", "--cases", "worked-example/plain", "--reference", "refbp"]
    done = subprocess.run(
        [*words, "--dtype", "float64", "--out", str(tmp_path / "größe")],
        env={**environment, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert b"Traceback" not in done.stderr and done.stdout.isascii()
    assert (tmp_path / "größe" / "report.md").read_text(encoding="utf-8")
