"""The per-layer table and its bars, wide and narrow, in a terminal and in a pipe."""

from __future__ import annotations

import io
import math
import re

import pytest
from rich.console import Console

import oracle
from oracle.report import terminal
from oracle.report.table import layer_lines
from oracle.running_error import LAMBDA

from .. import planted


@pytest.fixture(scope="module")
def report() -> oracle.Report:
    return planted.bug()


def shown(report: oracle.Report, width: int, is_terminal: bool) -> list[str]:
    out = Console(file=io.StringIO(), width=width, force_terminal=is_terminal, no_color=True, highlight=False)
    _, lines = layer_lines(report.table, "lenet5/random", "float32")
    out.print(terminal.layer_table(lines, "title", out))
    assert isinstance(out.file, io.StringIO)
    return re.sub("\x1b\\[[0-9;]*m", "", out.file.getvalue()).splitlines()


def test_eighty_columns_are_enough(report: oracle.Report) -> None:
    """No line is folded or cut: one per layer and quantity, a head and a title."""
    _, lines = layer_lines(report.table, "lenet5/random", "float32")
    narrow = shown(report, 80, is_terminal=True)
    assert len(narrow) == len(lines) + 2 and not any("…" in line for line in narrow)
    assert max(map(len, narrow)) <= 80


def test_the_culprit_and_what_follows_read_without_colour(report: oracle.Report) -> None:
    text = shown(report, 80, is_terminal=True)
    culprits = [line for line in text if "◀" in line]
    assert any("conv2" in line and "grad_input" in line and "█" in line for line in culprits)
    assert all("conv" in line for line in culprits)
    assert any("wrong, follows" in line for line in text)


def test_what_follows_does_not_look_like_a_culprit(report: oracle.Report) -> None:
    """Culprits stand out in bold, what is wrong because of them does not; what passes is no dark blue, unreadable on black."""
    out = Console(file=io.StringIO(), width=120, force_terminal=True, color_system="256", highlight=False)
    _, lines = layer_lines(report.table, "lenet5/random", "float32")
    out.print(terminal.layer_table(lines, "", out))
    assert isinstance(out.file, io.StringIO)
    painted = re.findall("\x1b\\[([0-9;]*)m([^\x1b]*)", out.file.getvalue())
    follows = {code for code, text in painted if "wrong, follows" in text}
    culprits = {code for code, text in painted if "wrong ◀" in text}
    passing = {code for code, text in painted if text.strip() == "pass"}
    assert follows == {"2"} and culprits and all(code.startswith("1;") for code in culprits)
    assert passing and not passing & {"34", "94"}


def test_a_pipe_gets_no_bars(report: oracle.Report) -> None:
    assert not set("".join(shown(report, 120, is_terminal=False))) & set("▪█│")


@pytest.mark.parametrize(
    "z, expected",
    [
        (0.0, "   │      "),
        (1e-9, "   │      "),
        (0.1, "▪▪ │      "),
        (LAMBDA, "▪▪▪│      "),
        (1.01 * LAMBDA, "▪▪▪│█     "),
        (1e9 * LAMBDA, "▪▪▪│██████"),
        (math.inf, "▪▪▪│██████"),
        (math.nan, ""),
    ],
)
def test_a_bar_is_a_decade_a_character(z: float, expected: str) -> None:
    assert terminal.bar(z) == expected


def test_a_sparkline_shows_gaps_and_infinities() -> None:
    assert terminal.sparkline([1.0, math.nan, 2.0, math.inf]) == "▁·█!"
    assert terminal.sparkline([]) == ""


def test_how_it_ended_is_the_last_line_however_narrow(report: oracle.Report) -> None:
    """Who reads the last line of a log finds the outcome there."""
    out = Console(file=io.StringIO(), width=40, highlight=False)
    terminal.show_report(out, report)
    assert isinstance(out.file, io.StringIO)
    last = out.file.getvalue().rstrip().splitlines()[-1]
    assert last == report.conclusion


def test_progress_leaves_nothing_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Not even the empty line with which a bar ends: a log holds sentences only."""
    with terminal.progress("cases") as moved:
        moved(1, 2, "tiny/one")
    assert capsys.readouterr() == ("", "")
