"""Rules of products of complex arrays that are sums over dimensions, by the rules of real ones.

A product is linear in either factor: (a + ib)(c + id) = (ac - bd) + i (ad + bc), and so is its derivative.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from oracle.programs.rules import contractions
from oracle.programs.rules.complex_numbers import joined, parts
from oracle.programs.table import NoRule, rule


def _of_two(product: Callable[..., Any], x: Any, y: Any, *more: Any) -> Any:
    """The product of two complex arrays, and its backward, by a rule of real ones."""
    (a, b), (c, d) = parts(x), parts(y)
    (ac, of_ac), (bd, of_bd), (ad, of_ad), (bc, of_bc) = (
        product(own, other, *more) for own, other in ((a, c), (b, d), (a, d), (b, c))
    )

    def backward(g: Any) -> Any:
        p, q = parts(g)
        (a_p, c_p), (b_p, d_p), (a_q, d_q), (b_q, c_q) = of_ac(p), of_bd(p), of_ad(q), of_bc(q)
        return joined(a_p + a_q, b_q - b_p), joined(c_p + c_q, d_q - d_p)

    return joined(ac - bd, ad + bc), backward


@rule("complex::matmul")
def matmul(input: Any, other: Any) -> Any:
    """A B, vectors and stacks of matrices included; g B*, and A* g, with the conjugate transposes."""
    return _of_two(contractions.matmul, input, other)


@rule("complex::einsum")
def einsum(*given: Any) -> Any:
    """Σ of products of one or two arrays over the labels that the result lacks; the same of g and the conjugate of the other."""
    *arrays, equation = given
    if len(arrays) == 2:
        return _of_two(lambda x, y: contractions.einsum(x, y, equation), *arrays)
    if len(arrays) > 2:
        raise NoRule("there is no rule for np.einsum of more than two complex arrays")
    (real, of_real), (imaginary, of_imaginary) = (contractions.einsum(own, equation) for own in parts(arrays[0]))

    def backward(g: Any) -> Any:
        p, q = parts(g)
        return (joined(of_real(p)[0], of_imaginary(q)[0]),)

    return joined(real, imaginary), backward
