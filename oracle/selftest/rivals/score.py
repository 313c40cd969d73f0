"""Runs every rule on the planted bugs and the legal variants in each dtype, and counts."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from oracle.case.arrays import cast
from oracle.case.case import Case
from oracle.harness.jobs import Progress
from oracle.harness.judge import CaseStep, judge_step
from oracle.harness.kept import Kept
from oracle.judging.profile import Profile
from oracle.judging.rows import DISCREPANCIES
from oracle.selftest.bugs import all_bugs
from oracle.selftest.bugs.bug import Bug
from oracle.selftest.plant import Implementation
from oracle.selftest.rivals.compared import Incomparable, comparisons
from oracle.selftest.rivals.finite import NotDifferentiable, refuses
from oracle.selftest.rivals.rules import FIXED, GRADCHECK, RULES, Rule, ThreeArrays, fixed
from oracle.selftest.variants import all_variants
from oracle.selftest.variants.variant import Variant
from oracle.subjects import refbp as honest
from oracle.trace import Key, Trace

ORACLE = "oracle"
DTYPES = ("float64", "float32", "bfloat16")
# The quick form takes every QUICK-th job.
QUICK = 127


class Job(NamedTuple):
    is_bug: bool
    name: str
    dtype: str


class Outcome(NamedTuple):
    """The rules' results on an implementation.

    Attributes:
        refused: whether each rule that applies refuses the implementation; empty if it cannot be compared.
        tolerance: smallest fixed tolerance that accepts it; infinite if none does.
    """

    job: Job
    refused: Mapping[str, bool]
    tolerance: float = math.inf

    def as_row(self) -> dict[str, Any]:
        rules = {said: "; ".join(n for n, own in self.refused.items() if own == said) for said in (True, False)}
        return {
            **self.job._asdict(),
            "refused by": rules[True],
            "accepted by": rules[False],
            "tolerance": self.tolerance,
        }

    @classmethod
    def of_row(cls, row: dict[str, Any]) -> Outcome:
        said = (("refused by", True), ("accepted by", False))
        refused = {name: own for column, own in said for name in row[column].split("; ") if name}
        return cls(Job(row["is_bug"], row["name"], row["dtype"]), refused, float(row["tolerance"]))


@dataclass
class Rivalry:
    """The results of a run."""

    outcomes: list[Outcome] = field(default_factory=list)
    seconds: float = 0.0

    def count(self, rule: str, is_bug: bool, dtype: str) -> tuple[int, int]:
        """How many implementations the rule refuses, and to how many it applies."""
        said = [
            o.refused[rule]
            for o in self.outcomes
            if o.job.is_bug == is_bug and o.job.dtype == dtype and rule in o.refused
        ]
        return sum(said), len(said)

    def best_fixed(self, dtype: str) -> float:
        """The smallest fixed tolerance that accepts every legal variant in this dtype; infinite if none does."""
        legal = [o.tolerance for o in self.outcomes if not o.job.is_bug and o.job.dtype == dtype and o.refused]
        return max(legal, default=math.inf)

    @property
    def passed(self) -> bool:
        """oracle accuses no legal variant, and catches every bug in float64 and float32."""
        return all(
            own.refused[ORACLE] == own.job.is_bug
            for own in self.outcomes
            if own.refused and not (own.job.is_bug and own.job.dtype == "bfloat16")
        )

    def table(self) -> pd.DataFrame:
        """One row per rule: bugs caught and legal variants accused, for each dtype."""
        names = [ORACLE, *(rule.name for rule in RULES), GRADCHECK]
        sources = {rule.name: rule.source for rule in RULES} | {
            GRADCHECK: "pytorch/pytorch: torch/autograd/gradcheck.py",
            ORACLE: "",
        }
        rows = [{"rule": name, **self._counts(dict.fromkeys(DTYPES, name)), "source": sources[name]} for name in names]
        row = {"rule": "the best fixed tolerance that accuses nobody"}
        for dtype in DTYPES:
            best = self.best_fixed(dtype)
            bugs = [o.tolerance > best for o in self.outcomes if o.job.is_bug and o.job.dtype == dtype and o.refused]
            row[f"{dtype}: caught"] = f"{sum(bugs)} of {len(bugs)}, at {best:g}" if math.isfinite(best) else "none does"
            row[f"{dtype}: accused"] = "0" if math.isfinite(best) else "-"
        rows.append({**row, "source": "rtol = atol, sought here"})
        return pd.DataFrame(rows)

    def _counts(self, names: Mapping[str, str]) -> dict[str, str]:
        found = {}
        for dtype, name in names.items():
            caught, bugs = self.count(name, True, dtype)
            accused, legal = self.count(name, False, dtype)
            found[f"{dtype}: caught"] = f"{caught} of {bugs}" if bugs else "-"
            found[f"{dtype}: accused"] = f"{accused} of {legal}" if legal else "-"
        return found


def run(
    quick: bool = False,
    progress: Progress | None = None,
    executor: Executor | None = None,
    kept: Path | None = None,
    resume: bool = False,
    minutes: float | None = None,
) -> Rivalry:
    """All rules on all bugs and variants.

    quick: takes every 127th of them only.
    kept, resume, minutes: as in `models.score.run`.
    """
    start = time.perf_counter()
    jobs = [job for number, job in enumerate(_jobs()) if not quick or number % QUICK == 0]
    table = Kept(kept, resume, Outcome.as_row, Outcome.of_row)
    done = table.complete(judged, jobs, lambda own: own.job, progress, executor, minutes)
    return Rivalry(done, time.perf_counter() - start)


def _jobs() -> Iterator[Job]:
    for dtype in DTYPES:
        for is_bug, library in ((True, all_bugs()), (False, all_variants())):
            for name, item in library.items():
                if dtype in item.dtypes or (dtype == "bfloat16" and "float32" in item.dtypes):
                    yield Job(is_bug, name, dtype)


def judged(job: Job) -> Outcome:
    """The rules' results on a bug or variant; empty if torch does not run the case in this dtype.

    In bfloat16 only a single layer or loss is judged, and a bug only if it shows there.
    """
    item: Bug | Variant = all_bugs()[job.name] if job.is_bug else all_variants()[job.name]
    case, run = item.case.astype(job.dtype), item.run
    if job.dtype == "bfloat16":
        own = alone(item) if isinstance(item, Bug) else item.case
        if own is None or not is_alone(own):
            return Outcome(job, {})
        case, run = own.astype("bfloat16"), stored(run)
    with np.errstate(all="ignore"):
        try:
            found = comparisons(run, case)
        except Incomparable:
            return Outcome(job, {})
        refused = dict(by_rules(found, job.dtype, RULES))
        tolerance = next((own for own in FIXED if not fixed(own).catches(found)), math.inf)
        refused[ORACLE] = accused(run, case, getattr(item, "profile", Profile()))
        if job.dtype == "float64":
            try:
                refused[GRADCHECK] = refuses(run, case)
            except NotDifferentiable:
                pass
            except Exception:  # the bug raises on the altered case, which a user of gradcheck would see
                refused[GRADCHECK] = True
    return Outcome(job, refused, tolerance)


def accused(run: Implementation, case: Case, profile: Profile) -> bool:
    """Whether oracle calls anything a discrepancy."""
    try:
        step = CaseStep(case, run(case), honest)
    except Exception as error:
        step = CaseStep(case, getattr(error, "trace", Trace()), honest, error)
    return any(row.verdict in DISCREPANCIES for row in judge_step(step, profile, (), causes=False).rows)


def is_alone(case: Case) -> bool:
    """Whether the case is one layer or loss in one step without an update, which is what a single kernel computes."""
    parts = len(case.layers) + (case.loss is not None)
    return parts == 1 and not any(spec.layers for spec in case.layers) and case.optimizer is None and case.steps == 1


def alone(bug: Bug) -> Case | None:
    """The wrong layer or loss by itself, on its inputs from the bug's case; None if bfloat16 does not show the bug."""
    whole = bug.case.astype("float32")
    names = [spec.name or str(number) for number, spec in enumerate(whole.layers)]
    given = honest.run(whole).arrays
    x, dy = given.get(Key(0, bug.layer, "input")), given.get(Key(0, bug.layer, "grad_output"))
    case = replace(whole, inputs=(x,), steps=1, optimizer=None, optimizer_state={}) if x is not None else None
    if case is None or (bug.layer not in names and bug.layer != "loss"):
        return None
    if bug.layer == "loss":
        case = replace(case, layers=(), params={}, masks={}, targets=case.targets[:1])
    else:
        start = f"{bug.layer}."
        spec = replace(whole.layers[names.index(bug.layer)], name="")
        params = {f"0.{own.removeprefix(start)}": value for own, value in case.params.items() if own.startswith(start)}
        masks = {"0": case.masks[bug.layer]} if bug.layer in case.masks else {}
        upstream = () if dy is None else (dy,)
        case = replace(case, layers=(spec,), params=params, masks=masks, grad_outputs=upstream, loss=None, targets=())
    try:
        wrong, right = (stored(own)(case).arrays for own in (bug.run, honest.run))
    except Exception:
        return None
    same = wrong.keys() == right.keys() and all(np.array_equal(wrong[k], right[k], equal_nan=True) for k in right)
    return None if same else case


def stored(run: Implementation) -> Implementation:
    """The implementation as a bfloat16 kernel: bfloat16 inputs, computation in float32, results stored in bfloat16."""

    def rounded(trace: Trace) -> Trace:
        return replace(
            trace,
            arrays={key: cast(a, "bfloat16") if a.dtype == np.float32 else a for key, a in trace.arrays.items()},
        )

    def as_stored(case: Case) -> Trace:
        try:
            return rounded(run(case.astype("float32")))
        except Exception as error:
            error.trace = rounded(getattr(error, "trace", Trace()))  # type: ignore[attr-defined]
            raise

    return as_stored


def by_rules(found: Sequence[ThreeArrays], dtype: str, rules: Sequence[Rule]) -> Iterator[tuple[str, bool]]:
    for rule in rules:
        if dtype in rule.dtypes:
            yield rule.name, rule.catches(found)
