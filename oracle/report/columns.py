"""The columns of a report's tables: the kind of value in each, and how every form of a report shows it.

A figure that is added to `Row` appears in the table, the files and the page by itself; an entry here sets its label and drawing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from oracle.judging.rows import Row
from oracle.report.case_line import CaseLine
from oracle.wording.figures import exact_share, figure

# The kinds of values in a column, which decide how many digits are shown.
TEXT, COUNT, FIGURE = "text", "count", "figure"
SHARE, COSINE = "share", "cosine"  # their distance from 1 matters
MEASURED = "measured"  # as many digits as the tolerance beside it leaves
KINDS = {"str": TEXT, "tuple[int, ...]": TEXT, "int": COUNT, "float": FIGURE}


@dataclass(frozen=True)
class Column:
    """How a column is shown.

    Attributes:
        kind: TEXT, COUNT, FIGURE, SHARE, COSINE or MEASURED.
        width: in the page's table, in pixels; 0 for a column that is only filtered by and downloaded.
        label: its name beside a single quantity; empty if it is not shown there.
        drawn: its name in the plot by depth; empty if it is not offered there.
        is_logarithmic: whether that plot is logarithmic.
    """

    name: str
    kind: str
    width: int
    label: str = ""
    drawn: str = ""
    is_logarithmic: bool = False


# The columns in the order of the page's table. A column that is in `Row` and not here follows at the end.
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
    Column("digits_left", FIGURE, 84, "digits left", "digits that rounding leaves"),
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
    """A column for each attribute of a row class, in order: as SHOWN says, else by the attribute's type."""
    said = {column.name: column for column in SHOWN}
    return tuple(said.get(own.name) or _usual(own.name, KINDS[str(own.type)]) for own in fields(row))


def _usual(name: str, kind: str) -> Column:
    return Column(name, kind, 120 if kind == TEXT else 90, name.replace("_", " "))


COLUMNS, CASE_COLUMNS = columns_of(Row), columns_of(CaseLine)
# The columns of the page's table, in its order.
PAGE_COLUMNS = (*SHOWN, *(column for column in COLUMNS if column not in SHOWN))
NAMED = {column.name: column for column in (*PAGE_COLUMNS, *CASE_COLUMNS)}


def names(columns: Sequence[Column], *kinds: str) -> list[str]:
    """The names of the columns, or only of those of the given kinds."""
    return [column.name for column in columns if not kinds or column.kind in kinds]


def written(value: Any, name: str) -> str:
    """The text for a value of the column of this name; for a column that no report has, the value itself as text."""
    kind = NAMED[name].kind if name in NAMED else TEXT
    if kind == SHARE:  # 1 only where it is exactly that
        return exact_share(value)
    return figure(value) if kind == FIGURE else str(value)
