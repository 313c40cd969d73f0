"""Tells rounding errors of a function from mistakes in its formula, by calls with other numbers and in another dtype."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from oracle.case.arrays import Array, cast
from oracle.judging.patterns import stays
from oracle.judging.rows import DISCREPANCIES, WRONG, Row
from oracle.judging.verdict import in_16_bits, resembled
from oracle.ops.expect import Quantity
from oracle.programs.execution import NARROW
from oracle.running_error.model import ROUNDOFF
from oracle.suite.build import generator

# The largest difference between the bits that a formula loses in two dtypes.
ALIKE = 4.0
CANCELS = " loses about as many digits: the formula cancels them"
CANCELLED = "digits cancel in its formula, and not in the reference's"


class Called(Protocol):
    """A call of a function, and what was expected of it.

    Attributes:
        upstream: the gradient of the output, a tuple of them for several outputs, or None for a random one.
        shown: what the function gave, and what is expected, by quantity.
    """

    @property
    def name(self) -> str: ...
    @property
    def dtype(self) -> str: ...
    @property
    def arrays(self) -> Mapping[str, Array]: ...
    @property
    def upstream(self) -> Any: ...
    @property
    def shown(self) -> Mapping[str, tuple[Array, Quantity]]: ...

    def after(self, **changes: Any) -> tuple[Called, list[Row]] | None:
        """Another call with other arrays, or in another dtype, and its rows; None if it does not run there."""


def held_against_others(call: Called, rows: list[Row], upstream: Any) -> list[Row]:
    """The rows; `wrong` in place of `imprecise` where errors come from a formula, and not from a lower precision."""
    in_formula = {**_digits_lost_in_float64(call, rows), **_errors_that_stay(call, rows, upstream)}
    return [
        row.found(WRONG, in_formula[row.quantity]) if resembled(row) and row.quantity in in_formula else row
        for row in rows
    ]


def told_from_rounding(call: Called, rows: list[Row]) -> list[Row]:
    """The rows. A wrong one says that its formula loses digits if its errors in another dtype are smaller or larger by as much as
    the roundoff is; in 16 bits it is imprecise. A mistake is about as large in any dtype."""
    wrong = {row.quantity for row in rows if row.verdict == WRONG and row.n_outside and not row.diagnosis}
    wrong = {own for own in wrong if own in call.shown and _is_small(*call.shown[own])}
    dtype = {"float64": "float32", "float32": "float64"}.get(call.dtype, "float32")
    found = _in_dtype(call, dtype) if wrong else None
    if found is None:
        return rows
    other, _ = found
    due = math.log2(ROUNDOFF[call.dtype] / ROUNDOFF[dtype])

    def told(row: Row) -> Row:
        if row.quantity not in wrong or row.quantity not in other.shown:
            return row
        here, there = (_error_size(*own.shown[row.quantity]) for own in (call, other))
        if not here or not there or abs(math.log2(here / there) - due) > ALIKE:
            return row
        if row.dtype in NARROW:
            row = in_16_bits(row)
            return row.having(cause_name="precision", cause=row.diagnosis)
        return row.having(diagnosis=f"{dtype}{CANCELS}", cause_name="cancellation", cause=CANCELLED)

    return [told(row) for row in rows]


def _digits_lost_in_float64(call: Called, rows: Sequence[Row]) -> dict[str, str]:
    """A diagnosis for each quantity that loses about as many bits in float64. A lower precision would leave as many."""
    arrays = {name: cast(array, "float64") for name, array in call.arrays.items()}
    again = None if call.dtype == "float64" else call.after(arrays=arrays, dtype="float64")
    if again is None:
        return {}
    found = {row.quantity: row for row in again[1]}

    def lost(row: Row) -> float:
        return -math.log2(ROUNDOFF[row.dtype]) - row.effective_bits

    return {
        row.quantity: f"float64{CANCELS}"
        for row in rows
        if resembled(row) and (same := found.get(row.quantity)) is not None and same.verdict in DISCREPANCIES
        if abs(lost(row) - lost(same)) <= ALIKE
    }


def _errors_that_stay(call: Called, rows: Sequence[Row], upstream: Any) -> dict[str, str]:
    """A diagnosis for each quantity whose errors stay when its numbers change by more than a lower precision rounds."""
    shift = 4 * max(resembled(row) or 0.0 for row in rows)
    again = call.after(**_moved(call, upstream, "others", shift, call.dtype))
    if again is None:
        return {}

    def errors(own: Called, quantity: str) -> Array:
        got, due = own.shown[quantity]
        with np.errstate(all="ignore"):
            return np.asarray((got.astype(np.float64) - due.value) / due.sigma)

    return {
        row.quantity: "its errors stay the same where the numbers change by more than a lower precision rounds them"
        for row in rows
        if resembled(row)
        and row.quantity in again[0].shown
        and stays(errors(call, row.quantity), errors(again[0], row.quantity))
    }


def _in_dtype(call: Called, dtype: str) -> tuple[Called, list[Row]] | None:
    """A call in another dtype. Its numbers use all digits of it: sums of numbers with few digits are exact."""
    return call.after(**_moved(call, call.upstream, "digits", ROUNDOFF[call.dtype], dtype), dtype=dtype)


def _moved(call: Called, upstream: Any, key: str, shift: float, dtype: str) -> dict[str, Any]:
    """The arrays and the upstream gradient in this dtype, each number changed by up to a share `shift` of itself."""
    random = generator(f"program/{call.name}/{key}")

    def moved(array: Any) -> Any:
        if array is None or array.dtype.kind in "biu":
            return array
        changed = array * (1 + shift * random.uniform(-1, 1, array.shape))
        return changed.astype(array.dtype) if dtype == call.dtype else cast(changed, dtype)

    arrays = {name: moved(array) for name, array in call.arrays.items()}
    return {
        "arrays": arrays,
        "upstream": tuple(map(moved, upstream)) if isinstance(upstream, tuple) else moved(upstream),
    }


def _is_small(got: Array, due: Quantity) -> bool:
    """Whether errors leave half of the digits or more, so that rounding may have caused them."""
    value = due.value[np.isfinite(due.value)]
    most = float(np.sqrt(np.mean(np.square(value)) * ROUNDOFF[due.dtype])) if value.size else 0.0
    return 0 < _error_size(got, due) <= most


def _error_size(got: Array, due: Quantity) -> float:
    """The root mean square of the finite errors; 0 if there are none, or other shapes."""
    if got.shape != due.value.shape:
        return 0.0
    errors = got.astype(np.float64) - due.value
    errors = errors[np.isfinite(errors)]
    return float(np.sqrt(np.mean(np.square(errors)))) if errors.size else 0.0
