"""Published bugs in optimizers: bias corrections, the place of eps and of weight decay, signs, lost or shared state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from oracle.case.arrays import Array
from oracle.selftest.corpus.updates import Options, Rules, State, Update, decayed

BOOK = Rules("optimizers")
published = BOOK.published


def rmsprop(fixed: bool, wrong: Callable[[Array, Array, Options, State], Any]) -> Update:
    def rule(p: Array, g: Array, s: State, o: Options) -> Any:
        g = decayed(p, g, o)
        alpha = o.get("alpha", 0.99)
        if fixed:
            s["v"] = alpha * s.get("v", 0) + (1 - alpha) * g * g
            step: Array = o.get("lr", 0.01) * g / (np.sqrt(s["v"]) + o.get("eps", 1e-8))
            return p - step
        return wrong(p, g, o, s)

    return rule


INSIDE = "epsilon_inside_root, epsilon"


@published("RMSprop", "keras-team/keras#435", "epsilon stands inside the root", INSIDE)
def keras_epsilon(fixed: bool) -> Update:
    def wrong(p: Array, g: Array, o: Options, s: State) -> Any:
        s["v"] = o.get("alpha", 0.99) * s.get("v", 0) + (1 - o.get("alpha", 0.99)) * g * g
        return p - o.get("lr", 0.01) * g / np.sqrt(s["v"] + o.get("eps", 1e-8))

    return rmsprop(fixed, wrong)


@published("RMSprop", "apache/mxnet#4493", "epsilon stands inside the root, and is 1e-4", INSIDE)
def mxnet_epsilon(fixed: bool) -> Update:
    def wrong(p: Array, g: Array, o: Options, s: State) -> Any:
        s["v"] = o.get("alpha", 0.99) * s.get("v", 0) + (1 - o.get("alpha", 0.99)) * g * g
        return p - o.get("lr", 0.01) * g / np.sqrt(s["v"] + 1e-4)

    return rmsprop(fixed, wrong)


@published(
    "RMSprop",
    "Devinterview-io/gradient-descent-interview-questions#1",
    "the running average adds the whole square",
    "factor, rate",
)
def interview_average(fixed: bool) -> Update:
    def wrong(p: Array, g: Array, o: Options, s: State) -> Any:
        s["v"] = o.get("alpha", 0.99) * s.get("v", 0) + g * g
        return p - o.get("lr", 0.01) * g / (np.sqrt(s["v"]) + o.get("eps", 1e-8))

    return rmsprop(fixed, wrong)


def adagrad(fixed: bool, wrong: Callable[[Array, Array, Array, Options, State], Any]) -> Update:
    def rule(p: Array, g: Array, s: State, o: Options) -> Any:
        g = decayed(p, g, o)
        total = s["sum"] = s.get("sum", o.get("initial_accumulator_value", 0)) + g * g
        if fixed:
            return p - o.get("lr", 0.01) * g / (np.sqrt(total) + o.get("eps", 1e-10))
        return wrong(p, g, total, o, s)

    return rule


@published("Adagrad", "PaddlePaddle/Paddle#4743", "the step is added", "sign")
def paddle_sign(fixed: bool) -> Update:
    return adagrad(fixed, lambda p, g, total, o, s: p + o.get("lr", 0.01) * g / (np.sqrt(total) + o.get("eps", 1e-10)))


@published("Adagrad", "keras-team/keras#17391", "epsilon stands inside the root", INSIDE)
def keras_adagrad(fixed: bool) -> Update:
    return adagrad(fixed, lambda p, g, total, o, s: p - o.get("lr", 0.01) * g / np.sqrt(total + o.get("eps", 1e-10)))


@published(
    "Adagrad",
    "PennyLaneAI/pennylane#1928",
    "an index that is not counted up: all parameters take the first one's step size",
)
def pennylane_index(fixed: bool) -> Update:
    def wrong(p: Array, g: Array, total: Array, o: Options, s: State) -> Any:
        first = s["shared"].setdefault("first", {"sum": total})
        if s.get("is_first", not s["shared"].get("taken")):
            s["is_first"] = s["shared"]["taken"] = True
            first["sum"] = total
        root = np.sqrt(first["sum"].ravel()[: p.size].mean())
        return p - o.get("lr", 0.01) * g / (root + o.get("eps", 1e-10))

    return adagrad(fixed, wrong)


def sgd(
    velocity: Callable[[Array, Array, Array, float], Array] | None = None,
    step: Callable[[Array, Array, Array, Options], Any] | None = None,
    decay_after: bool = False,
) -> Update:
    """SGD with parts that a project wrote differently.

    velocity: takes (old, gradient, parameter, momentum), and returns the new momentum buffer.
    step: takes (parameter, gradient, velocity, options), and returns the new parameter.
    decay_after: whether weight decay joins the update instead of the gradient.
    """

    def rule(p: Array, g: Array, s: State, o: Options) -> Any:
        mu, lr, decay = o.get("momentum", 0), o["lr"], o.get("weight_decay", 0)
        g = g if decay_after else g + decay * p
        if not mu:
            return p - lr * (g + decay * p) if decay_after else p - lr * g
        old = s.get("v")
        v = s["v"] = g if old is None else (mu * old + g if velocity is None else velocity(old, g, p, mu))
        if step is not None:
            return step(p, g, v, o)
        update = g + mu * v if o.get("nesterov") else v
        return p - lr * (update + decay * p if decay_after else update)

    return rule


@published(
    "SGD",
    "PaddlePaddle/Paddle#12231",
    "Nesterov's step adds the momentum instead of subtracting it",
    "nesterov",
    lacks=("dampening",),
)
def paddle_nesterov(fixed: bool) -> Update:
    def wrong(p: Array, g: Array, v: Array, o: Options) -> Any:
        return p - o["lr"] * (g - o["momentum"] * v if o.get("nesterov") else v)

    return sgd(step=None if fixed else wrong)


@published(
    "SGD",
    "pytorch/pytorch#13801",
    "the decay comes after the momentum",
    "decay after momentum",
    lacks=("dampening", "nesterov"),
)
def cpp_decay(fixed: bool) -> Update:
    return sgd(decay_after=not fixed)


@published(
    "SGD", "ml-explore/mlx#440", "without momentum there is no decay either", "option, decay rate", lacks=("dampening",)
)
def mlx_decay(fixed: bool) -> Update:
    def rule(p: Array, g: Array, s: State, o: Options) -> Any:
        if not fixed and not o.get("momentum"):
            return p - o["lr"] * g
        return sgd()(p, g, s, o)

    return rule


@published(
    "SGD",
    "kozistr/pytorch_optimizer#516",
    "the momentum's buffer is set to zero before each step",
    "momentum, state lost",
    lacks=("dampening", "nesterov"),
)
def kozistr_buffer(fixed: bool) -> Update:
    return sgd(velocity=None if fixed else lambda old, g, p, mu: g)


@published(
    "SGD",
    "kozistr/pytorch_optimizer#517",
    "weight_decay is accepted and never applied",
    "option",
    lacks=("dampening", "nesterov"),
)
def kozistr_decay(fixed: bool) -> Update:
    def rule(p: Array, g: Array, s: State, o: Options) -> Any:
        return sgd()(p, g, s, o if fixed else {**o, "weight_decay": 0})

    return rule


@published(
    "SGD",
    "apache/systemds#2330",
    "the biases are given to their own update in place of their gradients",
    "parameter for gradient",
    lacks=("dampening", "nesterov", "weight_decay"),
)
def systemds_bias(fixed: bool) -> Update:
    def rule(p: Array, g: Array, s: State, o: Options) -> Any:
        return sgd()(p, g if fixed or p.ndim > 1 else p.copy(), s, o)

    return rule
