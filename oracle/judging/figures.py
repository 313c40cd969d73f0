"""The figures of a row, which measure how far an array is from its expected value, gathered a block of elements at a time."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from oracle.case.arrays import Array
from oracle.running_error import LAMBDA
from oracle.running_error.model import ROUNDOFF, Floats, is_short, limits

# A tolerance above this share of the terms that were added up would let a wrong value hide.
DECIDABLE = 0.1
# The number of elements whose figures are computed together: their arrays fit into a processor's second cache.
BLOCK = 2**14
# The bits of a number in double precision that hold its exponent.
EXPONENT = 0x7FF0000000000000
# Replaces a sigma of 0 in the search for the worst element: among elements that must be exact, the one with the largest error.
LEAST = 2.0**-510


@dataclass(frozen=True)
class Expected:
    """The expected value of a quantity.

    Attributes (arrays of its shape):
        value: the reference's value, float64.
        sigma: the standard deviation of a correct implementation's error, including the reference's; 0 where nothing rounds.
        bound: the worst-case bound of the same; None if it was not computed.
        scale: the root of the sum of squares of the terms that were added up.
        hidden: the mask of long sums whose tolerance is so wide that a typical term fits into it; None if there are none.
    """

    value: Floats
    sigma: Floats
    bound: Floats | None
    scale: Floats
    hidden: Array | None = None


def by_norm(expected: Expected) -> Expected:
    """The same error in norm, spread evenly over all elements."""

    def even(size: Array) -> Array:
        return np.full(size.shape, np.sqrt(np.mean(np.square(size)))) if size.size else size

    return replace(expected, sigma=even(expected.sigma), bound=None, scale=even(expected.scale))


@dataclass(frozen=True)
class Errors:
    """The errors of the elements of a block, or of a whole array.

    Attributes:
        value: the expected value, as the dtype holds it.
        size: |error|; infinite where one side is infinite or NaN and the other is not equal to it.
        regular: the mask where both sides are finite; None if everywhere.
        impossible: the mask where an infinity or NaN is expected and something else came; None if nowhere. No tolerance applies
            there: an error propagated through an infinity means nothing.
    """

    actual: Floats
    value: Floats
    size: Floats
    regular: Array | None
    impossible: Array | None = None

    @classmethod
    def of(cls, got: Array, value: Floats, sigma: Floats) -> Errors:
        largest = float(limits(got.dtype).max)
        actual = got.astype(np.float64)
        size = np.abs(actual - value)
        most = largest * (1 + ROUNDOFF[got.dtype.name])
        if size.max(initial=0.0) < math.inf and np.abs(value).max(initial=0.0) <= most:  # and not NaN
            return cls(actual, value, size, None)
        decreed = ~np.isfinite(value)
        # A value that the dtype cannot hold becomes an infinity; near the end of the range rounding decides.
        value = np.where(np.abs(value) - LAMBDA * sigma > most, np.copysign(np.inf, value), value)
        finite = np.isfinite(value)
        same = (actual == value) | (np.isnan(actual) & np.isnan(value))
        above, below = value + LAMBDA * sigma > largest, value - LAMBDA * sigma < -largest
        overflow = finite & (((actual == math.inf) & above) | ((actual == -math.inf) & below))
        size = np.where(same | overflow, 0.0, np.abs(actual - value))
        size = np.where(np.isnan(size), np.inf, size)
        impossible = decreed & ~same
        return cls(actual, value, size, np.isfinite(size) & finite, impossible if impossible.any() else None)

    def regular_pair(self) -> tuple[Floats, Floats]:
        """The received and the expected elements, flat, where both are finite."""
        if self.regular is None:
            return self.actual.ravel(), self.value.ravel()
        return self.actual[self.regular], self.value[self.regular]


@dataclass
class Figures:
    """The figures of all elements seen so far.

    Attributes:
        n: the number of elements.
        z_squares, z_sum, n_rounding: the sums of z² and of signed z over the elements that can be rounded, and their number.
        n_decided: the number of elements whose tolerance is narrow enough.
        n_stored: how many of these have too wide a tolerance after the result is stored in 16 bits.
        n_hidden: the number of elements with a tolerance into which a typical term fits.
        n_underflown: the number of elements whose tolerance is too wide only because the dtype holds no number so small.
        bound_ratio: the largest error relative to its bound; NaN without a bound.
        beyond: whether an element is outside its tolerance and, if there is one, its bound.
        has_terms: whether a nonzero term was added up anywhere; is_finite: whether all expected values are finite.
        worst, place, index: z of the worst element, and its position in memory and in the array.
        got, expected, tolerance: those of the worst element.
        sigma_squares: the sum of the squares of the standard deviations, as far as they are finite.
        squares, expected_squares, products: sums over regular elements, for the cosine.
    """

    n: int = 0
    max_abs: float = 0.0
    max_rel: float = 0.0
    max_ulp: float = 0.0
    z_max: float = 0.0
    z_squares: float = 0.0
    z_sum: float = 0.0
    n_rounding: int = 0
    n_outside: int = 0
    n_decided: int = 0
    n_stored: int = 0
    n_hidden: int = 0
    n_underflown: int = 0
    bound_ratio: float = math.nan
    beyond: bool = False
    has_terms: bool = False
    is_finite: bool = True
    worst: float = -1.0
    place: int = 0
    index: tuple[int, ...] = ()
    got: float = math.nan
    expected: float = math.nan
    tolerance: float = math.nan
    sigma_squares: float = 0.0
    squares: float = 0.0
    expected_squares: float = 0.0
    products: float = 0.0

    @property
    def z_rms(self) -> float:
        return math.sqrt(self.z_squares / self.n_rounding) if self.n_rounding else 0.0

    @property
    def relative_error(self) -> float | None:
        """The rms of the standard deviations, relative to that of the values; None where nothing is rounded, or all is zero."""
        share = self.sigma_squares / self.expected_squares if self.expected_squares > 0 else 0.0
        return math.sqrt(share) if share > 0 else None  # also of a share that underflows

    @property
    def z_mean(self) -> float:
        return self.z_sum / self.n_rounding if self.n_rounding else 0.0

    @property
    def has_cosine(self) -> bool:
        """Whether the sums give the cosine: neither array is all zeros, and no product of squares leaves the range."""
        least, most = sorted((self.squares, self.expected_squares))
        return 1e-150 < least <= most < 1e150

    def add(self, start: int, got: Array, expected: Expected) -> None:
        """Add a block whose first element has the position `start`."""
        self.n += got.size
        sigma, bound = infinite_for_nan(expected.sigma), expected.bound
        errors, tolerance = Errors.of(got, expected.value, sigma), LAMBDA * sigma
        decided = self._narrow(got, tolerance, sigma, errors, expected)
        if expected.hidden is not None:
            decided = decided & ~expected.hidden
            self.n_hidden += int(np.count_nonzero(expected.hidden))
        rounds = (sigma > 0) & (sigma < math.inf)
        if errors.regular is not None:
            finite = np.isfinite(errors.value)
            decided = decided | ~finite
            rounds &= errors.regular
            self.is_finite &= bool(finite.all())
        n_decided = int(np.count_nonzero(decided))
        self.n_decided += n_decided
        if n_decided < got.size:
            self.n_underflown += int(np.count_nonzero(~decided & (tolerance <= least_kept(got.dtype))))
        n_rounding = int(np.count_nonzero(rounds))
        allowed = (sigma if n_rounding == sigma.size else sigma[rounds]).ravel()
        self.sigma_squares += float(allowed @ allowed)
        self.n_rounding += n_rounding
        self.has_terms = self.has_terms or bool((expected.scale > 0).any())
        self._add_products(errors)
        wrong = errors.size != 0
        if not wrong.any():  # to the bit
            self._add_worst(np.zeros(1), start, errors, tolerance)
            return
        impossible = errors.impossible

        def relative(width: Floats) -> Floats:
            ratio = quotient(errors.size, width, wrong)
            return ratio if impossible is None else np.where(impossible, np.inf, ratio)

        z = relative(sigma)
        self.z_max = larger(self.z_max, z)
        signed = np.copysign(z, errors.actual - errors.value)
        counted = signed if n_rounding == signed.size else signed[rounds]
        self.z_squares += float(counted @ counted)
        self.z_sum += float(counted.sum())
        outside = errors.size > tolerance
        if impossible is not None:
            outside |= impossible
        badly, n_outside = outside, int(np.count_nonzero(outside))
        self._add_sizes(errors, outside if n_outside else None, limits(got.dtype))
        if bound is not None:
            bound = infinite_for_nan(bound)
            self.bound_ratio = larger(self.bound_ratio, relative(bound))
            over = errors.size > bound
            badly = outside & (over if impossible is None else over | impossible)
        self.n_outside += n_outside
        self.beyond = self.beyond or (n_outside > 0 and bool(badly.any()))
        badness = relative(np.maximum(sigma, LEAST)) if n_outside else z
        self._add_worst(badness, start, errors, tolerance)

    def add_exact(self, got: Array, expected: Expected) -> bool:
        """Adds an array in which nothing rounds, if it is right to the bit and finite; returns False, and adds nothing, for any
        other.

        The figures are those of `add`, computed in fewer passes.
        """
        first, sigma = (0,) * got.ndim, expected.sigma
        if not got.size or expected.hidden is not None or sigma[first] != 0 or sigma.any():
            return False
        actual = got.astype(np.float64)
        flat = actual.ravel(order="K")
        squares = float(flat @ flat)
        if not (squares < math.inf and np.array_equal(actual, expected.value)):
            return False
        self.n += got.size
        self.n_decided += got.size
        self.has_terms = self.has_terms or bool((expected.scale > 0).any())
        self.squares += squares
        self.expected_squares += squares
        self.products += squares
        if self.worst < 0:
            self.worst, self.place, self.tolerance = 0.0, 0, 0.0
            self.got = self.expected = float(got[first])
        return True

    def _narrow(self, got: Array, tolerance: Floats, sigma: Floats, errors: Errors, expected: Expected) -> Array:
        """The mask where a tolerance is narrow enough, of 16-bit numbers before they are stored."""
        narrow = tolerance <= DECIDABLE * expected.scale
        if narrow.all():
            return narrow
        decided: Array = narrow | (sigma == 0)
        if got.dtype.itemsize <= 2:  # storing a result in 16 or 8 bits does not make the sum less exact
            stored = ROUNDOFF[got.dtype.name] * errors.value
            before = LAMBDA * np.sqrt(np.maximum(np.square(sigma) - np.square(stored), 0.0))
            decided |= before <= DECIDABLE * expected.scale
            self.n_stored += int(np.count_nonzero(decided & ~narrow & (sigma > 0)))
        return decided

    def _add_worst(self, badness: Floats, start: int, errors: Errors, tolerance: Floats) -> None:
        place = int(np.argmax(badness))
        if not badness[place] <= self.worst:
            self.worst, self.place = float(badness[place]), start + place
            self.got, self.expected = float(errors.actual[place]), float(errors.value[place])
            self.tolerance = float(tolerance[place])

    def _add_sizes(self, errors: Errors, outside: Array | None, info: Any) -> None:
        """The largest errors: absolute, relative between finite values, and in units in the last place."""
        size = np.abs(errors.value)
        known, normal = size > 0, np.maximum(size, float(info.tiny))
        if errors.regular is not None:
            known &= errors.size < math.inf
            normal = np.where(np.isfinite(size), normal, 1.0)
        relative = quotient(errors.size, size, known)
        if outside is not None:
            relative[outside & (size == 0) & (errors.size < math.inf)] = math.inf
        self.max_abs = larger(self.max_abs, errors.size)
        self.max_rel = larger(self.max_rel, relative)
        ulps = errors.size / power_of_two_below(normal)
        self.max_ulp = larger(self.max_ulp, ulps, 1 / float(info.eps))

    def _add_products(self, errors: Errors) -> None:
        a, b = errors.regular_pair()
        self.squares += float(a @ a)
        self.expected_squares += float(b @ b)
        self.products += float(a @ b)


def least_kept(dtype: np.dtype[Any]) -> float:
    """The size below which a number, or a product with it, may be lost by underflow: the smallest normal number over the
    roundoff, or the smallest normal number itself for a dtype whose subnormal numbers are used."""
    tiny = float(limits(dtype).tiny)
    return tiny if is_short(dtype) else tiny / ROUNDOFF[dtype.name]


def measured(got: Array, expected: Expected) -> Figures:
    """The figures of a whole array."""
    figures = Figures(bound_ratio=math.nan if expected.bound is None else 0.0)
    gather(figures, got, expected, (0,) * got.ndim)
    return figures


def gather(figures: Figures, got: Array, expected: Expected, first: tuple[int, ...]) -> None:
    """Adds an array that is a part of another, in which its first element has the index `first`."""
    figures.place = -1
    order = range(got.ndim)
    if figures.add_exact(got, expected):
        if figures.place == 0:
            figures.index = first
        return
    if not expected.sigma.flags.c_contiguous:  # as it lies in memory
        order = np.argsort([-abs(stride) for stride in expected.sigma.strides], kind="stable").tolist()

    def flat(array: Array) -> Array:
        return array.transpose(order).ravel()

    value, sigma, scale, own = flat(expected.value), flat(expected.sigma), flat(expected.scale), flat(got)
    bound = None if expected.bound is None else flat(expected.bound)
    hidden = None if expected.hidden is None else flat(expected.hidden)
    for start in range(0, own.size, BLOCK):
        here = slice(start, start + BLOCK)
        part = Expected(
            value[here],
            sigma[here],
            None if bound is None else bound[here],
            scale[here],
            None if hidden is None else hidden[here],
        )
        figures.add(start, own[here], part)
    if figures.place >= 0:  # the worst element is here
        place = dict(zip(order, np.unravel_index(figures.place, [got.shape[axis] for axis in order]), strict=True))
        figures.index = tuple(first[axis] + int(place[axis]) for axis in range(got.ndim))


def differs(got: Array, expected: Expected) -> bool:
    """Whether an element is outside its tolerance."""
    with np.errstate(all="ignore"):
        return got.size > 0 and measured(got, expected).n_outside > 0


def differs_where(known: Array, got: Array, expected: Expected) -> bool:
    """Whether one of these elements is outside its tolerance; `known` is their mask."""
    own = Expected(expected.value[known], expected.sigma[known], None, expected.scale[known])
    return differs(got[known], own)


def cosine(figures: Figures, errors: Callable[[], Errors]) -> float:
    """The cosine of the angle between the received and the expected array; NaN if both are zero, 0 if one is."""
    if figures.has_cosine:
        return direct_cosine(figures)
    got, expected = (of_size_one(array) for array in errors().regular_pair())
    a, b, both = float(got @ got), float(expected @ expected), float(got @ expected)
    if a == b == 0:
        return math.nan
    norms = math.sqrt(a * b)
    return both / norms if norms else 0.0


def direct_cosine(figures: Figures) -> float:
    return figures.products / math.sqrt(figures.squares * figures.expected_squares)


def of_size_one(array: Floats) -> Floats:
    """The array divided by its largest element, so that its squares do not overflow; zeros are unchanged."""
    largest = np.max(np.abs(array), initial=0.0)
    return array / largest if largest else array


def infinite_for_nan(width: Floats) -> Floats:
    """The error with infinity in place of NaN: an unknown error may be anything."""
    return np.where(np.isnan(width), np.inf, width) if math.isnan(width.max(initial=0.0)) else width


def quotient(x: Floats, y: Floats, where: Array) -> Floats:
    """x / y where the mask holds, else 0. NumPy is slow at divisions under a mask."""
    made: Floats = x / y
    return made if where.all() else np.where(where, made, 0.0)


def power_of_two_below(size: Floats) -> Floats:
    """The largest power of two that is at most a positive normal number: its exponent without its digits."""
    return (size.view(np.int64) & EXPONENT).view(np.float64)


def larger(so_far: float, values: Floats, factor: float = 1.0) -> float:
    """The largest of a number and the elements of an array times a factor; NaN if one is NaN."""
    largest = float(values.max()) * factor
    return so_far if so_far >= largest or math.isnan(so_far) else largest
