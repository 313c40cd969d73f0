"""The columns of a report's tables: what each holds, and how every form of a report shows it.

A figure that is added to `Row` is in the table, in its files and in the page without a word here; a line here says how it is
called and drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from oracle.judging.rows import Row
from oracle.report.case_line import CaseLine
from oracle.wording.figures import exact_share, figure

# What a column holds, by which its digits are chosen.
TEXT, COUNT, FIGURE = "text", "count", "figure"
SHARE, COSINE = "share", "cosine"  # their distance from 1 is what they say
MEASURED = "measured"  # as many digits as the tolerance beside it leaves
KINDS = {"str": TEXT, "tuple[int, ...]": TEXT, "int": COUNT, "float": FIGURE}


@dataclass(frozen=True)
class Column:
    """A column as it is shown.

    Attributes:
        kind: TEXT, COUNT, FIGURE, SHARE, COSINE or MEASURED.
        width: in the page's table, in pixels; 0 where the column is there to filter by and to download alone.
        label: what it is called beside a single quantity; empty where it is not shown there.
        drawn: what it is called where it is drawn along depth; empty where it is not offered.
        is_logarithmic: how it is drawn.
    """

    name: str
    kind: str
    width: int
    label: str = ""
    drawn: str = ""
    is_logarithmic: bool = False


# In the order of the page's table. One that is in `Row` and not here follows at its end.
SHOWN = (
    Column("case", TEXT, 250),
    Column("dtype", TEXT, 66),
    Column("step", COUNT, 46),
    Column("layer", TEXT, 130),
    Column("layer_type", TEXT, 110),
    Column("quantity", TEXT, 120),
    Column("mode", TEXT, 88),
    Column("verdict", TEXT, 92, "verdict"),
    Column("role", TEXT, 96),  # the page's own, see `oracle.report.roles`
    Column("z_max", FIGURE, 70, "largest z", "largest z", True),
    Column("max_abs", FIGURE, 76, "largest error", "largest absolute error", True),
    Column("max_rel", FIGURE, 76, "relative", "largest relative error", True),
    Column("max_ulp", FIGURE, 76, "in ulp", "largest error in ulp", True),
    Column("effective_bits", FIGURE, 104, "effective bits", "effective bits"),
    Column("bound_ratio", FIGURE, 92, "of the bound", is_logarithmic=True),
    Column("n", COUNT, 66),
    Column("n_outside", COUNT, 78, "outside"),
    Column("shape", TEXT, 96, "shape"),
    Column("worst_index", TEXT, 96, "worst at"),
    Column("got", MEASURED, 150, "got"),
    Column("expected", MEASURED, 150, "expected"),
    Column("tolerance", FIGURE, 80, "± tolerance"),
    Column("z_rms", FIGURE, 70, "rms z", is_logarithmic=True),
    Column("cosine", COSINE, 66, "cosine"),
    Column("decided", SHARE, 66, "decided"),
    Column("diagnosis", TEXT, 420),
    Column("cause", TEXT, 420),
    Column("cause_name", TEXT, 120),
    Column("n_ambiguous", COUNT, 0),
    Column("n_adopted", COUNT, 0),
)


def columns_of(row: type) -> tuple[Column, ...]:
    """A column for each attribute of a kind of row, in their order: as SHOWN, else as its type is usually shown."""
    said = {column.name: column for column in SHOWN}
    return tuple(said.get(own.name) or _usual(own.name, KINDS[str(own.type)]) for own in fields(row))


def _usual(name: str, kind: str) -> Column:
    return Column(name, kind, 120 if kind == TEXT else 90, name.replace("_", " "))


COLUMNS, CASE_COLUMNS = columns_of(Row), columns_of(CaseLine)
# Those of the page's table, in its order.
PAGE_COLUMNS = (*SHOWN, *(column for column in COLUMNS if column not in SHOWN))
NAMED = {column.name: column for column in (*PAGE_COLUMNS, *CASE_COLUMNS)}


def names(columns: Sequence[Column], *kinds: str) -> list[str]:
    """Their names; of some kinds alone where these are given."""
    return [column.name for column in columns if not kinds or column.kind in kinds]


def written(value: Any, name: str) -> str:
    """A value of the column of this name, for people; of a column that is none of a report's as it is."""
    kind = NAMED[name].kind if name in NAMED else TEXT
    if kind == SHARE:  # 1 only where it is exactly that
        return exact_share(value)
    return figure(value) if kind == FIGURE else str(value)
