"""Common mistakes in update rules, each as a change of the right rule; for arrays or error arrays."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from oracle.execution.rules import Rule, zeros_for


def descent(param: Any, grad: Any, options: Mapping[str, Any]) -> Any:
    """d = ±grad + weight_decay W."""
    d = -grad if options.get("maximize") else grad
    return d + options["weight_decay"] * param if options.get("weight_decay") else d


def with_step(moved: Callable[..., Any]) -> Callable[[Rule], Rule]:
    """A rule with the right state, and the parameter moved(param, grad, old state, new state, options)."""

    def change(rule: Rule) -> Rule:
        def other(param: Any, grad: Any, *state: Any, **options: Any) -> Any:
            right = rule(param, grad, *state, **options)
            return (moved(param, grad, state, right[1:], options), *right[1:])

        return other

    return change


def state_lost(rule: Rule) -> Rule:
    return lambda param, grad, *state, **options: rule(param, grad, **options)


def state_lost_but_counted(rule: Rule) -> Rule:
    return lambda param, grad, step=None, *state, **options: rule(param, grad, step, **options)


def parameter_for_gradient(rule: Rule) -> Rule:
    return lambda param, grad, *state, **options: rule(param, param, *state, **options)


# SGD


def first_step_dampened(rule: Rule) -> Rule:
    return lambda param, grad, buffer=None, **options: rule(param, grad, zeros_for(param, buffer), **options)


def momentum_as_mean(first: bool) -> Callable[[Rule], Rule]:
    """SGD with v ← momentum v + (1 - momentum) d; `first` says whether the first step is so too, or has v ← d."""

    def change(rule: Rule) -> Rule:
        def other(param: Any, grad: Any, buffer: Any = None, *, momentum: float, **options: Any) -> Any:
            start = zeros_for(param, buffer) if first else buffer
            return rule(param, grad, start, momentum=momentum, **{**options, "dampening": momentum})

        return other

    return change


def rate_in_the_buffer(rule: Rule) -> Rule:
    def other(param: Any, grad: Any, buffer: Any = None, *, lr: float, **options: Any) -> Any:
        scaled = lr * descent(param, grad, options)
        return rule(param, scaled, buffer, lr=1.0, **{**options, "weight_decay": 0.0, "maximize": False})

    return other


def momentum_on_the_gradient(rule: Rule) -> Rule:
    def other(param: Any, grad: Any, buffer: Any = None, *, momentum: float, **options: Any) -> Any:
        scaled = descent(param, grad, options) * (1.0 if buffer is None else momentum)
        plain = {**options, "weight_decay": 0.0, "maximize": False}
        return rule(param, scaled, buffer, momentum=momentum, **plain)

    return other


def buffer_before(param: Any, grad: Any, old: Any, new: Any, options: Any) -> Any:
    return param - options["lr"] * (descent(param, grad, options) if old[0] is None else old[0])


def nesterov_alone(param: Any, grad: Any, old: Any, new: Any, options: Any) -> Any:
    return param - options["lr"] * (options["momentum"] * new[0])


def nesterov_sign(param: Any, grad: Any, old: Any, new: Any, options: Any) -> Any:
    return param - options["lr"] * (descent(param, grad, options) - options["momentum"] * new[0])


def nesterov_before(param: Any, grad: Any, old: Any, new: Any, options: Any) -> Any:
    return param - options["lr"] * (new[0] + options["momentum"] * (new[0] - zeros_for(param, old[0])))


def decayed(by: Callable[[Any, float, float], Any]) -> Callable[[Rule], Rule]:
    """Decay outside of the gradient: by(param, lr, weight_decay) is subtracted at the end."""

    def change(rule: Rule) -> Rule:
        def other(param: Any, grad: Any, *state: Any, weight_decay: float = 0.0, **options: Any) -> Any:
            new, *kept = rule(param, grad, *state, weight_decay=0.0, **options)
            return (new - by(param, options["lr"], weight_decay), *kept)

        return other

    return change


def decay_scaled(by: Callable[[float], float]) -> Callable[[Rule], Rule]:
    """Decay within the gradient by another coefficient: by(lr) times the right one."""

    def change(rule: Rule) -> Rule:
        def other(param: Any, grad: Any, *state: Any, weight_decay: float = 0.0, **options: Any) -> Any:
            maximized = -grad if options.get("maximize") else grad
            scaled = maximized + by(options["lr"]) * weight_decay * param
            return rule(param, scaled, *state, weight_decay=0.0, **{**options, "maximize": False})

        return other

    return change


def decayed_last(rule: Rule) -> Rule:
    def other(param: Any, grad: Any, *state: Any, weight_decay: float = 0.0, **options: Any) -> Any:
        new, *kept = rule(param, grad, *state, weight_decay=0.0, **options)
        return (new * (1.0 - options["lr"] * weight_decay), *kept)

    return other


def decay_maximized(rule: Rule) -> Rule:
    def other(param: Any, grad: Any, *state: Any, weight_decay: float = 0.0, **options: Any) -> Any:
        if not options.get("maximize"):
            return rule(param, grad, *state, weight_decay=weight_decay, **options)
        return rule(param, grad + weight_decay * param, *state, weight_decay=0.0, **options)

    return other


# Adam and its kin


def corrected(first: Callable[[float], float], second: Callable[[float], float]) -> Callable[[Rule], Rule]:
    """Adam's step with m times first(1 - β₁ᵗ) and v times second(1 - β₂ᵗ)."""

    def moved(param: Any, grad: Any, old: Any, new: Any, options: Any) -> Any:
        t, m, v, largest = new
        one, two = (1.0 - beta**t for beta in options["betas"])
        size = np.sqrt((v if largest is None else largest) * second(two)) + options["eps"]
        return _shrunk(param, options) - options["lr"] * (m * first(one)) / size

    return with_step(moved)


def epsilon_inside(param: Any, grad: Any, old: Any, new: Any, options: Any) -> Any:
    t, m, v, largest = new
    one, two = (1.0 - beta**t for beta in options["betas"])
    size = np.sqrt((v if largest is None else largest) / two + options["eps"])
    return _shrunk(param, options) - options["lr"] / one * m / size


def _shrunk(param: Any, options: Mapping[str, Any]) -> Any:
    if options.get("decoupled_weight_decay") and options.get("weight_decay"):
        return param * (1.0 - options["lr"] * options["weight_decay"])
    return param


def counted(by: Callable[[int], int]) -> Callable[[Rule], Rule]:
    """The bias correction is that of step by(t)."""

    def change(rule: Rule) -> Rule:
        def other(param: Any, grad: Any, step: Any = None, *state: Any, **options: Any) -> Any:
            right = rule(param, grad, step, *state, **options)
            return (rule(param, grad, by(int(step or 0)), *state, **options)[0], *right[1:])

        return other

    return change


def decay_moved(rule: Rule) -> Rule:
    """Decay in the gradient that should be decoupled, or the other way round."""

    def other(param: Any, grad: Any, *state: Any, decoupled_weight_decay: bool = False, **options: Any) -> Any:
        return rule(param, grad, *state, decoupled_weight_decay=not decoupled_weight_decay, **options)

    return other


def decay_not_scaled(rule: Rule) -> Rule:
    def other(param: Any, grad: Any, *state: Any, weight_decay: float, **options: Any) -> Any:
        return rule(param * (1.0 - weight_decay), grad, *state, weight_decay=0.0, **options)

    return other


def second_of_first(rule: Rule) -> Rule:
    """v averages m² instead of d²."""

    def other(param: Any, grad: Any, step: Any = None, m: Any = None, v: Any = None, *rest: Any, **options: Any) -> Any:
        right = rule(param, grad, step, m, v, *rest, **options)
        beta = options["betas"][1]
        wrong = beta * zeros_for(param, v) + (1.0 - beta) * (right[2] * right[2])
        one, two = (1.0 - own ** right[1] for own in options["betas"])
        size = np.sqrt(wrong) / math.sqrt(two) + options["eps"]
        return (_shrunk(param, options) - options["lr"] / one * right[2] / size, *right[1:3], wrong, *right[4:])

    return other


def looks_not_ahead(param: Any, grad: Any, old: Any, new: Any, options: Any) -> Any:
    """NAdam without Nesterov: Adam's step."""
    t, _, m, v = new
    one, two = (1.0 - beta**t for beta in options["betas"])
    return _shrunk(param, options) - options["lr"] / one * m / (np.sqrt(v / two) + options["eps"])


def not_rectified(param: Any, grad: Any, old: Any, new: Any, options: Any) -> Any:
    """RAdam without rectification: Adam's step."""
    return looks_not_ahead(param, grad, old, (new[0], None, *new[1:]), options)


def rectified_from_four(rule: Rule) -> Rule:
    """RAdam as in the paper, from ρ > 4 on."""

    def moved(param: Any, grad: Any, old: Any, new: Any, options: Any) -> Any:
        t, m, v = new
        one, two = (1.0 - beta**t for beta in options["betas"])
        longest = 2.0 / (1.0 - options["betas"][1]) - 1.0
        length = longest - 2.0 * t * (1.0 - two) / two
        move = options["lr"] / one * m
        if length > 4.0:
            share = (length - 4.0) * (length - 2.0) * longest / ((longest - 4.0) * (longest - 2.0) * length)
            move = move * math.sqrt(share * two) / (np.sqrt(v) + options["eps"])
        return _shrunk(param, options) - move

    return with_step(moved)(rule)


# Rates from squares


def root_with_epsilon(param: Any, grad: Any, old: Any, new: Any, options: Any) -> Any:
    """RMSprop and Adagrad with eps inside the root."""
    d, eps = descent(param, grad, options), options["eps"]
    if "alpha" not in options:
        t, total = new
        return param - options["lr"] / (1.0 + (t - 1) * options["lr_decay"]) * d / np.sqrt(total + eps)
    _, square, buffer, mean = new
    scaled = d / np.sqrt((square if mean is None else square - mean * mean) + eps)
    if buffer is not None:
        scaled = options["momentum"] * zeros_for(param, old[2]) + scaled
    return param - options["lr"] * scaled


def rate_in_the_squares_buffer(rule: Rule) -> Rule:
    """RMSprop whose momentum includes the learning rate."""

    def other(param: Any, grad: Any, *state: Any, lr: float, **options: Any) -> Any:
        moved = rule(param, grad, *state, lr=1.0, **options)
        if moved[3] is None:
            return rule(param, grad, *state, lr=lr, **options)
        old = zeros_for(param, state[2])
        buffer = options["momentum"] * old + lr * (moved[3] - options["momentum"] * old)
        return (param - buffer, *moved[1:3], buffer, moved[4])

    return other


def delta_of(eps_inside: bool, scaled: bool) -> Callable[[Rule], Rule]:
    """Adadelta with eps outside of its roots, or with the learning rate in its accumulated updates."""

    def change(rule: Rule) -> Rule:
        def other(param: Any, grad: Any, step: Any = None, s: Any = None, u: Any = None, **options: Any) -> Any:
            rho, eps = options["rho"], options["eps"]
            right = rule(param, grad, step, s, u, **options)
            before = zeros_for(param, u)
            if eps_inside:
                delta = np.sqrt(before + eps) / np.sqrt(right[2] + eps) * descent(param, grad, options)
            else:
                delta = (np.sqrt(before) + eps) / (np.sqrt(right[2]) + eps) * descent(param, grad, options)
            added = options["lr"] * delta if scaled else delta
            return param - options["lr"] * delta, right[1], right[2], rho * before + (1.0 - rho) * (added * added)

        return other

    return change


# Adafactor, ASGD, Rprop


def adafactor_without(part: str) -> Callable[[Rule], Rule]:
    def moved(param: Any, grad: Any, old: Any, new: Any, options: Any) -> Any:
        t, rows, columns, variance = new
        first, second = options["eps"]
        first = float(np.finfo(param.dtype).eps) if first is None else first
        rate = min(options["lr"], t**-0.5)
        if part != "size":
            rate = np.maximum(np.sqrt(np.mean(np.square(param))), second) * rate
        if options.get("weight_decay"):
            param = param * (1.0 - options["lr"] * options["weight_decay"])
        estimate = variance
        if rows is not None:
            estimate = rows * columns
            if part != "mean":
                estimate = estimate / np.maximum(np.mean(rows, axis=-2, keepdims=True), first)
        update = (-grad if options.get("maximize") else grad) / np.sqrt(np.maximum(estimate, first * first))
        if part != "clipping":
            update = update / np.maximum(np.sqrt(np.mean(np.square(update))) / options["d"], 1.0)
        return param - rate * update

    return with_step(moved)


def adafactor_rate(rule: Rule) -> Rule:
    """Adafactor whose rate is not limited by 1 / √t."""

    def moved(param: Any, grad: Any, old: Any, new: Any, options: Any) -> Any:
        right = rule(param, grad, *old, **options)[0]
        kept = param
        if options.get("weight_decay"):
            kept = param * (1.0 - options["lr"] * options["weight_decay"])
        return kept + (right - kept) * (options["lr"] / min(options["lr"], new[0] ** -0.5))

    return with_step(moved)(rule)


def rate_of_this_step(rule: Rule) -> Rule:
    """ASGD that uses the new η in this step already."""

    def other(param: Any, grad: Any, step: Any = None, eta: Any = None, *state: Any, **options: Any) -> Any:
        ahead = rule(param, grad, step, eta, *state, **options)[2]
        return rule(param, grad, step, ahead, *state, **options)

    return other


def turned_sign_kept(rule: Rule) -> Rule:
    """Rprop that moves, and stores the gradient, where its sign has changed."""

    def other(param: Any, grad: Any, step: Any = None, prev: Any = None, size: Any = None, **options: Any) -> Any:
        _, count, _, size = rule(param, grad, step, prev, size, **options)
        d = -grad if options.get("maximize") else grad
        return param - size * np.sign(d), count, d, size

    return other


def size_before(param: Any, grad: Any, old: Any, new: Any, options: Any) -> Any:
    """Rprop that moves by the step size before its update."""
    size = np.full_like(param, options["lr"]) if old[2] is None else old[2]
    return param - size * np.sign(new[1])


# Muon


def muon_without_orthogonalization(param: Any, grad: Any, old: Any, new: Any, options: Any) -> Any:
    """Muon that steps along the momentum itself."""
    ahead = grad + options["momentum"] * (new[0] - grad) if options["nesterov"] else new[0]
    return param * (1.0 - options["lr"] * options["weight_decay"]) - options["lr"] * ahead


def momentum_as_sum(rule: Rule) -> Rule:
    """Muon with v ← momentum v + grad: the right one of a gradient that is larger."""

    def other(param: Any, grad: Any, buffer: Any = None, *, momentum: float, nesterov: bool, **options: Any) -> Any:
        v = momentum * zeros_for(param, buffer) + grad
        ahead = grad + momentum * v if nesterov else v
        return rule(param, ahead, None, momentum=0.0, nesterov=False, **options)[0], v

    return other


def decay_in_gradient(rule: Rule) -> Rule:
    def other(param: Any, grad: Any, *state: Any, weight_decay: float, **options: Any) -> Any:
        return rule(param, grad + weight_decay * param, *state, weight_decay=0.0, **options)

    return other
