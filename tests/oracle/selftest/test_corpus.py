"""The corpus of published bugs: where they come from, and that a bug, its repaired twin and a false claim are told apart."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from oracle.selftest.corpus import render, score
from oracle.selftest.corpus.entry import Op
from oracle.selftest.corpus.inexpressible import INEXPRESSIBLE
from oracle.selftest.rivals.rules import GRADCHECK, RULES

# One of each wiring: a function, the engine of a project under `oracle.run`, a torch module.
SAMPLE = ("torch/nn#345", "Bot-Academy/NeuralNetworkFromScratch#3", "huggingface/candle#3613")


def test_every_bug_says_where_it_was_published() -> None:
    """Repository and number, each once; those that cannot be expressed are no entries besides."""
    sources = list(score.all_entries())
    assert len(sources) >= 150
    assert len({source.partition("#")[0] for source in sources}) >= 80
    elsewhere = [source for found in INEXPRESSIBLE.values() for source in found]
    for source in [*sources, *elsewhere]:
        assert re.fullmatch(r"[\w.-]+/[\w.-]+#\d+", source), source
    assert not set(sources) & set(elsewhere)


@pytest.mark.parametrize("source", SAMPLE)
def test_a_published_bug_is_caught_and_its_twin_is_not_accused(source: str) -> None:
    """In the wiring of its reporter, at the layer and the quantity that were wrong."""
    outcome = score.judged(source)
    assert outcome.caught and outcome.placed and not outcome.twin, outcome
    assert set(outcome.rivals) <= {*(rule.name for rule in RULES), GRADCHECK}


def test_what_is_not_caught_or_accused_is_counted_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A repaired function in the place of the bug is missed, and a bug in that of the twin is an accusation."""
    entry = score.all_entries()["torch/nn#345"]
    wiring = entry.wiring
    assert isinstance(wiring, Op)
    exchanged = replace(entry, wiring=replace(wiring, make=lambda fixed: wiring.make(not fixed)))
    monkeypatch.setattr(score, "all_entries", lambda: {entry.source: exchanged})
    result = score.run()
    (outcome,) = result.outcomes
    assert score.Outcome.of_row(outcome.as_row()) == outcome
    assert not outcome.caught and not outcome.placed and not outcome.named and not outcome.rivals
    assert outcome.twin and result.accused == [outcome] and not result.passed
    report = render.markdown(result, "")
    assert "targets missed" in report and f"missed: {entry.source}" in report
    assert f"repaired twin accused: {entry.source}" in report


def test_a_bug_blamed_on_another_quantity_is_misplaced(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = replace(score.all_entries()["torch/nn#345"], quantities=("output",))
    monkeypatch.setattr(score, "all_entries", lambda: {entry.source: entry})
    result = score.run()
    assert result.share("caught") == 1 and result.share("placed") == result.share("named") == 0
    assert "misplaced" in render.failures(result)
