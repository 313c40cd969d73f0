"""A long run as a file. Each outcome adds a line to it, so that an interrupted run can continue.

A file that ends in .csv is a table, whose rows hold numbers and texts. In one that ends in .jsonl a row is a line of JSON, whose
values may be lists and objects too.
"""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable, Hashable, Iterable
from concurrent.futures import BrokenExecutor, Executor
from math import isnan
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar

import pandas as pd

from oracle.harness.jobs import Progress, in_turn

Job = TypeVar("Job")
Outcome = TypeVar("Outcome")
AsRow: TypeAlias = dict[str, Any]


class Format(NamedTuple):
    read: Callable[[Path], list[AsRow]]
    append: Callable[[Path, AsRow], None]


def _read_table(path: Path) -> list[AsRow]:
    rows = pd.read_csv(path, keep_default_na=False).to_dict(orient="records")
    return [{str(name): value for name, value in row.items()} for row in rows]


def _append_to_table(path: Path, row: AsRow) -> None:
    is_new = not path.exists()
    with path.open("a", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, row, lineterminator="\n")
        if is_new:
            table.writeheader()
        table.writerow(
            {name: "" if isinstance(value, float) and isnan(value) else value for name, value in row.items()}
        )


def _read_lines(path: Path) -> list[AsRow]:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    if not all(isinstance(row, dict) for row in rows):
        raise ValueError("a row is no JSON object")
    return rows


def _append_line(path: Path, row: AsRow) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row, default=lambda number: number.item()) + "\n")  # a number of NumPy's


FORMATS = {".csv": Format(_read_table, _append_to_table), ".jsonl": Format(_read_lines, _append_line)}


class Kept(Generic[Outcome]):
    """The outcomes of a run, kept in a file if a path is given.

    Attributes:
        outcomes: all outcomes so far; those read from the file come first.
    Raises: ValueError if the file is another command's or version's.
    """

    def __init__(
        self,
        path: Path | None,
        resume: bool,
        as_row: Callable[[Outcome], dict[str, Any]],
        of_row: Callable[[dict[str, Any]], Outcome],
    ) -> None:
        self.path, self.as_row = path, as_row
        self.outcomes: list[Outcome] = []
        if path is None:
            return
        self._format = FORMATS[path.suffix]
        if not path.exists():
            return
        whole = path.read_bytes().rpartition(b"\n")[0]  # a killed run may leave half a line at the end
        if not resume or not whole:
            path.unlink()
            return
        path.write_bytes(whole + b"\n")
        rows: list[AsRow] = []
        try:
            rows = self._format.read(path)
            self.outcomes = [of_row(row) for row in rows]
        except (KeyError, TypeError, ValueError) as error:
            got = f"the columns {', '.join(rows[0])}" if rows else "no such table"
            raise ValueError(
                f"--resume expects in {path} a table that this version of the command wrote, got {got}: "
                "run it without --resume"
            ) from error

    def complete(
        self,
        judged: Callable[[Job], Outcome],
        jobs: Iterable[Job],
        job_of: Callable[[Outcome], Hashable],
        progress: Progress | None = None,
        executor: Executor | None = None,
        minutes: float | None = None,
        lost: Callable[[Job, BrokenExecutor], Outcome] | None = None,
        named: Callable[[Job], Hashable] = lambda job: job,
    ) -> list[Outcome]:
        """Runs the jobs that are not done yet, and returns all outcomes.

        job_of, named: an outcome's job and a job, as they are compared.
        minutes: the run stops at the first outcome after this time.
        lost: gives the outcome of a job whose process ended before the job was done.
        Raises: WorkerDied if a job is lost and `lost` is not given.
        """
        done, start = {job_of(own) for own in self.outcomes}, time.monotonic()
        left = [job for job in jobs if named(job) not in done]
        for _, outcome in in_turn(judged, left, lambda job: str(named(job)), progress, executor, lost):
            self.add(outcome)
            if minutes is not None and time.monotonic() - start > 60 * minutes:
                break
        return self.outcomes

    def add(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        if self.path is not None:
            self._format.append(self.path, self.as_row(outcome))
