"""Products of matrices."""

from __future__ import annotations

from typing import Any

import numpy as np

from oracle.programs.adjoint import matrix_t, summed_to
from oracle.programs.table import NoRule, rule


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


@rule("addmm", "baddbmm")
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
            return summed_to(whole * (factor * other), opened(own, closed)).reshape(own.shape)

        return of(y, z, i1, expand1), of(x, z, i2, expand2), of(x, y, i3, expand3)

    return np.sum(x * y * z, axis=summed), backward
