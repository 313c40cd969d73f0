"""Checks one training step of each model against the reference, in each precision and mode. None may be accused."""

from __future__ import annotations

import time
import warnings
from concurrent.futures import Executor
from copy import deepcopy
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch

import oracle
from oracle.harness.jobs import Progress
from oracle.harness.kept import Kept
from oracle.judging.rows import CONVENTION, DISCREPANCIES, PASS, UNDECIDED
from oracle.selftest.models.built import Built, built
from oracle.selftest.models.names import CLOSELY, FIRST, LANGUAGE, NAMES, QUICK
from oracle.selftest.models.published import GROUPED_PRODUCTS

TRAINING, EVALUATION = "training", "evaluation"
DTYPES, MODES = ("float32", "float64"), (TRAINING, EVALUATION)
# Further precisions, in training only: bfloat16 throughout, and float32 under autocast to bfloat16.
NARROW = ("bfloat16", "autocast")
BATCH, LARGER = 2, 8
# torch cannot run these on the CPU: oneDNN has no recurrent layer with 16-bit inputs and 32-bit weights, and grouped products, as
# mixtures of experts make them, have no float64.
IMPOSSIBLE = {("language/LSTM", "autocast"), *((f"transformers/{name}", "float64") for name in GROUPED_PRODUCTS)}
# These are wrong themselves, as the page says: part of a gradient is memory that torch never wrote, or a constant has ten digits.
WRONG = {
    ("lambda_resnet26t", "bfloat16"): "torch-conv3d-bfloat16-memory",
    ("lambda_resnet26t", "autocast"): "torch-conv3d-bfloat16-memory",
    ("transformers/bloom", "float64"): "transformers-bloom-gelu-float64",
}


class Job(NamedTuple):
    name: str
    dtype: str
    mode: str
    batch: int = BATCH


def all_jobs() -> list[Job]:
    """All runs, in the order in which they are done, without those that torch cannot run or that are wrong themselves.

    1. Each small model once, in float32 and training.
    2. The language models and those tried closely: both precisions, both modes, both batch sizes.
    3. The large models in float32 and training, then every model in bfloat16 and under autocast.
    4. Every model in both precisions and modes.
    """
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
    return [job for job in dict.fromkeys(jobs) if job[:2] not in {*IMPOSSIBLE, *WRONG}]


@dataclass(frozen=True)
class Outcome:
    """The result for a model.

    Attributes:
        side: side of the image in pixels; 0 for a language model.
        accused: number of rows that call something wrong.
        first: the first thing that the report blames.
        gradients: share of the gradients' elements that were judged.
        operations: share of the operations that were judged.
        unjudged: the first operation that was not judged.
        elements: number of judged elements.
        undecided: share of the rows that are undecided.
        z_max: largest error in standard deviations, without rows whose verdict is `convention`.
        seconds: processor time of the check.
        step: processor time of the model's own forward and backward.
        failure: the exception, if there was one; else empty.
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
    """The results of a run, including those of earlier runs that it resumed."""

    outcomes: list[Outcome] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        """No run accuses anything, and none failed."""
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
    """Every model in every precision and mode; if `quick`, five models in float32 and training.

    kept: a table to which each outcome is added at once.
    resume: whether the outcomes in that table are kept, and their runs skipped.
    minutes: time after which the run stops.
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
        except Exception as error:  # a model that does not run must not end the run
            return Outcome(*job, failure=f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")


def seconds(model: Built) -> float:
    """Processor time of a forward and a backward pass, of a copy: some models keep results of their first call in evaluation."""
    module = deepcopy(model.module)
    start = time.process_time()
    model.loss(module(model.x), model.target).backward()  # type: ignore[no-untyped-call]
    return time.process_time() - start


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
