"""Sentences that several forms of a report share."""

from __future__ import annotations

import pandas as pd

from oracle.report.table import branch_counts
from oracle.wording.figures import exact_share


def branches(rows: pd.DataFrame) -> str:
    """How many comparisons of the run were near kinks and ties."""
    compared, ambiguous, adopted = branch_counts(rows)
    share = exact_share(ambiguous / compared) if compared else "0 %"
    return (
        f"Branches end to end: {compared:,} compared, {ambiguous:,} ({share}) so near a kink or tie that rounding can flip "
        f"them, {adopted:,} decided otherwise by the subject and adopted."
    )


def milestones(steps: int) -> list[int]:
    """1, 10, 100, … and the last."""
    found = [10**power for power in range(len(str(steps))) if 10**power < steps]
    return [*found, steps] if steps else []
