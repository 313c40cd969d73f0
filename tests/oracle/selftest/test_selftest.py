"""The self-test itself: its libraries are large and leave no trace, and a weakened judge does not pass it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import oracle.judging.figures
import oracle.judging.verdict
from oracle.case.arrays import Array
from oracle.case.case import CaseError
from oracle.judging.case_rows import judge
from oracle.judging.profile import Profile
from oracle.judging.rows import DISCREPANCIES, IMPRECISE, PASS
from oracle.running_error import LAMBDA
from oracle.selftest import controls, render, score
from oracle.selftest.bugs import all_bugs
from oracle.selftest.plain import found, plain_bugs
from oracle.selftest.result import SelfTest
from oracle.selftest.variants import all_variants
from oracle.subjects import refbp as honest
from oracle.suite import all_cases, named
from oracle.trace import Trace

SUBTLE = [name for name in all_bugs() if "one element off" in name or "slightly scaled" in name]


def test_the_libraries_are_as_large_as_promised() -> None:
    """At least 700 bugs and 120 legal variants, over all families of refbp, subtle ones among them."""
    assert len(all_bugs()) >= 700 and len(all_variants()) >= 120
    assert len(plain_bugs()) >= 30
    assert len(SUBTLE) >= 30
    families = {bug.family for bug in all_bugs().values()}
    assert families >= {"linear", "conv", "max pool", "batch norm", "CrossEntropyLoss", "SGD", "Residual", "wiring"}


@pytest.mark.parametrize("name", list(all_bugs())[::13])
def test_the_case_of_a_bug_passes_without_it(name: str) -> None:
    """The bug is caught, and not its case; planting it leaves refbp as it was."""
    bug = all_bugs()[name]
    case = bug.case.astype("float32")
    before = honest.run(case).arrays
    with np.errstate(all="ignore"):
        score.planted(name, "float32")
    after = honest.run(case)
    assert all(np.array_equal(before[key], after.arrays[key], equal_nan=True) for key in before)
    assert not {row.verdict for row in judge(case, after, honest)} & DISCREPANCIES


def test_a_wrong_option_is_found_only_where_a_case_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A subject of plain options supports few cases; without those that set the option alone the bug goes unseen."""
    name = "SGD: no decay without momentum"
    seen = found(name)
    assert seen.case and seen.supported > 5
    left = {own: case for own, case in all_cases().items() if not case.optimizer or "weight_decay" not in own}
    monkeypatch.setattr("oracle.suite.all_cases", lambda: left)
    assert not found(name).case


FAMILIES = sorted({own.family for own in (*all_bugs().values(), *all_variants().values())})


def largest(array: Array) -> float:
    return float(np.max(np.abs(array), initial=0, where=np.isfinite(array)))


def alike(got: Trace, right: Trace, tolerance: float) -> bool:
    """The same quantities of the same shapes, each within this share of its largest element."""
    return got.arrays.keys() == right.arrays.keys() and all(
        array.shape == got.arrays[key].shape
        and np.allclose(got.arrays[key], array, 0, tolerance * largest(array), equal_nan=True)
        for key, array in right.arrays.items()
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_every_bug_does_something_and_every_variant_the_same(family: str) -> None:
    """All of them: a bug that changes nothing cannot be caught, and a variant that computes something else should be."""
    for own in (*all_bugs().values(), *all_variants().values()):
        if own.family == family:
            case = own.case.astype(own.dtypes[-1])
            with np.errstate(all="ignore"):
                right, got = honest.run(case), Trace()
                with suppress(CaseError):  # of a bug: nothing comes out
                    got = own.run(case)
            assert not alike(got, right, 0) if own.name in all_bugs() else alike(got, right, 0.1), own.name


def test_a_weakened_judge_misses_bugs_and_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tolerances a thousand times as wide: the subtle bugs slip through, and the report names them."""
    strict = [score.planted(name, "float32") for name in SUBTLE[::4]]
    assert all(bug.caught for bug in strict)
    monkeypatch.setattr(oracle.judging.figures, "LAMBDA", 2000 * LAMBDA)
    for limit in ("MOST_RMS", "MOST_MEAN"):
        monkeypatch.setattr(oracle.judging.verdict, limit, 1000 * getattr(oracle.judging.verdict, limit))
    weak = SelfTest(bugs=[score.planted(name, "float32") for name in SUBTLE[::4]])
    assert len(weak.missed) > len(weak.bugs) / 3
    assert not weak.passed
    assert f"missed: {weak.missed[0].bug} (float32)" in render.markdown(weak, "")


def test_a_tightened_judge_accuses_and_says_whom(monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin: tolerances a twentieth as wide accuse the legal variants."""
    assert score.legal("linear: plain loop", "float32").alarms == 0
    monkeypatch.setattr(oracle.judging.figures, "LAMBDA", LAMBDA / 20)
    accused = score.legal("linear: plain loop", "float32")
    assert accused.alarms > 0
    assert "accused: linear: plain loop" in render.failures(SelfTest(variants=[accused]))


def test_a_bug_in_the_wrong_place_is_reported() -> None:
    """Caught is not enough: layer and quantity count."""
    right = score.planted("conv: kernel not turned", "float32")
    assert (right.caught, right.layer_right, right.quantity_right) == (True, True, True)
    misplaced = replace(right, quantity_right=False)
    assert SelfTest(bugs=[misplaced]).misplaced and not SelfTest(bugs=[misplaced]).passed


@pytest.mark.parametrize("name", [name for name in all_variants() if "declared normwise" in name])
def test_normwise_convolutions_pass_with_their_declaration(name: str) -> None:
    """An implementation that errs by norm passes if it declares so; otherwise it is at most called imprecise or wrong."""
    variant = all_variants()[name]
    case = variant.case.astype("float32")
    trace = variant.run(case)
    assert {row.verdict for row in judge(case, trace, honest, variant.profile)} == {PASS}
    undeclared = {row.verdict for row in judge(case, trace, honest, Profile()) if row.verdict in DISCREPANCIES}
    assert undeclared <= {IMPRECISE, "wrong"}


@pytest.mark.parametrize("control", list(controls.CONTROLS))
def test_controls_fail_where_they_say_something(control: str) -> None:
    """On a convolution each does; on an empty batch nothing changes, and that is said."""
    assert controls.outcome(named("conv/Conv2d,remainder").astype("float32"), control) == controls.FAILS
    assert "stay as they are" in controls.outcome(named("batch/Conv2d,batch=0").astype("float32"), control)


def test_planted_precision_is_named() -> None:
    """TF32 and bfloat16 inside float32 are not merely caught: their rows are `imprecise`."""
    for name in ("TF32", "bfloat16"):
        assert score.planted(f"linear: forward multiplies in {name}", "float32").verdict == IMPRECISE


@pytest.mark.parametrize("name", ["Residual: gradients averaged", "Concat: a column lost"])
def test_what_lies_between_layers_is_blamed_at_its_place(name: str) -> None:
    """A container's mistake has no layer to run again: it is placed all the same, and the search for its cause does not fail."""
    found = score.planted(name, "float32")
    assert (found.caught, found.layer_right, found.quantity_right) == (True, True, True)


def test_a_self_test_that_ended_early_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of every kind of job one: what is kept is not done again, and the result is that of one go."""
    of_kind = {job.kind: job for job in score._jobs(("float32",)) if job.kind not in controls.CONTROLS}
    jobs = [*of_kind.values(), score.Job(next(iter(controls.CONTROLS)), "kink/ReLU", "float32")]
    monkeypatch.setattr(score, "_jobs", lambda dtypes: iter(jobs))
    monkeypatch.setattr(score, "PROGRAMS", 1)
    kept, done = tmp_path / "selftest.jsonl", []
    whole = score.run(kept=kept)
    kept.write_bytes(b"".join(kept.read_bytes().splitlines(keepends=True)[:4])[:-9])
    original = score._done

    def seen(job: score.Job) -> score.Done:
        done.append(job)
        return original(job)

    monkeypatch.setattr(score, "_done", seen)
    resumed = score.run(kept=kept, resume=True)
    assert len(done) == len(jobs) + 1 - 3
    assert repr(replace(resumed, seconds=whole.seconds)) == repr(whole)  # NaN differs from itself
    for name in ("bugs", "variants", "programs", "controls", "plain", "between", "narrow"):
        assert len(getattr(whole, name)) == 1
