"""How small a fault is caught in random cases: a campaign of planted faults, and its tables."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from oracle.fuzz import campaign, draw
from oracle.fuzz.outcome import Settings, without_numbers
from oracle.fuzz.planted import Found, Mutated, lost, mutated
from oracle.harness.jobs import Progress
from oracle.harness.kept import Kept
from oracle.report.markdown import literal, table
from oracle.running_error import UNIT_ROUNDOFF
from oracle.wording.figures import counted, figure

# The files: the table by class, the report, the table case by case, and the settings of the campaign.
TABLE, REPORT, CASES, ABOUT = "mutation.csv", "mutation.md", "mutated.csv", "mutation.json"
NOTHING = "no quantity of floating-point numbers passes"
SIZES = ("median", "largest", "median / u", "largest / u")


@dataclass(frozen=True)
class Mutation:
    """The faults of a campaign.

    Attributes:
        cases: in the order of their numbers, those of earlier runs included.
        seconds: how long this run took.
        fresh: how many cases this run added.
    """

    settings: Settings
    cases: tuple[Mutated, ...]
    seconds: float
    fresh: int

    @property
    def status(self) -> int:
        """The exit status: 1 if a fault hides in a decided quantity, 2 if none was planted, 0 otherwise."""
        found = [one for own in self.cases for one in own.found]
        return 2 if not found else int(any(one.hidden is not None for one in found))

    def by_class(self) -> pd.DataFrame:
        """One row per class, quantity, kind of fault and dtype."""
        return self._by(["class", "quantity", "fault", "dtype"])

    def summary(self) -> pd.DataFrame:
        """One row per kind of fault and dtype."""
        return self._by(["fault", "dtype"])

    def warnings(self) -> Iterator[str]:
        """Each fault that hides in a quantity whose elements are all decided."""
        for own in self.cases:
            name = draw.named(self.settings.seed, own.number, self.settings.kinds)
            for one in own.found:
                if one.hidden is not None:
                    where = f"{name}, {own.dtype}: {one.operation} {one.quantity}, {one.fault}"
                    yield f"{where} of size {figure(one.hidden)} hides ({one.words}), and `decided` is 1"

    def to_json(self) -> dict[str, Any]:
        """The table by class, with None where nothing was caught, and the warnings."""
        frame = self.by_class().astype(object)
        rows = frame.where(frame.notna(), None).to_dict(orient="records")
        return {"faults": rows, "warnings": list(self.warnings())}

    def _by(self, keys: list[str]) -> pd.DataFrame:
        plain = pd.DataFrame(
            [_entry(own, one) for own in self.cases for one in own.found],
            columns=["class", "quantity", "fault", "dtype", "size", "u", "hidden"],
        )
        found = plain.groupby(keys).agg(
            cases=("size", "size"),
            **{
                "never caught": ("size", lambda own: int(own.isna().sum())),
                "median": ("size", "median"),
                "largest": ("size", "max"),
                "median / u": ("u", "median"),
                "largest / u": ("u", "max"),
                "hides": ("hidden", "sum"),
            },
        )
        return found.reset_index()


def _entry(own: Mutated, one: Found) -> tuple[str, str, str, str, float, float, bool]:
    size = math.nan if one.caught is None else one.caught
    in_units = size / UNIT_ROUNDOFF[own.dtype]
    return one.operation, one.quantity, one.fault, own.dtype, size, in_units, one.hidden is not None


def run(
    settings: Settings,
    cases: int,
    folder: Path | None = None,
    *,
    resume: bool = False,
    minutes: float | None = None,
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> Mutation:
    """Plants faults into the first `cases` cases of a seed. The arguments are those of `campaign.run`."""
    if folder is not None:
        campaign.write_about(folder / ABOUT, settings, resume)
    kept = Kept(None if folder is None else folder / CASES, resume, Mutated.row, Mutated.of_row)
    took, fresh = campaign.complete(
        kept, mutated, lost, settings, cases, minutes=minutes, executor=executor, progress=progress
    )
    return Mutation(settings, campaign.in_order(kept.outcomes), took, fresh)


def write(found: Mutation, folder: Path) -> None:
    """Writes the table by class, and the report."""
    found.by_class().to_csv(folder / TABLE, index=False)
    (folder / REPORT).write_text(markdown(found), encoding="utf-8")


def in_words(frame: pd.DataFrame) -> pd.DataFrame:
    """The table with its sizes rounded for people."""
    return frame.assign(**{name: frame[name].map(figure) for name in SIZES})


def markdown(found: Mutation) -> str:
    """The report: a summary, the faults that hide, the cases without a fault, and the table by class."""
    settings, planted = found.settings, [own for own in found.cases if own.found]
    warnings = [literal(line) for line in found.warnings()]
    without = Counter(without_numbers(own.words or NOTHING) for own in found.cases if not own.found)
    parts = [
        "# How small a fault is caught in random cases",
        f"{settings.subject} against {settings.reference}, seed {settings.seed}: faults in {len(planted):,} of "
        f"{counted(len(found.cases), 'case')} of {', '.join(dict.fromkeys(settings.kinds))}.",
        "Each fault is planted into one quantity that passes, and falls by a factor of four at a time. A size is relative to the "
        "elements that it changes: to the root mean square of the array for `offset`, to its largest element for `sign`, and to "
        "the share of one number of the upstream gradient for `dropped term`. `median` and `largest` are those of the smallest "
        "sizes that are caught; u is the unit roundoff of the dtype. `hides` counts the faults that are missed although every "
        "element is decided and the error is larger than a decided element lets through.",
        table(in_words(found.summary())),
        "## Faults that hide",
        _lines(warnings, "None."),
        "## Cases without a fault",
        _lines([f"{count:,} × {literal(words)}" for words, count in without.most_common()], "None."),
        "## By class",
        table(in_words(found.by_class())),
    ]
    return "\n\n".join(parts) + "\n"


def _lines(lines: Sequence[str], otherwise: str) -> str:
    return "\n".join(f"- {line}" for line in lines) or otherwise
