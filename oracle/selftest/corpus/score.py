"""Runs the corpus, and counts bugs caught, placed and named, accused twins, and bugs that other tools' rules refuse."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from oracle.harness.jobs import Progress
from oracle.harness.kept import Kept
from oracle.judging.rows import CRASHED
from oracle.selftest.corpus import (
    activations,
    adam,
    classification,
    convolution,
    layouts,
    losses,
    normalization,
    numerics,
    optimizers,
    pooling,
    resizing,
    training,
)
from oracle.selftest.corpus.entry import Entry, Module, Op
from oracle.selftest.corpus.rivals import caught_by

FAMILIES = (
    activations,
    convolution,
    pooling,
    resizing,
    normalization,
    losses,
    classification,
    adam,
    optimizers,
    training,
    layouts,
    numerics,
)
# The quick form takes every QUICK-th bug.
QUICK = 19
# Least shares: caught in the reporter's wiring, right layer and quantity blamed first, right cause named first.
CAUGHT, PLACED, NAMED = 0.95, 0.90, 0.60


@cache
def all_entries() -> dict[str, Entry]:
    """Every entry by its source."""
    found: dict[str, Entry] = {}
    for family in FAMILIES:
        for entry in family.BOOK.entries:
            assert entry.source not in found, entry.source
            found[entry.source] = entry
    return found


@dataclass(frozen=True)
class Outcome:
    """The result for an entry.

    Attributes:
        blamed: the place that the report blames first.
        cause: the cause that the report gives first.
        twin: what the report of the repaired twin accuses first; empty if there is nothing, as there should be.
        rivals: the rules of other tools that refuse the bug.
    """

    source: str
    family: str
    what: str
    wiring: str
    caught: bool
    placed: bool
    named: bool
    verdict: str
    blamed: str
    cause: str
    twin: str
    rivals: tuple[str, ...]

    def as_row(self) -> dict[str, Any]:
        return {**asdict(self), "rivals": "; ".join(self.rivals)}

    @classmethod
    def of_row(cls, row: dict[str, Any]) -> Outcome:
        return cls(**{**row, "rivals": tuple(filter(None, row["rivals"].split("; ")))})


@dataclass
class Corpus:
    """The results of a run."""

    outcomes: list[Outcome] = field(default_factory=list)
    seconds: float = 0.0

    def share(self, name: str) -> float:
        return float(sum(getattr(own, name) for own in self.outcomes)) / max(len(self.outcomes), 1)

    @property
    def accused(self) -> list[Outcome]:
        return [own for own in self.outcomes if own.twin]

    @property
    def passed(self) -> bool:
        """Every target is met."""
        shares = self.share("caught") >= CAUGHT and self.share("placed") >= PLACED and self.share("named") >= NAMED
        return shares and not self.accused

    def families(self) -> pd.DataFrame:
        """One row per family."""
        rows: dict[str, dict[str, int]] = {}
        for own in self.outcomes:
            row = rows.setdefault(own.family, {"bugs": 0, "caught": 0, "placed": 0, "named": 0, "twins accused": 0})
            row["bugs"] += 1
            for name in ("caught", "placed", "named"):
                row[name] += bool(getattr(own, name))
            row["twins accused"] += bool(own.twin)
        return pd.DataFrame([{"family": family, **row} for family, row in rows.items()])

    def table(self) -> pd.DataFrame:
        """One row per bug."""
        return pd.DataFrame([own.as_row() for own in self.outcomes])

    def rivals(self, names: Sequence[str]) -> pd.DataFrame:
        """One row per rule: how many of the bugs it refuses."""
        total = len(self.outcomes)
        rows = [(name, f"{sum(name in own.rivals for own in self.outcomes)} of {total}") for name in names]
        return pd.DataFrame(rows, columns=["rule", "caught"])


def run(
    quick: bool = False,
    progress: Progress | None = None,
    executor: Executor | None = None,
    kept: Path | None = None,
    resume: bool = False,
    minutes: float | None = None,
) -> Corpus:
    """The whole corpus.

    quick: takes every nineteenth bug only.
    kept, resume, minutes: as in `models.score.run`.
    """
    start = time.perf_counter()
    chosen = [source for number, source in enumerate(all_entries()) if not quick or number % QUICK == 0]
    table = Kept(kept, resume, Outcome.as_row, Outcome.of_row)
    done = {
        own.source: own for own in table.complete(judged, chosen, lambda own: own.source, progress, executor, minutes)
    }
    return Corpus([done[source] for source in chosen if source in done], time.perf_counter() - start)


def judged(source: str) -> Outcome:
    entry = all_entries()[source]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        report, twin = entry.wiring.report(False), entry.wiring.report(True)
        rivals = tuple(caught_by(entry.wiring))
    first = next(iter(report.blame), None)
    accused = next(iter(twin.blame), None)
    placed = first is not None and _is_placed(entry, first.layer_type, first.quantity, first.verdict)
    return Outcome(
        source,
        entry.family,
        entry.what,
        "check_op" if isinstance(entry.wiring, Op) else "check_module" if isinstance(entry.wiring, Module) else "run",
        caught=first is not None,
        placed=placed,
        named=placed and first is not None and first.cause_name in entry.causes,
        verdict="" if first is None else first.verdict,
        blamed="" if first is None else f"{first.layer_type} {first.quantity}".strip(),
        cause="" if first is None else first.cause_name,
        twin="" if accused is None else str(accused),
        rivals=rivals,
    )


def _is_placed(entry: Entry, layer: str, quantity: str, verdict: str) -> bool:
    """Whether the report blames the bug's own place.

    A bug without quantities must crash. For a function the quantity decides, because there is only one layer. A class
    is compared without its module.
    """
    if not entry.quantities:
        return verdict == CRASHED
    return quantity in entry.quantities and (isinstance(entry.wiring, Op) or layer.rpartition(".")[2] == entry.layer)
