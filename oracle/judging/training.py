"""Free training: subject and reference start from the same parameters and train independently; it measures gap and accuracy."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from oracle.case.arrays import Array
from oracle.case.case import Case, Spec
from oracle.judging.long_runs import resumed
from oracle.suite.networks import TEST_IMAGES, DigitNetwork, digits
from oracle.trace import Subject, Trace

EPOCHS = 15
DTYPE = "float32"
# Losses further apart than this share of the reference's have parted ways for good: no rounding shows at that scale.
PARTED = 0.01


@dataclass(frozen=True)
class TrainingRun:
    """The free training of subject and reference on the digits.

    Attributes:
        gaps: the largest |parameter of the subject - parameter of the reference| after each step.
        losses: (subject, reference) after each step.
        accuracy, reference_accuracy: the share of test images that are classified correctly after the last epoch.
    """

    network: str
    dtype: str
    epochs: int
    subject: str
    reference: str
    gaps: tuple[float, ...]
    losses: tuple[tuple[float, float], ...]
    accuracy: float
    reference_accuracy: float

    @property
    def first_gap(self) -> int | None:
        """The first step, from 1, after which a parameter differs at all; None if none ever does."""
        return next((step for step, gap in enumerate(self.gaps, 1) if gap != 0), None)

    @property
    def first_divergent_step(self) -> int | None:
        """The first step, from 1, whose losses differ by more than PARTED times the reference's; None if there is none."""
        for step, (ours, theirs) in enumerate(self.losses, 1):
            if not abs(ours - theirs) <= PARTED * abs(theirs):
                return step
        return None


def trained(network: DigitNetwork, subject: Subject, reference: Subject) -> TrainingRun:
    """Train both for EPOCHS epochs in float32, from the same initial parameters and on the same batches."""
    epoch = network.training_case().astype(DTYPE)
    ours, theirs = epoch, epoch
    gaps: list[float] = []
    losses: list[tuple[float, float]] = []
    for _ in range(EPOCHS):
        ours_trace, theirs_trace = subject.run(ours.handed_out()), reference.run(theirs)
        for step in range(epoch.steps):
            gaps.append(_gap(epoch, ours_trace, theirs_trace, step))
            losses.append((_loss(ours_trace, step), _loss(theirs_trace, step)))
        ours, theirs = resumed(ours, ours_trace), resumed(theirs, theirs_trace)
    return TrainingRun(
        network.name,
        DTYPE,
        EPOCHS,
        subject.name,
        reference.name,
        tuple(gaps),
        tuple(losses),
        accuracy(ours, subject),
        accuracy(theirs, reference),
    )


def accuracy(case: Case, subject: Subject) -> float:
    """The share of test images that the case's network classifies correctly."""
    images, labels = digits()
    last = case.layers[-1].name or str(len(case.layers) - 1)
    test = replace(
        case,
        inputs=(images[-TEST_IMAGES:].astype(case.dtype),),
        targets=((labels[-TEST_IMAGES:],),),
        loss=Spec("CrossEntropyLoss"),
        optimizer=None,
        optimizer_state={},
        steps=1,
        training=False,
    )
    scores: Array | None = subject.run(test).get(0, last, "output")
    if scores is None:
        raise ValueError(f"case {case.name}: the trace does not show the network's output")
    return float(np.mean(np.argmax(scores, axis=1) == labels[-TEST_IMAGES:]))


def _gap(case: Case, ours: Trace, theirs: Trace, step: int) -> float:
    largest = 0.0
    for name in case.params:
        layer, _, short = name.rpartition(".")
        mine, other = ours.get(step, layer, f"param.{short}"), theirs.get(step, layer, f"param.{short}")
        if mine is not None and other is not None:
            largest = max(largest, float(np.max(np.abs(mine - other))))
    return largest


def _loss(trace: Trace, step: int) -> float:
    value = trace.get(step, "loss", "output")
    return float("nan") if value is None else float(value)
