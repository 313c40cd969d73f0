"""Products of matrices."""

from __future__ import annotations

from typing import Any

import numpy as np

from oracle.programs.adjoint import matrix_t, plain, summed_to
from oracle.programs.geometry import mapped
from oracle.programs.table import NoRule, rule
from oracle.running_error.infinities import left_open
from oracle.running_error.stores import stored


@rule("mm", "bmm")
def mm(input: Any, mat2: Any) -> Any:
    """A B; g Bᵀ, and Aᵀ g."""
    return input @ mat2, lambda g: (g @ matrix_t(mat2), matrix_t(input) @ g)


@rule("dot", "vdot")
def dot(input: Any, tensor: Any) -> Any:
    """Σ x y; g y, and g x."""
    product = input.reshape(1, -1) @ tensor.reshape(-1, 1)
    return product.reshape(()), lambda g: (g * tensor, g * input)


@rule("mv")
def mv(input: Any, vec: Any) -> Any:
    """A v; g vᵀ, and Aᵀ g."""

    def backward(g: Any) -> Any:
        return g.reshape(-1, 1) * vec, (matrix_t(input) @ g.reshape(-1, 1)).reshape(-1)

    return (input @ vec.reshape(-1, 1)).reshape(-1), backward


@rule("addmm", "baddbmm", "sparse_addmm", "_sparse_addmm")
def addmm(input: Any, mat1: Any, mat2: Any, beta: Any = 1, alpha: Any = 1) -> Any:
    """β c + α A B; β g, α g Bᵀ, and α Aᵀ g."""
    z = mat1 @ mat2
    z = z if alpha == 1 else z * float(alpha)
    c = input if beta == 1 else input * float(beta)
    if beta != 0:
        z += c

    def backward(g: Any) -> Any:
        scaled = g if alpha == 1 else g * float(alpha)
        back = g if beta == 1 else g * float(beta)
        return summed_to(back, input), scaled @ matrix_t(mat2), matrix_t(mat1) @ scaled

    return z, backward


@rule("_scaled_mm")
def scaled_mm(
    self: Any,
    mat2: Any,
    scale_a: Any,
    scale_b: Any,
    bias: Any = None,
    scale_result: Any = None,
    out_dtype: Any = None,
    use_fast_accum: bool = False,
) -> Any:
    """s t A B + c, of numbers of 8 bits; s t g Bᵀ, s t Aᵀ g, and of each scale the sum of t g A B, or of s g A B."""
    if scale_result is not None:
        raise NoRule("there is no rule for _scaled_mm with a scale_result")
    product = self @ mat2
    z = product * (scale_a * scale_b)
    z = z if bias is None else z + bias

    def backward(g: Any) -> Any:
        scaled = g * (scale_a * scale_b)
        of_scales = (summed_to(g * product * other, own) for own, other in ((scale_a, scale_b), (scale_b, scale_a)))
        of_bias = None if bias is None else summed_to(g, bias)
        return scaled @ matrix_t(mat2), matrix_t(self) @ scaled, *of_scales, of_bias

    return z, backward


@rule("_trilinear")
def trilinear(
    i1: Any, i2: Any, i3: Any, expand1: Any, expand2: Any, expand3: Any, sumdim: Any, unroll_dim: int = 1
) -> Any:
    """Σ x y z over dimensions, as nn.Bilinear has it; g times the other two, summed likewise."""

    def opened(x: Any, axes: Any) -> Any:
        for axis in sorted(axes):
            x = np.expand_dims(x, axis)
        return x

    x, y, z = opened(i1, expand1), opened(i2, expand2), opened(i3, expand3)
    summed = tuple(sorted(sumdim))

    def backward(g: Any) -> Any:
        whole = opened(g, summed)

        def of(factor: Any, other: Any, own: Any, closed: Any) -> Any:
            made = summed_to(whole * (factor * other), opened(own, closed)).reshape(own.shape)
            # The order of product and sum decides what an infinity meets.
            return left_open(made, ~np.isfinite(plain(made)) & np.isinf(plain(g)).any())

        return of(y, z, i1, expand1), of(x, z, i2, expand2), of(x, y, i3, expand3)

    return np.sum(x * y * z, axis=summed), backward


@rule("_grouped_mm")
def grouped_mm(self: Any, mat2: Any, offs: Any = None, bias: Any = None, out_dtype: Any = None) -> Any:
    """A product for each group, whose rows, columns or terms end at an offset; of each group g Bᵀ, and Aᵀ g."""
    if offs is None:
        return mm(self, mat2)
    grouped = {(2, 3): self.shape[0], (3, 2): mat2.shape[-1], (2, 2): mat2.shape[0]}[self.ndim, mat2.ndim]
    if not len(offs) or offs[-1] != grouped:
        raise NoRule("the last offset leaves a part of _grouped_mm's result without a value")
    groups: list[tuple[Any, Any, Any]] = []
    for group, (first, last) in enumerate(zip([0, *offs[:-1]], offs, strict=True)):
        own = slice(first, last)
        if first == last:
            continue
        if self.ndim == 3:  # of columns
            groups.append((group, np.s_[:, own], np.s_[:, own]))
        else:  # of rows, or of terms
            groups.append((own, group, own) if mat2.ndim == 3 else (np.s_[:, own], own, group))
    shape = (
        (self.shape[-2], mat2.shape[-1]) if self.ndim + mat2.ndim == 5 else (len(offs), self.shape[0], mat2.shape[1])
    )
    y = np.zeros_like(self, shape=shape)
    for of_a, of_b, of_y in groups:
        y[of_y] = self[of_a] @ mat2[of_b]

    def backward(g: Any) -> Any:
        grad_self, grad_mat2 = np.zeros_like(self), np.zeros_like(mat2)
        for of_a, of_b, of_y in groups:
            grad_self[of_a], grad_mat2[of_b] = g[of_y] @ matrix_t(mat2[of_b]), matrix_t(self[of_a]) @ g[of_y]
        return grad_self, grad_mat2

    return y, backward


def _scaled(x: Any, factor: Any) -> Any:
    return x if factor == 1 else x * float(factor)


def _plus(input: Any, product: Any, beta: Any, alpha: Any) -> Any:
    """β c + α times a product; without c where β is 0."""
    z = _scaled(product, alpha)
    return z if beta == 0 else _scaled(input, beta) + z


@rule("addbmm")
def addbmm(input: Any, batch1: Any, batch2: Any, beta: Any = 1, alpha: Any = 1) -> Any:
    """β c + α Σ A B over a stack; β g, α g Bᵀ, and α Aᵀ g."""
    z = _scaled(input, beta) if beta != 0 else None
    for a, b in ((batch1[place], batch2[place]) for place in range(len(batch1))):  # each is added to what is stored
        product = _scaled(a @ b, alpha)
        z = stored(product if z is None else z + product)
    if z is None:
        z = np.zeros_like(input)
    shape = batch1.shape[1], batch2.shape[2]
    return mapped(z, lambda own: np.broadcast_to(own, shape)), lambda g: (
        summed_to(_scaled(g, beta), input),
        _scaled(g, alpha) @ matrix_t(batch2),
        matrix_t(batch1) @ _scaled(g, alpha),
    )


@rule("addmv")
def addmv(input: Any, mat: Any, vec: Any, beta: Any = 1, alpha: Any = 1) -> Any:
    """β c + α A v; β g, α g vᵀ, and α Aᵀ g."""
    product, back = mv(mat, vec)
    return _plus(input, product, beta, alpha), lambda g: (
        summed_to(_scaled(g, beta), input),
        *back(_scaled(g, alpha)),
    )


@rule("addr")
def addr(input: Any, vec1: Any, vec2: Any, beta: Any = 1, alpha: Any = 1) -> Any:
    """β c + α u vᵀ; β g, α g v, and α gᵀ u."""
    return _plus(input, vec1.reshape(-1, 1) * vec2, beta, alpha), lambda g: (
        summed_to(_scaled(g, beta), input),
        (_scaled(g, alpha) @ vec2.reshape(-1, 1)).reshape(-1),
        (matrix_t(_scaled(g, alpha)) @ vec1.reshape(-1, 1)).reshape(-1),
    )
