"""Many random cases, one after the other or side by side, with a table that survives any end of the run."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import BrokenExecutor, Executor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from oracle.fuzz.outcome import REFUSED, Job, Outcome, Settings, without_numbers
from oracle.fuzz.trial import judged, lost
from oracle.harness.jobs import Progress, as_done
from oracle.harness.kept import Kept
from oracle.judging.rows import DISCREPANCIES, FAILED, GRAVITY, PASS
from oracle.wording.figures import counted

TABLE, ABOUT = "cases.csv", "fuzz.json"


class OfNumber(Protocol):
    """The row of a case."""

    @property
    def number(self) -> int: ...


Numbered = TypeVar("Numbered", bound=OfNumber)


@dataclass(frozen=True)
class Group:
    """Outcomes with the same verdict, owner, operation, quantity and cause.

    Attributes:
        outcomes: in the order of their numbers.
    """

    outcomes: tuple[Outcome, ...]

    @property
    def first(self) -> Outcome:
        return self.outcomes[0]

    @property
    def is_discrepancy(self) -> bool:
        return self.first.verdict in DISCREPANCIES

    @property
    def what(self) -> str:
        """The group in a few words."""
        own = self.first
        place = " ".join(word for word in (own.operation, own.quantity) if word)
        return f"{place} {own.verdict}{f' ({own.cause})' if own.cause else ''}"


@dataclass(frozen=True)
class Campaign:
    """The outcomes of a campaign.

    Attributes:
        outcomes: in the order of their numbers, those of earlier runs included.
        seconds: how long this run took.
        fresh: how many outcomes this run added.
    """

    settings: Settings
    outcomes: tuple[Outcome, ...]
    seconds: float
    fresh: int

    @property
    def verdicts(self) -> Counter[str]:
        return Counter(own.verdict for own in self.outcomes)

    @property
    def groups(self) -> list[Group]:
        """Everything but what passed and is undecided, the gravest first, then the largest."""
        return grouped(self.outcomes)

    @property
    def status(self) -> int:
        """The exit status: 3 if the harness failed, 1 for a discrepancy, 2 if nothing passed, 0 otherwise."""
        found = self.verdicts
        if found[FAILED]:
            return 3
        if any(found[verdict] for verdict in DISCREPANCIES):
            return 1
        return 0 if found[PASS] else 2


def pace(cases: int, seconds: float) -> str:
    """How fast a run was."""
    return f"{counted(cases, 'case')} in {seconds:.0f} s, {cases / seconds if seconds else 0.0:.1f} a second"


def grouped(outcomes: Iterable[Outcome]) -> list[Group]:
    """Groups of all outcomes that have something to say: a discrepancy, a choice, or a refusal by one side."""
    found: dict[tuple[str, ...], list[Outcome]] = {}
    for own in outcomes:
        if own.verdict == PASS or (not own.owner and own.verdict in _SILENT):
            continue
        words = "" if own.verdict in DISCREPANCIES else without_numbers(own.words)
        key = (own.verdict, own.owner, own.operation if own.owner else "", own.quantity, own.cause, words)
        found.setdefault(key, []).append(own)
    groups = [Group(tuple(own)) for own in found.values()]
    return sorted(groups, key=lambda own: (-GRAVITY.get(own.first.verdict, 0), -len(own.outcomes), own.first.number))


# Outcomes that form no group if neither side errs: how many there are says enough.
_SILENT = ("undecided", "unsupported", REFUSED)


def run(
    settings: Settings,
    cases: int,
    folder: Path | None = None,
    *,
    resume: bool = False,
    minutes: float | None = None,
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> Campaign:
    """Judges the first `cases` cases of a seed.

    folder: keeps the table; with `resume` the cases in it are not run again.
    minutes: no case is begun after this time.
    executor: runs the cases in child processes; without one they run in this process.
    Raises: ValueError for a folder of another campaign.
    """
    if folder is not None:
        write_about(folder / ABOUT, settings, resume)
    kept = Kept(None if folder is None else folder / TABLE, resume, Outcome._asdict, _of_row)
    took, fresh = complete(kept, judged, lost, settings, cases, minutes=minutes, executor=executor, progress=progress)
    return Campaign(settings, in_order(kept.outcomes), took, fresh)


def _of_row(row: dict[str, object]) -> Outcome:
    return Outcome(**{**row, "number": int(str(row["number"]))})  # type: ignore[arg-type]


def complete(
    kept: Kept[Numbered],
    work: Callable[[Job], Numbered],
    lost: Callable[[Job, BrokenExecutor], Numbered],
    settings: Settings,
    cases: int,
    *,
    minutes: float | None,
    executor: Executor | None,
    progress: Progress | None,
) -> tuple[float, int]:
    """Does the work on the first `cases` cases of a seed, but on those that are kept already. Outcomes are kept as they come.

    Returns: the seconds that it took, and how many cases it added.
    """
    start, done = time.monotonic(), {own.number for own in kept.outcomes}
    jobs = (Job(settings, number) for number in range(cases) if number not in done)
    fresh = 0
    with closing(as_done(work, jobs, executor, lost)) as outcomes:
        for job, outcome in outcomes:
            kept.add(outcome)
            fresh += 1
            if progress is not None:
                progress(len(kept.outcomes), cases, str(job))
            if minutes is not None and time.monotonic() - start > 60 * minutes:
                break
    return time.monotonic() - start, fresh


def in_order(outcomes: Iterable[Numbered]) -> tuple[Numbered, ...]:
    """The outcomes in the order of their numbers."""
    return tuple(sorted(outcomes, key=lambda own: own.number))


def write_about(path: Path, settings: Settings, resume: bool) -> None:
    """Write what the campaign is into its folder. Raises: ValueError if its table is another campaign's."""
    about = {**settings._asdict(), "subject": str(settings.subject), "kinds": list(settings.kinds)}
    if resume and path.exists():
        there = _read_about(path)
        if differ := [name for name in about if there.get(name) != about[name]]:
            kept, asked = (", ".join(f"{name} {_shown(side.get(name))}" for name in differ) for side in (there, about))
            raise ValueError(f"--resume expects the campaign of {path}, with {kept}, got {asked}")
    path.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def _read_about(path: Path) -> dict[str, Any]:
    """The settings of the campaign in a folder. Raises: ValueError if its file cannot be read or holds something else."""
    try:
        there = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"--resume expects a campaign in {path}, which cannot be read: {error}") from error
    if not isinstance(there, dict):
        raise ValueError(f"--resume expects a campaign in {path}, an object of JSON, got {type(there).__name__}")
    return there


def _shown(value: Any) -> str:
    return " and ".join(dict.fromkeys(map(str, value))) if isinstance(value, list) else str(value)
