"""Published bugs in activations: derivatives at the wrong place, ignored options, missing terms."""

from __future__ import annotations

import numpy as np

from oracle.case.arrays import Array
from oracle.ops.check_op import Differentiable
from oracle.selftest.corpus.entry import Book
from oracle.selftest.corpus.plain import Backward, all_but, drawn, log_softmax, per_channel, sigmoid, softmax

BOOK = Book("activations")
SCALE, ALPHA = 1.0507009873554805, 1.6732632423543772  # of SELU


def _leaky(slope: float) -> dict[str, object]:
    return {"forward": lambda x: np.where(x > 0, x, x * slope), "right": lambda x, y: np.where(x > 0, 1, slope)}


def _softplus(x: Array) -> Array:
    y: Array = np.where(x > 20, x, np.log1p(np.exp(np.minimum(x, 20))))
    return y


BOOK.activation(
    "softplus",
    "zserge/nanonn#4",
    "the derivative is the sigmoid of the output; in terms of the output it is 1 - exp(-y)",
    forward=_softplus,
    wrong=lambda x, y: sigmoid(y),
    right=lambda x, y: np.where(x > 20, 1, -np.expm1(-y)),
    causes="derivative at the output, derivative",
)
BOOK.activation(
    "softplus",
    "Oneflow-Inc/oneflow#7888",
    "what is kept for the backward pass is the output, from which it computes as if it were the input",
    forward=_softplus,
    wrong=lambda x, y: np.exp(y) / (np.exp(y) + 1),
    right=lambda x, y: np.where(x > 20, 1, sigmoid(x)),
    causes="derivative at the output, derivative",
)
BOOK.activation(
    "sigmoid",
    "dwhitena/gophernet#6",
    "sigmoid' as a function of the input is applied to the output",
    forward=sigmoid,
    wrong=lambda x, y: sigmoid(y) * (1 - sigmoid(y)),
    right=lambda x, y: y * (1 - y),
    causes="derivative at the output, derivative",
)
BOOK.activation(
    "tanh",
    "benoitfragit/libBrain#78",
    "the derivative is given the activation instead of the weighted sum",
    forward=np.tanh,
    wrong=lambda x, y: 1 - np.tanh(y) ** 2,
    right=lambda x, y: 1 - y * y,
    causes="derivative at the output, derivative",
)
BOOK.activation(
    "selu",
    "RubixML/ML#427",
    "for negative inputs scale * (output + alpha), where output + scale * alpha is right",
    forward=lambda x: SCALE * np.where(x > 0, x, ALPHA * np.expm1(np.minimum(x, 0))),
    wrong=lambda x, y: np.where(x > 0, SCALE, SCALE * (y + ALPHA)),
    right=lambda x, y: np.where(x > 0, SCALE, y + SCALE * ALPHA),
    causes="derivative",
)
BOOK.activation(
    "elu",
    "mlpack/mlpack#1540",
    "for negative inputs x + alpha, as if what is given were the output",
    forward=lambda x: np.where(x > 0, x, 0.7 * np.expm1(np.minimum(x, 0))),
    wrong=lambda x, y: np.where(x > 0, 1, x + 0.7),
    right=lambda x, y: np.where(x > 0, 1, y + 0.7),
    causes="derivative",
    alpha=0.7,
)
BOOK.activation(
    "elu",
    "pytorch/pytorch#47671",
    "which side of the kink it is on is judged by the output, wrong for a negative alpha",
    forward=lambda x: np.where(x > 0, x, -2 * np.expm1(np.minimum(x, 0))),
    wrong=lambda x, y: np.where(y > 0, 1, y - 2),
    right=lambda x, y: np.where(x > 0, 1, y - 2),
    causes="derivative at the output",
    alpha=-2.0,
)
BOOK.activation(
    "leaky_relu",
    "pytorch/pytorch#31938",
    "in place, which side of the kink it is on is judged by the output, wrong for a negative slope",
    wrong=lambda x, y: np.where(y > 0, 1, -2),
    causes="derivative at the output",
    negative_slope=-2.0,
    **_leaky(-2.0),  # type: ignore[arg-type]
)
BOOK.activation(
    "leaky_relu",
    "chainer/chainer#5898",
    "with slope 0 everything passes: y >= 0 holds on both sides",
    wrong=lambda x, y: np.where(y >= 0, 1, 0),
    causes="derivative omitted, derivative at the output",
    negative_slope=0.0,
    **_leaky(0.0),  # type: ignore[arg-type]
)
BOOK.activation(
    "leaky_relu",
    "scientific-computing/FKB#15",
    "the derivative is ReLU's",
    wrong=lambda x, y: np.where(0.3 * x > 0, 1, 0),
    causes="derivative, option",
    negative_slope=0.3,
    **_leaky(0.3),  # type: ignore[arg-type]
)
BOOK.activation(
    "leaky_relu",
    "deeplearning4j/deeplearning4j#8178",
    "the backward pass does not take the slope and works with its default",
    wrong=lambda x, y: np.where(x > 0, 1, 0.01),
    causes="option",
    negative_slope=0.2,
    **_leaky(0.2),  # type: ignore[arg-type]
)
BOOK.activation(
    "leaky_relu",
    "MachineLearningLifeScience/stochman#13",
    "the Jacobian of a negative input is the input's slope times the input",
    wrong=lambda x, y: np.where(x > 0, 1, 0.01 * x),
    causes="derivative",
    **_leaky(0.01),  # type: ignore[arg-type]
)
BOOK.output(
    "leaky_relu",
    "tflearn/tflearn#784",
    "relu comes first, so that nothing negative is left to leak",
    wrong=lambda x: np.where(np.maximum(x, 0) > 0, np.maximum(x, 0), 0.1 * np.maximum(x, 0)),
    right=lambda x: np.where(x > 0, x, 0.1 * x),
    derivative=lambda x, y: np.where(x > 0, 1, 0.1),
    causes="option",
    negative_slope=0.1,
)
BOOK.activation(
    "hardsigmoid",
    "pytorch/pytorch#51408",
    "a sixth below -3 too",
    forward=lambda x: np.clip(x + 3, 0, 6) / 6,
    wrong=lambda x, y: np.where(x < 3, 1 / 6, 0),
    right=lambda x, y: np.where((x > -3) & (x < 3), 1 / 6, 0),
    causes="derivative",
)


@BOOK.op(
    "log_softmax",
    "mlpack/mlpack#2360",
    "exp(y) + dy, the upstream gradient in place of Kronecker's delta",
    causes="coupling",
    dim=-1,
)
def mlpack_log_softmax(fixed: bool) -> Differentiable:
    def fn(x: Array) -> tuple[Array, Backward]:
        y = log_softmax(x)
        return y, lambda dy: dy - np.exp(y) * dy.sum(-1, keepdims=True) if fixed else np.exp(y) + dy

    return fn


@BOOK.op(
    "softmax", "deeplearning4j/libnd4j#440", "the diagonal of the Jacobian only, y (1 - y)", causes="coupling", dim=-1
)
def libnd4j_softmax(fixed: bool) -> Differentiable:
    def fn(x: Array) -> tuple[Array, Backward]:
        y = softmax(x)
        return y, lambda dy: y * (dy - (dy * y).sum(-1, keepdims=True)) if fixed else dy * y * (1 - y)

    return fn


@BOOK.op(
    "softmax",
    "HomericIntelligence/Odyssey#2134",
    "the dot product with the upstream gradient is missing",
    causes="coupling",
    dim=-1,
)
def odyssey_softmax(fixed: bool) -> Differentiable:
    def fn(x: Array) -> tuple[Array, Backward]:
        y = softmax(x)
        return y, lambda dy: y * (dy - (dy * y).sum(-1, keepdims=True)) if fixed else y * dy

    return fn


@BOOK.op(
    "softmax",
    "pocketpy/cTensor#31",
    "the engine multiplies the Jacobian's product by the upstream gradient again",
    causes="upstream twice",
    dim=-1,
)
def ctensor_softmax(fixed: bool) -> Differentiable:
    def fn(x: Array) -> tuple[Array, Backward]:
        y = softmax(x)

        def backward(dy: Array) -> Array:
            product: Array = y * (dy - (dy * y).sum(-1, keepdims=True))
            return product if fixed else product * dy

        return y, backward

    return fn


def _prelu(x: Array, weight: Array) -> Array:
    return per_channel(weight, x.ndim) if x.ndim > 1 and len(weight) > 1 else weight


@BOOK.op(
    "prelu",
    "flagos-ai/FlagGems#4992",
    "the weight is looked up by the last axis instead of axis 1: silently wrong where the two are equally long",
    "grad_input, grad.weight",
    "axis",
    x=drawn(2, 6, 6, 6),
    weight=np.linspace(0.1, 0.6, 6),
)
def flaggems_prelu(fixed: bool) -> Differentiable:
    def fn(x: Array, weight: Array) -> tuple[Array, Backward]:
        shaped = _prelu(x, weight)

        def backward(dy: Array) -> tuple[Array, Array]:
            dw = np.where(x > 0, 0, dy * x)
            if fixed or len(weight) == 1:
                axes = all_but(1, x.ndim) if len(weight) > 1 else tuple(range(x.ndim))
                return np.where(x > 0, dy, shaped * dy), dw.sum(axes).reshape(weight.shape)
            if len(weight) != x.shape[-1]:
                raise ValueError(f"weight has {len(weight)} elements, expected {x.shape[-1]}")
            return np.where(x > 0, dy, weight * dy), dw.sum(tuple(range(x.ndim - 1)))

        return np.where(x > 0, x, shaped * x), backward

    return fn


@BOOK.op(
    "prelu",
    "pytorch/pytorch#94933",
    "the weight's gradient is summed over the batch only",
    "grad.weight",
    "shape, not summed",
)
def mps_prelu(fixed: bool) -> Differentiable:
    def fn(x: Array, weight: Array) -> tuple[Array, Backward]:
        shaped = _prelu(x, weight)

        def backward(dy: Array) -> tuple[Array, Array]:
            dw = np.where(x > 0, 0, dy * x)
            axes = all_but(1, x.ndim) if len(weight) > 1 else tuple(range(x.ndim))
            return np.where(x > 0, dy, shaped * dy), dw.sum(axes).reshape(weight.shape) if fixed else dw.sum(0)

        return np.where(x > 0, x, shaped * x), backward

    return fn
