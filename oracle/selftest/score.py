"""Runs the libraries of bugs, legal variants, ordinary programs and controls, and counts the results."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np
import pandas as pd

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
from oracle.selftest.controls import CONTROLS, FAILS, PASSES, outcome
from oracle.selftest.narrow.planted import WIDEST, Found
from oracle.selftest.narrow.planted import all_bugs as all_narrow
from oracle.selftest.narrow.planted import found as found_narrow
from oracle.selftest.ordinary import Ordinary, ordinary
from oracle.selftest.plain import Plain, found, plain_bugs
from oracle.selftest.variants import all_variants
from oracle.subjects import refbp as honest
from oracle.trace import Trace

# The quick form takes every QUICK-th job. The number is prime, so that no family drops out because of its order.
QUICK = 7
# Numbers of ordinary programs: in the whole self-test, and in its quick form.
PROGRAMS, QUICK_PROGRAMS = 1040, 30
# Targets for the planted bugs' causes: least share named first, largest share named wrongly.
CAUSES_RIGHT, CAUSES_WRONG = 0.94, 0.005


class Job(NamedTuple):
    kind: str  # "bug", "variant", "program", "plain", "between", "narrow" or a control's name
    name: str
    dtype: str


@dataclass(frozen=True)
class Planted:
    """The result for a planted bug.

    Attributes:
        layer, quantity: the place of the bug.
        blamed: the place that the report blames first.
        cause: name of the cause that the report gives first; empty if it gives none.
    """

    bug: str
    family: str
    dtype: str
    layer: str
    quantity: str
    caught: bool
    layer_right: bool
    quantity_right: bool
    cause_right: bool
    verdict: str
    blamed: str
    cause: str


@dataclass(frozen=True)
class Legal:
    """The result for a legal variant.

    Attributes:
        elements: number of judged elements, local and end to end.
        alarms: how many of them lie outside their tolerance, `loose` ones included; there should be none.
        undecided: share of the rows that are undecided.
        z_max: largest z of all elements.
        width: median over the rows of tolerance / largest error; NaN if no row has a rounding error.
    """

    variant: str
    family: str
    dtype: str
    elements: int
    alarms: int
    undecided: float
    z_max: float
    width: float


@dataclass(frozen=True)
class Control:
    """The result of a control on a case; see `controls.outcome`."""

    control: str
    case: str
    outcome: str


Scored: TypeAlias = Planted | Legal | Ordinary | Plain | Met | Found | Control
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


@dataclass
class SelfTest:
    """The results of a self-test."""

    bugs: list[Planted] = field(default_factory=list)
    variants: list[Legal] = field(default_factory=list)
    programs: list[Ordinary] = field(default_factory=list)
    controls: list[Control] = field(default_factory=list)
    plain: list[Plain] = field(default_factory=list)
    between: list[Met] = field(default_factory=list)
    narrow: list[Found] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def missed(self) -> list[Planted]:
        return [bug for bug in self.bugs if not bug.caught]

    @property
    def misplaced(self) -> list[Planted]:
        return [bug for bug in self.bugs if bug.caught and not (bug.layer_right and bug.quantity_right)]

    @property
    def misnamed(self) -> list[Planted]:
        """Bugs whose first cause is wrong."""
        return [bug for bug in self.bugs if bug.cause and not bug.cause_right]

    @property
    def unnamed(self) -> list[Planted]:
        return [bug for bug in self.bugs if not bug.cause]

    @property
    def alarmed(self) -> list[Legal]:
        return [variant for variant in self.variants if variant.alarms]

    @property
    def accused(self) -> list[Ordinary]:
        return [program for program in self.programs if program.accused]

    @property
    def let_through(self) -> list[Control]:
        return [control for control in self.controls if control.outcome == PASSES]

    @property
    def overlooked(self) -> list[Plain]:
        """Bugs in a subject with plain options that no case of the suite finds."""
        return [own for own in self.plain if not own.case]

    @property
    def unmet(self) -> list[Met]:
        """Bugs between layers that are not blamed first at their place, or whose repaired twin is accused."""
        return [own for own in self.between if not own.named or own.twin]

    @property
    def unfound(self) -> list[Found]:
        """Bugs in 16-bit kernels of which the report does not say the right kind, or whose honest twin is accused."""
        return [own for own in self.narrow if not own.named or own.twin]

    @property
    def narrow_width(self) -> float:
        """The median over the honest 16-bit kernels of tolerance / largest error; NaN if there are none."""
        return float(pd.Series([own.width for own in self.narrow], dtype=float).median())

    @property
    def passed(self) -> bool:
        """Every bug is caught and placed, nothing right is accused, no control passes, and enough causes are right."""
        right = sum(bug.cause_right for bug in self.bugs)
        few = max(1, CAUSES_WRONG * len(self.bugs))  # a single wrong cause is always allowed
        named = right >= CAUSES_RIGHT * len(self.bugs) and len(self.misnamed) <= few
        accused = self.alarmed or self.accused
        elsewhere = self.overlooked or self.unmet or self.unfound or self.narrow_width > WIDEST
        return named and not (self.missed or self.misplaced or accused or self.let_through or elsewhere)

    def bug_table(self) -> pd.DataFrame:
        """One row per bug and dtype."""
        return pd.DataFrame([asdict(bug) for bug in self.bugs], columns=[own.name for own in fields(Planted)])

    def families(self) -> pd.DataFrame:
        """One row per family of bugs: how many are planted, caught, placed, and given the right cause."""
        grouped = self.bug_table().groupby("family", sort=False)
        counts = grouped[["caught", "layer_right", "quantity_right", "cause_right"]].sum().astype(int)
        counts.insert(0, "planted", grouped.size())
        return counts.reset_index()

    def legal_families(self) -> pd.DataFrame:
        """One row per family of variants: their number, elements, alarms, largest z, and width of the tolerances."""
        frame = pd.DataFrame([asdict(own) for own in self.variants], columns=[own.name for own in fields(Legal)])
        grouped = frame.groupby("family", sort=False)
        return grouped.agg(
            variants=("variant", "nunique"),
            elements=("elements", "sum"),
            alarms=("alarms", "sum"),
            z_max=("z_max", "max"),
            width=("width", "median"),
        ).reset_index()

    def ordinary_kinds(self) -> pd.DataFrame:
        """One row per kind of network: programs, elements, how many are accused, share undecided, largest z, width."""
        frame = pd.DataFrame([asdict(own) for own in self.programs], columns=[own.name for own in fields(Ordinary)])
        frame["network"], frame["accused"] = frame["program"].str.split(", ").str[0], frame["accused"] != ""
        return (
            frame.groupby("network", sort=False)
            .agg(
                programs=("seed", "size"),
                elements=("elements", "sum"),
                accused=("accused", "sum"),
                undecided=("undecided", "mean"),
                z_max=("z_max", "max"),
                width=("width", "median"),
            )
            .reset_index()
        )

    def control_counts(self) -> pd.DataFrame:
        """One row per control: on how many cases it fails, passes, or says nothing."""
        frame = pd.DataFrame([asdict(own) for own in self.controls], columns=[own.name for own in fields(Control)])
        frame["outcome"] = frame["outcome"].where(frame["outcome"].isin([FAILS, PASSES]), "says nothing")
        counts = frame.groupby(["control", "outcome"], sort=False).size().unstack(fill_value=0)
        return counts.reindex(columns=[FAILS, PASSES, "says nothing"], fill_value=0).reset_index()

    def to_json(self) -> dict[str, Any]:
        return {
            "passed": self.passed,
            "seconds": self.seconds,
            **{
                name: [asdict(own) for own in getattr(self, name)]
                for name in (
                    "missed",
                    "misplaced",
                    "alarmed",
                    "accused",
                    "let_through",
                    "overlooked",
                    "unmet",
                    "unfound",
                )
            },
            "bugs": self.families().to_dict(orient="records"),
            "variants": [
                {name: None if pd.isna(value) else value for name, value in record.items()}
                for record in self.legal_families().to_dict(orient="records")
            ],
            "programs": {
                "run": len(self.programs),
                "accused": len(self.accused),
                "z_max": max((program.z_max for program in self.programs), default=0.0),
            },
            "controls": self.control_counts().to_dict(orient="records"),
        }


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
