"""`oracle selftest --models`: its architectures exist, a run goes on where it stopped, and what goes wrong is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from oracle.selftest.models import render, score
from oracle.selftest.models.architectures import torchvision_loads
from oracle.selftest.models.names import CLOSELY, FIRST, LANGUAGE, NAMES, PUBLISHED, QUICK


def outcome(job: score.Job, accused: int = 0, failure: str = "") -> score.Outcome:
    first = "a reason" if accused else ""
    return score.Outcome(*job, 48, accused, first, 0.75, 1.0, "what has no rule", 100, 0.25, 3.5, 8.0, 2.0, failure)


def test_every_architecture_exists() -> None:
    """By the names that timm and torchvision give them; a hundred and more, each once, and six language models."""
    torchvision_loads()
    timm, torchvision = pytest.importorskip("timm"), pytest.importorskip("torchvision")
    assert len(set(NAMES)) == len(NAMES) >= 100 and set(QUICK) <= set(NAMES)
    known = {*timm.list_models(), *(f"torchvision/{name}" for name in torchvision.models.list_models())}
    assert not set(NAMES) - known - set(LANGUAGE) - set(PUBLISHED)
    assert len(set(NAMES) - set(LANGUAGE) - set(PUBLISHED)) >= 100 and len(LANGUAGE) == 6


def test_what_is_promised_is_listed() -> None:
    """All in float32 in training, forty in four ways with two batches, all in 16 bits; each once, and all but the
    large ones before any is done twice."""
    jobs = score.all_jobs()
    assert len(set(jobs)) == len(jobs)
    assert [job.name for job in jobs[: len(FIRST)]] == list(FIRST)
    for name in CLOSELY[::13]:
        kinds = {(job.dtype, job.mode, job.batch) for job in jobs if job.name == name}
        assert len(kinds) == 2 * 2 * 2 + 2
    assert len(CLOSELY) == 40
    narrow = {(job.name, job.dtype) for job in jobs if job.dtype in score.NARROW}
    assert len(narrow) == 2 * len(NAMES) - 3  # what torch cannot do, or does wrong
    assert ("transformers/mixtral", "float64") not in {(job.name, job.dtype) for job in jobs}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", LANGUAGE)
def test_all_of_a_language_model_is_judged(name: str, dtype: str) -> None:
    """Attention by hand and in one call, experts that are chosen, recurrent cells, normed weights; in 16 bits too, where each
    kernel stores what the next one reads, and some add up in 16 bits."""
    found = score.judged(score.Job(name, dtype, "training"))
    assert (found.accused, found.gradients, found.operations, found.failure) == (0, 1, 1, ""), found


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", PUBLISHED)
def test_all_of_a_published_model_is_judged(name: str) -> None:
    """Code that we did not write, as it is published: state spaces, experts, sliding windows, relative positions."""
    pytest.importorskip("transformers")
    found = score.judged(score.Job(name, "float32", "training"))
    assert (found.accused, found.gradients, found.operations, found.failure) == (0, 1, 1, ""), found


def test_a_run_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs in the table are not done again, and every outcome is in it at once."""
    kept, done = tmp_path / "models.csv", list[score.Job]()

    def judged(job: score.Job) -> score.Outcome:
        if len(done) == limit:
            raise KeyboardInterrupt
        done.append(job)
        return outcome(job)

    monkeypatch.setattr(score, "judged", judged)
    limit = 2
    with pytest.raises(KeyboardInterrupt):
        score.run(quick=True, kept=kept)
    first = list(done)
    done.clear()
    limit = len(NAMES)
    result = score.run(quick=True, kept=kept, resume=True)
    assert not set(done) & set(first)
    assert [own.name for own in result.outcomes] == [job.name for job in (*first, *done)] and len(done) == len(
        QUICK
    ) - 2
    assert result.passed and result.outcomes[0] == outcome(first[0])
    assert len(kept.read_text().splitlines()) == 1 + len(QUICK)
    assert len(score.run(quick=True, kept=kept, minutes=0).outcomes) == 1  # anew, and no more than one


def test_an_accusation_and_a_failure_are_told() -> None:
    jobs = [score.Job(name, "float32", "training") for name in NAMES[:3]]
    assert score.Models([outcome(jobs[0])]).passed
    result = score.Models([outcome(jobs[0]), outcome(jobs[1], accused=3), outcome(jobs[2], failure="KeyError: 'x'")])
    assert not result.passed
    assert render.summary_table(score.Models([outcome(jobs[0])])).iloc[0, 0].startswith("1 architecture, 0 of them")
    report = render.markdown(result, "")
    assert f"accused: {NAMES[1]} (float32, training, batch 2): a reason" in report
    assert f"did not run: {NAMES[2]} (float32, training, batch 2): KeyError: 'x'" in report
    assert f"judged 75 %: {NAMES[0]} (float32, training, batch 2): what has no rule" in report
    assert "| 1 of 2 runs |" in report and "3 rows in 200 elements" in report and "| 4 × |" in report
    assert (
        f"3 of {len(score.all_jobs())}" in report
        and f"float32, evaluation, batch 2: {len(NAMES)} of the models" in report
    )
