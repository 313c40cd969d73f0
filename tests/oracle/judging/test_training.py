"""Free training: two that compute alike stay together to the bit, one that does not is seen to leave, and when."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from oracle.case.case import Case
from oracle.harness.work import FreeRun, trained_freely
from oracle.judging import training
from oracle.subjects import refbp as honest
from oracle.suite.build import layer
from oracle.suite.networks import TEST_IMAGES, DigitNetwork, digits
from oracle.trace import Trace

SMALL = DigitNetwork("digits/small", "quick", (layer("Flatten", name="flat"), layer("Linear", 64, 10, name="fc")))


@dataclass
class Other:
    """refbp, from `step` of an epoch on with another input; or one that hides what its trace has of these quantities."""

    step: int = 0
    factor: float = 1.0
    hides: str = ""
    name: str = "other"

    def run(self, case: Case) -> Trace:
        changed = [array * (self.factor if step >= self.step else 1) for step, array in enumerate(case.inputs)]
        dtyped = tuple(array.astype(case.dtype) for array in changed)
        trace = honest.run(replace(case, inputs=dtyped) if case.training else case)
        return Trace(
            {key: own for key, own in trace.arrays.items() if not self.hides or self.hides not in key.quantity}
        )


@pytest.fixture(autouse=True)
def two_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "EPOCHS", 2)


def test_who_computes_the_same_stays_together_and_learns() -> None:
    """Over all epochs; the second goes on where the first ended, and digits come to be recognised."""
    run = training.trained(SMALL, honest, Other())
    steps = SMALL.training_case().steps
    assert len(run.gaps) == len(run.losses) == 2 * steps
    assert (run.first_gap, run.first_divergent_step) == (None, None)
    assert (run.subject, run.reference, run.network) == ("refbp", "other", "digits/small")
    assert np.mean(run.losses[steps:]) < 0.8 * np.mean(run.losses[:steps])
    assert run.accuracy == run.reference_accuracy > 0.6


def test_accuracy_is_that_of_evaluation() -> None:
    """Dropout takes nothing away there: the network recognises what it does without."""
    plain = SMALL.training_case()
    flat, fc = plain.layers
    dropping = replace(plain, layers=(flat, layer("Dropout", 0.99, name="drop"), fc))
    assert training.accuracy(dropping, honest) == training.accuracy(plain, honest)


def test_who_leaves_is_seen_to_leave_and_when() -> None:
    """The first gap is that of the step in which the inputs differ; the losses part with it, at the latest soon after."""
    run = training.trained(SMALL, Other(step=3, factor=3.0), honest)
    assert run.first_gap == 4
    assert run.first_divergent_step == 4
    assert run.gaps[:3] == (0.0, 0.0, 0.0)
    assert run.gaps[3] > 0
    assert run.accuracy != run.reference_accuracy


def test_accuracy_is_the_share_of_images_recognised() -> None:
    """Counted by hand, on the images that no training has seen."""
    case = SMALL.training_case().astype("float32")
    images, labels = digits()
    scores = images[-TEST_IMAGES:].reshape(TEST_IMAGES, 64) @ case.params["fc.weight"].T + case.params["fc.bias"]
    right = sum(int(row.argmax()) == label for row, label in zip(scores, labels[-TEST_IMAGES:], strict=True))
    assert training.accuracy(case, honest) == right / TEST_IMAGES


@pytest.mark.parametrize(
    ("subject", "reason"),
    [
        (Other(hides="param."), "cannot go on: the trace does not show the parameters after the last step"),
        (Other(hides="momentum."), "cannot go on: the trace does not show the optimizer's state"),
        (Other(hides="output"), "does not show the network's output"),
        (Other(factor="x"), "digits/small: "),  # type: ignore[arg-type]
        ("nobody:at_all", "subject 'nobody:at_all' cannot be imported"),
    ],
)
def test_who_cannot_be_trained_freely_is_said_to_be_so(subject: Any, reason: str) -> None:
    """In a sentence, whatever is raised: the rest of the run goes on."""
    said = trained_freely(FreeRun(SMALL, subject, "refbp"))
    assert isinstance(said, str) and reason in said and "\n" not in said
