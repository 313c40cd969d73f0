"""Runs the libraries of bugs, legal variants, ordinary programs and controls."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from oracle import suite
from oracle.blame.blame import blame
from oracle.harness.jobs import Progress
from oracle.harness.judge import CaseStep, judge_step
from oracle.harness.kept import Kept
from oracle.judging.profile import Profile
from oracle.judging.rows import DISCREPANCIES, LOOSE, UNDECIDED, Row
from oracle.running_error import LAMBDA
from oracle.selftest.between.bugs import all_bugs as all_between
from oracle.selftest.between.planted import Met, met
from oracle.selftest.bugs import all_bugs, expected_causes
from oracle.selftest.controls import CONTROLS, outcome
from oracle.selftest.narrow.planted import Found
from oracle.selftest.narrow.planted import all_bugs as all_narrow
from oracle.selftest.narrow.planted import found as found_narrow
from oracle.selftest.ordinary import Ordinary, ordinary
from oracle.selftest.plain import Plain, found, plain_bugs
from oracle.selftest.result import Control, Legal, Planted, Scored, SelfTest
from oracle.selftest.variants import all_variants
from oracle.subjects import refbp as honest
from oracle.trace import Trace

# The quick form takes every QUICK-th job. The number is prime, so that no family drops out because of its order.
QUICK = 7
# Numbers of ordinary programs: in the whole self-test, and in its quick form.
PROGRAMS, QUICK_PROGRAMS = 1040, 30


class Job(NamedTuple):
    kind: str  # "bug", "variant", "program", "plain", "between", "narrow" or a control's name
    name: str
    dtype: str


Kind = TypeVar("Kind", bound=Scored)


class Done(NamedTuple):
    """A job and its result."""

    job: Job
    result: Scored

    def as_row(self) -> dict[str, Any]:
        return {**self.job._asdict(), "result": asdict(self.result)}

    @classmethod
    def of_row(cls, row: dict[str, Any]) -> Done:
        kind: type[Scored] = RESULTS.get(row["kind"], Control)
        return cls(Job(row["kind"], row["name"], row["dtype"]), kind(**row["result"]))


def run(
    quick: bool = False,
    progress: Progress | None = None,
    executor: Executor | None = None,
    kept: Path | None = None,
    resume: bool = False,
) -> SelfTest:
    """The whole self-test.

    quick: takes every seventh job and 30 ordinary programs, and bugs and variants in float32 only.
    kept: a file to which each result is added at once.
    resume: whether the results in that file are kept, and their jobs skipped.
    """
    start = time.perf_counter()
    jobs = list(_thinned(_jobs(("float32",) if quick else ("float64", "float32")), quick))
    jobs += [Job("program", str(seed), "") for seed in range(QUICK_PROGRAMS if quick else PROGRAMS)]
    log = Kept(kept, resume, Done.as_row, Done.of_row)
    done = dict(log.complete(_done, jobs, lambda own: own.job, progress, executor))
    results = [done[job] for job in jobs]
    return SelfTest(
        bugs=_of(Planted, results),
        variants=_of(Legal, results),
        programs=_of(Ordinary, results),
        controls=_of(Control, results),
        plain=_of(Plain, results),
        between=_of(Met, results),
        narrow=_of(Found, results),
        seconds=time.perf_counter() - start,
    )


def _of(kind: type[Kind], results: list[Scored]) -> list[Kind]:
    return [result for result in results if isinstance(result, kind)]


def _thinned(jobs: Iterable[Job], quick: bool) -> Iterable[Job]:
    return (job for number, job in enumerate(jobs) if not quick or number % QUICK == 0)


def _jobs(dtypes: tuple[str, ...]) -> Iterable[Job]:
    for dtype in dtypes:
        yield from (Job("bug", name, dtype) for name, bug in all_bugs().items() if dtype in bug.dtypes)
        yield from (Job("variant", name, dtype) for name, own in all_variants().items() if dtype in own.dtypes)
    yield from (Job("plain", name, "float32") for name in plain_bugs())
    yield from (Job("between", name, "float32") for name in all_between())
    yield from (Job("narrow", name, "") for name in all_narrow())
    yield from (Job(control, name, "float32") for name in suite.all_cases() for control in CONTROLS)


def _done(job: Job) -> Done:
    with np.errstate(all="ignore"):  # a bug may overflow or divide by zero
        return Done(job, SCORED[job.kind](job) if job.kind in SCORED else _control(job))


def _control(job: Job) -> Control:
    case = suite.all_cases()[job.name]
    return Control(job.kind, job.name, outcome(case.astype(job.dtype), job.kind))


def planted(name: str, dtype: str) -> Planted:
    bug = all_bugs()[name]
    case = bug.case.astype(dtype)
    try:
        trace = bug.run(case)
    except Exception as error:  # only the bug may raise an exception, not the judge
        step = CaseStep(case, getattr(error, "trace", Trace()), honest, error)
    else:
        step = CaseStep(case, trace, honest)
    culprits = blame(judge_step(step, Profile(), ()).rows, "planted")
    if not culprits:
        return Planted(name, bug.family, dtype, bug.layer, bug.quantity, False, False, False, False, "", "", "")
    first = culprits[0]
    right = first.layer == bug.layer
    placed = right and first.quantity == bug.quantity
    return Planted(
        name,
        bug.family,
        dtype,
        bug.layer,
        bug.quantity,
        caught=True,
        layer_right=right,
        quantity_right=placed,
        cause_right=placed and first.cause_name in expected_causes()[name],
        verdict=first.verdict,
        blamed=f"{first.layer} {first.quantity}",
        cause=first.cause_name,
    )


def legal(name: str, dtype: str) -> Legal:
    variant = all_variants()[name]
    case = variant.case.astype(dtype)
    found = judge_step(CaseStep(case, variant.run(case), honest), variant.profile, (), causes=False)
    rows = [row for row in found.rows if row.quantity != "branches"]
    return Legal(
        name,
        variant.family,
        dtype,
        elements=sum(row.n for row in rows),
        alarms=sum(_alarms(row) for row in rows),
        undecided=sum(row.verdict == UNDECIDED for row in rows) / len(rows),
        z_max=max((row.z_max for row in rows if not np.isnan(row.z_max)), default=0.0),
        width=_width(rows),
    )


def _alarms(row: Row) -> int:
    if row.verdict in DISCREPANCIES or row.verdict == LOOSE:
        return max(row.n_outside, 1)
    return row.n_outside


def _width(rows: Iterable[Row]) -> float:
    widths = [LAMBDA / row.z_max for row in rows if row.z_max > 0 and np.isfinite(row.z_max)]
    return float(np.median(widths)) if widths else float("nan")


# How the jobs of each kind are scored, but for the controls.
SCORED: dict[str, Callable[[Job], Scored]] = {
    "bug": lambda job: planted(job.name, job.dtype),
    "variant": lambda job: legal(job.name, job.dtype),
    "program": lambda job: ordinary(int(job.name)),
    "plain": lambda job: found(job.name),
    "between": lambda job: met(all_between()[job.name]),
    "narrow": lambda job: found_narrow(all_narrow()[job.name]),
}
RESULTS: dict[str, type[Scored]] = {
    "bug": Planted,
    "variant": Legal,
    "program": Ordinary,
    "plain": Plain,
    "between": Met,
    "narrow": Found,
}
