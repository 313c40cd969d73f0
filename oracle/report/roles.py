"""Assigns a role to each row with a discrepancy: culprit, or consequence of another."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from oracle.blame.blame import Blame
from oracle.judging.rows import DISCREPANCIES, LOCAL

CULPRIT, CONSEQUENCE = "culprit", "consequence"


def roles(table: pd.DataFrame, blames: Iterable[Blame]) -> list[str]:
    """For each row "culprit", "consequence" or "".

    A discrepancy is a culprit if its layer and quantity are blamed in this case and dtype, at this step or another, or if it is
    wrong on its own inputs. Every other discrepancy is a consequence.
    """
    blamed = {(blame.case, blame.dtype, blame.layer, blame.quantity) for blame in blames}
    columns = (table[name].tolist() for name in ("case", "dtype", "layer", "quantity", "mode", "verdict"))
    return [
        ""
        if verdict not in DISCREPANCIES
        else CULPRIT
        if mode == LOCAL or (case, dtype, layer, quantity) in blamed
        else CONSEQUENCE
        for case, dtype, layer, quantity, mode, verdict in zip(*columns, strict=True)
    ]
