"""Published bugs in losses: ignored reductions and upstream gradients, misplaced weights, ignored rows that count."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from oracle.case.arrays import Array
from oracle.ops.check_op import Differentiable
from oracle.selftest.corpus.entry import Book
from oracle.selftest.corpus.plain import Backward, drawn, sigmoid

BOOK = Book("losses")
# (differences or input, target) -> the losses of the elements, and their derivatives
Terms = Callable[[Array, Array], tuple[Array, Array]]
# (derivatives, upstream gradient, reduction) -> grad_input
Upstream = Callable[[Array, Array, str], Array]


def right_upstream(derivative: Array, dy: Array, reduction: str) -> Array:
    scaled: Array = derivative * dy
    return scaled / derivative.size if reduction == "mean" and derivative.size else scaled


def _reduced(losses: Array, reduction: str) -> Any:
    return losses if reduction == "none" else losses.sum() if reduction == "sum" else losses.mean()


def elementwise(
    terms: Terms,
    reduction: str = "mean",
    upstream: Upstream = right_upstream,
    value: Callable[[Array], Any] | None = None,
) -> Differentiable:
    """A loss computed by elements.

    terms: returns the losses and derivatives of the elements.
    upstream: combines derivatives and upstream gradient; the project may have its own.
    value: replaces the reduction in the forward.
    """

    def fn(x: Array, target: Array) -> tuple[Array, Backward]:
        losses, derivative = terms(x, target)
        reduced = _reduced(losses, reduction) if value is None else value(losses)
        return np.asarray(reduced, x.dtype), lambda dy: np.asarray(upstream(derivative, dy, reduction), x.dtype)

    return fn


def square(x: Array, target: Array) -> tuple[Array, Array]:
    return (x - target) ** 2, 2 * (x - target)


@BOOK.op(
    "mse_loss",
    "flagos-ai/FlagGems#5212",
    "a scalar upstream gradient is read like an array: only the first element is scaled rightly",
    causes="upstream misread",
)
def flaggems_mse(fixed: bool) -> Differentiable:
    def wrong(derivative: Array, dy: Array, reduction: str) -> Array:
        memory = np.zeros(derivative.size, derivative.dtype)
        memory[:1] = dy
        return derivative * memory.reshape(derivative.shape) / max(derivative.size, 1)

    return elementwise(square, upstream=right_upstream if fixed else wrong)


@BOOK.op("mse_loss", "davisking/dlib#1169", "the gradient lacks the factor 2", causes="factor, derivative")
def dlib_mse(fixed: bool) -> Differentiable:
    return elementwise(square if fixed else lambda x, t: ((x - t) ** 2, x - t))


@BOOK.op("mse_loss", "fetchai/ledger#1741", "half the mean square", "output", "factor")
def ledger_mse(fixed: bool) -> Differentiable:
    return elementwise(square, value=None if fixed else lambda losses: losses.mean() / 2)


@BOOK.op(
    "mse_loss",
    "tiny-dnn/tiny-dnn#159",
    "half the sum of squares, not divided by how many there are",
    "output",
    "factor, option",
)
def tiny_dnn_mse(fixed: bool) -> Differentiable:
    return elementwise(square, value=None if fixed else lambda losses: losses.sum() / 2)


@BOOK.op(
    "mse_loss",
    "ml-explore/mlx#504",
    "the square is a power, whose derivative divides by the base: NaN at zero",
    causes="not finite",
    x=np.array([[0.0, 1.0, -2.0], [3.0, 0.5, 0.0]]),
    target=np.array([[0.0, 2.0, -1.0], [1.0, 0.5, 1.0]]),
)
def mlx_power(fixed: bool) -> Differentiable:
    def wrong(x: Array, target: Array) -> tuple[Array, Array]:
        base = x - target
        return base**2, 2 * base**2 / base

    return elementwise(square if fixed else wrong)


@BOOK.op("l1_loss", "mlpack/mlpack#2203", "the gradient is 1 everywhere, without the sign", causes="derivative, sign")
def mlpack_l1(fixed: bool) -> Differentiable:
    return elementwise(lambda x, t: (np.abs(x - t), np.sign(x - t) if fixed else np.ones_like(x)))


def huber(signed: bool) -> Terms:
    def terms(x: Array, target: Array) -> tuple[Array, Array]:
        d = x - target
        inner = d < 1 if signed else np.abs(d) < 1
        return np.where(inner, d * d / 2, np.abs(d) - 0.5), np.where(inner, d, np.sign(d))

    return terms


@BOOK.op("huber_loss", "chainer/chainer#1175", "the upstream gradient is taken to be 1", causes="upstream ignored")
def chainer_huber(fixed: bool) -> Differentiable:
    def wrong(derivative: Array, dy: Array, reduction: str) -> Array:
        return right_upstream(derivative, np.ones_like(dy), reduction)

    return elementwise(huber(False), upstream=right_upstream if fixed else wrong)


@BOOK.op(
    "smooth_l1_loss", "BobMcDear/attorch#13", "the threshold is compared with the signed difference", "output", "output"
)
def attorch_signed(fixed: bool) -> Differentiable:
    return elementwise(huber(not fixed))


@BOOK.op(
    "kl_div",
    "mlpack/mlpack#1365",
    "one number for all elements, the mean of their derivatives",
    causes="summed too far",
    reduction="batchmean",
)
def mlpack_kl(fixed: bool) -> Differentiable:
    def fn(x: Array, target: Array) -> tuple[Array, Backward]:
        with np.errstate(all="ignore"):
            losses = np.where(target > 0, target * (np.log(target) - x), 0)
        rows = len(x) if x.ndim else 1

        def backward(dy: Array) -> Array:
            dx = -target * dy / rows if rows else np.zeros_like(x)
            return np.asarray(dx if fixed or not dx.size else np.full_like(x, dx.mean()), x.dtype)

        return np.asarray(losses.sum() / rows if rows else np.nan, x.dtype), backward

    return fn


@BOOK.op(
    "margin_ranking_loss",
    "mlpack/mlpack#3167",
    "the gradient of the target instead of those of the two inputs",
    causes="another quantity",
    margin=0.5,
)
def mlpack_ranking(fixed: bool) -> Differentiable:
    def fn(x1: Array, x2: Array, target: Array) -> tuple[Array, Backward]:
        losses = -target * (x1 - x2) + x1.dtype.type(0.5)
        active = losses > 0

        def backward(dy: Array) -> Any:
            scale = dy / max(losses.size, 1)
            first = np.where(active, -target if fixed else -(x1 - x2), 0) * scale
            return first.astype(x1.dtype), (-first if fixed else first).astype(x1.dtype)

        return np.asarray(np.where(active, losses, 0).mean() if losses.size else np.nan, x1.dtype), backward

    return fn


def bce_with_logits(
    weigh: Callable[[Array], tuple[Any, Any]] | None = None,
    pos_weight: Array | None = None,
    gradient: Callable[[Array, Array, Array], Array] | None = None,
) -> Differentiable:
    """Binary cross entropy with logits.

    weigh: takes the targets, and returns the weight of all and the weight of the positive term.
    gradient: takes (derivatives, input, target), and returns the project's own derivatives.
    """

    def terms(x: Array, target: Array) -> tuple[Array, Array]:
        whole, positive = (
            (1.0, 1.0 if pos_weight is None else pos_weight.astype(x.dtype)) if weigh is None else weigh(target)
        )
        softplus = np.log1p(np.exp(-np.abs(x))) + np.maximum(-x, 0)
        losses = whole * ((1 - target) * x + (1 + (positive - 1) * target) * softplus)
        d = whole * ((1 + (positive - 1) * target) * sigmoid(x) - positive * target)
        return losses, d if gradient is None else gradient(d, x, target)

    return elementwise(terms)


@BOOK.op(
    "binary_cross_entropy_with_logits",
    "paiml/aprender#2204",
    "pos_weight scales the whole loss, right for targets of 0 and 1 only",
    "output",
    "option",
    pos_weight=(3.0,),
    x=drawn(4, 1),
    target=np.array([[0.2], [0.9], [0.5], [0.0]]),
)
def aprender_pos_weight(fixed: bool) -> Differentiable:
    return bce_with_logits((lambda t: (1, 3.0)) if fixed else (lambda t: (1 + 2.0 * t, 1.0)))


@BOOK.op(
    "binary_cross_entropy_with_logits",
    "PaddlePaddle/Paddle#64226",
    "pos_weight scales the logarithm alone, without its shift",
    "output",
    "option",
    pos_weight=(0.3,),
    x=drawn(6, 1),
    target=np.array([[0.2], [0.9], [0.5], [0.0], [1.0], [0.7]]),
)
def paddle_pos_weight(fixed: bool) -> Differentiable:
    def terms(x: Array, target: Array) -> tuple[Array, Array]:
        losses = np.maximum(x, 0) - x * target + np.log1p(np.exp(-np.abs(x))) * x.dtype.type(0.3)
        return losses, (x > 0) - target - np.sign(x) * x.dtype.type(0.3) * sigmoid(-np.abs(x))

    return bce_with_logits(lambda t: (1, 0.3)) if fixed else elementwise(terms)


@BOOK.op(
    "binary_cross_entropy_with_logits",
    "PaddlePaddle/Paddle#65859",
    "pos_weight is lost where the logit is very negative",
    "output",
    "option",
    pos_weight=(3.0,),
    x=np.array([[-14.913008], [2.0], [-0.5]]),
    target=np.ones((3, 1)),
)
def paddle_pos_weight_lost(fixed: bool) -> Differentiable:
    return bce_with_logits(lambda t: (1, 3.0 if fixed else 1.0))


@BOOK.op(
    "binary_cross_entropy_with_logits",
    "pytorch/pytorch#2298",
    "the shift is a clamp, whose derivative at a logit of 0 is 0",
    causes="derivative",
    x=np.array([[0.0], [1.5], [-0.5], [0.0]]),
    target=np.array([[0.0], [1.0], [0.0], [1.0]]),
)
def bce_clamp(fixed: bool) -> Differentiable:
    return bce_with_logits(gradient=None if fixed else lambda d, x, t: np.where(x == 0, -t * 0, d))


@BOOK.op(
    "binary_cross_entropy_with_logits",
    "eriklindernoren/ML-From-Scratch#135",
    "the gradient of logistic regression is a sum, not a mean",
    causes="factor, option",
)
def regression_sum(fixed: bool) -> Differentiable:
    return bce_with_logits(gradient=None if fixed else lambda d, x, t: d * d.size)
