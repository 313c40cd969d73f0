"""Rules of backward passes as operations of a program, which differentiates a gradient: autograd.grad with create_graph=True.

Each is linear in the gradient g that it receives. So its own gradient by g is the same map, or the transposed one, of the
gradient G that arrives, and that by x is G g f''(x) for an element-wise function f.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.special import erf

from oracle.programs.adjoint import summed_to
from oracle.programs.table import NoRule, rule

Slopes = tuple[Any, Any]  # f'(x) and f''(x)
CUBE = 0.044715  # of GELU's approximation by tanh


def _elementwise(g: Any, slopes: Slopes) -> Any:
    """g f'(x), and the gradients G f'(x) and G g f''(x); torch.func gives g or x with fewer rows than the other."""
    first, second = slopes
    return g * first, lambda G: (summed_to(G * first, g), summed_to(G * (g * second), first))


def _where(g: Any, mask: Any) -> Any:
    """g where a mask holds, which has the same gradient."""
    return np.where(mask, g, 0.0), lambda G: (summed_to(np.where(mask, G, 0.0), g), None)


@rule("tanh_backward")
def tanh_backward(grad_output: Any, output: Any) -> Any:
    """g (1 - y²); G (1 - y²), and -2 G g y."""
    return _elementwise(grad_output, (1.0 - np.square(output), output * -2.0))


@rule("sigmoid_backward")
def sigmoid_backward(grad_output: Any, output: Any) -> Any:
    """g y (1 - y); G y (1 - y), and G g (1 - 2 y)."""
    return _elementwise(grad_output, ((1.0 - output) * output, 1.0 - output * 2.0))


@rule("threshold_backward")
def threshold_backward(grad_output: Any, input: Any, threshold: Any) -> Any:
    """g where x is above the threshold; G there."""
    return _where(grad_output, input > float(threshold))


@rule("hardtanh_backward")
def hardtanh_backward(grad_output: Any, input: Any, min_val: Any, max_val: Any) -> Any:
    """g where x is strictly inside; G there."""
    return _where(grad_output, (input > float(min_val)) & (input < float(max_val)))


@rule("hardshrink_backward", "softshrink_backward")
def hardshrink_backward(grad_output: Any, input: Any, lambd: Any) -> Any:
    """g where |x| is above λ; G there."""
    return _where(grad_output, np.abs(input) > float(lambd))


@rule("leaky_relu_backward")
def leaky_relu_backward(grad_output: Any, input: Any, negative_slope: Any, self_is_result: bool) -> Any:
    """g above 0, s g elsewhere; G and s G."""
    positive, slope = input > 0, float(negative_slope)
    y = np.where(positive, grad_output, grad_output * slope)
    return y, lambda G: (summed_to(np.where(positive, G, G * slope), grad_output), None)


@rule("elu_backward")
def elu_backward(
    grad_output: Any, alpha: Any, scale: Any, input_scale: Any, is_result: bool, self_or_result: Any
) -> Any:
    """s g above 0, s α t e^(t x) g below; the same of G, and s α t² e^(t x) G g below."""
    x, a, s, t = self_or_result, float(alpha), float(scale), float(input_scale)
    positive = x > 0
    below = (x + a * s) * t if is_result else np.exp(np.where(positive, 0.0, x * t)) * (a * s * t)
    first = np.where(positive, s, below)
    second = np.where(positive, 0.0, t if is_result else below * t)
    y, back = _elementwise(grad_output, (first, second))
    return y, lambda G: (back(G)[0], None, None, None, None, back(G)[1])


@rule("softplus_backward")
def softplus_backward(grad_output: Any, input: Any, beta: Any, threshold: Any) -> Any:
    """g σ(β x), g where β x is above the threshold; the same of G, and G g β σ (1 - σ)."""
    z = input * float(beta)
    linear = z > float(threshold)
    share = 1.0 / (np.exp(-np.where(linear, 0.0, z)) + 1.0)
    slopes = np.where(linear, 1.0, share), np.where(linear, 0.0, share * (1.0 - share) * float(beta))
    return _elementwise(grad_output, slopes)


@rule("log_sigmoid_backward")
def log_sigmoid_backward(grad_output: Any, input: Any, buffer: Any) -> Any:
    """g σ(-x); G σ(-x), and -G g σ(x) σ(-x)."""
    away, towards = 1.0 / (np.exp(input) + 1.0), 1.0 / (np.exp(-input) + 1.0)
    return _elementwise(grad_output, (away, -(away * towards)))


@rule("hardswish_backward")
def hardswish_backward(grad_output: Any, input: Any) -> Any:
    """g (x/3 + 1/2) between -3 and 3, 0 below, g above; the same of G, and G g / 3 between."""
    inside, above = (input > -3.0) & (input < 3.0), input >= 3.0
    first = np.where(inside, input / 3.0 + 0.5, np.where(above, 1.0, 0.0))
    return _elementwise(grad_output, (first, np.where(inside, np.zeros_like(input) + 1 / 3, 0.0)))


@rule("glu_backward")
def glu_backward(grad_output: Any, input: Any, dim: int) -> Any:
    """(g σ(b), g a σ'(b)) for y = a σ(b); the same map of G to g, and with σ' and σ'' the products G g to a and b."""
    axis, half = dim % input.ndim, input.shape[dim] // 2

    def halves(x: Any) -> Any:
        before = (slice(None),) * axis
        return x[(*before, slice(None, half))], x[(*before, slice(half, None))]

    (a, b), g = halves(input), grad_output
    gate = 1.0 / (np.exp(-b) + 1.0)
    slope = gate * (1.0 - gate)

    def backward(G: Any) -> Any:
        of_a, of_b = halves(G)
        through = of_b * g
        bend = through * a * slope * (1.0 - gate * 2.0)
        return of_a * gate + of_b * a * slope, np.concatenate([through * slope, of_a * g * slope + bend], axis=axis)

    return np.concatenate([g * gate, g * a * slope], axis=axis), backward


@rule("gelu_backward")
def gelu_backward(grad_output: Any, input: Any, *, approximate: str = "none") -> Any:
    """g (Φ(x) + x φ(x)), or of the tanh formula; the same of G, and G g f''(x), without approximation G g φ(x) (2 - x²)."""
    x = input
    if approximate == "none":
        density = np.exp(np.square(x) * -0.5) * (1 / math.sqrt(2 * math.pi))
        first = (erf(x * math.sqrt(0.5)) + 1.0) * 0.5 + x * density
        return _elementwise(grad_output, (first, density * (2.0 - np.square(x))))
    k = math.sqrt(2 / math.pi)
    inner, inner_first, inner_second = (x + x**3 * CUBE) * k, (np.square(x) * (3 * CUBE) + 1.0) * k, x * (6 * CUBE * k)
    t = np.tanh(inner)
    slope = (1.0 - np.square(t)) * inner_first
    bend = (1.0 - np.square(t)) * inner_second - t * slope * inner_first * 2.0
    return _elementwise(grad_output, ((t + 1.0) * 0.5 + x * slope * 0.5, slope + x * bend * 0.5))


@rule("_prelu_kernel_backward")
def prelu_backward(grad_output: Any, input: Any, weight: Any) -> Any:
    """g above 0 and w g elsewhere, and x g where x is not above 0; the gradients of both."""
    positive, g = input > 0, grad_output
    y = np.where(positive, g, g * weight), np.where(positive, 0.0, g * input)

    def backward(G: Any, G_weight: Any) -> Any:
        through = None if G is None else np.where(positive, G, G * weight)
        of_weight = None if G is None else summed_to(np.where(positive, 0.0, G * g), weight)
        if G_weight is None:
            return through, None, of_weight
        more = np.where(positive, 0.0, G_weight * input)
        return more if through is None else through + more, np.where(positive, 0.0, G_weight * g), of_weight

    return y, backward


@rule("_softmax_backward_data")
def softmax_backward(grad_output: Any, output: Any, dim: int, input_dtype: Any = None) -> Any:
    """y (g - Σ g y); y (G - Σ G y), and G (g - Σ g y) - g Σ G y."""
    g, y = grad_output, output
    centred = g - np.sum(g * y, axis=dim, keepdims=True)

    def backward(G: Any) -> Any:
        along = np.sum(G * y, axis=dim, keepdims=True)
        return y * (G - along), G * centred - g * along

    return y * centred, backward


@rule("_log_softmax_backward_data")
def log_softmax_backward(grad_output: Any, output: Any, dim: int, input_dtype: Any = None) -> Any:
    """g - e^y Σ g; G - Σ G e^y, and -G e^y Σ g."""
    shares, total = np.exp(output), np.sum(grad_output, axis=dim, keepdims=True)

    def backward(G: Any) -> Any:
        return G - np.sum(G * shares, axis=dim, keepdims=True), -(G * shares * total)

    return grad_output - shares * total, backward


@rule("convolution_backward")
def convolution_backward(
    grad_output: Any, input: Any, weight: Any, bias_sizes: Any, stride: Any, padding: Any, dilation: Any, transposed: bool,
    output_padding: Any, groups: int, output_mask: Any,
) -> Any:  # fmt: skip
    """A convolution's gradients by x, w and bias; those of the products g w and g x that they are, which are convolutions too."""
    from oracle.programs.rules.images import convolution

    rest = (stride, padding, dilation, transposed, output_padding, groups)
    _, back = convolution(input, weight, None, *rest)
    of_input, of_weight, _ = back(grad_output)
    others = (0, *range(2, grad_output.ndim))
    of_bias = np.sum(grad_output, axis=others) if output_mask[2] else None

    def backward(G_input: Any, G_weight: Any, G_bias: Any) -> Any:
        of_g, of_x, of_w = [], None, None
        if G_input is not None:
            made, through = convolution(G_input, weight, None, *rest)
            of_g.append(made)
            of_w = through(grad_output)[1]
        if G_weight is not None:
            made, through = convolution(input, G_weight, None, *rest)
            of_g.append(made)
            of_x = through(grad_output)[0]
        if G_bias is not None:
            of_g.append(np.broadcast_to(G_bias.reshape(-1, *(1,) * (len(others) - 1)), grad_output.shape))
        return _total(of_g), of_x, of_w

    return (of_input if output_mask[0] else None, of_weight if output_mask[1] else None, of_bias), backward


@rule("native_layer_norm_backward")
def layer_norm_backward(
    grad_out: Any, input: Any, normalized_shape: Any, mean: Any, rstd: Any, weight: Any, bias: Any, output_mask: Any
) -> Any:
    """A layer norm's gradients by x, w and b; their own gradients, with the statistics that were stored."""
    axes = tuple(range(input.ndim - len(normalized_shape), input.ndim))
    rows = tuple(range(input.ndim - len(normalized_shape)))
    y, back = _norm_backward(grad_out, input, mean, rstd, weight, axes, rows)
    return y, lambda *G: _of_layer(back(*G))


def _of_layer(made: tuple[Any, Any, Any]) -> Any:
    of_g, of_x, of_weight = made
    return of_g, of_x, None, None, None, of_weight


@rule("native_batch_norm_backward")
def batch_norm_backward(
    grad_out: Any, input: Any, weight: Any, running_mean: Any, running_var: Any, save_mean: Any, save_invstd: Any, train: bool,
    eps: float, output_mask: Any,
) -> Any:  # fmt: skip
    """A batch norm's gradients by x, w and b; their own gradients, with the statistics that were stored."""
    if not train:
        raise NoRule("there is no rule for the gradient of a batch norm in evaluation, differentiated again")
    others, shape = (0, *range(2, input.ndim)), (-1, *(1,) * (input.ndim - 2))
    mean, rstd = (None if own is None else own.reshape(shape) for own in (save_mean, save_invstd))
    w = None if weight is None else weight.reshape(shape)
    y, back = _norm_backward(grad_out, input, mean, rstd, w, others, others)

    def backward(G: Any, G_weight: Any, G_bias: Any) -> Any:
        of_params = (None if own is None else own.reshape(shape) for own in (G_weight, G_bias))
        of_g, of_x, of_weight = back(G, *of_params)
        return of_g, of_x, None if of_weight is None else of_weight.reshape(weight.shape)

    of_input, of_weight, of_bias = y
    return (of_input, of_weight.reshape(-1), of_bias.reshape(-1)), backward


def _norm_backward(
    g: Any, x: Any, average: Any, rstd: Any, weight: Any, axes: tuple[int, ...], params: tuple[int, ...]
) -> Any:
    """The gradients of y = w (x - μ)/σ + b by x, w and b, and their own gradients; each parameter is summed over `params`.

    With x̂ = (x - μ)/σ, v = g w and P(v) = v - mean v - x̂ mean(v x̂) they are P(v)/σ, Σ g x̂ and Σ g. Of P(v)/σ the gradient by v is
    P(G)/σ, and by x it is -(x̂ mean(G P(v)) + P(G) mean(v x̂) + P(v) mean(G x̂))/σ².
    """
    if average is None or rstd is None:
        raise NoRule("there is no rule for the gradient of a norm without its statistics")
    count = float(math.prod(x.shape[axis] for axis in axes))
    unit = (x - average) * rstd

    def mean(own: Any) -> Any:
        return np.sum(own, axis=axes, keepdims=True) / count

    def projected(own: Any) -> Any:
        return own - mean(own) - unit * mean(own * unit)

    def scaled(own: Any) -> Any:
        return own if weight is None else own * weight

    def summed(own: Any) -> Any:
        return np.sum(own, axis=params)

    v = scaled(g)
    straight = projected(v)

    def backward(G: Any, G_weight: Any, G_bias: Any) -> Any:
        of_g: list[Any] = []
        of_x: list[Any] = []
        of_weight = None
        if G is not None:
            across = projected(G)
            of_g.append(scaled(across * rstd))
            of_weight = None if weight is None else summed(g * across * rstd)
            bent = unit * mean(G * straight) + across * mean(v * unit) + straight * mean(G * unit)
            of_x.append(-(bent * np.square(rstd)))
        if G_weight is not None:
            of_g.append(unit * G_weight)
            of_x.append(projected(g * G_weight) * rstd)
        if G_bias is not None:
            of_g.append(np.broadcast_to(G_bias, g.shape))
        return _total(of_g), _total(of_x), of_weight

    return (straight * rstd, summed(g * unit), summed(g)), backward


def _total(parts: list[Any]) -> Any:
    """The sum of gradients; None if there are none."""
    total = None
    for own in parts:
        total = own if total is None else total + own
    return total
