"""Rules of decompositions: eigenvectors of symmetric matrices, singular vectors, QR, LU, and what is solved by them.

Eigenvectors, singular vectors and the columns of Q have the signs of the recorded ones; LU has the recorded order of the rows.
Sources of the gradients: M. Giles, "An extended collection of matrix derivative results", 2008; Walter and Lehmann, 2010;
Townsend, 2016. See `oracle.running_error.orthogonal`.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from oracle.programs.adjoint import matrix_t, plain
from oracle.programs.geometry import mapped
from oracle.programs.rules.linear_algebra import triangular
from oracle.programs.table import NoRule, rule
from oracle.running_error import UNIT_ROUNDOFF, ErrorArray
from oracle.running_error.decompositions import factors_in_order, triangular_factors
from oracle.running_error.orthogonal import least_squares, pseudoinverse, pseudoinverse_of, transformed

# The distance of τ |v|² from 2 in a reflection whose τ was computed in single precision from many numbers.
NEAR = 1e-3


@rule("_linalg_eigh", shown=True)
def eigh(A: Any, UPLO: Literal["L", "U"] = "L", compute_v: bool = True, *, shown: Any) -> Any:
    """A = Q Λ Qᵀ of a symmetric matrix; Q (diag gλ + sk(Qᵀ gQ) ∘ F / 2) Qᵀ, with sk(X) = X - Xᵀ and F_ij = 1 / (λ_j - λ_i)."""
    values, Q = np.linalg.eigh(A, UPLO=UPLO)
    if compute_v:
        Q = turned(Q, _flipped(Q, shown[1].numbers))

    def backward(g_values: Any, g_vectors: Any) -> Any:
        inner = None if g_values is None else _as_diagonal(g_values)
        if g_vectors is not None:
            turn = matrix_t(Q) @ g_vectors
            inner = _plus(inner, (turn - matrix_t(turn)) * (0.5 * _inverse_gaps(values)))
        return (None if inner is None else Q @ inner @ matrix_t(Q),)

    return (values, Q if compute_v else np.zeros(0)), backward


@rule("_linalg_svd", shown=True)
def svd(A: Any, full_matrices: bool = False, compute_uv: bool = True, *, driver: Any = None, shown: Any) -> Any:
    """A = U Σ Vᵀ; U ((sk(Uᵀ gU) ∘ F) Σ + Σ (sk(Vᵀ gV) ∘ F) + diag gσ) Vᵀ, sk(X) = X - Xᵀ, F_ij = 1 / (σ_j² - σ_i²). What gU and
    gV have beside the columns of U and V adds (I - U Uᵀ) gU Σ⁻¹ Vᵀ and U Σ⁻¹ gVᵀ (I - V Vᵀ)."""
    U, S, Vt = np.linalg.svd(A, full_matrices=full_matrices)
    (m, n), k = A.shape[-2:], min(A.shape[-2:])
    if compute_uv:
        flip = _flipped(U, shown[0].numbers)
        U, Vt = turned(U, flip), matrix_t(turned(matrix_t(Vt), flip[..., :k]))

    def backward(g_u: Any, g_s: Any, g_vt: Any) -> Any:
        u, v, s = U[..., :k], matrix_t(Vt)[..., :k], S.reshape((*S.shape[:-1], 1, k))
        inner, gaps, beside = None if g_s is None else _as_diagonal(g_s), _inverse_gaps(np.square(S)), None
        if g_u is not None:
            g_u = g_u[..., :k]
            turn = matrix_t(u) @ g_u
            inner = _plus(inner, (turn - matrix_t(turn)) * gaps * s)
            if m > k:
                beside = ((g_u - u @ turn) / s) @ matrix_t(v)
        if g_vt is not None:
            g_v = matrix_t(g_vt)[..., :k]
            turn = matrix_t(v) @ g_v
            inner = _plus(inner, matrix_t(s) * ((turn - matrix_t(turn)) * gaps))
            if n > k:
                beside = _plus(beside, (u / s) @ matrix_t(g_v - v @ turn))
        made = None if inner is None else u @ inner @ matrix_t(v)
        return (made if beside is None else _plus(made, beside),)

    nothing = np.zeros(0)
    return ((U, S, Vt) if compute_uv else (nothing, S, nothing)), backward


@rule("linalg_qr", shown=True)
def qr(A: Any, mode: str = "reduced", *, shown: Any) -> Any:
    """A = Q R; (gQ + Q sym(triu(gR Rᵀ - Qᵀ gQ))) R⁻ᵀ, where sym repeats the upper triangle below the diagonal. Columns of A
    beyond the number of rows are Q times those of R."""
    Q, R = np.linalg.qr(A, mode="complete" if mode == "complete" else "reduced")
    k = min(A.shape[-2:])
    flip = _flipped(matrix_t(R), matrix_t(shown[1].numbers)) if mode == "r" else _flipped(Q, shown[0].numbers)
    Q, R = turned(Q, flip), matrix_t(turned(matrix_t(R), flip))

    def backward(g_q: Any, g_r: Any) -> Any:
        if A.shape[-2] > k and mode == "complete":
            raise NoRule("there is no rule for the gradient of a complete QR decomposition of more rows than columns")
        q, r = Q[..., :k], R[..., :k, :k]
        rest, g_rest = A[..., k:], None if g_r is None else g_r[..., k:]
        if g_rest is not None and rest.shape[-1]:
            g_q = _plus(g_q, rest @ matrix_t(g_rest))
        inner = None if g_r is None else g_r[..., :k] @ matrix_t(r)
        inner = inner if g_q is None else _plus(inner, -(matrix_t(q) @ g_q))
        upper = np.triu(np.ones((k, k), bool))
        both = np.where(upper, inner, matrix_t(inner))
        right = _plus(g_q, q @ both)
        grad = matrix_t(triangular(r, matrix_t(right)))
        if rest.shape[-1]:
            last = np.zeros_like(rest) if g_rest is None else q @ g_rest
            grad = np.concatenate([grad, last], axis=-1)
        return (grad,)

    return (np.zeros(0) if mode == "r" else Q, R), backward


@rule("linalg_lu_factor_ex", shown=True)
def lu_factor(A: Any, pivot: bool = True, check_errors: bool = False, *, shown: Any) -> Any:
    """P A = L U, with L below U's diagonal; Pᵀ L⁻ᵀ (tril(Lᵀ gL) + triu(gU Uᵀ)) U⁻ᵀ."""
    order = rows_of(shown[1].numbers, A.shape[-2])
    L, U = _factors(_in_order(A, order))
    below = np.tril(np.ones(A.shape[-2:], bool), -1)

    def backward(g: Any, *_: Any) -> Any:
        return (_in_order(_of_factors(L, U, np.where(below, g, 0.0), np.where(below, 0.0, g)), np.argsort(order)),)

    return (np.where(below, L, U), None, None), backward


@rule("linalg_lu", shown=True)
def lu(A: Any, pivot: bool = True, *, shown: Any) -> Any:
    """A = P L U; P L⁻ᵀ (tril(Lᵀ gL) + triu(gU Uᵀ)) U⁻ᵀ."""
    order = np.argmax(shown[0].numbers, axis=-2)
    L, U = _factors(_in_order(A, order))

    def backward(_: Any, g_l: Any, g_u: Any) -> Any:
        return (_in_order(_of_factors(L, U, g_l, g_u), np.argsort(order)),)

    return (None, L, U), backward


@rule("linalg_lu_solve")
def lu_solve(LU: Any, pivots: Any, B: Any, left: bool = True, adjoint: bool = False) -> Any:
    """X = A⁻¹ B for A = Pᵀ L U, A⁻ᵀ B, or the same from the right; h = A⁻ᵀ g to B, and with G = -P h Xᵀ, tril(G Uᵀ) to L and
    triu(Lᵀ G) to U."""
    if LU.shape[:-2] != B.shape[:-2]:
        raise NoRule("there is no rule for lu_solve with other batches of the right-hand side")
    order, below = rows_of(plain(pivots), LU.shape[-1]), np.tril(np.ones(LU.shape[-2:], bool), -1)
    L, U = np.where(below, LU, 0.0) + np.eye(LU.shape[-1]), np.where(below, 0.0, LU)

    def solved(own: Any, is_transposed: bool) -> Any:
        if is_transposed:
            return _in_order(triangular(matrix_t(L), triangular(matrix_t(U), own)), np.argsort(order))
        return triangular(U, triangular(L, _in_order(own, order)))

    is_transposed = adjoint == left
    X = solved(B if left else matrix_t(B), is_transposed)

    def backward(g: Any) -> Any:
        h = solved(g if left else matrix_t(g), not is_transposed)
        grad = -(X @ matrix_t(h)) if is_transposed else -(h @ matrix_t(X))
        grad = _in_order(grad, order)
        to_lu = np.where(below, grad @ matrix_t(U), matrix_t(L) @ grad)
        return to_lu, None, h if left else matrix_t(h)

    return (X if left else matrix_t(X)), backward


@rule("linalg_pinv")
def pinv(A: Any, *, atol: Any = None, rtol: Any = None, hermitian: bool = False) -> Any:
    """X = A⁺; with G = gᵀ, -(X G X)ᵀ + G X Xᵀ - A X G X Xᵀ + Xᵀ X (G - G X A)."""
    if hermitian or any(own is not None and plain(own).size != 1 for own in (atol, rtol)):
        raise NoRule("there is no rule for pinv of symmetric matrices alone, nor with one bound for each matrix")
    least = 0.0 if atol is None else float(plain(atol).item())
    share = (0.0 if least else _share(A)) if rtol is None else float(plain(rtol).item())
    X: Any = pseudoinverse(A, share, least) if isinstance(A, ErrorArray) else pseudoinverse_of(A, share, least)
    return X, lambda g: (_of_pseudoinverse(matrix_t(g), A, X),)


@rule("linalg_lstsq")
def lstsq(A: Any, B: Any, rcond: float | None = None, *, driver: str | None = None) -> Any:
    """X = A⁺ B; A⁺ᵀ g to B, and to A the gradient of A⁺ for g Bᵀ."""
    is_vector = B.ndim == A.ndim - 1
    columns = B.reshape((*B.shape, 1)) if is_vector else B
    share = _share(A) if rcond is None else rcond
    X: Any
    inverse: Any
    if isinstance(A, ErrorArray) and isinstance(columns, ErrorArray):
        X, inverse = least_squares(A, columns, share), pseudoinverse(A, share)
    elif isinstance(A, ErrorArray) or isinstance(columns, ErrorArray):
        raise NoRule("there is no rule for lstsq with one plain array")
    else:
        inverse = pseudoinverse_of(A, share)
        X = inverse @ columns

    def backward(g: Any, *_: Any) -> Any:
        g = g.reshape((*g.shape, 1)) if is_vector else g
        grad = matrix_t(inverse) @ g
        return _of_pseudoinverse(columns @ matrix_t(g), A, inverse), grad.reshape(B.shape)

    return (X.reshape(X.shape[:-1]) if is_vector else X, None, None, None), backward


@rule("linalg_householder_product")
def householder_product(A: Any, tau: Any) -> Any:
    """The first columns of H₁ … H_k with reflections H = I - τ v vᵀ. From the first on, with g ← H g after each, to v
    -τ (g c + Y gᵀ v), and to τ -gᵀ v · c, where c = Yᵀ v, and Y is the product of those after H."""
    (m, n), k = A.shape[-2:], tau.shape[-1]
    Y: Any = np.broadcast_to(np.eye(m, n), A.shape)
    kept = []
    for own in reversed(range(k)):
        place = np.arange(m)[:, None]
        v = np.where(place > own, A[..., own : own + 1], np.where(place == own, 1.0, 0.0))
        t = tau[..., own : own + 1].reshape((*tau.shape[:-1], 1, 1))
        c = matrix_t(v) @ Y
        kept.append((own, v, t, c, Y))
        Y = Y - t * (v @ c)

    def backward(g: Any) -> Any:
        if not all(_reflects(plain(v), plain(t)) for _, v, t, _, _ in kept):  # torch divides by τ |v|² - 1
            raise NoRule("there is no rule for the gradient of a product of others than reflections")
        g = transformed(g) if isinstance(g, ErrorArray) else g
        to_v, to_tau = [np.zeros_like(A[..., :1]) for _ in range(n)], []
        for own, v, t, c, before in reversed(kept):
            across = matrix_t(v) @ g
            grad = -(t * (g @ matrix_t(c) + before @ matrix_t(across)))
            to_v[own] = np.where(np.arange(m)[:, None] > own, grad, 0.0)
            to_tau.append(-(across @ matrix_t(c)).reshape((*tau.shape[:-1], 1)))
            g = g - t * (v @ across)
        to_a = np.concatenate(to_v, axis=-1) if to_v else np.zeros_like(A)
        return to_a, np.concatenate(to_tau, axis=-1) if to_tau else np.zeros_like(tau)

    return Y, backward


def _reflects(v: Any, t: Any) -> bool:
    """Whether all I - τ v vᵀ are reflections, or the identity."""
    return bool(np.all((np.abs(t * np.sum(np.square(v), axis=-2, keepdims=True) - 2) < NEAR) | (t == 0)))


def rows_of(pivots: Any, rows: int) -> Any:
    """The order of the rows after the exchanges that LAPACK's pivots stand for, counted from 1."""
    order = np.broadcast_to(np.arange(rows), (*pivots.shape[:-1], rows)).copy()
    for place in range(pivots.shape[-1]):
        other = (pivots[..., place] - 1)[..., None]
        there = np.take_along_axis(order, other, -1)
        np.put_along_axis(order, other, order[..., place, None], -1)
        order[..., place] = there[..., 0]
    return order


def turned(vectors: Any, flip: Any) -> Any:
    """The columns, with the opposite sign where the mask says so; it may lack the last ones, which only complete a basis."""
    if flip.shape[-1] < vectors.shape[-1]:
        rest = np.zeros((*flip.shape[:-1], vectors.shape[-1] - flip.shape[-1]), bool)
        flip = np.concatenate([flip, rest], axis=-1)
    return np.where(flip, -vectors, vectors)


def _flipped(vectors: Any, numbers: Any) -> Any:
    """The mask of columns that point away from the recorded ones."""
    return np.sum(plain(vectors) * numbers, axis=-2, keepdims=True) < 0


def _as_diagonal(x: Any) -> Any:
    return np.where(np.eye(x.shape[-1], dtype=bool), x.reshape((*x.shape, 1)), 0.0)


def _inverse_gaps(values: Any) -> Any:
    """1 / (value_j - value_i) beside the diagonal, and 1 on it, where it meets zeros."""
    k = values.shape[-1]
    gaps = values.reshape((*values.shape[:-1], 1, k)) - values.reshape((*values.shape, 1))
    return 1.0 / np.where(np.eye(k, dtype=bool), 1.0, gaps)


def _plus(x: Any, y: Any) -> Any:
    return y if x is None else x + y


def _factors(a: Any) -> Any:
    if a.shape[-1] != a.shape[-2]:
        raise NoRule("there is no rule for LU factors of matrices that are not square")
    return triangular_factors(a) if isinstance(a, ErrorArray) else factors_in_order(a)


def _in_order(x: Any, order: Any) -> Any:
    places = np.broadcast_to(order[..., None], x.shape)
    return mapped(x, lambda own: np.take_along_axis(own, places, -2))


def _of_factors(L: Any, U: Any, g_l: Any, g_u: Any) -> Any:
    """L⁻ᵀ (tril(Lᵀ gL) + triu(gU Uᵀ)) U⁻ᵀ."""
    below, inner = np.tril(np.ones(L.shape[-2:], bool), -1), None
    if g_l is not None:
        inner = np.where(below, matrix_t(L) @ g_l, 0.0)
    if g_u is not None:
        inner = _plus(inner, np.where(below, 0.0, g_u @ matrix_t(U)))
    if inner is None:
        return np.zeros_like(L)
    right = triangular(matrix_t(L), inner)
    return matrix_t(triangular(U, matrix_t(right)))


def _share(A: Any) -> float:
    """The share of the largest singular value below which torch takes others for zero."""
    name = A.dtype.name if isinstance(A, ErrorArray) else "float64"
    largest: int = max(A.shape[-2:])
    return 2 * UNIT_ROUNDOFF[name] * largest


def _of_pseudoinverse(G: Any, A: Any, X: Any) -> Any:
    K = G @ X
    back = K @ matrix_t(X)
    return -matrix_t(X @ K) + back - A @ (X @ back) + matrix_t(X) @ (X @ (G - K @ A))
