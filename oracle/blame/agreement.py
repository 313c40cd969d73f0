"""Compares the causes of a case in several dtypes: a cause has to fit in each dtype in which the same quantity is wrong."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TypeAlias

from oracle.blame.details import Detail, RowKey, place_of
from oracle.judging.rows import LOCAL, WRONG, Row

Named: TypeAlias = tuple[str, str]  # a cause by name and in words
# Causes with a number that was fitted.
NUMBERED = ("factor", "rate", "momentum")
# The largest number of causes that a text names, and the words between two of them.
MOST_SAID, ANOTHER = 3, "; or: "
NUMBER = re.compile(r"-?\d+\.?\d*(?:e[-+]?\d+)?")
# The relative difference between a number that is fitted in float32 and the same number fitted in float64.
NEAR = 1e-3


def in_words_of(causes: Sequence[Named]) -> str:
    return ANOTHER.join(words for _, words in causes[:MOST_SAID])


def agreed(rows: Sequence[Row], details: Iterable[Detail]) -> list[Row]:
    """The rows; if a quantity of a case is wrong in several dtypes, with the causes that fit in all of them.

    It considers only rows whose cause was searched for, and found in at least one dtype. If no cause fits in all, none is named,
    and the text says which fits where.
    """
    fitting = {detail.place: detail.causes for detail in details}
    found: dict[tuple[str, str, str], dict[str, Row]] = {}
    for row in rows:
        searched = fitting.get(place_of(row)) if row.verdict == WRONG and row.mode == LOCAL and row.cause else None
        if searched is not None and row.cause_name in ("", *dict(searched)):  # not one that was known without a search
            found.setdefault((row.case, row.layer, row.quantity), {}).setdefault(row.dtype, row)
    changed: dict[RowKey, Row] = {}
    for own in found.values():
        causes = {dtype: fitting[place_of(row)] for dtype, row in own.items()}
        if len(own) > 1 and any(causes.values()):
            changed |= {place_of(row): _with_common(row, causes) for row in own.values()}
    return [changed.get(place_of(row), row) if changed else row for row in rows]


def _with_common(row: Row, causes: dict[str, tuple[Named, ...]]) -> Row:
    own, others = causes[row.dtype], [there for dtype, there in causes.items() if dtype != row.dtype]
    common = [cause for cause in own if all(any(_alike(cause, other) for other in there) for there in others)]
    if common:
        return replace(row, cause_name=common[0][0], cause=in_words_of(common))
    if not own:
        return row
    without = [dtype for dtype, there in causes.items() if not any(_alike(own[0], other) for other in there)]
    return replace(row, cause_name="", cause=f"no known one: {own[0][1]}, but not in {' and '.join(without)}")


def _alike(one: Named, other: Named) -> bool:
    """Whether two texts are equal except for the last digits of fitted numbers."""
    if one[0] not in NUMBERED:
        return one == other
    first, second = (list(map(float, NUMBER.findall(words))) for _, words in (one, other))
    near = len(first) == len(second) and all(abs(a - b) <= NEAR * abs(a) for a, b in zip(first, second, strict=True))
    return one[0] == other[0] and near
