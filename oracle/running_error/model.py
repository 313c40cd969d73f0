"""How rounding errors arise and combine: one set of formulas, two models.

An error is stored as its p-th power: p = 2 (statistical) stores the variance of independent errors of mean zero, p = 1
(worst case) stores a bound. In both, errors of independent causes then simply add, and a factor c scales them by |c|^p; so
one pass computes both (`Twofold`).

Sources: N. J. Higham, "Accuracy and Stability of Numerical Algorithms", 2nd ed., ch. 3, for gamma_n and running error
bounds. The statistical rule for a sum models the partial sums of a random order as a line to the result plus a bridge.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from typing import Any, TypeAlias

import ml_dtypes
import numpy as np
import numpy.typing as npt

from oracle.running_error.branches import BranchLog

Floats: TypeAlias = npt.NDArray[np.floating[Any]]

NEXT_TO_NOTHING = 2.0**-100
# The largest factor by which a product may be brought back into the normal range. It multiplies what was lost below that range.
NEAR_SUBNORMAL = 2.0**7
# The number of terms of which a single one is a tenth of them all, √Σt².
FEW_TERMS = 100
UNIT_ROUNDOFF = {"float64": 2.0**-53, "float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}
# The unit roundoff of dtypes in which factors of a product may be stored, and in which nothing is computed.
OF_8_BITS = {"float8_e4m3fn": 2.0**-4, "float8_e5m2": 2.0**-3}
ROUNDOFF = {**UNIT_ROUNDOFF, **OF_8_BITS}


@cache
def limits(dtype: np.dtype[Any]) -> Any:
    """The machine limits (max, tiny, eps) of a floating-point dtype, bfloat16 included."""
    return ml_dtypes.finfo(dtype)  # type: ignore[no-untyped-call]


def is_short(dtype: np.dtype[Any]) -> bool:
    """Whether a dtype's range is so small that kernels use its subnormal numbers, as with float16 and 8-bit dtypes."""
    return dtype == np.float16 or dtype.itemsize == 1


OPEN, EXACT, EQUAL = "open", "exact", "equal"
# The tolerance in units of sigma: a correct implementation stays below it. TOLERANCES.md has the measurements.
LAMBDA = 6.5
# The largest z of a correct implementation: lambda is 1.3 times as large.
LARGEST = LAMBDA / 1.3
# The margin of a difference d between two branches. A later error s is added to it in squares, although together they may be all
# of d + LARGEST s: for every s, (BESIDE d)² + (LAMBDA s)² is at least the square of that.
BESIDE = 1 / math.sqrt(1 - (LARGEST / LAMBDA) ** 2)


class Twofold:
    """A quantity in both models: `statistical` in squares, `worst` in absolute values, or None if no bounds are kept.

    For an error these are its variance and its bound, for the terms of a sum Σt² and Σ|t|.
    """

    __slots__ = ("statistical", "worst")

    def __init__(self, statistical: Any, worst: Any = None) -> None:
        self.statistical: Floats = statistical
        self.worst: Floats | None = worst

    def mapped(self, function: Callable[..., Any], *others: Twofold) -> Twofold:
        """The function applied to each component, together with the same component of the others."""
        statistical = function(self.statistical, *[other.statistical for other in others])
        worst = None if self.worst is None else function(self.worst, *[other.worst for other in others])
        return Twofold(statistical, worst)

    def any(self) -> bool:
        return bool(self.statistical.any() or (self.worst is not None and self.worst.any()))

    def __add__(self, other: Twofold) -> Twofold:
        return self.mapped(np.add, other)

    def increased(self, other: Twofold) -> Twofold:
        """This object, after adding the other to it in place."""
        self.statistical += other.statistical
        if self.worst is not None and other.worst is not None:
            self.worst += other.worst
        return self

    def __mul__(self, other: Twofold) -> Twofold:
        return self.mapped(np.multiply, other)

    def __matmul__(self, other: Twofold) -> Twofold:
        return self.mapped(np.matmul, other)


@dataclass(frozen=True)
class ErrorModel:
    """Error formulas for an implementation that computes in `dtype`.

    Args:
        dtype: the dtype in which the subject computes.
        bounds: keep worst-case bounds in addition to the statistical model.
        accumulate: the dtype in which it adds up, if that is wider than `dtype`; each sum is then rounded to `dtype` once.
        stored: the 16-bit dtype in which kernels that compute in the wider `dtype` store results; None if that is `dtype`.
        open_ties: leave the choice at an exact tie or kink open, as if rounding could flip it: the value is halfway
            between the two sides, and the error reaches both.
        rounds: if False, rounding errors are negligibly small, and the bounds show the effect of open ties alone.
        outcome: that of a comparison which rounding can change: OPEN leaves it open and widens what depends on it, EXACT is
            that of the exact numbers, EQUAL that of two equal ones, as where a product underflows.
        every_order: look at the partial sums in every order in which a loop over several dimensions may add up.
        moves: if given, each sum is off by one standard deviation of its rounding error, up or down as this generator draws.
    """

    dtype: np.dtype[Any]
    bounds: bool = False
    accumulate: str | None = None
    stored: str | None = None
    open_ties: bool = False
    rounds: bool = True
    outcome: str = OPEN
    every_order: bool = False
    moves: np.random.Generator | None = field(default=None, compare=False)
    branches: BranchLog = field(default_factory=BranchLog)
    others: dict[str, ErrorModel] = field(init=False, default_factory=dict, compare=False, repr=False)

    def of(self, dtype: str) -> ErrorModel:
        """The same model for another dtype; kernels for 16 bits and 8 bits add up in float32."""
        if dtype == self.dtype.name:
            return self
        if dtype not in self.others:
            kind = np.dtype(dtype)
            narrow = "float32" if kind.itemsize <= 2 else None
            self.others[dtype] = replace(self, dtype=kind, accumulate=narrow, stored=None)
            self.others[dtype].others[self.dtype.name] = self
        return self.others[dtype]

    @cached_property
    def inside_kernels(self) -> ErrorModel:
        """The model inside a kernel for this dtype of 16 or 8 bits, which computes in float32."""
        return replace(self, dtype=np.dtype("float32"), accumulate=None, stored=self.dtype.name)

    @cached_property
    def unit_roundoff(self) -> float:
        return ROUNDOFF[self.dtype.name] if self.rounds else NEXT_TO_NOTHING

    @cached_property
    def roundoff_of_sums(self) -> float:
        return UNIT_ROUNDOFF[self.accumulate] if self.accumulate and self.rounds else self.unit_roundoff

    @cached_property
    def dtype_of_sums(self) -> Any:
        """The dtype of sums that are kept: that in which they are added up, but never 16 bits."""
        return np.float64 if (self.accumulate or self.dtype.name) == "float64" else np.float32

    @cached_property
    def largest(self) -> float:
        return float(limits(self.dtype).max)

    @cached_property
    def largest_of_sums(self) -> float:
        """The largest number in a sum, limited so that its square is finite in float64."""
        return min(float(limits(np.dtype(self.accumulate or self.dtype)).max), 2.0**511)

    @cached_property
    def smallest_normal(self) -> tuple[float, float]:
        """The smallest normal number in each model; the statistical one squares its roundoff, which must not underflow."""
        tiny = float(limits(self.dtype).tiny)
        return max(tiny, 2.0**-510 / self.unit_roundoff), tiny

    @cached_property
    def is_short(self) -> bool:
        """Whether the dtype has a small range, in which subnormal numbers are used."""
        return is_short(self.dtype)

    @cached_property
    def least_lost(self) -> tuple[float, float]:
        """The largest loss below the normal range, in each model: the whole number, since subnormals may be flushed to zero;
        those of float16 and of 8 bits are not flushed, because their range is small."""
        share = self.unit_roundoff if self.is_short or not self.rounds else 1.0
        statistical, worst = self.smallest_normal
        return statistical * share, worst * share

    def raised(self, x: Floats | float) -> Twofold:
        """x in the units of errors: x² and |x|."""
        return Twofold(np.square(x), np.abs(x) if self.bounds else None)

    def constant(self, statistical: float, worst: float) -> Twofold:
        return Twofold(np.float64(statistical), np.float64(worst) if self.bounds else None)

    def rounding(self, value: Floats, ulps: float = 1.0) -> Twofold:
        """The rounding error of one operation with this result, accurate to `ulps` units in the last place.

        Functions of 16-bit and 8-bit numbers are computed in a wider precision and rounded once.
        """
        ulps = 1.0 if self.dtype.itemsize <= 2 else ulps
        error = self.raised(value * (ulps * self.unit_roundoff))
        size = np.abs(value)
        lost = self.underflow(size)
        if lost is not None:
            error = error.mapped(np.maximum, lost)
        if size.max(initial=0.0) <= self.largest:
            return error
        self.notice_overflow(size)
        finite = np.isfinite(value)
        return error.mapped(lambda own: np.where(finite, own, 0.0))

    def notice_overflow(self, size: Floats) -> None:
        """Record whether a number of this size exceeds the range, whose users are then unpredictable."""
        self.branches.overflown |= bool(((size > self.largest) & (size < np.inf)).any())

    def underflow(self, size: Floats) -> Twofold | None:
        """The loss by underflow of results of this size; None if there is none.

        A product of several factors that is just above the normal range may underflow if multiplied in another order.
        """
        reach = 1.0 if self.is_short else NEAR_SUBNORMAL
        highest = 2 * reach * self.smallest_normal[0]
        if size.min(initial=np.inf) >= highest:
            return None
        low = (size < highest) & (size > 0)
        if not low.any():
            return None

        def lost(smallest: float, least: float) -> Floats:
            near = least * self.unit_roundoff * reach
            return np.where(low, np.where(size < 2 * smallest, least, near * (size < 2 * reach * smallest)), 0.0)

        (normal, normal_worst), (least, least_worst) = self.smallest_normal, self.least_lost
        return Twofold(lost(normal, least * least), lost(normal_worst, least_worst) if self.bounds else None)

    @staticmethod
    def random_order(value: Floats, squares: Floats, count: Floats | int) -> Floats:
        """The mean over all orders of the sum of squared partial sums, which are a line to the value plus a random bridge."""
        return count / 3 * np.square(value) + count / 6 * squares

    def sum_rounding(self, value: Floats, terms: Twofold, count: Floats | int, rounded: float) -> Twofold:
        """The rounding error of adding up `count` terms in a random order; for a single term only that of the term itself."""
        n, u = np.asarray(count, dtype=np.float64), self.roundoff_of_sums
        error = Twofold(u**2 * self.random_order(value, terms.statistical, n) + (u**2 + rounded**2) * terms.statistical)
        if terms.worst is not None:
            share = (n - 1) * u
            gamma = np.divide(share, 1 - share, out=np.full_like(share, np.inf), where=share < 1)
            error.worst = (gamma + rounded) * terms.worst
        lost = None if self.accumulate else self.lost_terms(value, terms, n)
        if lost is not None:
            error = error + lost
        if self.accumulate:
            error = error + self.rounding(value)
        error = self.out_of_range(error, value, terms.statistical, n)
        rounds = (n > 1) & np.isfinite(value)
        if rounds.all():
            return error
        single = terms * self.constant(rounded**2, rounded)
        if self.accumulate and rounded:  # it is stored, and may underflow
            single = single.mapped(np.maximum, self.rounding(value))
        if lost is not None and rounded:
            single = single + lost
        return error.mapped(lambda own, single: np.where(rounds, own, single), single)

    def hidden(self, value: Floats, error: Twofold | None, terms: Twofold, count: Floats | int) -> Any:
        """The mask where a typical term, √(Σt²/n), fits into a sum's tolerance before it is stored; None where nowhere.

        Sums of few terms are left out: there a term is large compared with any tolerance that counts as narrow.
        """
        if error is None or np.max(count, initial=0) <= FEW_TERMS:
            return None
        variance = error.statistical
        if self.accumulate:
            variance = variance - self.rounding(value).statistical
        found = LAMBDA**2 * count * variance > terms.statistical
        if found.any():
            found = found & (terms.statistical > 0) & (count > FEW_TERMS)
        return found if found.any() else None

    def lost_terms(self, value: Floats, terms: Twofold, count: Floats) -> Twofold | None:
        """The loss of products and partial sums by underflow; None if it is negligible compared with their rounding."""
        (least, least_worst), squares = self.least_lost, terms.statistical
        low = squares <= count * (2.0**10 * least / self.roundoff_of_sums) ** 2
        if low.any():
            low = low & ((squares > 0) | (value != 0))
        if not low.any():
            return None
        return self.constant(least * least, least_worst).mapped(lambda own: np.where(low, count * own, 0.0))

    def where_nothing_divides(
        self, error: Twofold | None, divisor: Floats, its_error: Twofold | None, value: Floats
    ) -> Twofold | None:
        """The error of a quotient, infinite where the divisor may be zero.

        It may be zero if the dtype rounds it to zero, or if its own error can make it that small.
        """
        half = float(limits(self.dtype).smallest_subnormal) / 2
        vanishing = (divisor != 0) & (np.abs(divisor) < half)
        if its_error is not None:
            left = np.maximum(np.abs(divisor) - half, 0.0)
            vanishing = vanishing | ((its_error.statistical >= np.square(left)) & (its_error.statistical > 0))
        if not self.rounds or not vanishing.any():
            return error
        self.branches.here().out_of_range += int(np.count_nonzero(vanishing))
        given = self.constant(0.0, 0.0) if error is None else error
        return given.mapped(lambda own: np.where(np.broadcast_to(vanishing, value.shape), np.inf, own))

    def out_of_range(self, error: Twofold, value: Floats, squares: Floats, count: Floats) -> Twofold:
        """The error, infinite for sums of which a partial sum may leave the range: their result cannot be predicted.

        If the sum itself is out of range and its terms have both signs, it may become an infinity of the other sign, or NaN. A
        single term has no partial sums, and its result is certain.
        """
        most = max(value.max(initial=0.0), -value.min(initial=0.0))
        if np.max(count, initial=0) * squares.max(initial=0.0) <= self.largest_of_sums**2 and most <= self.largest:
            return error
        reached = count * squares  # at least the square of any partial sum
        inside = np.abs(value) <= self.largest
        over = (inside | (count > 1)) & (reached > self.largest_of_sums**2) & np.isfinite(reached)
        self.branches.overflown |= bool((~inside & np.isfinite(value)).any())
        self.branches.here().out_of_range += int(np.count_nonzero(over))
        return error.mapped(lambda own: np.where(over, np.inf, own))

    def sum_is_exact(self, quantum: float, terms: Twofold, count: Floats | int) -> bool:
        """Whether no order of summation can round: every partial sum is a multiple of `quantum` that the dtype holds."""
        squares = terms.statistical
        return squares.size == 0 or bool(  # Σ|t| ≤ √(n Σt²)
            np.max(np.sqrt(squares * count)) <= quantum / self.unit_roundoff
        )

    def within(self, distance: Floats, error: Twofold) -> Twofold:
        """The mask where rounding can explain this distance. An error that is NaN is unknown, and explains any."""

        def near(own: Floats, reach: Floats) -> Any:
            return ((own > 0) & (distance <= reach)) | np.isnan(own)

        found = Twofold(near(error.statistical, LAMBDA * np.sqrt(error.statistical)))
        if error.worst is not None:
            found.worst = near(error.worst, error.worst)
        return found

    def widened(self, error: Twofold, difference: Twofold) -> Twofold:
        """The error with a tolerance that is larger by this difference between two branches, and by a margin."""
        wide = difference.mapped(lambda own: np.abs(own) * (1 + 2.0**-20))
        result = error + wide
        margin = 1.0 if self.open_ties else BESIDE
        result.statistical = np.square(np.sqrt(error.statistical) + wide.statistical * (margin / LAMBDA))
        return result


def added(first: Twofold | None, second: Twofold | None) -> Twofold | None:
    """The sum of errors with independent causes; None stands for exact."""
    if first is None or second is None:
        return second if first is None else first
    return first + second


def either(first: Any, second: Any) -> Any:
    """The union of two masks; None stands for an empty one."""
    if first is None or second is None:
        return second if first is None else first
    return first | second
