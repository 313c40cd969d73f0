"""Runs that are killed, each a fork of this process, which has imported what they need. Run by test_command.py.

python killed.py FOLDER COUNT: so often at random moments, and then before each move of a file.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd

from oracle.cli import main
from oracle.report.placing import FILES
from oracle.report.report import Report, load_report


def run(folder: Path, dtype: str) -> None:
    case = "worked-example/plain"
    assert main(["run", "--cases", case, "--reference", "refbp", "--dtype", dtype, "--out", str(folder)]) == 0


def forked(work: Callable[[], object]) -> int:
    number = os.fork()
    if number == 0:
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return number


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def check_whole(folder: Path, dtype: str) -> None:
    """Every file is of the run in this dtype."""
    assert load_report(folder).passed and set(contents(folder)) == set(FILES)
    for name in ("table.csv", "cases.csv"):
        assert set(pd.read_csv(folder / name)["dtype"]) == {dtype}, name
    assert set(pd.read_parquet(folder / "table.parquet")["dtype"]) == {dtype}
    assert json.loads((folder / "report.json").read_bytes())["environment"]["dtypes"] == [dtype]
    for name in ("report.md", "report.html"):
        text = (folder / name).read_text(encoding="utf-8")
        assert (
            dtype in text and {"float32": "float64", "float64": "float32"}[dtype] not in text.partition("<script")[0]
        ), name


def moments(folder: Path, count: int) -> int:
    """How many ended before they were killed."""
    run(folder, "float32")
    start = time.monotonic()
    run(folder, "float64")
    took, dtype, quicker = time.monotonic() - start, "float64", 0
    for moment in range(count):
        other = {"float32": "float64", "float64": "float32"}[dtype]
        before = contents(folder)
        number = forked(partial(run, folder, other))
        time.sleep(random.Random(moment).uniform(0, 1.2 * took))
        os.kill(number, signal.SIGKILL)
        _, status = os.waitpid(number, 0)
        assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
        load_report(folder)
        if contents(folder) != before:
            dtype, quicker = other, quicker + 1
            check_whole(folder, dtype)
    run(folder, "float32")
    check_whole(folder, "float32")
    return quicker


def moves(folder: Path) -> None:
    """There are as many moves as files."""
    reports = []
    for dtype in ("float64", "float32"):
        run(folder, dtype)
        reports.append(load_report(folder))
    for at in range(len(FILES)):
        _, status = os.waitpid(forked(partial(saved_until, at, reports[0], folder)), 0)
        assert os.WIFSIGNALED(status), (at, status)
        check_whole(folder, "float64")
        reports[1].save(folder)
        check_whole(folder, "float32")


def saved_until(at: int, report: Report, folder: Path) -> None:
    honest, calls = Path.replace, []

    def replace(self: Path, target: Path) -> Path:
        if len(calls) == at:
            os.kill(os.getpid(), signal.SIGKILL)
        calls.append(target)
        return honest(self, target)

    Path.replace = replace  # type: ignore[method-assign, assignment]
    report.save(folder)


if __name__ == "__main__":
    place, count = Path(sys.argv[1]), int(sys.argv[2])
    sys.stderr.write(f"{moments(place / 'moments', count)} of {count} were quicker\n")
    moves(place / "moves")
