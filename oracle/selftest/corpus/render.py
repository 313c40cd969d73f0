"""Renders the corpus as Markdown."""

from __future__ import annotations

import pandas as pd

from oracle.report.markdown import table
from oracle.selftest.corpus.inexpressible import INEXPRESSIBLE
from oracle.selftest.corpus.score import CAUGHT, NAMED, PLACED, Corpus, Outcome
from oracle.selftest.rivals.rules import GRADCHECK, RULES

LIMITS = (
    "The bugs are other people's; the rebuilding is this project's: each in a few lines, at a small size, on the processor. "
    "The wirings, which are the shapes, options and cases under which a bug is tried, were adjusted with results in view: where "
    "the first did not show a bug, another that its reporter could have written took its place, and some gaps in the suite and "
    "in the catalogue of causes were closed. So the figures say what can be caught today, not what a first attempt would catch. "
    "A rule of another tool counts as catching a bug that it refuses on any of the cases, in float64 or float32, which is "
    "kinder to it than the one input that its users give it; gradcheck is run on the few smallest cases, in float64."
)


def markdown(result: Corpus, about: str) -> str:
    """The whole report; it lists everything that went wrong by name."""
    parts = [
        f"# Bugs that other projects published: {'every target met' if result.passed else 'targets missed'}",
        about,
        table(summary_table(result)),
        LIMITS,
        "## What went wrong",
        failures(result),
        "## Families",
        table(result.families()),
        "## The rules of other tools, on the same bugs",
        table(result.rivals(rules())),
        "## What cannot be expressed",
        "Published bugs that no call of this project can state, by what they would need.",
        table(inexpressible()),
        "## Every bug",
        table(pd.DataFrame([_row(own) for own in result.outcomes])),
    ]
    return "\n\n".join(parts) + "\n"


def rules() -> list[str]:
    return [*(rule.name for rule in RULES), GRADCHECK]


def summary_table(result: Corpus) -> pd.DataFrame:
    """The main figures, one per line."""
    total = len(result.outcomes)
    projects = len({own.source.rpartition("#")[0] for own in result.outcomes})
    best, count = max(
        ((name, sum(name in own.rivals for own in result.outcomes)) for name in rules()), key=lambda pair: pair[1]
    )

    def line(what: str, name: str, target: float) -> tuple[str, str]:
        return f"{what} (target {target:.0%})", f"{sum(getattr(own, name) for own in result.outcomes)} of {total}"

    lines = [
        line(f"published bugs of {projects} projects: caught as their reporters would wire them", "caught", CAUGHT),
        line("right layer and quantity blamed first", "placed", PLACED),
        line("right cause named first", "named", NAMED),
        ("repaired twins accused (target 0)", f"{len(result.accused)} of {total}"),
        (f"caught by the best of {len(rules())} rules of other tools, {best}", f"{count} of {total}"),
    ]
    return pd.DataFrame(lines, columns=["", "result"])


def failures(result: Corpus) -> str:
    """Every bug that was missed, misplaced or not given its right cause, and every accused twin, by name."""
    lines = [f"- missed: {own.source}: {own.what}" for own in result.outcomes if not own.caught]
    lines += [
        f"- misplaced: {o.source}: blamed is {o.blamed} ({o.verdict})"
        for o in result.outcomes
        if o.caught and not o.placed
    ]
    lines += [f"- repaired twin accused: {own.source}: {own.twin}" for own in result.accused]
    named = [own for own in result.outcomes if own.placed and own.cause and not own.named]
    lines += [f"- wrong cause: {own.source} is called {own.cause!r}" for own in named]
    lines += [f"- no cause named: {own.source}" for own in result.outcomes if own.placed and not own.cause]
    return "\n".join(lines) or "Nothing."


def inexpressible() -> pd.DataFrame:
    rows = [(capability, len(sources), ", ".join(sources)) for capability, sources in INEXPRESSIBLE.items()]
    return pd.DataFrame(rows, columns=["capability", "bugs", "published as"])


def _row(own: Outcome) -> dict[str, str]:
    return {
        "published as": own.source,
        "what": own.what,
        "wiring": own.wiring,
        "blamed": f"{own.blamed} {own.verdict}".strip() or "missed",
        "cause": own.cause,
        "rules that catch it": f"{len(own.rivals)} of {len(rules())}",
    }
