"""One training step of each architecture, in each dtype and mode, held against the reference: nobody may be accused."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
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
from oracle.selftest.models.architectures import architecture
from oracle.selftest.models.names import NAMES, QUICK

DTYPES, MODES = ("float32", "float64"), ("training", "evaluation")
BATCH, CLASSES = 2, 10
# Of the image: the first that a model can be built for and takes.
SIDES = (48, 64, 96, 128, 160, 224, 240, 256)


class Job(NamedTuple):
    name: str
    dtype: str
    mode: str


@dataclass(frozen=True)
class Outcome:
    """What became of a model.

    Attributes:
        side: of the image, in pixels.
        accused: rows that call something wrong, with the first of them.
        parameters: trainable ones, and `judged` how many of their gradients were judged.
        elements: judged numbers; `undecided` is the share of rows that say nothing.
        failure: what was raised; empty as a rule.
    """

    name: str
    dtype: str
    mode: str
    side: int
    accused: int
    first: str
    parameters: int
    judged: int
    elements: int
    undecided: float
    seconds: float
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
    """Every architecture in both dtypes and modes, or four of them in float32 in training.

    kept: a table to which each outcome is added as soon as it is there; with `resume`, what it holds is not done again.
    minutes: after so many nothing more is begun.
    """
    start = time.perf_counter()
    jobs = [Job(name, dtype, mode) for name in NAMES for dtype in DTYPES for mode in MODES]
    if quick:
        jobs = [Job(name, DTYPES[0], MODES[0]) for name in QUICK]
    table = Kept(kept, resume, asdict, lambda row: Outcome(**row))
    done = table.complete(judged, jobs, lambda own: Job(own.name, own.dtype, own.mode), progress, executor, minutes)
    return Models(done, time.perf_counter() - start)


def judged(job: Job) -> Outcome:
    start = time.perf_counter()
    torch.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model, side = built(job.name)
            report, trainable = _report(job, model, side)
        except Exception as error:  # one model that does not run here costs that model
            failure = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            return Outcome(*job, 0, 0, "", 0, 0, 0, 0.0, time.perf_counter() - start, failure)
    table = report.table
    accused = table[table["verdict"].isin(DISCREPANCIES)]
    said = table[table["verdict"].isin([PASS, CONVENTION, UNDECIDED, *DISCREPANCIES])]
    grads = said[said["quantity"].str.startswith("grad.")][["layer", "quantity"]].drop_duplicates()
    return Outcome(
        *job,
        side=side,
        accused=len(accused),
        first=str(report.blame[0])[:300] if report.blame else "",
        parameters=trainable,
        judged=len(grads),
        elements=int(said["n"].sum()),
        undecided=float((said["verdict"] == UNDECIDED).mean()) if len(said) else 0.0,
        seconds=time.perf_counter() - start,
    )


def _report(job: Job, model: torch.nn.Module, side: int) -> tuple[oracle.Report, int]:
    dtype = getattr(torch, job.dtype)
    model = model.to(dtype).train(job.mode == "training")
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(BATCH, 3, side, side, generator=generator, dtype=torch.float64).to(dtype)
    target = torch.randint(CLASSES, (BATCH,), generator=generator)
    trainable = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trainable, lr=0.01)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return oracle.check_module(model, x, _loss, target, optimizer), len(trainable)


def _loss(output: object, target: torch.Tensor) -> torch.Tensor:
    """Of the first output, where a model has auxiliary ones beside it in training."""
    first = output if isinstance(output, torch.Tensor) else next(iter(output))  # type: ignore[call-overload]
    return torch.nn.functional.cross_entropy(first, target)


def built(name: str) -> tuple[torch.nn.Module, int]:
    """The model and the smallest image that it takes. Raises: whatever it raised at the largest."""
    options = {"num_classes": CLASSES}
    if name.startswith("torchvision/googlenet"):
        options |= {"aux_logits": False, "init_weights": False}
    failure: Exception | None = None
    for side in SIDES:
        for made in (_with_size(name, options, side), lambda: architecture(name, **options)):
            try:
                model = made()
                with torch.no_grad():
                    model.eval()(torch.zeros(BATCH, 3, side, side))
                    model.train()(torch.randn(BATCH, 3, side, side))
                return model, side
            except Exception as error:
                failure = error
    assert failure is not None
    raise failure


def _with_size(name: str, options: dict[str, int], side: int) -> Callable[[], torch.nn.Module]:
    return lambda: architecture(name, **options, img_size=side)
