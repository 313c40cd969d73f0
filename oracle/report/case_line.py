"""A line of the table of cases."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CaseLine:
    """A case in one precision: its verdict, who is blamed, or why it was not judged, and its largest figures.

    Attributes:
        family: the case's name before the slash.
        verdict: the gravest of its rows.
        layer, quantity: of the first culprit; empty where there is none.
        rows, undecided: how many there are.
        decided: share of all elements whose tolerance is narrow enough.
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
