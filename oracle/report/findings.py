"""Findings: the results of a run, from which every form of a report is made, and the run's outcome."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import pandas as pd

from oracle.blame.blame import Blame, reproduce
from oracle.blame.details import Detail
from oracle.judging.rows import DISCREPANCIES, FAILED, UNDECIDED, UNJUDGED, UNSUPPORTED
from oracle.judging.training import TrainingRun
from oracle.report.about import About
from oracle.report.coverage import Coverage, Unjudged
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

# The most classes whose untried options the conclusion names.
MOST_CLASSES = 3


@dataclass(frozen=True, repr=False)
class Findings:
    """The results of a run. `oracle.report.report.Report` documents the attributes and adds the forms."""

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
        """Discrepancies grouped by layer type, quantity, verdict and cause: their number, the number of cases, the dtypes, and
        the smallest case that shows each."""
        return kind_table(self.grouped)

    @cached_property
    def grouped(self) -> list[Kind]:
        """The culprits by kind, the most upstream cause first."""
        return kinds(self.blame, sizes_of(self.table))

    @cached_property
    def families(self) -> pd.DataFrame:
        """One row per family of cases: counts of verdicts, the largest z and bound ratio, the share decided, seconds."""
        return family_table(self.table, self.cases)

    @property
    def passed(self) -> bool:
        """Whether a gradient was decided and there is no discrepancy.

        `loose`, `convention`, `undecided` and `unsupported` are not discrepancies. A run in which everything is unsupported or
        undecided has not passed."""
        return self.outcome == CONFORMS

    @cached_property
    def outcome(self) -> str:
        """The outcome: "conforms", "discrepancies found", "nothing was judged", "nothing was decided", "no gradient was decided",
        "not everything was judged" or "the harness itself failed"."""
        found = outcome(self.table)
        return NOT_ALL_JUDGED if found == CONFORMS and self.is_open else found

    @property
    def is_open(self) -> bool:
        """Whether something is unjudged although the user did not allow it."""
        return bool(self.not_judged) and self.about.unjudged != "allow"

    @cached_property
    def not_judged(self) -> tuple[Unjudged, ...]:
        """Everything that was not judged, and why; of a report without shares by its rows."""
        rows = self.table[self.table["verdict"] == UNJUDGED]
        by_row = zip(rows["layer"], rows["layer_type"], rows["diagnosis"], strict=True)
        return self.coverage.unjudged or tuple(Unjudged(*own) for own in by_row)

    @property
    def judged(self) -> str:
        """How much was judged, in words; for a module also the shares."""
        share = str(self.coverage).removeprefix("judged ")
        return f"{counted(judged_rows(self.table), 'quantity')} judged" + (f": {share}" if share else "")

    @property
    def unjudged(self) -> list[str]:
        """Everything that was not judged, and why, in words."""
        return [f"{place} ({kind}): {reason}" for place, kind, reason in self.not_judged]

    @property
    def one_again(self) -> str:
        """How to run a single case again, for the first case as an example; "" if that is unknown."""
        if self.cases.empty or not self.about.again:
            return ""
        first = self.cases.iloc[0]
        return reproduce(self.about.again, str(first["case"]), str(first["dtype"]))

    @property
    def conclusion(self) -> str:
        """The outcome in one line."""
        left = ", ".join(self.about.left_changed)
        said = f"; it changed settings that its whole process shares, which were restored: {left}" if left else ""
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
            others = [own for own in (UNSUPPORTED, UNJUDGED) if rows.get(own, 0)]
            why = f"every row is {' or '.join([UNDECIDED, *others])}"
            if self.outcome == NO_GRADIENT:
                why = f"no gradient is decided in {counted(len(self.table), 'row')}"
            return f"{what}: {self.outcome} ({counted(runs, 'run')} of {cases}, {why}){self._first_undecided}"
        share = exact_share(rows.get(UNDECIDED, 0) / len(self.table))
        tail = [counted(len(self.table), "row"), f"{share} undecided"]
        if rows.get(UNSUPPORTED, 0) > lacking:  # in runs that were judged, which count as such
            tail.append(f"{rows[UNSUPPORTED] - lacking:,} unsupported")
        if said := str(self.coverage):
            tail.append(said)
        if largest := figure(self.families["z_max"].max()):
            tail.append(f"largest z {largest}")
        failed = self.table[self.table["verdict"] == FAILED]
        if self.outcome in (NOT_ALL_JUDGED, NOTHING_JUDGED):
            return f"{what}: {self.outcome} ({', '.join(tail)}){self._first_unjudged}"
        if self.outcome == HARNESS_FAILED:
            return f"{what}: {failed_runs(failed)}"
        if not self.passed:
            failing = int(self.cases["verdict"].isin(DISCREPANCIES).sum())
            more = "" if failed.empty else f"; {failed_runs(failed)}"
            return f"{what}: discrepancies in {failing:,} of {runs:,} runs ({', '.join(tail)}){more}"
        more = f", {lacking:,} more unsupported" if lacking else ""
        return f"{what}: conforms in {counted(runs - lacking, 'run')} of {cases}{more} ({', '.join(tail)})"

    @property
    def _first_undecided(self) -> str:
        """The first thing that was not judged or not decided, and why, as the end of a sentence; "" if nothing says why."""
        if self.not_judged:
            return self._first_unjudged
        open_ = self.table[(self.table["verdict"] == UNDECIDED) & (self.table["diagnosis"] != "")]
        if self.outcome == NO_GRADIENT:
            open_ = open_[open_["quantity"].str.startswith("grad")]
        found = zip(open_["layer"], open_["quantity"], open_["diagnosis"], strict=True)
        return "".join(f", first {layer} {quantity}: {why}" for layer, quantity, why in list(found)[:1])

    @property
    def _first_unjudged(self) -> str:
        """The first thing that was not judged, and why, as the end of a sentence; "" if there is none."""
        return "".join(f", first {place} ({kind}): {reason}" for place, kind, reason in self.not_judged[:1])
