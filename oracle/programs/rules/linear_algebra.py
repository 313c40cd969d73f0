"""Rules of functions of square matrices. General eigenvectors have none."""

from __future__ import annotations

from typing import Any

import numpy as np

from oracle.programs.adjoint import matrix_t, summed_to
from oracle.programs.table import NoRule, rule
from oracle.running_error import ErrorArray
from oracle.running_error.decompositions import (
    exponential,
    gradient_of_exponential,
    solved_by_substitution,
    triangular_solution,
)


@rule("linalg_inv_ex")
def inv(A: Any, check_errors: bool = False) -> Any:
    """X = A⁻¹; -Xᵀ g Xᵀ."""
    X = np.linalg.inv(A)
    return (X, None), lambda g, _: (-(matrix_t(X) @ g @ matrix_t(X)),)


@rule("_linalg_solve_ex")
def solve(A: Any, B: Any, left: bool = True, check_errors: bool = False) -> Any:
    """X = A⁻¹ B, or B A⁻¹; h = A⁻ᵀ g to B, and -h Xᵀ to A."""
    is_vector = B.ndim == 1 or (A.ndim - 1 == B.ndim and B.shape == A.shape[:-1])
    columns = B.reshape((*B.shape, 1)) if is_vector else B
    a, b = (A, columns) if left else (matrix_t(A), matrix_t(columns))
    X = np.linalg.solve(a, b)

    def backward(g: Any, *_: Any) -> Any:
        g = g.reshape((*g.shape, 1)) if is_vector else g
        h = np.linalg.solve(matrix_t(a), g if left else matrix_t(g))
        grad_a = summed_to(-(h @ matrix_t(X)), a)
        grad_b = summed_to(h, b)
        if not left:
            grad_a, grad_b = matrix_t(grad_a), matrix_t(grad_b)
        return grad_a, grad_b.reshape(B.shape)

    made = X if left else matrix_t(X)
    return (made.reshape(made.shape[:-1]) if is_vector else made, None, None, None), backward


@rule("linalg_solve_triangular")
def solve_triangular(A: Any, B: Any, *, upper: bool, left: bool = True, unitriangular: bool = False) -> Any:
    """X = A⁻¹ B, or B A⁻¹, for a triangular A; h = A⁻ᵀ g to B, and the triangle of -h Xᵀ to A."""
    if isinstance(A, ErrorArray) != isinstance(B, ErrorArray):
        raise NoRule("there is no rule for solve_triangular with one plain array")
    kept = np.tril(np.ones(A.shape[-2:], bool), -1 if unitriangular else 0)
    kept = kept.T if upper else kept
    triangle = np.where(kept, A, 0.0)
    triangle = triangle + np.eye(A.shape[-1]) if unitriangular else triangle
    a, b = (triangle, B) if left else (matrix_t(triangle), matrix_t(B))
    X = triangular(a, b)

    def backward(g: Any) -> Any:
        h = triangular(matrix_t(a), g if left else matrix_t(g))
        grad_a, grad_b = summed_to(-(h @ matrix_t(X)), a), summed_to(h, b)
        if not left:
            grad_a, grad_b = matrix_t(grad_a), matrix_t(grad_b)
        return np.where(kept, grad_a, 0.0), grad_b

    return (X if left else matrix_t(X)), backward


def triangular(a: Any, b: Any) -> Any:
    return triangular_solution(a, b) if isinstance(a, ErrorArray) else solved_by_substitution(a, b)


@rule("linalg_matrix_exp")
def matrix_exp(A: Any) -> Any:
    """exp A; the upper right block of exp [[Aᵀ, g], [0, Aᵀ]]. Source: Najfeld and Havel, Adv. Appl. Math. 16, 1995."""
    if isinstance(A, ErrorArray):
        return exponential(A), lambda g: (gradient_of_exponential(A, g),)
    from scipy.linalg import expm, expm_frechet  # here: few programs need it

    def backward(g: Any) -> Any:
        grad = np.empty(A.shape)
        for place in np.ndindex(A.shape[:-2]):
            grad[place] = expm_frechet(A[place].T, g[place], compute_expm=False)
        return (grad,)

    return expm(A), backward


@rule("_linalg_det")
def det(A: Any) -> Any:
    """det A; g det A A⁻ᵀ."""
    y = np.linalg.det(A)

    def backward(g: Any, *_: Any) -> Any:
        scale = g * y
        return (matrix_t(np.linalg.inv(A)) * scale.reshape((*scale.shape, 1, 1)),)

    return (y, None, None), backward


@rule("_linalg_slogdet")
def slogdet(A: Any) -> Any:
    """sign and ln |det A|; g A⁻ᵀ."""
    sign, y = np.linalg.slogdet(A)

    def backward(_: Any, g: Any, *__: Any) -> Any:
        return (None if g is None else matrix_t(np.linalg.inv(A)) * g.reshape((*g.shape, 1, 1)),)

    return (sign, y, None, None), backward


@rule("linalg_cholesky_ex")
def cholesky_ex(A: Any, upper: bool = False, check_errors: bool = False) -> Any:
    """A = L Lᵀ; the symmetric part of L⁻ᵀ Φ(Lᵀ g) L⁻¹, where Φ keeps the lower triangle and half of the diagonal."""
    lower = np.tril(np.ones(A.shape[-2:], bool))
    both = np.where(lower, matrix_t(A) if upper else A, 0.0)
    whole = both + matrix_t(np.where(np.eye(A.shape[-1], dtype=bool), 0.0, both))
    L = np.linalg.cholesky(whole)

    def backward(g: Any, *_: Any) -> Any:
        g = matrix_t(g) if upper else g
        middle = np.where(lower, matrix_t(L) @ np.where(lower, g, 0.0), 0.0)
        middle = middle * (1.0 - 0.5 * np.eye(A.shape[-1]))
        back = np.linalg.inv(L)
        made = matrix_t(back) @ middle @ back
        return ((made + matrix_t(made)) * 0.5,)

    return (matrix_t(L) if upper else L, None), backward


@rule("cholesky")
def cholesky(input: Any, upper: bool = False) -> Any:
    """A = L Lᵀ, by the rule of linalg_cholesky_ex."""
    (y, _), back = cholesky_ex(input, upper)
    return y, back


@rule("cholesky_solve")
def cholesky_solve(B: Any, L: Any, upper: bool = False) -> Any:
    """X = (L Lᵀ)⁻¹ B; h = (L Lᵀ)⁻¹ g to B, and -(h Xᵀ + X hᵀ) L to L."""
    lower = np.tril(np.ones(L.shape[-2:], bool))
    factor = np.where(lower, matrix_t(L) if upper else L, 0.0)

    def solved(own: Any) -> Any:
        return triangular(matrix_t(factor), triangular(factor, own))

    X = solved(B)

    def backward(g: Any) -> Any:
        h = solved(g)
        product = h @ matrix_t(X)
        grad = summed_to(-((product + matrix_t(product)) @ factor), factor)
        return summed_to(h, B), matrix_t(grad) if upper else grad

    return X, backward


@rule("cholesky_inverse")
def cholesky_inverse(input: Any, upper: bool = False) -> Any:
    """X = (L Lᵀ)⁻¹; -X (g + gᵀ) X L to L."""
    identity: Any = np.broadcast_to(np.eye(input.shape[-1]), input.shape)
    if isinstance(input, ErrorArray):
        identity = ErrorArray.exact(identity, input.model)
    X, _ = cholesky_solve(identity, input, upper)

    def backward(g: Any) -> Any:
        middle = X @ (g + matrix_t(g)) @ X
        return (-(input @ middle) if upper else -(middle @ input),)

    return X, backward
