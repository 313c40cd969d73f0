"""How rounding errors arise and combine: one set of formulas, two models.

An error is stored as its p-th power: p = 2 (statistical) stores the variance of independent errors of mean zero, p = 1
(worst case) stores a bound. In both, errors of independent causes then simply add, and a factor c scales them by |c|^p.

Sources: N. J. Higham, "Accuracy and Stability of Numerical Algorithms", 2nd ed., ch. 3, for gamma_n and running error
bounds. The statistical rule for a sum models the partial sums of a random order as a line to the result plus a bridge.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import ml_dtypes
import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.floating[Any]]

UNIT_ROUNDOFF = {"float64": 2.0**-53, "float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}


def limits(dtype: np.dtype[Any]) -> Any:
    """The machine limits (max, tiny, eps) of a floating-point dtype, bfloat16 included."""
    return ml_dtypes.finfo(dtype)  # type: ignore[no-untyped-call]


# In units of sigma: a correct implementation stays below. README says from which measurements it was chosen.
LAMBDA = 8.0


@dataclass
class Branches:
    """What the comparisons in one place came to.

    Attributes: how many there were; how many of them rounding can flip; for how many of these the implementation's choice is
    unknown, so that what depends on them is wider; how many of its choices were adopted although the reference's differ; how
    many of these rounding cannot explain.
    """

    compared: int = 0
    ambiguous: int = 0
    widened: int = 0
    adopted: int = 0
    inadmissible: int = 0


@dataclass
class BranchLog:
    """Branches by place; `place` is the layer that computes at present."""

    place: str = ""
    by_place: dict[str, Branches] = field(default_factory=dict)

    def here(self) -> Branches:
        return self.by_place.setdefault(self.place, Branches())


@dataclass(frozen=True)
class ErrorModel:
    """Error formulas for an implementation that computes in `dtype`.

    Args:
        dtype: what the implementation under test computes in.
        power: 2 for the statistical model, 1 for the worst case.
        accumulate: what it adds up in, where that is wider than `dtype`; each sum is then rounded to `dtype` once.
        open_ties: leave the choice open at an exact tie or kink, as where rounding can flip it: the value is then halfway
            between the two sides and the error reaches to both.
    """

    dtype: np.dtype[Any]
    power: Literal[1, 2]
    accumulate: str | None = None
    open_ties: bool = False
    branches: BranchLog = field(default_factory=BranchLog)

    @property
    def unit_roundoff(self) -> float:
        return UNIT_ROUNDOFF[self.dtype.name]

    @property
    def roundoff_of_sums(self) -> float:
        return UNIT_ROUNDOFF[self.accumulate] if self.accumulate else self.unit_roundoff

    @property
    def smallest_normal(self) -> float:
        # The statistical model squares, and a square has to stay representable.
        tiny = float(limits(self.dtype).tiny)
        return max(tiny, 2.0**-510) if self.power == 2 else tiny

    def raised(self, x: Floats | float) -> Floats:
        """|x|^p, the size of x in the units in which errors are stored."""
        return np.square(x) if self.power == 2 else np.abs(x)

    def width(self, error: Floats) -> Floats:
        """From the stored power back to sigma (statistical) or the bound (worst case)."""
        return np.sqrt(error) if self.power == 2 else error

    def tolerance(self, error: Floats) -> Floats:
        return LAMBDA * np.sqrt(error) if self.power == 2 else error

    def rounding(self, value: Floats, ulps: float = 1.0) -> Floats:
        """Of one operation with this result, accurate to `ulps` units.

        Functions of 16-bit numbers are computed in a wider precision and rounded once.
        """
        size = np.abs(value)
        ulps = 1.0 if self.dtype.itemsize == 2 else ulps
        error = np.maximum(self.raised(size * (ulps * self.unit_roundoff)), self.underflow(value))
        return np.where(np.isfinite(size), error, 0.0)

    def underflow(self, value: Floats) -> Floats:
        """What a result below the normal range may have lost, though the operation is exact above it."""
        size = np.abs(value)
        return np.where((size < 2 * self.smallest_normal) & (size > 0), self.raised(self.least_lost), 0.0)

    @property
    def least_lost(self) -> float:
        """Below the normal range: all, where subnormals are flushed to zero; float16's, whose range is small, nobody flushes."""
        return self.smallest_normal * (self.unit_roundoff if self.dtype == np.float16 else 1.0)

    def sum_rounding(self, value: Floats, terms: Floats, count: Floats | int) -> Floats:
        """Of adding up `count` terms in any order, where `terms` is the sum of |term|^p; nothing for a single term."""
        n, u = np.asarray(count, dtype=np.float64), self.roundoff_of_sums
        if self.power == 2:
            error = u**2 * (n / 3 * np.square(value) + (1 + n / 6) * terms)
        else:
            error = np.where((n - 1) * u < 1, (n - 1) * u / (1 - (n - 1) * u), np.inf) * terms
        if self.accumulate:
            error = error + self.rounding(value)
        return np.where((n > 1) & np.isfinite(value), error, 0.0)

    def sum_is_exact(self, quantum: float, terms: Floats, count: Floats | int) -> bool:
        """Whether no order of summation can round: every partial sum is a multiple of `quantum` that the dtype holds."""
        if terms.size == 0:
            return True
        total = np.max(self.width(terms * count) if self.power == 2 else terms)  # Σ|t| ≤ √(n Σt²)
        return bool(total <= quantum / self.unit_roundoff)

    def widened(self, error: Floats, difference: Floats) -> Floats:
        """The stored error whose tolerance is wider by this difference between two branches, and a little more."""
        wide = np.abs(difference) * (1 + 2.0**-20)
        return np.square(np.sqrt(error) + wide / LAMBDA) if self.power == 2 else error + wide


def quantum_of(value: Floats) -> float | None:
    """The largest power of two, from 1 down to 2^-12, of which every element is a multiple; infinity for zeros; else None."""
    if value.size and not float(value.flat[0] * 4096).is_integer():
        return None
    finite = value[np.isfinite(value)] if not np.isfinite(value).all() else value
    if not finite.any():
        return float("inf")
    for exponent in (0, 4, 8, 12):
        scaled = finite * 2.0**exponent
        if np.array_equal(scaled, np.rint(scaled)):
            return 2.0**-exponent
    return None
