"""Makes the texts of a report safe to show: visible characters only, since names, reasons and messages may come from anywhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pandas as pd

from oracle.blame.details import Detail, RowKey
from oracle.judging.rows import Row
from oracle.report.about import About
from oracle.wording.errors import visible

TEXTS = tuple(field.name for field in fields(Row) if field.type == "str")
# The first characters of a cell that a spreadsheet takes for a formula.
FORMULA = ("=", "+", "-", "@", "\t", "\r")


def visible_rows(rows: Iterable[Row]) -> Iterator[Row]:
    for row in rows:
        strange: dict[str, Any] = {
            name: visible(text) for name in TEXTS if not (text := str(getattr(row, name))).isprintable()
        }
        yield replace(row, **strange) if strange else row


def visible_details(details: Iterable[Detail]) -> Iterator[Detail]:
    for detail in details:
        own = detail.place
        texts = {name: visible(str(getattr(own, name))) for name in RowKey._fields if name != "step"}
        yield replace(detail, place=RowKey(step=own.step, **texts))


def visible_about(about: About) -> About:
    return replace(about, **{own.name: _visible(getattr(about, own.name)) for own in fields(about)})


def _visible(value: Any) -> Any:
    """A text, or every text in a tuple, in visible characters."""
    if isinstance(value, tuple):
        return tuple(map(_visible, value))
    return visible(value) if isinstance(value, str) else value


def visible_values(value: Any) -> Any:
    """Plain JSON values with every text, also every name, in visible characters."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, Mapping):
        return {visible(str(key)): visible_values(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [visible_values(item) for item in value]
    return value


def for_spreadsheets(table: pd.DataFrame) -> pd.DataFrame:
    """The table with texts that spreadsheets do not take for formulas."""

    def harmless(values: pd.Series[Any]) -> pd.Series[Any]:
        codes, words = pd.factorize(values, use_na_sentinel=False)
        made = [f"'{word}" if isinstance(word, str) and word.startswith(FORMULA) else word for word in words]
        return pd.Series(np.array(made, object)[codes], values.index, object)

    return table.assign(
        **{str(name): harmless(values) for name, values in table.items() if values.dtype.kind not in "biuf"}
    )
