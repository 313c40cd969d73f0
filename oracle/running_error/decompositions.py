"""Error rules of functions of square matrices: inverse, solution, determinant, Cholesky and LU factors, and exponential.

A backward stable algorithm gives the exact result of a matrix that differs from the given one by rounding. So one perturbation is
added to the matrix's own error, and propagated to first order. It is that of n updates of each element by rounded numbers as
large as the largest of the matrix and of its factor U, once for each stage: the decomposition, and each triangular matrix that is
solved with.

Sources: N. J. Higham, "Accuracy and Stability of Numerical Algorithms", 2nd ed., ch. 9 (LU), 10 (Cholesky) and 14 (inverse);
"Functions of Matrices", ch. 10 (exponential).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from oracle.running_error.array import ErrorArray, operands
from oracle.running_error.dispatch import FUNCTIONS
from oracle.running_error.infinities import in_range, left_open
from oracle.running_error.model import ErrorModel, Floats, Twofold, added

# The decomposition, and two solutions with a triangular matrix.
STAGES = 3
# The terms of the Taylor polynomial of an exponential are added up in several sums; the largest norm for which it is taken.
SUMS_OF_EXPONENTIAL, LARGEST_NORM = 8, {"float64": 1.09}
LARGEST_NORM_OF_OTHERS = 3.01
# The places of a Gauss quadrature over [-1, 1], and its weights.
PLACES, WEIGHTS = np.polynomial.legendre.leggauss(4)


def perturbed(a: ErrorArray, stages: int = STAGES, factor: Floats | None = None) -> Twofold:
    """The error of the matrix for which the computed result is exact. Its factor is U, if it is not given."""
    n, model = a.shape[-1], a.model
    if factor is None:
        from scipy.linalg import lu  # here: few programs need it

        factor = lu(a.value, permute_l=True, check_finite=False)[1] if a.size else a.value
    largest = np.max(np.maximum(np.abs(a.value), np.abs(factor)), axis=(-2, -1), keepdims=True, initial=0.0)
    unit = model.raised(np.broadcast_to(largest * model.unit_roundoff, a.shape))
    own = unit * model.constant(float(stages * n), float(stages * n * n))
    made = added(a.error, own)
    assert made is not None
    return made


def transposed(x: Any) -> Any:
    return np.swapaxes(x, -1, -2)


def inverse_of(value: Floats) -> Floats:
    """The inverses; NaN for matrices that have none."""
    try:
        return np.linalg.inv(value)
    except np.linalg.LinAlgError:
        return np.stack([*map(inverse_of, value)]) if value.ndim > 2 else np.full(value.shape, np.nan)


def _of_singular(made: ErrorArray, inverse: Floats, *given: ErrorArray) -> ErrorArray:
    """The result, open where a finite matrix has no inverse: rounding may give it a large one, an infinity or NaN."""
    singular = np.isnan(inverse).any((-2, -1), keepdims=True)
    if singular.any():
        for own in given:
            singular = singular & np.isfinite(own.value).all((-2, -1), keepdims=True)
    return left_open(made, np.broadcast_to(singular, made.shape))


def inverse(a: Any) -> ErrorArray:
    """X = A⁻¹: δX = -X δA X."""
    a = in_range(a)
    model, value = a.model, inverse_of(a.value)
    sizes = model.raised(value)
    return _of_singular(ErrorArray(value, model, sizes @ perturbed(a) @ sizes + model.rounding(value)), value, a)


def solution(a: Any, b: Any) -> ErrorArray:
    """A X = B: δX = A⁻¹ (δB - δA X)."""
    a, b = map(in_range, operands(a, b))
    try:
        value = np.linalg.solve(a.value, b.value)
    except np.linalg.LinAlgError:
        value = inverse_of(a.value) @ b.value
    return _solved(a, b, value, perturbed(a))


def _solved(a: ErrorArray, b: ErrorArray, value: Floats, error: Twofold) -> ErrorArray:
    model, back = a.model, inverse_of(a.value)
    arriving = added(error @ model.raised(value), b.error)
    assert arriving is not None
    made = ErrorArray(value, model, model.raised(back) @ arriving + model.rounding(value))
    return _of_singular(made, back, a, b)


def triangular_solution(a: ErrorArray, b: ErrorArray) -> ErrorArray:
    """The solution with a triangular matrix, whose zeros are exact: only its own elements are perturbed, by n roundings each."""
    a, b = map(in_range, operands(a, b))
    n, model = a.shape[-1], a.model
    own = model.raised(a.value * model.unit_roundoff) * model.constant(float(n), float(n))
    error = added(a.error, own)
    assert error is not None
    return _solved(a, b, solved_by_substitution(a.value, b.value), error)


def solved_by_substitution(a: Floats, b: Floats) -> Floats:
    """A⁻¹ B for matrices of which one triangle is zero."""
    from scipy.linalg import solve_triangular  # here: few programs need it

    shape = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    left, right = np.broadcast_to(a, (*shape, *a.shape[-2:])), np.broadcast_to(b, (*shape, *b.shape[-2:]))
    result = np.empty(right.shape)
    for place in np.ndindex(shape):
        lower = not np.triu(left[place], 1).any()
        result[place] = solve_triangular(left[place], right[place], lower=lower, check_finite=False) if b.size else 0.0
    return result


def log_determinant(a: Any) -> tuple[Floats, ErrorArray]:
    """sign and ln |det A|: δ ln |det A| = tr(A⁻¹ δA). The logarithms of n pivots are added up."""
    a = in_range(a)
    model, n = a.model, a.shape[-1]
    sign, value = np.linalg.slogdet(a.value)
    error = _trace_with(inverse_of(a.value), perturbed(a, 1), model)
    pivots = np.abs(value) + n * np.log(np.maximum(np.max(np.abs(a.value), axis=(-2, -1), initial=0.0), 1.0))
    rounding = model.rounding(pivots / max(n, 1), 4.0) * model.constant(float(n), float(n)) + model.rounding(value)
    return sign, ErrorArray(value, model, error + rounding)


def determinant(a: Any) -> ErrorArray:
    """det A: δ det A = det A tr(A⁻¹ δA), and the roundings of the product of n pivots."""
    a = in_range(a)
    model, n = a.model, a.shape[-1]
    value = np.linalg.det(a.value)
    relative = _trace_with(inverse_of(a.value), perturbed(a, 1), model)
    more = model.constant(n * model.unit_roundoff**2, n * model.unit_roundoff)
    return ErrorArray(value, model, model.raised(value) * (relative + more) + model.rounding(value))


def _trace_with(inverse: Floats, error: Twofold, model: ErrorModel) -> Twofold:
    """The error of tr(A⁻¹ δA)."""
    weighted = model.raised(transposed(inverse)) * error
    return weighted.mapped(lambda own: np.asarray(own.sum((-2, -1))))


def cholesky(a: Any) -> ErrorArray:
    """A = L Lᵀ: δL = L Φ(L⁻¹ δA L⁻ᵀ), where Φ keeps the part below the diagonal, and half of the diagonal."""
    a = in_range(a)
    model, value = a.model, np.linalg.cholesky(a.value)
    back = model.raised(inverse_of(value))
    middle = back @ perturbed(a, 1, value) @ back.mapped(transposed)
    kept = np.tril(np.ones(a.shape[-2:])) - 0.5 * np.eye(a.shape[-1])
    error = model.raised(value) @ (middle * model.raised(kept))
    lower = np.tril(np.ones(a.shape[-2:], bool))
    error = (error + model.rounding(value)).mapped(lambda own: np.where(lower, own, 0.0))
    return ErrorArray(value, model, error)


def triangular_factors(a: ErrorArray) -> tuple[ErrorArray, ErrorArray]:
    """L and U of A = L U, without exchanging rows: with M = L⁻¹ δA U⁻¹, δL = L M below the diagonal, and δU = M U above it.

    δA has the roundings of each product and of each difference on the way of an element to its place in L or U.
    """
    a = in_range(a)
    model = a.model
    lower, upper, sums = _eliminated(a.value)
    products = model.raised(lower) @ model.raised(upper)
    own = (products + Twofold(sums, np.sqrt(a.shape[-1] * sums) if model.bounds else None)) * model.constant(
        model.unit_roundoff**2, model.unit_roundoff
    )
    moved = own if a.error is None else own + a.error
    middle = model.raised(inverse_of(lower)) @ moved @ model.raised(inverse_of(upper))
    of_lower = model.raised(lower) @ middle.mapped(lambda each: np.tril(each, -1))
    of_upper = middle.mapped(np.triu) @ model.raised(upper)
    below = np.tril(np.ones(a.shape[-2:], bool), -1)
    of_lower = (of_lower + model.rounding(lower)).mapped(lambda each: np.where(below, each, 0.0))
    of_upper = (of_upper + model.rounding(upper)).mapped(lambda each: np.where(below, 0.0, each))
    return ErrorArray(lower, model, of_lower), ErrorArray(upper, model, of_upper)


def factors_in_order(a: Floats) -> tuple[Floats, Floats]:
    """L and U of A = L U, without exchanging rows."""
    return _eliminated(a)[:2]


def _eliminated(a: Floats) -> tuple[Floats, Floats, Floats]:
    """L and U of A = L U, and the sum of the squares of each element on its way."""
    left, sums = a.copy(), np.zeros(a.shape)
    for own in range(a.shape[-1]):
        below, beyond = (..., slice(own + 1, None), own), (..., slice(own + 1, None), slice(own + 1, None))
        left[below] /= left[..., own, own, None]
        left[beyond] -= left[below][..., None] * left[..., own, None, own + 1 :]
        sums[beyond] += np.square(left[beyond])
    return np.tril(left, -1) + np.eye(a.shape[-1]), np.triu(left), sums


def exponential(a: ErrorArray) -> ErrorArray:
    """exp A, by scaling and squaring: δ exp A = ∫₀¹ exp(sA) δA exp((1-s)A) ds."""
    a = in_range(a)
    value, rounding = _squared(a.value, a.model)
    return ErrorArray(value, a.model, added(_carried(a.value, a.error, a.model), rounding))


def gradient_of_exponential(a: ErrorArray, g: ErrorArray) -> ErrorArray:
    """∫₀¹ exp(sAᵀ) G exp((1-s)Aᵀ) ds, the upper right block of exp [[Aᵀ, G], [0, Aᵀ]]. Both blocks share the error of A."""
    a, g = map(in_range, operands(a, g))
    n, model = a.shape[-1], a.model
    both, given = _in_blocks(transposed(a.value), g.value), None
    if a.error is not None or g.error is not None:
        of_a = a.error_or_zero.mapped(transposed) * model.constant(2.0, 1.0)
        given = of_a.mapped(_in_blocks, g.error_or_zero)
    value, rounding = _squared(both, model)
    error = added(_carried(both, given, model), rounding)
    assert error is not None

    def corner(whole: Floats) -> Floats:
        return whole[..., :n, n:]

    return ErrorArray(corner(value), model, error.mapped(corner))


def _in_blocks(a: Floats, g: Floats) -> Floats:
    rows = [np.concatenate([a, g], -1), np.concatenate([np.zeros_like(a), a], -1)]
    return np.concatenate(rows, axis=-2)


def _carried(a: Floats, error: Twofold | None, model: ErrorModel) -> Twofold | None:
    """The error of exp A by that of A, which is the same at every place of the integral: sizes add up, not squares."""
    from scipy.linalg import expm  # here: few programs need it

    if error is None:
        return None
    shares = [
        (model.raised(expm(a * (1 + own) / 2)) @ error @ model.raised(expm(a * (1 - own) / 2)), weight / 2)
        for own, weight in zip(PLACES, WEIGHTS, strict=True)
    ]
    return _in_sizes(shares)


def _in_sizes(shares: Sequence[tuple[Twofold, float]]) -> Twofold:
    """The error of a weighted sum whose terms have a common error."""
    statistical = np.square(sum(weight * np.sqrt(share.statistical) for share, weight in shares))
    bounds = [weight * share.worst for share, weight in shares if share.worst is not None]
    return Twofold(statistical, sum(bounds[1:], bounds[0]) if bounds else None)


def _squared(a: Floats, model: ErrorModel) -> tuple[Floats, Twofold]:
    """exp A = (exp A/2ˢ)^(2ˢ), and its rounding: of a polynomial in A/2ˢ, whose terms may cancel, and of s products.

    Each product doubles the error before it. It is a sum of n terms, like those inside the polynomial. SciPy's own result for A
    errs more, by up to a hundred times where norms are large.
    """
    from scipy.linalg import expm  # here: few programs need it

    n, u = a.shape[-1], model.unit_roundoff
    norm = np.max(np.sum(np.abs(a), axis=-2), axis=-1, initial=0.0)
    most = LARGEST_NORM.get(model.dtype.name, LARGEST_NORM_OF_OTHERS)
    times = np.ceil(np.log2(np.maximum(np.where(np.isfinite(norm), norm, 0.0), most) / most))[..., None, None]
    small = a * 2.0**-times
    sums = float(SUMS_OF_EXPONENTIAL + 2 * n)
    error = model.raised(expm(np.abs(small)) * u) * model.constant(sums, sums)
    power = expm(small)
    for own in range(int(np.max(times, initial=0.0))):
        sizes, product, active = model.raised(power), power @ power, times > own
        again = _in_sizes([(sizes @ error, 1.0), (error @ sizes, 1.0)])
        rounding = (sizes @ sizes) * model.constant(n * u * u, n * u)
        error = (again + rounding).mapped(lambda new, old, active=active: np.where(active, new, old), error)
        power = np.where(active, product, power)
    return power, error


FUNCTIONS.update(
    {
        np.linalg.inv: inverse,
        np.linalg.solve: solution,
        np.linalg.det: determinant,
        np.linalg.slogdet: log_determinant,
        np.linalg.cholesky: cholesky,
    }
)
