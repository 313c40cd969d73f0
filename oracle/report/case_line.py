"""A row of the table of cases."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CaseLine:
    """A case in one dtype: its verdict, the culprit or why it was not judged, and its largest figures.

    Attributes:
        family: the case's name before the slash.
        verdict: the gravest verdict of its rows.
        layer, quantity: those of the first culprit, or the first place that was not judged; empty if there is neither.
        rows, undecided: the number of rows, and of undecided rows.
        decided: the share of elements whose tolerance is narrow enough to decide something.
        seconds: wall time.
    """

    case: str
    dtype: str
    family: str
    verdict: str
    layer: str
    quantity: str
    diagnosis: str
    rows: int
    undecided: int
    z_max: float
    bound_ratio: float
    decided: float
    seconds: float
