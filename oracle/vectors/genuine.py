"""Compares stored expected values with refbp's. Impossible ones were changed after the export, or come from another version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from oracle.case.case import Case
from oracle.judging.comparison import ReferenceFailed
from oracle.judging.rows import DISCREPANCIES, FAILED, PASS, Row
from oracle.judging.verdict import compare
from oracle.running_error.model import Floats
from oracle.subjects import refbp
from oracle.trace import Key
from oracle.vectors.expected import STORED, ExpectedValue, expectations

# The most steps of a case that are computed again.
MOST_STEPS = 4
# The largest factor between a stored tolerance and refbp's. Another version may derive a somewhat different tolerance.
MOST_TIMES = 10


def impossible(case: Case, stored: Mapping[Key, ExpectedValue]) -> dict[Key, str]:
    """The quantities whose stored values cannot be right, with the reason; also those that are not stored."""
    try:
        own = expectations(replace(case, steps=min(case.steps, MOST_STEPS)), refbp)
    except ReferenceFailed as error:
        return dict.fromkeys(stored, f"refbp has no value to hold it against: {error}")
    found = {key: f"{key.layer} {key.quantity} is not stored" for key in own.keys() - stored.keys()}
    for key, expectation in own.items():
        if key in stored and (why := _why_not(case, key, stored[key], expectation)):
            found[key] = why
    return found


def failed(case: Case, key: Key, why: str) -> Row:
    """The row of a quantity whose stored values cannot be right; it says nothing about the results."""
    return Row(case.name, case.dtype, key.step, key.layer, "", key.quantity, STORED, FAILED, why)


def _why_not(case: Case, key: Key, stored: ExpectedValue, own: ExpectedValue) -> str:
    if own.expected.dtype.kind == "i" or stored.expected.dtype.kind == "i":
        same = np.array_equal(stored.expected, own.expected)
        return "" if same else f"the vectors expect {stored.expected}, refbp {own.expected}"
    row = Row(case.name, case.dtype, *key[:2], "", key.quantity, STORED, PASS)
    with np.errstate(over="ignore"):
        value = stored.expected.astype(case.dtype)
    row = compare(row, value, own.as_expected(), structured=True, no_terms=True)
    if row.verdict in DISCREPANCIES:
        return (
            f"the vectors cannot be right: they expect {row.got:.9g} at {row.worst_index}, "
            f"refbp {row.expected:.9g} ± {row.tolerance:.2g}"
        )
    for name in ("tolerance", "scale"):
        if not _alike(getattr(stored, name), getattr(own, name)):
            return f"the vectors cannot be right: their {name} is more than {MOST_TIMES} times or less than a tenth of refbp's"
    if not _reaches(stored, own):
        return "the vectors cannot be right: the range that they allow at kinks and ties is not refbp's"
    return ""


def _alike(one: Floats, other: Floats) -> bool:
    return bool(np.all((one <= MOST_TIMES * other) & (other <= MOST_TIMES * one)))


def _reaches(stored: ExpectedValue, own: ExpectedValue) -> bool:
    """Whether the range that the vectors allow in addition to the tolerance is at most as wide as refbp's."""
    widest = own.tolerance if own.flipped is None else own.flipped
    if stored.flipped is not None and not np.all(stored.flipped <= MOST_TIMES * widest):
        return False
    if stored.low is None or stored.high is None:
        return stored.low is stored.high
    low, high = (
        (own.expected - widest, own.expected + widest) if own.low is None or own.high is None else (own.low, own.high)
    )
    with np.errstate(invalid="ignore"):
        return bool(np.all(~(stored.high - stored.low > MOST_TIMES * (high - low + 2 * widest))))
