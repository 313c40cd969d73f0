"""Pages of several runs: the comparison of two, and the history of many. They share the styles of a run's page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from oracle.judging.rows import PASS
from oracle.report.course_drawing import drawing
from oracle.report.diff import APPEARED, BETTER, VANISHED, WORSE, changes, got_worse
from oracle.report.history import histories
from oracle.report.html.templates import environment, text
from oracle.report.kinds import fault
from oracle.report.report import Report
from oracle.running_error import LAMBDA
from oracle.wording.figures import counted, figure

# The most groups of rows that a page lists.
MOST_CHANGES = 500
FACTS = ("subject", "reference", "date", "commit", "command", "python", "software", "blas", "processor", "declared")


def diff_page(before: tuple[str, Report], after: tuple[str, Report]) -> str:
    """The comparison of two named runs: which rows got worse, appeared, vanished and got better."""
    sides = before[1], after[1]
    found = changes(sides[0].table, sides[1].table)
    worse = got_worse(found)
    counts = {kind: sum(own.rows for own in found if own.kind == kind) for kind in (WORSE, APPEARED, VANISHED, BETTER)}
    said = [f"{counted(count, 'row')} {kind}" for kind, count in counts.items() if count]
    return _still(
        "diff.html.j2",
        title=f"{before[0]} → {after[0]}",
        outcome="something got worse" if worse else "nothing got worse",
        passed=not worse,
        lead=", ".join(said) or "no verdict differs",
        facts=list(_facts(before, after)),
        kinds=_kinds(*sides),
        families=list(_families(*sides)),
        changes=found[:MOST_CHANGES],
        changes_left=max(0, len(found) - MOST_CHANGES),
    )


def history_page(runs: Sequence[tuple[str, Report]]) -> str:
    """The history of named runs, the oldest first: the largest z and the effective bits of each family in each."""
    last = runs[-1][1]
    return _still(
        "history.html.j2",
        title=f"{counted(len(runs), 'run')}, {runs[0][0]} to {runs[-1][0]}",
        outcome=f"the last: {last.outcome}",
        passed=last.passed,
        lead="",
        threshold=f"{LAMBDA:g}",
        histories=[
            {
                "family": own.family,
                "z": own.z,
                "bits": own.bits,
                **{f"z_{end}": figure(own.z[place]) or "–" for end, place in (("first", 0), ("last", -1))},
                **{f"bits_{end}": figure(own.bits[place]) or "–" for end, place in (("first", 0), ("last", -1))},
                "z_drawn": drawing(own.z, [name for name, _ in runs], f"largest z of {own.family}", limit=LAMBDA),
                "bits_drawn": drawing(own.bits, [name for name, _ in runs], f"least effective bits of {own.family}"),
            }
            for own in histories([report.table for _, report in runs])
        ],
        runs=[
            {
                "name": name,
                "date": report.about.date,
                "commit": report.about.commit,
                "outcome": report.outcome,
                "cases": report.about.cases,
                "rows": len(report.table),
                "kinds": len(report.grouped),
                "subject": report.about.subject,
            }
            for name, report in runs
        ],
    )


def _still(template: str, **values: Any) -> str:
    """A page without embedded data: plain HTML, and a button that switches its colours."""
    return environment().get_template(template).render(styles=[text("page.css")], script=text("theme.js"), **values)


def _facts(before: tuple[str, Report], after: tuple[str, Report]) -> Iterator[tuple[str, str, str]]:
    yield "folder", before[0], after[0]
    yield "how it ended", before[1].outcome, after[1].outcome
    old, new = before[1].about, after[1].about
    for name in FACTS:
        shown = str(getattr(old, name)), str(getattr(new, name))
        if any(shown):
            yield name, *shown
    yield "dtypes", ", ".join(old.dtypes), ", ".join(new.dtypes)
    yield "cases", f"{old.cases:,}", f"{new.cases:,}"


def _kinds(before: Report, after: Report) -> list[dict[str, Any]]:
    """Every kind of either run with its counts; those that became more frequent come first."""
    sides = [{fault(kind.example): kind for kind in report.grouped} for report in (before, after)]
    made = []
    for key in dict.fromkeys((*sides[1], *sides[0])):
        own = sides[1].get(key) or sides[0][key]
        numbers = [len(side[key].culprits) if key in side else 0 for side in sides]
        example = own.example
        made.append(
            {
                "layer_type": example.layer_type,
                "quantity": example.quantity,
                "verdict": example.verdict,
                "cause": example.cause,
                "before": numbers[0],
                "after": numbers[1],
                "example": f"{example.case} ({example.dtype})",
                "reproduce": example.reproduce,
            }
        )
    return sorted(made, key=lambda kind: kind["before"] - kind["after"])


def _families(before: Report, after: Report) -> Iterator[dict[str, Any]]:
    tables = [report.families.set_index("family") for report in (before, after)]
    runs = [Counter(report.cases["family"]) for report in (before, after)]
    failing = [Counter(report.cases.loc[report.cases["verdict"] != PASS, "family"]) for report in (before, after)]
    for name in dict.fromkeys((*runs[0], *runs[1])):
        z = [float(table["z_max"][name]) if name in table.index else float("nan") for table in tables]
        counts = [*(own[name] for own in runs), *(own[name] for own in failing)]
        differs = counts[0] != counts[1] or counts[2] != counts[3]
        yield {"name": name, "counts": counts, "z": z, "differs": differs}
