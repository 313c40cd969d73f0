"""Other ways to compute the same update: factors combined, quotients before products, separate weight decay."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from oracle.selftest.variants.variant import Variant, of_rule
from refbp.arrays import in_bfloat16


def variants() -> Iterator[Variant]:
    lr = {"lr": 0.1}
    yield of_rule("Adam: corrections gathered in the rate", "Adam", lr, gathered)
    yield of_rule("Adam: moments kept as sums", "Adam", {"lr": 0.1, "weight_decay": 0.1}, by_sums)
    yield of_rule("AdamW: decay taken off", "AdamW", {"lr": 0.1, "weight_decay": 0.1}, decay_taken_off)
    yield of_rule("Adamax: quotient first", "Adamax", lr, adamax)
    yield of_rule("NAdam: the moment that is looked ahead to", "NAdam", lr, nadam)
    yield of_rule("NAdam: decay taken off", "NAdam", {"lr": 0.1, "weight_decay": 0.1}, nadam)
    yield of_rule("RAdam: rectified last", "RAdam", {"lr": 0.1, "betas": (0.9, 0.9)}, radam)
    yield of_rule("Adadelta: one root", "Adadelta", {"lr": 0.5}, adadelta)
    yield of_rule("Adagrad: by the reciprocal", "Adagrad", lr, adagrad)
    yield of_rule("RMSprop: centered by differences", "RMSprop", {"lr": 0.1, "centered": True}, centered)
    yield of_rule("ASGD: decay in the gradient", "ASGD", {"lr": 0.1, "lambd": 0.1}, asgd)
    yield of_rule("ASGD: the average as a weighted sum", "ASGD", {"lr": 0.1, "t0": 0.0}, asgd)
    yield of_rule("Rprop: by masks", "Rprop", lr, rprop)
    yield of_rule("Muon: every product rounded", "Muon", lr, muon)
    yield of_rule("Adafactor: rows and columns one after the other", "Adafactor", lr, adafactor)


def zero(p: Any, kept: Any) -> Any:
    return np.zeros_like(p) if kept is None else kept


def moments(p: Any, d: Any, m: Any, v: Any, b1: Any, b2: Any) -> tuple[Any, Any]:
    return b1 * zero(p, m) + (1 - b1) * d, b2 * zero(p, v) + (1 - b2) * d * d


def gathered(
    p: Any,
    g: Any,
    step: Any = None,
    m: Any = None,
    v: Any = None,
    *_: Any,
    lr: Any,
    betas: Any,
    eps: Any,
    **__: Any,
) -> Any:
    t, (b1, b2) = (step or 0) + 1, betas
    m, v = moments(p, g, m, v, b1, b2)
    root = (1 - b2**t) ** 0.5
    return p - lr * root / (1 - b1**t) * (m / (np.sqrt(v) + eps * root)), t, m, v, None


def by_sums(
    p: Any,
    g: Any,
    step: Any = None,
    m: Any = None,
    v: Any = None,
    *_: Any,
    lr: Any,
    betas: Any,
    eps: Any,
    weight_decay: Any,
    **__: Any,
) -> Any:
    t, (b1, b2) = (step or 0) + 1, betas
    d = weight_decay * p + g
    m = (b1 / (1 - b1) * zero(p, m) + d) * (1 - b1)
    v = (b2 / (1 - b2) * zero(p, v) + d * d) * (1 - b2)
    return p - lr * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + eps), t, m, v, None


def decay_taken_off(p: Any, g: Any, *state: Any, lr: Any, weight_decay: Any, **options: Any) -> Any:
    new, *kept = gathered(p, g, *state, lr=lr, **options)
    return new - (lr * weight_decay) * p, *kept


def adamax(
    p: Any, g: Any, step: Any = None, m: Any = None, u: Any = None, *, lr: Any, betas: Any, eps: Any, **_: Any
) -> Any:
    t, (b1, b2) = (step or 0) + 1, betas
    m = b1 * zero(p, m) + (1 - b1) * g
    u = np.maximum(np.abs(g) + eps, zero(p, u) * b2)
    return p - (m / u) * (lr / (1 - b1**t)), t, m, u


def nadam(
    p: Any,
    g: Any,
    step: Any = None,
    product: Any = None,
    m: Any = None,
    v: Any = None,
    *,
    lr: Any,
    betas: Any,
    eps: Any,
    weight_decay: Any,
    momentum_decay: Any,
    **_: Any,
) -> Any:
    t, (b1, b2) = (step or 0) + 1, betas
    d = g + p * weight_decay
    now, after = (b1 * (1 - 0.5 * 0.96 ** (n * momentum_decay)) for n in (t, t + 1))
    product = now * (p.dtype.type(1) if product is None else product)
    m, v = moments(p, d, m, v, b1, b2)
    ahead = m * (after / (1 - product * after)) + d * ((1 - now) / (1 - product))
    return p - ahead / (np.sqrt(v) / (1 - b2**t) ** 0.5 + eps) * lr, t, np.asarray(product, p.dtype), m, v


def radam(
    p: Any, g: Any, step: Any = None, m: Any = None, v: Any = None, *, lr: Any, betas: Any, eps: Any, **_: Any
) -> Any:
    t, (b1, b2) = (step or 0) + 1, betas
    m, v = moments(p, g, m, v, b1, b2)
    longest = (1 + b2) / (1 - b2)
    length = longest - 2 * t / (b2**-t - 1)
    move = m / (1 - b1**t)
    if length > 5:
        share = (length - 4) / (longest - 4) * ((length - 2) / (longest - 2)) * (longest / length)
        move = share**0.5 * (move / ((np.sqrt(v) + eps) / (1 - b2**t) ** 0.5))
    return p - lr * move, t, m, v


def adadelta(
    p: Any, g: Any, step: Any = None, s: Any = None, u: Any = None, *, lr: Any, rho: Any, eps: Any, **_: Any
) -> Any:
    s, u = zero(p, s), zero(p, u)
    s = s + (1 - rho) * (g * g - s)
    delta = g * np.sqrt((u + eps) / (s + eps))
    return p - delta * lr, (step or 0) + 1, s, u + (1 - rho) * (np.square(delta) - u)


def adagrad(p: Any, g: Any, step: Any = None, s: Any = None, *, lr: Any, eps: Any, **_: Any) -> Any:
    s = g * g + zero(p, s)
    return p - lr * (g * (1 / (np.sqrt(s) + eps))), (step or 0) + 1, s


def centered(
    p: Any,
    g: Any,
    step: Any = None,
    s: Any = None,
    v: Any = None,
    mean: Any = None,
    *,
    lr: Any,
    alpha: Any,
    eps: Any,
    **_: Any,
) -> Any:
    s, mean = alpha * zero(p, s) + (1 - alpha) * g * g, alpha * zero(p, mean) + (1 - alpha) * g
    return p - lr * (g / (np.sqrt(s - mean * mean) + eps)), (step or 0) + 1, s, None, mean


def asgd(
    p: Any,
    g: Any,
    step: Any = None,
    eta: Any = None,
    mu: Any = None,
    ax: Any = None,
    *,
    lr: Any,
    lambd: Any,
    alpha: Any,
    t0: Any,
    **_: Any,
) -> Any:
    t = (step or 0) + 1
    eta, mu = (p.dtype.type(start if kept is None else kept) for start, kept in ((lr, eta), (1, mu)))
    new = p - eta * (g + lambd * p)
    average = new.copy() if mu == 1 else (1 - mu) * zero(p, ax) + mu * new
    rates = (lr * (1 + lambd * lr * t) ** -alpha, 1 / max(1.0, t - t0))
    return new, t, *(np.asarray(rate, p.dtype) for rate in rates), average


def rprop(
    p: Any,
    g: Any,
    step: Any = None,
    before: Any = None,
    size: Any = None,
    *,
    lr: Any,
    etas: Any,
    step_sizes: Any,
    **_: Any,
) -> Any:
    same = np.sign(g) * np.sign(zero(p, before))
    size = np.full_like(p, lr) if size is None else size
    size = np.clip(
        size * ((same > 0) * etas[1] + (same < 0) * etas[0] + (same == 0)).astype(p.dtype), *step_sizes
    ).astype(p.dtype)
    d = g * (same >= 0)
    return p - np.copysign(size, d) * (d != 0), (step or 0) + 1, d, size


def adafactor(
    p: Any,
    g: Any,
    step: Any = None,
    rows: Any = None,
    columns: Any = None,
    v: Any = None,
    *,
    lr: Any,
    beta2_decay: Any,
    **_: Any,
) -> Any:
    t = (step or 0) + 1
    old = 1 - float(t) ** beta2_decay
    if g.ndim > 1:
        r, c = (np.square(np.linalg.norm(g, axis=a, keepdims=True)) / g.shape[a] for a in (-1, -2))
        rows, columns = (
            new if kept is None else old * kept + (1 - old) * new for kept, new in ((rows, r), (columns, c))
        )
        update = g / np.sqrt(rows / rows.mean(-2, keepdims=True)) / np.sqrt(columns)
    else:
        v = g * g if v is None else old * v + (1 - old) * g * g
        update = g / np.sqrt(v)
    size = np.linalg.norm(update) / update.size**0.5
    rate = max(1e-3, np.linalg.norm(p) / p.size**0.5) * min(lr, t**-0.5)
    moved = (update * (rate / max(1.0, size))).astype(p.dtype)
    return p - moved, t, rows, columns, v


def muon(
    p: Any,
    g: Any,
    v: Any = None,
    *,
    lr: Any,
    weight_decay: Any,
    momentum: Any,
    ns_coefficients: Any,
    ns_steps: Any,
    **_: Any,
) -> Any:
    """Keller Jordan's own code, each of whose operations rounds to bfloat16."""
    v = momentum * zero(p, v) + (1 - momentum) * g
    x = in_bfloat16((1 - momentum) * g + momentum * v)
    is_tall, (a, b, c) = x.shape[0] > x.shape[1], ns_coefficients
    x = x.T if is_tall else x
    x = in_bfloat16(x / in_bfloat16(np.asarray(np.linalg.norm(x), x.dtype)))
    for _place in range(ns_steps):
        gram = in_bfloat16(x @ x.T)
        update = in_bfloat16(in_bfloat16(b * gram) + in_bfloat16(in_bfloat16(c * gram) @ gram))
        x = in_bfloat16(in_bfloat16(a * x) + in_bfloat16(update @ x))
    step = (x.T if is_tall else x) * (max(1.0, p.shape[0] / p.shape[1]) ** 0.5)
    return p * (1 - lr * weight_decay) - (lr * step).astype(p.dtype), v
