"""Mutation testing: does some test fail when one place of the source is changed?

    python -m tests.mutation refbp --tests tests/refbp --out /tmp/mutants

The tests are collected once and run once under coverage, which says which of them reach which line. Each mutant is then a fork
of that warm process: its functions get the mutant's code, and those tests run that reach the changed statement, the quick ones
first, until one fails. What no function holds (constants, class bodies, decorators) is imported anew, with all tests that reach
the file. The fork's end is the mutant's. Tests that start other processes see the unchanged source there.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import random
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from itertools import accumulate, pairwise
from pathlib import Path
from types import CodeType
from typing import Any

import coverage
import hypothesis
import pytest

from tests.mutation.mutants import Mutant, compiled, mutants
from tests.mutation.replacing import Anew, module_name, replace

QUIETLY = ["-q", "--tb=native", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
RESULTS = {0: "survived", 1: "killed", 2: "killed by its import", signal.SIGALRM: "killed by its time"}


class Run:
    """The pytest plugin that runs mutants in place of tests."""

    def __init__(self, files: list[str], options: argparse.Namespace) -> None:
        self.options, self.trees = options, {file: ast.parse(Path(file).read_text()) for file in files}
        self.out = Path(options.out)
        self.out.mkdir(parents=True, exist_ok=True)
        self.failures: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failures.append(report.longreprtext)

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        measured, results = self.out / "durations.json", self.out / self.options.results
        if not measured.exists() and in_fork(lambda: self.measure(session.items, measured)):
            raise SystemExit("the tests do not pass unchanged")
        self.durations = json.loads(measured.read_text())
        self.lines = coverage.CoverageData(str(self.out / "coverage"))
        self.lines.read()
        done = {tuple(entry["key"]) for entry in read(results)}
        end = time.monotonic() + 60 * self.options.minutes
        chosen = self.chosen()
        for mutant in chosen:
            if mutant.key not in done and time.monotonic() < end:
                items = self.reaching(mutant, session.items)
                seconds = 10 + 5 * sum(self.durations.get(item.nodeid, 1.0) for item in items)
                status = in_fork(lambda mutant=mutant, items=items: self.survives(mutant, items), seconds)
                entry = {"key": mutant.key, "at": (mutant.line, mutant.column), "tests": len(items)}
                with results.open("a") as file:
                    print(json.dumps(entry | {"result": RESULTS.get(status, f"killed by {status}")}), file=file)
        print(f"of {len(chosen)} mutants:", dict(Counter(entry["result"] for entry in read(results))))
        return True

    def chosen(self) -> list[Mutant]:
        found = [mutant for file, tree in self.trees.items() for mutant in mutants(file, tree)]
        number = min(self.options.sample or len(found), len(found))
        found = random.Random(self.options.seed).sample(
            found, number
        )  # the order too: what there is time for is a sample
        if self.options.again is None:
            return found
        again = {tuple(entry["key"]) for entry in read(self.options.again) if entry["result"] == "survived"}
        return [mutant for mutant in found if mutant.key in again]

    def reaching(self, mutant: Mutant, items: list[pytest.Item]) -> list[pytest.Item]:
        """The tests that reach a mutant's statement, or file, the quickest first; all tests, where none does."""
        by_line = self.lines.contexts_by_lineno(str(Path(mutant.file).resolve()))
        contexts = [tests for line, tests in by_line.items() if not mutant.inside or line in mutant.lines]
        names = {name for tests in contexts for name in tests if name}
        found = [item for item in items if item.nodeid in names or not names]
        found.sort(key=lambda item: self.durations.get(item.nodeid, 1.0))
        ends = accumulate(self.durations.get(item.nodeid, 1.0) for item in found)
        return [item for item, end in zip(found, ends, strict=True) if end <= self.options.seconds]

    def measure(self, items: list[pytest.Item], durations: Path) -> int:
        """Which test reaches which line, and how long it takes; with each function's code replaced by its own."""
        for file, tree in self.trees.items():
            replace(compiled(tree, file), module_name(file))
        taken = {}
        measured = coverage.Coverage(data_file=str(self.out / "coverage"), include=list(self.trees))
        measured.start()
        for item, following in pairwise([*items, None]):
            measured.switch_context(item.nodeid)
            began = time.perf_counter()
            if self.failed(item, following):
                print(*self.failures)
                return 1
            taken[item.nodeid] = time.perf_counter() - began
            measured.switch_context("")
        measured.stop()
        measured.save()
        durations.write_text(json.dumps(taken))
        return 0

    def survives(self, mutant: Mutant, items: list[pytest.Item]) -> int:
        code, name = mutant.apply(self.trees[mutant.file]), module_name(mutant.file)
        if mutant.inside:
            try:
                replace(code, name)
            except ValueError:  # it sees other variables than the function that it should replace
                return imported(code, name, items)
            return int(any(self.failed(item, following) for item, following in pairwise([*items, None])))
        return imported(code, name, items)

    def failed(self, item: pytest.Item, following: pytest.Item | None) -> bool:
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        return bool(self.failures)


def imported(code: CodeType, name: str, items: list[pytest.Item]) -> int:
    Anew(name, code)
    return int(pytest.main([*QUIETLY, "-x", *(item.nodeid for item in items)]) != 0)


def in_fork(function: Callable[[], int], seconds: float | None = None) -> int:
    """The exit status of a function in a fork, or the signal that ended it; 2 for what it raised. Silent, with a time limit."""
    child = os.fork()
    if child == 0:
        status = 2
        try:
            if seconds is not None:
                signal.setitimer(signal.ITIMER_REAL, seconds)
                for stream in (1, 2):
                    os.dup2(os.open(os.devnull, os.O_RDWR), stream)
            status = function()
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return abs(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def read(results: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("sources", nargs="+", help="files, or folders of them")
    parser.add_argument("--tests", nargs="+", required=True)
    parser.add_argument("--out", required=True, help="folder for what is measured; what is there is not done again")
    parser.add_argument("--results", default="mutants.jsonl", help="name of the file of results in it")
    parser.add_argument("--sample", type=int, help="so many mutants, drawn by --seed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--again", type=Path, help="the survivors in this file of results only")
    parser.add_argument(
        "--seconds", type=float, default=1e9, help="of tests for each mutant: the quickest that reach it"
    )
    parser.add_argument("--minutes", type=float, default=1e9, help="end before all is done")
    options, further = parser.parse_known_args()
    folders = (sorted(Path(source).rglob("*.py")) or [Path(source)] for source in options.sources)
    phases = [hypothesis.Phase.explicit, hypothesis.Phase.generate]  # what fails need not be shrunk
    hypothesis.settings.register_profile("mutation", database=None, deadline=None, derandomize=True, phases=phases)
    hypothesis.settings.load_profile("mutation")
    sys.path.insert(0, str(Path.cwd()))
    plugin = Run([str(file) for folder in folders for file in folder], options)
    pytest.main([*QUIETLY, "-s", *options.tests, *further], plugins=[plugin])


if __name__ == "__main__":
    main()
