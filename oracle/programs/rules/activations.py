"""Rules of activations, from refbp.functional where it has them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from oracle.case.case import Spec
from oracle.execution.covering import covering
from oracle.execution.formulas import other_activation
from oracle.programs.adjoint import plain, summed_to
from oracle.programs.geometry import mapped
from oracle.programs.program import Snapshot
from oracle.programs.table import rule
from oracle.running_error import LAMBDA, ErrorArray
from oracle.running_error.infinities import left_open
from oracle.running_error.ranges import as_share, is_finite
from oracle.running_error.stores import stored
from refbp import functional
from refbp.arrays import Backward


def _in_any_formula(spec: Spec, input: Any, made: tuple[Any, Backward]) -> tuple[Any, Backward]:
    """An activation's output and backward with the errors of every formula by which the layer of this kind may be computed."""
    output, backward = made

    def covered(quantity: str, own: Any, **more: Any) -> Any:
        if not isinstance(own, ErrorArray):
            return own
        other = other_activation(quantity, spec, {"input": input, "output": output, **more})
        return own if other is None else covering(own, other)

    return covered("output", output), lambda g: covered("grad_input", backward(g), grad_output=g)


def _activation(name: str) -> None:
    """A rule made of the op of refbp of this name, which has ATen's arguments."""
    function = getattr(functional, name)

    def of_refbp(input: Any, *options: Any, **named: Any) -> Any:
        return function(input, *options, **named)

    of_refbp.__doc__ = f"`refbp.functional.{name}`."
    of_refbp.__module__ = __name__
    rule(name)(of_refbp)


for _name in (
    *("relu", "relu6", "silu", "hardtanh", "hardsigmoid", "hardswish", "leaky_relu", "mish", "softplus"),
    *("hardshrink", "softshrink", "threshold"),
):
    _activation(_name)


@rule("gelu")
def gelu(input: Any, approximate: str = "none") -> Any:
    """`refbp.functional.gelu`."""
    spec = Spec("GELU", {"approximate": approximate})
    return _in_any_formula(spec, input, functional.gelu(input, approximate))


@rule("celu")
def celu(input: Any, alpha: Any = 1.0) -> Any:
    """`refbp.functional.celu`."""
    return _in_any_formula(Spec("CELU", {"alpha": alpha}), input, functional.celu(input, float(alpha)))


@rule("selu")
def selu(input: Any) -> Any:
    """`refbp.functional.selu`."""
    return _in_any_formula(Spec("SELU"), input, functional.selu(input))


@rule("elu")
def elu(input: Any, alpha: Any = 1.0, scale: Any = 1.0, input_scale: Any = 1.0) -> Any:
    """`refbp.functional.elu`; scaled: s x above 0, s α (e^(t x) - 1) below; s g, and s α t e^(t x) g."""
    if scale == 1 and input_scale == 1:
        return _in_any_formula(Spec("ELU", {"alpha": alpha}), input, functional.elu(input, float(alpha)))
    positive, inner = input > 0, input * float(input_scale)
    below = np.expm1(np.where(positive, 0.0, inner)) * float(alpha * scale)

    def backward(g: Any) -> Any:
        slope = np.exp(np.where(positive, 0.0, inner)) * float(alpha * scale * input_scale)
        return (np.where(positive, g * float(scale), g * slope),)

    return np.where(positive, input * float(scale), below), backward


@rule("_prelu_kernel", "prelu")
def prelu(input: Any, weight: Any) -> Any:
    """x above 0, w x elsewhere; g or w g, and Σ x g over where x is not above 0."""
    positive = input > 0
    return np.where(positive, input, input * weight), lambda g: (
        np.where(positive, g, g * weight),
        summed_to(np.where(positive, 0.0, g * input), weight),
    )


@rule("log_sigmoid_forward")
def log_sigmoid(input: Any) -> Any:
    """`refbp.functional.logsigmoid`."""
    y, back = functional.logsigmoid(input)
    return (y, None), lambda g, _: (back(g),)


def _from_output(function: Callable[..., Any], slope: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    """A rule for an op whose backward kernel reads its own output, which in 16 bits has been rounded."""

    def of_refbp(input: Any, *options: Any) -> Any:
        output, backward = function(input, *options)
        kept = stored(output)
        return (output, backward) if kept is output else (kept, lambda g: slope(g, kept))

    return of_refbp


@rule("sigmoid")
def sigmoid(input: Any) -> Any:
    """`refbp.functional.sigmoid`."""
    made = _from_output(functional.sigmoid, lambda g, y: g * (1.0 - y) * y)(input)
    return _in_any_formula(Spec("Sigmoid"), input, made)


@rule("glu")
def glu(input: Any, dim: int = -1) -> Any:
    """`refbp.functional.glu`; in 16 bits by the stored σ of the second half, as in Activation.cpp."""
    y, back = functional.glu(input, dim)
    first, second = np.split(np.arange(input.shape[dim]), 2)
    value, gate = (mapped(input, lambda own, part=part: np.take(own, part, axis=dim)) for part in (first, second))
    share, _ = functional.sigmoid(gate)
    kept = stored(share)
    if kept is share:
        return y, back
    return y, lambda g: np.concatenate([g * kept, (1.0 - kept) * kept * value * g], axis=dim)


@rule("tanh")
def tanh(input: Any) -> Any:
    """`refbp.functional.tanh`."""
    return _from_output(functional.tanh, lambda g, y: g * (1.0 - np.square(y)))(input)


@rule("_softmax", "softmax")
def softmax(input: Any, dim: int, half_to_float: Any = False, dtype: Any = None) -> Any:
    """`refbp.functional.softmax`. Its elements are between 0 and 1, however much their logarithms err."""
    output, back = functional.softmax(input, dim)
    limited = as_share(output, lambda: np.all(is_finite(input), axis=dim if input.ndim else None, keepdims=True))
    y = stored(limited)
    if y is output:
        return y, back
    return y, lambda g: y * (g - np.sum(y * g, axis=dim, keepdims=True)) if y.ndim else g * 0.0


@rule("_safe_softmax")
def safe_softmax(input: Any, dim: int, dtype: Any = None) -> Any:
    """`refbp.functional.softmax`, 0 where all of a row is -∞; there 0 g, so NaN or 0 for one with an infinity or NaN."""
    masked = np.all(plain(input) == -np.inf, axis=dim, keepdims=True)
    y, back = softmax(np.where(masked, 0.0, input), dim)

    def backward(g: Any) -> Any:
        grad = np.where(masked, 0.0, back(g))
        lost = masked & ~np.all(np.isfinite(g), axis=dim, keepdims=True)
        return left_open(grad, lost) if isinstance(grad, ErrorArray) else np.where(lost, np.nan, grad)

    return np.where(masked, 0.0, y), backward


@rule("_log_softmax", "log_softmax")
def log_softmax(input: Any, dim: int, half_to_float: Any = False) -> Any:
    """`refbp.functional.log_softmax`; in 16 bits the sum of the powers and its logarithm are stored in these
    (aten/src/ATen/native/cpu/SoftMaxKernel.cpp), and so are the output and the sum of the gradients."""
    if stored(input) is input:
        return functional.log_softmax(input, dim)
    largest = np.max(plain(input), axis=dim, keepdims=True)
    total = stored(np.sum(np.exp(input - largest), axis=dim, keepdims=True))
    y = stored(input - largest - stored(np.log(total)))
    return y, lambda g: g - np.exp(y) * stored(np.sum(g, axis=dim, keepdims=True))


@rule("rrelu_with_noise", shown=True)
def rrelu(
    input: Any, noise: Any, lower: Any = 0.125, upper: Any = 1 / 3, training: bool = False, generator: Any = None,
    *, shown: Any,
) -> Any:  # fmt: skip
    """x above 0, r x elsewhere; g or r g. The slope r is the mean of its limits, in training the one that the output shows."""
    if not training:
        return functional.leaky_relu(input, float(lower + upper) / 2)
    positive = ~(plain(input) <= 0)
    slope = _drawn(input, shown[0], float(lower), float(upper))
    return np.where(positive, input, input * slope), lambda g: (np.where(positive, g, g * slope),)


def _drawn(input: Any, output: Snapshot, lower: float, upper: float) -> Any:
    """The slopes that an output shows, as precisely as it does; any within the limits where it shows none, as at 0."""
    x, y, half = plain(input), output.numbers.astype(float), (upper - lower) / 2
    known = np.isfinite(y) & (x != 0)
    x = np.where(known, x, 1.0)
    slope = np.where(known, np.clip(y / x, lower, upper), lower + half)
    if not isinstance(input, ErrorArray):
        return slope
    of_output = input.model.of(output.dtype).rounding(y) * input.model.raised(1 / x)
    open_choice = input.model.constant((half / LAMBDA) ** 2, half)
    return ErrorArray(slope, input.model, of_output.mapped(lambda own, wide: np.where(known, own, wide), open_choice))
