"""Judges every installed subject on the same cases: how many runs of each family conform, and the faults in the others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from oracle import subjects
from oracle.blame.details import Detail, RowKey
from oracle.case.case import Case
from oracle.harness import work
from oracle.harness.jobs import Judged, Progress
from oracle.harness.kept import Kept
from oracle.harness.work import Job
from oracle.judging.rows import (
    CONVENTION,
    CRASHED,
    FAILED,
    LOOSE,
    MISSING,
    PASS,
    UNDECIDED,
    UNJUDGED,
    UNSUPPORTED,
    VERDICTS,
    WRONG,
    Row,
)
from oracle.report.about import About
from oracle.report.report import Report
from oracle.scoreboard.written import page_of
from oracle.subjects import libraries

# A run counts once, by the gravest verdict of its rows.
COLUMN = {
    PASS: "conform",
    UNDECIDED: "conform",
    LOOSE: "conform",
    CONVENTION: "convention",
    UNSUPPORTED: "unsupported",
    UNJUDGED: "unsupported",
    "imprecise": "imprecise",
    MISSING: "wrong",
    WRONG: "wrong",
    CRASHED: "crashed",
    FAILED: "crashed",
}
assert COLUMN.keys() == set(VERDICTS)
COUNTS = tuple(dict.fromkeys(COLUMN.values()))
KEYS = ["subject", "dtype", "family"]
SCORES = [*KEYS, "runs", *COUNTS, "z_max", "effective_bits"]
FAULTS = ["subject", "dtype", "layer_type", "quantity", "verdict", "runs", "example", "cause", "finding"]


@dataclass(frozen=True)
class Scoreboard:
    """The scores of all subjects.

    Attributes:
        scores: one row per subject, dtype and family; SCORES lists the columns.
        faults: one row per kind of culprit; FAULTS lists the columns.
        versions: the versions of the libraries, by subject.
        lacking: the subjects that are not installed.
        about: the description of the run.
    """

    scores: pd.DataFrame
    faults: pd.DataFrame
    versions: dict[str, str]
    lacking: tuple[str, ...]
    about: About

    @classmethod
    def of(cls, reports: Mapping[str, Report], about: About, lacking: tuple[str, ...] = ()) -> Scoreboard:
        versions = {name: installed(name) for name in reports}
        return cls(scores(reports), faults(reports), versions, lacking, about)

    @property
    def totals(self) -> pd.DataFrame:
        """Per subject and dtype, over all families."""
        grouped = self.scores.groupby(KEYS[:2], sort=False)
        sums = grouped[["runs", *COUNTS]].sum()
        return sums.join(grouped["z_max"].max()).join(grouped["effective_bits"].min()).reset_index()


class Run(NamedTuple):
    """A subject's run of a case in a dtype. Of its discrepancies the causes that fit are kept, and no arrays."""

    subject: str
    case: str
    dtype: str
    rows: tuple[Row, ...]
    causes: tuple[tuple[RowKey, tuple[tuple[str, str], ...]], ...]

    @classmethod
    def of(cls, job: Job, done: Judged) -> Run:
        causes = tuple((detail.place, detail.causes) for detail in done.details)
        return cls(*named(job), tuple(done.rows), causes)

    def as_row(self) -> dict[str, Any]:
        return {**self._asdict(), "rows": [asdict(row) for row in self.rows]}

    @classmethod
    def of_row(cls, row: dict[str, Any]) -> Run:
        rows = [Row(**own) for own in row["rows"]]
        rows = [replace(own, shape=tuple(own.shape), worst_index=tuple(own.worst_index)) for own in rows]
        causes = [(RowKey(*place), tuple((name, said) for name, said in fitting)) for place, fitting in row["causes"]]
        return cls(row["subject"], row["case"], row["dtype"], tuple(rows), tuple(causes))

    @property
    def details(self) -> list[Detail]:
        none = np.zeros(0)
        return [Detail(place, none, none, none, (0,), (0,), causes) for place, causes in self.causes]


def named(job: Job) -> tuple[str, str, str]:
    return str(job.subject), job.case.name, job.case.dtype


def judged(job: Job) -> Run:
    return Run.of(job, work.judged(job))


def lost(job: Job, error: BrokenExecutor) -> Run:
    return Run.of(job, work.lost(job, error))


def run(
    cases: Sequence[Case],
    dtypes: Sequence[str],
    executor: Executor,
    progress: Progress,
    names: Iterable[str] = subjects.BUILT_IN,
    kept: Path | None = None,
    resume: bool = False,
) -> Scoreboard:
    """Judge every installed subject on every case, in parallel: torch against refbp, all others against torch.

    Args:
        names: the subjects to judge; those that are not installed are left out.
        progress: called with (runs done, runs in all, what comes next).
        kept: a file to which each run is added at once.
        resume: whether the runs in that file are kept, and not made again.
    """
    names = tuple(names)
    present = [name for name in names if libraries.versions(name)]
    jobs = [
        Job(case.astype(dtype), name, "refbp" if name == "torch" else "torch", False, False)
        for name in present
        for case in cases
        for dtype in dtypes
    ]
    log = Kept(kept, resume, Run.as_row, Run.of_row)
    made = log.complete(judged, jobs, lambda own: own[:3], progress, executor, lost=lost, named=named)
    about = About.here(subject="libraries", reference="torch", dtypes=tuple(dtypes), cases=len(cases))
    chosen = set(map(named, jobs))
    reports = {}
    for name in present:
        own = [one for one in made if one.subject == name and one[:3] in chosen]
        rows, details = [row for one in own for row in one.rows], [detail for one in own for detail in one.details]
        reports[name] = Report.of(rows, replace(about, subject=name), {}, details=details)
    return Scoreboard.of(reports, about, tuple(name for name in names if name not in present))


def installed(name: str) -> str:
    """The versions, and for a library with several devices the device that was used."""
    device = getattr(subjects.load(name), "device", "")
    return libraries.installed(name) + (f" on its device {device}" if device else "")


def scores(reports: Mapping[str, Report]) -> pd.DataFrame:
    """Runs by verdict; the largest z and the fewest effective bits of the rows that pass."""
    found = []
    for name, report in reports.items():
        table = report.table.assign(family=report.table["case"].str.partition("/")[0])
        figures = (
            table[table["verdict"] == PASS]
            .groupby(["dtype", "family"], sort=False)
            .agg({"z_max": "max", "effective_bits": "min"})
        )
        counted = report.cases.assign(column=report.cases["verdict"].map(COLUMN))
        counts = counted.pivot_table(
            index=["dtype", "family"], columns="column", aggfunc="size", fill_value=0, sort=False
        )
        counts = counts.reindex(columns=list(COUNTS), fill_value=0)
        own = counts.join(figures).reset_index()
        found.append(own.assign(subject=name, runs=counts.sum(axis=1).to_numpy()))
    return pd.concat(found, ignore_index=True)[SCORES]


def faults(reports: Mapping[str, Report]) -> pd.DataFrame:
    """The culprits grouped by fault, with the number of runs, the first of them, and the page about it."""
    kinds: dict[tuple[str, ...], dict[str, Any]] = {}
    for name, report in reports.items():
        for culprit in report.blame:
            page = page_of(name, culprit)
            key = (name, culprit.dtype, culprit.layer_type, culprit.quantity, culprit.verdict, page)
            entry = kinds.setdefault(key, {"cases": set(), "example": str(culprit), "cause": culprit.cause})
            entry["cases"].add(culprit.case)
    entries = [
        dict(zip((*FAULTS[:5], "finding"), key, strict=True))
        | {"runs": len(entry["cases"]), "example": entry["example"], "cause": entry["cause"]}
        for key, entry in sorted(kinds.items())
    ]
    return pd.DataFrame(entries, columns=FAULTS)
