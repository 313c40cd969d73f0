"""`oracle selftest --models`: its architectures exist, a run goes on where it stopped, and what goes wrong is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from oracle.selftest.models import render, score
from oracle.selftest.models.architectures import torchvision_loads
from oracle.selftest.models.names import NAMES, QUICK


def outcome(job: score.Job, accused: int = 0, failure: str = "") -> score.Outcome:
    return score.Outcome(*job, 48, accused, "a reason" if accused else "", 2, 2, 100, 0.25, 1.0, failure)


def test_every_architecture_exists() -> None:
    """By the names that timm and torchvision give them; a hundred and more, each once."""
    torchvision_loads()
    timm, torchvision = pytest.importorskip("timm"), pytest.importorskip("torchvision")
    assert len(set(NAMES)) == len(NAMES) >= 100 and set(QUICK) <= set(NAMES)
    known = {*timm.list_models(), *(f"torchvision/{name}" for name in torchvision.models.list_models())}
    assert not set(NAMES) - known


def test_a_run_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the table holds is not done again, and every outcome is in it as soon as it is there."""
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
    assert [own.name for own in result.outcomes] == [job.name for job in (*first, *done)] and len(done) == 2
    assert result.passed and result.outcomes[0] == outcome(first[0])
    assert len(kept.read_text().splitlines()) == 1 + len(QUICK)
    assert len(score.run(quick=True, kept=kept, minutes=0).outcomes) == 1  # anew, and no more than one


def test_an_accusation_and_a_failure_are_told() -> None:
    jobs = [score.Job(name, "float32", "training") for name in NAMES[:3]]
    assert score.Models([outcome(jobs[0])]).passed
    result = score.Models([outcome(jobs[0]), outcome(jobs[1], accused=3), outcome(jobs[2], failure="KeyError: 'x'")])
    assert not result.passed
    report = render.markdown(result, "")
    assert f"accused: {NAMES[1]} (float32, training): a reason" in report
    assert f"did not run: {NAMES[2]} (float32, training): KeyError: 'x'" in report
    assert "1 of 3 runs" in report and "3 rows" in report
