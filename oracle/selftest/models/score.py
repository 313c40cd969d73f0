"""One training step of each model, in each precision and mode, held against the reference: nobody may be accused."""

from __future__ import annotations

import time
import warnings
from concurrent.futures import Executor
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch

import oracle
from oracle.harness.jobs import Progress
from oracle.judging.rows import CONVENTION, DISCREPANCIES, PASS, UNDECIDED
from oracle.selftest.kept import Kept
from oracle.selftest.models.built import Built, built
from oracle.selftest.models.names import CLOSELY, FIRST, LANGUAGE, NAMES, QUICK

TRAINING, EVALUATION = "training", "evaluation"
DTYPES, MODES = ("float32", "float64"), (TRAINING, EVALUATION)
# bfloat16 throughout, and float32 under autocast to bfloat16: in training.
NARROW = ("bfloat16", "autocast")
BATCH, LARGER = 2, 8
# What torch itself cannot do on the processor: oneDNN has no recurrent layer with numbers of 16 bits and weights of 32.
IMPOSSIBLE = ("language/LSTM", "autocast")


class Job(NamedTuple):
    name: str
    dtype: str
    mode: str
    batch: int = BATCH


def all_jobs() -> list[Job]:
    """Each small model once before any of them twice; then the forty that are tried closely, with a larger batch too."""
    jobs = [Job(name, DTYPES[0], TRAINING) for name in FIRST]
    jobs += [
        Job(name, dtype, mode, batch)
        for name in (*LANGUAGE, *CLOSELY)
        for dtype in DTYPES
        for mode in MODES
        for batch in (BATCH, LARGER)
    ]
    jobs += [Job(name, DTYPES[0], TRAINING) for name in NAMES]
    jobs += [Job(name, dtype, TRAINING) for dtype in NARROW for name in NAMES]
    jobs += [Job(name, dtype, mode) for dtype in DTYPES for mode in MODES for name in NAMES]
    return [job for job in dict.fromkeys(jobs) if job[:2] != IMPOSSIBLE]


@dataclass(frozen=True)
class Outcome:
    """What became of a model.

    Attributes:
        side: of the image, in pixels; 0 for words.
        accused: rows that call something wrong, with the first of them.
        gradients, operations: shares that were judged, of the gradient's elements and of the operations; `unjudged` is the
            first that was not.
        elements: judged numbers; `undecided` is the share of rows that say nothing, `z_max` the largest error in units of its
            standard deviation, but for rows in which torch itself errs.
        seconds: of the processor, for the check; `step` is the model's own step by itself.
        failure: what was raised; empty as a rule.
    """

    name: str
    dtype: str
    mode: str
    batch: int
    side: int = 0
    accused: int = 0
    first: str = ""
    gradients: float = 0.0
    operations: float = 0.0
    unjudged: str = ""
    elements: int = 0
    undecided: float = 0.0
    z_max: float = 0.0
    seconds: float = 0.0
    step: float = 0.0
    failure: str = ""


@dataclass
class Models:
    """The outcomes of a run, those of earlier runs that it went on with among them."""

    outcomes: list[Outcome] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        """Nobody accused, and everything ran."""
        return not any(own.accused or own.failure for own in self.outcomes)

    def table(self) -> pd.DataFrame:
        return pd.DataFrame([asdict(own) for own in self.outcomes], columns=[own.name for own in fields(Outcome)])


def run(
    quick: bool = False,
    progress: Progress | None = None,
    executor: Executor | None = None,
    kept: Path | None = None,
    resume: bool = False,
    minutes: float | None = None,
) -> Models:
    """Every model in every precision and mode, or four of them in float32 in training.

    kept: a table to which each outcome is added as soon as it is there; with `resume`, what it holds is not done again.
    minutes: after so many nothing more is begun.
    """
    start = time.perf_counter()
    jobs = [Job(name, DTYPES[0], TRAINING) for name in QUICK] if quick else all_jobs()
    table = Kept(kept, resume, asdict, lambda row: Outcome(**row))
    done = table.complete(judged, jobs, job_of, progress, executor, minutes)
    return Models(done, time.perf_counter() - start)


def job_of(own: Outcome) -> Job:
    return Job(own.name, own.dtype, own.mode, own.batch)


def judged(job: Job) -> Outcome:
    torch.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(3)
                model = built(*job)
                alone = seconds(model)
                start = time.process_time()
                report = oracle.check_module(model.module, model.x, model.loss, model.target, model.optimizer)
            return _outcome(job, report, model.side, time.process_time() - start, alone)
        except Exception as error:  # one model that does not run here costs that model
            return Outcome(*job, failure=f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")


def seconds(model: Built) -> float:
    """Of the processor, for a forward and a backward pass; nothing of the model is changed."""
    kept = {name: value.clone() for name, value in model.module.named_buffers()}
    start = time.process_time()
    model.loss(model.module(model.x), model.target).backward()  # type: ignore[no-untyped-call]
    took = time.process_time() - start
    model.optimizer.zero_grad()
    with torch.no_grad():
        for name, value in model.module.named_buffers():
            value.copy_(kept[name])
    return took


def _outcome(job: Job, report: oracle.Report, side: int, took: float, alone: float) -> Outcome:
    table = report.table
    said = table[table["verdict"].isin([PASS, CONVENTION, UNDECIDED, *DISCREPANCIES])]
    return Outcome(
        *job,
        side=side,
        accused=int(table["verdict"].isin(DISCREPANCIES).sum()),
        first=str(report.blame[0])[:300] if report.blame else "",
        gradients=report.coverage.gradients,
        operations=report.coverage.operations,
        unjudged=" ".join(report.coverage.unjudged[0])[:300] if report.coverage.unjudged else "",
        elements=int(said["n"].sum()),
        undecided=float((said["verdict"] == UNDECIDED).mean()) if len(said) else 0.0,
        z_max=float(own["z_max"].max()) if (own := said[said["verdict"] != CONVENTION])["z_max"].notna().any() else 0.0,
        seconds=took,
        step=alone,
    )
