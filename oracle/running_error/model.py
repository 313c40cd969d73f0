"""How rounding errors arise and combine: one set of formulas, two models.

An error is stored as its p-th power: p = 2 (statistical) stores the variance of independent errors of mean zero, p = 1
(worst case) stores a bound. In both, errors of independent causes then simply add, and a factor c scales them by |c|^p; so
one pass computes both (`Twofold`).

Sources: N. J. Higham, "Accuracy and Stability of Numerical Algorithms", 2nd ed., ch. 3, for gamma_n and running error
bounds. The statistical rule for a sum models the partial sums of a random order as a line to the result plus a bridge.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeAlias

import ml_dtypes
import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.floating[Any]]

NEXT_TO_NOTHING = 2.0**-100
# Factor of a product that brings it back from below the normal range, at most: what was lost there is as many times larger.
NEAR_SUBNORMAL = 2.0**7
# Of so many terms one is a tenth of them all, √Σt².
FEW_TERMS = 100
UNIT_ROUNDOFF = {"float64": 2.0**-53, "float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}


def limits(dtype: np.dtype[Any]) -> Any:
    """The machine limits (max, tiny, eps) of a floating-point dtype, bfloat16 included."""
    return ml_dtypes.finfo(dtype)  # type: ignore[no-untyped-call]


# In units of sigma: a correct implementation stays below. TOLERANCES.md says from which measurements it was chosen.
LAMBDA = 8.0


@dataclass
class Branches:
    """What the comparisons in one place came to.

    Attributes: how many there were; how many of them rounding can flip; for how many of these the subject's choice is
    unknown, so that what depends on them is wider; how many of its choices were adopted although the reference's differ; how
    many of these rounding cannot explain. And how many values were computed from one that the dtype cannot hold.
    """

    compared: int = 0
    ambiguous: int = 0
    widened: int = 0
    adopted: int = 0
    inadmissible: int = 0
    out_of_range: int = 0


@dataclass
class BranchLog:
    """Branches by place; `place` is the layer that computes at present, `samples` how many samples it was given.
    `overflown` is set once a value is beyond what the dtype holds."""

    place: str = ""
    samples: int = 0
    overflown: bool = False
    by_place: dict[str, Branches] = field(default_factory=dict)

    def here(self) -> Branches:
        return self.by_place.setdefault(self.place, Branches())


class Twofold:
    """What both models keep of an array: `statistical` in squares, `worst` in sizes; None where no bounds are asked for.

    Of an error that is its variance and its bound, of the terms of a sum Σt² and Σ|t|.
    """

    __slots__ = ("statistical", "worst")

    def __init__(self, statistical: Any, worst: Any = None) -> None:
        self.statistical: Floats = statistical
        self.worst: Floats | None = worst

    def mapped(self, function: Callable[..., Any], *others: Twofold) -> Twofold:
        """The same function of both, each with its own from the others."""
        statistical = function(self.statistical, *(other.statistical for other in others))
        if self.worst is None:
            return Twofold(statistical)
        return Twofold(statistical, function(self.worst, *(other.worst for other in others)))

    def __add__(self, other: Twofold) -> Twofold:
        return self.mapped(np.add, other)

    def increased(self, other: Twofold) -> Twofold:
        """Itself, added to in place."""
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
        dtype: what the subject computes in.
        bounds: keep the worst case beside the statistical model.
        accumulate: what it adds up in, where that is wider than `dtype`; each sum is then rounded to `dtype` once.
        stored: the 16 bits in which a kernel hands on what it computes in the wider `dtype`; None where that is `dtype`.
        open_ties: leave the choice open at an exact tie or kink, as where rounding can flip it: the value is then halfway
            between the two sides and the error reaches to both.
        rounds: off, next to nothing is rounded, and the bounds tell what open ties alone add up to.
    """

    dtype: np.dtype[Any]
    bounds: bool = False
    accumulate: str | None = None
    stored: str | None = None
    open_ties: bool = False
    rounds: bool = True
    branches: BranchLog = field(default_factory=BranchLog)
    others: dict[str, ErrorModel] = field(init=False, default_factory=dict, compare=False, repr=False)

    def of(self, dtype: str) -> ErrorModel:
        """The same for what is held in another dtype; in 16 bits kernels add up in float32."""
        if dtype == self.dtype.name:
            return self
        if dtype not in self.others:
            kind = np.dtype(dtype)
            narrow = "float32" if kind.itemsize == 2 else None
            self.others[dtype] = replace(self, dtype=kind, accumulate=narrow, stored=None)
            self.others[dtype].others[self.dtype.name] = self
        return self.others[dtype]

    @cached_property
    def inside_kernels(self) -> ErrorModel:
        """float32, in which kernels compute with what is held in these 16 bits."""
        return replace(self, dtype=np.dtype("float32"), accumulate=None, stored=self.dtype.name)

    @cached_property
    def unit_roundoff(self) -> float:
        return UNIT_ROUNDOFF[self.dtype.name] if self.rounds else NEXT_TO_NOTHING

    @cached_property
    def roundoff_of_sums(self) -> float:
        return UNIT_ROUNDOFF[self.accumulate] if self.accumulate and self.rounds else self.unit_roundoff

    @cached_property
    def dtype_of_sums(self) -> Any:
        """What a plain loop adds up in; nobody's does so in 16 bits, where a sum soon stands still."""
        return np.float64 if (self.accumulate or self.dtype.name) == "float64" else np.float32

    @cached_property
    def largest(self) -> float:
        return float(limits(self.dtype).max)

    @cached_property
    def largest_of_sums(self) -> float:
        """So that its square is a number too."""
        return min(float(limits(np.dtype(self.accumulate or self.dtype)).max), 2.0**511)

    @cached_property
    def smallest_normal(self) -> tuple[float, float]:
        """For either model: the statistical one squares the roundoff of a number, which has to stay representable."""
        tiny = float(limits(self.dtype).tiny)
        return max(tiny, 2.0**-510 / self.unit_roundoff), tiny

    @cached_property
    def least_lost(self) -> tuple[float, float]:
        """Below the normal range: all, where subnormals are flushed to zero; float16's, whose range is small, nobody flushes."""
        share = self.unit_roundoff if self.dtype == np.float16 or not self.rounds else 1.0
        statistical, worst = self.smallest_normal
        return statistical * share, worst * share

    def raised(self, x: Floats | float) -> Twofold:
        """The size of x in the units in which errors are kept: x² and |x|."""
        return Twofold(np.square(x), np.abs(x) if self.bounds else None)

    def constant(self, statistical: float, worst: float) -> Twofold:
        return Twofold(np.float64(statistical), np.float64(worst) if self.bounds else None)

    def rounding(self, value: Floats, ulps: float = 1.0) -> Twofold:
        """Of one operation with this result, accurate to `ulps` units.

        Functions of 16-bit numbers are computed in a wider precision and rounded once.
        """
        ulps = 1.0 if self.dtype.itemsize == 2 else ulps
        error = self.raised(value * (ulps * self.unit_roundoff))
        size = np.abs(value)
        lost = self.underflow(size)
        if lost is not None:
            error = error.mapped(np.maximum, lost)
        if np.max(size, initial=0.0) <= self.largest:
            return error
        finite = np.isfinite(value)
        self.branches.overflown |= bool((finite & (size > self.largest)).any())
        return error.mapped(lambda own: np.where(finite, own, 0.0))

    def underflow(self, size: Floats) -> Twofold | None:
        """Lost by results of this size below the normal range, though the operation is exact above; None for nothing.

        A product of several that ends just above it, multiplied in another order, was below it on the way.
        """
        reach = 1.0 if self.dtype == np.float16 else NEAR_SUBNORMAL
        low = (size < 2 * reach * self.smallest_normal[0]) & (size > 0)
        if not low.any():
            return None

        def lost(smallest: float, least: float) -> Floats:
            near = least * self.unit_roundoff * reach
            return np.where(low, np.where(size < 2 * smallest, least, near * (size < 2 * reach * smallest)), 0.0)

        (normal, normal_worst), (least, least_worst) = self.smallest_normal, self.least_lost
        return Twofold(lost(normal, least * least), lost(normal_worst, least_worst) if self.bounds else None)

    @staticmethod
    def random_order(value: Floats, squares: Floats, count: Floats | int) -> Floats:
        """The sum of squares of the partial sums, on average over all orders: of a line to the value plus a bridge."""
        return count / 3 * np.square(value) + count / 6 * squares

    def sum_rounding(self, value: Floats, terms: Twofold, count: Floats | int, rounded: float) -> Twofold:
        """Of adding up `count` terms in a random order; nothing for a single term, but what each was rounded by itself."""
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
        error = self.out_of_range(error, value, terms.statistical)
        rounds = (n > 1) & np.isfinite(value)
        if rounds.all():
            return error
        single = terms * self.constant(rounded**2, rounded)
        if lost is not None and rounded:
            single = single + lost
        return error.mapped(lambda own, single: np.where(rounds, own, single), single)

    def hidden(self, value: Floats, error: Twofold | None, terms: Twofold, count: Floats | int) -> Any:
        """Where a term of the usual size, √(Σt²/n), fits into a sum's tolerance before it is stored; None where nowhere.

        Of fewer terms, one is large beside the tolerance that a tenth of all of them allows.
        """
        if error is None or np.max(count, initial=0) <= FEW_TERMS:
            return None
        variance = error.statistical
        if self.accumulate:
            variance = variance - self.rounding(value).statistical
        found = (LAMBDA**2 * variance * count > terms.statistical) & (terms.statistical > 0) & (count > FEW_TERMS)
        return found if found.any() else None

    def lost_terms(self, value: Floats, terms: Twofold, count: Floats) -> Twofold | None:
        """What products and partial sums below the normal range may have lost; None where it is nothing beside their rounding."""
        (least, least_worst), squares = self.least_lost, terms.statistical
        low = (squares <= count * (2.0**10 * least / self.roundoff_of_sums) ** 2) & ((squares > 0) | (value != 0))
        if not low.any():
            return None
        return self.constant(least * least, least_worst).mapped(lambda own: np.where(low, count * own, 0.0))

    def out_of_range(self, error: Twofold, value: Floats, squares: Floats) -> Twofold:
        """Of sums that the dtype can hold, of terms that it cannot: nobody knows what came of them."""
        if (
            np.max(squares, initial=0.0) <= self.largest_of_sums**2
            and np.max(np.abs(value), initial=0.0) <= self.largest
        ):
            return error
        inside = np.abs(value) <= self.largest
        over = inside & (squares > self.largest_of_sums**2) & np.isfinite(squares)
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
        """Where rounding can have made this distance."""
        near = Twofold((error.statistical > 0) & (distance <= LAMBDA * np.sqrt(error.statistical)))
        if error.worst is not None:
            near.worst = np.asarray((error.worst > 0) & (distance <= error.worst))
        return near

    def widened(self, error: Twofold, difference: Twofold) -> Twofold:
        """The error whose tolerance is wider by this difference between two branches, and a little more."""
        wide = difference.mapped(lambda own: np.abs(own) * (1 + 2.0**-20))
        result = error + wide
        result.statistical = np.square(np.sqrt(error.statistical) + wide.statistical / LAMBDA)
        return result


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


def added(first: Twofold | None, second: Twofold | None) -> Twofold | None:
    """Errors of independent causes together; None is exact."""
    if first is None or second is None:
        return second if first is None else first
    return first + second


def either(first: Any, second: Any) -> Any:
    """Where a term hides in one of two; None is nowhere."""
    if first is None or second is None:
        return second if first is None else first
    return first | second


def merged(first: float | None, second: float | None) -> float | None:
    """The quantum of arrays put or added together."""
    return None if first is None or second is None else min(first, second)
