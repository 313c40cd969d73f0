"""What each NumPy operation does to an error: one rule per operation, registered by name.

Propagation is of first order; the rounding of the operation itself is added on top.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import erf

from oracle.running_error.array import ErrorArray, added, constant, merged
from oracle.running_error.dispatch import FUNCTIONS, UFUNCS
from oracle.running_error.mask import ErrorMask
from oracle.running_error.model import Branches, ErrorModel, Floats, Twofold


def operands(*inputs: Any) -> list[ErrorArray]:
    """All inputs as error arrays of the one model among them."""
    model = next(x.model for x in inputs if isinstance(x, ErrorArray))
    return [x if isinstance(x, ErrorArray) else constant(x, model) for x in inputs]


def rounded(
    value: Floats, model: ErrorModel, quantum: float | None, exact: Any = None
) -> tuple[Twofold | None, float | None]:
    """Error of one correctly rounded operation, none where nothing had to be rounded."""
    if quantum is not None and (value.size == 0 or np.max(np.abs(value)) <= quantum / model.unit_roundoff):
        return None, quantum
    error = model.rounding(value)
    return error if exact is None else zero_where(exact, error), None


def zero_where(exact: Any, error: Twofold) -> Twofold:
    return error.mapped(lambda own: np.where(exact, 0.0, own)) if exact.any() else error


# Arithmetic


def add(x: Any, y: Any) -> ErrorArray:
    x, y = operands(x, y)
    error, quantum = added(x.error, y.error), merged(x.quantum, y.quantum)
    value = x.value + y.value
    rounding, quantum = rounded(value, x.model, quantum, exact=(x.value == 0) | (y.value == 0))
    return ErrorArray(value, x.model, added(error, rounding), scale=x.scale_or_own + y.scale_or_own, quantum=quantum)


def negative(x: ErrorArray) -> ErrorArray:
    x.release()  # the result shares its components
    return ErrorArray(
        -x.value,
        x.model,
        x.own_error,
        scale=x.scale,
        terms=x.terms,
        count=x.count,
        rounded=x.rounded,
        quantum=x.quantum,
        guide=None if x.guide is None else -x.guide,
    )


def subtract(x: Any, y: Any) -> ErrorArray:
    x, y = operands(x, y)
    return add(x, negative(y))


def scaled_error(error: Twofold | None, factor: Floats, model: ErrorModel) -> Twofold | None:
    return None if error is None else error * model.raised(factor)


def is_power_of_two(x: ErrorArray) -> bool:
    return x.ndim == 0 and x.error is None and math.frexp(float(x.value))[0] in (0.5, -0.5)


def is_mask(x: Any) -> bool:
    return isinstance(x, ErrorMask) or getattr(x, "dtype", None) == np.bool_


def multiply(x: Any, y: Any) -> ErrorArray:
    if x is y:
        return square(x)
    if is_mask(y):  # a choice between x and zero, which rounds nothing; zero times infinity is NaN
        chosen: ErrorArray = where(y, x, 0.0 if np.isfinite(getattr(x, "value", x)).all() else x * 0.0)
        return chosen
    x, y = operands(x, y)
    model, value = x.model, x.value * y.value
    error = added(scaled_error(x.error, y.value, model), scaled_error(y.error, x.value, model))
    quantum = None if x.quantum is None or y.quantum is None else x.quantum * y.quantum
    if is_power_of_two(x) or is_power_of_two(y):
        rounding = model.underflow(value) if quantum is None else None
    else:
        rounding, quantum = rounded(value, model, quantum)
    scale = None if x.scale is None and y.scale is None else x.scale_or_own * y.scale_or_own
    return ErrorArray(value, model, added(error, rounding), scale=scale, quantum=quantum)


def divide(x: Any, y: Any) -> ErrorArray:
    x, y = operands(x, y)
    model, value = x.model, x.value / y.value
    error = added(scaled_error(x.error, 1 / y.value, model), scaled_error(y.error, value / y.value, model))
    scale = None if x.scale is None else x.scale * np.square(1 / y.value)
    if is_power_of_two(y):
        if x.quantum is None:
            error = added(error, model.underflow(value))
        return ErrorArray(value, model, error, scale=scale, quantum=x.quantum and x.quantum / abs(float(y.value)))
    return ErrorArray(value, model, added(error, zero_where(x.value == 0, model.rounding(value))), scale=scale)


def elementwise(
    function: Callable[[Floats], Floats], derivative: Callable[[Floats, Floats], Any], ulps: float
) -> Callable[[Any], ErrorArray]:
    """The rule of y = f(x): |f'(x)| times x's error, and f's own accuracy in units in the last place."""

    def rule(x: Any) -> ErrorArray:
        model, value = x.model, function(x.value)
        error, scale = model.rounding(value, ulps), None
        if x.error is not None or x.scale is not None:
            slope = model.raised(derivative(x.value, value))
            if x.error is not None:
                error = error + x.error.mapped(lambda own, slope: np.where(own == 0, 0.0, slope * own), slope)
            if x.scale is not None:
                scale = np.maximum(np.square(value), slope.statistical * x.scale)
        return ErrorArray(value, model, error, scale=scale)

    return rule


def square(x: ErrorArray) -> ErrorArray:
    model, value = x.model, np.square(x.value)
    rounding, quantum = rounded(value, model, None if x.quantum is None else x.quantum**2)
    scale = None if x.scale is None else np.square(x.scale)
    return ErrorArray(
        value, model, added(scaled_error(x.error, 2 * x.value, model), rounding), scale=scale, quantum=quantum
    )


def power(x: Any, exponent: Any) -> ErrorArray:
    if np.ndim(exponent) or isinstance(exponent, ErrorArray):
        raise TypeError("the error of x**y is known for a number y only")
    c = float(exponent)
    if c == 1:
        return x  # type: ignore[no-any-return]
    if c == 2:
        return square(x)
    rule = elementwise(lambda v: v**c, lambda v, _: c * v ** (c - 1), 4)
    return rule(x)


def absolute(x: ErrorArray) -> ErrorArray:
    x = ErrorArray(x.value, x.model, x.error, scale=x.scale, quantum=x.quantum, guide=x.guide)  # no open sum any more
    result = negative(x)
    result.value, result.guide = np.abs(x.value), None if x.guide is None else np.abs(x.guide)
    return result


def sign(x: ErrorArray) -> ErrorArray:
    zero = constant(0.0, x.model)
    below: ErrorArray = where(less(x, zero), -1.0, absolute(x) * 0.0)
    result: ErrorArray = where(greater(x, zero), 1.0, below)
    return result


TWO_OVER_ROOT_PI = 2 / math.sqrt(math.pi)
# Accuracies in ulp as promised by common vector math libraries; sqrt is correctly rounded.
UFUNCS.update(
    {
        np.add: add,
        np.subtract: subtract,
        np.multiply: multiply,
        np.divide: divide,
        np.negative: negative,
        np.positive: lambda x: x,
        np.square: square,
        np.power: power,
        np.absolute: absolute,
        np.sign: sign,
        np.exp: elementwise(np.exp, lambda x, y: y, 4),
        np.expm1: elementwise(np.expm1, lambda x, y: y + 1, 4),
        np.log: elementwise(np.log, lambda x, y: 1 / x, 4),
        np.log1p: elementwise(np.log1p, lambda x, y: 1 / (1 + x), 4),
        np.sqrt: elementwise(np.sqrt, lambda x, y: 0.5 / y, 1),
        np.tanh: elementwise(np.tanh, lambda x, y: 1 - y * y, 4),
        np.sin: elementwise(np.sin, lambda x, y: np.cos(x), 4),
        np.cos: elementwise(np.cos, lambda x, y: np.sin(x), 4),
        np.reciprocal: lambda x: divide(1.0, x),
        erf: elementwise(erf, lambda x, y: TWO_OVER_ROOT_PI * np.exp(-x * x), 4),
        np.isnan: lambda x: np.isnan(x.value),
        np.isinf: lambda x: np.isinf(x.value),
        np.isfinite: lambda x: np.isfinite(x.value),
    }
)


# Comparisons and selection


def comparison(
    compare: Callable[[Any, Any], Any], by_order: bool = True, counted: bool = True
) -> Callable[[Any, Any], ErrorMask]:
    """Compares the subject's own values where they are known (and then checks that this branch is admissible).

    by_order: at equality there is a kink or tie; a test for equality itself is of labels, and leaves no choice.
    counted: among the branches of this place.
    """

    def rule(x: Any, y: Any) -> ErrorMask:
        x, y = operands(x, y)
        model = x.model
        outcome = np.asarray(compare(x.branching_value, y.branching_value))
        distance = np.abs(x.value - y.value)

        # What is known is exact; a constant that the dtype does not hold is not.
        error = added(None if x.guide is not None else x.error, None if y.guide is not None else y.error)
        ambiguous = near = None if error is None else model.within(distance, error)
        branches = model.branches.here() if counted else Branches()
        branches.compared += outcome.size
        branches.widened += count_of(ambiguous)
        if x.guide is not None or y.guide is not None:
            error = added(x.error, y.error)
            near = None if error is None else model.within(distance, error)
            flipped = outcome != compare(x.value, y.value)
            branches.adopted += int(np.count_nonzero(flipped))
            branches.inadmissible += int(np.count_nonzero(flipped if near is None else flipped & ~near.statistical))
        branches.ambiguous += count_of(near)
        if model.open_ties and by_order:
            tied = (x.branching_value == y.branching_value) & np.isfinite(x.branching_value)
            ambiguous = Twofold(tied if ambiguous is None else ambiguous.statistical | tied)
        return ErrorMask(outcome, ambiguous)

    return rule


def count_of(mask: Twofold | None) -> int:
    return 0 if mask is None else int(np.count_nonzero(mask.statistical))


greater, less = comparison(np.greater), comparison(np.less)
UFUNCS.update(
    {
        np.greater: greater,
        np.less: less,
        np.greater_equal: comparison(np.greater_equal),
        np.less_equal: comparison(np.less_equal),
        np.equal: comparison(np.equal, by_order=False),
        np.not_equal: comparison(np.not_equal, by_order=False),
        np.logical_and: lambda x, y: x & y,
        np.bitwise_and: lambda x, y: x & y,
        np.logical_or: lambda x, y: x | y,
        np.bitwise_or: lambda x, y: x | y,
        np.logical_not: lambda x: ~x,
        np.invert: lambda x: ~x,
    }
)


def where(mask: Any, x: Any, y: Any) -> Any:
    """The chosen branch and its error; where the choice is ambiguous, wider by the branches' difference."""
    chosen = mask.value if isinstance(mask, ErrorMask) else mask
    if not isinstance(x, ErrorArray) and not isinstance(y, ErrorArray):
        return np.where(chosen, x, y)
    x, y = operands(x, y)
    model = x.model

    def select(own: Any, other: Any) -> Any:
        return np.where(chosen, own, other)

    value, quantum = select(x.value, y.value), merged(x.quantum, y.quantum)
    error: Twofold | None = None
    if x.error is not None or y.error is not None:
        error = x.error_or_zero.mapped(select, y.error_or_zero)
    scale: Floats | None = None
    if x.scale is not None or y.scale is not None:
        scale = select(x.scale_or_own, y.scale_or_own)
    ambiguous = mask.ambiguous if isinstance(mask, ErrorMask) else None
    if ambiguous is not None and any_of(ambiguous):
        either = x.error_or_zero.mapped(np.maximum, y.error_or_zero)
        difference = ambiguous.mapped(lambda own: np.where(own, x.value - y.value, 0.0))
        if model.open_ties:
            difference = difference.mapped(lambda own: own / 2)
            value = np.where(ambiguous.statistical, y.value + difference.statistical, value)
        wide, plain = model.widened(either, difference), error or model.constant(0.0, 0.0)
        error, quantum = ambiguous.mapped(np.where, wide, plain), None
        larger = np.maximum(x.scale_or_own, y.scale_or_own)
        scale = np.where(ambiguous.statistical, larger, select(x.scale_or_own, y.scale_or_own))
    guide: Floats | None = None
    if x.guide is not None or y.guide is not None:
        guide = np.where(chosen, x.branching_value, y.branching_value)
    return ErrorArray(value, model, error, scale=scale, quantum=quantum, guide=guide)


def any_of(mask: Twofold) -> bool:
    return bool(mask.statistical.any() or (mask.worst is not None and mask.worst.any()))


# The larger of two is continuous in both: nothing but a gradient hangs on which it is, and that asks for itself.
larger, smaller = comparison(np.greater, counted=False), comparison(np.less, counted=False)


def maximum(x: Any, y: Any) -> Any:
    x, y = operands(x, y)
    return where(larger(x, y) | np.isnan(x.value), x, y)


def minimum(x: Any, y: Any) -> Any:
    x, y = operands(x, y)
    return where(smaller(x, y) | np.isnan(x.value), x, y)


def extreme(argument: Callable[..., Any]) -> Callable[..., ErrorArray]:
    """The largest or smallest element with its own error: to first order nobody else's matters."""

    def rule(x: ErrorArray, axis: int, keepdims: bool = False) -> ErrorArray:
        index = argument(x.value, axis=axis, keepdims=True)
        chosen = x.mapped(lambda component: np.take_along_axis(component, index, axis))
        return chosen if keepdims else chosen.squeeze(axis)

    return rule


UFUNCS.update({np.maximum: maximum, np.minimum: minimum})


# Sums


def total(x: ErrorArray, axis: Any = None, keepdims: bool = False) -> ErrorArray:
    """An open sum of all the terms; a sum of open sums has all of theirs."""

    def reduced(component: Any) -> Any:
        return np.asarray(np.sum(np.broadcast_to(component, x.shape), axis=axis, keepdims=keepdims))

    return ErrorArray(
        reduced(x.value),
        x.model,
        None if x.own_error is None else x.own_error.mapped(reduced),
        scale=None if x.scale is None else reduced(x.scale),
        terms=x.open_terms.mapped(reduced),
        count=reduced(x.open_count),
        rounded=x.rounded,
        quantum=x.quantum,
    )


def mean(x: ErrorArray, axis: Any = None, keepdims: bool = False) -> ErrorArray:
    result = total(x, axis, keepdims)
    return divide(result, x.size / result.size if result.size else 1.0)


def matmul(x: Any, y: Any) -> ErrorArray:
    """An open sum of products, each of them rounded."""
    x, y = operands(x, y)
    model = x.model
    sizes_x, sizes_y = model.raised(x.value), model.raised(y.value)
    terms, count = sizes_x @ sizes_y, x.shape[-1]
    quantum = None if x.quantum is None or y.quantum is None else x.quantum * y.quantum
    error: Twofold | None = None
    rounded = 0.0
    if quantum is None or not model.sum_is_exact(quantum, terms, count):
        quantum, rounded = None, model.unit_roundoff if count == 1 else model.roundoff_of_sums
        if model.dtype == np.float16:  # whose products may well lie below its normal numbers
            lost, lost_worst = model.least_lost
            error = terms.mapped(
                lambda own, lost: np.where(own > 0, count * lost, 0.0), model.constant(lost**2, lost_worst)
            )
    if x.error is not None:
        error = added(error, x.error_or_zero @ sizes_y)
    if y.error is not None:
        error = added(error, sizes_x @ y.error_or_zero)
    scale = None if x.scale is None and y.scale is None else x.scale_or_own @ y.scale_or_own
    value = x.value @ y.value
    return ErrorArray(value, model, error, scale=scale, terms=terms, count=count, rounded=rounded, quantum=quantum)


UFUNCS[np.matmul] = matmul
FUNCTIONS.update({np.sum: total, np.mean: mean, np.where: where})
FUNCTIONS.update({np.max: extreme(np.argmax), np.min: extreme(np.argmin)})


# Rearrangement and allocation


def rearrangement(function: Callable[..., Any]) -> Callable[..., Any]:
    def rule(x: Any, *args: Any, **kwargs: Any) -> Any:
        return x.mapped(lambda component: function(component, *args, **kwargs))

    return rule


for structural in (
    np.reshape,
    np.transpose,
    np.swapaxes,
    np.moveaxis,
    np.expand_dims,
    np.squeeze,
    np.broadcast_to,
    np.flip,
    np.roll,
    np.repeat,
    np.tile,
    np.take,
    np.take_along_axis,
    np.copy,
    np.ravel,
    np.lib.stride_tricks.sliding_window_view,
):
    FUNCTIONS[structural] = rearrangement(structural)


def joined(function: Callable[..., Any]) -> Callable[..., ErrorArray]:
    """np.concatenate and np.stack: every component is joined like the values."""

    def rule(arrays: Any, axis: int = 0) -> ErrorArray:
        parts = operands(*arrays)
        errors = [part.error for part in parts]
        quantum = parts[0].quantum
        for part in parts[1:]:
            quantum = merged(quantum, part.quantum)

        def together(get: Callable[[ErrorArray], Any]) -> Any:
            return function([np.broadcast_to(get(part), part.shape) for part in parts], axis=axis)

        def together_both(errors: list[Twofold]) -> Twofold:
            return errors[0].mapped(lambda *own: function(own, axis=axis), *errors[1:])

        return ErrorArray(
            together(lambda part: part.value),
            parts[0].model,
            None if all(error is None for error in errors) else together_both([part.error_or_zero for part in parts]),
            scale=None if all(p.scale is None for p in parts) else together(lambda part: part.scale_or_own),
            quantum=quantum,
            guide=None if all(p.guide is None for p in parts) else together(lambda part: part.branching_value),
        )

    return rule


FUNCTIONS.update({np.concatenate: joined(np.concatenate), np.stack: joined(np.stack)})


def filled_like(x: Any, value: float, dtype: Any = None, shape: Any = None) -> Any:
    """A new array; of another dtype than floating point it is a plain one (masks, indices)."""
    shape = x.shape if shape is None else shape
    if dtype is not None and np.dtype(dtype).kind in "biu":
        return np.full(shape, value, dtype=dtype)
    number = constant(value, x.model)
    return ErrorArray(np.full(shape, number.value), x.model, number.error, quantum=number.quantum)


FUNCTIONS.update(
    {
        np.full_like: filled_like,
        np.zeros_like: lambda x, dtype=None, shape=None: filled_like(x, 0.0, dtype, shape),
        np.empty_like: lambda x, dtype=None, shape=None: filled_like(x, 0.0, dtype, shape),
        np.ones_like: lambda x, dtype=None, shape=None: filled_like(x, 1.0, dtype, shape),
        np.shape: lambda x: x.shape,
        np.ndim: lambda x: x.ndim,
        np.size: lambda x: x.size,
    }
)
