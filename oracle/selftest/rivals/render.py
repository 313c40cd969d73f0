"""Renders the comparison with other tools' rules as Markdown."""

from __future__ import annotations

import pandas as pd

from oracle.report.markdown import table
from oracle.selftest.rivals.rules import ALL, FORWARD, GRADCHECK, RULES
from oracle.selftest.rivals.score import DTYPES, ORACLE, Rivalry
from oracle.wording.figures import counted

LIMITS = (
    "Both sets are this project's own: its planted bugs, some of them as small as 1e-3 in float32 and 1e-9 in float64, and its "
    "legal variants, which add up in other orders. Each rule is as its file states it, and is applied to all that its tool "
    "looks at. None was made for bugs as small as these, and those that look at outputs alone cannot see a wrong gradient. "
    "A variant counts as accused where the rule refuses anything that it looks at. In bfloat16 there are only layers and losses "
    "by themselves: computed in float32 from bfloat16's numbers and stored in bfloat16, as kernels do, where the bug then still "
    "changes a bit. This choice was made after results had been seen: bugs that bfloat16 hides counted as missed before."
)


def markdown(result: Rivalry, about: str) -> str:
    parts = [
        "# The same bugs by the rules of other tools",
        about,
        table(summary_table(result)),
        LIMITS,
        "## All rules",
        table(result.table()),
        "## Where another rule does as well",
        as_good(result),
        "## What each looks at",
        table(looked_at()),
    ]
    return "\n\n".join(parts) + "\n"


def summary_table(result: Rivalry) -> pd.DataFrame:
    """One line per dtype: the bugs missed and variants accused, by oracle and by the nearest other rule."""
    lines = []
    for dtype in (own for own in DTYPES if result.count(ORACLE, True, own)[1]):
        bugs, legal = (result.count(ORACLE, is_bug, dtype)[1] for is_bug in (True, False))
        said = []
        for name in (ORACLE, _nearest(result, dtype)):
            caught, seen = result.count(name, True, dtype)
            wrongly, tried = result.count(name, False, dtype)
            of = "" if (seen, tried) == (bugs, legal) else f" (of {seen:,} and {tried:,} that it looks at)"
            said.append(f"{name} misses {seen - caught:,} and accuses {wrongly:,}{of}")
        lines.append(
            (f"{dtype}: {counted(bugs, 'bug')}, {counted(legal, 'legal variant')}", "; the nearest rule, ".join(said))
        )
    return pd.DataFrame(lines, columns=["", "result"])


def _nearest(result: Rivalry, dtype: str) -> str:
    """The rule of another tool with the smallest sum of two shares: bugs missed, and variants accused."""

    def wrong(name: str) -> float:
        caught, bugs = result.count(name, True, dtype)
        wrongly, legal = result.count(name, False, dtype)
        return (bugs - caught) / bugs + wrongly / max(legal, 1)

    names = [name for name in (*(rule.name for rule in RULES), GRADCHECK) if result.count(name, True, dtype)[1]]
    return min(names, key=wrong, default="")


def as_good(result: Rivalry) -> str:
    """The rules that miss no more bugs than oracle, by dtype, and whether they accuse more variants."""
    lines = []
    for dtype in DTYPES:
        own_missed = _missed(result, ORACLE, dtype)
        own_accused = result.count(ORACLE, False, dtype)[0]
        for name in [*(rule.name for rule in RULES), GRADCHECK]:
            caught, bugs = result.count(name, True, dtype)
            if bugs and bugs - caught <= own_missed and result.count(name, False, dtype)[0] <= own_accused:
                lines.append(f"- {dtype}: {name} misses and accuses as few")
            elif bugs and bugs - caught <= own_missed:
                lines.append(f"- {dtype}: {name} misses as few, and accuses {result.count(name, False, dtype)[0]}")
    return "\n".join(lines) or "Nowhere, on these two sets."


def _missed(result: Rivalry, rule: str, dtype: str) -> int:
    caught, bugs = result.count(rule, True, dtype)
    return bugs - caught


def looked_at() -> pd.DataFrame:
    def what(kinds: frozenset[str]) -> str:
        return (
            "everything"
            if kinds == ALL
            else "outputs"
            if kinds == FORWARD
            else " and ".join(sorted(kinds, reverse=True))
        )

    rows = [(rule.name, what(rule.looks_at), "all" if rule.steps is None else "the first") for rule in RULES]
    rows.append((GRADCHECK, "derivatives against differences of the same forward pass, float64 only", "the first"))
    return pd.DataFrame(rows, columns=["rule", "looks at", "steps"])
