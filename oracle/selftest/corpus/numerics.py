"""Published formulas that are right on paper but overflow, underflow or cancel, on the reporters' own numbers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from oracle.case.arrays import Array
from oracle.ops.check_op import Differentiable
from oracle.selftest.corpus.entry import Book
from oracle.selftest.corpus.losses import elementwise
from oracle.selftest.corpus.plain import Backward, log_softmax, sigmoid, softmax

BOOK = Book("numerics")
LARGE = np.array([[20.0, 50.0, 100.0, -1.0], [0.5, -100.0, 90.0, -20.0]])
FAR = np.array([[-431.0, 279.0, 427.0], [1.0, 2.0, 3.0]])


def softplus(x: Array) -> Array:
    y: Array = np.where(x > 20, x, np.log1p(np.exp(np.minimum(x, 20))))
    return y


def _slope(x: Array, y: Array) -> Array:
    return np.where(x > 20, 1, sigmoid(x))


BOOK.output(
    "softplus",
    "tracel-ai/burn#5373",
    "log(exp(x) + 1) overflows",
    lambda x: np.log(np.exp(x) + 1),
    softplus,
    _slope,
    "not finite",
    x=LARGE,
)
BOOK.output(
    "softplus",
    "openvinotoolkit/openvino#4932",
    "log(exp(x) + 1) overflows for large positive values",
    lambda x: np.log(np.exp(x) + 1),
    softplus,
    _slope,
    "not finite",
    x=10 * LARGE,
)
BOOK.output(
    "softplus",
    "rushter/MLAlgorithms#31",
    "x + log(1 + 1 / exp(x)) overflows on the other side",
    lambda x: x + np.log(1 + 1 / np.exp(x)),
    softplus,
    _slope,
    "not finite",
    x=np.array([[-800.0, 800.0, 0.0], [-5.0, 5.0, 1.0]]),
)
BOOK.activation(
    "softplus",
    "tenstorrent/tt-metal#56397",
    "the derivative is exp(x) / (exp(x) + 1) by a reciprocal: inf * 0",
    forward=lambda x: np.where(x > 100, x, np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))),
    wrong=lambda x, y: np.where(x > 100, 1, np.nan_to_num(np.exp(x) * (1 / (np.exp(x) + 1)))),
    right=lambda x, y: np.where(x > 100, 1, sigmoid(x)),
    threshold=100.0,
    x=np.array([[85.0, 88.0, 90.0], [95.0, 99.0, 120.0], [750.0, 1.0, -2.0]]),
)
BOOK.output(
    "logsigmoid",
    "pytorch/pytorch#1835",
    "log(1 / (1 + exp(-x))) is -inf at -300",
    lambda x: np.log(1 / (1 + np.exp(-x))),
    lambda x: np.minimum(x, 0) - np.log1p(np.exp(-np.abs(x))),
    lambda x, y: sigmoid(-x),
    "not finite",
    x=np.array([[-300.0, -3.0, 2.0], [-800.0, 0.5, 300.0]]),
)
BOOK.output(
    "logsigmoid",
    "sony/nnabla#845",
    "-log(1 + exp(-x)) is -inf at -800",
    lambda x: -np.log(1 + np.exp(-x)),
    lambda x: np.minimum(x, 0) - np.log1p(np.exp(-np.abs(x))),
    lambda x, y: sigmoid(-x),
    "not finite",
    x=np.array([[-100.0, -3.0, 2.0], [-800.0, 0.5, 300.0]]),
)
BOOK.activation(
    "sigmoid",
    "jeshraghian/snntorch#433",
    "exp(-x) / (exp(-x) + 1)² is inf / inf",
    forward=sigmoid,
    wrong=lambda x, y: np.exp(-x) / (np.exp(-x) + 1) ** 2,
    right=lambda x, y: y * (1 - y),
    causes="not finite",
    x=np.array([[-125.0, -3.0, 2.0], [-800.0, 0.5, 30.0]]),
)


def _rows(
    name: str,
    source: str,
    what: str,
    forward: Callable[[Array], Array],
    right: Callable[[Array], Array],
    backward: Callable[[Array, Array, Array], Array],
    x: Array,
) -> None:
    """Adds a bug in softmax or log-softmax over the last dimension; `forward` is the project's own formula."""

    @BOOK.op(name, source, what, "output", "not finite", dim=-1, x=x)
    def make(fixed: bool) -> Differentiable:
        def fn(x: Array) -> tuple[Array, Backward]:
            y = (right if fixed else forward)(x)
            return y, lambda dy: backward(dy, y, x)

        return fn


def _through_softmax(dy: Array, y: Array, x: Array) -> Array:
    return y * (dy - (dy * y).sum(-1, keepdims=True))  # type: ignore[no-any-return]


def _through_log(dy: Array, y: Array, x: Array) -> Array:
    return dy - np.exp(y) * dy.sum(-1, keepdims=True)  # type: ignore[no-any-return]


def _whole_maximum(x: Array) -> Array:
    e = np.exp(x - x.max())
    return e / e.sum(-1, keepdims=True)  # type: ignore[no-any-return]


def _plain(x: Array) -> Array:
    e = np.exp(x)
    return e / e.sum(-1, keepdims=True)  # type: ignore[no-any-return]


_rows(
    "softmax",
    "manassharma07/crysx_nn#7",
    "the maximum is taken over the whole array: a row far below it is 0 / 0",
    _whole_maximum,
    softmax,
    _through_softmax,
    np.array([[0.0, 1.0, 2.0], [900.0, 901.0, 899.0]]),
)
_rows(
    "softmax",
    "deeplearning4j/deeplearning4j#6039",
    "exp of the raw input overflows",
    _plain,
    softmax,
    _through_softmax,
    3 * FAR,
)
_rows(
    "log_softmax",
    "tenstorrent/tt-metal#10001",
    "exp of the raw input overflows",
    lambda x: x - np.log(np.exp(x).sum(-1, keepdims=True)),
    log_softmax,
    _through_log,
    3 * FAR,
)


@BOOK.op(
    "log_softmax",
    "FluxML/NNlib.jl#68",
    "the gradient divides by the softmax, which underflows",
    causes="not finite",
    dim=-1,
    x=3 * FAR,
)
def nnlib_divides(fixed: bool) -> Differentiable:
    def fn(x: Array) -> tuple[Array, Backward]:
        p = softmax(x)

        def wrong(dy: Array) -> Array:
            return _through_softmax(dy / p, p, x)

        return log_softmax(x), (lambda dy: dy - p * dy.sum(-1, keepdims=True)) if fixed else wrong

    return fn


@BOOK.op(
    "binary_cross_entropy_with_logits",
    "borgwang/tinynn#7",
    "log(1 + exp(x)) overflows",
    "output",
    "not finite",
    x=10 * LARGE,
    target=np.array([[1.0, 0.0, 1.0, 0.0], [1.0, 1.0, 0.0, 0.0]]),
)
def tinynn_logits(fixed: bool) -> Differentiable:
    def terms(x: Array, t: Array) -> tuple[Array, Array]:
        softplus = np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))) if fixed else np.log(1 + np.exp(x))
        return softplus - x * t, sigmoid(x) - t

    return elementwise(terms)
