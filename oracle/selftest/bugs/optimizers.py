"""Bugs in optimizers: wrong order or sign, ignored options, lost state."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from oracle.case.case import Case, Spec
from oracle.selftest.bugs.bug import Bug
from oracle.selftest.plant import Implementation, altered_case, patched
from oracle.suite.build import generator

SGD = {"lr": 0.1, "momentum": 0.9}


def bugs() -> Iterator[Bug]:
    yield from of_sgd()
    yield from of_adaptive()
    yield from of_groups()


def case_of(name: str, type: str, options: Mapping[str, Any], groups: tuple[Mapping[str, Any], ...] = ()) -> Case:
    """The parameters of two layers, and their gradients in four steps."""
    rng = generator(f"{name}/gradients")
    shapes = {"0.weight": (3, 4), "0.bias": (3,), "1.weight": (2, 3)}
    if type == "Muon":  # it updates only matrices
        shapes = {"0.weight": (12, 16), "1.weight": (2, 3)}
    return Case(
        f"selftest/{name}",
        "a planted bug",
        params={key: rng.standard_normal(shape) for key, shape in shapes.items()},
        grads=tuple({key: rng.standard_normal(shape) for key, shape in shapes.items()} for _ in range(4)),
        optimizer=Spec(type, options, groups=groups),
        steps=4,
    )


def rule(
    name: str, type: str, options: Mapping[str, Any], change: Callable[[Any], Any], quantity: str = "param.weight"
) -> Bug:
    """A bug in an update rule; `change` maps the right rule to a wrong one.

    A rule is a function (param, grad, *state, **options) -> (param, *state).
    """
    return Bug(name, case_of(name, type, options), patched(f"refbp:{type}.rule", change), "0", quantity)


def ignored(name: str, type: str, options: Mapping[str, Any], quantity: str = "param.weight", **taken: Any) -> Bug:
    def alter(case: Case) -> Case:
        assert case.optimizer is not None
        return replace(case, optimizer=replace(case.optimizer, options={**case.optimizer.options, **taken}))

    return Bug(name, case_of(name, type, options), altered_case(alter), "0", quantity)


def of_sgd() -> Iterator[Bug]:
    yield rule("SGD: nesterov takes the momentum twice", "SGD", {**SGD, "nesterov": True}, momentum_twice)
    yield rule("SGD: decay after momentum", "SGD", {**SGD, "weight_decay": 0.1}, decay_after, "momentum.weight")
    yield rule(
        "SGD: decay scaled by the rate twice",
        "SGD",
        {"lr": 0.1, "weight_decay": 0.1},
        lambda op: lambda p, g, *s, weight_decay, lr, **o: op(p, g, *s, weight_decay=weight_decay * lr, lr=lr, **o),
    )
    yield rule(
        "SGD: decay with the wrong sign",
        "SGD",
        {"lr": 0.1, "weight_decay": 0.1},
        lambda op: (
            lambda p, g, *s, weight_decay, **o: op(p, g - 2 * weight_decay * p, *s, weight_decay=weight_decay, **o)
        ),
    )
    yield rule(
        "SGD: decay decoupled from the rate",
        "SGD",
        {"lr": 0.1, "weight_decay": 0.1},
        lambda op: lambda p, g, *s, weight_decay, **o: op((1 - weight_decay) * p, g, *s, weight_decay=0.0, **o),
    )
    yield rule(
        "SGD: first step dampened",
        "SGD",
        {**SGD, "dampening": 0.5},
        lambda op: lambda p, g, buffer=None, **o: op(p, g, g * 0 if buffer is None else buffer, **o),
        "momentum.weight",
    )
    yield rule(
        "SGD: rate inside the buffer",
        "SGD",
        SGD,
        lambda op: lambda p, g, buffer=None, *, lr, **o: op(p, lr * g, buffer, lr=1.0, **o),
        "momentum.weight",
    )
    yield rule("SGD: buffer of the step before is applied", "SGD", SGD, buffer_before)
    yield rule(
        "SGD: momentum multiplies the new gradient too",
        "SGD",
        SGD,
        lambda op: (
            lambda p, g, buffer=None, *, momentum, **o: op(
                p, g if buffer is None else momentum * g, buffer, momentum=momentum, **o
            )
        ),
        "momentum.weight",
    )
    yield rule(
        "SGD: parameters move uphill",
        "SGD",
        SGD,
        lambda op: lambda p, g, *s, **o: (2 * p - op(p, g, *s, **o)[0], op(p, g, *s, **o)[1]),
    )
    yield rule("SGD: rate slightly off", "SGD", {"lr": 1.0}, slightly_off_rate)
    yield rule(
        "SGD: maximizing turns the decay's sign",
        "SGD",
        {"lr": 0.1, "weight_decay": 0.1, "maximize": True},
        lambda op: lambda p, g, *s, maximize, **o: op(p, -g - 2 * o["weight_decay"] * p, *s, maximize=False, **o),
    )
    yield rule("SGD: one element is not updated", "SGD", SGD, one_element_kept)
    for option, given, taken in (
        ("momentum", 0.9, 0.8),
        ("weight_decay", 0.1, 0.0),
        ("nesterov", True, False),
        ("maximize", True, False),
        ("dampening", 0.5, 0.0),
        ("lr", 0.1, 0.01),
    ):
        quantity = (
            "momentum.weight" if option in ("momentum", "weight_decay", "maximize", "dampening") else "param.weight"
        )
        yield ignored(
            f"SGD: {option} {taken} instead of {given}", "SGD", {**SGD, option: given}, quantity, **{option: taken}
        )


def of_adaptive() -> Iterator[Bug]:
    adam = {"lr": 0.1}
    for option, given, taken, quantity in (
        ("betas", (0.9, 0.99), (0.99, 0.9), "exp_avg.weight"),
        ("eps", 1e-2, 1e-8, "param.weight"),
        ("weight_decay", 0.1, 0.0, "exp_avg.weight"),
        ("maximize", True, False, "exp_avg.weight"),
        ("lr", 0.1, 0.11, "param.weight"),
    ):
        yield ignored(
            f"Adam: {option} {taken} instead of {given}", "Adam", {**adam, option: given}, quantity, **{option: taken}
        )
    yield rule(
        "Adam: no bias correction",
        "Adam",
        adam,
        lambda op: lambda p, g, step=None, *s, **o: (op(p, g, 10**6, *s, **o)[0], *op(p, g, step, *s, **o)[1:]),
    )
    yield rule(
        "Adam: step counted from zero",
        "Adam",
        adam,
        lambda op: (
            lambda p, g, step=None, *s, **o: (op(p, g, (step or 0) + 1, *s, **o)[0], *op(p, g, step, *s, **o)[1:])
        ),
    )
    yield rule("Adam: second moment of the first", "Adam", adam, second_of_first, "exp_avg_sq.weight")
    yield rule(
        "Adam: decay decoupled",
        "Adam",
        {**adam, "weight_decay": 0.1},
        lambda op: lambda p, g, *s, **o: op(p, g, *s, **{**o, "decoupled_weight_decay": True}),
        "exp_avg.weight",
    )
    yield rule(
        "AdamW: decay coupled",
        "AdamW",
        {**adam, "weight_decay": 0.1},
        lambda op: lambda p, g, *s, **o: op(p, g, *s, **{**o, "decoupled_weight_decay": False}),
        "exp_avg.weight",
    )
    yield rule(
        "AdamW: decay not scaled by the rate",
        "AdamW",
        {**adam, "weight_decay": 0.1},
        lambda op: lambda p, g, *s, **o: op(p * (1 - o["weight_decay"]), g, *s, **{**o, "weight_decay": 0.0}),
    )
    for option, given, taken, quantity in (
        ("alpha", 0.9, 0.99, "square_avg.weight"),
        ("eps", 1e-2, 1e-8, "param.weight"),
        ("momentum", 0.9, 0.8, "momentum.weight"),
        ("weight_decay", 0.1, 0.0, "square_avg.weight"),
    ):
        yield ignored(
            f"RMSprop: {option} {taken} instead of {given}",
            "RMSprop",
            {"lr": 0.1, option: given},
            quantity,
            **{option: taken},
        )
    yield rule("RMSprop: eps inside the root", "RMSprop", {"lr": 0.1, "eps": 1e-2}, eps_inside)
    for option, given, taken, quantity in (
        ("lr_decay", 0.5, 0.0, "param.weight"),
        ("initial_accumulator_value", 0.5, 0.0, "sum.weight"),
        ("eps", 1e-2, 1e-10, "param.weight"),
    ):
        yield ignored(
            f"Adagrad: {option} {taken} instead of {given}",
            "Adagrad",
            {"lr": 0.1, option: given},
            quantity,
            **{option: taken},
        )


def of_groups() -> Iterator[Bug]:
    groups = ({"params": ["0.weight", "1.weight"], "weight_decay": 0.1}, {"params": ["0.bias"], "lr": 0.01})

    def group(name: str, wrong: tuple[Mapping[str, Any], ...], quantity: str) -> Bug:
        def alter(case: Case) -> Case:
            assert case.optimizer is not None
            return replace(case, optimizer=replace(case.optimizer, groups=wrong))

        return Bug(name, case_of(name, "SGD", SGD, groups), altered_case(alter), "0", quantity)

    yield group("groups: decay on biases too", (groups[0], {**groups[1], "weight_decay": 0.1}), "momentum.bias")
    yield group("groups: a group's own rate ignored", (groups[0], {"params": ["0.bias"]}), "param.bias")
    yield group("groups: a group's decay ignored", ({"params": groups[0]["params"]}, groups[1]), "momentum.weight")
    name = "groups: rows of a gradient reversed"
    yield Bug(name, case_of(name, "SGD", SGD), reversed_gradients(), "0", "momentum.weight")


def momentum_twice(op: Any) -> Any:
    def wrong(param: Any, grad: Any, buffer: Any = None, *, nesterov: bool, **options: Any) -> Any:
        _, buffer = op(param, grad, buffer, nesterov=False, **options)
        return param - options["lr"] * options["momentum"] * buffer, buffer

    return wrong


def decay_after(op: Any) -> Any:
    def wrong(param: Any, grad: Any, buffer: Any = None, *, weight_decay: float, **options: Any) -> Any:
        new, buffer = op(param, grad, buffer, weight_decay=0.0, **options)
        return new - options["lr"] * weight_decay * param, buffer

    return wrong


def buffer_before(op: Any) -> Any:
    def wrong(param: Any, grad: Any, buffer: Any = None, **options: Any) -> Any:
        _, new = op(param, grad, buffer, **options)
        return param - options["lr"] * (grad if buffer is None else buffer), new

    return wrong


def slightly_off_rate(op: Any) -> Any:
    """The learning rate has a relative error of 1e-3 in float32 and 1e-9 in float64."""

    def wrong(param: Any, grad: Any, buffer: Any = None, *, lr: float, **options: Any) -> Any:
        return op(param, grad, buffer, lr=lr * (1 + (1e-9 if param.dtype == np.float64 else 1e-3)), **options)

    return wrong


def one_element_kept(op: Any) -> Any:
    def wrong(param: Any, *arguments: Any, **options: Any) -> Any:
        new, buffer = op(param, *arguments, **options)
        new.flat[-1] = param.flat[-1]
        return new, buffer

    return wrong


def second_of_first(op: Any) -> Any:
    """The second moment averages the square of the first moment instead of the squared gradient."""

    def wrong(param: Any, grad: Any, step: Any = None, m: Any = None, v: Any = None, *rest: Any, **options: Any) -> Any:
        new = op(param, grad, step, m, v, *rest, **options)
        beta2 = options["betas"][1]
        old = np.zeros_like(param) if v is None else v
        return (*new[:3], (beta2 * old + (1 - beta2) * new[2] ** 2).astype(param.dtype), *new[4:])

    return wrong


def eps_inside(op: Any) -> Any:
    def wrong(param: Any, grad: Any, *state: Any, lr: float, eps: float, **options: Any) -> Any:
        new = op(param, grad, *state, lr=lr, eps=eps, **options)
        return (param - lr * grad / np.sqrt(new[2] + eps), *new[1:])

    return wrong


def reversed_gradients() -> Implementation:
    def alter(case: Case) -> Case:
        return replace(case, grads=tuple({**grads, "0.weight": grads["0.weight"][::-1]} for grads in case.grads))

    return altered_case(alter)
