"""Finds arrays that stand in each other's place although their shapes differ, so that their elements cannot be compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from oracle.case.arrays import Array
from oracle.judging.figures import Expected
from oracle.judging.rows import WRONG, Row
from oracle.running_error import LAMBDA


def with_exchanged(rows: Sequence[Row], shown: Mapping[str, tuple[Array, Expected]]) -> list[Row]:
    """The rows. One of an array that has another's shape and right numbers says so as its cause.

    shown: by quantity, an array and what is expected of it.
    """
    return [_with_cause(row, shown) if row.verdict == WRONG and row.quantity in shown else row for row in rows]


def _with_cause(row: Row, shown: Mapping[str, tuple[Array, Expected]]) -> Row:
    got, due = shown[row.quantity]
    if got.shape == due.value.shape:
        return row
    for quantity, (_, other) in shown.items():
        if quantity != row.quantity and got.shape == other.value.shape and _is_within(got, other):
            return row.having(cause_name="another quantity", cause=f"it holds the {quantity}")
    return row


def _is_within(got: Array, due: Expected) -> bool:
    with np.errstate(all="ignore"):
        return bool((np.abs(got.astype(np.float64) - due.value) <= LAMBDA * due.sigma).all())
