"""What a run found: the one value from which every form of a report is made, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd

from oracle.blame.blame import Blame, reproduce
from oracle.blame.details import Detail
from oracle.judging.rows import DISCREPANCIES, FAILED, UNDECIDED, UNSUPPORTED
from oracle.judging.training import TrainingRun
from oracle.report.about import About
from oracle.report.coverage import Coverage
from oracle.report.described import Described
from oracle.report.kinds import Kind, kind_table, kinds, sizes_of
from oracle.report.table import (
    CONFORMS,
    HARNESS_FAILED,
    NO_GRADIENT,
    NOT_ALL_JUDGED,
    NOTHING_DECIDED,
    NOTHING_JUDGED,
    failed_runs,
    family_table,
    judged_rows,
    outcome,
    unsupported_runs,
)
from oracle.wording.figures import counted, exact_share, figure

# Classes of which the conclusion names the options that were never tried.
MOST_CLASSES = 3


@dataclass(frozen=True, repr=False)
class Findings:
    """What a run found, see `oracle.report.report.Report`, which adds the forms."""

    table: pd.DataFrame
    cases: pd.DataFrame
    blame: list[Blame]
    about: About
    training: list[TrainingRun]
    details: tuple[Detail, ...] = ()
    coverage: Coverage = field(default_factory=Coverage)
    described: Mapping[str, Described] = field(default_factory=dict)

    @property
    def title(self) -> str:
        return f"{self.about.subject} against {self.about.reference}"

    @property
    def kinds(self) -> pd.DataFrame:
        """Discrepancies grouped by layer type, quantity, verdict and cause: how many there are, in how many cases and which
        precisions, and the smallest case that shows each."""
        return kind_table(self.grouped)

    @property
    def grouped(self) -> list[Kind]:
        """The culprits by kind, most upstream cause first."""
        return kinds(self.blame, sizes_of(self.table))

    @property
    def families(self) -> pd.DataFrame:
        """One row per family of cases: verdict counts, largest z and bound ratio, share decided, seconds."""
        return family_table(self.table, self.cases)

    @property
    def passed(self) -> bool:
        """Whether something was decided and nothing found: `loose`, `convention`, `undecided` and `unsupported` are no
        discrepancies, and a run that is all unsupported or undecided has not passed."""
        return self.outcome == CONFORMS

    @property
    def outcome(self) -> str:
        """How it ended: "conforms" in one case, else "discrepancies found", "nothing was judged", "nothing was decided",
        "no gradient was decided", "not everything was judged" or "the harness itself failed"."""
        found = outcome(self.table)
        return NOT_ALL_JUDGED if found == CONFORMS and self.is_open else found

    @property
    def is_open(self) -> bool:
        """Whether something was left unjudged without the user's word."""
        return bool(self.coverage.unjudged) and self.about.unjudged != "allow"

    @property
    def judged(self) -> str:
        """How much was judged; of a module also which share of it."""
        share = str(self.coverage).removeprefix("judged ")
        return f"{counted(judged_rows(self.table), 'quantity')} judged" + (f": {share}" if share else "")

    @property
    def unjudged(self) -> list[str]:
        """What was left unjudged, and why."""
        return [f"{place} ({kind}): {reason}" for place, kind, reason in self.coverage.unjudged]

    @property
    def one_again(self) -> str:
        """How to run a single case again, by the first one; "" where nothing is known of it."""
        if self.cases.empty or not self.about.again:
            return ""
        first = self.cases.iloc[0]
        return reproduce(self.about.again, str(first["case"]), str(first["dtype"]))

    @property
    def conclusion(self) -> str:
        """How it ended, in one line."""
        left = ", ".join(self.about.left_changed)
        said = f"; it changed what everybody in its process shares, which was put back: {left}" if left else ""
        notes = self.about.declared, self.about.untried(MOST_CLASSES)
        return "; ".join(text for text in (f"{self._ended}{said}", *notes) if text)

    @property
    def _ended(self) -> str:
        what, runs, cases = self.title, len(self.cases), counted(self.about.cases, "case")
        rows, lacking = self.table["verdict"].value_counts(), unsupported_runs(self.table)
        if lacking == runs:
            why = f", the first since: {self.table['diagnosis'].iloc[0]}" if runs else ""
            return f"{what}: {NOTHING_JUDGED} ({counted(runs, 'run')} of {cases}, all unsupported){why}"
        if self.outcome in (NOTHING_DECIDED, NO_GRADIENT):
            why = f"every row is undecided{' or unsupported' if lacking else ''}"
            if self.outcome == NO_GRADIENT:
                why = f"of {counted(len(self.table), 'row')} none is a gradient's and decided"
            return f"{what}: {self.outcome} ({counted(runs, 'run')} of {cases}, {why})"
        share = exact_share(rows.get(UNDECIDED, 0) / len(self.table))
        tail = [counted(len(self.table), "row"), f"{share} undecided"]
        if rows.get(UNSUPPORTED, 0) > lacking:  # in runs that were judged, which count as such
            tail.append(f"{rows[UNSUPPORTED] - lacking:,} unsupported")
        if said := str(self.coverage):
            tail.append(said)
        if largest := figure(self.families["z_max"].max()):
            tail.append(f"largest z {largest}")
        failed = self.table[self.table["verdict"] == FAILED]
        if self.outcome == NOT_ALL_JUDGED:
            first = self.coverage.unjudged[0]
            return f"{what}: {NOT_ALL_JUDGED} ({', '.join(tail)}), first {first.place} ({first.kind}): {first.reason}"
        if self.outcome == HARNESS_FAILED:
            return f"{what}: {failed_runs(failed)}"
        if not self.passed:
            failing = int(self.cases["verdict"].isin(DISCREPANCIES).sum())
            more = "" if failed.empty else f"; {failed_runs(failed)}"
            return f"{what}: discrepancies in {failing:,} of {runs:,} runs ({', '.join(tail)}){more}"
        more = f", {lacking:,} more unsupported" if lacking else ""
        return f"{what}: conforms in {counted(runs - lacking, 'run')} of {cases}{more} ({', '.join(tail)})"
