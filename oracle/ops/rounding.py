"""Tells rounding errors of a function from mistakes in its formula, by calls with other numbers and in another dtype."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from oracle.case.arrays import Array, cast
from oracle.judging.figures import Errors, infinite_for_nan
from oracle.judging.patterns import stays
from oracle.judging.rows import DISCREPANCIES, WRONG, Row
from oracle.judging.verdict import in_16_bits, resembled
from oracle.ops.expect import Quantity
from oracle.programs.execution import NARROW
from oracle.running_error.model import ROUNDOFF, Floats
from oracle.suite.build import generator

# The largest difference between the bits that a formula loses in two dtypes.
ALIKE = 4.0
STAY = "its errors stay the same where the numbers change by more than a lower precision rounds them"
CANCELS = " loses about as many digits: the formula is less exact than the reference's"
CANCELLED = (
    "its formula cancels digits, or rounds, where the reference's does not; "
    "if that is meant, give the same formula as the reference"
)


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
    lost, staying = _digits_lost_in_float64(call, rows), _errors_that_stay(call, rows, upstream)
    # The errors of a sum in 16 bits stay too where it stops growing, or where many elements have that of one sum.
    narrow = {row.quantity for row in rows if resembled(row)} - lost if call.dtype in NARROW else set()
    rounded = _roundings(call, narrow, "float32") if narrow else set()

    def told(row: Row) -> Row:
        if not resembled(row):
            return row
        if row.quantity in lost:
            return row.found(WRONG, f"float64{CANCELS}", cause_name="cancellation", cause=CANCELLED)
        if row.quantity in rounded and _is_small(*call.shown[row.quantity]):
            return row.having(cause_name="precision", cause=row.diagnosis)
        return row.found(WRONG, STAY) if row.quantity in staying else row

    return [told(row) for row in rows]


def told_from_rounding(call: Called, rows: list[Row]) -> list[Row]:
    """The rows. A wrong one says that its formula loses digits if its errors in another dtype are smaller or larger by as much as
    the roundoff is; in 16 bits it is imprecise, if it leaves half of the digits. A mistake is about as large in any dtype."""
    wanted = {row.quantity for row in rows if _is_unexplained(row)}
    wanted = {own for own in wanted if own in call.shown and _Sizes.of(*call.shown[own]) is not None}
    dtype = {"float64": "float32", "float32": "float64"}.get(call.dtype, "float32")
    rounded = _roundings(call, wanted, dtype) if wanted else set()

    def told(row: Row) -> Row:
        if row.quantity not in rounded or not _is_unexplained(row):
            return row
        if row.dtype in NARROW and _is_small(*call.shown[row.quantity]):
            row = in_16_bits(row)
            return row.having(cause_name="precision", cause=row.diagnosis)
        said = "; ".join(own for own in (row.diagnosis, f"{dtype}{CANCELS}") if own)
        return row.having(diagnosis=said, cause_name="cancellation", cause=CANCELLED)

    return [told(row) for row in rows]


def _is_unexplained(row: Row) -> bool:
    """Whether nothing is known of errors beyond a tolerance, or of those that are too large only together."""
    return row.verdict in DISCREPANCIES and row.z_max > 0 and (not row.n_outside or not row.diagnosis)


def _roundings(call: Called, quantities: set[str], dtype: str) -> set[str]:
    """Those quantities whose errors in another dtype are smaller or larger by about as much as the roundoff is."""
    found = _in_dtype(call, dtype)
    if found is None:
        return set()
    other, due = found[0], math.log2(ROUNDOFF[call.dtype] / ROUNDOFF[dtype])

    def scales(quantity: str) -> bool:
        if quantity not in other.shown:
            return False
        here, there = (_Sizes.of(*own.shown[quantity]) for own in (call, other))
        if here is None or there is None:
            return False
        in_units = _are_apart(here.in_units, there.in_units, 0.0)
        at_exact = here.at_exact == there.at_exact == 0 or _are_apart(here.at_exact, there.at_exact, due)
        return _are_apart(here.of_all, there.of_all, due) or (in_units and at_exact)

    return {own for own in quantities if scales(own)}


def _digits_lost_in_float64(call: Called, rows: Sequence[Row]) -> set[str]:
    """The quantities that lose about as many bits in float64. A lower precision would leave as many."""
    arrays = {name: cast(array, "float64") for name, array in call.arrays.items()}
    again = None if call.dtype == "float64" else call.after(arrays=arrays, dtype="float64")
    if again is None:
        return set()
    found = {row.quantity: row for row in again[1]}

    def lost(row: Row) -> float:
        return -math.log2(ROUNDOFF[row.dtype]) - row.effective_bits

    return {
        row.quantity
        for row in rows
        if resembled(row) and (same := found.get(row.quantity)) is not None and same.verdict in DISCREPANCIES
        if abs(lost(row) - lost(same)) <= ALIKE
    }


def _errors_that_stay(call: Called, rows: Sequence[Row], upstream: Any) -> set[str]:
    """The quantities whose errors stay when their numbers change by more than a lower precision rounds."""
    shift = 4 * max(resembled(row) or 0.0 for row in rows)
    again = call.after(**_moved(call, upstream, "others", shift, call.dtype))
    if again is None:
        return set()

    def errors(own: Called, quantity: str) -> Array:
        got, due = own.shown[quantity]
        with np.errstate(all="ignore"):
            return np.asarray((got.astype(np.float64) - due.value) / due.sigma)

    return {
        row.quantity
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
    """Whether errors leave half of the digits or more, so that storing partial results may have caused them."""
    value, sizes = due.value[np.isfinite(due.value)], _Sizes.of(got, due)
    most = float(np.sqrt(np.mean(np.square(value)) * ROUNDOFF[due.dtype])) if value.size else 0.0
    return sizes is not None and sizes.of_all <= most


@dataclass(frozen=True)
class _Sizes:
    """The root mean square of errors: of all elements, of the rounded ones in units of σ, and of those that are exact."""

    of_all: float
    in_units: float
    at_exact: float

    @classmethod
    def of(cls, got: Array, due: Quantity) -> _Sizes | None:
        """None for other shapes, and where a number is infinite or NaN that should not be."""
        if got.shape != due.value.shape:
            return None
        with np.errstate(all="ignore"):
            sigma = infinite_for_nan(due.sigma)
            known = np.isfinite(sigma)
            errors, sigma = Errors.of(got, due.value, sigma).size[known], sigma[known]
            rounded = sigma > 0
            found = cls(_rms(errors), _rms(errors[rounded] / sigma[rounded]), _rms(errors[~rounded]))
        return found if np.isfinite(errors).all() else None


def _rms(errors: Floats) -> float:
    return float(np.sqrt(np.mean(np.square(errors)))) if errors.size else 0.0


def _are_apart(here: float, there: float, bits: float) -> bool:
    """Whether one size is larger than the other by about so many bits."""
    return bool(here and there) and abs(math.log2(here / there) - bits) <= ALIKE
