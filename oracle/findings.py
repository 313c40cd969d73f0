"""Errors found in implementations, so that a run shows them as what they are and goes on meaning something.

Each is written up, with a reproducer, under reports/findings/.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from oracle.verdict import CONVENTION, DISCREPANCIES, Row


class Finding(NamedTuple):
    """A known error: where it shows, and the largest relative difference between finite values that it explains."""

    implementation: str
    layer_type: str
    quantity: str
    dtypes: tuple[str, ...]
    max_rel: float
    report: str


FINDINGS = (
    Finding("torch", "Hardsigmoid", "grad_input", ("float64",), 2.0**-24, "torch-hardsigmoid-float64"),
    Finding("torch", "PoissonNLLLoss", "grad.target", ("float64", "float32"), 2.0**-20, "torch-poisson-nll-target"),
)


def mark_known(rows: Iterable[Row], implementations: set[str]) -> None:
    """A discrepancy that a known finding about one of these implementations explains is a `convention` that names it."""
    for row in rows:
        if row.verdict not in DISCREPANCIES:
            continue
        for finding in FINDINGS:
            place = (row.layer_type, row.quantity) == (
                finding.layer_type,
                finding.quantity,
            ) and row.dtype in finding.dtypes
            if finding.implementation in implementations and place and row.max_rel <= finding.max_rel:
                row.verdict = CONVENTION
                row.diagnosis = f"known error of {finding.implementation}: reports/findings/{finding.report}.md"
