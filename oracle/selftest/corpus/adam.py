"""Published bugs in Adam and AdamW: bias corrections, the place of eps and weight decay, shared or lost state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from oracle.case.arrays import Array
from oracle.selftest.corpus.updates import Options, Rules, State, Update, decayed

BOOK = Rules("optimizers")
published = BOOK.published


def adam(o: Options, s: State, g: Array, default: float = 0.0) -> tuple[Array, Array, Array, float, float, Any]:
    """Counts the step, and returns m, v, the gradient, both bias corrections and eps."""
    b1, b2 = o.get("betas", (0.9, 0.999))
    s["t"] = s.get("t", 0) + 1
    m = s["m"] = b1 * s.get("m", 0) + (1 - b1) * g
    v = s["v"] = b2 * s.get("v", 0) + (1 - b2) * g * g
    return m, v, g, 1 - b1 ** s["t"], 1 - b2 ** s["t"], o.get("eps", 1e-8)


def adam_step(p: Array, m: Array, v: Array, c1: float, c2: float, o: Options) -> Array:
    step: Array = p - o.get("lr", 1e-3) * (m / c1) / (np.sqrt(v / c2) + o.get("eps", 1e-8))
    return step


def counted_in_loop(fixed: bool) -> Update:
    """Adam with one counter for all parameters, which goes up once for each parameter."""

    def rule(p: Array, g: Array, s: State, o: Options) -> Any:
        b1, b2 = o.get("betas", (0.9, 0.999))
        shared = s["shared"]
        shared["count"] = shared.get("count", 0) + 1
        m, v = adam(o, s, decayed(p, g, o))[:2]
        t = s["t"] if fixed else shared["count"]
        return adam_step(p, m, v, 1 - b1**t, 1 - b2**t, o)

    return rule


for _source in ("flashlight/flashlight#143", "DiffSharp/DiffSharp#292", "clab/dynet#77"):
    published("Adam", _source, "the step counter goes up with each parameter", "bias correction")(counted_in_loop)


@published(
    "Adam",
    "tinygrad/tinygrad#10",
    "the step counter goes up until convergence, many times in a step",
    "bias correction",
)
def tinygrad_counter(fixed: bool) -> Update:
    def rule(p: Array, g: Array, s: State, o: Options) -> Any:
        b1, b2 = o.get("betas", (0.9, 0.999))
        m, v = adam(o, s, decayed(p, g, o))[:2]
        t = s["t"] if fixed else 100 * s["t"]
        return adam_step(p, m, v, 1 - b1**t, 1 - b2**t, o)

    return rule


@published("Adam", "tiny-dnn/tiny-dnn#823", "the first step is corrected as if it were the second", "bias correction")
def tiny_dnn_powers(fixed: bool) -> Update:
    def rule(p: Array, g: Array, s: State, o: Options) -> Any:
        b1, b2 = o.get("betas", (0.9, 0.999))
        m, v = adam(o, s, decayed(p, g, o))[:2]
        t = s["t"] + (0 if fixed else 1)
        return adam_step(p, m, v, 1 - b1**t, 1 - b2**t, o)

    return rule


@published("Adam", "karpathy/convnetjs#70", "the moments are multiplied by their corrections", "bias correction")
def convnetjs_multiplied(fixed: bool) -> Update:
    def rule(p: Array, g: Array, s: State, o: Options) -> Any:
        m, v, _, c1, c2, _ = adam(o, s, decayed(p, g, o))
        return adam_step(p, m, v, c1, c2, o) if fixed else adam_step(p, m, v, 1 / c1, 1 / c2, o)

    return rule


@published(
    "Adam",
    "raskr/rust-autograd#16",
    "the new moments are written to copies: each step begins from zero",
    "state lost, stale, bias correction",
)
def rust_autograd_state(fixed: bool) -> Update:
    def rule(p: Array, g: Array, s: State, o: Options) -> Any:
        m, v, _, c1, c2, _ = adam(o, s, decayed(p, g, o))
        if not fixed:
            del s["m"], s["v"]
        return adam_step(p, m, v, c1, c2, o)

    return rule


@published("Adam", "oracle/tribuo#401", "the step is multiplied by the root of the second moment")
def tribuo_multiplied(fixed: bool) -> Update:
    def rule(p: Array, g: Array, s: State, o: Options) -> Any:
        m, v, _, c1, c2, eps = adam(o, s, decayed(p, g, o))
        root = np.sqrt(v / c2) + eps
        step: Array = o.get("lr", 1e-3) * (m / c1)
        return p - step / root if fixed else p - step * root

    return rule


def uncorrected_epsilon(default_decay: float, coupled: bool) -> Callable[[bool], Update]:
    def make(fixed: bool) -> Update:
        def rule(p: Array, g: Array, s: State, o: Options) -> Any:
            lr, decay = o.get("lr", 1e-3), o.get("weight_decay", default_decay)
            p, g = (p, g + decay * p) if coupled else (p * (1 - lr * decay), g)
            m, v, _, c1, c2, eps = adam(o, s, g)
            if fixed:
                return adam_step(p, m, v, c1, c2, o)
            short: Array = p - lr * np.sqrt(c2) / c1 * m / (np.sqrt(v) + eps)
            return short

        return rule

    return make


EPSILON = "bias correction, epsilon, adam_epsilon_uncorrected"
published(
    "Adam", "tensorflow/tensorflow#35102", "epsilon is added before the correction of the second moment", EPSILON
)(uncorrected_epsilon(0, True))
published("Adam", "pytorch/pytorch#22628", "epsilon is scaled by the correction of the second moment", EPSILON)(
    uncorrected_epsilon(0, True)
)
published("AdamW", "karpathy/nanochat#304", "epsilon is added before the correction of the second moment", EPSILON)(
    uncorrected_epsilon(0.01, False)
)


def adamw(decay: Callable[[Array, float, float], Array], after: bool = False) -> Update:
    """AdamW with the project's own decay(parameter, lr, weight_decay) -> parameter, before or after the step."""

    def rule(p: Array, g: Array, s: State, o: Options) -> Any:
        lr, weight_decay = o.get("lr", 1e-3), o.get("weight_decay", 0.01)
        m, v, _, c1, c2, _ = adam(o, s, g)
        if after:
            return decay(adam_step(p, m, v, c1, c2, o), lr, weight_decay)
        return adam_step(decay(p, lr, weight_decay), m, v, c1, c2, o)

    return rule


def right_decay(p: Array, lr: float, decay: float) -> Array:
    return p * (1 - lr * decay)


@published("AdamW", "FluxML/Optimisers.jl#182", "the decay does not know the rate", "decay rate")
def optimisers_rate(fixed: bool) -> Update:
    return adamw(right_decay if fixed else lambda p, lr, decay: p * (1 - decay))


@published(
    "AdamW",
    "jettify/pytorch-optimizer#454",
    "the decay subtracts a constant instead of a share of the parameter",
    "decay rate",
)
def jettify_constant(fixed: bool) -> Update:
    return adamw(right_decay if fixed else lambda p, lr, decay: p - lr * decay)


@published(
    "AdamW",
    "bitsandbytes-foundation/bitsandbytes#2010",
    "the decay comes after the step",
    "decay after momentum, decay order",
)
def bitsandbytes_order(fixed: bool) -> Update:
    return adamw(right_decay, after=not fixed)


@published("AdamW", "huggingface/pytorch-image-models#2750", "parameters in two groups are decayed twice", "decay rate")
def timm_twice(fixed: bool) -> Update:
    return adamw(right_decay if fixed else lambda p, lr, decay: p * (1 - lr * decay) ** 2)


def coupled_decay(fixed: bool) -> Update:
    """AdamW that adds the weight decay to the gradient, as Adam does."""

    def rule(p: Array, g: Array, s: State, o: Options) -> Any:
        if fixed:
            return adamw(right_decay)(p, g, s, o)
        m, v, _, c1, c2, _ = adam(o, s, g + o.get("weight_decay", 0.01) * p)
        return adam_step(p, m, v, c1, c2, o)

    return rule


for _source in ("keras-team/keras#19051", "nntrainer/nntrainer#3565"):
    published("AdamW", _source, "the decay goes into the gradient, as Adam's does", "decay decoupled")(coupled_decay)


@published("NAdam", "apache/mxnet#8925", "the gradient is multiplied by one plus the decayed weight")
def mxnet_nadam(fixed: bool) -> Update:
    def rule(p: Array, g: Array, s: State, o: Options) -> Any:
        decay = o.get("weight_decay", 0) * p
        m, v, _, _, c2, eps = adam(o, s, g + decay if fixed else g * (1 + decay))
        g = g + decay if fixed else g * (1 + decay)
        b1 = o.get("betas", (0.9, 0.999))[0]
        now, after = (b1 * (1 - 0.5 * 0.96 ** (t * o.get("momentum_decay", 4e-3))) for t in (s["t"], s["t"] + 1))
        s["product"] = s.get("product", 1.0) * now
        root = np.sqrt(v / c2) + eps
        lr = o.get("lr", 2e-3)
        own: Array = p - lr * (1 - now) / (1 - s["product"]) * g / root
        return own - lr * after / (1 - s["product"] * after) * m / root

    return rule
