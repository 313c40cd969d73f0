"""The runs of one folder in order: how the largest z and the effective bits of each family changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from oracle.judging.rows import CONVENTION
from oracle.report.report import Report, ReportError, load_report

# The least number of elements whose effective bits are not a matter of chance.
FEWEST_ELEMENTS = 64


@dataclass(frozen=True)
class FamilyHistory:
    """The figures of a family in each run; NaN if a run has no such case.

    Attributes:
        z: the largest z of each run.
        bits: the fewest effective bits in float32 of a quantity with at least FEWEST_ELEMENTS elements.
    """

    family: str
    z: tuple[float, ...]
    bits: tuple[float, ...]


def load_history(folder: Path | str) -> list[tuple[str, Report]]:
    """The reports in a folder's subfolders, by name, in the order of their names.

    Raises: ReportError if there is none, or one is damaged.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ReportError(f"{folder} is not a folder of reports")
    found = sorted(path.parent for path in folder.glob("*/report.json"))
    if not found:
        raise ReportError(f"{folder} holds no reports: subfolders that `oracle run --out` wrote are expected")
    return [(path.name, load_report(path)) for path in found]


def histories(tables: Sequence[pd.DataFrame]) -> list[FamilyHistory]:
    """The figures of each family over the runs' tables; families in the order of their first occurrence."""
    z, bits = [_largest_z(table) for table in tables], [_least_bits(table) for table in tables]
    families = dict.fromkeys(family for run in z for family in run)
    nan = float("nan")
    return [
        FamilyHistory(family, tuple(run.get(family, nan) for run in z), tuple(run.get(family, nan) for run in bits))
        for family in families
    ]


def _families(table: pd.DataFrame) -> pd.Series[str]:
    return table["case"].str.split("/").str[0]


def _largest_z(table: pd.DataFrame) -> dict[str, float]:
    judged = table.assign(family=_families(table), z_max=table["z_max"].where(table["verdict"] != CONVENTION))
    return {str(family): float(z) for family, z in judged.groupby("family", sort=False)["z_max"].max().items()}


def _least_bits(table: pd.DataFrame) -> dict[str, float]:
    rows = table[(table["dtype"] == "float32") & (table["n"] >= FEWEST_ELEMENTS) & (table["verdict"] != CONVENTION)]
    least = rows.assign(family=_families(rows)).groupby("family", sort=False)["effective_bits"].min()
    return {str(family): float(bits) for family, bits in least.items()}
