"""Rules of complex numbers z = a + ib. Their real and imaginary parts lie in the last dimension.

The gradient of a complex number is ∂L/∂a + i ∂L/∂b, as torch has it, so that these rules are those of a and b. An operation that
treats both parts alike has the rule of real numbers, applied to each (`ALIKE`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from oracle.programs.adjoint import is_floating, plain, summed_to
from oracle.programs.table import COMPLEX, RULES, NoRule, Rule, rule

# Operations that treat both parts alike: all of these families, and these of others.
FAMILIES = ("views", "copies")
ALIKE = (
    *("add", "sub", "rsub", "neg", "sum", "mean", "cumsum", "trace", "where", "masked_fill", "constant_pad_nd"),
    *("index", "_unsafe_index", "index_select", "gather", "take", "masked_select", "index_copy", "index_put"),
    *("_unsafe_index_put", "index_add", "scatter", "scatter_add", "put", "masked_scatter"),
    *("slice_backward", "select_backward", "unfold_backward", "pixel_shuffle", "pixel_unshuffle", "channel_shuffle"),
    *("reflection_pad1d", "reflection_pad2d", "reflection_pad3d", "im2col", "col2im"),
    *("replication_pad1d", "replication_pad2d", "replication_pad3d"),
)
# Not those that read memory by strides, in which both parts lie.
BY_MEMORY = ("view", "view_overlapping", "write", "as_strided_copy", "as_strided_scatter", "alias_copy", "view_copy")
# The positions of arguments that are numbers to be added or stored, whose imaginary part is 0 if they are real.
NUMBERS = {
    "add": (1,),
    "sub": (1,),
    "rsub": (1,),
    "fill": (1,),
    "masked_fill": (2,),
    "constant_pad_nd": (2,),
    "where": (1, 2),
}
# Small whole powers, which are products.
POWERS = (1, 2, 3)


def parts(x: Any) -> tuple[Any, Any]:
    """a and b, of an array or of a number; whole numbers are real."""
    if is_floating(x):
        return x[..., 0], x[..., 1]
    return (x, 0.0) if isinstance(x, np.ndarray) else (complex(x).real, complex(x).imag)


def joined(a: Any, b: Any) -> Any:
    return np.stack([a, b], axis=-1)


def conjugate(x: Any) -> Any:
    if isinstance(x, np.ndarray) and not is_floating(x):
        return x
    a, b = parts(x)
    return joined(a, -b) if is_floating(x) else complex(a, -b)


def times(x: Any, y: Any) -> Any:
    """x y = (ac - bd) + i (ad + bc)."""
    (a, b), (c, d) = parts(x), parts(y)
    if not is_floating(y) and d == 0:
        return joined(a * c, b * c)
    return joined(a * c - b * d, a * d + b * c)


def divided(x: Any, y: Any) -> Any:
    """x / y, whose parts are divided by the larger part of y first, as torch's kernel does."""
    (a, b), (c, d) = parts(x), parts(y)
    if not is_floating(y) and d == 0:
        return joined(a / c, b / c)
    size = np.maximum(np.abs(plain(c)), np.abs(plain(d)))
    size = np.where(size > 0, size, 1.0)
    c, d = c / size, d / size
    below = (c * c + d * d) * size
    return joined((a * c + b * d) / below, (b * c - a * d) / below)


def matrix_product(x: Any, y: Any) -> Any:
    """The product of matrices."""
    (a, b), (c, d) = parts(x), parts(y)
    return joined(a @ c - b @ d, a @ d + b @ c)


def adjoint(x: Any) -> Any:
    """Matrices, transposed and conjugated."""
    return conjugate(np.swapaxes(x, -2, -3))


@rule("complex::real_as_complex", moves=True)
def real_as_complex(input: Any) -> Any:
    """x + 0i; the real part of g."""
    return joined(input, np.zeros_like(input)), lambda g: (g[..., 0],)


@rule("complex::complex", moves=True)
def of_parts(real: Any, imag: Any) -> Any:
    """a + ib; the real and the imaginary part of g."""
    shape = np.broadcast_shapes(real.shape, imag.shape)
    made = joined(np.broadcast_to(real, shape), np.broadcast_to(imag, shape))
    return made, lambda g: (summed_to(g[..., 0], real), summed_to(g[..., 1], imag))


@rule("complex::polar")
def polar(abs: Any, angle: Any) -> Any:
    """r cos θ + i r sin θ; Re g cos θ + Im g sin θ to r, and r (Im g cos θ - Re g sin θ) to θ."""
    cos, sin = np.cos(angle), np.sin(angle)

    def backward(g: Any) -> Any:
        a, b = parts(g)  # torch errs where r is not positive: reports/findings/torch-polar-not-positive.md
        return summed_to(a * cos + b * sin, abs), summed_to(abs * (b * cos - a * sin), angle)

    return joined(abs * cos, abs * sin), backward


@rule("complex::_conj", "complex::_conj_physical", "complex::conj_physical", moves=True)
def conj(input: Any) -> Any:
    """a - ib; the same of g."""
    return conjugate(input), lambda g: (conjugate(g),)


@rule("complex::mul")
def mul(input: Any, other: Any) -> Any:
    """x y; g ȳ, and g x̄."""
    x, y = (other, input) if not is_floating(input) else (input, other)

    def backward(g: Any) -> Any:
        grads = summed_to(times(g, conjugate(y)), x), summed_to(times(g, conjugate(x)), y) if is_floating(y) else None
        return grads if x is input else grads[::-1]

    return times(x, y), backward


@rule("complex::div")
def div(input: Any, other: Any) -> Any:
    """x / y; g / ȳ, and -g x̄ / ȳ²."""
    y = other
    made = divided(input, y)

    def backward(g: Any) -> Any:
        shared = divided(g, conjugate(y))
        if not is_floating(y):
            return (summed_to(shared, input),)
        return summed_to(shared, input), summed_to(-times(shared, conjugate(made)), y)

    return made, backward


@rule("complex::reciprocal")
def reciprocal(input: Any) -> Any:
    """1 / x; -g times the square of the conjugate of 1 / x."""
    made = divided(1.0, input)
    return made, lambda g: (-times(g, conjugate(times(made, made))),)


@rule("complex::square")
def square(input: Any) -> Any:
    """x²; 2 g x̄."""
    return times(input, input), lambda g: (times(g, conjugate(input)) * 2.0,)


@rule("complex::pow.Tensor_Scalar")
def power(input: Any, exponent: Any) -> Any:
    """x^p for p = 1, 2 or 3; p g times the conjugate of x^(p-1)."""
    if exponent not in POWERS:
        raise NoRule(f"there is no rule for a complex number to the power of {exponent}")
    below = 1.0 if exponent == 1 else input if exponent == 2 else times(input, input)
    made = times(input, below)
    return made, lambda g: (times(g, conjugate(below)) * float(exponent),)


@rule("complex::mm", "complex::bmm")
def mm(input: Any, mat2: Any) -> Any:
    """A B; g B*, and A* g, with the conjugate transposes."""
    return matrix_product(input, mat2), lambda g: (matrix_product(g, adjoint(mat2)), matrix_product(adjoint(input), g))


@rule("complex::addmm", "complex::baddbmm")
def addmm(input: Any, mat1: Any, mat2: Any, beta: Any = 1, alpha: Any = 1) -> Any:
    """β c + α A B; the conjugates of β and α times g, g B*, and A* g."""
    product = matrix_product(mat1, mat2)
    made = product if alpha == 1 else times(product, alpha)
    if beta != 0:
        made = made + (input if beta == 1 else times(input, beta))

    def backward(g: Any) -> Any:
        scaled = g if alpha == 1 else times(g, conjugate(alpha))
        back = g if beta == 1 else times(g, conjugate(beta))
        return summed_to(back, input), matrix_product(scaled, adjoint(mat2)), matrix_product(adjoint(mat1), scaled)

    return made, backward


@rule("complex::mv")
def mv(input: Any, vec: Any) -> Any:
    """A v; g v*, and A* g."""
    column = vec.reshape(-1, 1, 2)

    def backward(g: Any) -> Any:
        g = g.reshape(-1, 1, 2)
        return matrix_product(g, adjoint(column)), matrix_product(adjoint(input), g).reshape(-1, 2)

    return matrix_product(input, column).reshape(-1, 2), backward


@rule("complex::dot")
def dot(input: Any, tensor: Any) -> Any:
    """Σ x y; g ȳ, and g x̄."""
    made = matrix_product(input.reshape(1, -1, 2), tensor.reshape(-1, 1, 2)).reshape(2)
    return made, lambda g: (times(g, conjugate(tensor)), times(g, conjugate(input)))


@rule("complex::vdot")
def vdot(input: Any, other: Any) -> Any:
    """Σ x̄ y; ḡ y, and g x."""
    made = matrix_product(conjugate(input).reshape(1, -1, 2), other.reshape(-1, 1, 2)).reshape(2)
    return made, lambda g: (times(conjugate(g), other), times(g, input))


@rule("complex::_to_copy", moves=True, shown=True)
def to_copy(input: Any, *, shown: Any, **_: Any) -> Any:
    """x in another dtype, of which a real one takes the real part; g in x's."""
    if shown[0].is_complex:
        return input, lambda g: (g,)
    return input[..., 0], lambda g: (joined(g, np.zeros_like(g)),)


def _alike(own: Rule) -> Rule:
    """The rule of complex numbers for an operation that treats both parts alike."""
    numbers = NUMBERS.get(own.name.partition(".")[0], ())

    def function(*args: Any, **kwargs: Any) -> Any:
        found = [_of_part(own, numbers, args, kwargs, part) for part in range(2)]

        def backward(*grads: Any) -> Any:
            return _both(*(back(*_part_of(grads, part)) for part, (_, back) in enumerate(found)))

        return _both(*(made for made, _ in found)), backward

    function.__doc__ = own.function.__doc__
    return Rule(f"{COMPLEX}{own.name}", function, "complex_numbers", own.moves)


def _of_part(own: Rule, numbers: tuple[int, ...], args: Any, kwargs: Any, part: int) -> Any:
    """The operation on the real (0) or on the imaginary (1) part. Raises: NoRule for a complex factor, which would mix them."""
    given = list(args)
    for place in numbers:
        if place < len(args) and not is_floating(args[place]):
            given[place] = parts(args[place])[part]
    if any(isinstance(value, complex) for value in (*given, *kwargs.values())):
        raise NoRule(f"there is no rule for {own.name} with a complex factor")
    return own.function(*_part_of(given, part), **_part_of(kwargs, part))


def _part_of(arguments: Any, part: int) -> Any:
    """Nested arguments with the real (0) or the imaginary (1) part of each array."""
    if isinstance(arguments, (list, tuple)):
        return [_part_of(own, part) for own in arguments]
    if isinstance(arguments, dict):
        return {name: _part_of(own, part) for name, own in arguments.items()}
    return arguments[..., part] if is_floating(arguments) else arguments


def _both(one: Any, other: Any) -> Any:
    """Results of both parts, joined; nested like the results."""
    if isinstance(one, (tuple, list)):
        return tuple(_both(a, b) for a, b in zip(one, other, strict=True))
    return None if one is None or other is None else joined(one, other)


@rule("complex::copy", moves=True, shown=True)
def copy(input: Any, src: Any, non_blocking: bool = False, *, shown: Any) -> Any:
    """y in place of x, of which a real x takes the real part; nothing, and g."""
    if shown[0].is_complex:
        return _alike(RULES["copy"]).function(input, src)
    y = np.broadcast_to(src[..., 0], shown[0].shape)
    return y, lambda g: (np.zeros_like(input), summed_to(joined(g, np.zeros_like(g)), src))


def register() -> None:
    """Registers the rules of operations that treat real and imaginary parts alike. It runs after the rules of real numbers are
    known."""
    for name, own in list(RULES.items()):
        if own.recorded:
            RULES[f"{COMPLEX}{name}"] = own
        elif name in ALIKE or (own.family in FAMILIES and name not in BY_MEMORY):
            RULES.setdefault(f"{COMPLEX}{name}", _alike(own))
