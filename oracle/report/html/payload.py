"""The data in a page: the table column by column, each packed as small as possible without losing a meaningful digit."""

from __future__ import annotations

import base64
import gzip
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd

from oracle.blame import maps
from oracle.blame.blame import Blame
from oracle.blame.details import Detail
from oracle.judging.training import TrainingRun
from oracle.report.columns import COUNT, FIGURE, MEASURED, NAMED, PAGE_COLUMNS, TEXT
from oracle.report.described import Described
from oracle.report.roles import roles
from oracle.wording.figures import measured, rounded


def shown() -> list[dict[str, Any]]:
    """How the page shows each column."""
    return [asdict(column) for column in PAGE_COLUMNS]


def packed(value: Any) -> str:
    """The value as compressed JSON in a text, which the page decompresses.

    Level 9 makes it 2 % smaller and takes three times as long.
    """
    text = json.dumps(value, allow_nan=False, separators=(",", ":"), ensure_ascii=False)
    return base64.b64encode(gzip.compress(text.encode(), mtime=0, compresslevel=6)).decode()


def columns(table: pd.DataFrame, blames: Iterable[Blame]) -> dict[str, Any]:
    """Each column as {"words", "codes"} or {"numbers"}; NaN is null, an infinity is a string."""
    table = table.assign(role=roles(table, blames))
    found: dict[str, Any] = {}
    tolerances = table["tolerance"].tolist()
    for column in (NAMED[str(name)] for name in table):
        values = table[column.name]
        if column.kind == TEXT:
            codes, words = pd.factorize(values)
            found[column.name] = {"words": [str(word) for word in words], "codes": codes.tolist()}
        elif column.kind == COUNT:
            found[column.name] = {"numbers": values.tolist()}
        elif column.kind == MEASURED:
            pairs = zip(values.tolist(), tolerances, strict=True)
            found[column.name] = {"numbers": [number(measured(value, tolerance)) for value, tolerance in pairs]}
        else:
            found[column.name] = {"numbers": _each_once(rounded if column.kind == FIGURE else share, values)}
    return found


def _each_once(change: Callable[[float], float], values: pd.Series[Any]) -> list[Any]:
    """The numbers of a column changed, each of those that come often once."""
    codes, different = pd.factorize(values)
    made = [*(number(change(value)) for value in different.tolist()), None]  # the last entry stands for NaN
    return [made[code] for code in codes.tolist()]


def share(value: float) -> float:
    """A share, rounded so that its distance from 1 keeps three digits."""
    return 1 - rounded(1 - value, 3) if math.isfinite(value) else value


def number(value: float) -> float | int | str | None:
    if math.isnan(value):
        return None
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return int(value) if value == int(value) and abs(value) < 2**53 else value


def numbers(values: Iterable[float], digits: int = 3) -> list[Any]:
    return [number(rounded(float(value), digits)) for value in values]


def details(kept: Sequence[Detail]) -> list[dict[str, Any]]:
    """For each detail its place and the data of its drawings."""
    return [
        {
            **detail.place._asdict(),
            "shape": list(detail.shape),
            "part": None if detail.is_whole else {"origin": list(detail.origin), "shape": list(detail.got.shape)},
            "maps": [
                {
                    "title": found.title,
                    "rows": found.rows,
                    "columns": found.columns,
                    "height": found.values.shape[0],
                    "width": found.values.shape[1],
                    "values": numbers(found.values.ravel()),
                }
                for found in maps.maps(detail)
            ],
            "histogram": asdict(maps.histogram(detail)) | {"edges": numbers(maps.EDGES)},
            "points": [numbers(values, 4) for values in maps.points(detail)],
            "worst": [_element(element) for element in maps.worst(detail)],
        }
        for detail in kept
    ]


def _element(element: maps.Element) -> dict[str, Any]:
    return {
        "index": list(element.index),
        "got": number(measured(element.got, element.tolerance)),
        "expected": number(measured(element.expected, element.tolerance)),
        "tolerance": number(rounded(element.tolerance)),
        "z": number(rounded(element.z)),
    }


def cases(told: Mapping[str, Described]) -> dict[str, Any]:
    """The description of each case, by name."""
    return {
        name: {"why": own.why, "layers": dict(own.layers), "loss": own.loss, "optimizer": own.optimizer}
        for name, own in told.items()
    }


def training(runs: Sequence[TrainingRun]) -> list[dict[str, Any]]:
    return [
        {
            "network": run.network,
            "subject": run.subject,
            "reference": run.reference,
            "parted": run.first_divergent_step,
            "gaps": numbers(run.gaps),
            "losses": [numbers(losses, 5) for losses in zip(*run.losses, strict=True)],
        }
        for run in runs
    ]
