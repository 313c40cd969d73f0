"""Changes that real bugs make to an array, independent of the layer that computed it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from oracle.case.arrays import Array
from oracle.selftest.plant import Call, Change


def zero(right: Array, call: Call) -> Array:
    return right * 0


def negated(right: Array, call: Call) -> Array:
    return -right


def factor(c: float) -> Change:
    return lambda right, call: right * c


def slightly_scaled(right: Array, call: Call) -> Array:
    return right * (1 + call.subtle)


def one_element_off(right: Array, call: Call) -> Array:
    """The largest element has a relative error of 1e-3, or 1e-9 in float64."""
    wrong = right.copy()
    place = np.unravel_index(np.argmax(np.abs(right)), right.shape)
    wrong[place] *= 1 + call.subtle
    return wrong


def upstream_ignored(right: Array, call: Call) -> Array:
    """The upstream gradient is taken to be all ones."""
    return call.rerun(np.ones_like(call.grad_output))


def passed_through(right: Array, call: Call) -> Array:
    """The derivative is left out: the upstream gradient is passed on unchanged."""
    upstream: Array = call.grad_output
    return upstream


def last_sample_lost(right: Array, call: Call) -> Array:
    wrong = right.copy()
    wrong[-1] = 0
    return wrong


def last_channel_lost(right: Array, call: Call) -> Array:
    wrong = right.copy()
    wrong[:, -1] = 0
    return wrong


def batch_reversed(right: Array, call: Call) -> Array:
    return right[::-1]


def channels_reversed(right: Array, call: Call) -> Array:
    return right[:, ::-1]


def shifted(axis: int = -1) -> Change:
    return lambda right, call: np.roll(right, 1, axis)


def turned(*axes: int) -> Change:
    return lambda right, call: np.flip(right, axes)


def transposed(right: Array, call: Call) -> Array:
    return np.swapaxes(right, -1, -2)


def last_lost(axis: int) -> Change:
    """The last row, column or channel stays zero."""

    def change(right: Array, call: Call) -> Array:
        wrong = right.copy()
        wrong[(slice(None),) * (axis % right.ndim) + (-1,)] = 0
        return wrong

    return change


def stale(right: Array, call: Call) -> Array:
    """Every later call returns the first call's result, as from a buffer that is not written again."""
    kept = call.layer.__dict__.setdefault("_stale", right)
    return kept if call.number else right


def accumulated(right: Array, call: Call) -> Array:
    """The gradient of the previous call is added."""
    before = call.layer.__dict__.get("_before", 0)
    call.layer.__dict__["_before"] = right
    return np.asarray(right + before)


def read_as_contiguous(right: Array, call: Call) -> Array:
    """The upstream gradient is read in the order of its memory, and its strides are ignored."""
    upstream = call.grad_output
    return call.rerun(np.ravel(upstream, order="K").reshape(upstream.shape))


def significant_bits(array: Array, bits: int) -> Array:
    """The array, rounded to this many significant bits."""
    mantissa, exponent = np.frexp(array.astype(np.float64))
    return np.asarray(np.ldexp(np.rint(np.ldexp(mantissa, bits)), exponent - bits)).astype(array.dtype)


def in_bits(
    bits: int, compute: Callable[[Array, Array, Call], Array], operands: Callable[[Call], Sequence[Array]]
) -> Change:
    """A product with both operands rounded to `bits` significant bits. TF32 keeps 11, bfloat16 keeps 8."""

    def change(right: Array, call: Call) -> Array:
        first, second = (significant_bits(operand, bits) for operand in operands(call))
        return compute(first, second, call)

    return change


def through(dtype: Any) -> Change:
    """The result is stored in a lower precision in between."""
    return lambda right, call: right.astype(dtype).astype(right.dtype)


through_half, through_single = through(np.float16), through(np.float32)


def rows(array: Array) -> Array:
    """Flattens the leading dimensions: (*, features) -> (N, features)."""
    return array.reshape(math.prod(array.shape[:-1]), array.shape[-1])


def of_channels(values: Array, like: Array) -> Array:
    """Reshapes (C) so that it broadcasts against (N, C, *)."""
    return values.reshape((1, -1, *(1,) * (like.ndim - 2)))
