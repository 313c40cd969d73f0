"""Errors found in implementations, so that a run shows them as what they are and goes on meaning something.

Each is written up, with a reproducer, under reports/findings/.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import NamedTuple

from oracle.judging.verdict import CONVENTION, DISCREPANCIES, Row


class Finding(NamedTuple):
    """A known error: where it shows, and the largest relative difference between finite values that it explains.

    A crash has no layer type and no quantity; `cases` is a pattern that says where it is known; `infinite`: it explains
    a NaN or an infinity on one side too.
    """

    implementation: str
    layer_type: str
    quantity: str
    dtypes: tuple[str, ...]
    max_rel: float
    report: str
    cases: str = "*"
    infinite: bool = False


BOTH = ("float64", "float32")
FINDINGS = (
    Finding("torch", "Hardsigmoid", "grad_input", ("float64",), 2.0**-24, "torch-hardsigmoid-float64"),
    Finding("torch", "PoissonNLLLoss", "grad.target", BOTH, 2.0**-20, "torch-poisson-nll-target", infinite=True),
    Finding("torch", "KLDivLoss", "grad.target", BOTH, 2.0**-20, "kl-div-target-zero", infinite=True),
    Finding("torch", "GELU", "output", ("float32",), 2.0**-20, "torch-gelu-infinity", "nonfinite/GELU", infinite=True),
    Finding("torch", "", "", BOTH, 0.0, "torch-empty-pixel-shuffle", "batch/Pixel*huffle,batch=0"),
)


def mark_known(rows: Iterable[Row], implementations: set[str]) -> None:
    """A discrepancy that a known finding about one of these implementations explains is a `convention` that names it."""
    for row in rows:
        if row.verdict not in DISCREPANCIES:
            continue
        for finding in FINDINGS:
            if finding.implementation in implementations and explains(finding, row):
                row.verdict = CONVENTION
                row.diagnosis = f"known error of {finding.implementation}: reports/findings/{finding.report}.md"


def explains(finding: Finding, row: Row) -> bool:
    place = (row.layer_type, row.quantity) == (finding.layer_type, finding.quantity) and row.dtype in finding.dtypes
    if not (place and fnmatchcase(row.case, finding.cases)):
        return False
    crash = finding.layer_type == ""  # without a difference
    return crash or (row.max_rel <= finding.max_rel and (finding.infinite or row.max_abs < math.inf))
