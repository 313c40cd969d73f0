"""A long run as a table. Each outcome adds a row, so that an interrupted run can continue."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import BrokenExecutor, Executor
from pathlib import Path
from typing import Any, Generic, TypeVar

import pandas as pd

from oracle.harness.jobs import Progress, in_turn

Job = TypeVar("Job")
Outcome = TypeVar("Outcome")


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
        if path is None or not path.exists():
            return
        whole = path.read_bytes().rpartition(b"\n")[0]  # a killed run may leave half a line at the end
        if not resume or not whole:
            path.unlink()
            return
        path.write_bytes(whole + b"\n")
        rows = pd.read_csv(path, keep_default_na=False).to_dict(orient="records")
        try:
            self.outcomes = [of_row({str(name): value for name, value in row.items()}) for row in rows]
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"--resume expects in {path} a table that this version of the command wrote, got the columns "
                f"{', '.join(map(str, rows[0]))}: run it without --resume"
            ) from error

    def complete(
        self,
        judged: Callable[[Job], Outcome],
        jobs: Iterable[Job],
        job_of: Callable[[Outcome], Job],
        progress: Progress | None = None,
        executor: Executor | None = None,
        minutes: float | None = None,
        lost: Callable[[Job, BrokenExecutor], Outcome] | None = None,
    ) -> list[Outcome]:
        """Runs the jobs that are not done yet, and returns all outcomes.

        minutes: the run stops at the first outcome after this time.
        lost: gives the outcome of a job whose process ended before the job was done.
        Raises: WorkerDied if a job is lost and `lost` is not given.
        """
        done, start = {job_of(own) for own in self.outcomes}, time.monotonic()
        for _, outcome in in_turn(judged, [job for job in jobs if job not in done], str, progress, executor, lost):
            self.outcomes.append(outcome)
            if self.path is not None:
                row = pd.DataFrame([self.as_row(outcome)])
                row.to_csv(self.path, mode="a", header=not self.path.exists(), index=False)
            if minutes is not None and time.monotonic() - start > 60 * minutes:
                break
        return self.outcomes
