"""Rules and formulas that are legal for who declares them, and discrepancies for who does not."""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import pytest

from oracle import Case, Profile, Report, Spec, Trace, check_op, run
from oracle.execution.predict import predict
from oracle.judging.conventions import CONVENTIONS
from oracle.running_error import ErrorModel
from oracle.subjects import refbp as honest
from oracle.suite import matching
from oracle.trace import Key


class Updates:
    """An optimizer by hand: a rule that takes and returns parameter and state, and the names of what it keeps."""

    name = "updates by hand"

    def __init__(self, convention: str | None, kept: tuple[str, ...], rule: Callable[..., Any]) -> None:
        self.profile = Profile(conventions=(convention,) if convention else ())
        self.kept, self.rule = kept, rule

    def run(self, case: Case) -> Trace:
        trace, weight, state = Trace(), case.params["weight"], [None] * len(self.kept)
        for step in range(case.steps):
            weight, *state = self.rule(weight, case.grads[step]["weight"], step, *state)
            for name, value in zip(self.kept, state, strict=True):
                trace.record(step, "", f"{name}.weight", value)
            trace.record(step, "", "param.weight", weight)
        return trace


def update(optimizer: str, size: float = 1.0, **options: Any) -> Case:
    rng = np.random.default_rng(0)
    grads = tuple({"weight": size * rng.standard_normal(9)} for _ in range(3))
    return Case(
        "update", params={"weight": rng.standard_normal(9)}, grads=grads, optimizer=Spec(optimizer, options), steps=3
    )


def velocity(w: Any, g: Any, step: int, v: Any) -> Any:
    lr, momentum = w.dtype.type(0.3), w.dtype.type(0.9)
    v = lr * g if v is None else momentum * v + lr * g
    return w - v, v


def rmsprop(w: Any, g: Any, step: int, s: Any, _: Any) -> Any:
    kind = w.dtype.type
    s = kind(0.9) * (0 * w if s is None else s) + kind(0.1) * g * g
    return w - kind(0.3) * g / np.sqrt(s + kind(1e-3)), s, np.asarray(step + 1)


def rmsprop_with_momentum(w: Any, g: Any, step: int, s: Any, b: Any, _: Any) -> Any:
    kind = w.dtype.type
    s = kind(0.9) * (0 * w if s is None else s) + kind(0.1) * g * g
    b = kind(0.5) * (0 * w if b is None else b) + g / np.sqrt(s + kind(1e-3))
    return w - kind(0.3) * b, s, b, np.asarray(step + 1)


def adagrad(w: Any, g: Any, step: int, s: Any, _: Any) -> Any:
    kind = w.dtype.type
    s = (0 * w if s is None else s) + g * g
    return w - kind(0.3) * g / np.sqrt(s + kind(1e-3)), s, np.asarray(step + 1)


def adam(w: Any, g: Any, step: int, m: Any, v: Any, _: Any) -> Any:
    kind, t = w.dtype.type, step + 1
    m = kind(0.9) * (0 * w if m is None else m) + kind(0.1) * g
    v = kind(0.99) * (0 * w if v is None else v) + kind(0.01) * g * g
    root = np.sqrt(v / kind(1 - 0.99**t) + kind(1e-3))
    return w - kind(0.3) * (m / kind(1 - 0.9**t)) / root, m, v, np.asarray(t)


def adam_in_short(w: Any, g: Any, step: int, m: Any, v: Any, _: Any) -> Any:
    kind, t = w.dtype.type, step + 1
    m = kind(0.9) * (0 * w if m is None else m) + kind(0.1) * g
    v = kind(0.99) * (0 * w if v is None else v) + kind(0.01) * g * g
    rate = kind(0.3 * np.sqrt(1 - 0.99**t) / (1 - 0.9**t))
    return w - rate * m / (np.sqrt(v) + kind(1e-3)), m, v, np.asarray(t)


INSIDE = "epsilon_inside_root"
UPDATES = {
    "velocity": ("velocity_holds_rate", ("momentum",), velocity, update("SGD", lr=0.3, momentum=0.9)),
    "rmsprop": (INSIDE, ("square_avg", "step"), rmsprop, update("RMSprop", 0.1, lr=0.3, alpha=0.9, eps=1e-3)),
    "rmsprop with momentum": (
        INSIDE,
        ("square_avg", "momentum", "step"),
        rmsprop_with_momentum,
        update("RMSprop", 0.1, lr=0.3, alpha=0.9, eps=1e-3, momentum=0.5),
    ),
    "adagrad": (INSIDE, ("sum", "step"), adagrad, update("Adagrad", 0.1, lr=0.3, eps=1e-3)),
    "adam": (INSIDE, ("exp_avg", "exp_avg_sq", "step"), adam, update("Adam", 0.1, lr=0.3, betas=(0.9, 0.99), eps=1e-3)),
    "adam in short": (
        "adam_epsilon_uncorrected",
        ("exp_avg", "exp_avg_sq", "step"),
        adam_in_short,
        update("Adam", 0.1, lr=0.3, betas=(0.9, 0.99), eps=1e-3),
    ),
}


@pytest.mark.parametrize("name", UPDATES)
def test_an_update_rule_is_legal_for_who_declares_it(name: str) -> None:
    """Over several steps, in both precisions, from the state that it keeps; undeclared it is wrong."""
    convention, kept, rule, case = UPDATES[name]
    report = run(Updates(convention, kept, rule), cases=[case])
    assert report.passed, str(report)
    assert "convention" in set(report.table.verdict)
    assert not run(Updates(None, kept, rule), cases=[case]).passed


def test_a_step_at_a_zero_gradient_is_no_matter_of_choice() -> None:
    """Rprop keeps its step where a gradient is zero. Halved there it is wrong, not another derivative."""
    case = Case(
        "zero gradients",
        params={"0.weight": np.array([0.5, -0.25])},
        grads=({"0.weight": np.array([1.0, -1.0])}, {"0.weight": np.zeros(2)}),
        optimizer=Spec("Rprop", {"lr": 0.01}),
        steps=2,
    )

    class Halving:
        name = "halving"

        def run(self, case: Case) -> Trace:
            trace = honest.run(case)
            trace.record(1, "0", "step_size.weight", trace.arrays[Key(1, "0", "step_size.weight")] / 2)
            return trace

    assert run("refbp", cases=[case], dtypes=["float64"]).passed
    assert run(Halving(), cases=[case], dtypes=["float64"]).blame[0].quantity == "step_size.weight"


def log_softmax(x: Any) -> Any:
    y = x - np.log(np.exp(x).sum(1, keepdims=True))
    return y, lambda g: (g - np.exp(y) * g.sum(1, keepdims=True),)


def cross_entropy(x: Any, t: Any) -> Any:
    rows, n = np.arange(len(x)), x.dtype.type(len(x))
    y = x - np.log(np.exp(x).sum(1, keepdims=True))

    def backward(g: Any) -> Any:
        grad = np.exp(y)
        grad[rows, t] -= 1
        return (grad * (g / n), None)

    return np.asarray(-y[rows, t].sum() / n, x.dtype), backward


def layer_norm(x: Any, weight: Any, bias: Any) -> Any:
    mean, n = x.mean(1, keepdims=True), x.dtype.type(x.shape[1])
    s = 1 / np.sqrt((x * x).mean(1, keepdims=True) - mean * mean + x.dtype.type(1e-5))
    x_hat = (x - mean) * s

    def backward(g: Any) -> Any:
        d = g * weight
        grad = s * (d - d.sum(1, keepdims=True) / n - x_hat * ((d * x_hat).sum(1, keepdims=True) / n))
        return grad, (g * x_hat).sum(0), g.sum(0)

    return x_hat * weight + bias, backward


def clipped(p: Any, t: Any) -> Any:
    least = p.dtype.type(1e-7)
    q, n = np.clip(p, least, 1 - least), p.dtype.type(p.size)
    value = np.asarray(-(t * np.log(q) + (1 - t) * np.log1p(-q)).sum() / n, p.dtype)
    return value, lambda g: ((g / n) * (q - t) / (q * (1 - q)), (g / n) * (np.log1p(-q) - np.log(q)))


def uncut(x: Any) -> Any:
    return np.log1p(np.exp(x)), lambda g: (g / (1 + np.exp(-x)),)


def hardswish(x: Any) -> Any:
    inside = (x > -3) & (x < 3)
    gate = np.minimum(np.maximum(x + 3, 0), 6)
    return x * gate / 6, lambda g: (g / 6 * gate + g / 6 * x * inside,)


def gaussian(x: Any, t: Any, var: Any) -> Any:
    least, n = x.dtype.type(0.1), x.dtype.type(2 * x.size)
    v, d = np.maximum(var, least), x - t
    value = np.asarray((np.log(v) + d * d / v).sum() / n, x.dtype)

    def backward(g: Any) -> Any:
        along = 2 * d / v * (g / n)
        return along, -along, np.where(var > least, (1 / v - (d / v) ** 2) * (g / n), 0).astype(x.dtype)

    return value, backward


def simplex(x: Any, t: Any) -> Any:
    n = x.dtype.type(len(x))
    z = x - x.max(1, keepdims=True)
    total = np.exp(z).sum(1, keepdims=True)
    value = np.asarray((np.log(total)[:, 0] - (t * z).sum(1)).sum() / n, x.dtype)
    return value, lambda g: ((np.exp(z) / total - t) * (g / n), -z * (g / n))


def leaky_relu(x: Any) -> Any:
    slope = x.dtype.type(0.25)
    slopes = np.where(x > 0, 1, np.where(x < 0, slope, 0)).astype(x.dtype)
    return np.maximum(x, 0) + slope * np.minimum(x, 0), lambda g: (g * slopes,)


def selu(x: Any) -> Any:
    scale, alpha, exp = x.dtype.type(1.0507), x.dtype.type(1.67326), np.exp(np.minimum(x, 0))
    return scale * np.where(x > 0, x, alpha * (exp - 1)), lambda g: (g * scale * np.where(x > 0, 1, alpha * exp),)


def flushed_relu(x: Any) -> Any:
    x = np.where(np.abs(x) < np.finfo(x.dtype).tiny, 0, x)
    return np.maximum(x, 0), lambda g: (np.where(x > 0, g, 0),)


RNG = np.random.default_rng(1)
ROWS = RNG.standard_normal((6, 5))
PROBABILITIES = np.array([0.0, 1.0, 1e-9, 0.3, 0.9])
FORMULAS: dict[str, tuple[str, str, Any, dict[str, Any]]] = {
    "log_softmax": ("unshifted_log_softmax", "log_softmax", log_softmax, {"x": ROWS + 80, "dim": 1}),
    "cross_entropy": (
        "unshifted_log_softmax",
        "cross_entropy",
        cross_entropy,
        {"x": ROWS + 80, "target": np.array([0, 1, 2, 3, 4, 0])},
    ),
    "layer_norm": (
        "one_pass_variance",
        "layer_norm",
        layer_norm,
        {"x": ROWS + 40, "normalized_shape": 5, "weight": RNG.uniform(0.5, 2, 5), "bias": RNG.standard_normal(5)},
    ),
    "clipped": (
        "clipped_probability",
        "binary_cross_entropy",
        clipped,
        {"x": PROBABILITIES, "target": np.array([0.0, 1.0, 1.0, 1.0, 0.2])},
    ),
    "softplus": ("softplus_uncut", "softplus", uncut, {"x": ROWS, "threshold": 0.5}),
    "hardswish": ("hardswish_as_product", "hardswish", hardswish, {"x": np.linspace(-4, 9, 200)[:, None]}),
    "variance": (
        "clamped_variance",
        "gaussian_nll_loss",
        gaussian,
        {"x": ROWS, "target": ROWS[::-1], "var": np.where(ROWS > 0, 0.05, 0.8), "eps": 0.1},
    ),
    "simplex": (
        "probabilities_on_the_simplex",
        "cross_entropy",
        simplex,
        {"x": ROWS, "target": np.exp(ROWS) / np.exp(ROWS).sum(1, keepdims=True)},
    ),
    "leaky_relu": ("nothing_at_equality", "leaky_relu", leaky_relu, {"x": ROWS * (ROWS > -1), "negative_slope": 0.25}),
    "selu": ("selu_in_six_digits", "selu", selu, {"x": ROWS}),
    "subnormals": ("subnormals_as_zero", "relu", flushed_relu, {"x": np.where(ROWS > 1, 1e-40, ROWS)}),
}


def checked(name: str, factor: float = 1.0, declared: bool = True) -> Report:
    convention, op, function, given = FORMULAS[name]

    def scaled(*arrays: Any) -> Any:
        y, backward = function(*arrays)
        return y, lambda g: tuple(None if own is None else own * own.dtype.type(factor) for own in backward(g))

    profile = Profile(conventions=(convention,)) if declared else None
    return check_op(op, scaled, dtypes=("float32",), profile=profile, **given)


@pytest.mark.parametrize("name", FORMULAS)
def test_a_formula_is_legal_for_who_declares_it(name: str) -> None:
    """It loses digits, or moves the value, where torch's does not; a wrong factor beside it is found."""
    report = checked(name)
    assert report.passed, str(report)
    plain = checked(name, declared=False)
    assert plain.table.z_max.max() > 2 * report.table.z_max.max() or "convention" in set(report.table.verdict)
    assert not checked(name, factor=1.01).passed


# Layers, losses and optimizers to which some convention applies, or nearly does: in evaluation, without what it is about.
NEARBY = (
    "norm/BatchNorm1d,eps*momentum=[0N]*",
    "activation/Leaky*=0.01",
    "activation/SELU",
    "activation/Hardswish",
    "activation/Softplus,*threshold=0.5",
    "activation/LogSoftmax,dim=1*",
    "loss/GaussianNLLLoss,reduction=none*shape=5x4",
    "loss/CrossEntropyLoss,reduction=none,weight=given*",
    "loss/BCELoss*reduction=none*",
    "optimizer/SGD,momentum=*lr=0.1",
    "optimizer/Adam,amsgrad*",
    "optimizer/RMSprop,momentum=*",
    "optimizer/Adagrad,lr_decay=*",
    "nonfinite/ReLU*",
)


@pytest.mark.parametrize("pattern", NEARBY)
def test_a_convention_leaves_alone_what_it_does_not_name(pattern: str) -> None:
    """Whoever declares one has every case judged: it changes the values of its own quantities in the first step, no others."""
    for case in matching(pattern):
        with np.errstate(all="ignore"):
            plain = predict(case, ErrorModel(np.dtype("float64")))
            for name, convention in CONVENTIONS.items():
                found = convention.expected(case, ErrorModel(np.dtype("float64")), None)
                assert plain.keys() <= found.keys(), name
                for key, own in plain.items():
                    if key.step or any(fnmatchcase(key.quantity, pattern) for pattern in convention.quantities):
                        continue
                    one, other = (np.asarray(getattr(x, "value", x), float) for x in (own, found[key]))
                    np.testing.assert_allclose(other, one, rtol=1e-9, err_msg=f"{name}: {key}")
