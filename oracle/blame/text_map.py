"""Draws the positions of an error in a tensor in characters, for terminals, Markdown and exceptions."""

from __future__ import annotations

from itertools import zip_longest

from oracle.blame.details import Detail
from oracle.blame.maps import ErrorMap, coarse, maps

OUTSIDE, WITHIN = "█", "·"
MOST_ROWS, MOST_COLUMNS = 8, 24
MOST_MAPS = 2


def text_map(detail: Detail) -> str:
    """At most two maps side by side, a character per element or block; "" if they would show nothing.

    They show nothing if all elements are outside their tolerance, or none, or a single one, whose index is in the diagnosis.
    """
    outside = detail.ratio > 1
    if outside.sum() < 2 or outside.all():
        return ""
    telling = [found for found in maps(detail) if not (found.values > 1).all()]
    blocks = [_block(found) for found in telling[:MOST_MAPS]]
    widths = [max(map(len, block)) for block in blocks]
    lines = [
        "   ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
        for cells in zip_longest(*blocks, fillvalue="")
    ]
    return "\n".join(lines)


def _block(found: ErrorMap) -> list[str]:
    values = coarse(found.values, (MOST_ROWS, MOST_COLUMNS))
    return [found.title, *(" ".join(OUTSIDE if ratio > 1 else WITHIN for ratio in row) for row in values)]
