"""Reads a report's files. They may come from somebody else, so the type of every value is checked."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from oracle.blame import details
from oracle.blame.blame import Blame
from oracle.blame.details import MOST_PER_REPORT, Detail, RowKey
from oracle.case.arrays import SPECIAL
from oracle.case.files import MIB, parsed, read
from oracle.exchange.numbers import shown, unspelled
from oracle.judging.rows import END_TO_END, GRAVITY, LOCAL, Row
from oracle.judging.training import TrainingRun
from oracle.report.about import NAMES, About
from oracle.report.case_line import CaseLine
from oracle.report.columns import CASE_COLUMNS, COLUMNS, names
from oracle.report.coverage import Coverage
from oracle.report.described import Described
from oracle.report.plain_text import TEXTS, visible_values

FORMAT = 2
# Figures that earlier reports of this format lack.
LATER = ("digits_left",)
MOST_ROWS, MOST_BYTES = 20_000_000, 1024 * MIB
KINDS: dict[str, tuple[type, ...]] = {
    "str": (str,), "int": (int,), "float": (float, int), "bool": (bool,), "None": (type(None),)
}  # fmt: skip


class Parts:
    """The contents of a folder. Raises: OSError, ValueError, and any error of a library for a damaged file."""

    def __init__(self, folder: Path) -> None:
        kept = parsed(read(folder / "report.json", MOST_BYTES, inside=folder))
        if not isinstance(kept, dict):
            raise ValueError(f"report.json is not an object but {shown(kept)}")
        if kept.get("format") != FORMAT:
            raise OtherFormat(kept.get("format"))
        self.about = _about(visible_values(kept["environment"]))
        self.table = _table(read(folder / "table.parquet", MOST_BYTES, inside=folder))
        self.cases = _cases([unspelled(visible_values(record), SPECIAL) for record in kept["cases"]])
        self.blame = [_made(Blame, record) for record in visible_values(kept["blame"])]
        self.training = [_made(TrainingRun, unspelled(record, SPECIAL)) for record in visible_values(kept["training"])]
        self.details = _details(folder, visible_values(kept.get("details", [])))
        told = visible_values(kept.get("described", {}))
        self.described = {case: _made(Described, record) for case, record in told.items()}
        self.coverage = _coverage(visible_values(kept["coverage"])) if "coverage" in kept else Coverage()


class OtherFormat(Exception):
    """The report has another format version."""


def _about(kept: Any) -> About:
    """The description of the run; attributes that only a later version knows are skipped."""
    if not isinstance(kept, dict):
        raise ValueError(f"its environment is not an object but {shown(kept)}")
    values = {own: kept[name] for own, name in NAMES.items() if name in kept}
    lacking = [own.name for own in fields(About) if own.default is MISSING and own.name not in values]
    if lacking:
        raise ValueError(f"they lack {', '.join(lacking)}")
    versions = values.get("versions", {})
    if not isinstance(versions, dict):
        raise ValueError(f"its environment's versions are {shown(versions)}")
    values["versions"] = list(versions.items())
    return About(**_fitting(About, values, "its environment's"))


def _table(data: bytes) -> pd.DataFrame:
    file = pq.ParquetFile(io.BytesIO(data), pre_buffer=False)
    held = file.metadata
    size = sum(held.row_group(number).total_byte_size for number in range(held.num_row_groups))
    if held.num_rows > MOST_ROWS or size > MOST_BYTES or held.num_columns > 4 * len(COLUMNS):
        raise ValueError("its table is larger than any report's")
    # Without threads: where one is still starting when the process ends, the process aborts.
    table: pd.DataFrame = file.read(use_threads=False).to_pandas(use_threads=False)
    table = table.assign(**{name: math.nan for name in LATER if name not in table})
    lacking = [name for name in names(COLUMNS) if name not in table]
    if lacking:
        raise ValueError(f"they lack {', '.join(lacking)}")
    for field in fields(Row):
        _check_column(table[field.name], str(field.type))
    _check_words(table, "verdict", GRAVITY)
    table = table[names(COLUMNS)]
    return table.assign(**{name: [visible_values(text) for text in table[name]] for name in TEXTS})


def _check_column(column: pd.Series[Any], kind: str) -> None:
    if column.empty:  # of no kind
        right = True
    elif kind in ("float", "int"):
        right = column.dtype.kind in ("iu" if kind == "int" else "fiu")
    else:
        right = all(isinstance(text, str) for text in column)
    if not right:
        raise ValueError(f"its table's column {column.name} holds {column.dtype}, expected {kind}")


def _check_words(table: pd.DataFrame, name: str, known: Mapping[str, Any]) -> None:
    strange = sorted(set(table[name]) - set(known))
    if strange:
        raise ValueError(f"its {name} {shown(strange[0])} is none of {', '.join(known)}")


def _cases(records: list[Any]) -> pd.DataFrame:
    known = names(CASE_COLUMNS)
    for record in records:
        if not isinstance(record, dict) or record.keys() != set(known):
            raise ValueError(f"its cases are objects with {', '.join(known)}, got {shown(record)}")
    table = pd.DataFrame([CaseLine(**_fitting(CaseLine, record, "a case's")) for record in records], columns=known)
    _check_words(table, "verdict", GRAVITY)
    return table


def _made(kind: Any, record: Any) -> Any:
    """A frozen dataclass from a record, each field checked for its type."""
    if not isinstance(record, dict):
        raise ValueError(f"a {kind.__name__} is an object, got {shown(record)}")
    made = kind(**_fitting(kind, record, f"a {kind.__name__}'s"))
    if isinstance(made, Blame) and made.verdict not in GRAVITY:
        raise ValueError(f"a culprit's verdict is {shown(made.verdict)}")
    return made


def _fitting(kind: Any, record: Mapping[str, Any], whose: str) -> dict[str, Any]:
    """The values of a record, lists as tuples. Raises: ValueError for one whose type is not the field's."""
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in record.items()}
    for field in fields(kind):
        if field.name in values and not _fits(values[field.name], str(field.type)):
            raise ValueError(f"{whose} {field.name.replace('_', ' ')} is {shown(values[field.name])}")
    return values


def _fits(value: Any, kind: str) -> bool:
    if kind.startswith("tuple["):
        inner = kind.removeprefix("tuple[").removesuffix("]").removesuffix(", ...")
        if not isinstance(value, tuple):
            return False
        if inner.startswith("tuple["):
            pair = inner.removeprefix("tuple[").removesuffix("]").split(", ")
            return all(
                isinstance(item, (tuple, list)) and len(item) == len(pair) and all(map(_fits, item, pair))
                for item in value
            )
        return all(_fits(item, inner) for item in value)
    return type(value) in {own for part in kind.split(" | ") for own in KINDS[part]}


def _coverage(kept: Any) -> Coverage:
    made = Coverage.of_json(kept)
    numbers = [getattr(made, field.name) for field in fields(Coverage) if field.name not in ("unjudged", "sample")]
    texts = [text for own in made.unjudged for text in own]
    if made.sample is not None:
        texts += [text for own in made.sample.tensors for text in own[:2]]
        numbers += [made.sample.seed, made.sample.drawn, made.sample.elements]
        numbers += [number for own in made.sample.tensors for number in own[2:]]
    if any(type(number) not in (int, float) for number in numbers) or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"its coverage is {shown(kept)}")
    return made


def _details(folder: Path, places: Any) -> tuple[Detail, ...]:
    if not isinstance(places, list) or len(places) > MOST_PER_REPORT:
        raise ValueError(f"its details are a list of at most {MOST_PER_REPORT} places, got {shown(places)}")
    kinds = (str, str, int, str, str, str)
    for place in places:
        if not isinstance(place, list) or tuple(map(type, place)) != kinds or place[-1] not in (LOCAL, END_TO_END):
            raise ValueError(f"a place is case, dtype, step, layer, quantity and mode, got {shown(place)}")
    if not places:
        return ()
    return details.load(read(folder / "details.npz", MOST_BYTES, inside=folder), [RowKey(*place) for place in places])
