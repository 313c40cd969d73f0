"""Published bugs in dense layers and training loops: sums over the batch, update order, joined paths, shared nodes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from oracle.case.arrays import Array
from oracle.case.case import Case
from oracle.ops.check_op import Differentiable
from oracle.selftest.corpus.engine import ACTIVATIONS, Engine, mlp_case
from oracle.selftest.corpus.entry import Book
from oracle.selftest.corpus.graph import Graph, two_blocks
from oracle.selftest.corpus.layers import Dropout
from oracle.selftest.corpus.plain import Backward, drawn

BOOK = Book("training")
XOR = (mlp_case("xor", 4, (2, 3, 1), "Sigmoid"),)


def linear(
    weight: Callable[[Array, Array, Array], Any] | None = None,
    bias: Callable[[Array, Array], Any] | None = None,
    grad_input: Callable[[Array, Array, Array], Any] | None = None,
) -> Differentiable:
    """A dense layer. `weight` and `grad_input` replace gradients and take (dy, x, weight); `bias` takes (dy, x)."""

    def fn(x: Array, w: Array, b: Array | None = None) -> tuple[Array, Backward]:
        y = x @ w.T if b is None else x @ w.T + b

        def backward(dy: Array) -> tuple[Any, ...]:
            rows, up = x.reshape(-1, x.shape[-1]), dy.reshape(-1, dy.shape[-1])
            dx = dy @ w if grad_input is None else grad_input(dy, x, w)
            dw = up.T @ rows if weight is None else weight(up, rows, w)
            db = None if b is None else up.sum(0) if bias is None else np.asarray(bias(up, rows), x.dtype)
            return dx, dw, db

        return y, backward

    return fn


@BOOK.op(
    "linear",
    "rasbt/stat453-deep-learning-ss21#5",
    "the bias's gradient is one sum over everything, broadcast",
    "grad.bias",
    "summed too far",
)
def stat453_sum(fixed: bool) -> Differentiable:
    return linear(bias=None if fixed else lambda dy, x: np.full(dy.shape[1], dy.sum()))


@BOOK.op("linear", "kvfrans/notes#5", "the bias's gradient is a mean over the batch", "grad.bias", "factor")
def notes_mean(fixed: bool) -> Differentiable:
    return linear(bias=None if fixed else lambda dy, x: dy.mean(0) if len(dy) else dy.sum(0))


@BOOK.op(
    "linear", "mlpack/mlpack#3679", "the bias's gradient is not summed over the batch", "grad.bias", "shape, not summed"
)
def mlpack_add(fixed: bool) -> Differentiable:
    return linear(bias=None if fixed else lambda dy, x: dy)


@BOOK.op(
    "linear",
    "rust0258/Deeplearning.ai-Natural-Language-Processing-Specialization#64",
    "the bias's gradient sums the weight's over the inputs",
    "grad.bias",
)
def cbow_bias(fixed: bool) -> Differentiable:
    return linear(bias=None if fixed else lambda dy, x: (dy.T @ x).sum(1))


@BOOK.op(
    "linear",
    "apache/tvm#5695",
    "both gradients are elementwise products, which fit where all sizes are equal",
    "grad_input, grad.weight",
    x=drawn(4, 4),
    weight=drawn(4, 4, seed=1),
    bias=None,
)
def tvm_dense(fixed: bool) -> Differentiable:
    if fixed:
        return linear()
    return linear(lambda dy, x, w: x * dy.T, None, lambda dy, x, w: dy.T * w)


class _Early(Engine):
    updates_early = True


for _source in (
    "VikParuchuri/zero_to_gpt#12",
    "CodingTrain/Toy-Neural-Network-JS#72",
    "joelgrus/data-science-from-scratch#31",
):

    @BOOK.run(
        "Linear",
        _source,
        "weights are updated before the gradient goes through them",
        "grad_input",
        "updated too early",
        "mlp/*+MSELoss",
    )
    def early(fixed: bool, source: str = _source) -> Engine:
        return Engine(source) if fixed else _Early(source)


@BOOK.run(
    "Linear",
    "kim-marcel/basic_neural_network#7",
    "the error of the layer before comes through the weights as updated",
    "grad_input",
    "updated too early",
    XOR,
)
def basic_early(fixed: bool) -> Engine:
    return Engine("basic_neural_network") if fixed else _Early("basic_neural_network")


class _BatchOfOne(Engine):
    def linear(self, x: Array, weight: Array, bias: Array, g: Array) -> tuple[Array, Array]:
        return g.T @ x, g.sum(0) if len(g) > 1 else np.zeros_like(bias)


@BOOK.run(
    "Linear",
    "deeplearning4j/deeplearning4j#364",
    "biases are not updated where the batch has one sample",
    "grad.bias",
    "zero",
    (*XOR, mlp_case("one sample", 1, (2, 3, 1), "Sigmoid")),
)
def dl4j_one(fixed: bool) -> Engine:
    return Engine("dl4j") if fixed else _BatchOfOne("dl4j")


class _Divided(Engine):
    def linear(self, x: Array, weight: Array, bias: Array, g: Array) -> tuple[Array, Array]:
        slices = len(g) if len(g) > 1 else g.shape[1]
        return g.T @ x * (len(g) / slices), g.sum(0) * (len(g) / slices)


@BOOK.run(
    "Linear",
    "deeplearning4j/deeplearning4j#1452",
    "with one sample, gradients are divided by the number of features",
    "grad.weight, grad.bias",
    "factor",
    (*XOR, mlp_case("one sample", 1, (2, 3, 2), "Sigmoid")),
)
def dl4j_slices(fixed: bool) -> Engine:
    return Engine("dl4j") if fixed else _Divided("dl4j")


class _NoDerivative(Engine):
    """The derivative of the last activation is left out."""

    def derivative(self, kinds: list[str], number: int, x: Array, y: Array) -> Array:
        return np.ones_like(x) if number == len(kinds) - 1 else super().derivative(kinds, number, x, y)


@BOOK.run(
    "Sigmoid",
    "parasdahal/tinyml#1",
    "the output's error is not multiplied by the activation's derivative",
    "grad_input",
    "derivative omitted",
    XOR,
)
def tinyml_output(fixed: bool) -> Engine:
    return Engine("tinyml") if fixed else _NoDerivative("tinyml")


class _NoDerivativeEarly(_NoDerivative):
    updates_early = True


@BOOK.run(
    "Sigmoid",
    "Bot-Academy/NeuralNetworkFromScratch#3",
    "the output's derivative is missing, and weights are updated too early",
    "grad_input",
    "derivative omitted",
    XOR,
)
def bot_academy(fixed: bool) -> Engine:
    return Engine("Bot Academy") if fixed else _NoDerivativeEarly("Bot Academy")


class _Neighbour(Engine):
    """Each activation uses the derivative of the activation before it."""

    def derivative(self, kinds: list[str], number: int, x: Array, y: Array) -> Array:
        before = [i for i, kind in enumerate(kinds[:number]) if kind in ACTIVATIONS]
        return ACTIVATIONS[kinds[before[-1]] if before else kinds[number]][1](x, y)


def _mixed() -> Case:
    case = mlp_case("mixed activations", 5, (3, 4, 4, 2), "Sigmoid")
    kinds = iter(("Tanh", "Sigmoid", "Sigmoid"))
    layers = tuple(replace(s, type=next(kinds)) if s.type == "Sigmoid" else s for s in case.layers)
    return replace(case, layers=layers)


@BOOK.run(
    "Sigmoid",
    "unda-ml/unda#1",
    "with several kinds of activations, each takes the derivative of the one before",
    "grad_input",
    "",
    (_mixed(),),
)
def unda_neighbour(fixed: bool) -> Engine:
    return Engine("unda") if fixed else _Neighbour("unda")


class _ByValue(Engine):
    """Biases of equal value are one node of the graph, and their gradients add up."""

    def linear(self, x: Array, weight: Array, bias: Array, g: Array) -> tuple[Array, Array]:
        dw, db = super().linear(x, weight, bias, g)
        _, first = np.unique(bias, return_inverse=True)
        return dw, np.array([db[first == own].sum() for own in first])


def _equal_biases() -> Case:
    case = mlp_case("equal biases", 5, (3, 4, 2), "Tanh")
    return replace(
        case, params={n: np.zeros_like(v) if n.endswith("bias") else v for n, v in case.params.items()}, steps=1
    )


@BOOK.run(
    "Linear",
    "tinygrad/tinygrad#9597",
    "constants of equal value are one node, and their gradients add up",
    "grad.bias",
    "summed too far",
    (_equal_biases(),),
)
def tinygrad_constants(fixed: bool) -> Engine:
    return Engine("tinygrad") if fixed else _ByValue("tinygrad")


BLOCKS = (two_blocks(),)


def _sum(name: str, body: Array, shortcut: Array) -> Array:
    return body + shortcut


@BOOK.run(
    "Residual", "paiml/entrenar#313", "the second block's identity hands no gradient back", "grad_input", "path", BLOCKS
)
def entrenar_skip(fixed: bool) -> Graph:
    return Graph("entrenar", _sum if fixed else lambda name, body, shortcut: body + (shortcut if name == "b1" else 0))


@BOOK.run(
    "Residual",
    "PaddlePaddle/Paddle#1805",
    "where branches meet, the last one's gradient replaces the others'",
    "grad_input",
    "path, not added back",
    BLOCKS,
)
def paddle_branches(fixed: bool) -> Graph:
    return Graph("Paddle", _sum if fixed else lambda name, body, shortcut: shortcut)


@BOOK.run(
    "Residual",
    "sebgao/cTensor#5",
    "a node on two paths hands its gradient on once for each, added up as it goes",
    "grad_input",
    "path, accumulated",
    BLOCKS,
)
def ctensor_paths(fixed: bool) -> Graph:
    return Graph("cTensor", _sum if fixed else lambda name, body, shortcut: body + (body + shortcut))


@BOOK.run(
    "Linear",
    "karpathy/micrograd#2",
    "a node that is used twice goes backward twice, with what has added up",
    "grad_input, grad.weight, grad.bias",
    "accumulated, factor",
    BLOCKS,
)
def micrograd_twice(fixed: bool) -> Graph:
    return Graph("micrograd", _sum, twice=not fixed)


@BOOK.run(
    "Dropout",
    "kaldi-asr/kaldi#3890",
    "dropout without a mask: dy * y / x, and dy where x is 0, dropped or not",
    "grad_input",
    "mask",
    "Dropout,",
)
def kaldi_ratio(fixed: bool) -> Dropout:
    def drop(x: Array, keep: Array, p: float) -> tuple[Array, Backward]:
        y = x * keep / (1 - p)
        return y, lambda dy: dy * keep / (1 - p) if fixed else np.where(x == 0, dy, y / np.where(x == 0, 1, x) * dy)

    return Dropout("kaldi", drop)


@BOOK.run(
    "Dropout",
    "ddbourgin/numpy-ml#94",
    "the backward pass scales, and does not apply the mask",
    "grad_input",
    "mask",
    "Dropout,p=",
)
def numpy_ml_mask(fixed: bool) -> Dropout:
    return Dropout(
        "numpy-ml", lambda x, keep, p: (x * keep / (1 - p), lambda dy: dy * (keep if fixed else 1) / (1 - p))
    )


@BOOK.run(
    "Dropout",
    "lmjohns3/theanets#123",
    "what is kept is divided by p instead of 1 - p",
    "output",
    "factor, mask",
    "Dropout,p=",
)
def theanets_scale(fixed: bool) -> Dropout:
    def drop(x: Array, keep: Array, p: float) -> tuple[Array, Backward]:
        scale = keep / ((1 - p) if fixed or not p else p)
        return x * scale, lambda dy: dy * scale

    return Dropout("theanets", drop)
