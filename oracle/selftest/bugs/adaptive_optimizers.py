"""Bugs in adaptive optimizers: ignored options, and wrong moments, bias corrections, ε and accumulated sums."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from oracle.selftest.bugs.bug import Bug
from oracle.selftest.bugs.optimizers import ignored, rule

# Type, options of the case, name of the ignored option, the value that is used instead, and the first wrong quantity.
IGNORED: tuple[tuple[str, dict[str, Any], str, Any, str], ...] = (
    ("Adadelta", {"lr": 0.3}, "lr", 1.0, "param.weight"),
    ("Adadelta", {"rho": 0.5}, "rho", 0.9, "square_avg.weight"),
    ("Adadelta", {"eps": 0.1}, "eps", 1e-6, "acc_delta.weight"),
    ("Adadelta", {"weight_decay": 0.3}, "weight_decay", 0.0, "square_avg.weight"),
    ("Adadelta", {"maximize": True}, "maximize", False, "param.weight"),
    ("Adamax", {"lr": 0.3}, "lr", 2e-3, "param.weight"),
    ("Adamax", {"lr": 0.1, "betas": (0.9, 0.3)}, "betas", (0.9, 0.999), "exp_inf.weight"),
    ("Adamax", {"lr": 0.1, "betas": (0.3, 0.9)}, "betas", (0.9, 0.9), "exp_avg.weight"),
    ("Adamax", {"lr": 0.1, "eps": 0.1}, "eps", 1e-8, "exp_inf.weight"),
    ("Adamax", {"lr": 0.1, "weight_decay": 0.3}, "weight_decay", 0.0, "exp_avg.weight"),
    ("Adamax", {"lr": 0.1, "maximize": True}, "maximize", False, "exp_avg.weight"),
    ("NAdam", {"lr": 0.3}, "lr", 2e-3, "param.weight"),
    ("NAdam", {"lr": 0.1, "betas": (0.9, 0.3)}, "betas", (0.9, 0.999), "exp_avg_sq.weight"),
    ("NAdam", {"lr": 0.1, "betas": (0.3, 0.9)}, "betas", (0.9, 0.9), "mu_product.weight"),
    ("NAdam", {"lr": 0.1, "eps": 0.1}, "eps", 1e-8, "param.weight"),
    ("NAdam", {"lr": 0.1, "weight_decay": 0.3}, "weight_decay", 0.0, "exp_avg.weight"),
    ("NAdam", {"lr": 0.1, "momentum_decay": 0.3}, "momentum_decay", 4e-3, "mu_product.weight"),
    ("NAdam", {"lr": 0.1, "maximize": True}, "maximize", False, "exp_avg.weight"),
    (
        "NAdam",
        {"lr": 0.1, "weight_decay": 0.3, "decoupled_weight_decay": True},
        "decoupled_weight_decay",
        False,
        "exp_avg.weight",
    ),
    ("RAdam", {"lr": 0.3}, "lr", 1e-3, "param.weight"),
    ("RAdam", {"lr": 0.1, "betas": (0.9, 0.3)}, "betas", (0.9, 0.999), "exp_avg_sq.weight"),
    ("RAdam", {"lr": 0.1, "betas": (0.3, 0.9)}, "betas", (0.9, 0.9), "exp_avg.weight"),
    ("RAdam", {"lr": 0.1, "weight_decay": 0.3}, "weight_decay", 0.0, "exp_avg.weight"),
    ("RAdam", {"lr": 0.1, "maximize": True}, "maximize", False, "exp_avg.weight"),
    (
        "RAdam",
        {"lr": 0.1, "weight_decay": 0.3, "decoupled_weight_decay": True},
        "decoupled_weight_decay",
        False,
        "exp_avg.weight",
    ),
    ("ASGD", {"lr": 0.3}, "lr", 1e-2, "eta.weight"),
    ("ASGD", {"lr": 0.1, "lambd": 0.3}, "lambd", 1e-4, "eta.weight"),
    ("ASGD", {"lr": 0.1, "lambd": 0.3, "alpha": 0.3}, "alpha", 0.75, "eta.weight"),
    ("ASGD", {"lr": 0.1, "t0": 1.0}, "t0", 1e6, "mu.weight"),
    ("ASGD", {"lr": 0.1, "weight_decay": 0.3}, "weight_decay", 0.0, "ax.weight"),
    ("ASGD", {"lr": 0.1, "maximize": True}, "maximize", False, "ax.weight"),
    ("Rprop", {"lr": 0.3}, "lr", 1e-2, "step_size.weight"),
    ("Rprop", {"lr": 0.1, "etas": (0.3, 1.7)}, "etas", (0.5, 1.2), "step_size.weight"),
    ("Rprop", {"lr": 0.1, "step_sizes": (0.08, 0.12)}, "step_sizes", (1e-6, 50), "step_size.weight"),
    ("Rprop", {"lr": 0.1, "maximize": True}, "maximize", False, "prev.weight"),
    ("Adafactor", {"lr": 0.3}, "lr", 1e-2, "param.weight"),
    ("Adafactor", {"lr": 0.3, "beta2_decay": -0.3}, "beta2_decay", -0.8, "row_var.weight"),
    ("Adafactor", {"lr": 0.3, "eps": (None, 2.0)}, "eps", (None, 1e-3), "param.weight"),
    ("Adafactor", {"lr": 0.3, "eps": (0.7, 1e-3)}, "eps", (None, 1e-3), "param.weight"),
    ("Adafactor", {"lr": 0.3, "d": 1.3}, "d", 1.0, "param.weight"),
    ("Adafactor", {"lr": 0.3, "weight_decay": 0.3}, "weight_decay", 0.0, "param.weight"),
    ("Adafactor", {"lr": 0.3, "maximize": True}, "maximize", False, "param.weight"),
    ("AdamW", {"lr": 0.3}, "lr", 1e-3, "param.weight"),
    ("AdamW", {"lr": 0.1, "betas": (0.3, 0.9)}, "betas", (0.9, 0.999), "exp_avg.weight"),
    ("AdamW", {"lr": 0.1, "eps": 0.1}, "eps", 1e-8, "param.weight"),
    ("AdamW", {"lr": 0.1, "weight_decay": 0.3}, "weight_decay", 0.01, "param.weight"),
    ("AdamW", {"lr": 0.1, "amsgrad": True, "betas": (0.9, 0.3)}, "amsgrad", False, "max_exp_avg_sq.weight"),
    ("AdamW", {"lr": 0.1, "maximize": True}, "maximize", False, "exp_avg.weight"),
    ("Adam", {"lr": 0.1, "amsgrad": True, "betas": (0.9, 0.3)}, "amsgrad", False, "max_exp_avg_sq.weight"),
    ("RMSprop", {"lr": 0.3}, "lr", 1e-2, "param.weight"),
    ("RMSprop", {"lr": 0.1, "centered": True}, "centered", False, "grad_avg.weight"),
    ("RMSprop", {"lr": 0.1, "maximize": True}, "maximize", False, "param.weight"),
    ("Adagrad", {"lr": 0.3}, "lr", 1e-2, "param.weight"),
    ("Adagrad", {"lr": 0.1, "weight_decay": 0.3}, "weight_decay", 0.0, "sum.weight"),
    ("Adagrad", {"lr": 0.1, "maximize": True}, "maximize", False, "param.weight"),
)


def bugs() -> Iterator[Bug]:
    for type, options, option, taken, quantity in IGNORED:
        given = options[option]
        yield ignored(f"{type}: {option} {taken} for {given}", type, options, quantity, **{option: taken})
    yield from of_adam()
    yield from of_kin()
    yield from of_squares()
    yield from of_the_rest()


def of_adam() -> Iterator[Bug]:
    lr = {"lr": 0.1}

    def textbook(first: Any, second: Any, eps: Any = lambda root, eps: root + eps) -> Any:
        """Adam's step from its new state. `first` and `second` apply the bias corrections, `eps` adds ε to the root."""

        def change(op: Any) -> Any:
            def wrong(p: Any, g: Any, *state: Any, **o: Any) -> Any:
                _, t, m, v, *rest = op(p, g, *state, **o)
                c1, c2 = (p.dtype.type(1 - beta**t) for beta in o["betas"])
                if o["decoupled_weight_decay"]:
                    p = p * (1 - o["lr"] * o["weight_decay"])
                return p - o["lr"] * first(m, c1) / eps(np.sqrt(second(v, c2)), o["eps"]), t, m, v, *rest

            return wrong

        return change

    def over(a: Any, b: Any) -> Any:
        return a / b

    for type in ("Adam", "AdamW"):
        yield rule(f"{type}: first moment alone corrected", type, lr, textbook(over, lambda v, c: v))
        yield rule(f"{type}: second moment alone corrected", type, lr, textbook(lambda m, c: m, over))
        yield rule(
            f"{type}: multiplied by the corrections",
            type,
            lr,
            textbook(lambda m, c: m * c, lambda v, c: v * c),
        )
        yield rule(
            f"{type}: eps before the correction",
            type,
            {"lr": 0.1, "eps": 0.1},
            lambda op: (
                lambda p, g, step=None, *s, eps, **o: op(
                    p, g, step, *s, eps=eps / np.sqrt(1 - o["betas"][1] ** ((step or 0) + 1)).item(), **o
                )
            ),
        )
        yield rule(
            f"{type}: eps inside the root",
            type,
            {"lr": 0.1, "eps": 0.1},
            textbook(over, over, lambda r, e: np.sqrt(r * r + e)),
        )
    yield rule("Adam: state begun anew", "Adam", lr, lambda op: lambda p, g, *s, **o: op(p, g, **o), "step.weight")
    yield rule(
        "Adam: moments begun anew",
        "Adam",
        lr,
        lambda op: lambda p, g, step=None, *s, **o: op(p, g, step, **o),
        "exp_avg.weight",
    )
    yield rule("Adam: the parameter for its gradient", "Adam", lr, parameter_given, "exp_avg.weight")
    yield rule("AdamW: decay of the new parameter", "AdamW", {"lr": 0.1, "weight_decay": 0.3}, decayed_after)


def of_kin() -> Iterator[Bug]:
    lr = {"lr": 0.1}
    yield rule(
        "Adamax: no bias correction",
        "Adamax",
        lr,
        lambda op: lambda p, g, step=None, *s, **o: (op(p, g, 10**6, *s, **o)[0], *op(p, g, step, *s, **o)[1:]),
    )
    yield rule("Adamax: state begun anew", "Adamax", lr, lambda op: lambda p, g, *s, **o: op(p, g, **o), "step.weight")
    for type in ("NAdam", "RAdam"):
        yield rule(f"{type}: as Adam", type, lr, as_adam)
        yield rule(
            f"{type}: decay decoupled from the rate",
            type,
            {"lr": 0.1, "weight_decay": 0.3, "decoupled_weight_decay": True},
            lambda op: lambda p, g, *s, weight_decay, **o: op(p * (1 - weight_decay), g, *s, weight_decay=0.0, **o),
        )
        yield rule(
            f"{type}: steps counted from one too many",
            type,
            {"lr": 0.1, "betas": (0.9, 0.9)},
            lambda op: (
                lambda p, g, step=None, *s, **o: (op(p, g, (step or 0) + 1, *s, **o)[0], *op(p, g, step, *s, **o)[1:])
            ),
        )


def of_squares() -> Iterator[Bug]:
    def adagrad_inside(op: Any) -> Any:
        def wrong(p: Any, g: Any, *state: Any, lr: float, eps: float, **o: Any) -> Any:
            _, t, total = op(p, g, *state, lr=lr, eps=eps, **o)
            return p - lr * g / np.sqrt(total + eps), t, total

        return wrong

    def adadelta_outside(op: Any) -> Any:
        def wrong(p: Any, g: Any, step: Any = None, s: Any = None, u: Any = None, *, lr: float, **o: Any) -> Any:
            _, t, s, _ = op(p, g, step, s, u, lr=lr, **o)
            before = np.zeros_like(p) if u is None else u
            delta = (np.sqrt(before) + o["eps"]) / (np.sqrt(s) + o["eps"]) * g
            return p - lr * delta, t, s, o["rho"] * before + (1 - o["rho"]) * delta * delta

        return wrong

    yield rule("Adagrad: eps inside the root", "Adagrad", {"lr": 0.1, "eps": 0.1}, adagrad_inside)
    yield rule(
        "Adagrad: state begun anew",
        "Adagrad",
        {"lr": 0.1},
        lambda op: lambda p, g, *s, **o: op(p, g, **o),
        "step.weight",
    )
    yield rule("Adadelta: eps outside the roots", "Adadelta", {"eps": 0.1}, adadelta_outside, "acc_delta.weight")
    yield rule(
        "Adadelta: rate in what is added up",
        "Adadelta",
        {"lr": 0.3},
        lambda op: (
            lambda p, g, step=None, s=None, u=None, *, lr, rho, **o: rate_added(op, p, g, step, s, u, lr, rho, o)
        ),
        "acc_delta.weight",
    )
    yield rule(
        "RMSprop: momentum holds the rate",
        "RMSprop",
        {"lr": 0.1, "momentum": 0.9},
        lambda op: (
            lambda p, g, step=None, s=None, v=None, *r, lr, **o: rate_in_momentum(op, p, g, step, s, v, r, lr, o)
        ),
        "momentum.weight",
    )
    yield rule(
        "RMSprop: decay after the division",
        "RMSprop",
        {"lr": 0.1, "weight_decay": 0.3},
        lambda op: lambda p, g, *s, **o: less_decay(op(p, g, *s, **{**o, "weight_decay": 0.0}), p, o),
        "square_avg.weight",
    )


def of_the_rest() -> Iterator[Bug]:
    def adafactor(change: Any) -> Any:
        """Changes the new parameter: change(p, g, rate, v, rows, t, options) -> new p.

        rate: min(lr, 1/√t).
        v: the estimate of the squared gradient.
        rows: the means over rows that v is made of; None for vectors.
        """

        def of(op: Any) -> Any:
            def wrong(p: Any, g: Any, *state: Any, **o: Any) -> Any:
                _, t, rows, columns, variance = op(p, g, *state, **o)
                estimate = variance if rows is None else rows * columns / rows.mean(-2, keepdims=True)
                return change(p, g, min(o["lr"], t**-0.5), estimate, rows, t, o), t, rows, columns, variance

            return wrong

        return of

    def size(a: Any) -> Any:
        return np.sqrt(np.mean(a * a))

    def clipped(u: Any) -> Any:
        return u / np.maximum(size(u), 1)

    yield rule(
        "Adafactor: not clipped",
        "Adafactor",
        {"lr": 0.3},
        adafactor(lambda p, g, rate, v, rows, t, o: p - rate * size(p) * g / np.sqrt(v)),
    )
    yield rule(
        "Adafactor: step not relative",
        "Adafactor",
        {"lr": 0.3},
        adafactor(lambda p, g, rate, v, rows, t, o: p - rate * clipped(g / np.sqrt(v))),
    )
    yield rule(
        "Adafactor: rate not limited",
        "Adafactor",
        {"lr": 0.9},
        adafactor(lambda p, g, rate, v, rows, t, o: p - o["lr"] * size(p) * clipped(g / np.sqrt(v))),
    )
    yield rule(
        "Adafactor: rows not divided by their mean",
        "Adafactor",
        {"lr": 0.3},
        adafactor(
            lambda p, g, rate, v, rows, t, o: (
                p - rate * size(p) * clipped(g / np.sqrt(v if rows is None else v * rows.mean(-2, keepdims=True)))
            )
        ),
    )
    yield rule(
        "ASGD: rate of this step",
        "ASGD",
        {"lr": 0.3, "lambd": 0.3},
        lambda op: lambda p, g, step=None, eta=None, *s, **o: op(p, g, step, op(p, g, step, eta, *s, **o)[2], *s, **o),
        "ax.weight",
    )
    yield rule(
        "ASGD: the average takes the parameter's place",
        "ASGD",
        {"lr": 0.1, "t0": 0.0},
        lambda op: lambda p, g, *s, **o: (op(p, g, *s, **o)[4], *op(p, g, *s, **o)[1:]),
    )
    yield rule("Rprop: moves where the sign has turned", "Rprop", {"lr": 0.1}, turned_all_the_same, "prev.weight")
    yield rule("Rprop: the size of the step before", "Rprop", {"lr": 0.1}, size_of_before)
    yield rule(
        "SGD: nesterov with the wrong sign",
        "SGD",
        {"lr": 0.1, "momentum": 0.9, "nesterov": True},
        lambda op: lambda p, g, v=None, **o: backwards(op(p, g, v, **o)[1], p, g, o),
    )
    yield rule(
        "SGD: the buffer is begun anew",
        "SGD",
        {"lr": 0.1, "momentum": 0.9},
        lambda op: lambda p, g, v=None, **o: op(p, g, None, **o),
        "momentum.weight",
    )
    yield rule(
        "SGD: the parameter for its gradient", "SGD", {"lr": 0.1, "momentum": 0.9}, parameter_given, "momentum.weight"
    )


def parameter_given(op: Any) -> Any:
    return lambda p, g, *s, **o: op(p, p, *s, **o)


def decayed_after(op: Any) -> Any:
    def wrong(p: Any, g: Any, *s: Any, weight_decay: float, **o: Any) -> Any:
        new, *state = op(p, g, *s, weight_decay=0.0, **o)
        return new * (1 - o["lr"] * weight_decay), *state

    return wrong


def as_adam(op: Any) -> Any:
    def wrong(p: Any, g: Any, *s: Any, **o: Any) -> Any:
        _, t, *rest = op(p, g, *s, **o)
        m, v = rest[-2:]
        c1, c2 = (p.dtype.type(1 - beta**t) for beta in o["betas"])
        return p - o["lr"] * (m / c1) / (np.sqrt(v / c2) + o["eps"]), t, *rest

    return wrong


def rate_added(op: Any, p: Any, g: Any, step: Any, s: Any, u: Any, lr: float, rho: float, o: Any) -> Any:
    new, t, s, _ = op(p, g, step, s, u, lr=lr, rho=rho, **o)
    before = np.zeros_like(p) if u is None else u
    delta = lr * np.sqrt(before + o["eps"]) / np.sqrt(s + o["eps"]) * g
    return new, t, s, rho * before + (1 - rho) * delta * delta


def rate_in_momentum(op: Any, p: Any, g: Any, step: Any, s: Any, v: Any, rest: Any, lr: float, o: Any) -> Any:
    before = np.zeros_like(p) if v is None else v
    _, t, s, moved, mean = op(p, g, step, s, np.zeros_like(p), *rest, lr=lr, **o)
    v = o["momentum"] * before + lr * moved
    return p - v, t, s, v, mean


def less_decay(right: Any, p: Any, o: Any) -> Any:
    new, *state = right
    return new - o["lr"] * o["weight_decay"] * p, *state


def turned_all_the_same(op: Any) -> Any:
    def wrong(p: Any, g: Any, *s: Any, **o: Any) -> Any:
        _, t, _, size = op(p, g, *s, **o)
        return p - size * np.sign(g), t, g, size

    return wrong


def size_of_before(op: Any) -> Any:
    def wrong(p: Any, g: Any, step: Any = None, prev: Any = None, size: Any = None, **o: Any) -> Any:
        _, t, d, new = op(p, g, step, prev, size, **o)
        return p - (np.full_like(p, o["lr"]) if size is None else size) * np.sign(d), t, d, new

    return wrong


def backwards(v: Any, p: Any, g: Any, o: Any) -> Any:
    return p - o["lr"] * (g - o["momentum"] * v), v
